package archiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"grandstand"
)

// What does not fit in memory is sorted in runs, and in runs of runs, with the
// same outcome; nothing is left in the temporary directory.
func TestRowsThatDoNotFitInMemory(t *testing.T) {
	s := openMem(t)
	r := rand.New(rand.NewPCG(1, 1))
	const files, inEach = 20, 60 // more than are read at once
	for n := range uint64(files) {
		var raws []*grandstand.RawEvent
		for i := range inEach {
			e := beatAt(fmt.Sprint("s", r.IntN(9)), uint64(r.IntN(500)), compactHour+r.Int64N(900))
			if e.HasSeq = i%3 > 0; !e.HasSeq {
				e.Seq = 0
			}
			raws = append(raws, e)
		}
		putLive(t, s, testJournal, n+1, raws)
	}
	read := func(limit int) (rows []flat) {
		t.Helper()
		temp, last := t.TempDir(), int64(0)
		if err := s.Rows(t.Context(), RowsOptions{Event: "a", Temp: temp, sortBytes: limit}, func(r *Row) error {
			if r.ReceivedTime < last {
				t.Fatalf("a row of %d comes after one of %d", r.ReceivedTime, last)
			}
			last = r.ReceivedTime
			rows = append(rows, flatten(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(temp); len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
		return rows
	}
	want := read(0)
	seen := map[string]bool{}
	for _, row := range want {
		if key := row.Session + "#" + row.Seq; row.Seq != null && seen[key] {
			t.Fatalf("%s is there twice", key)
		} else if row.Seq != null {
			seen[key] = true
		}
	}
	if len(want)-len(seen) != files*inEach/3 || len(seen) < 600 {
		t.Errorf("%d rows with a number, %d without", len(seen), len(want)-len(seen))
	}
	for _, limit := range []int{5000, 100} { // some runs, and more than are merged at once
		if got := read(limit); !slices.Equal(got, want) {
			t.Errorf("with %d bytes in memory there are %d rows, or another order", limit, len(got))
		}
	}
	mustCompact(t, s, closing(t))
	if got := read(5000); len(got) != len(want) {
		t.Errorf("%d rows of the closed hour, want %d", len(got), len(want))
	}
	stop := errors.New("enough")
	for _, limit := range []int{0, 5000} {
		if err := s.Rows(t.Context(), RowsOptions{Event: "a", sortBytes: limit}, func(*Row) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
	}
}

// The rows of an hour are not held in memory.
func TestTheMemoryOfRowsIsBounded(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	rows := fillHour(t, s, 2*liveFanIn+1, rounds(100, 8000))
	limit := rounds(1<<20, sortBytes)
	n := 0
	peak := peakHeap(func() {
		if err := s.Rows(t.Context(), RowsOptions{Event: "final-2026", Temp: t.TempDir(), sortBytes: limit}, func(*Row) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d rows: at most %d MiB in the heap", rows, peak>>20)
	if n != rows || peak > memoryLimit {
		t.Errorf("%d of %d rows, at most %d MiB in the heap", n, rows, peak>>20)
	}
}

// Rows are all there, and once, while the hour is compacted again and again and
// its live objects are removed.
func TestRowsAreReadWhileTheHourIsCompacted(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		const inEach = 40
		put := func(n uint64) {
			var raws []*grandstand.RawEvent
			for i := range uint64(inEach) {
				raws = append(raws, beatAt(fmt.Sprint("s", i%7), n*inEach+i, compactHour+int64(n)))
			}
			putLive(t, s, testJournal, n, raws)
		}
		put(1)
		ctx, cancel := context.WithCancel(t.Context())
		opt := closing(t)
		ended := make(chan error, 1)
		go func() {
			var err error
			for err == nil && ctx.Err() == nil {
				_, err = s.Compact(t.Context(), opt)
				if err == nil {
					err = s.Prune(t.Context(), PruneOptions{Now: opt.Now, Do: true}, func(Object) {})
				}
			}
			ended <- err
		}()
		for n := uint64(1); n <= uint64(rounds(10, 100)); n++ {
			seen := map[string]bool{}
			if err := s.Rows(t.Context(), RowsOptions{Event: "a"}, func(r *Row) error {
				key := fmt.Sprintf("%s#%d", r.Session, r.Seq)
				if seen[key] {
					return errors.New(key + " is there twice")
				}
				seen[key] = true
				return nil
			}); err != nil {
				t.Error(err)
				break
			}
			if len(seen) != int(n)*inEach {
				t.Errorf("%d rows of %d", len(seen), n*inEach)
			}
			put(n + 1)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
