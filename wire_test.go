package grandstand

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// wireCase is one wire form with a sample that uses all of it.
type wireCase struct {
	name    string
	version byte
	sample  []byte
	check   func(b []byte) error // decodes b; what it yields must survive another round
}

func wireCaseOf[T any](name string, sample *T, enc func([]byte, *T) []byte, dec func([]byte) (*T, error)) wireCase {
	b := enc(nil, sample)
	return wireCase{name, b[0], b, func(b []byte) error {
		v, err := dec(b)
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				panic(fmt.Sprintf("the code of %q is %s", err, CodeOf(err)))
			}
			if v != nil {
				panic("a value and an error")
			}
			return err
		}
		first := enc(nil, v)
		again, err := dec(first)
		if err != nil {
			panic(fmt.Sprintf("what was decoded does not decode again: %v", err))
		}
		if diff := cmp.Diff(v, again, cmpopts.EquateEmpty()); diff != "" {
			panic("another round changes it:\n" + diff)
		}
		if !bytes.Equal(enc(nil, again), first) {
			panic("equal values have different bytes")
		}
		return nil
	}}
}

func wireCases() []wireCase {
	return append([]wireCase{
		wireCaseOf("tally", &sampleShardTally().Events[0], AppendTally, DecodeTally),
		wireCaseOf("shard-tally", sampleShardTally(), AppendShardTally, DecodeShardTally),
		wireCaseOf("manifest", sampleManifest(), AppendManifest, DecodeManifest),
		wireCaseOf("record", sampleRecord(), AppendRecord, DecodeRecord),
		wireCaseOf("board", sampleShardBoard().Boards[0], AppendBoard, DecodeBoard),
		wireCaseOf("shard-board", sampleShardBoard(), AppendShardBoard, DecodeShardBoard),
		wireCaseOf("step", sampleStep(), AppendStep, DecodeStep),
		wireCaseOf("checkpoint", sampleCheckpoint(), AppendCheckpoint, DecodeCheckpoint),
		wireCaseOf("status", sampleStatus(), AppendStatus, DecodeStatus),
	}, feedCases()...)
}

const sampleAt = 1_795_299_042_179

func sampleShardTally() *ShardTally {
	kc := []string{"US", "US-CA", "KC", "KC+US-CA"}
	sf := []string{"US", "US-CO", "SF", "SF+US-CO"}
	return &ShardTally{
		Gateway: "gw-7f3a", Shard: 17, At: sampleAt, Released: ReleaseID{sampleAt - 900, 3},
		Events: []Tally{{
			Event: "final-2026", Tick: 2000,
			Segments: []SegmentTally{
				{WorldSegment, 70_000, []byte{1, 14, 200, 201}},
				{Segment{"country", "US"}, 70_000, []byte{1, 14, 200, 201}},
				{Segment{"region", "US-CA"}, 69_999, []byte{1, 14, 200}},
				{Segment{"region", "US-CO"}, 1, []byte{1, 14, 201}},
				{Segment{"team+region", "KC+US-CA"}, 69_999, []byte{1, 14, 200}},
				{Segment{"team+region", "SF+US-CO"}, 1, nil},
			},
			Moves: []Move{
				{"gw-1", ReleaseID{sampleAt - 500, 0}, kc, 0, false},
				{"gw-1", ReleaseID{sampleAt - 500, 1}, sf, sampleAt - 1700, false},
				{"gw-2", ReleaseID{sampleAt - 700, 0}, kc, 0, false},
				{"gw-1", ReleaseID{sampleAt - 499, 0}, kc, sampleAt - 400, true},
			},
		}, {
			Event: "semi", Tick: 1000,
			Segments: []SegmentTally{{WorldSegment, 0, nil}},
		}},
	}
}

func sampleManifest() *Manifest {
	return &Manifest{
		Gateway: "gw-7f3a", At: sampleAt, Released: ReleaseID{sampleAt - 900, 3}, Epoch: 4,
		Left: true, Sessions: math.MaxUint32,
		Shards: []ShardRef{{0, sampleAt}, {17, sampleAt - 60_000}, {63, sampleAt + 1}},
	}
}

func sampleRecord() *Record {
	return &Record{
		Event: "final-2026", Session: "AAECAwQFBgcICQoLDA0ODxAREhMU", Owner: "gw-7f3a",
		Gen: 300, Values: []string{"US", "US-CA", "KC"}, Since: sampleAt - 1700,
	}
}

func sampleStatus() *Status {
	return &Status{
		Viewers: &ViewersStatus{Connections: 12_003, Sessions: 11_987},
		Tree:    &TreeStatus{Relay: true, Depth: 1, Parent: "10.0.0.5:9091", HopMS: 3},
		Rules:   []RuleStatus{{"none", 1, 0, 4, 0}, {"plan", 214, 80_123, 950, 0}, {"token", 0, 300, 0, 17}},
		Journal: &JournalStatus{Bytes: 734_003_200, Files: 3},
		Archive: &ArchiveStatus{LagMS: 61_500, Pending: 2},
	}
}

func sampleShardBoard() *ShardBoard {
	return &ShardBoard{Shard: 17, At: sampleAt, Boards: []*Board{{
		Event: "final-2026", At: sampleAt, TickMS: 2000, Quality: Partial, Coverage: 0.875,
		Segments: []SegmentCount{
			{WorldSegment, 3_300_000, 3_190_211, 3_400_000, 5_000_000, false},
			{Segment{"country", "US"}, 3_299_991, 3_190_205, 3_400_000, 4_900_000, false},
			{Segment{"country", Unknown}, 9, 9, 12, 40, true},
			{Segment{"team", "KC"}, 3_300_000, 3_190_211, 3_400_000, 5_000_000, false},
		},
		Public: []SegmentCount{{Segment{"country", Other}, 9, 9, 12, 40, false}},
	}, {
		Event: "semi", At: sampleAt - 2000, TickMS: 1000, Quality: Final, Coverage: 1,
	}}}
}

func sampleStep() *Step {
	return &Step{At: sampleAt, Full: true, Counts: []StepCount{
		{WorldSegment, 12, 11, false}, {Segment{"team", "KC"}, 12, 11, true}, {Segment{"team", "SF"}, 0, 0, false},
	}}
}

func sampleCheckpoint() *Checkpoint {
	cohort := 10
	b := sampleShardBoard().Boards[0]
	b.Epoch = 4
	return &Checkpoint{
		Event: Event{
			Name: "final-2026", State: EventLive, TickMS: 2000, BeatMS: 10_000, MinCohort: &cohort,
			Dims:   []Dimension{{Name: "country"}, {Name: "team", Values: []string{"KC", "SF"}, Choose: true}},
			Public: true, UpdatedAt: sampleAt - 5, StartedAt: sampleAt - 4,
		},
		Board: b,
		Segments: []CheckpointSegment{
			{WorldSegment, 3_400_000, sampleAt - 60_000, []byte{1, 14, 200, 201}},
			{Segment{"team", "KC"}, 3_400_000, sampleAt - 60_000, nil},
		},
	}
}

func TestWireGolden(t *testing.T) {
	for _, c := range wireCases() {
		old := golden(t, fmt.Sprintf("%s-v%d.hex", c.name, c.version), c.sample)
		if err := c.check(old); err != nil {
			t.Errorf("%s: bytes of an earlier release: %v", c.name, err)
		}
	}
}

// What gateways of the releases before wrote is still read.
func TestTalliesOfEarlierVersions(t *testing.T) {
	want := sampleShardTally()
	for i := range want.Events[0].Moves {
		want.Events[0].Moves[i].Moved = false // they did not say
	}
	for _, version := range []string{"v1", "v2"} {
		got, err := DecodeShardTally(kept(t, "shard-tally-"+version+".hex"))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", version, err, diff)
		}
		tally, err := DecodeTally(kept(t, "tally-"+version+".hex"))
		if diff := cmp.Diff(&want.Events[0], tally, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", version, err, diff)
		}
	}
}

// denseTally has sketches of crowds that are too large for a sparse one.
func denseTally() *Tally {
	t := &Tally{Event: "final-2026", Tick: 2000}
	for i, n := range []int{40_000, 9_000, 100} {
		seg := SegmentTally{Segment: Segment{"team", fmt.Sprint("T", i)}, Sessions: uint32(n), Sketch: sketchOf(hashes(uint64(i), n)).AppendBinary(nil)}
		t.Segments = append(t.Segments, seg)
	}
	return t
}

func TestDenseSketchesArePacked(t *testing.T) {
	want := denseTally()
	b := AppendTally(nil, want)
	got, err := DecodeTally(golden(t, "tally-dense-v3.hex", b))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	// The release before packed them the same way.
	got, err = DecodeTally(kept(t, "tally-dense-v2.hex"))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("version 2: %v (-want +got):\n%s", err, diff)
	}
	if size := len(want.Segments[0].Sketch) + len(want.Segments[1].Sketch); len(b) > 2*size/5 {
		t.Errorf("%d bytes of dense sketches are %d packed", size, len(b))
	}
	// Bytes that are no crowd's, or no sketch's, come back as well.
	flat := appendDenseHeader(nil)
	flat = append(flat, make([]byte, registers)...)
	noise := slices.Clone(flat)
	for i := range registers {
		noise[denseHeader+i] = byte(i * i >> 3)
	}
	for _, sketch := range [][]byte{flat, noise, flat[:denseSketchLen-1], {1}, nil} {
		odd := &Tally{Segments: []SegmentTally{{Segment: WorldSegment, Sketch: sketch}}}
		got, err := DecodeTally(AppendTally(nil, odd))
		if err != nil || !bytes.Equal(got.Segments[0].Sketch, sketch) {
			t.Errorf("a sketch of %d bytes comes back as %v, %v", len(sketch), got, err)
		}
	}
}

func TestPackedSketchesThatAreBroken(t *testing.T) {
	b := AppendTally(nil, denseTally())
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		broken := slices.Clone(b)
		for range 1 + rnd.IntN(4) {
			broken[rnd.IntN(len(broken))] ^= 1 << rnd.IntN(8)
		}
		got, err := DecodeTally(broken)
		if err != nil {
			if CodeOf(err) != CodeInvalid {
				t.Fatalf("the code of %v is %s", err, CodeOf(err))
			}
			continue
		}
		for i := range got.Segments { // may be another sketch, or none: that is checked where it is merged
			var u Union
			if u.Merge(got.Segments[i].Sketch) == nil {
				u.Estimate()
			}
		}
	}
	short := append([]byte{tallyVersion, 0, 0, 1, 1, 0, 0, 0, 5<<1 | 1}, make([]byte, 5)...)
	if _, err := DecodeTally(append(short, 0)); CodeOf(err) != CodeInvalid {
		t.Errorf("a few bytes that claim to be a dense sketch: %v", err)
	}
}

func BenchmarkPackSketch(b *testing.B) {
	sketch := sketchOf(hashes(1, 20_000)).AppendBinary(nil)
	dst := appendSketch(nil, sketch)
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			dst = appendSketch(dst[:0], sketch)
		}
		b.ReportMetric(float64(len(dst)), "bytes")
	})
	b.Run("unpack", func(b *testing.B) {
		for b.Loop() {
			if r := (&wireReader{rest: dst}); len(r.sketch()) != len(sketch) {
				b.Fatal(r.err)
			}
		}
	})
}

func TestWireRefusesTruncatedAndTrailingBytes(t *testing.T) {
	for _, c := range wireCases() {
		for n := range c.sample {
			if c.check(slices.Clone(c.sample[:n])) == nil {
				t.Errorf("%s: the first %d of %d bytes decode", c.name, n, len(c.sample))
			}
		}
		if c.check(append(slices.Clone(c.sample), 0)) == nil {
			t.Errorf("%s: decodes with a byte after its end", c.name)
		}
		if c.check(append([]byte{c.sample[0] + 1}, c.sample[1:]...)) == nil {
			t.Errorf("%s: decodes with another version", c.name)
		}
	}
}

func TestWireRefusesWhatIsOutOfRange(t *testing.T) {
	uvarints := func(version byte, list ...uint64) []byte {
		b := []byte{version}
		for _, v := range list {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	coverage := func(c float64) []byte { // a board with that coverage
		b := AppendBoard(nil, &Board{Coverage: 0.5})
		old := binary.BigEndian.AppendUint64(nil, math.Float64bits(0.5))
		return bytes.Replace(b, old, binary.BigEndian.AppendUint64(nil, math.Float64bits(c)), 1)
	}
	decode := map[string]func([]byte) error{}
	for _, c := range wireCases() {
		decode[c.name] = c.check
	}
	for _, tt := range []struct {
		what, name string
		in         []byte
		ok         bool
	}{
		{"shard 63", "shard-tally", AppendShardTally(nil, &ShardTally{Shard: 63}), true},
		{"shard 64", "shard-tally", AppendShardTally(nil, &ShardTally{Shard: 64}), false},
		{"shard -1", "shard-tally", AppendShardTally(nil, &ShardTally{Shard: -1}), false},
		{"shard 64", "shard-board", AppendShardBoard(nil, &ShardBoard{Shard: 64}), false},
		{"shard 64", "manifest", AppendManifest(nil, &Manifest{Shards: []ShardRef{{Shard: 64}}}), false},
		{"quality 3", "board", AppendBoard(nil, &Board{Quality: 3}), true},
		{"quality 4", "board", AppendBoard(nil, &Board{Quality: 4}), false},
		{"coverage 0.25", "board", coverage(0.25), true},
		{"coverage -1", "board", coverage(-1), false},
		{"coverage 1.5", "board", coverage(1.5), false},
		{"coverage NaN", "board", coverage(math.NaN()), false},
		{"a time of 2^53-1", "step", uvarints(stepVersion, maxWireNumber, 0, 0), true},
		{"a time of 2^53", "step", uvarints(stepVersion, maxWireNumber+1, 0, 0), false},
		{"a flag of 2", "step", uvarints(stepVersion, 1, 2, 0), false},
		{"a dimension that was not named", "step", uvarints(stepVersion, 1, 0, 1, 1, 1, 10, 0), false},
		{"a segment without a dimension", "step", uvarints(stepVersion, 1, 0, 1, 0, 10, 0), false},
		{"5 sessions, 5 fans", "step", uvarints(stepVersion, 1, 0, 1, 1, 0, 0, 10, 0), true},
		{"5 sessions, -1 fans", "step", uvarints(stepVersion, 1, 0, 1, 1, 0, 0, 10, zigzag(-6)), false},
		{"2^32-1 sessions", "tally", uvarints(tallyVersion, 0, 0, 1, 1, 0, 0, math.MaxUint32, 0, 0), true},
		{"2^32 sessions", "tally", uvarints(tallyVersion, 0, 0, 1, 1, 0, 0, math.MaxUint32+1, 0, 0), false},
		{"a move from nobody named", "tally", uvarints(tallyVersion, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0), false},
		{"a move of no audience named", "tally", uvarints(tallyVersion, 0, 0, 0, 1, 0, 0, 2, 0, 0, 1), false},
		{"a move of an empty audience", "tally", uvarints(tallyVersion, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0), true},
		{"an event that is no JSON", "checkpoint", uvarints(checkpointVersion, 1, 'x', 0, 0), false},
	} {
		if err := decode[tt.name](tt.in); (err == nil) != tt.ok {
			t.Errorf("%s: %s: %v", tt.name, tt.what, err)
		}
	}
}

// A count or length in a hostile message must not make its reader allocate.
func TestWireAllocatesNoMoreThanTheInputIsWorth(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, c := range wireCases() {
		for range 300 {
			b := slices.Clone(c.sample[:min(len(c.sample), 1+rnd.IntN(64))])
			for range 1 + rnd.IntN(3) { // put the largest number that fits somewhere
				at := rnd.IntN(len(b))
				b = append(b[:at:at], append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, b[at:]...)...)
			}
			b[0] = c.sample[0]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = c.check(b)
			runtime.ReadMemStats(&after)
			// JSON, cmp and errors take their share: the bound tells megabytes from kilobytes.
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<17 {
				t.Fatalf("%s: %d bytes make it allocate %d: %x", c.name, len(b), got, b)
			}
		}
	}
}

func TestWireStringsDoNotAlias(t *testing.T) {
	b := AppendShardTally(nil, sampleShardTally())
	got, err := DecodeShardTally(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	if diff := cmp.Diff(sampleShardTally(), got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(SegmentTally{}, "Sketch")); diff != "" {
		t.Error(diff)
	}
}

// checkRound fails if a value does not come back as it was.
func checkRound[T any](t *rapid.T, v *T, enc func([]byte, *T) []byte, dec func([]byte) (*T, error)) {
	b := enc([]byte("before"), v)
	got, err := dec(b[len("before"):])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
}

var (
	genNumber  = rapid.Uint64Range(0, maxWireNumber)
	genTime    = rapid.Int64Range(0, maxWireNumber)
	genShard   = rapid.IntRange(0, Shards-1)
	genBytes   = rapid.SliceOfN(rapid.Byte(), 0, 300)
	genText    = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "US", "US-CA", "KC", "KC+US-CA", "KC+US-CO"}))
	genSegment = rapid.Custom(func(t *rapid.T) Segment {
		return Segment{rapid.SampledFrom([]string{World, "team", "region", "team+region", ""}).Draw(t, "dim"), genText.Draw(t, "value")}
	})
	genRelease = rapid.Custom(func(t *rapid.T) ReleaseID {
		return ReleaseID{rapid.Uint64().Draw(t, "ms"), rapid.Uint64().Draw(t, "seq")}
	})
	genTally = rapid.Custom(func(t *rapid.T) Tally {
		return Tally{
			Event: genText.Draw(t, "event"), Tick: genTime.Draw(t, "tick"),
			Segments: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) SegmentTally {
				return SegmentTally{genSegment.Draw(t, "segment"), rapid.Uint32().Draw(t, "sessions"), genBytes.Draw(t, "sketch")}
			}), 0, 8).Draw(t, "segments"),
			Moves: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Move {
				m := Move{
					From:    rapid.SampledFrom([]string{"a", "b", "", "\x00"}).Draw(t, "from"),
					Release: rapid.OneOf(genRelease, rapid.Just(ReleaseID{5, 1}), rapid.Just(ReleaseID{5, 2})).Draw(t, "release"),
					Values:  rapid.SliceOfN(genText, 0, 4).Draw(t, "values"),
				}
				if before := rapid.Int64Range(-5000, sinceOldMS-1).Draw(t, "before"); m.Release.MS < 1<<50 && int64(m.Release.MS) > before {
					m.Since = int64(m.Release.MS) - before
					m.Moved = rapid.Bool().Draw(t, "moved")
				}
				return m
			}), 0, 12).Draw(t, "moves"),
		}
	})
	genCount = rapid.Custom(func(t *rapid.T) SegmentCount {
		return SegmentCount{
			Segment: genSegment.Draw(t, "segment"), Sessions: genNumber.Draw(t, "sessions"), Fans: genNumber.Draw(t, "fans"),
			Peak: genNumber.Draw(t, "peak"), Reach: genNumber.Draw(t, "reach"), Folded: rapid.Bool().Draw(t, "folded"),
		}
	})
	genBoard = rapid.Custom(func(t *rapid.T) *Board {
		return &Board{
			Event: genText.Draw(t, "event"), At: genTime.Draw(t, "at"), TickMS: genTime.Draw(t, "tick"),
			Quality: Quality(rapid.IntRange(0, len(qualityNames)-1).Draw(t, "quality")), Coverage: rapid.Float64Range(0, 1).Draw(t, "coverage"),
			Segments: rapid.SliceOfN(genCount, 0, 8).Draw(t, "segments"), Public: rapid.SliceOfN(genCount, 0, 3).Draw(t, "public"),
		}
	})
)

func TestTalliesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, &ShardTally{
			Gateway: genText.Draw(t, "gateway"), Shard: genShard.Draw(t, "shard"), At: genTime.Draw(t, "at"),
			Released: genRelease.Draw(t, "released"), Events: rapid.SliceOfN(genTally, 0, 3).Draw(t, "events"),
		}, AppendShardTally, DecodeShardTally)
	})
}

func TestManifestsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, &Manifest{
			Gateway: genText.Draw(t, "gateway"), At: genTime.Draw(t, "at"), Released: genRelease.Draw(t, "released"),
			Epoch: genTime.Draw(t, "epoch"), Left: rapid.Bool().Draw(t, "left"), Sessions: rapid.Uint32().Draw(t, "sessions"),
			Shards: rapid.SliceOf(rapid.Custom(func(t *rapid.T) ShardRef {
				return ShardRef{genShard.Draw(t, "shard"), genTime.Draw(t, "at")}
			})).Draw(t, "shards"),
		}, AppendManifest, DecodeManifest)
	})
}

func TestRecordsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, &Record{
			Event: genText.Draw(t, "event"), Session: genText.Draw(t, "session"), Owner: genText.Draw(t, "owner"),
			Gen: rapid.Uint64().Draw(t, "gen"), Values: rapid.SliceOf(genText).Draw(t, "values"), Since: genTime.Draw(t, "since"),
		}, AppendRecord, DecodeRecord)
	})
}

func TestBoardsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, &ShardBoard{
			Shard: genShard.Draw(t, "shard"), At: genTime.Draw(t, "at"), Boards: rapid.SliceOfN(genBoard, 0, 3).Draw(t, "boards"),
		}, AppendShardBoard, DecodeShardBoard)
		checkRound(t, genBoard.Draw(t, "board"), AppendBoard, DecodeBoard)
	})
}

func TestStepsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, &Step{
			At: genTime.Draw(t, "at"), Full: rapid.Bool().Draw(t, "full"),
			Counts: rapid.SliceOf(rapid.Custom(func(t *rapid.T) StepCount {
				return StepCount{genSegment.Draw(t, "segment"), genNumber.Draw(t, "sessions"), genNumber.Draw(t, "fans"), rapid.Bool().Draw(t, "folded")}
			})).Draw(t, "counts"),
		}, AppendStep, DecodeStep)
	})
}

// Version 1 of a step did not say what the public was shown: it is taken for
// nothing but the world.
func TestStepOfVersion1(t *testing.T) {
	got, err := DecodeStep(kept(t, "step-v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	want := sampleStep() // of which team:KC is folded
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCheckpointsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Checkpoint{
			Event: Event{
				Name: genText.Draw(t, "event"), State: EventEnded, TickMS: genTime.Draw(t, "tick"), Public: rapid.Bool().Draw(t, "public"),
				Dims: []Dimension{{Name: "team", Values: []string{"KC"}, Limit: 3, Choose: true}}, EndedAt: genTime.Draw(t, "ended"),
			},
			Segments: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) CheckpointSegment {
				return CheckpointSegment{genSegment.Draw(t, "segment"), genNumber.Draw(t, "peak"), genTime.Draw(t, "at"), genBytes.Draw(t, "reach")}
			}), 0, 8).Draw(t, "segments"),
		}
		if rapid.Bool().Draw(t, "has board") {
			c.Board = genBoard.Draw(t, "board")
			c.Board.Epoch = genTime.Draw(t, "epoch")
		}
		checkRound(t, c, AppendCheckpoint, DecodeCheckpoint)
	})
}

// What nothing counts to is bounded, not wrapped around.
func TestWireBoundsNumbers(t *testing.T) {
	b := &Board{Event: "e", At: -1, Coverage: math.NaN(), Segments: []SegmentCount{{WorldSegment, math.MaxUint64, math.MaxUint64, 1, 1 << 60, true}}}
	got, err := DecodeBoard(AppendBoard(nil, b))
	if err != nil {
		t.Fatal(err)
	}
	want := &Board{Event: "e", Segments: []SegmentCount{{WorldSegment, maxWireNumber, maxWireNumber, 1, maxWireNumber, true}}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestShardTallyOfCachedParts(t *testing.T) {
	whole := sampleShardTally()
	parts := &EncodedShardTally{Gateway: whole.Gateway, Shard: whole.Shard, At: whole.At, Released: whole.Released}
	for i := range whole.Events {
		parts.Tallies = append(parts.Tallies, AppendTally(nil, &whole.Events[i]))
	}
	b := AppendEncodedShardTally(nil, parts)
	if !bytes.Equal(b, AppendShardTally(nil, whole)) {
		t.Error("a shard tally made of parts has other bytes than the whole")
	}
	got, err := DecodeEncodedShardTally(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parts, got); diff != "" {
		t.Error(diff)
	}
	if name, err := EventOfTally(got.Tallies[1]); string(name) != "semi" || err != nil {
		t.Errorf("the second tally is of %q, %v", name, err)
	}
	if _, err := EventOfTally([]byte{tallyVersion, 9, 'x'}); CodeOf(err) != CodeInvalid {
		t.Errorf("the event of a broken tally: %v", err)
	}
}

func TestShardBoardOfCachedParts(t *testing.T) {
	whole := sampleShardBoard()
	parts := &EncodedShardBoard{Shard: whole.Shard, At: whole.At}
	for _, b := range whole.Boards {
		parts.Boards = append(parts.Boards, b.Encode())
	}
	b := AppendEncodedShardBoard(nil, parts)
	if !bytes.Equal(b, AppendShardBoard(nil, whole)) {
		t.Error("a shard board made of parts has other bytes than the whole")
	}
	got, err := DecodeEncodedShardBoard(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parts, got); diff != "" {
		t.Error(diff)
	}
	whole.SetEpoch(7)
	if whole.Epoch != 7 || whole.Boards[1].Epoch != 7 {
		t.Error("SetEpoch leaves an epoch out")
	}
}

// bigBoard is a board of a large event: 301 segments.
func bigBoard() *Board {
	rnd := rand.New(rand.NewPCG(3, 4))
	b := &Board{Event: "final-2026", At: sampleAt, TickMS: 2000, Coverage: 1}
	add := func(dim, value string) {
		n := uint64(100 + rnd.IntN(20_000))
		b.Segments = append(b.Segments, SegmentCount{
			Segment: Segment{dim, value}, Sessions: n, Fans: n - n/30, Peak: n + n/10, Reach: 2 * n,
		})
	}
	add(World, "")
	for i := range 70 {
		add("country", string([]byte{'A' + byte(i/26), 'A' + byte(i%26)}))
	}
	for i := range 150 {
		add("region", "US-"+string([]byte{'A' + byte(i/26), 'A' + byte(i%26)}))
	}
	for i := range 80 {
		add("team", "Team-"+string([]byte{'A' + byte(i/26), 'a' + byte(i%26), 'x'}))
	}
	return b
}

func TestWireIsSmall(t *testing.T) {
	b := bigBoard()
	size := len(AppendBoard(nil, b))
	t.Logf("a board of %d segments: %d bytes", len(b.Segments), size)
	if size > 3500 {
		t.Errorf("a board of %d segments has %d bytes", len(b.Segments), size)
	}
	tally := Tally{Event: "final-2026", Tick: 2000, Moves: manyMoves()}
	size = len(AppendTally(nil, &tally))
	t.Logf("%d moves: %d bytes", len(tally.Moves), size)
	if size > 13*len(tally.Moves) {
		t.Errorf("%d moves have %d bytes", len(tally.Moves), size)
	}
	size = len(AppendRecord(nil, sampleRecord()))
	t.Logf("a session record: %d bytes", size)
}

// manyMoves are those of a gateway that takes over from two dead ones.
func manyMoves() []Move {
	rnd := rand.New(rand.NewPCG(5, 6))
	moves := make([]Move, 5000)
	id := ReleaseID{MS: sampleAt}
	for i := range moves {
		id.MS += uint64(rnd.IntN(2))
		id.Seq = uint64(rnd.IntN(3))
		team, state := rnd.IntN(32), rnd.IntN(50)
		moves[i] = Move{
			From: fmt.Sprint("gateway-", rnd.IntN(2)), Release: id, Since: int64(id.MS) - int64(rnd.IntN(1_200_000)),
			Values: []string{"US", fmt.Sprint("US-", state), fmt.Sprint("team-", team), fmt.Sprintf("team-%d+US-%d", team, state)},
		}
	}
	return moves
}

func fuzzWire[T any](f *testing.F, sample *T, enc func([]byte, *T) []byte, dec func([]byte) (*T, error)) {
	c := wireCaseOf("", sample, enc, dec)
	f.Add([]byte{})
	f.Add(c.sample)
	f.Add(c.sample[:len(c.sample)/2])
	f.Add(enc(nil, new(T)))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add(append([]byte{1}, strings.Repeat("\x00", 40)...))
	f.Fuzz(func(t *testing.T, b []byte) { _ = c.check(b) })
}

func FuzzDecodeTally(f *testing.F) {
	fuzzWire(f, &sampleShardTally().Events[0], AppendTally, DecodeTally)
}

// FuzzUnpackSketch has packed sketches read that nobody packed.
func FuzzUnpackSketch(f *testing.F) {
	for _, s := range denseTally().Segments {
		f.Add(appendSketch(nil, s.Sketch))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &wireReader{what: "sketch", rest: b}
		sketch := r.sketch()
		if r.err != nil {
			return
		}
		again := &wireReader{rest: appendSketch(nil, sketch)}
		if got := again.sketch(); again.err != nil || !bytes.Equal(got, sketch) {
			t.Fatalf("another round changes it: %v", again.err)
		}
	})
}

func FuzzDecodeShardTally(f *testing.F) {
	fuzzWire(f, sampleShardTally(), AppendShardTally, DecodeShardTally)
}
func FuzzDecodeManifest(f *testing.F) {
	fuzzWire(f, sampleManifest(), AppendManifest, DecodeManifest)
}
func FuzzDecodeRecord(f *testing.F) { fuzzWire(f, sampleRecord(), AppendRecord, DecodeRecord) }
func FuzzDecodeBoard(f *testing.F) {
	fuzzWire(f, sampleShardBoard().Boards[0], AppendBoard, DecodeBoard)
}
func FuzzDecodeShardBoard(f *testing.F) {
	fuzzWire(f, sampleShardBoard(), AppendShardBoard, DecodeShardBoard)
}
func FuzzDecodeStatus(f *testing.F) { fuzzWire(f, sampleStatus(), AppendStatus, DecodeStatus) }
func FuzzDecodeStep(f *testing.F)   { fuzzWire(f, sampleStep(), AppendStep, DecodeStep) }
func FuzzDecodeCheckpoint(f *testing.F) {
	fuzzWire(f, sampleCheckpoint(), AppendCheckpoint, DecodeCheckpoint)
}

func BenchmarkEncodeBoard(b *testing.B) {
	board, dst := bigBoard(), []byte(nil)
	for b.Loop() {
		dst = AppendBoard(dst[:0], board)
	}
}

func BenchmarkDecodeBoard(b *testing.B) {
	bytes := AppendBoard(nil, bigBoard())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBoard(bytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeTally5000Moves(b *testing.B) {
	tally, dst := &Tally{Moves: manyMoves()}, []byte(nil)
	for b.Loop() {
		dst = AppendTally(dst[:0], tally)
	}
}

func BenchmarkDecodeTally5000Moves(b *testing.B) {
	bytes := AppendTally(nil, &Tally{Moves: manyMoves()})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeTally(bytes); err != nil {
			b.Fatal(err)
		}
	}
}
