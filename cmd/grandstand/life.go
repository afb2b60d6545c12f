package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// stopBound is how long one part may take to stop before the process goes on
// without it, on top of what the part asked for.
const stopBound = 10 * time.Second

// life owns what a process runs. Parts start in the order they are added and
// stop in the reverse order, each waited for: a part may rely on all that were
// added before it until it has stopped.
type life struct {
	log    *slog.Logger
	parts  []part
	failed chan error  // the first part that ended by itself
	whole  atomic.Bool // all parts have been added
}

type part struct {
	name  string
	bound time.Duration
	stop  func(context.Context) error
}

func newLife(log *slog.Logger) *life {
	return &life{log: log, failed: make(chan error, 1)}
}

// run starts a part that blocks until its context ends.
func (l *life) run(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			select {
			case l.failed <- fmt.Errorf("%s ended: %w", name, errors.Join(err, errUnasked)):
			default:
			}
		}
		done <- err
	}()
	l.onStop(name, 0, func(stopping context.Context) error {
		cancel()
		select {
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-stopping.Done():
			return stopping.Err()
		}
	})
}

var errUnasked = errors.New("nobody asked it to stop")

// onStop adds something to do when the process stops, within extra time.
func (l *life) onStop(name string, extra time.Duration, stop func(context.Context) error) {
	l.parts = append(l.parts, part{name: name, bound: stopBound + extra, stop: stop})
}

// wait blocks until ctx ends or a part fails, then stops all parts.
func (l *life) wait(ctx context.Context) error {
	l.whole.Store(true)
	var failure error
	select {
	case <-ctx.Done():
		l.log.Info("stopping", "why", context.Cause(ctx))
	case failure = <-l.failed:
		l.log.Error("stopping", "why", failure)
	}
	return errors.Join(failure, l.stop())
}

func (l *life) stop() error {
	var errs []error
	for i := len(l.parts) - 1; i >= 0; i-- {
		p := l.parts[i]
		ctx, cancel := context.WithTimeout(context.Background(), p.bound)
		start := time.Now()
		if err := p.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, err))
		}
		cancel()
		l.log.Debug("stopped", "part", p.name, "took", time.Since(start).Round(time.Millisecond))
	}
	l.parts = nil
	return errors.Join(errs...)
}
