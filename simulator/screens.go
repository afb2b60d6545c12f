package simulator

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// freshMS is how old the number on a screen may be to count as fresh.
const freshMS = 10_000

// Second is one second of the crowd's screens.
type Second struct {
	At      int64 `json:"at"`      // Unix s
	Viewers int   `json:"viewers"` // who mean to watch then, connected or not
	Fresh   int   `json:"fresh"`   // of them, whose number was younger than 10 s
}

// screen is the number that one player shows. Its methods may be called at the
// same time.
type screen struct {
	of atomic.Int64 // local ms of the state shown; 0: nobody looks at it
}

// on: somebody looks from now on. They have seen nothing yet, which may last as
// long as a number may be old.
func (s *screen) on(now time.Time) { s.of.Store(ms(now)) }

// show: a frame came that says its state was counted age ms before it was sent.
// offset is local ms minus Redis ms; never if it is not known: a frame may have
// been on its way for longer than its age says.
func (s *screen) show(g glance, now time.Time, offset int64) {
	of := ms(now) - g.age
	if offset != never {
		of = min(of, g.at+offset)
	}
	s.of.Store(of)
}

func (s *screen) off() { s.of.Store(0) }

// look counts the screens once.
func (c *crowd) look(now time.Time) Second {
	s := Second{At: now.Unix()}
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.all {
		of := p.screen.of.Load()
		if of == 0 {
			continue
		}
		s.Viewers++
		if ms(now)-of < freshMS {
			s.Fresh++
		}
	}
	return s
}

// keepLooking counts the screens each second until ctx ends.
func (c *crowd) keepLooking(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s := c.look(now)
			c.stats.mu.Lock()
			c.stats.screens = append(c.stats.screens, s)
			c.stats.mu.Unlock()
		}
	}
}

// freshShare returns the share of viewer-seconds with a fresh number, and how
// many there were.
func freshShare(list []Second) (share float64, seconds int) {
	fresh := 0
	for _, s := range list {
		fresh += s.Fresh
		seconds += s.Viewers
	}
	return float64(fresh) / math.Max(float64(seconds), 1), seconds
}
