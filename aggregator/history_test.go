package aggregator

import (
	"context"
	"slices"
	"testing"

	"grandstand"
)

// replay returns what a chart shows of a segment: the sessions after each step.
func replay(steps []grandstand.Step, seg grandstand.Segment) (out []uint64) {
	steps = slices.Clone(steps)
	slices.SortStableFunc(steps, func(a, b grandstand.Step) int { return int(a.At - b.At) })
	now := uint64(0)
	for _, s := range steps {
		if s.Full {
			now = 0
		}
		for _, c := range s.Counts {
			if c.Segment == seg {
				now = c.Sessions
			}
		}
		out = append(out, now)
	}
	return out
}

func TestStepsTellWhatChanged(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	hour := grandstand.HourOf(start + 3_600_000)

	r.tick(agg)
	g.crowd(100, 10, "SF")
	for range 10 {
		r.tick(agg)
	}
	steps := r.redis.steps["final"]
	if len(steps) != 2 || !steps[0].Full || len(steps[0].Counts) != 2 || steps[1].Full || len(steps[1].Counts) != 2 {
		t.Fatalf("after 22 s with one change: %+v; want a full step, and one with the world and SF", steps)
	}
	if d := steps[1].At - steps[0].At; d < grandstand.HistoryStepMS {
		t.Errorf("the second step came %d ms after the first", d)
	}
	for i := range 10 {
		delete(g.sessions, 100+i)
	}
	for range 10 {
		r.tick(agg)
	}
	// A new hour begins with a full step though nothing changes.
	r.now = hour - 4000
	r.clock.set(r.now)
	for range 5 {
		r.tick(agg)
	}
	steps = r.redis.steps["final"]
	i := slices.IndexFunc(steps, func(s grandstand.Step) bool { return s.At >= hour })
	if i < 0 || !steps[i].Full || len(steps) > i+1 {
		t.Errorf("the new hour: %+v", steps)
	}
	if got := slices.Compact(replay(steps[:i], grandstand.Segment{Dim: "team", Value: "SF"})); !slices.Equal(got, []uint64{0, 10, 0}) {
		t.Errorf("SF in the first hour: %v, want 0 10 0: one that dropped out is told", got)
	}
}

func TestOnlyLiveBoardsMakeHistory(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "KC")
	b.crowd(100, 10, "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	b.dead = true
	for range 3 {
		r.tick(agg)
	}
	a.crowd(1000, 500, "KC") // only seen on a partial board
	n := len(r.redis.steps["final"])
	for range 8 {
		r.tick(agg)
	}
	if got := quality(r.redis.board(t, "final")); got != "540 partial 0.98" {
		t.Fatal(got)
	}
	if len(r.redis.steps["final"]) != n {
		t.Errorf("a partial board is in the series: %+v", r.redis.steps["final"][n:])
	}
}

func TestStepsThatCouldNotBeWrittenAreWrittenLater(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	agg := r.aggregator("agg", nil)
	for range 6 {
		r.tick(agg)
	}
	// The tick succeeds, the worker's call does not.
	g.crowd(100, 1, "KC")
	r.advance(10_000)
	g.write()
	r.clock.set(r.now + 250)
	agg.wake(context.Background(), r.now)
	r.redis.setDown(true)
	pump(agg)
	r.redis.setDown(false)
	r.clock.set(r.now)
	for range 6 {
		r.tick(agg)
	}
	if got := replay(r.redis.steps["final"], grandstand.WorldSegment); !slices.Equal(got, []uint64{30, 31}) {
		t.Errorf("%v, want 30 31", got)
	}
	if w := r.redis.reach["final"][grandstand.WorldSegment]; w.Peak != 31 {
		t.Errorf("peak %d in Redis, want 31", w.Peak)
	}
}

func TestCheckpointsEachMinute(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	archive := newFakeArchive()
	agg := r.aggregator("agg", func(c *Config) { c.Archive = archive })
	for i := range 90 {
		if i%10 == 0 {
			g.crowd(1000+i, 1, "SF")
		}
		r.tick(agg)
	}
	if archive.saves < 3 || archive.saves > 5 {
		t.Errorf("%d checkpoints in three minutes", archive.saves)
	}
	cp := archive.checkpoint("final")
	if cp == nil || cp.Board == nil || cp.Event.Name != "final" || cp.Event.TickMS != 2000 || cp.Board.Quality != grandstand.Live {
		t.Fatalf("%+v", cp)
	}
	if w := cp.Segments[0]; w.Peak < 35 || w.PeakAt == 0 || len(w.Reach) == 0 {
		t.Errorf("%+v", w)
	}
	if n := len(archive.steps["final"]); n < 5 {
		t.Errorf("%d steps in the archive", n)
	}
	// Nothing changes: nothing is saved.
	for range 40 {
		r.tick(agg)
	}
	saves := archive.saves
	for range 60 {
		r.tick(agg)
	}
	if archive.saves != saves {
		t.Errorf("%d checkpoints though nothing changed", archive.saves-saves)
	}
}

func TestALostRedisLosesNoPeakReachOrSeries(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	archive := newFakeArchive()
	agg := r.aggregator("agg", func(c *Config) { c.Archive = archive })
	for range 60 {
		r.tick(agg)
	}
	for id := range 20 {
		delete(g.sessions, id)
	}
	for range 60 {
		r.tick(agg)
	}
	// All of Redis is lost, and the aggregator with it.
	before := len(archive.steps["final"])
	r.redis.forget()
	r.redis.configure(*e)
	g.renew()
	fresh := r.aggregator("fresh", func(c *Config) { c.Archive = archive })
	for range 30 {
		r.tick(fresh)
	}
	w := r.redis.board(t, "final").Segments[0]
	if w.Sessions != 10 || w.Peak != 30 || w.Reach != 30 {
		t.Errorf("%+v; want 10 sessions, peak and reach of 30", w)
	}
	if saved := r.redis.reach["final"][grandstand.WorldSegment]; saved.Peak != 30 {
		t.Errorf("Redis was not told of the peak: %+v", saved)
	}
	for range 30 {
		r.tick(fresh)
	}
	if got := archive.steps["final"]; len(got) <= before || !slices.Contains(replay(got, grandstand.WorldSegment), 30) {
		t.Errorf("the series in the archive: %v", replay(got, grandstand.WorldSegment))
	}
	// The same aggregator goes on: it brings the series back to Redis.
	r.redis.forget()
	r.redis.configure(*e)
	g.renew()
	for range 45 {
		r.tick(fresh)
	}
	if got := replay(r.redis.steps["final"], grandstand.WorldSegment); !slices.Contains(got, 30) {
		t.Errorf("the series in Redis after it was lost: %v", got)
	}
}

func TestADeadArchiveDelaysNothing(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	archive := newFakeArchive()
	archive.stuck = make(chan struct{})
	agg := r.aggregator("agg", func(c *Config) { c.Archive = archive })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		agg.archive.run(ctx) // waits for the archive, as in earnest
	}()
	for i := range 90 {
		g.crowd(1000+i, 1, "SF")
		r.advance(2000)
		g.write()
		r.clock.set(r.now + 250)
		agg.wake(context.Background(), r.now)
		select { // the records worker only
		case jobs := <-agg.records.in:
			agg.records.out <- agg.records.do(context.Background(), jobs)
		default:
		}
		if b := r.redis.board(t, "final"); b == nil || b.At != r.now {
			t.Fatalf("tick %d: no board", i)
		}
	}
	ev := agg.shards[grandstand.ShardOf("final")].events["final"]
	if n := len(ev.memory.steps); n == 0 || n > maxSteps {
		t.Errorf("%d steps wait", n)
	}
	close(archive.stuck)
	archive.mu.Lock()
	archive.stuck = nil
	archive.mu.Unlock()
	cancel()
	<-done
	agg.archive.collect()
	for range 60 {
		r.tick(agg)
	}
	if cp := archive.checkpoint("final"); cp == nil || len(archive.steps["final"]) == 0 {
		t.Error("nothing was saved when the archive came back")
	}
}

func TestTheEndOfAnEventIsSavedAtOnce(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	r.redis.configure(*e)
	g := r.gateway(e)
	g.crowd(0, 30, "KC")
	archive := newFakeArchive()
	agg := r.aggregator("agg", func(c *Config) { c.Archive = archive })
	for range 10 {
		r.tick(agg)
	}
	e.State, e.EndedAt, e.UpdatedAt = grandstand.EventEnded, r.now+300, r.now+300
	r.redis.configure(*e)
	clear(g.sessions) // the gateway closes all sockets
	for range 3 {
		r.tick(agg)
	}
	b := r.redis.board(t, "final")
	if quality(b) != "30 final 1.00" || b.Segments[0].Peak != 30 {
		t.Errorf("the last board: %s", quality(b))
	}
	cp := archive.checkpoint("final")
	if cp == nil || cp.Event.State != grandstand.EventEnded || quality(cp.Board) != "30 final 1.00" {
		t.Fatalf("the checkpoint: %+v", cp)
	}
	for range 35 {
		r.tick(agg)
	}
	if b := r.redis.board(t, "final"); b != nil {
		t.Errorf("it is still on the boards after a minute: %s", quality(b))
	}
	if n := len(agg.shards[grandstand.ShardOf("final")].events); n != 0 {
		t.Errorf("%d events are still in memory", n)
	}

	// A fresh aggregator finds it ended and saved, and neither shows zeros nor
	// saves it again.
	saves := archive.saves
	other := r.aggregator("other", func(c *Config) { c.Archive = archive })
	r.advance(10_000)
	for range 10 {
		r.tick(other)
	}
	if b := r.redis.board(t, "final"); b != nil && quality(b) != "30 final 1.00" {
		t.Errorf("a later aggregator shows %s", quality(b))
	}
	if archive.saves != saves {
		t.Error("it was saved again")
	}

	// Configured anew it starts over.
	e.State, e.EndedAt, e.UpdatedAt = grandstand.EventScheduled, 0, r.now
	r.redis.configure(*e)
	g.crowd(500, 5, "KC")
	for range 5 {
		r.tick(other)
	}
	if b := r.redis.board(t, "final"); quality(b) != "5 live 1.00" || b.Segments[0].Peak != 5 {
		t.Errorf("the new run: %s, %+v", quality(b), b.Segments[0])
	}
}
