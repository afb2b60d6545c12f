package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"grandstand"
)

// current is the file that is being written, or the next one. Its name is
// durable.
type current struct {
	number uint64
	f      File
	size   int64 // durable bytes; 0: not even a header
	dirty  bool  // there may be more bytes than these, to be cut off
	events uint64
	gaps   uint64
	born   time.Time // when its first record was written
	trace  string    // traceparent of the first event that is followed; "": none is
}

// ended is a file that takes no more events, and is not published yet.
type ended struct {
	number  uint64
	f       File   // nil if it was sealed by an earlier process
	journal string // the id in its header
	size    int64  // durable bytes
	dirty   bool   // there may be more bytes than these, to be cut off
	again   []byte // its first bytes, to be written again: they may be in memory only
	whole   bool   // it ends with a seal
	sealed  bool   // durably
	renamed bool
	seal    grandstand.JournalSeal
	at      time.Time // when it ended
	trace   string    // of its first event that is followed
	follow  string    // of the span of its sealing; "": it has not been, or is not followed
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

// end has records go to the next file from now on.
func (w *writer) end() {
	c := w.file
	w.file, w.spare = w.spare, nil
	w.ends = append(w.ends, &ended{
		number: c.number, f: c.f, journal: w.j.id, size: c.size, dirty: c.dirty,
		seal: grandstand.JournalSeal{Events: c.events, Gaps: c.gaps}, at: time.Now(), trace: c.trace,
	})
}

// isUnsettled reports whether there is something to settle.
func (w *writer) isUnsettled() bool { return len(w.ends) > 0 || w.spare == nil }

// settle has the files that ended sealed, and a spare one made, if that is due.
func (w *writer) settle(now time.Time) {
	if w.settling != nil || !w.isUnsettled() || now.Before(w.settleAt) {
		return
	}
	s, done := w.unsettled(), make(chan *settlement, 1)
	w.settling = done
	go func() {
		s.carryOut()
		done <- s
	}()
}

// unsettled returns what there is to settle.
func (w *writer) unsettled() *settlement {
	s := &settlement{j: w.j, ends: w.ends}
	if w.spare == nil {
		s.next = w.next
	}
	w.ends = nil
	return s
}

// await waits for the settlement that is under way.
func (w *writer) await() {
	if w.settling != nil {
		w.settled(<-w.settling)
	}
}

// settled takes the result of a settlement. If there is no file then, events
// are refused.
func (w *writer) settled(s *settlement) {
	w.settling = nil
	w.ends = append(s.ends, w.ends...)
	w.settleAt = time.Time{}
	if s.made != nil {
		w.spare, w.next = s.made, s.made.number+1
	}
	if w.file == nil {
		w.file, w.spare = w.spare, nil
	}
	if s.err != nil {
		w.settleAt = time.Now().Add(w.j.cfg.RetryEvery)
		if w.file == nil {
			w.refuse(s.err)
		} else {
			w.note(s.err)
		}
	}
	if w.file != nil && len(w.batch.buf) == 0 {
		w.works()
	}
}

// settlement seals files, makes the next one, and publishes what is sealed, in
// an order that a crash may cut off anywhere:
//
//  1. a seal is written and synced
//  2. the next file is made
//  3. the sealed one is renamed
//  4. the directory is synced
//  5. the sealed one is listed in Files, if one with a higher number is durable
//
// So whoever deletes a file leaves a higher number behind.
type settlement struct {
	j    *Journal
	ends []*ended // afterwards: those that are not published yet
	next uint64   // number of the file to be made; 0: none
	made *current // nil: none
	err  error    // all trouble; what can be done is done nevertheless
}

func (s *settlement) carryOut() {
	var errs []error
	for _, e := range s.ends {
		errs = append(errs, s.seal(e))
	}
	errs = append(errs, s.make())
	errs = append(errs, s.name())
	s.err = errors.Join(errs...)
}

// seal cuts off what is not known to be durable and seals the file.
func (s *settlement) seal(e *ended) error {
	if e.sealed {
		return nil
	}
	if e.dirty {
		if err := e.f.Truncate(e.size); err != nil {
			return fmt.Errorf("cut %s: %w", openName(e.number), err)
		}
	}
	e.dirty = true
	if len(e.again) > 0 {
		// What an earlier process wrote may never have come to the disk, though a
		// sync would say so: one that failed has made the kernel forget it.
		// And it has to be there before a seal counts it.
		if _, err := e.f.WriteAt(e.again, 0); err != nil {
			return fmt.Errorf("write %s again: %w", openName(e.number), err)
		}
		if err := e.f.Sync(); err != nil {
			return fmt.Errorf("sync %s again: %w", openName(e.number), err)
		}
	}
	var b []byte
	if !e.whole {
		e.seal.SealedAt = s.j.cfg.Clock.Now()
		b = grandstand.AppendSealRecord(nil, &e.seal)
		if _, err := e.f.WriteAt(b, e.size); err != nil {
			return fmt.Errorf("seal %s: %w", openName(e.number), err)
		}
	}
	if err := e.f.Sync(); err != nil {
		return fmt.Errorf("sync sealed %s: %w", openName(e.number), err)
	}
	e.size += int64(len(b))
	e.whole, e.sealed, e.again = true, true, nil
	s.j.use(int64(len(b)))
	return nil
}

// make makes the next file. It stays empty until there are records to follow
// its header.
func (s *settlement) make() error {
	if s.next == 0 {
		return nil
	}
	f, err := s.j.dir.Open(openName(s.next), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("make %s: %w", openName(s.next), err)
	}
	s.made = &current{number: s.next, f: f}
	return nil
}

// name gives sealed files their names, makes all names durable, and publishes
// what it can.
func (s *settlement) name() error {
	var errs []error
	moved := s.made != nil
	for _, e := range s.ends {
		if e.sealed && !e.renamed {
			if err := s.j.dir.Rename(openName(e.number), sealedName(e.number)); err != nil {
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
	if err := s.j.dir.Sync(); err != nil {
		if s.made != nil { // to be made again
			s.made.f.Close()
			s.made = nil
		}
		return errors.Join(append(errs, fmt.Errorf("sync directory: %w", err))...)
	}
	for _, e := range s.ends {
		s.j.raiseFloor(e.number)
	}
	if s.made != nil {
		s.j.raiseFloor(s.made.number)
	}
	s.ends = slices.DeleteFunc(s.ends, s.publish)
	return errors.Join(errs...)
}

// publish lists a file in Files, if it can.
func (s *settlement) publish(e *ended) bool {
	if !e.renamed {
		return false
	}
	if e.trace != "" && e.follow == "" {
		e.follow = s.j.traceSeal(e)
	}
	if !s.j.publish(grandstand.JournalFile{Journal: e.journal, Number: e.number, Size: e.size, Trace: e.follow}) {
		return false
	}
	if e.f != nil {
		e.f.Close()
	}
	return true
}
