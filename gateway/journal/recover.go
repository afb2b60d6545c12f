package journal

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"grandstand"
)

const (
	idName    = "ID"
	newIDName = "ID.new"
	idBytes   = 16
)

// recover takes over what an earlier process left.
func (j *Journal) recover() error {
	entries, err := j.dir.List()
	if err != nil {
		return fmt.Errorf("list directory: %w", err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	highest := uint64(0)
	sealed := map[uint64]bool{}
	for _, e := range entries {
		number := parseName(e.Name, sealedSuffix)
		sealed[number] = true
		highest = max(highest, number, parseName(e.Name, openSuffix))
	}
	if err := j.readID(highest > 0); err != nil {
		return err
	}
	j.w.next = highest + 1
	for _, e := range entries {
		if number := parseName(e.Name, sealedSuffix); number > 0 {
			j.used += e.Size
			j.publish(grandstand.JournalFile{Journal: j.journalOf(e.Name), Number: number, Size: e.Size})
		} else if number := parseName(e.Name, openSuffix); number > 0 {
			take := j.adopt
			if sealed[number] {
				take = j.putAside
			}
			if err := take(number, highest); err != nil { // one bad file keeps nobody from writing others
				j.w.note(fmt.Errorf("adopt %s: %w", e.Name, err))
			}
		}
	}
	for _, e := range j.w.ends {
		j.used += e.size
	}
	j.w.settle()
	return nil
}

// readID reads the journal's id, or makes one if there is none, and if there
// are no files whose numbers it could go on with.
func (j *Journal) readID(used bool) error {
	if f, err := j.dir.Open(idName, os.O_RDONLY); err == nil {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<10))
		f.Close()
		if err != nil {
			return fmt.Errorf("read id: %w", err)
		}
		id := strings.TrimSpace(string(b))
		if raw, err := hex.DecodeString(id); err == nil && len(raw) == idBytes && used {
			j.id = id
			return nil
		}
	} else if !os.IsNotExist(err) {
		return fmt.Errorf("read id: %w", err)
	}
	var raw [idBytes]byte
	rand.Read(raw[:])
	j.id = hex.EncodeToString(raw[:])
	return j.writeID()
}

func (j *Journal) writeID() error {
	f, err := j.dir.Open(newIDName, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("write id: %w", err)
	}
	_, err = f.Write([]byte(j.id + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = j.dir.Rename(newIDName, idName)
	}
	if err == nil {
		err = j.dir.Sync()
	}
	if err != nil {
		return fmt.Errorf("write id: %w", err)
	}
	return nil
}

// journalOf returns the journal that a file's header names: that of the
// directory, unless its ID was lost since.
func (j *Journal) journalOf(name string) string {
	f, err := j.dir.Open(name, os.O_RDONLY)
	if err != nil {
		return j.id
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 4<<10))
	if err != nil {
		return j.id
	}
	return j.headerOf(b)
}

func (j *Journal) headerOf(b []byte) string {
	if t, payload, ok := grandstand.NewJournalScanner(b).Next(); ok && t == grandstand.RecordHeader {
		if h, err := grandstand.DecodeHeaderRecord(payload); err == nil {
			return h.Journal
		}
	}
	return j.id
}

// adopt has a file sealed that was being written when its process ended. What
// is damaged inside stays; what is no record at its end was never acknowledged,
// and is cut off.
func (j *Journal) adopt(number, highest uint64) error {
	f, err := j.dir.Open(openName(number), os.O_RDWR)
	if err != nil {
		return err
	}
	// What the process left may be in memory only. It has to be on the disk
	// before a seal counts it.
	var b []byte
	if err = f.Sync(); err == nil {
		b, err = io.ReadAll(io.NewSectionReader(f, 0, 1<<62))
	}
	if err != nil {
		f.Close()
		return err
	}
	e := &ended{number: number, f: f, journal: j.headerOf(b), seal: grandstand.JournalSeal{Adopted: true}}
	e.inspect(b)
	cut := int64(len(b)) - e.size
	e.dirty = cut > 0
	j.metrics.cut.Add(float64(cut))
	if !e.sealed && e.seal.Events+e.seal.Gaps == 0 {
		f.Close()
		if number == highest {
			j.w.next = number // it is used again
			return nil
		}
		return j.dir.Remove(openName(number))
	}
	j.log.Info("adopt journal file", "file", openName(number), "events", e.seal.Events, "cut_bytes", cut)
	j.w.ends = append(j.w.ends, e)
	return nil
}

// putAside takes a file out of the way whose number is that of a sealed one. No
// crash leaves such a thing: somebody has to look at it.
func (j *Journal) putAside(number, _ uint64) error {
	name := openName(number)
	j.log.Error("a journal file was put aside, since another one has its number", "file", name+straySuffix)
	return j.dir.Rename(name, name+straySuffix)
}

// inspect finds out how much of a file is to be kept, and whether it is sealed.
func (e *ended) inspect(b []byte) {
	s := grandstand.NewJournalScanner(b)
	for t, _, ok := s.Next(); ok; t, _, ok = s.Next() {
		switch t {
		case grandstand.RecordEvent:
			e.seal.Events++
		case grandstand.RecordGap:
			e.seal.Gaps++
		case grandstand.RecordSeal:
			// A seal is written where the durable records end. What follows was
			// to be cut off: then the seal is not known to be durable either.
			e.size, e.sealed = int64(s.Start()), s.Offset() == len(b)
			if e.sealed {
				e.size = int64(len(b))
			}
			return
		}
		e.size = int64(s.Offset())
	}
}
