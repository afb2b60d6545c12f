package redis

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestClockTrustsTheQuickestSample(t *testing.T) {
	base := time.Now()
	c := newClock(base)
	const redisAhead = 7_000_000 // µs
	sample := func(at, there, back time.Duration) {
		begin := base.Add(at)
		c.add(begin.Add(there).UnixMicro()+redisAhead, begin, begin.Add(there+back))
	}
	now := func(at time.Duration) int64 { return c.nowMS(base.Add(at)) - base.UnixMilli() }
	near := func(what string, got, want int64) {
		t.Helper()
		if got < want-1 || got > want+1 {
			t.Errorf("%s: %d ms, want %d", what, got, want)
		}
	}
	near("before any sample it is the local clock", now(time.Second), 1000)
	sample(time.Second, 30*time.Millisecond, 0) // all the delay on one way: 15 ms off
	near("one slow sample", now(2*time.Second), 9015)
	sample(2*time.Second, time.Millisecond, time.Millisecond)
	near("a quick one holds", now(3*time.Second), 10_000)
	sample(3*time.Second, 0, 40*time.Millisecond)
	near("a slow one does not", now(4*time.Second), 11_000)
	sample(4*time.Second, 900*time.Millisecond, 0) // a stalled server is no jump
	near("nor a stalled one", now(5*time.Second), 12_000)
	for i := range clockSamples {
		sample(time.Duration(10+i)*time.Second, 4*time.Millisecond, 0)
	}
	near("the quickest of the last few", now(20*time.Second), 27_002)
}

func TestClockAdoptsAJump(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, time.Hour, -200 * time.Millisecond} {
		base := time.Now()
		c := newClock(base)
		for i := range 5 {
			at := base.Add(time.Duration(i) * time.Second)
			c.add(at.UnixMicro(), at, at.Add(time.Millisecond))
		}
		at := base.Add(6 * time.Second)
		c.add(at.Add(jump).UnixMicro(), at, at.Add(3*time.Millisecond)) // slower, yet it holds
		if got, want := c.nowMS(at), at.Add(jump).UnixMilli(); got < want-3 || got > want+1 {
			t.Errorf("after a jump of %v the clock is %d ms off", jump, got-want)
		}
	}
}

func TestClockGoesOnWithoutRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now())
		begin := c.nowMS(time.Now())
		time.Sleep(90 * time.Second)
		if d := c.nowMS(time.Now()) - begin; d != 90_000 {
			t.Errorf("without Redis the clock advanced %d ms in 90 s", d)
		}
	})
}

// TestRunFollowsTheClock sets the clock of Redis while a client follows it.
func TestRunFollowsTheClock(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	c, err := Open(t.Context(), Config{Address: e.Address(), SampleEvery: 5 * time.Millisecond})
	ok(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		want := time.Now().Add(jump)
		e.m.SetTime(want) // it stands still there
		eventually(t, 5*time.Second, "Now has jumped", func() bool {
			d := c.Now() - want.UnixMilli()
			return d > -1000 && d < 1000
		})
	}
	cancel()
	ok(t, <-done)
}

func TestParseTime(t *testing.T) {
	if got, err := parseTime([]string{"1795299042", "179004"}); err != nil || got != 1_795_299_042_179_004 {
		t.Errorf("parseTime = %d, %v", got, err)
	}
	for _, bad := range [][]string{nil, {"1"}, {"a", "1"}, {"1", "b"}, {"1", "2", "3"}} {
		if _, err := parseTime(bad); err == nil {
			t.Errorf("parseTime(%q) has no error", bad)
		}
	}
}
