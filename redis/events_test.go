package redis

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grandstand"
	"grandstand/redis/redistest"
)

func testEvents(t *testing.T, r *rig) {
	c, other := open(t, r.url), open(t, r.url)
	ctx := t.Context()
	if _, err := c.GetEvent(ctx, "final"); grandstand.CodeOf(err) != grandstand.CodeNotFound {
		t.Fatalf("an event that is not there: %v", err)
	}
	if list, err := c.ListEvents(ctx); err != nil || len(list) != 0 {
		t.Fatalf("no events: %v, %v", list, err)
	}
	version := func() int64 {
		t.Helper()
		m, err := c.Renew(ctx, grandstand.Member{ID: "m", Role: grandstand.RoleGateway})
		ok(t, err)
		return m.EventsVersion
	}
	v0 := version()

	e := &grandstand.Event{Name: "final"}
	ok(t, e.Normalize())
	ok(t, c.PutEvent(ctx, e))
	if d := c.Now() - e.UpdatedAt; d < -1000 || d > 5000 {
		t.Fatalf("UpdatedAt is %d ms ago", d)
	}
	v1 := version()
	if v1 == v0 {
		t.Error("the version did not change")
	}
	got, err := other.GetEvent(ctx, "final")
	ok(t, err)
	if diff := cmp.Diff(e, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}

	older := *e
	older.TickMS, older.UpdatedAt = 5000, e.UpdatedAt-1
	ok(t, c.PutEvent(ctx, &older))
	if got, err = other.GetEvent(ctx, "final"); err != nil || got.TickMS != e.TickMS {
		t.Errorf("an older configuration overwrote: %+v, %v", got, err)
	}
	if v := version(); v != v1 {
		t.Error("the version changed for nothing")
	}
	ok(t, c.PutEvent(ctx, e)) // again, after an error
	ahead := *e
	ahead.UpdatedAt = e.UpdatedAt + 60_000 // another node's clock
	ok(t, c.PutEvent(ctx, &ahead))
	newer := *e
	newer.UpdatedAt, newer.State = 0, grandstand.EventEnded
	ok(t, c.PutEvent(ctx, &newer))
	if newer.UpdatedAt <= ahead.UpdatedAt {
		t.Errorf("UpdatedAt %d is not after %d", newer.UpdatedAt, ahead.UpdatedAt)
	}
	if got, err = other.GetEvent(ctx, "final"); err != nil || got.State != grandstand.EventEnded || got.UpdatedAt != newer.UpdatedAt {
		t.Errorf("the newer configuration: %+v, %v", got, err)
	}

	ok(t, c.PutEvent(ctx, &grandstand.Event{Name: "a-small-one"}))
	list, err := other.ListEvents(ctx)
	ok(t, err)
	if len(list) != 2 || list[0].Name != "a-small-one" || list[1].Name != "final" {
		t.Errorf("events %v", list)
	}
}

func testHistory(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	hour := grandstand.HourOf(c.Now()) - 3_600_000
	step := func(at int64, sessions uint64) grandstand.Step {
		return grandstand.Step{At: at, Full: at == hour, Counts: []grandstand.StepCount{{Segment: grandstand.WorldSegment, Sessions: sessions, Fans: sessions}}}
	}
	if list, err := c.Steps(ctx, "final", hour); err != nil || len(list) != 0 {
		t.Fatalf("no history: %v, %v", list, err)
	}
	var want []grandstand.Step
	for i := range int64(2*stepsPage + 5) {
		want = append(want, step(hour+i*10_000, uint64(i)))
	}
	ok(t, c.SaveSeries(ctx, seriesOf("final", want[10:])))
	ok(t, c.SaveSeries(ctx, seriesOf("final", want[:20]))) // late, and some twice
	next := step(hour+3_600_000, 1)
	ok(t, c.SaveSeries(ctx, seriesOf("final", []grandstand.Step{next, step(hour, 0)})))
	ok(t, c.SaveSeries(ctx, seriesOf("final", nil)))
	got, err := c.Steps(ctx, "final", hour)
	ok(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err = c.Steps(ctx, "final", hour+3_600_000)
	ok(t, err)
	if diff := cmp.Diff([]grandstand.Step{next}, got); diff != "" {
		t.Errorf("the next hour (-want +got):\n%s", diff)
	}
}

func testReach(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	if list, err := c.LoadReach(ctx, "final"); err != nil || len(list) != 0 {
		t.Fatalf("no reach: %v, %v", list, err)
	}
	segs := []grandstand.CheckpointSegment{{Segment: grandstand.WorldSegment, Peak: 5, PeakAt: 1_795_299_042_179}}
	for i := range 60 { // more than one portion of 12 KiB sketches
		segs = append(segs, grandstand.CheckpointSegment{
			Segment: grandstand.Segment{Dim: "team", Value: string([]byte{'A' + byte(i/26), 'A' + byte(i%26)})},
			Peak:    uint64(i), PeakAt: int64(i), Reach: bytes.Repeat([]byte{byte(i), 0, 255}, 4096),
		})
	}
	ok(t, c.SaveSeries(ctx, reachOf("final", segs)))
	segs[3].Peak = 1 << 40
	ok(t, c.SaveSeries(ctx, reachOf("final", segs[3:4])))
	ok(t, c.SaveSeries(ctx, nil))
	got, err := c.LoadReach(ctx, "final")
	ok(t, err)
	if diff := cmp.Diff(segs, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func seriesOf(event string, steps []grandstand.Step) []grandstand.SeriesUpdate {
	return []grandstand.SeriesUpdate{{Event: event, Steps: steps}}
}

func reachOf(event string, segs []grandstand.CheckpointSegment) []grandstand.SeriesUpdate {
	return []grandstand.SeriesUpdate{{Event: event, Reach: segs}}
}

// What is new of all events of a shard is one command.
func TestSeriesOfAShardAreSavedAtOnce(t *testing.T) {
	s := redistest.StartServer(t)
	c := open(t, s.URL())
	var updates []grandstand.SeriesUpdate
	for i := 0; len(updates) < 100; i++ {
		name := fmt.Sprint("event-", i)
		if grandstand.ShardOf(name) != 7 {
			continue
		}
		updates = append(updates, grandstand.SeriesUpdate{
			Event: name,
			Steps: []grandstand.Step{{At: 1}, {At: 3_600_000}},
			Reach: []grandstand.CheckpointSegment{{Segment: grandstand.WorldSegment, Peak: uint64(i) + 1}},
		})
	}
	ok(t, c.SaveSeries(t.Context(), updates)) // the script is new
	s.Do("CONFIG", "RESETSTAT")
	ok(t, c.SaveSeries(t.Context(), updates))
	if info := s.Do("INFO", "commandstats"); !strings.Contains(info, "cmdstat_evalsha:calls=1,") {
		t.Errorf("the series of %d events were not saved with one script:\n%s", len(updates), info)
	}
	for _, u := range updates {
		segs, err := c.LoadReach(t.Context(), u.Event)
		ok(t, err)
		if len(segs) != 1 || segs[0].Peak != u.Reach[0].Peak {
			t.Fatalf("reach of %s is %v", u.Event, segs)
		}
		for _, want := range u.Steps {
			steps, err := c.Steps(t.Context(), u.Event, grandstand.HourOf(want.At))
			ok(t, err)
			if len(steps) != 1 || steps[0].At != want.At {
				t.Fatalf("steps of %s are %v", u.Event, steps)
			}
		}
	}
}
