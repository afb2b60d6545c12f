package redis

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func testTallies(t *testing.T, r *rig) {
	gw, agg := open(t, r.url), open(t, r.url)
	ctx := t.Context()
	shard := func(s int, at int64) *grandstand.ShardTally {
		return &grandstand.ShardTally{
			Gateway: "A", Shard: s, At: at, Released: grandstand.ReleaseID{MS: 5, Seq: 1},
			Events: []grandstand.Tally{{Event: fmt.Sprint("event", s), Tick: 2000, Segments: []grandstand.SegmentTally{
				{Segment: grandstand.WorldSegment, Sessions: 3, Sketch: []byte{1, 0, 255}},
			}}},
		}
	}
	shards := []*grandstand.ShardTally{shard(0, 1000), shard(63, 1000), shard(7, 1000)}
	manifest := &grandstand.Manifest{Gateway: "A", At: 1000, Sessions: 9, Shards: []grandstand.ShardRef{{Shard: 0, At: 1000}, {Shard: 63, At: 1000}, {Shard: 7, At: 1000}}}
	ok(t, gw.WriteTallies(ctx, shards, manifest))
	ok(t, gw.WriteTallies(ctx, nil, &grandstand.Manifest{Gateway: "B", At: 7}))
	ok(t, gw.WriteTallies(ctx, nil, nil))

	got, err := agg.Manifests(ctx, []string{"nobody", "A", "B"})
	ok(t, err)
	if diff := cmp.Diff([]*grandstand.Manifest{nil, manifest, {Gateway: "B", At: 7}}, got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	tallies, err := agg.ShardTallies(ctx, []grandstand.TallyRef{{Gateway: "A", Shard: 7}, {Gateway: "A", Shard: 8}, {Gateway: "A", Shard: 63}})
	ok(t, err)
	for i, want := range []*grandstand.ShardTally{shards[2], nil, shards[1]} {
		if want == nil {
			if tallies[i] != nil {
				t.Errorf("a tally that nobody wrote: %v", tallies[i])
			}
			continue
		}
		tally, err := tallies[i].Decode()
		ok(t, err)
		if diff := cmp.Diff(want, tally); diff != "" {
			t.Errorf("tally (-want +got):\n%s", diff)
		}
	}

	ok(t, gw.WriteTallies(ctx, []*grandstand.ShardTally{shard(7, 3000)}, nil))
	tallies, err = agg.ShardTallies(ctx, []grandstand.TallyRef{{Gateway: "A", Shard: 7}})
	ok(t, err)
	if tallies[0].At != 3000 {
		t.Errorf("the tally is of %d, want the newest", tallies[0].At)
	}
	if list, err := agg.ShardTallies(ctx, nil); err != nil || len(list) != 0 {
		t.Errorf("ShardTallies of nothing: %v, %v", list, err)
	}
}

func testAdmit(t *testing.T, r *rig) {
	c := open(t, r.url)
	e := &grandstand.Event{Name: "final", Dims: []grandstand.Dimension{
		{Name: "country", Limit: 2}, {Name: "team", Limit: 3}, {Name: "fixed", Values: []string{"x"}}, {Name: "country+team"},
	}}
	ask := func(segs ...grandstand.Segment) []bool {
		t.Helper()
		got, err := c.Admit(t.Context(), e, segs)
		ok(t, err)
		return got
	}
	seg := func(dim, value string) grandstand.Segment { return grandstand.Segment{Dim: dim, Value: value} }
	for _, tc := range []struct {
		ask  []grandstand.Segment
		want []bool
	}{
		{[]grandstand.Segment{seg("country", "US"), seg("team", "KC"), seg("country", "US")}, []bool{true, true, true}},
		{[]grandstand.Segment{seg("country", "DE"), seg("country", "FR"), seg("team", "SF")}, []bool{true, false, true}},
		{[]grandstand.Segment{seg("country", "FR"), seg("country", "US"), seg("country", "DE")}, []bool{false, true, true}},
		{[]grandstand.Segment{seg("country", "unknown"), seg("team", "other"), seg("city", "LA")}, []bool{true, true, false}},
		{[]grandstand.Segment{seg("fixed", "x"), seg("fixed", "y")}, []bool{true, false}},
		{[]grandstand.Segment{seg("country+team", "US+KC"), seg("country+team", "unknown+KC")}, []bool{true, true}},
	} {
		if diff := cmp.Diff(tc.want, ask(tc.ask...)); diff != "" {
			t.Errorf("Admit(%v) (-want +got):\n%s", tc.ask, diff)
		}
	}
	// Another event has its own registry.
	if got, err := c.Admit(t.Context(), &grandstand.Event{Name: "other", Dims: e.Dims}, []grandstand.Segment{seg("country", "FR")}); err != nil || !got[0] {
		t.Errorf("another event: %v, %v", got, err)
	}
}

// testAdmitRace lets four gateways admit 300 values of a dimension of 256, each
// in its own order.
func testAdmitRace(t *testing.T, r *rig) {
	const clients, values = 4, 300
	e := &grandstand.Event{Name: "final", Dims: []grandstand.Dimension{{Name: "team"}}}
	answers := make([]map[string]bool, clients)
	var wg sync.WaitGroup
	for g := range clients {
		c := open(t, r.url)
		answers[g] = map[string]bool{}
		wg.Go(func() {
			for at := 0; at < values; at += 10 {
				var segs []grandstand.Segment
				for k := range 10 {
					segs = append(segs, grandstand.Segment{Dim: "team", Value: fmt.Sprint("t", (at+k+g*75)%values)})
				}
				got, err := c.Admit(context.Background(), e, segs)
				if err != nil {
					t.Error(err)
					return
				}
				for k, s := range segs {
					answers[g][s.Value] = got[k]
				}
			}
		})
	}
	wg.Wait()
	admitted := 0
	for _, is := range answers[0] {
		if is {
			admitted++
		}
	}
	if admitted != grandstand.MaxFreeValues {
		t.Errorf("%d values admitted, want %d", admitted, grandstand.MaxFreeValues)
	}
	for g := 1; g < clients; g++ {
		if diff := cmp.Diff(answers[0], answers[g]); diff != "" {
			t.Errorf("gateways 0 and %d disagree:\n%s", g, diff)
		}
	}
}

func TestAdmitTotalLeavesRoomForTheRest(t *testing.T) {
	e := &grandstand.Event{Dims: []grandstand.Dimension{{Name: "a", Values: make([]string, 100)}, {Name: "b"}}}
	if got, want := admitTotal(e), grandstand.MaxSegments-1-100-4; got != want {
		t.Errorf("admitTotal = %d, want %d", got, want)
	}
	e.Dims[0].Values = make([]string, grandstand.MaxSegments)
	if got := admitTotal(e); got != 0 {
		t.Errorf("admitTotal of a full event = %d, want 0", got)
	}
}
