package simulator

import (
	"log/slog"
	"testing"
	"time"

	"grandstand"
)

// A clock that is set back begins an epoch: another number of the same "at" is no
// contradiction then. Within an epoch it is.
func TestStatesAreOfTheirEpoch(t *testing.T) {
	a := newAudit(&Config{Window: 100 * time.Millisecond, Shared: true, Logger: slog.New(slog.DiscardHandler)}, newTruth(100, 0), &stats{})
	now := time.UnixMilli(1_795_299_040_000)
	show := func(at, epoch int64, sessions uint64) int {
		n := [2]uint64{sessions, sessions}
		a.frame(&person{}, &counts{At: at, Epoch: epoch, N: map[string]*[2]uint64{grandstand.World: &n}}, now, true)
		return a.violated[checkAgree]
	}
	at := now.UnixMilli() + 8_000
	show(at, 1, 5)
	if n := show(at, 1, 6); n != 1 {
		t.Errorf("%d contradictions within an epoch, want 1", n)
	}
	now = now.Add(5 * time.Second)
	a.judge(now)
	now = now.Add(3 * time.Second)
	if n := show(at, 2, 7); n != 1 {
		t.Errorf("%d contradictions after the next epoch began, want the one before", n)
	}
}

// An aggregator that thought for two ticks that it was later than it is does not
// have every state after that held against another time's truth.
func TestAClockThatWasOffIsForgotten(t *testing.T) {
	a := newAudit(&Config{Window: 100 * time.Millisecond, Shared: true, Logger: slog.New(slog.DiscardHandler)}, newTruth(100, 0), &stats{})
	now := time.UnixMilli(1_795_299_040_000)
	show := func(ahead int64) int64 {
		now = now.Add(time.Second)
		n := [2]uint64{5, 5}
		a.frame(&person{}, &counts{At: now.UnixMilli() + ahead, Epoch: 1, N: map[string]*[2]uint64{grandstand.World: &n}}, now, true)
		return a.offset.Load()
	}
	for _, delay := range []int64{250, 180, 300} { // from counting to the screen
		show(-delay)
	}
	if got := show(-250); got != 180 {
		t.Errorf("the clocks differ by %d ms, want the least: 180", got)
	}
	if got := show(1500); got != -1500 {
		t.Errorf("the clocks differ by %d ms, want -1500: nobody knows better yet", got)
	}
	for range 9 {
		show(-250)
	}
	if got := show(-260); got != 250 {
		t.Errorf("ten seconds later the clocks differ by %d ms, want 250", got)
	}
}

// What was shown just before the clock of Redis jumped is of the time that it was
// shown at.
func TestStatesBeforeAJumpKeepTheirTime(t *testing.T) {
	a := newAudit(&Config{Window: 100 * time.Millisecond, Shared: true, Logger: slog.New(slog.DiscardHandler)}, newTruth(100, 0), &stats{})
	now := time.UnixMilli(1_795_299_040_000)
	show := func(at int64) *state {
		now = now.Add(time.Second)
		n := [2]uint64{5, 5}
		a.frame(&person{}, &counts{At: at, Epoch: 1, N: map[string]*[2]uint64{grandstand.World: &n}}, now, true)
		return a.states[at]
	}
	before := show(now.UnixMilli() + 800) // 200 ms ago
	shown := now.UnixMilli()
	after := show(now.UnixMilli() + 9_000)
	offset := a.offset.Load()
	if got := before.when(offset); got != shown {
		t.Errorf("the state before the jump is of %d ms from when it was shown", got-shown)
	}
	if got := after.when(offset); got != now.UnixMilli() {
		t.Errorf("the state after the jump is of %d ms from when it was shown", got-now.UnixMilli())
	}
}

// A gateway that does not know yet that the clock of Redis was set back says of a
// number that it is older than it is: nothing is held against the truth of then.
func TestAnAgeByAClockThatWasSetBackJudgesNothing(t *testing.T) {
	a := newAudit(&Config{Window: 2500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}, newTruth(2500, 0), &stats{})
	now := time.UnixMilli(1_795_299_040_000)
	for i := range 100 {
		now = now.Add(100 * time.Millisecond)
		n := [2]uint64{5, 5} // of whom the truth knows nothing
		age := int64(200)
		if i < 5 {
			age = 8200
		}
		a.frame(&person{}, &counts{At: now.UnixMilli() - 200, Age: age, Epoch: 2, N: map[string]*[2]uint64{grandstand.World: &n}}, now, true)
		a.judge(now)
		if first := 50; i < first && a.judged > 0 {
			t.Fatalf("judged after %d ms, against the truth of 8 s before", 100*i)
		}
	}
	if a.judged == 0 || a.offset.Load() != 0 {
		t.Errorf("%d are judged when all know, by a difference of %d ms", a.judged, a.offset.Load())
	}
}
