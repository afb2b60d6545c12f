package archiver

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
	"grandstand/archiver/miniotest"
)

// onEveryStore runs a test on a directory and on a real S3 server.
func onEveryStore(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Run("file", func(t *testing.T) { test(t, open(t, "file:"+filepath.Join(t.TempDir(), "a", "b"))) })
	t.Run("s3", func(t *testing.T) { test(t, open(t, miniotest.Start(t).Bucket("archive"))) })
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func sketch(hashes ...uint64) []byte {
	s := grandstand.NewSketch(len(hashes))
	for _, h := range hashes {
		s.Add(h * 0x9e3779b97f4a7c15)
	}
	return s.AppendBinary(nil)
}

func reachOf(t *testing.T, cp *grandstand.Checkpoint, seg grandstand.Segment) uint64 {
	t.Helper()
	for _, s := range cp.Segments {
		if s.Segment == seg {
			sk, err := grandstand.DecodeSketch(s.Reach)
			if err != nil {
				t.Fatal(err)
			}
			return sk.Estimate()
		}
	}
	return 0
}

var kc = grandstand.Segment{Dim: "team", Value: "KC"}

func checkpoint(name string) *grandstand.Checkpoint {
	return &grandstand.Checkpoint{
		Event: grandstand.Event{Name: name, State: grandstand.EventLive, UpdatedAt: 10},
		Board: &grandstand.Board{
			Event: name, At: 2000, Epoch: 1, TickMS: 2000, Coverage: 1,
			Segments: []grandstand.SegmentCount{{Segment: grandstand.WorldSegment, Sessions: 5, Fans: 4, Peak: 7, Reach: 9}},
		},
		Segments: []grandstand.CheckpointSegment{
			{Segment: grandstand.WorldSegment, Peak: 7, PeakAt: 1000, Reach: sketch(1, 2, 3)},
			{Segment: kc, Peak: 3, PeakAt: 1000, Reach: sketch(1)},
		},
	}
}

func TestCheckpointsMerge(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if cp, err := s.LoadCheckpoint(ctx, "final"); cp != nil || err != nil {
			t.Fatalf("before the first save: %v, %v", cp, err)
		}
		first := checkpoint("final")
		if err := s.SaveCheckpoint(ctx, first); err != nil {
			t.Fatal(err)
		}
		got, err := s.LoadCheckpoint(ctx, "final")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("what was saved comes back otherwise (-saved +loaded):\n%s", diff)
		}

		second := checkpoint("final")
		second.Event.UpdatedAt, second.Event.State = 20, grandstand.EventEnded
		second.Board.At, second.Board.Quality = 1000, grandstand.Final // older, but final
		second.Segments[0] = grandstand.CheckpointSegment{Segment: grandstand.WorldSegment, Peak: 6, PeakAt: 3000, Reach: sketch(3, 4)}
		second.Segments[1] = grandstand.CheckpointSegment{Segment: kc, Peak: 4, PeakAt: 3000}
		for _, cp := range []*grandstand.Checkpoint{second, second, first} {
			if err := s.SaveCheckpoint(ctx, cp); err != nil {
				t.Fatal(err)
			}
		}
		got, err = s.LoadCheckpoint(ctx, "final")
		if err != nil {
			t.Fatal(err)
		}
		if got.Event.State != grandstand.EventEnded || got.Board.Quality != grandstand.Final {
			t.Errorf("%v, board %v: an older checkpoint has undone a newer", got.Event.State, got.Board.Quality)
		}
		if w := got.Segments[0]; w.Peak != 7 || w.PeakAt != 1000 || reachOf(t, got, grandstand.WorldSegment) != 4 {
			t.Errorf("world: peak %d at %d, reach %d; want 7 at 1000, 4", w.Peak, w.PeakAt, reachOf(t, got, grandstand.WorldSegment))
		}
		if k := got.Segments[1]; k.Peak != 4 || k.PeakAt != 3000 || reachOf(t, got, kc) != 1 {
			t.Errorf("KC: peak %d at %d, reach %d; want 4 at 3000, 1", k.Peak, k.PeakAt, reachOf(t, got, kc))
		}
		if names, err := s.Events(ctx); err != nil || !cmp.Equal(names, []string{"final"}) {
			t.Errorf("events: %v, %v", names, err)
		}
	})
}

func TestStepsAreKeptOncePerTime(t *testing.T) {
	const hour = 3_600_000
	step := func(at int64, full bool, n uint64) grandstand.Step {
		return grandstand.Step{At: at, Full: full, Counts: []grandstand.StepCount{{Segment: grandstand.WorldSegment, Sessions: n, Fans: n}}}
	}
	onEveryStore(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if steps, err := s.LoadSteps(ctx, "final", hour); steps != nil || err != nil {
			t.Fatalf("before the first save: %v, %v", steps, err)
		}
		for _, steps := range [][]grandstand.Step{
			{step(hour+30_000, false, 3), step(hour+40_000, false, 4)},
			{step(hour+10_000, true, 1), step(hour+30_000, false, 3)},
			{step(hour+40_000, true, 4)},
			nil,
		} {
			if err := s.SaveSteps(ctx, "final", hour, steps); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.LoadSteps(ctx, "final", hour)
		if err != nil {
			t.Fatal(err)
		}
		want := []grandstand.Step{step(hour+10_000, true, 1), step(hour+30_000, false, 3), step(hour+40_000, true, 4)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if err := s.SaveSteps(ctx, "final", hour+1, want); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("an hour that begins at no hour: %v", err)
		}
	})
}

// countingBlobs counts writes.
type countingBlobs struct {
	blobs
	puts int
}

func (c *countingBlobs) put(ctx context.Context, key string, b []byte) error {
	c.puts++
	return c.blobs.put(ctx, key, b)
}

func TestSavingTheSameTwiceWritesOnce(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	c := &countingBlobs{blobs: s.blobs}
	s.blobs = c
	for range 3 {
		if err := s.SaveCheckpoint(t.Context(), checkpoint("final")); err != nil {
			t.Fatal(err)
		}
	}
	if c.puts != 1 {
		t.Errorf("%d writes, want 1", c.puts)
	}
}

func TestAnUnreadableObjectIsPutAside(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		key, _ := checkpointKey("final")
		broken := []byte("\x01 no checkpoint")
		if err := s.blobs.put(ctx, key, broken); err != nil {
			t.Fatal(err)
		}
		if _, err := s.LoadCheckpoint(ctx, "final"); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("load: %v", err)
		}
		if err := s.SaveCheckpoint(ctx, checkpoint("final")); err != nil {
			t.Fatal(err)
		}
		if cp, err := s.LoadCheckpoint(ctx, "final"); err != nil || cp.Board.At != 2000 {
			t.Errorf("load after the save: %v, %v", cp, err)
		}
		if b, err := s.blobs.get(ctx, key+".unreadable"); err != nil || !bytes.Equal(b, broken) {
			t.Errorf("put aside: %q, %v", b, err)
		}
	})
}

func TestAStoreThatIsAwayAnswersInTime(t *testing.T) {
	server := miniotest.Start(t)
	s := open(t, server.Bucket("archive"))
	if err := s.SaveCheckpoint(t.Context(), checkpoint("final")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := s.LoadCheckpoint(ctx, "final")
	if grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("load while the server is away: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("that took %v", took)
	}
	server.Restart()
	if cp, err := s.LoadCheckpoint(t.Context(), "final"); err != nil || cp == nil {
		t.Errorf("load after it came back: %v, %v", cp, err)
	}
}

func TestAMissingBucketIsTrouble(t *testing.T) {
	server := miniotest.Start(t)
	url := strings.Replace(server.Bucket("archive"), "s3://archive/", "s3://another/", 1)
	s := open(t, url)
	if _, err := s.LoadCheckpoint(t.Context(), "final"); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("load: %v, want an error and not an empty archive", err)
	}
}

func TestStoreURLs(t *testing.T) {
	for _, url := range []string{
		"", "file:", "data/archive", "http://x/y", "s3:///prefix", "s3://key:secret@bucket/x",
		"s3://b?endpoint=localhost:9000", "s3://b?endpoint=ftp://h", "s3://b?endpoint=http://h/path", "s3://b?bucket=c",
	} {
		if _, err := OpenStore(t.Context(), url); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%q: %v, want an error with %s", url, err, grandstand.CodeInvalid)
		}
	}
	for _, url := range []string{"s3://b", "s3://b/p/q/", "s3://b/p?endpoint=https://h:9000&region=eu-west-1"} {
		open(t, url)
	}
	dir := t.TempDir()
	open(t, "file://"+filepath.Join(dir, "x"))
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Error(err)
	}
}

func TestImpossibleEventsAreRefused(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	for _, name := range []string{"", "a/b", "../x", "a b"} {
		if _, err := s.LoadCheckpoint(t.Context(), name); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	// A name that is a path all the same stays inside.
	if err := s.SaveCheckpoint(t.Context(), checkpoint("..")); err != nil {
		t.Fatal(err)
	}
	if cp, err := s.LoadCheckpoint(t.Context(), ".."); err != nil || cp == nil {
		t.Errorf("%v, %v", cp, err)
	}
}

func TestNothingHalfIsLeftBehind(t *testing.T) {
	root := t.TempDir()
	s := open(t, "file:"+root)
	if err := s.SaveCheckpoint(t.Context(), checkpoint("final")); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of a write leaves.
	dir := filepath.Join(root, "checkpoints", "event=final")
	if err := os.WriteFile(filepath.Join(dir, tempPrefix+"1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := s.Events(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("events: %v, %v", names, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the checkpoint and what was put there", entries, err)
	}
}
