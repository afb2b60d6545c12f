package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// Config says how a Journal works. What has no default is required.
type Config struct {
	// Dir is the journal's directory. It is made if need be.
	Dir string

	// Gateway is the member id that headers name. Required by Run only: who
	// adopts a directory does not write events.
	Gateway string

	Clock Clock

	// Committed is called once per commit, after the calls of Durable that it
	// led to: the time to write one acknowledgement per connection. Like them
	// it must return at once. Default: none.
	Committed func()

	// MaxFile is the size at which a file is sealed. Default and maximum
	// grandstand.MaxJournalFile. One that a single commit fills is longer.
	MaxFile int64

	// MaxAge is the age at which a file is sealed, so it is the better part of
	// the time from an event to its row. Default 1 min.
	MaxAge time.Duration

	// MaxBytes bounds the bytes on disk; what is beyond is refused until an
	// archiver has files deleted. Default 8 GiB: 18,000 connections with an
	// event of 400 B each 10 s for over three hours.
	MaxBytes int64

	// MaxBuffer bounds the bytes that wait for the disk. Twice as much memory
	// is taken at worst. Default MaxFile / 2: at 40,000 events of 800 B a
	// second that is one second of a stalled disk.
	MaxBuffer int

	// CommitEvery is the least time from one commit to the next, so about half
	// of it is what an event waits at least. Default 10 ms, at most 20 ms. See
	// Journal.Gather.
	CommitEvery time.Duration

	// StallLimit is for how long the disk may be busy with a commit before
	// events are refused. Default 10 s.
	StallLimit time.Duration

	// RetryEvery is the time between two tries to work with a disk that failed
	// or is full. Default 500 ms.
	RetryEvery time.Duration

	FS         FS                    // default: the operating system's
	Tracer     trace.Tracer          // takes the spans of events that are followed; default: none is
	Violated   grandstand.Violated   // told of broken invariants; default: nobody is
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

// Clock tells Redis time.
type Clock interface {
	// Now returns Redis ms and never blocks.
	Now() int64
}

// Waiter is told what of its own is durable. It is one connection or request.
type Waiter interface {
	// Durable says that the event of that seq (0 if it had none) is durable,
	// and with it everything that was appended for this waiter before. It is
	// called once for each event that was accepted, in the order of Append, by
	// one goroutine, and must return at once. What the journal was closed
	// before it could be written is never told of.
	Durable(seq uint64)
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return errors.New("journal: Config.Dir is required")
	}
	if c.Clock == nil {
		return errors.New("journal: Config.Clock is required")
	}
	if c.MaxFile > grandstand.MaxJournalFile || c.MaxBuffer > grandstand.MaxJournalFile {
		return fmt.Errorf("journal: Config.MaxFile and MaxBuffer are at most %d bytes", grandstand.MaxJournalFile)
	}
	if c.CommitEvery > 20*time.Millisecond {
		return errors.New("journal: Config.CommitEvery is at most 20 ms")
	}
	defaultTo(&c.MaxFile, grandstand.MaxJournalFile)
	defaultTo(&c.MaxAge, time.Minute)
	defaultTo(&c.MaxBytes, 8<<30)
	defaultTo(&c.MaxBuffer, int(c.MaxFile/2))
	defaultTo(&c.CommitEvery, 10*time.Millisecond)
	defaultTo(&c.StallLimit, 10*time.Second)
	defaultTo(&c.RetryEvery, 500*time.Millisecond)
	if c.FS == nil {
		c.FS = diskFS{}
	}
	if c.Violated == nil {
		c.Violated = func(grandstand.Invariant, ...any) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func defaultTo[T int | int64 | time.Duration](at *T, value T) {
	if *at <= 0 {
		*at = value
	}
}
