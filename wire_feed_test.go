package grandstand

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func sampleFeedWatch() *FeedWatch {
	return &FeedWatch{Add: []FeedEvent{{1, "final-2026"}, {300, "semi"}}, Drop: []uint64{7, 299}}
}

func sampleFeedBoards() *FeedBoards {
	return &FeedBoards{Now: sampleAt + 300, Depth: 1, Boards: []FeedBoard{{1, []byte{1, 2, 3}}, {300, nil}}}
}

// sampleDelta is a board and what became of it.
func sampleDelta() (base, b *Board) {
	base = sampleShardBoard().Boards[0]
	base.Epoch = 4
	b = &Board{Event: base.Event, At: base.At + 2000, Epoch: 5, TickMS: 2000, Coverage: 1,
		Segments: slices.Clone(base.Segments), Public: slices.Clone(base.Public)}
	b.Segments[0].Sessions, b.Segments[0].Peak = 3_300_100, 3_400_100
	b.Segments[2] = SegmentCount{Segment{"country", "ZZ"}, 7, 7, 7, 7, false} // in the place of "unknown"
	b.Segments[3].Folded = true
	b.Public[0].Sessions--
	return base, b
}

func appendSampleDelta(dst []byte, b *Board) []byte {
	base, _ := sampleDelta()
	return AppendBoardDelta(dst, base, b)
}

func decodeSampleDelta(delta []byte) (*Board, error) {
	base, b := sampleDelta()
	return DecodeBoardDelta(base, b.Event, delta)
}

func appendWhole(dst []byte, b *Board) []byte { return AppendBoardDelta(dst, nil, b) }
func decodeWhole(delta []byte) (*Board, error) {
	return DecodeBoardDelta(nil, "final-2026", delta)
}

func feedCases() []wireCase {
	base, b := sampleDelta()
	return []wireCase{
		wireCaseOf("feed-watch", sampleFeedWatch(), AppendFeedWatch, DecodeFeedWatch),
		wireCaseOf("feed-boards", sampleFeedBoards(), AppendFeedBoards, DecodeFeedBoards),
		wireCaseOf("board-delta", b, appendSampleDelta, decodeSampleDelta),
		wireCaseOf("board-whole", base, appendWhole, decodeWhole),
	}
}

func FuzzDecodeFeedWatch(f *testing.F) {
	fuzzWire(f, sampleFeedWatch(), AppendFeedWatch, DecodeFeedWatch)
}
func FuzzDecodeFeedBoards(f *testing.F) {
	fuzzWire(f, sampleFeedBoards(), AppendFeedBoards, DecodeFeedBoards)
}
func FuzzDecodeBoardDelta(f *testing.F) {
	_, b := sampleDelta()
	fuzzWire(f, b, appendSampleDelta, decodeSampleDelta)
}
func FuzzDecodeBoardWhole(f *testing.F) {
	base, _ := sampleDelta()
	fuzzWire(f, base, appendWhole, decodeWhole)
}

// drawFeedBoard draws a board of few names, so that two of them share some.
func drawFeedBoard(t *rapid.T) *Board {
	number := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64Range(0, maxWireNumber))
	list := func(name string) []SegmentCount {
		var list []SegmentCount
		for _, s := range []Segment{WorldSegment, {"country", "US"}, {"region", "US-CA"}, {"region", "US-CO"}, {"team", "KC"}, {"team", "SF"}} {
			if rapid.IntRange(0, 3).Draw(t, name) > 0 {
				list = append(list, SegmentCount{s, number.Draw(t, "sessions"), number.Draw(t, "fans"), number.Draw(t, "peak"),
					number.Draw(t, "reach"), rapid.Bool().Draw(t, "folded")})
			}
		}
		return list
	}
	b := &Board{
		Event: "e", At: rapid.Int64Range(0, maxWireNumber).Draw(t, "at"), Epoch: rapid.Int64Range(0, 9).Draw(t, "epoch"), TickMS: 2000,
		Quality: Quality(rapid.IntRange(0, 3).Draw(t, "quality")), Coverage: 1, Segments: list("segments"), Public: list("public"),
	}
	if rapid.Bool().Draw(t, "partial") {
		b.Coverage = rapid.Float64Range(0, 0.99).Draw(t, "coverage")
	}
	return b
}

// However often a board changes, who applies the differences has the same one.
func TestBoardDeltasAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent, got *Board
		for range rapid.IntRange(1, 6).Draw(t, "boards") {
			b := drawFeedBoard(t)
			if sent != nil && rapid.IntRange(0, 3).Draw(t, "quiet") == 0 {
				b.Segments, b.Public = sent.Segments, sent.Public
			}
			delta := AppendBoardDelta(nil, sent, b)
			next, err := DecodeBoardDelta(got, "e", delta)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b, next, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("-sent +got:\n%s", diff)
			}
			sent, got = b, next
		}
	})
}

func TestBoardDeltaNeedsItsBase(t *testing.T) {
	base, b := sampleDelta()
	delta := AppendBoardDelta(nil, base, b)
	if _, err := DecodeBoardDelta(nil, b.Event, delta); CodeOf(err) != CodeInvalid {
		t.Errorf("a difference from nothing gives %v", err)
	}
	short := &Board{Segments: base.Segments[:1]}
	if _, err := DecodeBoardDelta(short, b.Event, delta); CodeOf(err) != CodeInvalid {
		t.Errorf("a difference from another board gives %v", err)
	}
}

// A board of 300 segments of which four move costs what moves.
func TestBoardDeltaIsSmall(t *testing.T) {
	base := bigBoard()
	b := *base
	b.At += b.TickMS
	quiet := len(AppendBoardDelta(nil, base, &b))
	b.Segments = slices.Clone(base.Segments)
	for _, i := range []int{0, 1, 100, len(b.Segments) - 1} {
		b.Segments[i].Sessions += 40
		b.Segments[i].Fans += 37
	}
	moved, whole := len(AppendBoardDelta(nil, base, &b)), len(AppendBoardDelta(nil, nil, &b))
	t.Logf("%d segments: whole %d bytes, four moved %d, none %d", len(b.Segments), whole, moved, quiet)
	if quiet > 12 || moved > quiet+40 {
		t.Errorf("%d bytes where nothing moved, %d where four segments did", quiet, moved)
	}
}
