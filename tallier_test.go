package grandstand

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// testEvent returns an event with the default dimensions and what a test
// changes.
func testEvent(t testing.TB, change func(*Event)) *Event {
	t.Helper()
	e := &Event{Name: "final-2026"}
	if change != nil {
		change(e)
	}
	if err := e.Normalize(); err != nil {
		t.Fatal(err)
	}
	return e
}

// tick tallies the sessions with the audiences and the viewers' hashes.
func tick(t *Tallier, e *Event, auds *Audiences, sessions []tallied) *Tally {
	t.Reset(len(auds.Segments()))
	for _, s := range sessions {
		t.Add(s.audience, s.viewer)
	}
	return t.Build(e, auds.Segments(), nil)
}

type tallied struct {
	audience *Audience
	viewer   uint64
}

func TestTallyCountsSessionsAndFans(t *testing.T) {
	e := testEvent(t, nil)
	auds := NewAudiences(e)
	kc := auds.Intern([]string{"US", "US-CA", "KC"})
	sf := auds.Intern([]string{"US", "US-CA", "SF"})
	moves := []Move{{From: "gw2", Release: ReleaseID{MS: 5}, Values: []string{"US", "US-CA", "KC"}}}

	tl := NewTallier()
	tl.Reset(len(auds.Segments()))
	one, two := hashes(1, 2)[0], hashes(1, 2)[1]
	tl.Add(kc, one)
	tl.Add(sf, one) // the same viewer on a second device, for the other team
	tl.Add(kc, two)
	late := auds.Intern([]string{"DE", Unknown, Other}) // first seen after Reset
	tl.Add(late, two)
	tally := tl.Build(e, auds.Segments(), moves)

	if tally.Event != "final-2026" || tally.Tick != DefaultTickMS || len(tally.Moves) != 1 {
		t.Errorf("the tally is of %q, tick %d, %d moves", tally.Event, tally.Tick, len(tally.Moves))
	}
	want := []struct {
		segment  string
		sessions uint32
		fans     uint64
	}{
		{"world", 4, 2},
		{"country:DE", 1, 1}, {"country:US", 3, 2},
		{"region:US-CA", 3, 2}, {"region:unknown", 1, 1},
		{"team:KC", 2, 2}, {"team:SF", 1, 1}, {"team:other", 1, 1},
	}
	if len(tally.Segments) != len(want) {
		t.Fatalf("%d segments, want %d", len(tally.Segments), len(want))
	}
	for i, w := range want {
		s := tally.Segments[i]
		if fans := unionOf(t, s.Sketch).Estimate(); s.Segment.String() != w.segment || s.Sessions != w.sessions || fans != w.fans {
			t.Errorf("segment %d is %s with %d sessions, %d fans; want %v", i, s.Segment, s.Sessions, fans, w)
		}
	}
}

func TestTallyOfNobodyIsEmpty(t *testing.T) {
	e := testEvent(t, nil)
	auds := NewAudiences(e)
	tl := NewTallier()
	if tally := tick(tl, e, auds, nil); len(tally.Segments) != 0 {
		t.Errorf("%d segments without a session", len(tally.Segments))
	}
	a := auds.Intern([]string{"US", "US-CA", "KC"})
	tick(tl, e, auds, []tallied{{a, 1}})
	if tally := tick(tl, e, auds, nil); len(tally.Segments) != 0 {
		t.Errorf("%d segments after all have left", len(tally.Segments))
	}
}

// Under any churn: sums hold in every dimension, segments are in order, the
// sketches are those of the viewers, and an earlier tally stays as it was.
func TestTalliesHoldTheirSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &Event{Name: "e", Dims: []Dimension{{Name: "country"}, {Name: "team"}, {Name: "country+team"}}}
		if err := e.Normalize(); err != nil {
			t.Fatal(err)
		}
		auds, tl := NewAudiences(e), NewTallier()
		var before *Tally
		var beforeSketches [][]byte
		for range rapid.IntRange(1, 4).Draw(t, "ticks") {
			n := rapid.SampledFrom([]int{0, 1, 50, 2000, 9000}).Draw(t, "sessions")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
			sessions := make([]tallied, n)
			viewers := map[Segment][]uint64{}
			for i := range sessions {
				c, k := fmt.Sprint("C", r.IntN(4)), fmt.Sprint("T", r.IntN(9))
				a := auds.Intern([]string{c, k, c + "+" + k})
				sessions[i] = tallied{a, r.Uint64()}
				if i > 0 && r.IntN(3) == 0 {
					sessions[i].viewer = sessions[i-1].viewer
				}
				for _, s := range []Segment{WorldSegment, {"country", c}, {"team", k}, {"country+team", c + "+" + k}} {
					viewers[s] = append(viewers[s], sessions[i].viewer)
				}
			}
			tally := tick(tl, e, auds, sessions)
			checkTally(t, tally, viewers)
			for i := range beforeSketches {
				if !bytes.Equal(before.Segments[i].Sketch, beforeSketches[i]) {
					t.Fatal("a tally changed the sketches of the one before")
				}
			}
			before, beforeSketches = tally, nil
			for _, s := range tally.Segments {
				beforeSketches = append(beforeSketches, slices.Clone(s.Sketch))
			}
		}
	})
}

// Without crosses a tally is the same but for them.
func TestATallyWithoutCrosses(t *testing.T) {
	e := testEvent(t, func(e *Event) { e.Dims = []Dimension{{Name: "country"}, {Name: "team"}, {Name: "country+team"}} })
	auds, tl := NewAudiences(e), NewTallier()
	sessions := []tallied{{auds.Intern([]string{"US", "KC", "US+KC"}), 1}, {auds.Intern([]string{"US", "SF", "US+SF"}), 2}}
	want := tick(tl, e, auds, sessions)
	want.Segments = slices.DeleteFunc(want.Segments, func(s SegmentTally) bool { return IsCross(s.Segment.Dim) })
	for i := range want.Segments {
		want.Segments[i].Sketch = slices.Clone(want.Segments[i].Sketch)
	}
	tl.NoCrosses = true
	if diff := cmp.Diff(want, tick(tl, e, auds, sessions)); diff != "" || len(want.Segments) != 4 {
		t.Error(diff)
	}
	tl.NoCrosses = false
	if n := len(tick(tl, e, auds, sessions).Segments); n != 6 {
		t.Errorf("%d segments with crosses again, want 6", n)
	}
}

func checkTally(t *rapid.T, tally *Tally, viewers map[Segment][]uint64) {
	board := &Board{}
	for _, s := range tally.Segments {
		board.Segments = append(board.Segments, SegmentCount{Segment: s.Segment, Sessions: uint64(s.Sessions)})
		if int(s.Sessions) != len(viewers[s.Segment]) {
			t.Fatalf("%s has %d sessions, want %d", s.Segment, s.Sessions, len(viewers[s.Segment]))
		}
		if !bytes.Equal(s.Sketch, sketchOf(viewers[s.Segment]).AppendBinary(nil)) {
			t.Fatalf("%s has not the sketch of its viewers", s.Segment)
		}
	}
	if len(tally.Segments) != len(viewers) {
		t.Fatalf("%d segments, want %d", len(tally.Segments), len(viewers))
	}
	if !slices.IsSortedFunc(tally.Segments, func(a, b SegmentTally) int { return CompareSegments(a.Segment, b.Segment) }) {
		t.Fatal("the segments are not in order")
	}
	if err := board.CheckSums(); err != nil {
		t.Fatal(err)
	}
}

// A crowd that leaves at once is counted as exactly as one that never came.
func TestFansAreExactAfterTheCrowdLeft(t *testing.T) {
	e := testEvent(t, nil)
	auds, tl := NewAudiences(e), NewTallier()
	a := auds.Intern([]string{"US", "US-CA", "KC"})
	for _, n := range []int{50_000, 2000, 0, 1500, 20_000, 300} {
		sessions := make([]tallied, n)
		for i, h := range hashes(4, n) {
			sessions[i] = tallied{a, h}
		}
		tally := tick(tl, e, auds, sessions)
		for _, s := range tally.Segments {
			fans := unionOf(t, s.Sketch).Estimate()
			if n <= 2000 && (fans+1 < uint64(n) || fans > uint64(n)+1) {
				t.Errorf("%s: %d fans are estimated as %d", s.Segment, n, fans)
			}
		}
	}
}

// nflCrowd is 20,000 sessions in the world, 30 countries, 216 regions and 32
// teams: about 280 segments, most sessions in a few of them.
func nflCrowd(t testing.TB) (*Event, *Audiences, []tallied) {
	e := testEvent(t, nil)
	auds := NewAudiences(e)
	r := rand.New(rand.NewPCG(7, 7))
	few := func(n int) int { return min(int(r.ExpFloat64()*float64(n)/6), n-1) }
	sessions := make([]tallied, 20_000)
	for i := range sessions {
		country := few(30)
		region := country*7 + few(7)
		sessions[i] = tallied{auds.Intern([]string{
			fmt.Sprint("C", country), fmt.Sprint("R", region), fmt.Sprint("T", few(32)),
		}), r.Uint64()}
	}
	return e, auds, sessions
}

func BenchmarkTally(b *testing.B) {
	e, auds, sessions := nflCrowd(b)
	tl := NewTallier()
	b.ReportAllocs()
	var tally *Tally
	for b.Loop() {
		tally = tick(tl, e, auds, sessions)
	}
	inserts := float64(len(sessions) * 4)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/inserts, "ns/insert")
	size := 0
	for _, s := range tally.Segments {
		size += len(s.Sketch)
	}
	b.ReportMetric(float64(size), "bytes")
	b.ReportMetric(float64(len(tally.Segments)), "segments")
	b.ReportMetric(float64(auds.Len()), "audiences")
}

// One audience, so that all its sketches are dense.
func BenchmarkTallyDense(b *testing.B) {
	e := testEvent(b, nil)
	auds := NewAudiences(e)
	a := auds.Intern([]string{"US", "US-CA", "KC"})
	viewers := hashes(1, 100_000)
	tl := NewTallier()
	b.ReportAllocs()
	for b.Loop() {
		tl.Reset(len(auds.Segments()))
		for _, h := range viewers {
			tl.Add(a, h)
		}
		tl.Build(e, auds.Segments(), nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(4*len(viewers)), "ns/insert")
}
