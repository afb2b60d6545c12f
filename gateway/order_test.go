package gateway

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// violations notes what a gateway finds broken.
type violations struct {
	mu    sync.Mutex
	found []grandstand.Invariant
}

func (v *violations) violated(what grandstand.Invariant, _ ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.found = append(v.found, what)
}

// want fails unless exactly these were found since the last call.
func (v *violations) want(t *testing.T, when string, want ...grandstand.Invariant) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.found) != len(want) || len(want) > 0 && v.found[0] != want[0] {
		t.Errorf("%s: violations %v, want %v", when, v.found, want)
	}
	v.found = nil
}

func (v *violations) rig() rigConfig {
	return rigConfig{set: func(c *Config) { c.Violated = v.violated }}
}

func TestFramesThatGoBackAreNoticed(t *testing.T) {
	found := &violations{}
	inBubble(t, found.rig(), func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&team=KC&interval_ms=60000")
		at := time.Now().UnixMilli()
		show := func(at int64, n int) {
			rg.hub.show(bigBoard(at, n))
			if m := v.next("counts"); world(m) != n {
				t.Fatalf("the viewer is shown %v, not %d", m, n)
			}
		}
		show(at, 1)
		show(at+1000, 2)
		rg.hub.show(bigBoard(at+500, 3)) // refused: nothing leaves
		synctest.Wait()
		found.want(t, "while the wire refuses what is old")
		for _, c := range rg.g.roomOf("final").sockets() {
			c.w.mu.Lock()
			c.w.shown = nil // what only a bug would do
			c.w.mu.Unlock()
		}
		show(at+500, 3)
		found.want(t, "a frame that goes back", grandstand.InvariantOrder)
		show(at+1000, 4)
		found.want(t, "the time of the newest again")
		v.leave()
	})
}

func TestOrderIsOfEpochThenTime(t *testing.T) {
	found := &violations{}
	g := &Gateway{cfg: Config{Violated: found.violated}}
	var o order
	for _, c := range []struct {
		epoch, at int64
		back      bool
	}{{1, 5000, false}, {1, 5000, false}, {1, 4999, true}, {2, 1000, false}, {1, 9000, true}, {2, 999, true}, {2, 1001, false}} {
		o.check(g, "final", c.epoch, c.at)
		if c.back {
			found.want(t, "back", grandstand.InvariantOrder)
		} else {
			found.want(t, "on")
		}
	}
}

func TestAcksOfWhatIsNotDurableAreNoticed(t *testing.T) {
	found := &violations{}
	j := &fakeJournal{}
	inBubble(t, withJournal(j, found.rig()), func(t *testing.T, rg *rig) {
		j.committed = rg.g.Committed
		v := rg.watch("viewer=v1")
		v.send(`{"t":"beat","seq":1}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("the first", 1)
		found.want(t, "an honest ack")

		a := rg.g.roomOf("final").sockets()[0].w.acks
		a.mu.Lock()
		a.state.Carry(9)
		a.state.Durable(9) // without the journal's word
		a.queued = true
		a.mu.Unlock()
		k := &rg.g.acker
		k.mu.Lock()
		k.gathered = append(k.gathered, a)
		k.mu.Unlock()
		rg.g.Committed()
		v.wantAcks("the second", 9)
		found.want(t, "an ack of what is not durable", grandstand.InvariantDurable)
		v.leave()
	})
}
