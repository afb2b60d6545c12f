package simulator

import (
	"testing"
	"testing/synctest"
	"time"
)

// shareAt returns the share of screens that were fresh so long after the first
// second.
func shareAt(r *Report, after time.Duration) float64 {
	for _, s := range r.Screens {
		if s.At == r.Screens[0].At+int64(after.Seconds()) {
			return float64(s.Fresh) / float64(s.Viewers)
		}
	}
	return -1
}

func TestScreensAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 2)
		defer stop()
		cfg = busy(cfg)
		cfg.Viewers = 60
		cfg.Probes = -1
		begin := time.Now()
		f.tell = func(b *fakeBoard) {
			since := time.Since(begin)
			b.silent = since > 30*time.Second && since < 45*time.Second
		}
		r := run(t, f, cfg)
		for after, want := range map[time.Duration]float64{20 * time.Second: 1, 35 * time.Second: 1, 60 * time.Second: 1} {
			if got := shareAt(r, after); got != want {
				t.Errorf("after %v %.3f of the screens are fresh, want %v", after, got, want)
			}
		}
		// Who has just come is given the time.
		if got := shareAt(r, 43*time.Second); got > 0.15 {
			t.Errorf("13 s after the last number %.3f of the screens are fresh", got)
		}
		if share, seconds := freshShare(r.Screens); share < 0.9 || share > 0.99 || seconds < 2500 {
			t.Errorf("in all: %.3f of %d", share, seconds)
		}
	})
}

// A gateway that hangs is left, as the SDK does, and what it did not read is held
// against nobody.
func TestASilentGatewayIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 3)
		defer stop()
		cfg = busy(cfg)
		cfg.Viewers = 60
		cfg.Profile, cfg.Probes, cfg.ChurnPerMinute = Flat, -1, 0.05
		begin := time.Now()
		f.frozen = func(gateway int) bool {
			since := time.Since(begin)
			return gateway == 1 && since > 30*time.Second && since < 62*time.Second
		}
		r := run(t, f, cfg)
		if r.Failed() {
			t.Errorf("the crowd blames:\n%s", table(r))
		}
		if r.Drops["silent"] < 5 {
			t.Errorf("%d connections were given up", r.Drops["silent"])
		}
		if early, hung, late := shareAt(r, 25*time.Second), shareAt(r, 50*time.Second), shareAt(r, 80*time.Second); early != 1 || hung > 0.8 || late != 1 {
			t.Errorf("fresh screens before, while and after it hangs: %.3f, %.3f, %.3f", early, hung, late)
		}
	})
}

// With a new epoch the clock of Redis may be any other. It may be set back by
// less, so that boards wait until it is where it was.
func TestAClockThatJumps(t *testing.T) {
	for _, jump := range []time.Duration{-time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			cfg, stop := f.serve(t, 2)
			defer stop()
			cfg = busy(cfg)
			cfg.Viewers = 60
			time.AfterFunc(40*time.Second, func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.epoch, f.ahead = 2, jump.Milliseconds()
			})
			r := run(t, f, cfg)
			if share, _ := freshShare(r.Screens); r.Failed() || share != 1 || r.States < 40 {
				t.Errorf("after a jump of %v, with %.4f fresh:\n%s", jump, share, table(r))
			}
		})
	}
}

// A gateway that cannot tell what it counts is behind. With Late that is no lie,
// unless the board says that it is live.
func TestLateTalliesAreNoLieOnBoardsThatSaySo(t *testing.T) {
	for quality, honest := range map[string]bool{"partial": true, "": false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			cfg, stop := f.serve(t, 2)
			defer stop()
			cfg = busy(cfg)
			cfg.Viewers = 60
			cfg.Probes, cfg.ChurnPerMinute, cfg.SilentLeaveShare, cfg.Late = -1, 3, 0, 15*time.Second
			begin := time.Now()
			var old fakeBoard
			f.tell = func(b *fakeBoard) {
				if since := time.Since(begin); since > 50*time.Second && since < 60*time.Second {
					b.sessions, b.fans, b.peaks, b.quality = old.sessions, old.fans, old.peaks, quality
					return
				}
				old = *b
			}
			if r := run(t, f, cfg); r.Failed() == honest {
				t.Errorf("boards that say %q:\n%s", quality, table(r))
			} else if excused := len(r.Excused) > 0; excused != honest {
				t.Errorf("boards that say %q are excused: %v", quality, excused)
			}
		})
	}
}

func TestAClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 2)
		defer stop()
		cfg = busy(cfg)
		cfg.Viewers, cfg.Probes = 60, -1
		begin := time.Now()
		f.tell = func(b *fakeBoard) {
			since := time.Since(begin)
			if since > 40*time.Second {
				f.ahead, b.ahead = -8000, -8000
			}
			b.silent = since > 40*time.Second && since < 50*time.Second
		}
		r := run(t, f, cfg)
		if got := shareAt(r, 75*time.Second); r.Violated[checkFinal]+r.Violated[checkProtocol] > 0 || got != 1 {
			t.Errorf("long after the clock was set back %.3f of the screens are fresh:\n%s", got, table(r))
		}
		for _, v := range r.Violations {
			if v.Time.Sub(begin) > 60*time.Second {
				t.Errorf("long after: %s", v.Text)
			}
		}
	})
}
