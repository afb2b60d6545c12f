package grandstand

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

var frameDims = []Dimension{{Name: "country"}, {Name: "region"}, {Name: "team"}, {Name: "team+region"}}

func frameBoard(t testing.TB) *Board {
	return &Board{
		Event: "final-2026", At: 1795299042179, Epoch: 3, TickMS: 2000,
		Segments: counts(t,
			"world 3300000/3190211", "country:US 3000000/2900000", "country:other 300000/290211",
			"region:US-CA 3299993/3190204", "~region:US-WY 7/7",
			"team:KC 3299990/3190201", "team:other 10/10",
			"team+region:KC+US-CA 3300000/3190211"),
		Public: counts(t, "region:other 7/7"),
	}
}

// The text of a frame is the protocol of every client there is.
func TestFrameGolden(t *testing.T) {
	b := frameBoard(t)
	var out strings.Builder
	for _, c := range []struct {
		title   string
		quality Quality
		values  []string
	}{
		{"a fan of many", Live, []string{"US", "US-CA", "KC", "KC+US-CA"}},
		{"in a region under min_cohort, with a team that nobody else is for", Live, []string{"US", "US-WY", "NE", "NE+US-WY"}},
		{"in the public's other", Live, []string{"other", "other", "other", "other"}},
		{"partial", Partial, []string{"US", "US-CA", "KC", "KC+US-CA"}},
		{"stale", Stale, []string{"US", "US-CA", "KC", "KC+US-CA"}},
		{"final", Final, []string{"US", "US-CA", "KC", "KC+US-CA"}},
	} {
		b.Quality = c.quality
		text := NewFrame(b, frameDims, c.values).AppendJSON(nil, b.At+230)
		if !json.Valid(text) {
			t.Errorf("%s: %s is not JSON", c.title, text)
		}
		fmt.Fprintf(&out, "%s\n", text)
	}
	bare := *b
	bare.Quality, bare.Segments = Live, b.Segments[:len(b.Segments)-1]
	text := NewFrame(&bare, frameDims, []string{"US", "US-CA", "KC", "KC+US-CA"}).AppendJSON(nil, b.At+230) // nobody counts the cross
	fmt.Fprintf(&out, "%s\n", text)
	early := NewFrame(&Board{At: 1000}, nil, nil).AppendJSON(nil, 900) // of an empty board, before its time
	fmt.Fprintf(&out, "%s\n", early)
	golden(t, "frame.jsonl", []byte(out.String()))
}

func TestFrameIsWhatTheContractSays(t *testing.T) {
	b := frameBoard(t)
	f := NewFrame(b, frameDims[:1], []string{"US"})
	want := `{"t":"counts","at":1795299042179,"age":230,"epoch":3,"n":{"world":[3300000,3190211],"country":[3000000,2900000]}}`
	if got := string(f.AppendJSON(nil, b.At+230)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if f.At() != b.At || f.Epoch() != 3 {
		t.Errorf("at %d, epoch %d", f.At(), f.Epoch())
	}
}

func TestFrameSameNumbers(t *testing.T) {
	b := frameBoard(t)
	values := []string{"US", "US-CA", "KC", "KC+US-CA"}
	f := NewFrame(b, frameDims, values)
	for name, c := range map[string]struct {
		change func(*Board)
		same   bool
	}{
		"later":             {func(b *Board) { b.At += 2000 }, true},
		"another session":   {func(b *Board) { b.Segments[0].Sessions++ }, false},
		"another fan":       {func(b *Board) { b.Segments[1].Fans++ }, false},
		"of others only":    {func(b *Board) { b.Segments[2].Sessions++ }, true},
		"partial":           {func(b *Board) { b.Quality = Partial }, false},
		"another epoch":     {func(b *Board) { b.Epoch++ }, false},
		"a hidden segment":  {func(b *Board) { b.Segments[3].Folded = true }, false},
		"a peak that rises": {func(b *Board) { b.Segments[0].Peak = 9e6 }, true},
	} {
		o := frameBoard(t)
		c.change(o)
		if got := f.SameNumbers(NewFrame(o, frameDims, values)); got != c.same {
			t.Errorf("%s: the same numbers is %t", name, got)
		}
	}
	if f.SameNumbers(nil) {
		t.Error("no frame has the same numbers")
	}
}

func TestFrameAppendsWithoutAllocating(t *testing.T) {
	f := NewFrame(frameBoard(t), frameDims, []string{"US", "US-CA", "KC", "KC+US-CA"})
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { buf = f.AppendJSON(buf[:0], f.At()+12_345) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// For every board and time: JSON, with an age that is never negative and the
// numbers of the board.
func TestFrameForAnyBoard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		world := SegmentCount{Segment: WorldSegment, Sessions: rapid.Uint64().Draw(t, "sessions"), Fans: rapid.Uint64().Draw(t, "fans")}
		team := SegmentCount{Segment: Segment{"team", "KC"}, Folded: rapid.Bool().Draw(t, "folded")}
		b := &Board{
			At: rapid.Int64Range(0, 1<<53).Draw(t, "at"), Epoch: rapid.Int64Range(0, 1<<53).Draw(t, "epoch"),
			Quality: Quality(rapid.IntRange(0, 3).Draw(t, "quality")), Segments: []SegmentCount{world, team},
		}
		now := rapid.Int64Range(0, 1<<53).Draw(t, "now")
		text := NewFrame(b, []Dimension{{Name: "team"}}, []string{"KC"}).AppendJSON(nil, now)
		var got struct {
			T       string
			At, Age int64
			Epoch   int64
			Q       string
			N       map[string]*[2]uint64
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		q := b.Quality.String()
		if b.Quality == Live {
			q = ""
		}
		if got.T != "counts" || got.At != b.At || got.Age != max(now-b.At, 0) || got.Epoch != b.Epoch || got.Q != q ||
			*got.N["world"] != [2]uint64{world.Sessions, world.Fans} || (got.N["team"] == nil) != team.Folded {
			t.Fatalf("%s is not %+v at %d", text, b, now)
		}
	})
}

// A million viewers of a hundred audiences cost a hundred encodes.
func TestViewEncodesOncePerAudience(t *testing.T) {
	e := testEvent(t, func(e *Event) { e.Dims = frameDims })
	auds := NewAudiences(e)
	var list []*Audience
	for i := range 100 {
		list = append(list, auds.Intern([]string{"US", fmt.Sprint("R", i), "KC", fmt.Sprint("KC+R", i)}))
	}
	var encodes atomic.Uint64
	v := NewView(frameBoard(t), e.Dims, &encodes)
	var wg sync.WaitGroup
	got := make([][]*Frame, 8)
	for g := range got {
		wg.Go(func() {
			for range 20 {
				for _, a := range list {
					got[g] = append(got[g], v.Frame(a))
				}
			}
		})
	}
	wg.Wait()
	if n := encodes.Load(); n != 100 {
		t.Errorf("%d encodes for 100 audiences", n)
	}
	for g := range got {
		for i, f := range got[g] {
			if f != got[0][i%100] {
				t.Fatalf("audience %d has two frames", i%100)
			}
		}
	}
	if NewView(frameBoard(t), e.Dims, nil).Frame(list[0]) == nil {
		t.Error("a view without a counter has no frames")
	}
}

// largeBoard has the world, 50 countries, 216 regions and 32 teams.
func largeBoard() *Board {
	b := &Board{At: 1795299042179, Epoch: 3, Segments: []SegmentCount{{Segment: WorldSegment, Sessions: 3300000, Fans: 3190211}}}
	for _, d := range []struct {
		dim string
		n   int
	}{{"country", 50}, {"region", 216}, {"team", 32}} {
		for i := range d.n {
			b.Segments = append(b.Segments, SegmentCount{Segment: Segment{d.dim, fmt.Sprintf("V%03d", i)}, Sessions: 12345, Fans: 12001})
		}
	}
	return b
}

func BenchmarkNewFrame(b *testing.B) {
	board, values := largeBoard(), []string{"V033", "V107", "V012"}
	b.ReportAllocs()
	for b.Loop() {
		NewFrame(board, frameDims[:3], values)
	}
}

func BenchmarkPushFrame(b *testing.B) {
	f := NewFrame(largeBoard(), frameDims[:3], []string{"V033", "V107", "V012"})
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = f.AppendJSON(buf[:0], f.At()+230)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkViewFrame(b *testing.B) {
	auds := NewAudiences(testEvent(b, nil))
	a := auds.Intern([]string{"V033", "V107", "V012"})
	v := NewView(largeBoard(), frameDims[:3], nil)
	b.ReportAllocs()
	for b.Loop() {
		v.Frame(a)
	}
}
