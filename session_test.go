package grandstand

import (
	"testing"

	"pgregory.net/rapid"
)

// A step of a session's timeline: what happens at a second, and whether it is
// watching right after.
type sessionStep struct {
	at       float64 // seconds
	do       string  // a state of a beat, or one of the words below; "" only looks
	watching bool
}

func (step sessionStep) run(s *Session, e *Event) bool {
	now := int64(step.at * 1000)
	switch step.do {
	case "":
	case "open":
		s.Open(now, ClampInterval(0, e))
	case "open 5 s":
		s.Open(now, ClampInterval(5000, e))
	case "hidden":
		s.Renew(now, StateNone, ClampInterval(60_000, e))
	case "beat":
		s.Renew(now, StateNone, 0)
	case "leave":
		s.Leave()
	case "block":
		s.Blocked = true
	case "unblock":
		s.Blocked = false
	default:
		state, ok := ParseState(step.do)
		if !ok {
			panic("no such step: " + step.do)
		}
		s.Renew(now, state, 0)
	}
	return s.Watching(now)
}

func TestWatching(t *testing.T) {
	for name, steps := range map[string][]sessionStep{
		"beats keep it, silence for 2.5 intervals ends it": {
			{0, "open", true}, {10, "playing", true}, {20, "playing", true}, {44.999, "", true}, {45, "", false},
		},
		"it is back with its next beat": {
			{0, "open", true}, {30, "", false}, {31, "playing", true}, {55.9, "", true},
		},
		"a short interval lingers for 15 s all the same": {
			{0, "open 5 s", true}, {14.9, "", true}, {15, "", false},
		},
		"a hidden tab declares 60 s and stays for 150": {
			{0, "open", true}, {10, "hidden", true}, {159.9, "", true}, {160, "", false},
		},
		"the declared interval holds for later beats": {
			{0, "open", true}, {10, "hidden", true}, {70, "playing", true}, {219.9, "", true}, {220, "", false},
		},
		"a pause counts for 60 s": {
			{0, "open", true}, {10, "paused", true}, {20, "paused", true}, {30, "paused", true}, {40, "paused", true},
			{50, "paused", true}, {60, "paused", true}, {70, "paused", true}, {70.001, "", false}, {80, "paused", false},
		},
		"a beat without a state does not end a pause": {
			{0, "open", true}, {10, "paused", true}, {30, "beat", true}, {50, "beat", true}, {70, "beat", true}, {71, "beat", false},
		},
		"playing on ends a pause, and another is another 60 s": {
			{0, "open", true}, {10, "paused", true}, {30, "playing", true}, {50, "paused", true}, {65, "paused", true},
			{80, "paused", true}, {95, "paused", true}, {110, "paused", true}, {110.1, "", false}, {111, "playing", true},
		},
		"buffering is watching": {
			{0, "open", true}, {10, "buffering", true}, {20, "buffering", true}, {30, "starting", true},
		},
		"ended counts at once": {
			{0, "open", true}, {5, "playing", true}, {6, "ended", false}, {7, "", false},
		},
		"a beat after the end brings it back": {
			{0, "open", true}, {5, "ended", false}, {6, "playing", true}, {10, "ended", false}, {11, "beat", true},
		},
		"a clean close counts at once": {
			{0, "open", true}, {5, "leave", false}, {6, "open", true},
		},
		"blocked is not watching, and is again when it is not": {
			{0, "open", true}, {1, "block", false}, {10, "playing", false}, {11, "unblock", true},
		},
		"an open ends a pause": {
			{0, "open", true}, {1, "paused", true}, {62, "", false}, {63, "open", true}, {64, "", true},
		},
		"a beat from the past takes nothing back": {
			{0, "open", true}, {20, "playing", true}, {10, "playing", true}, {44.9, "", true}, {45, "", false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := testEvent(t, nil)
			s := &Session{}
			for _, step := range steps {
				if got := step.run(s, e); got != step.watching {
					t.Errorf("%v s, %q: watching is %t, want %t", step.at, step.do, got, step.watching)
				}
			}
		})
	}
}

func TestSessionExpires(t *testing.T) {
	var s Session
	s.Open(1000, 10_000)
	if s.Deadline() != 26_000 || s.Expired(25_999) || !s.Expired(26_000) {
		t.Errorf("opened at 1 s it expires at %d ms", s.Deadline())
	}
	s.Renew(11_000, StatePaused, 0)
	if s.Expired(35_999) || !s.Expired(36_000) {
		t.Errorf("renewed at 11 s it expires at %d ms", s.Deadline())
	}
	s.Blocked = true
	if s.Expired(35_000) {
		t.Error("a blocked session is forgotten while its player is there")
	}
	if s.Leave(); !s.Expired(12_000) {
		t.Error("a session that left is kept")
	}
	if s.Open(20_000, 10_000); s.OpenedAt != 1000 || s.Expired(20_000) || s.State != StateStarting {
		t.Errorf("opened again: %+v", s)
	}
}

func TestClampInterval(t *testing.T) {
	e := testEvent(t, func(e *Event) { e.BeatMS = 20_000 })
	for declared, want := range map[int64]int64{
		-1 << 63: 20_000, -1: 20_000, 0: 20_000, 1: 5000, 4999: 5000, 5000: 5000,
		12_345: 12_345, 60_000: 60_000, 60_001: 60_000, 1<<63 - 1: 60_000,
	} {
		if got := ClampInterval(declared, e); got != want {
			t.Errorf("an interval of %d is clamped to %d, want %d", declared, got, want)
		}
	}
	for interval, want := range map[int64]int64{5000: 15_000, 6000: 15_000, 10_000: 25_000, 60_000: 150_000} {
		if got := LingerMS(interval); got != want {
			t.Errorf("at %d ms a session lingers for %d, want %d", interval, got, want)
		}
	}
}

func TestParseState(t *testing.T) {
	for _, s := range []State{StateStarting, StatePlaying, StatePaused, StateBuffering, StateEnded} {
		if got, ok := ParseState(s.String()); got != s || !ok {
			t.Errorf("ParseState(%q) = %v, %t", s, got, ok)
		}
	}
	for _, name := range []string{"", "Playing", "stopped", "playing "} {
		if got, ok := ParseState(name); got != StateNone || ok {
			t.Errorf("ParseState(%q) = %v, %t, want none", name, got, ok)
		}
	}
}

// Whatever a client sends: who is watching is not expired, who has been silent
// for 150 s is not watching, and looking changes nothing.
func TestSessionForAnyTimeline(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &Event{BeatMS: DefaultBeatMS}
		var s Session
		now := rapid.Int64Range(1, 1<<45).Draw(t, "start")
		s.Open(now, ClampInterval(rapid.Int64().Draw(t, "interval"), e))
		last := now
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			now += rapid.Int64Range(0, 200_000).Draw(t, "wait")
			before := s
			if s.Watching(now) && s.Expired(now) {
				t.Fatal("it is watching and expired")
			}
			if s.Watching(now) && now-last > LingerMS(MaxBeatMS) {
				t.Fatalf("it is watching after %d ms of silence", now-last)
			}
			if s != before {
				t.Fatal("looking changed it")
			}
			if rapid.Bool().Draw(t, "beats") {
				interval := rapid.Int64().Draw(t, "interval")
				state := State(rapid.IntRange(0, int(StateEnded)).Draw(t, "state"))
				s.Renew(now, state, ClampInterval(interval, e))
				last = now
				if s.Left != (state == StateEnded) {
					t.Fatalf("after a beat of %q Left is %t", state, s.Left)
				}
				if state != StateEnded && state != StatePaused && state != StateNone && !s.Watching(now) {
					t.Fatalf("a beat of %q is not watching", state)
				}
			}
		}
	})
}

func BenchmarkRenew(b *testing.B) {
	var s Session
	s.Open(1000, 10_000)
	now := int64(1000)
	b.ReportAllocs()
	for b.Loop() {
		now += 10_000
		s.Renew(now, StatePlaying, 10_000)
		if !s.Watching(now) {
			b.Fatal("it is not watching")
		}
	}
}
