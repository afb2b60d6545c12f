package aggregator

import (
	"slices"
	"testing"

	"grandstand"
)

// An overloaded gateway leaves crosses out of its tallies. What is not known of
// all is on no board, and comes back unharmed.
func TestACrossThatSomebodyDoesNotCountIsOnNoBoard(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "country", "team", "country+team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "US", "KC", "US+KC")
	b.crowd(100, 20, "US", "SF", "US+SF")
	agg := r.aggregator("agg", nil)
	const cross = "country+team"
	check := func(when string, counted bool, kc, sf uint64) *grandstand.Board {
		t.Helper()
		r.tick(agg)
		board := r.redis.board(t, "final")
		if err := board.CheckSums(); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if got := [3]uint64{sessionsOf(board, "world"), sessionsOf(board, "team:KC"), sessionsOf(board, "team:SF")}; got != [3]uint64{kc + sf, kc, sf} {
			t.Errorf("%s: world and teams are %v", when, got)
		}
		if board.Quality != grandstand.Live || board.Counts(cross) != counted {
			t.Errorf("%s: %v, the cross is counted: %v", when, board.Quality, !counted)
		}
		want := [2]uint64{}
		if counted {
			want = [2]uint64{kc, sf}
		}
		if got := [2]uint64{sessionsOf(board, cross+":US+KC"), sessionsOf(board, cross+":US+SF")}; got != want {
			t.Errorf("%s: the cross is %v, want %v", when, got, want)
		}
		return board
	}
	check("at first", true, 30, 20)
	a.bare = true
	check("one is overloaded", false, 30, 20)
	b.crowd(200, 5, "US", "SF", "US+SF")
	check("another counts on", false, 30, 25)
	a.bare = false
	board := check("no more", true, 30, 25)
	for i := range board.Segments {
		if c := &board.Segments[i]; c.Fans != c.Sessions || c.Peak != c.Sessions || c.Reach != c.Sessions {
			t.Errorf("afterwards %+v", c)
		}
	}
	a.bare = true
	clear(a.sessions)
	check("who has no sessions leaves nothing out", true, 0, 25)
}

// Sessions that moved are taken off what is counted, and off nothing else.
func TestMovesFromAGatewayWithoutCrosses(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team", "country", "team+country")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 3, "KC", "US", "KC+US")
	a.bare = true
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	// One moves, and its old owner is late.
	s := *a.sessions[0]
	s.gen++
	b.add(&s)
	b.moves = []grandstand.Move{{From: a.id, Release: grandstand.ReleaseID{MS: uint64(r.now) + 1}, Values: s.values}}
	r.advance(2000)
	b.write()
	r.wake(agg)
	board := r.redis.board(t, "final")
	if err := board.CheckSums(); err != nil || sessionsOf(board, "world") != 3 || board.Counts("team+country") {
		t.Errorf("%s, the cross is counted: %v, %v", quality(board), board.Counts("team+country"), err)
	}
	if n := metric(t, agg, "violations_total"); n != 0 {
		t.Errorf("%v violations", n)
	}
}

// The series of a cross stands still while it is not counted.
func TestTheSeriesOfACrossStandsStill(t *testing.T) {
	e := newEvent("final", 1000)
	e.configure(testEvent("final", "team", "country", "team+country"))
	m := merger{mended: func(what string) { t.Errorf("mended: %s", what) }}
	h := &holding{gateway: &gateway{id: "a", alive: true}}
	step := func(at int64, n int, bare bool) {
		g := &testGateway{event: e.cfg, sessions: map[int]*testSession{}, bare: bare}
		g.crowd(0, n, "KC", "US", "KC+US")
		tally := g.tally()
		h.asOf, h.round = at, h.round+1
		m.take(e, h, &tally, nil)
		e.from[0].used = true
		m.merge(e, at, true)
		e.memory.merged()
		e.step(at)
	}
	const hour = 3_600_000
	step(hour+10_000, 5, false)
	step(hour+20_000, 8, true)
	step(2*hour, 9, true) // begins with all that there is
	step(2*hour+10_000, 7, false)
	cross := grandstand.Segment{Dim: "team+country", Value: "KC+US"}
	var got []uint64
	for _, s := range e.memory.series {
		for _, c := range s.Counts {
			if c.Segment == cross {
				got = append(got, uint64(s.At-hour)/1000, c.Sessions)
			}
		}
	}
	if want := []uint64{10, 5, 3600, 5, 3610, 7}; !slices.Equal(got, want) {
		t.Fatalf("the series is %v, want %v", got, want)
	}
}
