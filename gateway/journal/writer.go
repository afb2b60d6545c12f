package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// writer is the half of a Journal that waits for the disk. It has one owner at
// a time: Open, then Run, then Close. What can wait it leaves to a settlement,
// so that commits go on while a file is sealed.
type writer struct {
	j *Journal

	file     *current         // where the next batch goes; nil: there is none at the moment
	spare    *current         // to be the next file; nil: it has to be made
	next     uint64           // number of the file that is made next
	ends     []*ended         // files to be sealed, oldest first
	settling chan *settlement // yields the one that is under way; nil: none is

	batch   batch
	durable uint64 // events that were synced, ever
	room    []byte // to be the next buf

	lastBegan time.Time // when the last commit began
	failures  int       // commits that failed since one worked
	retryAt   time.Time // no commit is tried before
	settleAt  time.Time // nothing is settled before
	said      string    // the last trouble that was logged
}

// batch is what one commit makes durable. It stays whole until it has.
type batch struct {
	buf    []byte
	waits  []waiting
	events uint64
	gaps   uint64
	spans  []trace.Span
}

// never is a time until nothing is due.
const never = time.Hour

// run is Journal.Run.
func (w *writer) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.finish()
		case s := <-w.settling:
			w.settled(s)
		case <-w.j.wake:
		case <-timer.C:
		}
		timer.Reset(w.step(time.Now()))
	}
}

// step does what is due and returns for how long nothing will be.
func (w *writer) step(now time.Time) time.Duration {
	due := now.Add(never)
	if w.hasWork() {
		w.j.setBusy(true)
		if w.file != nil {
			due = latest(w.lastBegan.Add(w.j.commitEvery()), w.retryAt)
			if !due.After(now) {
				w.commit(now)
				due = now // look again: more may have come
			}
		}
	}
	if w.file != nil && w.file.size > 0 {
		old := w.file.born.Add(w.j.cfg.MaxAge)
		if !old.After(now) {
			w.end()
		} else {
			due = earliest(due, old)
		}
	}
	w.last()
	if w.settle(now); w.settling == nil && w.isUnsettled() {
		due = earliest(due, w.settleAt)
	}
	return max(due.Sub(now), 0)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hasWork reports whether there is something to commit.
func (w *writer) hasWork() bool {
	if len(w.batch.buf) > 0 {
		return true
	}
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.buf) > 0 {
		return true
	}
	for why := full; why < closing; why++ {
		if j.gapOverLocked(why) {
			return true
		}
	}
	return false
}

// gapOverLocked reports whether events were refused for a reason that does not
// hold any more.
func (j *Journal) gapOverLocked(why reason) bool {
	return j.refused[why].events > 0 && j.trouble != why && !(why == full && j.bounded)
}

// take moves what was appended into the batch, unless that is still to be
// written.
func (w *writer) take() {
	j, b := w.j, &w.batch
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(b.buf) > 0 {
		return
	}
	b.buf, j.buf, w.room = j.buf, w.room[:0], nil
	b.waits, j.waits = j.waits, b.waits[:0]
	b.spans, j.spans = j.spans, b.spans[:0]
	b.events, j.events = j.events, 0
	b.gaps = 0
	for why := full; why < closing; why++ {
		if !j.gapOverLocked(why) {
			continue
		}
		r := &j.refused[why]
		b.buf = grandstand.AppendGapRecord(b.buf, &grandstand.JournalGap{
			From: r.from, To: r.to, Refused: r.events, Reason: reasonNames[why],
		})
		b.gaps++
		*r = refusal{}
	}
	j.writing = len(b.buf)
	j.metrics.appended.Add(float64(b.events))
}

// commit makes what was appended durable and tells of it.
func (w *writer) commit(now time.Time) {
	w.lastBegan = now
	w.take()
	if c := w.file; c.size > 0 && c.size+int64(len(w.batch.buf)) > w.j.cfg.MaxFile {
		if w.end(); w.file == nil {
			return
		}
	}
	err := w.write()
	w.j.setBusy(false)
	if err != nil {
		w.failed(err)
		return
	}
	w.j.metrics.commitSeconds.Observe(time.Since(now).Seconds())
	w.failures = 0
	w.tell()
}

// write writes the batch and syncs it.
func (w *writer) write() error {
	c, head := w.file, []byte(nil)
	if c.dirty {
		if err := c.f.Truncate(c.size); err != nil {
			return fmt.Errorf("cut %s: %w", openName(c.number), err)
		}
		c.dirty = false
	}
	if c.size == 0 {
		head = grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{
			Journal: w.j.id, File: c.number, Gateway: w.j.cfg.Gateway, CreatedAt: w.j.cfg.Clock.Now(),
		})
		if _, err := c.f.WriteAt(head, 0); err != nil {
			return fmt.Errorf("write %s: %w", openName(c.number), err)
		}
	}
	if _, err := c.f.WriteAt(w.batch.buf, c.size+int64(len(head))); err != nil {
		return fmt.Errorf("write %s: %w", openName(c.number), err)
	}
	began := time.Now()
	if err := c.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", openName(c.number), err)
	}
	w.traceCommit(c, began)
	if c.size == 0 {
		c.born = w.lastBegan
	}
	n := int64(len(head) + len(w.batch.buf))
	c.size += n
	c.events += w.batch.events
	w.durable += w.batch.events
	w.j.metrics.written.Add(float64(len(head) + len(w.batch.buf)))
	c.gaps += w.batch.gaps
	w.j.use(n)
	return nil
}

// tell lets events in again and says which are durable.
func (w *writer) tell() {
	j, b := w.j, &w.batch
	b.buf, w.room = nil, trim(b.buf, 4<<20)
	w.works()
	j.mu.Lock()
	j.writing = 0
	j.mu.Unlock()
	j.metrics.durable.Add(float64(b.events))
	for _, of := range b.waits {
		if of.number > w.durable {
			j.cfg.Violated(grandstand.InvariantDurable, "journal", j.id, "number", of.number, "durable", w.durable)
		}
		of.w.Durable(of.seq)
	}
	if len(b.waits) > 0 && j.cfg.Committed != nil {
		j.cfg.Committed()
	}
	clear(b.waits)
	b.waits, b.events = trim(b.waits, 1<<16), 0
}

// trim returns the room of a slice to be used again; none if it is much larger
// than what is usual.
func trim[T any](s []T, usual int) []T {
	if cap(s) > usual && len(s) < cap(s)/4 {
		return nil
	}
	return s[:0]
}

// failed notes that the disk did not take the batch. The file it was for is
// over: what the kernel could not write it may forget, so nothing is added to
// it. One that holds nothing yet is emptied and used again. The batch goes to
// the next file, for the first time without a wait.
func (w *writer) failed(err error) {
	w.file.dirty = true
	if w.file.size > 0 {
		w.end()
	}
	w.refuse(err)
	w.retryAt = time.Time{}
	if w.failures++; w.failures > 1 {
		w.retryAt = time.Now().Add(w.j.cfg.RetryEvery)
	}
}

// refuse has Append refuse until the disk works.
func (w *writer) refuse(err error) {
	w.note(err)
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trouble = reasonOf(err)
}

// works has Append refuse no more.
func (w *writer) works() {
	j := w.j
	j.mu.Lock()
	was := j.trouble
	j.trouble = none
	j.mu.Unlock()
	w.retryAt = time.Time{}
	if was != none {
		w.said = ""
		j.log.Info("the journal's disk works again")
	}
}

// note counts an error of the disk, and logs it unless it is the same again.
func (w *writer) note(err error) {
	w.j.metrics.failures.WithLabelValues(reasonNames[reasonOf(err)]).Inc()
	if s := err.Error(); s != w.said {
		w.said = s
		w.j.log.Error("the journal's disk does not work", "error", err)
	}
}

// last says to Seal that everything has come to its end, once it has.
func (w *writer) last() {
	if w.j.phaseNow() != phaseSealing || w.hasWork() {
		return
	}
	if w.file != nil && w.file.size > 0 {
		w.end()
	}
	if len(w.ends) > 0 || w.settling != nil {
		return
	}
	select {
	case <-w.j.settled:
	default:
		close(w.j.settled)
	}
}

// finish is for when ctx ends. What is left is tried a last time.
func (w *writer) finish() error {
	w.j.setPhase(phaseSealing)
	for range 4 { // what failed, in another file; what came meanwhile; what was refused; the seal
		w.await()
		if w.hasWork() && w.file != nil {
			w.commit(time.Now())
		}
		w.last()
		w.settleAt = time.Time{}
		w.settle(time.Now())
	}
	w.await()
	w.last()
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	j.run = phaseOver
	if lost, left := w.batch.events+j.events, len(w.ends); lost > 0 || left > 0 {
		return fmt.Errorf("close journal: %d events were not made durable, %d files are not sealed: %s", lost, left, w.said)
	}
	return nil
}

// close closes the files.
func (w *writer) close() error {
	var errs []error
	for _, e := range w.ends {
		if e.f != nil {
			errs = append(errs, e.f.Close())
		}
	}
	for _, c := range [...]*current{w.file, w.spare} {
		if c != nil {
			errs = append(errs, c.f.Close())
		}
	}
	w.ends, w.file, w.spare = nil, nil, nil
	return errors.Join(errs...)
}

// setBusy says whether somebody waits for the disk.
func (j *Journal) setBusy(is bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case !is:
		j.busy = time.Time{}
	case j.busy.IsZero():
		j.busy = time.Now()
	}
}

// use counts bytes that are on disk from now on.
func (j *Journal) use(n int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.used += n
	j.metrics.bytes.Set(float64(j.used))
}
