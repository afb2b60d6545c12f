package journal

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"grandstand"
)

// current is the file that is being written.
type current struct {
	number uint64
	f      File
	named  bool  // its name is durable
	size   int64 // durable bytes; 0: not even a header
	events uint64
	gaps   uint64
	born   time.Time // when its first record was written
}

// ended is a file that takes no more events, and is not published yet.
type ended struct {
	number  uint64
	f       File
	journal string // the id in its header
	size    int64  // durable bytes
	dirty   bool   // there may be more bytes than these, to be cut off
	sealed  bool   // it ends with a seal, durably
	renamed bool
	seal    grandstand.JournalSeal
}

const (
	openSuffix   = ".open"
	sealedSuffix = ".journal"
	straySuffix  = ".stray"
)

func openName(number uint64) string   { return fmt.Sprintf("%08d%s", number, openSuffix) }
func sealedName(number uint64) string { return fmt.Sprintf("%08d%s", number, sealedSuffix) }

// parseName returns the number in a file's name, 0 if it has not that suffix.
func parseName(name, suffix string) uint64 {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return 0
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || fmt.Sprintf("%08d", number) != digits {
		return 0
	}
	return number
}

// end has no more records go to the current file. One that holds none is used
// again under its number.
func (w *writer) end(dirty bool) {
	c := w.file
	w.file = nil
	if c.size == 0 {
		c.f.Close()
		return
	}
	w.next = c.number + 1
	w.ends = append(w.ends, &ended{
		number: c.number, f: c.f, journal: w.j.id, size: c.size, dirty: dirty,
		seal: grandstand.JournalSeal{Events: c.events, Gaps: c.gaps},
	})
}

// settle seals the files that ended, makes the next one, and publishes what is
// sealed, in an order that a crash may cut off anywhere:
//
//  1. a seal is written and synced
//  2. the next file is made
//  3. the sealed one is renamed
//  4. the directory is synced
//  5. the sealed one is listed in Files
//
// So whoever deletes a file leaves a higher number behind. What fails is tried
// again at settleAt; if the next file is among it, events are refused.
func (w *writer) settle() {
	defer w.j.keepBusy()()
	var errs []error
	for _, e := range w.ends {
		errs = append(errs, w.seal(e))
	}
	err := w.make()
	if err == nil {
		err = w.name()
	}
	err = errors.Join(append(errs, err)...)
	if err != nil {
		w.settleAt = time.Now().Add(w.j.cfg.RetryEvery)
	}
	switch {
	case !w.ready():
		w.refuse(err)
	case err != nil:
		w.note(err)
	default:
		w.settleAt = time.Time{}
	}
	if w.ready() && len(w.batch.buf) == 0 {
		w.works()
	}
}

// seal cuts off what is not known to be durable and seals the file.
func (w *writer) seal(e *ended) error {
	if e.sealed {
		return nil
	}
	if e.dirty {
		if err := e.f.Truncate(e.size); err != nil {
			return fmt.Errorf("cut %s: %w", openName(e.number), err)
		}
	}
	e.dirty = true
	e.seal.SealedAt = w.j.cfg.Clock.Now()
	b := grandstand.AppendSealRecord(nil, &e.seal)
	if _, err := e.f.Write(b); err != nil {
		return fmt.Errorf("seal %s: %w", openName(e.number), err)
	}
	if err := e.f.Sync(); err != nil {
		return fmt.Errorf("sync sealed %s: %w", openName(e.number), err)
	}
	e.size += int64(len(b))
	e.sealed = true
	w.j.use(int64(len(b)))
	return nil
}

// make makes the next file. It stays empty until there are records to follow
// its header.
func (w *writer) make() error {
	if w.file != nil {
		return nil
	}
	f, err := w.j.dir.Open(openName(w.next), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("make %s: %w", openName(w.next), err)
	}
	w.file = &current{number: w.next, f: f}
	return nil
}

// name gives sealed files their names and publishes them.
func (w *writer) name() error {
	var errs []error
	moved := !w.file.named
	for _, e := range w.ends {
		if e.sealed && !e.renamed {
			if err := w.j.dir.Rename(openName(e.number), sealedName(e.number)); err != nil {
				errs = append(errs, fmt.Errorf("name %s: %w", sealedName(e.number), err))
				continue
			}
			e.renamed = true
		}
		moved = moved || e.renamed
	}
	if !moved {
		return errors.Join(errs...)
	}
	if err := w.j.dir.Sync(); err != nil {
		return errors.Join(append(errs, fmt.Errorf("sync directory: %w", err))...)
	}
	w.file.named = true
	w.j.raiseFloor(w.file.number)
	rest := w.ends[:0]
	for _, e := range w.ends {
		if !e.renamed {
			rest = append(rest, e)
			continue
		}
		e.f.Close()
		w.j.publish(grandstand.JournalFile{Journal: e.journal, Number: e.number, Size: e.size})
	}
	clear(w.ends[len(rest):])
	w.ends = rest
	return errors.Join(errs...)
}
