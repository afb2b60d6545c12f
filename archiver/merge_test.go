package archiver

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"grandstand"
)

func genCheckpoint(t *rapid.T) *grandstand.Checkpoint {
	cp := &grandstand.Checkpoint{Event: grandstand.Event{Name: "e", State: grandstand.EventLive}}
	cp.Event.UpdatedAt = rapid.Int64Range(1, 4).Draw(t, "updated")
	if n := rapid.Int64Range(0, 5).Draw(t, "board"); n > 0 {
		cp.Board = &grandstand.Board{Event: "e", At: n, Epoch: n % 2}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
		s := grandstand.CheckpointSegment{Segment: grandstand.Segment{Dim: "d", Value: string(rune('a' + i))}}
		s.Peak = rapid.Uint64Range(0, 3).Draw(t, "peak")
		s.PeakAt = rapid.Int64Range(0, 3).Draw(t, "peak at")
		if hashes := rapid.SliceOfN(rapid.Uint64Range(1, 20), 0, 4).Draw(t, "viewers"); len(hashes) > 0 {
			s.Reach = sketch(hashes...)
		}
		cp.Segments = append(cp.Segments, s)
	}
	return cp
}

func encode(cp *grandstand.Checkpoint) []byte { return grandstand.AppendCheckpoint(nil, cp) }

func TestMergingKnowsNoOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genCheckpoint(t), genCheckpoint(t), genCheckpoint(t)
		ab := mergeCheckpoints(a, b)
		if !bytes.Equal(encode(ab), encode(mergeCheckpoints(ab, b))) || !bytes.Equal(encode(ab), encode(mergeCheckpoints(a, ab))) {
			t.Fatal("merging something twice changes the result")
		}
		left, right := mergeCheckpoints(ab, c), mergeCheckpoints(a, mergeCheckpoints(b, c))
		if diff := cmp.Diff(left.Segments, right.Segments); diff != "" {
			t.Fatalf("(a+b)+c is not a+(b+c):\n%s", diff)
		}
		if diff := cmp.Diff(ab.Segments, mergeCheckpoints(b, a).Segments); diff != "" {
			t.Fatalf("a+b is not b+a:\n%s", diff)
		}
	})
}

func TestANewRunStartsOver(t *testing.T) {
	over := checkpoint("final")
	over.Event.State, over.Event.UpdatedAt = grandstand.EventEnded, 50
	again := checkpoint("final")
	again.Event.State, again.Event.UpdatedAt = grandstand.EventScheduled, 60
	again.Board = nil
	again.Segments = []grandstand.CheckpointSegment{{Segment: grandstand.WorldSegment, Peak: 1, PeakAt: 70, Reach: sketch(9)}}
	for _, got := range []*grandstand.Checkpoint{mergeCheckpoints(over, again), mergeCheckpoints(again, over)} {
		if diff := cmp.Diff(again, got); diff != "" {
			t.Errorf("peak and reach of the run before are mixed in (-want +got):\n%s", diff)
		}
	}
	// The end of a run belongs to it.
	live := checkpoint("final")
	if got := mergeCheckpoints(live, over); got.Event.State != grandstand.EventEnded || got.Segments[0].Peak != 7 {
		t.Errorf("%+v", got)
	}
}

func TestASketchThatCannotBeReadAddsNothing(t *testing.T) {
	good := grandstand.CheckpointSegment{Segment: kc, Peak: 1, Reach: sketch(1, 2)}
	bad := grandstand.CheckpointSegment{Segment: kc, Peak: 2, Reach: []byte("not a sketch")}
	for _, got := range []grandstand.CheckpointSegment{mergeSegments(good, bad), mergeSegments(bad, good)} {
		if got.Peak != 2 || !bytes.Equal(got.Reach, good.Reach) {
			t.Errorf("%+v", got)
		}
	}
}

func FuzzDecodeSteps(f *testing.F) {
	f.Add(appendSteps(nil, []grandstand.Step{{At: 1, Full: true}, {At: 2, Counts: []grandstand.StepCount{{Segment: kc, Sessions: 3, Fans: 2}}}}))
	f.Add([]byte{stepsVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		steps, err := decodeSteps(b)
		if err != nil {
			if grandstand.CodeOf(err) != grandstand.CodeInvalid {
				t.Errorf("error without a code: %v", err)
			}
			return
		}
		again, err := decodeSteps(appendSteps(nil, steps))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(steps, again); diff != "" {
			t.Errorf("what is written comes back otherwise:\n%s", diff)
		}
	})
}

func TestStepsGolden(t *testing.T) {
	steps := []grandstand.Step{
		{At: 1_795_299_000_000, Full: true, Counts: []grandstand.StepCount{
			{Segment: grandstand.WorldSegment, Sessions: 300, Fans: 290}, {Segment: kc, Sessions: 200, Fans: 190},
		}},
		{At: 1_795_299_010_000, Counts: []grandstand.StepCount{{Segment: kc, Sessions: 9, Fans: 9, Folded: true}}},
		{At: 1_795_299_020_000, Counts: []grandstand.StepCount{{Segment: kc, Sessions: 0, Fans: 0}}},
	}
	got, want := appendSteps(nil, steps), golden(t, "testdata/steps-v2.hex")
	if !bytes.Equal(got, want) {
		t.Errorf("the format has changed: it needs a new version\ngot  %x\nwant %x", got, want)
	}
	back, err := decodeSteps(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(steps, back); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Version 1 does not say what was folded for the public, so all may have been.
func TestStepsOfVersion1(t *testing.T) {
	back, err := decodeSteps(golden(t, "testdata/steps-v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	want := []grandstand.Step{
		{At: 1_795_299_000_000, Full: true, Counts: []grandstand.StepCount{
			{Segment: grandstand.WorldSegment, Sessions: 300, Fans: 290}, {Segment: kc, Sessions: 200, Fans: 190, Folded: true},
		}},
		{At: 1_795_299_010_000, Counts: []grandstand.StepCount{{Segment: kc}}},
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// golden returns the bytes of a file of hexadecimal digits.
func golden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
