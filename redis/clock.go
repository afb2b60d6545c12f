package redis

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	clockSamples  = 8                     // of the last ones the quickest holds
	openSamples   = 3                     // taken at once by Open
	clockJumpSlop = 50 * time.Millisecond // beyond the round trips: another clock, not a slow answer
)

// clock follows the clock of Redis: an offset to the monotonic clock of this
// process. The offset comes from the sample with the shortest round trip of the
// last few, because the error of a sample is at most half of that.
type clock struct {
	base   time.Time    // monotonic zero
	offset atomic.Int64 // Redis µs at base

	mu      sync.Mutex
	samples []sample // guarded by mu; the last ones, oldest first
}

type sample struct {
	offset int64 // Redis µs at base
	trip   time.Duration
}

func newClock(now time.Time) *clock {
	c := &clock{base: now}
	c.offset.Store(now.UnixMicro())
	return c
}

func (c *clock) nowMS(at time.Time) int64 {
	return (c.offset.Load() + at.Sub(c.base).Microseconds()) / 1000
}

// add takes a sample: Redis said redisMicros between begin and end. It returns
// the offset that holds now. A sample that no delay explains means that the
// clock of Redis jumped (it was restarted elsewhere, or set): it holds at once.
func (c *clock) add(redisMicros int64, begin, end time.Time) int64 {
	s := sample{trip: end.Sub(begin)}
	s.offset = redisMicros - begin.Add(s.trip/2).Sub(c.base).Microseconds()

	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.samples
	if len(list) > 0 {
		best := quickest(list)
		slop := clockJumpSlop + (s.trip+best.trip)/2
		if d := s.offset - best.offset; d > slop.Microseconds() || d < -slop.Microseconds() {
			list = list[:0]
		}
	}
	if list = append(list, s); len(list) > clockSamples {
		list = append(list[:0], list[1:]...)
	}
	c.samples = list
	best := quickest(list)
	c.offset.Store(best.offset)
	return best.offset
}

func quickest(list []sample) sample {
	best := list[0]
	for _, s := range list[1:] {
		if s.trip <= best.trip {
			best = s
		}
	}
	return best
}

// Now returns the time of Redis in Unix ms, by the offset measured last. It
// never blocks.
func (c *Client) Now() int64 { return c.clock.nowMS(time.Now()) }

// Run follows the clock of Redis until ctx ends, and returns nil then. While
// Redis is away the clock goes on by itself.
func (c *Client) Run(ctx context.Context) error {
	t := time.NewTicker(c.cfg.SampleEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			_ = c.sampleClock(ctx) // counted; the next one is due soon
		}
	}
}

// sampleAtOpen takes a few samples, of which the first must succeed: it pays for
// the connection and is the slowest.
func (c *Client) sampleAtOpen(ctx context.Context) error {
	if err := c.sampleClock(ctx); err != nil {
		return err
	}
	for range openSamples - 1 {
		_ = c.sampleClock(ctx)
	}
	return nil
}

// sampleClock asks the node of the members' slot, so that all processes follow
// the same node of a cluster.
func (c *Client) sampleClock(ctx context.Context) error {
	begin := time.Now()
	reply, err := c.evalStrings(ctx, timeScript, []string{membersKey})
	end := time.Now()
	if err != nil {
		return err
	}
	micros, err := parseTime(reply)
	if err != nil {
		return c.fail(timeScript.op, err)
	}
	offset := c.clock.add(micros, begin, end)
	// By the wall clock of now, not of the start: tokens end by it, and it may be set.
	redisNow := offset + end.Sub(c.clock.base).Microseconds()
	c.m.offset.Set(float64(redisNow-end.UnixMicro()) / 1e6)
	return nil
}

// parseTime reads the reply of TIME: seconds and microseconds.
func parseTime(reply []string) (micros int64, err error) {
	if len(reply) != 2 {
		return 0, strconv.ErrSyntax
	}
	s, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		return 0, err
	}
	us, err := strconv.ParseInt(reply[1], 10, 64)
	return s*1_000_000 + us, err
}
