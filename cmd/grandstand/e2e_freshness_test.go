package main

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"grandstand/archiver"
	"grandstand/redis/redistest"
)

// freshness measures how old events are when they can be queried.
type freshness struct {
	t       *testing.T
	gateway *process
	store   *archiver.Store
}

func newFreshness(t *testing.T, age string) *freshness {
	t.Helper()
	redis, archive := redistest.StartServer(t).URL(), "file:"+archiveOf(t)
	f := &freshness{t: t}
	f.gateway = startGateway(t, "gateway", redis, "--archive", archive, "--journal", filepath.Join(t.TempDir(), "journal"), "--journal-age", age, "--peer", freeAddr(t))
	start(t, "archiver", "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", archive)
	var err error
	if f.store, err = archiver.OpenStore(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.store.Close)
	return f
}

// measure sends a beat every 200 ms for a while, and looks for them in the
// archive until all are there.
func (f *freshness) measure(over, want time.Duration) {
	t := f.t
	t.Helper()
	d := play(t, f.gateway, "viewer=v&device=d&interval_ms=60000", nil)
	var sent []time.Time
	var ages []time.Duration
	found := map[uint64]bool{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(over)
	for len(ages) == 0 || len(ages) < len(sent) || time.Now().Before(end) {
		<-tick.C
		if time.Now().Before(end) {
			sent = append(sent, time.Now())
			d.send(`{"t":"beat","seq":%d,"state":"playing","interval_ms":60000}`, len(sent))
		}
		if err := f.store.Rows(t.Context(), archiver.RowsOptions{Event: "final"}, func(r *archiver.Row) error {
			if r.HasSeq && !found[r.Seq] {
				found[r.Seq] = true
				ages = append(ages, time.Since(sent[r.Seq-1]))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end.Add(2 * want)) {
			t.Fatalf("%d of %d events are archived", len(ages), len(sent))
		}
	}
	slices.Sort(ages)
	oldest := ages[len(ages)-1]
	t.Logf("%d events were queryable %.1f s after they happened at most, half of them after %.1f s", len(ages), oldest.Seconds(), ages[len(ages)/2].Seconds())
	if oldest > want {
		t.Errorf("an event was queryable after %v, the aim is %v", oldest, want)
	}
}

// The aim is five seconds, which TestMeasureFreshnessOfTheArchive checks on a
// machine that has nothing else to do.
func TestAnEventIsQueryableWithinSeconds(t *testing.T) {
	beside(t) // it mostly waits
	newFreshness(t, "2s").measure(3*time.Second, 10*time.Second)
}
