package archiver

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What is too old goes, in live/ only if its rows are in a closed hour, and
// nothing at all in a dry run.
func TestPrune(t *testing.T) {
	s := archived(t, []deed{beat("j", "s", 1), beat("k", "t", 1)})
	hour := time.UnixMilli(crowdStart).Truncate(time.Hour)
	prune := func(opt PruneOptions) (keys []string) {
		t.Helper()
		if err := s.Prune(t.Context(), opt, func(o Object) { keys = append(keys, o.Key) }); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	left := func() (n, live int) {
		list, err := s.Objects(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range list {
			if o.Live() {
				live++
			}
		}
		return len(list), live
	}
	later := hour.Add(1000 * time.Hour)
	if keys := prune(PruneOptions{Now: later, Do: true}); len(keys) != 0 {
		t.Errorf("rows that are nowhere else went: %v", keys)
	}
	if _, err := s.Compact(t.Context(), CompactOptions{Now: later, Temp: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if n, live := left(); n != 3 || live != 2 {
		t.Fatalf("%d objects, %d live", n, live)
	}
	if keys := prune(PruneOptions{Now: hour.Add(24 * time.Hour), Do: true}); len(keys) != 0 {
		t.Errorf("less than a day after their hour went %v", keys)
	}
	if keys := prune(PruneOptions{Now: later}); len(keys) != 2 || slices.ContainsFunc(keys, func(k string) bool { return !strings.HasPrefix(k, livePrefix) }) {
		t.Errorf("would go: %v", keys)
	}
	if n, _ := left(); n != 3 {
		t.Errorf("a dry run left %d objects", n)
	}
	prune(PruneOptions{Now: later, Do: true})
	if n, live := left(); n != 1 || live != 0 {
		t.Errorf("%d objects, %d live, are left", n, live)
	}
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil || !r.Good() || r.Closed != 2 {
		t.Errorf("what is left: %+v, %v", r, err)
	}
	if keys := prune(PruneOptions{Now: later, Keep: 999 * time.Hour, Do: true}); len(keys) != 1 {
		t.Errorf("after its time went %v", keys)
	}
	if n, _ := left(); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}
