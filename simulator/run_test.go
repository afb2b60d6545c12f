package simulator

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busy makes a crowd that does everything a crowd can do.
func busy(cfg Config) Config {
	cfg.Viewers, cfg.Duration = 120, 90*time.Second
	cfg.ChurnPerMinute, cfg.NetworkChangesPerMinute = 0.5, 1
	cfg.SilentLeaveShare, cfg.TwoDeviceShare = 0.3, 0.2
	cfg.Probes = 10
	return cfg
}

func table(r *Report) string {
	var b bytes.Buffer
	r.WriteTable(&b)
	return b.String()
}

// run lets a crowd loose on a fake.
func run(t *testing.T, f *fake, cfg Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHonestDeploymentPasses(t *testing.T) {
	for _, c := range []struct {
		profile  Profile
		interval time.Duration
		linger   float64
	}{{Match, 0, 25}, {Flat, 6 * time.Second, 15}} {
		t.Run(string(c.profile), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				cfg, stop := f.serve(t, 3)
				defer stop()
				cfg = busy(cfg)
				cfg.Profile, cfg.Interval = c.profile, c.interval
				r := run(t, f, cfg)
				if r.Failed() || !strings.HasPrefix(r.Final, "exact") {
					t.Fatalf("an honest deployment failed:\n%s", table(r))
				}
				if r.States < 40 || r.FullBoards < 40 || r.NetworkChanges < 60 || r.SilentLeaves < 5 || r.Peak < 110 {
					t.Errorf("not much happened:\n%s", table(r))
				}
				if q := r.JoinSeen; q.N < 50 || q.Max > 2.01 {
					t.Errorf("join → seen: %+v", q)
				}
				if q := r.LeaveSeen; q.N < 50 || q.Max > 2.01 {
					t.Errorf("goodbye → seen: %+v", q)
				}
				if q := r.SilentGap; q.N < 1 || q.Max > c.linger+2.01 || q.Max < c.linger {
					t.Errorf("last beat → seen gone: %+v", q)
				}
				if r.WorldError.Max != 0 {
					t.Errorf("the world was off by %v", r.WorldError.Max)
				}
			})
		})
	}
}

func TestLiesAreCaught(t *testing.T) {
	kc := grandstand.Segment{Dim: "team", Value: "KC"}
	for _, lie := range []struct {
		check string
		name  string
		set   func(*fake)
	}{
		{checkSums, "a region is short of one", func(f *fake) {
			f.tell = func(b *fakeBoard) {
				b.full = func(dims map[string]any) {
					if r, ok := dims["region"].(map[string]any)["US-CA"].(map[string]any); ok {
						r["sessions"] = r["sessions"].(int) - 1
					}
				}
			}
		}},
		{checkOrder, "at goes back on one connection", func(f *fake) {
			f.tellOne = func(n int, b fakeBoard) []byte {
				if n%20 == 1 && b.at/2000%5 == 0 {
					b.at -= 6000
					return b.frame(nil)
				}
				return nil
			}
		}},
		{checkAbove, "everybody is counted once too often for a moment", func(f *fake) {
			ticks := 0
			f.tell = func(b *fakeBoard) {
				if ticks++; ticks == 20 {
					for s := range b.sessions {
						b.sessions[s] *= 2
					}
				}
			}
		}},
		{checkAbove, "one more in one segment", func(f *fake) {
			f.tell = func(b *fakeBoard) {
				b.sessions[grandstand.WorldSegment] += 12
				b.sessions[kc] += 12
			}
		}},
		{checkBelow, "one in ten is never counted", func(f *fake) {
			f.ignore = func(viewer, team string) bool { return strings.HasSuffix(viewer, "7") }
		}},
		{checkFinal, "one viewer is lost", func(f *fake) {
			f.tell = func(b *fakeBoard) {
				seen := map[string]bool{}
				for s, n := range b.sessions {
					if n > 1 && !seen[s.Dim] && !strings.HasPrefix(s.Value, "probe") {
						seen[s.Dim] = true
						b.sessions[s], b.fans[s] = n-1, min(b.fans[s], n-1)
					}
				}
			}
		}},
		{checkFans, "devices are counted as fans", func(f *fake) {
			f.tell = func(b *fakeBoard) {
				for s, n := range b.sessions {
					b.fans[s] = n
				}
			}
		}},
		{checkFans, "more fans than sessions", func(f *fake) {
			f.tell = func(b *fakeBoard) { b.fans[kc] = b.sessions[kc] + 1 }
		}},
		{checkPeak, "a peak that never was", func(f *fake) {
			ticks := 0
			f.tell = func(b *fakeBoard) {
				if ticks++; ticks > 10 {
					b.peaks[kc] += 100
				}
			}
		}},
		{checkAgree, "two are shown different numbers", func(f *fake) {
			f.tellOne = func(n int, b fakeBoard) []byte {
				if n%2 == 0 {
					return nil
				}
				c := b
				c.sessions = map[grandstand.Segment]int{grandstand.WorldSegment: b.sessions[grandstand.WorldSegment] - 1}
				return c.frame([]grandstand.Segment{grandstand.WorldSegment})
			}
		}},
		{checkLost, "newcomers in a probe's team are not seen", func(f *fake) {
			f.ignore = func(viewer, team string) bool { return strings.HasSuffix(viewer, "-other") }
		}},
		{checkFinal, "the boards stop", func(f *fake) {
			start := time.Now()
			f.tell = func(b *fakeBoard) { b.silent = time.Since(start) > 50*time.Second }
		}},
		{checkProtocol, "nonsense", func(f *fake) {
			f.tellOne = func(n int, b fakeBoard) []byte { return []byte(`{"t":"counts","at":1,"age":2,`) }
		}},
	} {
		t.Run(lie.check+", "+lie.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				lie.set(f)
				cfg, stop := f.serve(t, 2)
				defer stop()
				cfg = busy(cfg)
				cfg.Profile, cfg.Duration, cfg.Viewers = Flat, time.Minute, 80
				r := run(t, f, cfg)
				if r.Violated[lie.check] == 0 {
					t.Errorf("not caught by %s:\n%s", lie.check, table(r))
				}
				if !r.Failed() {
					t.Error("the report has not failed")
				}
			})
		})
	}
}

func TestDrainedGatewayIsNoDip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 2)
		defer stop()
		cfg = busy(cfg)
		cfg.Profile, cfg.NetworkChangesPerMinute = Flat, -0
		timers := []*time.Timer{
			time.AfterFunc(30*time.Second, func() { f.drain(0, 1012) }),
			time.AfterFunc(50*time.Second, func() { f.drain(1, 4008) }),
		}
		r := run(t, f, cfg)
		if timers[0].Stop() || timers[1].Stop() {
			t.Error("the run was over before the drain")
		}
		if r.Failed() || r.Drops["1012"] < 20 || r.Drops["4008"] < 50 || r.Reconnects < 70 || r.NotResumed > 0 {
			t.Errorf("a drain did harm:\n%s", table(r))
		}
	})
}

func TestPeaksOfThePastAreNoViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		ticks := 0
		f.tell = func(b *fakeBoard) {
			if ticks++; ticks > 3 { // found in a check-point
				for s := range b.peaks {
					b.peaks[s] += 1000
				}
			}
		}
		cfg, stop := f.serve(t, 1)
		defer stop()
		cfg.Viewers, cfg.Duration, cfg.Profile = 40, 30*time.Second, Flat
		if r := run(t, f, cfg); r.Failed() {
			t.Errorf("%s", table(r))
		}
	})
}

func TestGuestsAreNoViolation(t *testing.T) {
	for guests, failed := range map[int]bool{2: false, 1: true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			for i := range 2 {
				p := &person{country: "US", region: "US-CA", team: "KC"}
				f.sessions[fmt.Sprint("guest", i)] = &fakeSession{
					viewer: fmt.Sprint("guest", i), segs: p.segments(), beatAt: time.Now(), linger: time.Hour,
				}
			}
			cfg, stop := f.serve(t, 1)
			defer stop()
			cfg.Viewers, cfg.Duration, cfg.Profile, cfg.Guests = 40, 20*time.Second, Flat, guests
			if r := run(t, f, cfg); r.Failed() != failed {
				t.Errorf("two guests, %d announced:\n%s", guests, table(r))
			}
		})
	}
}

// A demo runs for days, and nobody may ever answer it.
func TestTruthStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Event: "final", Addresses: []string{"nowhere:80"}, Viewers: 5, Duration: 20 * time.Minute, Probes: -1, Shared: true}
		cfg.dial = func(context.Context, int, int) (net.Conn, error) {
			ours, theirs := net.Pipe()
			time.AfterFunc(time.Second, func() { theirs.Close() })
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		targets, _ := cfg.targets()
		life, kill := context.WithCancel(t.Context())
		c := newCrowd(life, cfg, targets)
		stopped := make(chan struct{})
		go c.audit.run(stopped)
		c.play(t.Context())
		c.truth.mu.Lock()
		pending, lingering := len(c.truth.pending), len(c.truth.linger)
		c.truth.mu.Unlock()
		if f := c.stats.failures["handshake"]; f < 1000 || pending > 200 || lingering > 50 {
			t.Errorf("after %d failures %d steps and %d lingering sessions are kept", f, pending, lingering)
		}
		c.goHome(t.Context(), kill)
		close(stopped)
		time.Sleep(2 * time.Second) // the last pipes close
	})
}

func TestEndedEventIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 1)
		defer stop()
		cfg.Viewers, cfg.Duration, cfg.Profile, cfg.Shared = 20, 30*time.Second, Flat, true
		cfg.JoinRate, cfg.ChurnPerMinute = 20, -1
		timer := time.AfterFunc(29900*time.Millisecond, func() { f.drain(0, 4504) })
		defer timer.Stop()
		r := run(t, f, cfg)
		if r.Drops["4504"] != 20 || r.Reconnects != 0 {
			t.Errorf("ended:\n%s", table(r))
		}
	})
}

func TestCancelledRunLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 2)
		defer stop()
		cfg = busy(cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		start := time.Now()
		r, err := Run(ctx, cfg)
		if err != context.DeadlineExceeded || r == nil || r.Joins < 50 {
			t.Fatalf("Run returned %v, %v", r, err)
		}
		if took := time.Since(start); took > 45*time.Second {
			t.Errorf("it took %v to leave", took-40*time.Second)
		}
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.conns) > 0 {
			t.Errorf("%d connections are left", len(f.conns))
		}
	})
}

func TestSameSeedSameCrowd(t *testing.T) {
	var reports []*Report
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			cfg, stop := f.serve(t, 2)
			defer stop()
			cfg.Viewers, cfg.Duration, cfg.Seed = 60, 40*time.Second, 42
			reports = append(reports, run(t, f, cfg))
		})
	}
	a, b := reports[0], reports[1]
	if a.Joins != b.Joins || a.Leaves != b.Leaves || a.Peak != b.Peak {
		t.Errorf("the same seed gave\n%s\nand\n%s", table(a), table(b))
	}
}

// Over TCP on this machine: with resets, from many source addresses.
func TestOverTCP(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.tick = time.Second
	var mu sync.Mutex
	sources := map[string]bool{}
	var addresses []string
	for i := range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/stream") {
				f.stream(w, r)
				return
			}
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			mu.Lock()
			sources[host] = true
			mu.Unlock()
			f.live(w, r, i)
		}))
		defer s.Close()
		addresses = append(addresses, s.URL)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ticks sync.WaitGroup
	ticks.Go(func() { f.run(ctx) })
	defer ticks.Wait()
	defer cancel()
	r := run(t, f, Config{
		Addresses: addresses, Event: "final", Viewers: 80, Duration: 4 * time.Second, Profile: Flat, Probes: 2,
		NetworkChangesPerMinute: 5, SilentLeaveShare: 0, ChurnPerMinute: 2, Window: time.Second,
	})
	if r.Failed() || !strings.HasPrefix(r.Final, "exact: 8") || r.NetworkChanges < 5 {
		t.Errorf("%s", table(r))
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sources) < 30 && runtime.GOOS == "linux" {
		t.Errorf("came from %d addresses", len(sources))
	}
}
