package grandstand

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var compactValues = []string{"US", "US-WY", "KC", "KC+US-CA"} // the second is hidden

func TestCompactFrameGolden(t *testing.T) {
	b := frameBoard(t)
	b.Quality = Partial
	kept := golden(t, "counts-v1.hex", NewFrame(b, frameDims, compactValues).AppendCompact(nil, b.At+230))
	got, err := DecodeCounts(kept, 5)
	want := &Counts{At: 1795299042179, Epoch: 3, Age: 230, Quality: Partial, N: []ShownCount{
		{Sessions: 3300000, Fans: 3190211}, {Sessions: 3000000, Fans: 2900000}, {Hidden: true},
		{Sessions: 3299990, Fans: 3190201}, {Sessions: 3300000, Fans: 3190211},
	}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}

// Both forms of a frame say the same, whatever the board.
func TestCompactFrameSaysWhatJSONDoes(t *testing.T) {
	const most = 1<<53 - 2
	rapid.Check(t, func(t *rapid.T) {
		count := func(s Segment) SegmentCount {
			return SegmentCount{Segment: s, Sessions: rapid.Uint64Range(0, most).Draw(t, "sessions"),
				Fans: rapid.Uint64Range(0, most).Draw(t, "fans"), Folded: s != WorldSegment && rapid.Bool().Draw(t, "folded")}
		}
		b := &Board{
			At: rapid.Int64Range(0, most).Draw(t, "at"), Epoch: rapid.Int64Range(0, most).Draw(t, "epoch"),
			Quality:  Quality(rapid.IntRange(0, 3).Draw(t, "quality")),
			Segments: []SegmentCount{count(WorldSegment), count(Segment{"team", "KC"})},
		}
		now := rapid.Int64Range(0, most).Draw(t, "now")
		f := NewFrame(b, []Dimension{{Name: "team"}, {Name: "country"}}, []string{"KC", "US"})
		c, err := DecodeCounts(f.AppendCompact(nil, now), 3)
		if err != nil {
			t.Fatal(err)
		}
		pair := func(n ShownCount) any {
			if n.Hidden {
				return nil
			}
			return []uint64{n.Sessions, n.Fans}
		}
		message := map[string]any{"t": "counts", "at": c.At, "age": c.Age, "epoch": c.Epoch,
			"n": map[string]any{"world": pair(c.N[0]), "team": pair(c.N[1]), "country": pair(c.N[2])}}
		if c.Quality != Live {
			message["q"] = c.Quality
		}
		got, _ := json.Marshal(message)
		var x, y any
		if json.Unmarshal(got, &x) != nil || json.Unmarshal(f.AppendJSON(nil, now), &y) != nil || !cmp.Equal(x, y) {
			t.Fatalf("compact: %s\nJSON:    %s", got, f.AppendJSON(nil, now))
		}
	})
}

// The sizes that docs/protocol-bin.md names: a minute of a viewer of a match of
// millions, four segments moving at every tick of 2 s.
func TestAMinuteOfFrames(t *testing.T) {
	const ticks, jsonLimit, compactLimit = 30, 5 << 10, 1500
	var text, compact int
	for i := range ticks {
		b := &Board{At: 1795299042179 + 2000*int64(i), Epoch: 3, Segments: counts(t,
			"world 3300000/3190211", "country:US 3000000/2900000", "region:US-CA 390000/377000", "team:KC 1800000/1740000")}
		for k := range b.Segments {
			b.Segments[k].Sessions += uint64(i)
		}
		f := NewFrame(b, frameDims[:3], []string{"US", "US-CA", "KC"})
		text += len(f.AppendJSON(nil, b.At+270))
		compact += len(f.AppendCompact(nil, b.At+270))
	}
	t.Logf("%d bytes as JSON, %d compact", text, compact)
	if text > jsonLimit || compact > compactLimit {
		t.Errorf("a minute takes %d bytes as JSON (limit %d), %d compact (limit %d)", text, jsonLimit, compact, compactLimit)
	}
}

func FuzzDecodeCounts(f *testing.F) {
	f.Add(NewFrame(frameBoard(f), frameDims, compactValues).AppendCompact(nil, 1795299042409), 5)
	f.Add([]byte{1, 0, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, b []byte, dims int) {
		c, err := DecodeCounts(b, dims)
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		if len(c.N) != max(dims, 0) || c.At < 0 || c.Age < 0 || c.Epoch < 0 {
			t.Fatalf("%d dims: %+v", dims, c)
		}
		for _, n := range c.N {
			if n.Sessions > maxWireNumber || n.Fans > maxWireNumber {
				t.Fatalf("%+v", c)
			}
		}
	})
}
