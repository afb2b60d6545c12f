package journal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// started is a running Journal on a disk in memory.
type started struct {
	*Journal
	t     *testing.T
	fs    *memFS
	crowd *crowd
	store *store
	stop  func() error
}

// start starts one inside of a bubble.
func start(t *testing.T, change func(*Config)) *started {
	t.Helper()
	s := &started{t: t, fs: newMemFS(), crowd: newCrowd(), store: newStore()}
	cfg := config(s.fs, s.crowd)
	if change != nil {
		change(&cfg)
	}
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Journal = j
	t.Cleanup(func() { j.Close() })
	s.stop = running(t, j)
	return s
}

// sendOK sends n events that must be accepted.
func (s *started) sendOK(n int) {
	s.t.Helper()
	for range n {
		if err := s.crowd.send(s.Journal); err != nil {
			s.t.Fatal(err)
		}
	}
}

// refused sends an event that must be refused, for that reason.
func (s *started) refusedFor(why reason) {
	s.t.Helper()
	switch err := s.crowd.send(s.Journal); {
	case err == nil:
		s.t.Fatal("an event was accepted")
	case grandstand.CodeOf(err) != grandstand.CodeUnavailable || err != refusals[why]:
		s.t.Fatalf("refused with %v", err)
	}
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ackedAre fails unless so many are acknowledged.
func (s *started) ackedAre(n int) {
	s.t.Helper()
	if _, acked, _ := s.crowd.counts(); acked != n {
		s.t.Fatalf("%d events are acknowledged, not %d", acked, n)
	}
}

// pullAll takes and deletes all sealed files.
func (s *started) pullAll() {
	s.t.Helper()
	if err := s.store.pull(s.Journal, always); err != nil {
		s.t.Fatal(err)
	}
}

// end stops the journal and checks that what was accepted is in the store, once.
func (s *started) end() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	s.pullAll()
	there := s.store.seqs(s.t)
	accepted, acked, _ := s.crowd.counts()
	if acked != accepted || len(there) != accepted {
		s.t.Errorf("%d events were accepted, %d acknowledged, %d are there", accepted, acked, len(there))
	}
	for seq, n := range there {
		if n != 1 || !s.crowd.acked[seq] {
			s.t.Errorf("event %d is there %d times, acknowledged: %v", seq, n, s.crowd.acked[seq])
		}
	}
}

// gapsAre fails unless the gaps in the store are these, and count all refusals.
func (s *started) gapsAre(reasons ...reason) {
	s.t.Helper()
	gaps, total := s.store.gaps(s.t), uint64(0)
	var got []string
	for _, g := range gaps {
		got = append(got, g.Reason)
		total += g.Refused
		if g.From > g.To || g.From == 0 {
			s.t.Errorf("a gap from %d to %d", g.From, g.To)
		}
	}
	var want []string
	for _, r := range reasons {
		want = append(want, reasonNames[r])
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("gaps %v, not %v", got, want)
	}
	if _, _, refused := s.crowd.counts(); total != uint64(refused) {
		s.t.Errorf("gaps of %d events, %d were refused", total, refused)
	}
}

func TestEventsAreAcknowledgedInOrderOncePerCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxFile = 1 << 20 })
		s.sendOK(1)
		after(0)
		s.ackedAre(1) // there is nobody to wait for
		s.sendOK(500)
		after(9 * time.Millisecond)
		s.ackedAre(1)
		after(time.Millisecond)
		s.ackedAre(501)
		if s.crowd.commits != 2 {
			t.Errorf("%d commits", s.crowd.commits)
		}
		if !slices.IsSorted(s.crowd.order) {
			t.Error("not in order")
		}
		s.end()
	})
}

// TestNothingIsToldBeforeItIsSynced stops the disk in the midst of a sync.
func TestNothingIsToldBeforeItIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.pace()
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "sync" {
				time.Sleep(time.Second)
			}
			return nil
		})
		s.sendOK(3)
		after(time.Second)
		s.ackedAre(1)
		s.sendOK(3) // and who appends does not wait
		after(10 * time.Millisecond)
		s.ackedAre(4)
		after(time.Second)
		s.ackedAre(7)
		s.end()
	})
}

func TestFilesAreSealedBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxAge = time.Hour })
		for range 100 {
			s.sendOK(2)
			after(10 * time.Millisecond)
		}
		files := s.Files()
		if len(files) < 5 {
			t.Fatalf("%d files", len(files))
		}
		for i, f := range files {
			if f.Number != uint64(i+1) || f.Journal != s.ID() || f.Size > 2<<10+40 || f.Size < 1<<10 {
				t.Errorf("file %d: %+v", i, f)
			}
			b, err := readFile(s.Journal, f)
			if err != nil {
				t.Fatal(err)
			}
			c, err := contentsOf(b)
			if err != nil {
				t.Fatal(err)
			}
			if c.header == nil || c.header.File != f.Number || c.header.Journal != f.Journal || c.header.Gateway != "g1" || c.seal.Adopted {
				t.Errorf("header %+v, seal %+v", c.header, c.seal)
			}
		}
		s.end()
	})
}

func TestFilesAreSealedByAgeAlsoWhenNothingHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxAge = 5 * time.Second })
		after(time.Minute)
		if files := s.Files(); len(files) > 0 {
			t.Fatalf("files %v: empty ones are not sealed", files)
		}
		s.sendOK(1)
		after(4 * time.Second)
		s.sendOK(1)
		after(999 * time.Millisecond)
		if files := s.Files(); len(files) > 0 {
			t.Fatalf("files %v: too soon", files)
		}
		after(time.Millisecond)
		if files := s.Files(); len(files) != 1 {
			t.Fatalf("files %v", files)
		}
		after(time.Hour)
		if files := s.Files(); len(files) != 1 {
			t.Fatalf("files %v: empty ones are not sealed", files)
		}
		s.end()
	})
}

// TestAFullDirectoryRefusesUntilFilesAreDeleted: an archiver has been away.
func TestAFullDirectoryRefusesUntilFilesAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxBytes = 16 << 10 })
		for s.crowd.send(s.Journal) == nil {
			after(time.Millisecond)
		}
		after(5 * time.Second)
		for range 10 {
			s.refusedFor(full)
			after(time.Second)
		}
		used := int64(0)
		for _, f := range s.Files() {
			used += f.Size
		}
		if used > 16<<10+200 || used < 15<<10 {
			t.Errorf("%d bytes are used", used)
		}
		if gaps := s.store.gaps(t); len(gaps) > 0 {
			t.Error("a gap is written while it lasts")
		}
		s.pullAll()
		after(20 * time.Millisecond)
		s.sendOK(5)
		after(20 * time.Millisecond)
		s.end()
		s.gapsAre(full)
	})
}

func TestABufferThatIsFullRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxBuffer = 8 << 10 })
		s.pace()
		s.fs.onBefore(func(op, name string, size int) error {
			time.Sleep(time.Second)
			return nil
		})
		s.sendOK(40)
		after(20 * time.Millisecond) // these are being written, and count
		accepted := 40
		for s.crowd.send(s.Journal) == nil {
			accepted++
		}
		s.refusedFor(slow)
		if size := accepted * len(grandstand.AppendEventRecord(nil, eventOf(10))); size > 8<<10+500 || size < 7<<10 {
			t.Errorf("%d events with %d bytes were accepted", accepted, size)
		}
		s.fs.onBefore(nil)
		after(5 * time.Second)
		s.sendOK(1)
		after(time.Second)
		s.end()
		s.gapsAre(slow)
	})
}

// TestADiskThatStallsRefuses: ten seconds are waited for, longer ones are not.
func TestADiskThatStallsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		after(0)
		var once sync.Once
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "sync" {
				once.Do(func() { time.Sleep(25 * time.Second) })
			}
			return nil
		})
		s.sendOK(1)
		after(10 * time.Second)
		s.sendOK(1)
		after(time.Millisecond)
		began := time.Now()
		s.refusedFor(slow)
		s.refusedFor(slow)
		if time.Since(began) > 0 {
			t.Error("a refusal waited")
		}
		s.ackedAre(0)
		after(15 * time.Second)
		s.ackedAre(2)
		s.sendOK(1)
		after(time.Second)
		s.end()
		s.gapsAre(slow)
	})
}

func TestAnEventThatDoesNotFitIntoARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		e := eventOf(1)
		e.Data = make([]byte, grandstand.MaxJournalRecord)
		if err := s.Append(e, nil); grandstand.CodeOf(err) != grandstand.CodeTooLarge {
			t.Errorf("%v", err)
		}
		s.sendOK(1)
		after(time.Second)
		s.ackedAre(1)
		s.end()
	})
}

// TestSealWaitsForTheArchiver is the end of a gateway that drains.
func TestSealWaitsForTheArchiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxAge = time.Hour })
		s.sendOK(1)
		after(time.Second)
		s.sendOK(50) // not committed yet
		began := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			if err := s.store.pull(s.Journal, always); err != nil {
				t.Error(err)
			}
		}()
		left, err := s.Seal(t.Context())
		if err != nil || len(left) > 0 {
			t.Fatalf("left %v, %v", left, err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		s.refusedFor(closing)
		s.ackedAre(51)
		s.end()
	})
}

// TestSealWaitsForTheDisk: while the last file is being sealed it is in no list.
func TestSealWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.pace()
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "sync" {
				time.Sleep(time.Second)
			}
			return nil
		})
		go func() {
			time.Sleep(5 * time.Second)
			if err := s.store.pull(s.Journal, always); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		if left, err := s.Seal(t.Context()); err != nil || len(left) > 0 || time.Since(began) != 5*time.Second {
			t.Errorf("left %v after %v, %v", left, time.Since(began), err)
		}
		s.end()
	})
}

func TestSealSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.sendOK(100)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		left, err := s.Seal(ctx)
		if err != nil || len(left) == 0 {
			t.Fatalf("left %v, %v", left, err)
		}
		if !slices.Equal(left, s.Files()) {
			t.Errorf("left %v, files %v", left, s.Files())
		}
		s.ackedAre(100)
		s.end()
	})
}

func TestSealOfADiskThatFailsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		after(0)
		s.fs.onBefore(func(op, name string, size int) error { return errPower })
		s.sendOK(3)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := s.Seal(ctx); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
			t.Errorf("%v", err)
		}
		if err := s.stop(); err == nil || !strings.Contains(err.Error(), "3 events were not made durable") {
			t.Errorf("%v", err)
		}
		s.ackedAre(0)
	})
}

// TestReadersAndRotationsDoNotDisturbEachOther reads and deletes files from
// several sides while they are written.
func TestReadersAndRotationsDoNotDisturbEachOther(t *testing.T) {
	c := newCrowd()
	cfg := config(nil, c)
	cfg.Dir, cfg.CommitEvery = t.TempDir(), time.Millisecond
	cfg.FS = nil
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	stop := running(t, j)
	ctx, cancel := context.WithCancel(t.Context())
	var senders, readers sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for i := range 500 {
				for c.send(j) != nil {
					time.Sleep(time.Millisecond)
				}
				if i%10 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	var mu sync.Mutex
	taken := newStore()
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				for _, f := range j.Files() {
					b, err := readFile(j, f)
					if grandstand.CodeOf(err) == grandstand.CodeNotFound {
						continue // another was quicker
					}
					if err != nil {
						t.Error(err)
						return
					}
					key := fmt.Sprintf("%08d", f.Number)
					mu.Lock()
					if had, ok := taken.files[key]; ok && string(had) != string(b) {
						t.Errorf("file %d is not always the same", f.Number)
					}
					taken.files[key] = b
					mu.Unlock()
					if err := j.Delete(f); err != nil && grandstand.CodeOf(err) != grandstand.CodeNotFound {
						t.Error(err)
					}
				}
			}
		})
	}
	senders.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(j.Files()) > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	readers.Wait()
	there := taken.seqs(t)
	if accepted, acked, _ := c.counts(); accepted != 2000 || acked != 2000 || len(there) != 2000 {
		t.Errorf("%d accepted, %d acknowledged, %d there", accepted, acked, len(there))
	}
	if len(taken.files) < 20 {
		t.Errorf("only %d files", len(taken.files))
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	cfg := config(newMemFS(), nil)
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	j.buf, j.waits = make([]byte, 0, 1<<20), make([]waiting, 0, 1000)
	e, c := eventOf(1), newCrowd()
	if n := testing.AllocsPerRun(100, func() {
		if err := j.Append(e, c); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("an event allocates %v times", n)
	}
	j.setPhase(phaseOver)
	if n := testing.AllocsPerRun(100, func() { _ = j.Append(e, c) }); n > 0 {
		t.Errorf("a refusal allocates %v times", n)
	}
}

func TestLife(t *testing.T) {
	t.Run("ConfigIsChecked", func(t *testing.T) {
		for what, cfg := range map[string]Config{
			"no folder":        {Clock: wallClock{}},
			"no clock":         {Dir: t.TempDir()},
			"rare commits":     {Dir: t.TempDir(), Clock: wallClock{}, CommitEvery: 21 * time.Millisecond},
			"a file too large": {Dir: t.TempDir(), Clock: wallClock{}, MaxFile: grandstand.MaxJournalFile + 1},
			"a commit that is": {Dir: t.TempDir(), Clock: wallClock{}, MaxBuffer: grandstand.MaxJournalFile + 1},
		} {
			if _, err := Open(cfg); err == nil {
				t.Errorf("%s: opened", what)
			}
		}
	})
	t.Run("RunNeedsAGateway", func(t *testing.T) {
		cfg := config(newMemFS(), nil)
		cfg.Gateway = ""
		j, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if j.Run(t.Context()) == nil {
			t.Error("it ran")
		}
	})
	t.Run("RunTwiceFails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := start(t, nil)
			after(0)
			if s.Run(t.Context()) == nil {
				t.Error("it ran twice")
			}
			s.end()
		})
	})
	t.Run("AppendBeforeRunIsKept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd()
			j, err := Open(config(newMemFS(), c))
			if err != nil {
				t.Fatal(err)
			}
			s := &started{Journal: j, t: t, crowd: c, store: newStore()}
			s.sendOK(3)
			after(time.Second)
			s.ackedAre(0)
			s.stop = running(t, j)
			after(time.Second)
			s.ackedAre(3)
			s.end()
			j.Close()
			s.refusedFor(closing)
		})
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		s := start(t, func(c *Config) { c.Registerer = reg })
		s.sendOK(30)
		after(2 * time.Second)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		s.refusedFor(closing)
		size := int64(0)
		for _, f := range s.Files() {
			size += f.Size
		}
		got := figures(t, reg)
		for name, want := range map[string]float64{
			"appended_events_total": 30, "durable_events_total": 30, "refused_events_total closing": 1, "refused_events_total full": 0,
			"disk_bytes": float64(size), "sealed_files": float64(len(s.Files())), "cut_bytes_total": 0,
		} {
			if v, ok := got["grandstand_journal_"+name]; v != want || !ok {
				t.Errorf("%s is %v, not %v", name, v, want)
			}
		}
		if got["grandstand_journal_commit_seconds"] < 1 {
			t.Error("no commits")
		}
		s.pullAll()
		if got := figures(t, reg); got["grandstand_journal_disk_bytes"] != 0 || got["grandstand_journal_sealed_files"] != 0 {
			t.Errorf("after the deletes: %v", got)
		}
		s.Journal.Close()
		cfg := config(s.fs, nil)
		cfg.Registerer = reg // the same: the first is gone
		j, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
	})
}

// figures returns the value of each metric, a histogram's count, by its name and
// label.
func figures(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			all[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func TestToldBeforeDurableIsNoticed(t *testing.T) {
	c := newCrowd()
	cfg := config(newMemFS(), c)
	found := make(chan grandstand.Invariant, 10)
	cfg.Violated = func(what grandstand.Invariant, _ ...any) { found <- what }
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, j)
	for range 100 {
		if err := c.send(j); err != nil {
			t.Fatal(err)
		}
	}
	j.mu.Lock()
	j.waits = append(j.waits, waiting{c, 1000, j.taken + 1000}) // of an event that nobody has written
	j.mu.Unlock()
	if err := c.send(j); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(found) != 1 || <-found != grandstand.InvariantDurable {
		t.Errorf("%d more violations", len(found))
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
