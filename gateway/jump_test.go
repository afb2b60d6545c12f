package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// setBack has two gateways whose clock was set back by 8 s, and has not ticked
// since.
func setBack(t *testing.T, f func(t *testing.T, redis *fakeRedis, a, b *rig, jump func())) {
	clock := &jumpyClock{}
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis()
		a := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID, c.Clock = "a", clock }})
		b := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID, c.Clock = "b", clock }})
		time.Sleep(10 * time.Millisecond)
		f(t, redis, a, b, func() { clock.ahead.Add(-8_000) })
		a.stop()
		b.stop()
	})
}

// Who moved on between a jump of the clock and the next tick, and said goodbye
// elsewhere, is not won back by the gateway that it came from.
func TestWhoMovedWhenTheClockWasSetBackStaysAway(t *testing.T) {
	setBack(t, func(t *testing.T, redis *fakeRedis, a, b *rig, jump func()) {
		v := a.watch("viewer=v1&device=d1&team=KC&interval_ms=5000")
		ticked()
		time.Sleep(500 * time.Millisecond)
		v.cut()
		jump()
		again := b.watch("viewer=v1&device=d1&team=KC&interval_ms=5000&session=" + v.session)
		ticked()
		again.leave()
		for range 12 {
			ticked()
			if n := redis.count("final", "world"); n != 0 {
				t.Fatalf("%d sessions count, all are gone", n)
			}
		}
	})
}

// Beats and joins between a jump and the next tick count as what they are.
func TestBeatsWhenTheClockWasSetBack(t *testing.T) {
	setBack(t, func(t *testing.T, redis *fakeRedis, a, b *rig, jump func()) {
		old := a.watch("viewer=v1&interval_ms=5000")
		ticked()
		time.Sleep(100 * time.Millisecond)
		jump()
		time.Sleep(100 * time.Millisecond)
		old.send(`{"t":"beat"}`)
		young := a.watch("viewer=v2&interval_ms=5000")
		linger := time.Duration(grandstand.LingerMS(5000)) * time.Millisecond
		begin := time.Now()
		for ticked(); time.Since(begin) < linger; ticked() {
			if n := redis.count("final", "world"); n != 2 {
				t.Fatalf("after %v %d sessions count, not 2", time.Since(begin), n)
			}
		}
		ticked()
		if n := redis.count("final", "world"); n != 0 {
			t.Errorf("after %v %d sessions count that have not beaten since", time.Since(begin), n)
		}
		_, _ = old, young
	})
}

// No socket outlives its session, whatever it noted: nobody would look at it again.
func TestASessionThatLapsesTakesItsSocketsAlong(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&interval_ms=60000")
		ticked()
		s := rg.g.roomOf("final").find(v.session)
		s.mu.Lock()
		s.BeatAt -= grandstand.LingerMS(s.IntervalMS)
		s.mu.Unlock()
		ticked()
		if err := <-v.closed; websocket.CloseStatus(err) != websocket.StatusCode(closeSilent) {
			t.Errorf("its socket is closed with %v", err)
		}
	})
}

// A clock shows a jump when it is taken, and not before.
func TestSteadyClock(t *testing.T) {
	jumpy := &jumpyClock{}
	synctest.Test(t, func(t *testing.T) {
		c := &steadyClock{}
		c.start(jumpy)
		for _, by := range []int64{-8_000, 8_000, -jumpMS, jumpMS, 3_600_000} {
			before := c.Now()
			jumpy.ahead.Add(by)
			time.Sleep(700 * time.Millisecond)
			if d := c.Now() - before; d != 700 {
				t.Errorf("%d: %d ms went by in 700", by, d)
			}
			now, jump := c.take()
			if jump != by || now != jumpy.Now() || c.Now() != now {
				t.Errorf("%d: taken as a jump of %d, %d ms off", by, jump, now-jumpy.Now())
			}
		}
		for _, by := range []int64{-jumpMS + 1, jumpMS - 1} {
			jumpy.ahead.Add(by)
			if c.Now() != jumpy.Now() {
				t.Errorf("%d: a correction is followed at once", by)
			}
			if _, jump := c.take(); jump != 0 {
				t.Errorf("%d: taken as a jump", by)
			}
		}
	})
}
