package aggregator

import (
	"testing"

	"grandstand"
)

// Two gateways die within seconds, and everybody comes back to a third. One
// went from the first to the second before, which died before it counted them: the
// move names the second, while the tally of the first has them. So both tallies
// lapse with the later one, or somebody else would be taken off that.
func TestGatewaysThatDieTogetherLapseTogether(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "region", "team")
	r.redis.configure(*e)
	first, second, between, third := r.gateway(e), r.gateway(e), r.gateway(e), r.gateway(e)
	between.dead = true // it never writes
	hopper, other := []string{"US-NY", "KC"}, []string{"US-KY", "KC"}
	first.add(&testSession{id: 1, viewer: hashOf(1), values: hopper})
	second.add(&testSession{id: 2, viewer: hashOf(2), values: other})
	second.add(&testSession{id: 3, viewer: hashOf(3), values: []string{"US-NY", "SF"}}) // who does not come back
	third.add(&testSession{id: 4, viewer: hashOf(4), values: []string{"US-TX", "SF"}})
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	firstAt := r.now
	first.dead = true
	r.tick(agg)
	secondAt := r.now
	second.dead = true

	third.add(&testSession{id: 1, viewer: hashOf(1), gen: 3, values: hopper})
	third.add(&testSession{id: 2, viewer: hashOf(2), gen: 3, values: other})
	id := func(ms int64) grandstand.ReleaseID { return grandstand.ReleaseID{MS: uint64(r.now + ms)} }
	third.moves = []grandstand.Move{
		{From: second.id, Release: id(1500), Values: hopper, Since: r.now + 500, Moved: true},
		{From: between.id, Release: id(1600), Values: other, Since: r.now + 600, Moved: true},
	}
	linger := grandstand.LingerMS(e.BeatMS)
	for secondAt+linger > r.now {
		r.tick(agg)
		want := map[string]uint64{"world": 4, "region:US-NY": 2, "region:US-KY": 1, "team:KC": 2, "team:SF": 2}
		if r.now >= secondAt+linger {
			want = map[string]uint64{"world": 3, "region:US-NY": 1, "region:US-KY": 1, "team:KC": 2, "team:SF": 1}
		}
		board := r.redis.board(t, "final")
		for segment, n := range want {
			if got := sessionsOf(board, segment); got != n {
				t.Errorf("%d ms after the first was heard of: %s counts %d, want %d", r.now-firstAt, segment, got, n)
			}
		}
	}
}

// A gateway that died long before another lapses by itself.
func TestAGatewayThatDiedLongBeforeLapsesAlone(t *testing.T) {
	for _, tc := range []struct {
		ticks int // between the two
		want  []uint64
	}{
		{1, []uint64{3, 3, 1}}, // the second one's time is up at the third of the boards
		{2, []uint64{3, 3, 3, 1}},
		{3, []uint64{3, 2, 2, 2, 1}},
	} {
		r := newRig(t)
		e := testEvent("final", "team")
		r.redis.configure(*e)
		first, second, third := r.gateway(e), r.gateway(e), r.gateway(e)
		for i, g := range []*testGateway{first, second, third} {
			g.crowd(100*i, 1, "KC")
		}
		agg := r.aggregator("agg", nil)
		r.tick(agg)
		up := r.now + grandstand.LingerMS(e.BeatMS)
		first.dead = true
		for range tc.ticks {
			r.tick(agg)
		}
		second.dead = true
		for r.now+2000 < up {
			r.tick(agg)
		}
		for i, want := range tc.want {
			if got := sessionsOf(r.redis.board(t, "final"), "world"); got != want {
				t.Errorf("%d ticks between: %d sessions on board %d, want %d", tc.ticks, got, i, want)
			}
			r.tick(agg)
		}
	}
}

// Ticks are not made on the dot, and what has lapsed does not come back.
func TestWhoFellSilentTogether(t *testing.T) {
	const first = int64(1_000_000)
	for _, tc := range []struct {
		tick, beat, after int64
		want              string // what counts at each tick from 2.5 beats on
	}{
		{2000, 10_000, 4280, "+++-"},
		{2000, 10_000, 5010, "---"},
		{1000, 5000, 2300, "+++-"},
		{5000, 5000, 7900, "---"}, // who is silent for a tick and a half might be late
		{10_000, 10_000, 10_200, "---"},
		{10_000, 60_000, 10_200, "++-"},
	} {
		e := newEvent("final", first)
		e.cfg, e.tickMS = &grandstand.Event{BeatMS: tc.beat}, tc.tick
		for _, asOf := range []int64{first, first + tc.after} {
			e.from = append(e.from, &contribution{tally: &grandstand.Tally{}, used: true, holding: &holding{gateway: &gateway{}, asOf: asOf}})
		}
		got := ""
		for at := first + grandstand.LingerMS(tc.beat); len(got) < len(tc.want); at += tc.tick {
			e.assess(at, 0)
			if e.from[0].used {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != tc.want {
			t.Errorf("a tick of %d ms, beats of %d: %d ms after it the other fell silent, too: it counts %s, want %s", tc.tick, tc.beat, tc.after, got, tc.want)
		}
	}
}
