package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"grandstand"
)

// stopwatch takes the time from Append to Durable of each event.
type stopwatch struct {
	began   []time.Time
	took    []time.Duration // guarded by the writer, until done
	durable atomic.Int64
	commits atomic.Int64
}

func (s *stopwatch) Durable(seq uint64) {
	s.took[seq] = time.Since(s.began[seq])
	s.durable.Add(1)
}

// eventOf800 returns an event that is a record of 800 bytes.
func eventOf800() *grandstand.RawEvent {
	e := eventOf(1 << 20)
	e.Data = nil
	e.Data = make([]byte, 800-len(grandstand.AppendEventRecord(nil, e))-1)
	for i := range e.Data {
		e.Data[i] = byte('a' + i%26)
	}
	return e
}

// BenchmarkJournal writes events of 800 bytes to the disk that holds the
// temporary folder: 40,000 a second, and as many as it takes. Beside them is
// what the disk itself does: plain writes of the same size, each synced.
//
//	go test -run '^$' -bench Journal -benchtime 5s ./gateway/journal
func BenchmarkJournal(b *testing.B) {
	b.Run("rate=40000", func(b *testing.B) { benchmarkJournal(b, 40_000) })
	b.Run("rate=max", func(b *testing.B) { benchmarkJournal(b, 0) })
}

func benchmarkJournal(b *testing.B, perSecond int) {
	dir := b.TempDir()
	s := &stopwatch{}
	j, err := Open(Config{
		Dir: dir, Gateway: "g1", Clock: wallClock{}, Committed: func() { s.commits.Add(1) },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	go archive(ctx, j)

	e := eventOf800()
	s.began, s.took = make([]time.Time, b.N), make([]time.Duration, b.N)
	refused := 0
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	for i := range b.N {
		if perSecond > 0 {
			if at := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond)); i%32 == 0 {
				time.Sleep(time.Until(at))
			}
		}
		e.Seq = uint64(i)
		s.began[i] = time.Now()
		for j.Append(e, s) != nil {
			refused++
			time.Sleep(time.Millisecond)
			s.began[i] = time.Now()
		}
	}
	for s.durable.Load() < int64(b.N) {
		runtime.Gosched()
	}
	took := time.Since(began)
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	slices.Sort(s.took)
	ms := func(q float64) float64 { return s.took[int(q*float64(b.N-1))].Seconds() * 1000 }
	batch := max(b.N/max(int(s.commits.Load()), 1), 1)
	b.SetBytes(800)
	b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
	b.ReportMetric(ms(0.5), "p50-ms")
	b.ReportMetric(ms(0.99), "p99-ms")
	b.ReportMetric(ms(1), "max-ms")
	b.ReportMetric(float64(batch), "events/commit")
	b.ReportMetric(float64(refused), "refused")
	syncs, worst := plainSyncs(b, batch*800)
	b.ReportMetric(syncs, "disk-syncs/s")
	b.ReportMetric(worst, "disk-p99-ms")
	b.ReportMetric(float64(s.commits.Load())/took.Seconds(), "commits/s")
}

// archive has files deleted, so that the disk does not fill.
func archive(ctx context.Context, j *Journal) {
	for ctx.Err() == nil {
		for _, f := range j.Files() {
			_ = j.Delete(f)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// plainSyncs returns how often a second the disk appends and syncs so many
// bytes, and the time that one in a hundred of these takes longer than.
func plainSyncs(b *testing.B, size int) (perSecond, p99 float64) {
	f, err := os.Create(filepath.Join(b.TempDir(), fmt.Sprint("plain-", size)))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, size)
	var took []float64
	began := time.Now()
	for time.Since(began) < time.Second && len(took)*size < 1<<30 {
		one := time.Now()
		if _, err := f.Write(p); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(one).Seconds()*1000)
	}
	perSecond = float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	return perSecond, took[len(took)*99/100]
}
