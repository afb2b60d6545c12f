package aggregator

import (
	"context"
	"time"
)

// job is something to be done off the tick. It returns what is to be done with
// its outcome on the tick's goroutine; nil if nothing is.
type job func(ctx context.Context) (done func())

// worker does jobs, one batch at a time. All but run is called by the
// goroutine that owns the events, which never waits for it.
type worker struct {
	width   int           // jobs at the same time
	timeout time.Duration // of each
	in      chan []job
	out     chan []func()
	busy    bool
}

func newWorker(width int, timeout time.Duration) *worker {
	return &worker{width: width, timeout: timeout, in: make(chan []job, 1), out: make(chan []func(), 1)}
}

// run works until ctx ends. The outcome of the last batch can still be
// collected then.
func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case jobs := <-w.in:
			w.out <- w.do(ctx, jobs)
		}
	}
}

func (w *worker) do(ctx context.Context, jobs []job) []func() {
	done := make([]func(), len(jobs))
	parallel(len(jobs), w.width, func(i int) {
		ctx, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		done[i] = jobs[i](ctx)
	})
	return done
}

// collect takes the outcome of a batch that is ready.
func (w *worker) collect() {
	select {
	case done := <-w.out:
		finish(done)
		w.busy = false
	default:
	}
}

func finish(done []func()) {
	for _, f := range done {
		if f != nil {
			f()
		}
	}
}

// start begins a batch. The worker must not be busy.
func (w *worker) start(jobs []job) {
	if len(jobs) > 0 {
		w.busy = true
		w.in <- jobs
	}
}

// flush does the jobs at once, after the batch that nobody has begun, if there
// is one. The worker must not be running any more.
func (w *worker) flush(ctx context.Context, jobs []job) {
	select {
	case waiting := <-w.in:
		finish(w.do(ctx, waiting))
	default:
	}
	finish(w.do(ctx, jobs))
}
