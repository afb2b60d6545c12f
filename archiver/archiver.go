package archiver

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// Config says what an Archiver works on.
type Config struct {
	// Store is where objects go. Required.
	Store *Store

	// Sources returns where journals are at the moment. It is called before
	// each round; sources that are the same as before must be equal. Required.
	Sources func() []Source

	// Mine tells which files are this archiver's share (see Owner). Default:
	// all. It does not matter if two archivers take the same file.
	Mine func(JournalFile) bool

	// TakeOver is the time after which a file that is still there is
	// everybody's. Default two minutes.
	TakeOver time.Duration

	// Workers bounds the files in work at the same time. Default 2, 1 on a
	// machine of one core.
	Workers int

	// InWork bounds the bytes of the journal files in work at the same time, but
	// for one that is larger. An archiver takes about 80 MB and five times as
	// much. Default MaxFile, with which that is under 512 MB.
	InWork int64

	// Poll is the time between two rounds. Default one second.
	Poll time.Duration

	// Temp is the directory of objects before they are uploaded. Default: that
	// of the system.
	Temp string

	Tracer     trace.Tracer          // takes the spans of files that are followed; default: none is
	Registerer prometheus.Registerer // default: none
	Logger     *slog.Logger          // default: discard

	// hook is called at the named points of a file's way (see Points), so that
	// tests can crash there.
	hook func(point string)

	// jitter returns a number of [0, 1). Default: random.
	jitter func() float64
}

// The defaults and limits of the times of an Archiver.
const (
	defaultTakeOver = 2 * time.Minute
	defaultPoll     = time.Second
	maxWorkers      = 16
)

func (c *Config) validate() error {
	switch {
	case c.Store == nil:
		return grandstand.Errorf(grandstand.CodeInvalid, "archiver: there is no store")
	case c.Sources == nil:
		return grandstand.Errorf(grandstand.CodeInvalid, "archiver: there are no sources")
	case c.Workers < 0 || c.Workers > maxWorkers:
		return grandstand.Errorf(grandstand.CodeInvalid, "archiver: workers is 0 to %d", maxWorkers)
	case c.TakeOver < 0 || c.Poll < 0 || c.InWork < 0:
		return grandstand.Errorf(grandstand.CodeInvalid, "archiver: a time or size is negative")
	}
	if c.Mine == nil {
		c.Mine = func(JournalFile) bool { return true }
	}
	if c.TakeOver == 0 {
		c.TakeOver = defaultTakeOver
	}
	if c.Workers == 0 {
		c.Workers = min(2, runtime.NumCPU())
	}
	if c.InWork == 0 {
		c.InWork = MaxFile
	}
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.hook == nil {
		c.hook = func(string) {}
	}
	return nil
}

// Archiver moves sealed journal files into the store. It may crash at any point,
// and any number of them may work on the same files.
type Archiver struct {
	cfg     Config
	metrics *metrics
	queue   *queue
	gate    *gate
	buffers sync.Pool // *[]byte: of journal files, and of objects read back
	trouble trouble   // of files
	absent  trouble   // of sources

	status atomic.Pointer[grandstand.ArchiveStatus] // as of the last round; nil: there was none
}

// New returns an archiver that does nothing yet. Errors have CodeInvalid.
func New(cfg Config) (*Archiver, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	a := &Archiver{cfg: cfg, metrics: newMetrics(cfg.Registerer)}
	a.queue = newQueue(&a.cfg)
	a.gate = newGate(a.cfg.InWork)
	return a, nil
}

// Run archives files until the context ends, and returns once nothing is in
// work any more. What was in work is begun anew by whoever comes next.
func (a *Archiver) Run(ctx context.Context) error {
	jobs := make(chan *job)
	done := make(chan struct{})
	for range a.cfg.Workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range jobs {
				a.work(ctx, j)
				a.gate.leave(j.file.Size)
			}
		}()
	}
	defer func() {
		close(jobs)
		for range a.cfg.Workers {
			<-done
		}
	}()
	tick := time.NewTicker(a.cfg.Poll)
	defer tick.Stop()
	for {
		a.round(ctx, jobs)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round looks at all sources and hands out what is due.
func (a *Archiver) round(ctx context.Context, jobs chan<- *job) {
	listed, failed := a.listAll(ctx)
	due, lag, pending := a.queue.update(listed, failed)
	a.metrics.lag.Set(lag.Seconds())
	a.metrics.pending.Set(float64(pending))
	a.status.Store(&grandstand.ArchiveStatus{LagMS: uint64(lag.Milliseconds()), Pending: uint64(pending)})
	for _, j := range due {
		if !a.gate.enter(ctx, j.file.Size) {
			a.queue.finish(j, ctx.Err())
			continue
		}
		select {
		case jobs <- j:
		case <-ctx.Done():
			a.gate.leave(j.file.Size)
			a.queue.finish(j, ctx.Err())
		}
	}
}

// Describe adds how far the archiver is behind to s. It may be called at any time.
func (a *Archiver) Describe(s *grandstand.Status) { s.Archive = a.status.Load() }

// buffer returns memory of that size, which is not cleared. It goes back with
// release.
func (a *Archiver) buffer(size int64) []byte {
	if b, ok := a.buffers.Get().(*[]byte); ok && int64(cap(*b)) >= size {
		return (*b)[:size]
	}
	return make([]byte, size)
}

func (a *Archiver) release(b []byte) {
	if cap(b) > 0 {
		a.buffers.Put(&b)
	}
}

// Once archives what there is now, whosever share it is, and tries each file
// once. It returns the first error.
func (a *Archiver) Once(ctx context.Context) error {
	listed, failed := a.listAll(ctx)
	var first error
	for _, f := range failed {
		first = cmp.Or(first, f.err)
	}
	for _, l := range listed {
		for _, f := range l.files {
			now := time.Now()
			first = cmp.Or(first, a.work(ctx, &job{file: f, source: l.source, seen: now}))
		}
	}
	return first
}

// work archives a file and notes how it went.
func (a *Archiver) work(ctx context.Context, j *job) error {
	ctx, span := a.follow(ctx, j.file)
	err := a.archive(ctx, j)
	endSpan(span, err)
	step, tries := j.step, j.tries+1 // the job is the queue's after finish
	a.queue.finish(j, err)
	if err != nil && ctx.Err() == nil {
		a.trouble.warn(a.cfg.Logger, "archive file", "journal", j.file.Journal, "file", j.file.Number, "step", step, "tries", tries, "error", err)
	}
	return err
}

// trouble logs what may go wrong again and again: one line a second at most,
// with how many there were since the last.
type trouble struct {
	mu    sync.Mutex
	last  time.Time
	quiet int
}

func (t *trouble) warn(log *slog.Logger, what string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.last) < time.Second {
		t.quiet++
		return
	}
	if t.quiet > 0 {
		args = append(args, "more", t.quiet)
	}
	t.last, t.quiet = now, 0
	log.Warn(what, args...)
}
