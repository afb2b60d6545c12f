package archiver

import (
	"fmt"
	"runtime"
	measured "runtime/metrics"
	"testing"
	"time"

	"grandstand"
)

// peakHeap calls do and returns the most that objects in the heap took
// meanwhile, garbage included.
func peakHeap(do func()) (peak uint64) {
	runtime.GC()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		sample := []measured.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			measured.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return peak
}

// fillHour stores live objects of one hour, each of a minute of so many
// sessions, on two gateways in turn, and returns how many rows they have.
func fillHour(t testing.TB, s *Store, files, sessions int) (rows int) {
	t.Helper()
	crowds := []*crowd{newCrowd(1, "final-2026", sessions), newCrowd(2, "final-2026", sessions)}
	for _, c := range crowds {
		for _, one := range c.sessions {
			one.due -= c.now - compactHour
		}
		c.now = compactHour
	}
	for i := range files {
		var raws []*grandstand.RawEvent
		_, raws = crowds[i%2].file(testJournal, 1, 60)
		putLive(t, s, fmt.Sprintf("%032x", i%2), uint64(i/2+1), raws)
		rows += len(raws)
	}
	return rows
}

// memoryLimit is what an archiver may take, whatever the backlog.
const memoryLimit = 512 << 20

func TestTheMemoryOfACompactionIsBounded(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	sessions := rounds(100, 2000)
	rows := fillHour(t, s, 2*liveFanIn+1, sessions) // in three runs
	opt := closing(t)
	opt.full = func(_ int64, n uint64) bool { return n >= uint64(rows/4) }
	var r CompactReport
	peak := peakHeap(func() { r = mustCompact(t, s, opt) })
	t.Logf("%d rows in %d objects: at most %d MiB in the heap", rows, r.Objects, peak>>20)
	if peak > memoryLimit {
		t.Errorf("at most %d MiB in the heap, the limit is %d", peak>>20, memoryLimit>>20)
	}
	if int(r.RowsRead) != rows || int(r.Rows+r.Doubles) != rows || r.Objects < 3 {
		t.Errorf("%+v, want %d rows in several objects", r, rows)
	}
}

// BenchmarkCompact compacts an hour of two million rows in 18 live objects, of
// two gateways, from the disk to the disk: that is two runs.
func BenchmarkCompact(b *testing.B) {
	s := open(b, "file:"+b.TempDir())
	rows := fillHour(b, s, 18, 18_000)
	opt := closing(b)
	var peak uint64
	var r CompactReport
	perCore(b, rows, func() {
		b.StopTimer()
		for _, prefix := range []string{eventsPrefix, compactedPrefix} {
			entries, err := s.blobs.list(b.Context(), prefix)
			if err != nil {
				b.Fatal(err)
			}
			for _, e := range entries {
				if err := s.objects.remove(b.Context(), e.Key); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.StartTimer()
		peak = max(peak, peakHeap(func() { r = mustCompact(b, s, opt) }))
	})
	b.ReportMetric(float64(peak>>20), "MiB-heap")
	b.ReportMetric(float64(r.Rows), "rows")
	b.ReportMetric(float64(r.Bytes)/float64(r.Rows), "B/row")
}
