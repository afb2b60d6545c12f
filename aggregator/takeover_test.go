package aggregator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// halves lets half seconds pass, with a phase of the aggregators at each; the
// gateways write at the even seconds.
func (r *rig) halves(n int, aggs ...*Aggregator) {
	for range n {
		r.advance(500)
		if r.now%2000 == 0 {
			for _, g := range r.gws {
				g.write()
			}
		}
		r.wake(aggs...)
	}
}

func TestAnotherTakesOverWithinFiveSeconds(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	first, second := r.aggregator("first", nil), r.aggregator("second", nil)
	r.halves(20, first, second)
	g.crowd(100, 10, "SF")
	r.halves(8, first, second)
	for id := range 10 {
		delete(g.sessions, 100+id)
	}
	r.halves(4, first, second)
	shard := grandstand.ShardOf("final")
	dies, lives := first, second
	if second.shards[shard].held {
		dies, lives = second, first
	}
	if n := len(dies.held()); n != 32 {
		t.Errorf("one of two holds %d shards", n)
	}
	last := r.redis.board(t, "final")
	if last == nil {
		t.Fatal("no board")
	}
	died := r.now
	_ = dies // is not woken any more
	for r.redis.board(t, "final").At == last.At {
		r.halves(1, lives)
		if r.now-died > 10_000 {
			t.Fatal("nobody has taken over")
		}
	}
	if took := r.now - died; took > 5000 {
		t.Errorf("the first board came after %d ms", took)
	}
	b := r.redis.board(t, "final")
	if w := b.Segments[0]; w.Sessions != 30 || w.Peak != 40 || w.Reach != 40 || b.Quality != grandstand.Live {
		t.Errorf("%v %+v; want 30 sessions, peak and reach of 40", b.Quality, w)
	}
	if b.Epoch != last.Epoch {
		t.Errorf("epoch %d after %d: nothing was lost", b.Epoch, last.Epoch)
	}
	g.crowd(200, 20, "DAL")
	r.halves(8, lives)
	if w := r.redis.board(t, "final").Segments[0]; w.Sessions != 50 || w.Peak != 50 || w.Reach != 60 {
		t.Errorf("%+v; want 50 sessions, peak of 50, reach of 60 with those who left", w)
	}
}

// TestABoardIsOfAPhase has aggregators die and come at any half second, while
// the audience changes at each tick: a board says how many watched at its time.
func TestABoardIsOfAPhase(t *testing.T) {
	for lag := range 8 { // half seconds between a tick and the death
		r := newRig(t)
		fast, slow := testEvent("fast"), testEvent("slow")
		fast.TickMS, slow.TickMS = 2000, 6000
		r.redis.configure(*fast)
		r.redis.configure(*slow)
		f, s := r.gateway(fast), r.gateway(slow)
		truth := map[int64]uint64{} // by time, of both
		boards := 0
		r.redis.onPublish = func(sb *grandstand.ShardBoard) {
			for _, b := range sb.Boards {
				boards++
				if want, ok := truth[b.At]; !ok || b.At%b.TickMS != 0 || b.Segments[0].Sessions != want {
					t.Errorf("death %d half seconds after a tick: %s at +%d counts %d, %d were watching (a tick of the gateways: %v)",
						lag, b.Event, b.At-start, b.Segments[0].Sessions, want, ok)
				}
			}
		}
		pass := func(n int, aggs ...*Aggregator) {
			for range n {
				if (r.now+500)%2000 == 0 {
					n := len(f.sessions)
					f.crowd(n, 3)
					s.crowd(n, 3)
					truth[r.now+500] = uint64(n + 3)
				}
				r.halves(1, aggs...)
			}
		}
		agg := r.aggregator("first", nil)
		pass(24+lag, agg)
		for i := range 4 {
			agg = r.aggregator("another", func(c *Config) { c.ID += string(rune('0' + i)) })
			pass(29, agg)
		}
		if boards < 40 {
			t.Errorf("only %d boards", boards)
		}
	}
}

// TestALateTickTellsOfItsOwnPhase lets the gateways write anew between the phase
// and the reading.
func TestALateTickTellsOfItsOwnPhase(t *testing.T) {
	r := newRig(t)
	e := testEvent("final")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30)
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	r.tick(agg)
	before := r.redis.board(t, "final")
	phase := r.now + 2000
	late := func() {
		g.crowd(len(g.sessions), 10)
		r.advance(4000)
		g.write()
		r.clock.set(r.now + 250)
		agg.wake(context.Background(), phase) // as if it had begun at its time
		pump(agg)
		phase += 4000
	}
	late()
	if b := r.redis.board(t, "final"); b.At != before.At {
		t.Errorf("%s at +%d: that is the state of a tick later", quality(b), b.At-before.At)
	}
	// One that is always late is better than none.
	late()
	if b := r.redis.board(t, "final"); b.At == before.At {
		t.Error("there are no boards any more")
	}
}

// TestARollingRestart starts another aggregator, and stops the first, while
// gateways run.
func TestARollingRestart(t *testing.T) {
	for lag := range 4 {
		r := newRig(t)
		var names []string
		for i := range 20 {
			e := testEvent(string(rune('a'+i)), "team")
			names = append(names, e.Name)
			r.redis.configure(*e)
			r.gateway(e).crowd(0, 30, "KC")
			r.gateway(e).crowd(100, 12, "SF")
		}
		old := r.aggregator("old", nil)
		r.halves(20+lag, old)
		r.redis.onPublish = func(sb *grandstand.ShardBoard) {
			for _, b := range sb.Boards {
				if quality(b) != "42 live 1.00" || b.Segments[0].Peak != 42 {
					t.Errorf("lag %d: %s is %s, peak of %d", lag, b.Event, quality(b), b.Segments[0].Peak)
				}
			}
		}
		check := func(when string, since int64) {
			t.Helper()
			for _, name := range names {
				if b := r.redis.board(t, name); b == nil || b.At < since {
					t.Errorf("lag %d, %s: no board of %s", lag, when, name)
				}
			}
		}
		young := r.aggregator("young", nil)
		since := r.now
		r.halves(8, old, young)
		check("two ticks after the second came", since)
		if n := len(young.held()); n != 32 {
			t.Errorf("it holds %d shards", n)
		}
		old.leave(context.Background())
		since = r.now
		r.halves(8, young)
		check("two ticks after the first left", since)

		// The only one is stopped, and another is there a moment later.
		young.leave(context.Background())
		r.halves(3)
		since = r.now
		r.halves(8, r.aggregator("youngest", nil))
		check("two ticks after a fresh start", since)
	}
}

// lonely hides the members.
type lonely struct{ *fakeRedis }

func (l lonely) Renew(ctx context.Context, m grandstand.Member) (grandstand.Membership, error) {
	return grandstand.Membership{}, errDown
}

func TestWhoKnowsNoMembersPublishesNoZero(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	r.gateway(e).crowd(0, 30, "KC")
	first := r.aggregator("first", nil)
	r.halves(8, first)
	before := r.redis.board(t, "final")
	first.leave(context.Background())
	second := r.aggregator("second", func(c *Config) { c.Members = lonely{r.redis} })
	r.halves(8, second)
	if b := r.redis.board(t, "final"); b.At != before.At {
		t.Errorf("%s", quality(b))
	}
	second.cfg.Members = r.redis
	r.halves(4, second)
	if b := r.redis.board(t, "final"); b.At != r.now || quality(b) != "30 live 1.00" {
		t.Errorf("when they are known: %s", quality(b))
	}
}

// TestALostRedisRaisesNoPeak has a gateway count sessions too that moved on while
// Redis did not know any more whose they were.
func TestALostRedisRaisesNoPeak(t *testing.T) {
	for _, beat := range []int64{5_000, 10_000, 30_000} {
		testLostRedis(t, beat)
	}
}

func testLostRedis(t *testing.T, beatMS int64) {
	r := newRig(t)
	e := testEvent("final", "team")
	e.BeatMS = beatMS
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	if got := quality(r.redis.board(t, "final")); got != "40 live 1.00" {
		t.Errorf("a fresh start: %s", got)
	}
	for range 10 {
		r.tick(agg)
	}
	for round := range 2 {
		r.advance(700)
		r.redis.forget()
		r.redis.configure(*e)
		boot := r.now
		r.advance(1300)
		a.renew()
		b.renew()
		b.crowd(0, 2, "KC") // they were at a, and nobody has told it
		a.write()
		b.write()
		r.wake(agg)
		if got := quality(r.redis.board(t, "final")); got != "42 partial 1.00" {
			t.Errorf("round %d, just after the loss: %s", round, got)
		}
		for id := range 2 {
			delete(b.sessions, id)
		}
		for r.now+2000 < boot+max(e.BeatMS, refillMS) {
			r.tick(agg)
			if got := quality(r.redis.board(t, "final")); got != "40 partial 1.00" {
				t.Errorf("round %d, %d ms after the loss: %s", round, r.now-boot, got)
			}
		}
		r.tick(agg)
		board := r.redis.board(t, "final")
		if got := quality(board); got != "40 live 1.00" || board.Segments[0].Peak != 40 {
			t.Errorf("round %d, a beat after the loss: %s, peak of %d", round, got, board.Segments[0].Peak)
		}
	}
	for _, s := range r.redis.steps["final"] {
		if s.Counts[0].Sessions > 40 {
			t.Errorf("the series knows of %d", s.Counts[0].Sessions)
		}
	}
}

// TestAReleaseThatWasLost has a session move just before Redis loses its data:
// its former owner never reads that, and reads of later moves.
func TestAReleaseThatWasLost(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	for range 3 {
		r.tick(agg)
	}
	move := func(id int, told bool) {
		s := *a.sessions[id]
		s.gen++
		b.add(&s)
		rid := grandstand.ReleaseID{MS: uint64(r.now), Seq: uint64(id)}
		b.moves = append(b.moves, grandstand.Move{From: a.id, Release: rid, Values: s.values})
		if told {
			a.stream = append(a.stream, testRelease{rid, id, s.gen - 1})
		}
	}
	r.advance(500)
	move(1, false)
	move(2, false)
	r.advance(500)
	r.redis.forget()
	r.redis.configure(*e)
	boot := r.now
	r.advance(500)
	move(3, true)
	r.advance(500)
	for r.now < boot+refillMS+4000 {
		if r.now == boot+7000 { // it asks whose they are
			delete(a.sessions, 1)
			delete(a.sessions, 2)
		}
		a.write()
		b.write()
		r.wake(agg)
		want := "30 partial 1.00"
		switch {
		case r.now >= boot+refillMS:
			want = "30 live 1.00"
		case r.now >= boot+7000:
			want = "28 partial 1.00" // nobody knows that it has
		}
		if got := quality(r.redis.board(t, "final")); got != want {
			t.Errorf("%d ms after the loss: %s, want %s", r.now-boot, got, want)
		}
		r.advance(2000)
	}
}

// frozen makes the call of Publish wait, as a process does that is stopped in
// between.
type frozen struct {
	*fakeRedis
	before func()
}

func (f *frozen) Publish(ctx context.Context, sb *grandstand.ShardBoard) (grandstand.Published, error) {
	if f.before != nil {
		before := f.before
		f.before = nil
		before()
	}
	return f.fakeRedis.Publish(ctx, sb)
}

func TestAFrozenAggregatorThatWakesUpIsRefused(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	ice := &frozen{fakeRedis: r.redis}
	old := r.aggregator("old", func(c *Config) { c.Boards, c.Timeout = ice, time.Minute }) // while the others go on
	young := r.aggregator("young", nil)
	r.halves(8, old)

	var after *grandstand.Board
	ice.before = func() {
		// old has counted, and stops. Others go on for a minute.
		g.crowd(100, 10, "SF")
		r.halves(120, young)
		after = r.redis.board(t, "final")
		if quality(after) != "40 live 1.00" {
			t.Errorf("the other one: %s", quality(after))
		}
	}
	r.halves(4, old)
	if after == nil {
		t.Fatal("old has not come to publish")
	}
	if b := r.redis.board(t, "final"); b.At != after.At || quality(b) != quality(after) {
		t.Errorf("the one that woke up has published %s at %d, after %d", quality(b), b.At, after.At)
	}
	if metric(t, old, "refused_total", "old") == 0 {
		t.Error("it was not refused")
	}
	// It gets its share of the shards back, and knows what it has missed.
	g.crowd(200, 5, "SF")
	r.halves(20, young, old)
	if b := r.redis.board(t, "final"); quality(b) != "45 live 1.00" || b.Segments[0].Peak != 45 || b.Segments[0].Reach != 45 {
		t.Errorf("%s %+v", quality(b), b.Segments[0])
	}
}

func TestALostRedisIsNoDip(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	agg := r.aggregator("agg", nil)
	for range 10 {
		r.tick(agg)
	}
	before := r.redis.board(t, "final")

	r.redis.forget()
	for _, g := range r.gws {
		g.renew()
	}
	// One writes again at its next tick, the other two ticks later.
	b.dead = true
	for i := range 12 {
		if i == 2 {
			b.dead = false
		}
		r.tick(agg)
		board := r.redis.board(t, "final")
		if board == nil || board.Segments[0].Sessions != 40 || board.Segments[0].Peak != 40 || board.Segments[0].Reach != 40 {
			t.Fatalf("tick %d after the loss: %s", i, quality(board))
		}
		if !grandstand.NewerThan(board.Epoch, board.At, before.Epoch, before.At) {
			t.Fatalf("(%d, %d) does not follow (%d, %d)", board.Epoch, board.At, before.Epoch, before.At)
		}
		before = board
	}
	// What is known was written again.
	if _, ok := r.redis.events["final"]; !ok {
		t.Error("the configuration is gone")
	}
	world := r.redis.reach["final"][grandstand.WorldSegment]
	if world.Peak != 40 || len(world.Reach) == 0 {
		t.Errorf("peak and reach are gone: %+v", world)
	}
	if steps := r.redis.steps["final"]; len(steps) == 0 || !steps[0].Full {
		t.Errorf("the series does not begin with a full step: %+v", steps)
	}
}

func TestAFreshAggregatorOnAFreshRedisWaits(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	r.advance(1500)
	r.redis.forget() // also the boards, so nobody knows what was on them
	r.redis.configure(*e)
	agg := r.aggregator("agg", nil)
	boot := r.now
	b.dead = true // the slower one
	for range 8 {
		r.halves(1, agg)
		if r.now-boot > 2500 {
			b.dead = false
		}
		if board := r.redis.board(t, "final"); board != nil && board.Segments[0].Sessions != 40 {
			t.Fatalf("%d ms after the boot: %s", r.now-boot, quality(board))
		}
	}
	r.halves(4, agg)
	if board := r.redis.board(t, "final"); quality(board) != "40 live 1.00" {
		t.Errorf("after two ticks: %s", quality(board))
	}
}

func TestAnOutageIsNoDip(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	agg := r.aggregator("agg", nil)
	for range 5 {
		r.tick(agg)
	}
	r.redis.setDown(true)
	for range 60 { // far longer than a tally lingers
		r.tick(agg)
	}
	r.redis.setDown(false)
	r.advance(500)
	b.dead = true // it reconnects later
	low := uint64(40)
	for i := range 8 {
		if i == 2 {
			b.dead = false
		}
		r.halves(4, agg)
		low = min(low, r.redis.board(t, "final").Segments[0].Sessions)
	}
	if low != 40 {
		t.Errorf("a board showed %d sessions", low)
	}
	if got := quality(r.redis.board(t, "final")); got != "40 live 1.00" {
		t.Errorf("at the end: %s", got)
	}
}

func TestAClockThatWasPutBackBeginsAnEpoch(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	for range 5 {
		r.tick(agg)
	}
	before := r.redis.board(t, "final")
	r.now -= 3_600_000
	r.clock.set(r.now)
	r.redis.forget()
	r.redis.configure(*e)
	g.renew()
	for range 7 { // a beat, in which boards are partial, and some
		r.tick(agg)
	}
	b := r.redis.board(t, "final")
	if b == nil || b.At >= before.At || b.Epoch <= before.Epoch || quality(b) != "30 live 1.00" {
		t.Errorf("%s at (%d, %d) after (%d, %d): want a later epoch", quality(b), b.Epoch, b.At, before.Epoch, before.At)
	}
	g.dead = true
	for range 14 {
		r.tick(agg)
	}
	if got := quality(r.redis.board(t, "final")); got != "0 live 1.00" {
		t.Errorf("the dead gateway of the old time is still counted: %s", got)
	}
}

func TestABoardThatDoesNotAddUpIsNotPublished(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	r.tick(agg)
	// No input can do that, so the memory is damaged by hand.
	c := agg.shards[grandstand.ShardOf("final")].events["final"].from[0]
	for i := range c.rows {
		if c.rows[i].slot != worldSlot {
			c.rows[i].sessions++
		}
	}
	agg.shards[grandstand.ShardOf("final")].events["final"].changed = true
	r.tick(agg)
	b := r.redis.board(t, "final")
	if quality(b) != "30 partial 1.00" || b.At != r.now {
		t.Errorf("%s at %d", quality(b), b.At-r.now)
	}
	if r.violated[grandstand.InvariantSums] != 1 {
		t.Errorf("violations: %v", r.violated)
	}
	g.crowd(100, 1, "SF") // a new tally
	r.tick(agg)
	if got := quality(r.redis.board(t, "final")); got != "31 live 1.00" {
		t.Errorf("afterwards: %s", got)
	}
}

func TestEveryBoardIsChecked(t *testing.T) {
	r := newRig(t)
	agg := r.aggregator("agg", nil)
	counts := func(world, kc grandstand.SegmentCount) *grandstand.Board {
		world.Segment, kc.Segment = grandstand.WorldSegment, grandstand.Segment{Dim: "team", Value: "KC"}
		return &grandstand.Board{Event: "final", Segments: []grandstand.SegmentCount{world, kc}}
	}
	count := func(sessions, fans, reach uint64) grandstand.SegmentCount {
		return grandstand.SegmentCount{Sessions: sessions, Fans: fans, Reach: reach}
	}
	for _, c := range []struct {
		what      string
		board     *grandstand.Board
		adds      bool
		violation grandstand.Invariant
	}{
		{"right", counts(count(5, 4, 9), count(5, 4, 8)), true, ""},
		{"empty", &grandstand.Board{Event: "final"}, true, ""},
		{"sums", counts(count(5, 4, 9), count(4, 4, 8)), false, grandstand.InvariantSums},
		{"a part is larger than the union", counts(count(5, 3, 9), count(5, 4, 8)), true, grandstand.InvariantFans},
		{"more fans than sessions", counts(count(5, 6, 9), count(5, 4, 8)), true, grandstand.InvariantFans},
		{"more fans than were ever reached", counts(count(5, 4, 9), count(5, 4, 3)), true, grandstand.InvariantFans},
	} {
		clear(r.violated)
		if adds := agg.addsUp(c.board, r.now); adds != c.adds {
			t.Errorf("%s: addsUp says %v", c.what, adds)
		}
		if len(r.violated) > 1 || c.violation != "" && r.violated[c.violation] != 1 || c.violation == "" && len(r.violated) > 0 {
			t.Errorf("%s: violations %v, want %s", c.what, r.violated, c.violation)
		}
	}
}

// A gateway's sketch of the world lacks most of who is in that of a team.
func TestAUnionSmallerThanAPartIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		broken func(world *grandstand.SegmentTally)
		bad    bool
	}{
		"right":      {func(*grandstand.SegmentTally) {}, false},
		"smaller":    {func(world *grandstand.SegmentTally) { world.Sketch = world.Sketch[:0] }, true},
		"unreadable": {func(world *grandstand.SegmentTally) { world.Sketch = []byte("no sketch") }, false},
	} {
		r := newRig(t)
		e := testEvent("final", "team")
		r.redis.configure(*e)
		g := r.gateway(e)
		g.crowd(0, 100, "KC")
		tally := g.tally()
		c.broken(&tally.Segments[0])
		m := merger{mended: func(string) {}}
		ev := newEvent("final", r.now)
		ev.configure(e)
		m.take(ev, &holding{gateway: &gateway{id: "a", alive: true}, round: 1}, &tally, nil)
		ev.from[0].used = true
		m.merge(ev, r.now, true)
		if err := ev.checkUnion(); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The world's fans are estimated, a part of some thousands is nearly counted: the
// union must not look smaller than what it holds.
func TestTheWorldIsNoSmallerThanItsParts(t *testing.T) {
	b := &grandstand.Board{
		Segments: []grandstand.SegmentCount{{Segment: grandstand.WorldSegment, Sessions: 9000, Fans: 8000, Reach: 8000}, {Sessions: 8500, Fans: 8100, Reach: 8200}},
		Public:   []grandstand.SegmentCount{{Sessions: 8600, Fans: 8050, Reach: 8300}},
	}
	unite(b)
	if w := b.Segments[0]; w.Fans != 8100 || w.Reach != 8300 {
		t.Errorf("%d fans, reach %d", w.Fans, w.Reach)
	}
}

// TestRunFollowsTheClock runs two aggregators in earnest, in a bubble of time:
// one is stopped, and the other takes over at once.
func TestRunFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis(bubbleClock{})
		e := testEvent("final", "team")
		redis.configure(*e)
		time.Sleep(time.Duration(2000-time.Now().UnixMilli()%2000) * time.Millisecond)

		rig := &rig{t: t, redis: redis, now: time.Now().UnixMilli()}
		g := rig.gateway(e)
		g.crowd(0, 30, "KC")
		writing, stop := context.WithCancel(t.Context())
		go func() {
			for writing.Err() == nil {
				rig.now = time.Now().UnixMilli()
				g.renew()
				g.write()
				time.Sleep(2 * time.Second)
			}
		}()
		var ats, delays []int64
		redis.onPublish = func(sb *grandstand.ShardBoard) {
			if len(sb.Boards) > 0 {
				ats = append(ats, sb.At)
				delays = append(delays, time.Now().UnixMilli()-sb.At)
			}
		}
		archive := newFakeArchive()
		start := func(id string) (end func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			a := New(Config{
				ID: id, Clock: bubbleClock{}, Leases: redis, Members: redis, Tallies: redis,
				Boards: redis, Series: redis, Events: redis, Archive: archive,
			})
			go func() { done <- a.Run(ctx) }()
			return func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		end1, end2 := start("one"), start("two")
		time.Sleep(60 * time.Second)
		redis.mu.Lock()
		if n := len(ats); n < 29 || n > 31 {
			t.Errorf("%d boards in a minute, want 30", n)
		}
		for i := 2; i < len(ats); i++ {
			if ats[i]%2000 != 0 || ats[i] <= ats[i-1] || delays[i] != 250 {
				t.Errorf("board at %d, published %d ms after it, follows %d", ats[i], delays[i], ats[i-1])
			}
		}
		// Whoever has it says goodbye: there is no gap.
		endFirst, endLast := end1, end2
		if redis.leases[grandstand.ShardOf("final")].owner == "two" {
			endFirst, endLast = end2, end1
		}
		before := len(ats)
		redis.mu.Unlock()
		endFirst()
		time.Sleep(10 * time.Second)
		redis.mu.Lock()
		after := len(ats)
		redis.mu.Unlock()
		if n := after - before; n < 5 {
			t.Errorf("%d boards in the 10 s after a handover, want 5", n)
		}
		endLast()
		if len(redis.leases) != 0 || len(redis.alive) != 0 {
			t.Errorf("leases are left: %v", redis.leases)
		}
		if cp := archive.checkpoint("final"); cp == nil || cp.Board == nil || len(cp.Segments) != 2 {
			t.Errorf("no checkpoint at the end: %+v", cp)
		}
		stop()
		time.Sleep(3 * time.Second)
		synctest.Wait()
	})
}

// TestATickThatTakesTooLongSkips makes a call take 1.8 s: the phases that it
// covers are not made up for.
func TestATickThatTakesTooLongSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis(bubbleClock{})
		e := testEvent("final", "team")
		e.TickMS = 1000
		redis.configure(*e)
		rig := &rig{t: t, redis: redis, now: time.Now().UnixMilli()}
		g := rig.gateway(e)
		g.crowd(0, 3, "KC")
		g.write()
		slow := &frozen{fakeRedis: redis}
		cfg := Config{
			ID: "slow", Clock: bubbleClock{}, Leases: redis, Members: redis, Tallies: redis,
			Boards: slow, Series: redis, Events: redis, Timeout: 3 * time.Second,
			Registerer: newRig(t).config("").Registerer,
		}
		a := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		time.Sleep(5 * time.Second)
		if n := metric(t, a, "phases_skipped_total"); n != 0 {
			t.Errorf("%v phases skipped before", n)
		}
		redis.mu.Lock()
		slow.before = func() { time.Sleep(1800 * time.Millisecond) }
		redis.mu.Unlock()
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if n := metric(t, a, "phases_skipped_total"); n != 2 && n != 3 {
			t.Errorf("%v phases skipped, want those of 1.8 s", n)
		}
	})
}

// Boards of before a clock was set back stand only while that may be a correction.
func TestBoardsOfBeforeTheClockWasSetBackAreReplaced(t *testing.T) {
	const now = 1_800_000_000_000
	for ahead, offered := range map[int64]bool{-1: true, 0: false, poisonedMS - 1: false, poisonedMS: true, 3_000: true, 8_000: true} {
		sh := &shard{epoch: 3, at: now + ahead, used: true}
		for name, at := range map[string]int64{"counted": now, "slow": now - 4000, "held": now + max(ahead, 1)} {
			e := newEvent(name, now)
			e.board = &grandstand.Board{Event: name, At: at}
			sh.list = append(sh.list, e)
		}
		o := new(Aggregator).offer(sh, now)
		if got := o != nil; got != offered {
			t.Errorf("the newest board is %d ms ahead: offered is %v", ahead, got)
		}
		if o != nil && (len(o.boards.Boards) != 2 || o.boards.Boards[0].At > now || o.boards.Boards[1].At > now) {
			t.Errorf("%d ms ahead: offered are %d boards, with those of before the clock was set back", ahead, len(o.boards.Boards))
		}
	}
}
