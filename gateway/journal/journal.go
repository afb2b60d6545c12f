package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// Journal is one directory. Its methods may be called at the same time, but for
// Run, which is called once at most, and Close, which comes last.
type Journal struct {
	// static after Open
	cfg     Config
	dir     Dir
	id      string
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{} // holds a token while there is something to do for Run
	settled chan struct{} // closed when Run has sealed everything
	over    chan struct{} // closed when Run has returned
	gather  atomic.Int64  // ns; the least time between two commits if it is above Config.CommitEvery

	mu      sync.Mutex
	buf     []byte                   // guarded by mu; records that wait for a commit
	waits   []waiting                // guarded by mu; of the events in buf
	events  uint64                   // guarded by mu; in buf
	spans   []trace.Span             // guarded by mu; of events in buf
	taken   uint64                   // guarded by mu; events that were accepted, ever
	writing int                      // guarded by mu; bytes that Run has taken from buf and not yet made durable
	busy    time.Time                // guarded by mu; since when Run waits for the disk; zero: it does not
	trouble reason                   // guarded by mu; the disk's, that everything is refused for
	bounded bool                     // guarded by mu; MaxBytes are used
	refused [reasons]refusal         // guarded by mu; not yet in a JournalGap
	floor   uint64                   // guarded by mu; a file of that number is there, durably: lower ones may go
	used    int64                    // guarded by mu; bytes on disk
	sealed  []grandstand.JournalFile // guarded by mu; by number
	since   map[uint64]time.Time     // guarded by mu; by number, when each of sealed came to be there
	changed chan struct{}            // guarded by mu; closed, and made anew, when sealed gets shorter
	run     phase                    // guarded by mu
	ran     bool                     // guarded by mu; Run was called

	w writer // owned by Open, then by Run, then by Close
}

type waiting struct {
	w      Waiter
	seq    uint64
	number uint64 // of the event among all that were accepted, from 1
}

// reason is why events are refused. Its names are labels of metrics and, but
// for the first and the last, words of JournalGap.
type reason uint8

const (
	none    reason = iota
	full           // the disk is, or MaxBytes are used
	broken         // the disk fails
	slow           // the disk stalls, or MaxBuffer is full
	closing        // the journal is at its end
	reasons
)

var reasonNames = [reasons]string{"", "full", "io", "slow", "closing"}

// refusals are the answers of Append; made once, since they come in masses.
var refusals = [reasons]error{
	full:    refusalOf("the disk is full"),
	broken:  refusalOf("the disk fails"),
	slow:    refusalOf("the disk does not keep up"),
	closing: refusalOf("the journal is being closed"),
}

func refusalOf(cause string) error {
	return grandstand.WrapError(grandstand.CodeUnavailable, errors.New(cause), "events are not kept at the moment: send them again later")
}

// refusal is what a JournalGap says.
type refusal struct {
	from, to int64 // Redis ms
	events   uint64
}

// phase is where a Journal is in its life.
type phase uint8

const (
	phaseOpen    phase = iota // Run was not called
	phaseRunning              // Append is welcome from phaseOpen on
	phaseSealing              // Append refuses; Run makes the rest durable
	phaseOver                 // Run has returned
)

// Open takes a directory. Files that an earlier process left are sealed: what
// is torn at their end is cut off, and what is damaged inside stays as it is.
// It starts nothing: who only adopts what is there may leave Run out.
//
// It fails with CodeConflict if the directory is somebody else's.
func Open(cfg Config) (*Journal, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	dir, err := cfg.FS.Lock(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{
		cfg: cfg, dir: dir,
		log:     cfg.Logger,
		wake:    make(chan struct{}, 1),
		settled: make(chan struct{}),
		over:    make(chan struct{}),
		changed: make(chan struct{}),
		since:   map[uint64]time.Time{},
	}
	j.metrics = newMetrics(cfg.Registerer, j.oldest)
	j.w.j = j
	if err := j.recover(); err != nil {
		j.metrics.unregister(cfg.Registerer)
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), dir.Close())
	}
	return j, nil
}

// ID returns the journal's id.
func (j *Journal) ID() string { return j.id }

// Append takes an event to be written; w, unless nil, is told when it is
// durable. e is the caller's again. It never waits for the disk, and does not
// allocate. It fails at once with CodeUnavailable if the disk is full, fails or
// stalls, and when the journal is being sealed for good; with CodeTooLarge if
// the event does not fit into a record.
func (j *Journal) Append(e *grandstand.RawEvent, w Waiter) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if why := j.unableLocked(); why != none {
		return j.refuseLocked(why)
	}
	before := len(j.buf)
	b := grandstand.AppendEventRecord(j.buf, e)
	size := len(b) - before
	j.buf = b[:before]
	switch {
	case size > grandstand.MaxJournalRecord:
		return grandstand.Errorf(grandstand.CodeTooLarge, "the event is too large to be kept")
	case len(b)+j.writing > j.cfg.MaxBuffer:
		return j.refuseLocked(slow)
	case j.used+int64(len(b)+j.writing) > j.cfg.MaxBytes:
		j.bounded = true
		return j.refuseLocked(full)
	}
	j.buf = b
	j.events++
	j.taken++
	if w != nil {
		j.waits = append(j.waits, waiting{w, e.Seq, j.taken})
	}
	if len(e.Trace) > 0 {
		j.followLocked(e)
	}
	if before == 0 {
		j.poke()
	}
	return nil
}

// Gather sets the least time between two commits, if it is above CommitEvery: an
// overloaded gateway has events gather. 0: CommitEvery holds.
func (j *Journal) Gather(every time.Duration) {
	j.gather.Store(int64(every))
	j.poke()
}

func (j *Journal) commitEvery() time.Duration {
	return max(j.cfg.CommitEvery, time.Duration(j.gather.Load()))
}

// unableLocked returns why nothing at all is accepted.
func (j *Journal) unableLocked() reason {
	switch {
	case j.run >= phaseSealing:
		return closing
	case j.trouble != none:
		return j.trouble
	case j.bounded:
		return full
	case !j.busy.IsZero() && time.Since(j.busy) > j.cfg.StallLimit:
		return slow
	}
	return none
}

func (j *Journal) refuseLocked(why reason) error {
	now := j.cfg.Clock.Now()
	r := &j.refused[why]
	if r.events == 0 {
		r.from = now
		j.poke()
	}
	r.to = max(r.to, now)
	r.events++
	j.metrics.refusedBy[why].Inc()
	return refusals[why]
}

// poke has Run look for something to do.
func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run writes what is appended until ctx ends. Then it commits the rest, seals
// the file, and returns; sealed files are still served. Its error says what
// could not be made durable.
func (j *Journal) Run(ctx context.Context) error {
	if j.cfg.Gateway == "" {
		return errors.New("journal: Config.Gateway is required")
	}
	j.mu.Lock()
	ran := j.ran
	j.ran, j.run = true, max(j.run, phaseRunning)
	j.mu.Unlock()
	if ran {
		return errors.New("journal: Run was called before")
	}
	defer close(j.over)
	return j.w.run(ctx)
}

// Close gives the directory back. Call it when Run has returned.
func (j *Journal) Close() error {
	j.setPhase(phaseOver)
	err := j.w.close()
	j.metrics.unregister(j.cfg.Registerer)
	return errors.Join(err, j.dir.Close())
}

// setPhase goes on to a later phase.
func (j *Journal) setPhase(p phase) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.run = max(j.run, p)
}

func (j *Journal) phaseNow() phase {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.run
}

// reasonOf says what an error of the disk means to those who append.
func reasonOf(err error) reason {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return full
	}
	return broken
}
