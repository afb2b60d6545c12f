package journal

import (
	"cmp"
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
	sealed, open, highest := numbersOf(entries)
	if err := j.readID(highest > 0); err != nil {
		return err
	}
	for number, size := range sealed {
		j.w.ends = append(j.w.ends, &ended{
			number: number, journal: j.journalOf(sealedName(number)), size: size, sealed: true, renamed: true,
		})
	}
	var empty []uint64
	for _, number := range open {
		var none bool
		if _, twice := sealed[number]; twice {
			err = j.putAside(number)
		} else {
			none, err = j.adopt(number)
		}
		if err != nil { // one bad file keeps nobody from writing others
			j.w.note(fmt.Errorf("adopt %s: %w", openName(number), err))
		}
		if none {
			empty = append(empty, number)
		}
	}
	slices.SortFunc(j.w.ends, func(a, b *ended) int { return cmp.Compare(a.number, b.number) })
	for _, e := range j.w.ends {
		j.used += e.size
	}
	j.w.next = j.reuse(empty, highest)
	s := j.w.unsettled()
	s.carryOut()
	j.w.settled(s)
	return nil
}

// numbersOf returns the sizes of sealed files, the numbers of those that are
// not, in order, and the highest number of all.
func numbersOf(entries []Entry) (sealed map[uint64]int64, open []uint64, highest uint64) {
	sealed = map[uint64]int64{}
	for _, e := range entries {
		number := parseName(e.Name, sealedSuffix)
		if number > 0 {
			sealed[number] = e.Size
		} else if number = parseName(e.Name, openSuffix); number > 0 {
			open = append(open, number)
		}
		highest = max(highest, number)
	}
	slices.Sort(open)
	return sealed, open, highest
}

// reuse returns the number to be written next: that of the first of the empty
// files that no other follows, for these were never sealed, or a new one. Empty
// files before it are removed.
func (j *Journal) reuse(empty []uint64, highest uint64) uint64 {
	next := highest + 1
	for i := len(empty) - 1; i >= 0; i-- {
		if empty[i] == next-1 {
			next = empty[i]
		} else if err := j.dir.Remove(openName(empty[i])); err != nil {
			j.w.note(fmt.Errorf("remove %s: %w", openName(empty[i]), err))
		}
	}
	return next
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
	_, err = f.WriteAt([]byte(j.id+"\n"), 0)
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
// and is cut off. It returns true if there is no event in it.
func (j *Journal) adopt(number uint64) (empty bool, err error) {
	f, err := j.dir.Open(openName(number), os.O_RDWR)
	if err != nil {
		return false, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		f.Close()
		return false, err
	}
	e := &ended{number: number, f: f, journal: j.headerOf(b), seal: grandstand.JournalSeal{Adopted: true}}
	e.inspect(b)
	cut := int64(len(b)) - e.size
	e.dirty = cut > 0
	j.metrics.cut.Add(float64(cut))
	if !e.whole && e.seal.Events+e.seal.Gaps == 0 {
		f.Close()
		return true, nil
	}
	e.again = b[:e.size]
	j.log.Info("adopt journal file", "file", openName(number), "events", e.seal.Events, "cut_bytes", cut)
	j.w.ends = append(j.w.ends, e)
	return false, nil
}

// putAside takes a file out of the way whose number is that of a sealed one. No
// crash leaves such a thing: somebody has to look at it.
func (j *Journal) putAside(number uint64) error {
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
			e.size, e.whole = int64(s.Start()), s.Offset() == len(b)
			if e.whole {
				e.size = int64(len(b))
			}
			return
		}
		e.size = int64(s.Offset())
	}
}
