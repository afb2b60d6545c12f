package aggregator

import (
	"context"
	"fmt"
	"testing"
	"time"

	"grandstand"
)

func TestABoardIsTheSumOfTheTallies(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "country", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "US", "KC")
	b.crowd(20, 20, "US", "SF") // 10 viewers are on both
	b.crowd(100, 5, "CA", "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	board := r.redis.board(t, "final")
	if board == nil {
		t.Fatal("no board")
	}
	if err := board.CheckSums(); err != nil {
		t.Error(err)
	}
	if board.At != r.now || board.Quality != grandstand.Live || board.Coverage != 1 {
		t.Errorf("at %d, %v, coverage %v", board.At-r.now, board.Quality, board.Coverage)
	}
	for seg, want := range map[string][2]uint64{
		"world": {55, 45}, "country:US": {50, 40}, "country:CA": {5, 5}, "team:KC": {30, 30}, "team:SF": {25, 25},
	} {
		s, _ := grandstand.ParseSegment(seg)
		c := board.Find(s)
		if c == nil || c.Sessions != want[0] || c.Fans != want[1] || c.Peak != want[0] || c.Reach != want[1] {
			t.Errorf("%s: %+v, want sessions and fans %v", seg, c, want)
		}
	}
}

// quality is a board's in a few words.
func quality(b *grandstand.Board) string {
	if b == nil {
		return "none"
	}
	return fmt.Sprintf("%d %v %.2f", b.Segments[0].Sessions, b.Quality, b.Coverage)
}

func TestQualityAndCoverage(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b, idle := r.gateway(e), r.gateway(e), r.gateway(testEvent("another", "team"))
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	agg := r.aggregator("agg", nil)
	expect := func(when, want string) {
		t.Helper()
		if got := quality(r.redis.board(t, "final")); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	r.tick(agg)
	expect("all have written", "40 live 1.00")
	peak := r.redis.board(t, "final").Segments[0].Peak

	b.dead = true
	r.tick(agg)
	expect("one is late by a tick", "40 live 1.00")
	r.tick(agg)
	expect("two ticks", "40 live 1.00")
	a.crowd(1000, 10, "KC")
	r.tick(agg)
	expect("more than two ticks", "50 partial 0.80")
	if got := r.redis.board(t, "final").Segments[0].Peak; got != peak {
		t.Errorf("a partial board has raised the peak from %d to %d", peak, got)
	}
	for range 8 {
		r.tick(agg)
	}
	expect("22 s", "50 partial 0.80")
	r.tick(agg)
	expect("24 s", "50 partial 0.80")
	r.tick(agg)
	expect("2.5 beats", "40 live 1.00")
	if got := r.redis.board(t, "final").Segments[0].Peak; got != 40 {
		t.Errorf("peak %d, want 40", got)
	}

	// One that counts nobody here, is alive, and has not said anything.
	r.redis.mu.Lock()
	m := r.redis.manifests[idle.id]
	m.At -= 60_000
	r.redis.manifests[idle.id] = m
	r.redis.mu.Unlock()
	idle.dead = true
	for range 3 {
		r.tick(agg)
		idle.renew() // its lease
	}
	expect("a silent one that may count somebody", "40 partial 1.00")
	idle.writeAs(true)
	r.tick(agg)
	expect("it has shut down", "40 live 1.00")

	// A drained gateway's sessions linger without making the board partial.
	a.writeAs(true)
	a.dead = true
	for range 5 {
		r.tick(agg)
	}
	expect("a drained one", "40 live 1.00")
}

func TestADeadGatewayThatWakesUpCountsAgain(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	g.dead = true
	for range 15 {
		r.tick(agg)
	}
	if got := quality(r.redis.board(t, "final")); got != "0 live 1.00" {
		t.Fatalf("after 30 s: %s", got)
	}
	// Its tally has not changed, so that only the manifest is written.
	g.dead = false
	r.tick(agg)
	if got := quality(r.redis.board(t, "final")); got != "30 live 1.00" {
		t.Errorf("after it woke up: %s", got)
	}
}

func TestAMoveIsTakenOffUntilItIsRead(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 10, "KC")
	b.crowd(100, 5, "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	a.dead = true
	id := grandstand.ReleaseID{MS: uint64(r.now + 500)}
	s := *a.sessions[3]
	s.gen, s.values = 2, []string{"SF"}
	b.add(&s)
	b.moves = append(b.moves, grandstand.Move{From: a.id, Release: id, Values: []string{"KC"}})
	expect := func(when, want string) {
		t.Helper()
		board := r.redis.board(t, "final")
		if got := fmt.Sprintf("%d = %d KC + %d SF", sessionsOf(board, "world"), sessionsOf(board, "team:KC"), sessionsOf(board, "team:SF")); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	r.tick(agg)
	expect("the old owner is dead", "15 = 9 KC + 6 SF")
	if fans := r.redis.board(t, "final").Segments[0].Fans; fans != 15 {
		t.Errorf("%d fans, want 15", fans)
	}
	// It was only frozen, and reads the release.
	a.dead = false
	a.stream = []testRelease{{id, 3, 0}}
	r.tick(agg)
	expect("it has read the release", "15 = 9 KC + 6 SF")
	if n := agg.shards[grandstand.ShardOf("final")].events["final"].applied; n != 0 {
		t.Errorf("%d moves are still taken off", n)
	}
}

// TestAMoveSinceTheLastTally is about sessions that were opened at a gateway
// just before it died: no tally of it counts them.
func TestAMoveSinceTheLastTally(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 10, "KC")
	b.crowd(100, 5, "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	a.dead = true
	last := r.now
	// Of those who were at a, two moved: one opened just before the last tally,
	// one in its very moment. Five more came after it.
	for i, since := range []int64{last - 1, last, last + 1, last + 2, last + 500, last + 1999, last + 1} {
		b.add(&testSession{id: 200 + i, viewer: hashOf(uint64(200 + i)), gen: 2, values: []string{"KC"}})
		b.moves = append(b.moves, grandstand.Move{
			From: a.id, Release: grandstand.ReleaseID{MS: uint64(last + 3000), Seq: uint64(i)}, Values: []string{"KC"}, Since: since,
		})
	}
	r.tick(agg)
	board := r.redis.board(t, "final")
	if world, kc := sessionsOf(board, "world"), sessionsOf(board, "team:KC"); world != 20 || kc != 15 {
		t.Errorf("%d sessions, %d of KC; want the 15 there were, and 5 whom nobody counts otherwise", world, kc)
	}
	if n := metric(t, agg, "mended_inputs_total", brokenMove); n != 0 {
		t.Errorf("%v moves found nobody to take off", n)
	}
	// a was only frozen. Nothing is taken off a newer tally without the release
	// being read but what is in it.
	a.dead = false
	for i := range 7 {
		a.add(&testSession{id: 200 + i, viewer: hashOf(uint64(200 + i)), gen: 1, values: []string{"KC"}})
	}
	for id := range 2 {
		delete(a.sessions, id) // the first two of a were the first two of b
	}
	r.tick(agg)
	if world := sessionsOf(r.redis.board(t, "final"), "world"); world != 20 {
		t.Errorf("%d sessions after it woke up, want 20", world)
	}
}

// TestASessionThatMovedTwice is about sessions that move on from a gateway
// before it has told that they came.
func TestASessionThatMovedTwice(t *testing.T) {
	for name, b := range map[string]struct {
		sessions int  // of others, on the gateway in between
		mute     bool // it has not written at all
		late     bool // the first one is
		truth    uint64
	}{
		"through one that counts others":      {sessions: 5, late: true, truth: 16},
		"through one that counts nobody":      {late: true, truth: 11},
		"through one that has never written":  {mute: true, late: true, truth: 11},
		"the first has read its release":      {mute: true, truth: 11},
		"both have, and nothing is taken off": {sessions: 5, truth: 16},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			e := testEvent("final", "team")
			r.redis.configure(*e)
			first, second, third := r.gateway(e), r.gateway(e), r.gateway(e)
			first.crowd(0, 10, "KC")
			second.crowd(100, b.sessions, "KC")
			third.crowd(200, 1, "KC")
			second.dead = b.mute
			agg := r.aggregator("agg", nil)
			r.tick(agg)
			expect := func(when string) {
				t.Helper()
				board := r.redis.board(t, "final")
				if world, kc, sf := sessionsOf(board, "world"), sessionsOf(board, "team:KC"), sessionsOf(board, "team:SF"); world != b.truth || kc+sf != world || sf > 1 {
					t.Errorf("%s: %d sessions, %d KC + %d SF; want %d", when, world, kc, sf, b.truth)
				}
			}
			expect("before")

			ids := [2]grandstand.ReleaseID{{MS: uint64(r.now + 500)}, {MS: uint64(r.now + 900)}}
			first.stream = []testRelease{{ids[0], 3, 0}}
			third.add(&testSession{id: 3, viewer: hashOf(3), gen: 2, values: []string{"SF"}})
			third.moves = append(third.moves, grandstand.Move{From: second.id, Release: ids[1], Values: []string{"SF"}})
			first.dead = b.late
			second.dead = b.mute || b.late
			if !second.dead {
				second.stream = []testRelease{{ids[1], 3, 0}}
			}
			r.tick(agg)
			expect("they moved")
			second.stream = []testRelease{{ids[1], 3, 0}}
			second.moves = append(second.moves, grandstand.Move{From: first.id, Release: ids[0], Values: []string{"KC"}})
			second.dead = false
			r.tick(agg)
			expect("the one in between has told")
			first.dead = false
			r.tick(agg)
			expect("all have")
			if n := agg.shards[grandstand.ShardOf("final")].events["final"].applied; n != 0 {
				t.Errorf("%d moves are still taken off", n)
			}
		})
	}
}

func TestMoreMovesThanSessionsAreClamped(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "country", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 2, "US", "KC")
	b.crowd(100, 1, "CA", "SF")
	for i := range 4 {
		// Two of an audience that a never counted, and two too many.
		b.moves = append(b.moves, grandstand.Move{
			From: a.id, Release: grandstand.ReleaseID{MS: uint64(r.now), Seq: uint64(i)}, Values: []string{"CA", "KC"},
		})
	}
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	board := r.redis.board(t, "final")
	if err := board.CheckSums(); err != nil || board.Segments[0].Sessions != 1 {
		t.Errorf("%d sessions, %v; want b's one", board.Segments[0].Sessions, err)
	}
	if n := metric(t, agg, "mended_inputs_total", brokenMove); n != 3 {
		t.Errorf("%v mended, want 3: one without such a segment, two without any session", n)
	}
}

func TestATallyThatDoesNotAddUpIsMended(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "country", "team")
	r.redis.configure(*e)
	agg := r.aggregator("agg", nil)
	g := r.gateway(testEvent("final", "country")) // does not know of team yet
	g.crowd(0, 7, "US")
	r.tick(agg)
	board := r.redis.board(t, "final")
	if err := board.CheckSums(); err != nil {
		t.Error(err)
	}
	if sessionsOf(board, "team:unknown") != 7 || sessionsOf(board, "country:US") != 7 {
		t.Errorf("%+v", board.Segments)
	}

	shard := grandstand.ShardOf("final")
	r.advance(2000)
	r.redis.write([]*grandstand.ShardTally{{Gateway: g.id, Shard: shard, At: r.now, Events: []grandstand.Tally{{
		Event: "final", Tick: 2000, Segments: []grandstand.SegmentTally{
			{Segment: grandstand.WorldSegment, Sessions: 5},
			{Segment: grandstand.Segment{Dim: "country", Value: "CA"}, Sessions: 3},
			{Segment: grandstand.Segment{Dim: "country", Value: "US"}, Sessions: 9},
			{Segment: grandstand.Segment{Dim: "team", Value: "KC"}, Sessions: 5, Sketch: []byte("no sketch")},
		},
	}}}}, &grandstand.Manifest{Gateway: g.id, At: r.now, Shards: []grandstand.ShardRef{{Shard: shard, At: r.now}}})
	r.wake(agg)
	board = r.redis.board(t, "final")
	if err := board.CheckSums(); err != nil || sessionsOf(board, "world") != 5 || board.Segments[0].Fans != 0 {
		t.Errorf("%v: %+v", err, board.Segments)
	}
	if metric(t, agg, "mended_inputs_total", brokenTally) == 0 || metric(t, agg, "mended_inputs_total", brokenSketch) == 0 {
		t.Error("nobody has noticed")
	}
}

func TestQuietEventsCostNoReadsAndNoMerges(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	r.gateway(e).crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	reads, merges := r.redis.calls["ShardTallies"], metric(t, agg, "merges_total")
	for range 10 {
		r.tick(agg)
	}
	if n := r.redis.calls["ShardTallies"] - reads; n != 0 {
		t.Errorf("%d reads of tallies that did not change", n)
	}
	if n := metric(t, agg, "merges_total") - merges; n != 0 {
		t.Errorf("%v merges", n)
	}
	if b := r.redis.board(t, "final"); b.At != r.now {
		t.Error("the board has not been brought up to date")
	}
	// In between nobody is asked for tallies either.
	before := r.redis.calls["Manifests"]
	r.advance(1000)
	r.wake(agg)
	if n := r.redis.calls["Manifests"] - before; n != 0 {
		t.Error("manifests were read though no event's tick was due")
	}
}

func TestEveryEventHasItsOwnTick(t *testing.T) {
	r := newRig(t)
	fast, slow := testEvent("fast"), testEvent("slow")
	fast.TickMS, slow.TickMS = 1000, 10_000
	r.redis.configure(*fast)
	r.redis.configure(*slow)
	r.gateway(fast).crowd(0, 3, "US", "US-CA", "KC")
	r.gateway(slow).crowd(0, 4, "US", "US-CA", "KC")
	agg := r.aggregator("agg", nil)
	ats := map[string]map[int64]bool{"fast": {}, "slow": {}}
	r.redis.onPublish = func(sb *grandstand.ShardBoard) {
		for _, b := range sb.Boards {
			ats[b.Event][b.At] = true
		}
	}
	r.tick(agg) // the takeover; nobody knows how many watched slow at its last tick
	for range 20 {
		r.advance(1000)
		for _, g := range r.gws {
			g.write()
		}
		r.wake(agg)
	}
	if len(ats["fast"]) != 21 || len(ats["slow"]) != 2 {
		t.Errorf("%d boards of the event with a tick of 1 s, %d of that with 10 s; want 21 and 2", len(ats["fast"]), len(ats["slow"]))
	}
}

func TestAnEventThatNobodyWatchesLeavesAndComesBack(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	clear(g.sessions)
	for range 30 {
		r.tick(agg)
		if b := r.redis.board(t, "final"); quality(b) != "0 live 1.00" || b.Segments[0].Peak != 30 {
			t.Fatalf("%s, want zero", quality(b))
		}
	}
	r.tick(agg)
	r.tick(agg)
	if b := r.redis.board(t, "final"); b != nil {
		t.Fatalf("after a minute: %s", quality(b))
	}
	// The gateway forgets it too, and then so does the aggregator.
	shard := grandstand.ShardOf("final")
	r.gws = nil
	r.advance(2000)
	g.renew()
	r.redis.write(nil, &grandstand.Manifest{Gateway: g.id, At: r.now})
	r.wake(agg)
	r.tick(agg)
	if n := len(agg.shards[shard].events); n != 0 {
		t.Errorf("%d events are still in memory", n)
	}
	g2 := r.gateway(e)
	g2.crowd(0, 5, "KC")
	r.tick(agg)
	r.tick(agg)
	b := r.redis.board(t, "final")
	if quality(b) != "5 live 1.00" || b.Segments[0].Peak != 30 || b.Segments[0].Reach != 30 {
		t.Errorf("it came back with %s, %+v; want peak and reach of 30", quality(b), b.Segments[0])
	}
}

func TestADeadlineOnEveryCall(t *testing.T) {
	// fakeRedis refuses calls without; this is about calls that fail.
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	r.gateway(e).crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	for _, c := range []string{"hold shards", "renew membership", "read tallies", "publish boards", "read event", "load reach and series", "save reach and series", "read last board"} {
		if n := metric(t, agg, "troubles_total", c); n != 0 {
			t.Errorf("%s: %v troubles", c, n)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	agg.wake(ctx, r.now+2000) // ends at once
}

// The clock of Redis is set back while a phase is worked on: the next one comes as
// soon as after any other, not once the clock has caught up.
func TestAClockThatIsSetBackIsNotWaitedFor(t *testing.T) {
	r := newRig(t)
	agg := r.aggregator("agg", nil)
	now := start + 600 + agg.cfg.Offset.Milliseconds()
	phase, due := agg.nextPhase(now)
	if phase != start+500 || !due {
		t.Fatalf("phase %d, due %v", phase-start, due)
	}
	if d := agg.untilNext(now); d != 400*time.Millisecond {
		t.Errorf("the next phase comes in %v, want 400ms", d)
	}
	now -= 8000
	if d := agg.untilNext(now); d > Phase {
		t.Errorf("after the clock was set back by 8 s the next phase comes in %v", d)
	}
	if phase, due := agg.nextPhase(now + Phase.Milliseconds()); !due || phase > now+Phase.Milliseconds() {
		t.Errorf("then it is %d, due %v", phase-now, due)
	}
}
