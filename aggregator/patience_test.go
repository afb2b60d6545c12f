package aggregator

import (
	"testing"
	"testing/synctest"
	"time"
)

// A gateway that is late for once is waited for; one that is gone only once.
func TestATickWaitsForWhoIsLateForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := testEvent("final", "team")
		r.redis.configure(*e)
		a, b := r.gateway(e), r.gateway(e)
		a.crowd(0, 30, "KC")
		b.crowd(100, 10, "SF")
		const patience = 300 * time.Millisecond
		agg := r.aggregator("agg", func(c *Config) { c.Patience = patience })
		expect := func(when, board string, least, most time.Duration) {
			t.Helper()
			begin := time.Now()
			r.wake(agg)
			if took := time.Since(begin); took < least || took > most {
				t.Errorf("%s: the tick took %v, want %v to %v", when, took, least, most)
			}
			if got := quality(r.redis.board(t, "final")); got != board {
				t.Errorf("%s: %s, want %s", when, got, board)
			}
		}
		next := func(late time.Duration) (written chan struct{}) {
			r.advance(2000)
			a.write()
			written = make(chan struct{})
			time.AfterFunc(late, func() { b.write(); close(written) })
			if late == 0 {
				<-written
			}
			return written
		}
		for range 3 {
			next(0)
			expect("both are in time", "40 live 1.00", 0, 0)
		}
		b.crowd(200, 5, "SF")
		written := next(100 * time.Millisecond)
		expect("one is late", "45 live 1.00", 100*time.Millisecond, 100*time.Millisecond+patienceStep)
		<-written

		b.dead = true
		next(0)
		expect("one is gone", "45 live 1.00", patience, patience+patienceStep)
		next(0)
		expect("it still is", "45 live 1.00", 0, 0)

		b.dead = false
		next(0)
		expect("it is back", "45 live 1.00", 0, 0)
		for range 2 { // always late: nobody waits twice
			written = next(time.Second)
			r.wake(agg)
			<-written
		}
		written = next(time.Second)
		expect("it is always late", "45 live 1.00", 0, 0)
		<-written
	})
}

// Sessions that a late gateway took over are in no tally: the tick is left out,
// the next one is not.
func TestATickIsLeftOutRatherThanShownTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := testEvent("final", "team")
		r.redis.configure(*e)
		a, b := r.gateway(e), r.gateway(e)
		a.crowd(0, 30, "KC")
		b.crowd(100, 10, "SF")
		agg := r.aggregator("agg", func(c *Config) { c.Patience = 300 * time.Millisecond })
		expect := func(when, board string, age int64) {
			t.Helper()
			r.wake(agg)
			got := r.redis.board(t, "final")
			if quality(got) != board || r.now-got.At != age {
				t.Errorf("%s: %s, %d ms old, want %s, %d", when, quality(got), r.now-got.At, board, age)
			}
		}
		for range 3 {
			r.advance(2000)
			a.write()
			b.write()
			expect("both are in time", "40 live 1.00", 0)
		}
		for id, s := range a.sessions {
			if id < 12 {
				delete(a.sessions, id)
				b.add(s)
			}
		}
		r.advance(2000)
		a.write()
		expect("b is late with what it took over", "40 live 1.00", 2000)
		r.advance(2000)
		a.write()
		b.write()
		expect("it is there again", "40 live 1.00", 0)
		for id := range a.sessions {
			delete(a.sessions, id) // they leave, and b is gone
		}
		r.advance(2000)
		a.write()
		expect("b is late, and many have left", "40 live 1.00", 2000)
		r.advance(2000)
		a.write()
		expect("it was not for b", "22 live 1.00", 0)
	})
}
