package simulator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// lane measures freshness: in a team that nobody else is in, an observer looks
// on while another viewer comes and goes.
type lane struct {
	crowd  *crowd
	number int
	rng    *rand.Rand
	seen   chan sighting
	folded atomic.Bool // a team of one is too small to be shown: nothing can be measured
}

// sighting is the team's count as the observer was shown it.
type sighting struct {
	n   uint64
	now time.Time
}

const (
	silentLanes = 8                // every so many-th lane leaves without a word
	lostAfter   = 30 * time.Second // on top of what a silent leave takes
)

func newLane(c *crowd, i int) *lane {
	return &lane{
		crowd: c, number: i, seen: make(chan sighting, 64),
		rng: rand.New(rand.NewPCG(c.cfg.Seed, 1<<32+uint64(i))),
	}
}

func (l *lane) person(what string) *person {
	return &person{
		id:      fmt.Sprintf("probe%x-%d-%s", l.crowd.cfg.Seed, l.number, what),
		country: "US", region: "US-CA", team: fmt.Sprintf("probe-%d", l.number),
	}
}

// run measures until ctx ends. Then both leave.
func (l *lane) run(ctx context.Context) {
	obs := l.crowd.newPlayer(l.person("observer"))
	obs.observe = func(c *counts, now time.Time) {
		n, there := c.N["team"]
		l.folded.Store(there && n == nil)
		if n == nil || c.Q == "stale" {
			return
		}
		select {
		case l.seen <- sighting{n[0], now}:
		default: // the lane sleeps; what it waits for comes later
		}
	}
	obs.gateway = l.number
	l.crowd.start(obs)
	defer obs.tell(leave)

	if !l.pause(ctx, l.crowd.tick()) {
		return
	}
	if _, ok := l.await(ctx, 1, lostAfter); !ok {
		if ctx.Err() == nil && !l.crowd.cfg.Shared && !l.folded.Load() {
			l.crowd.audit.violate(checkLost, 0, "the observer in team probe-%d never saw itself counted alone", l.number)
		}
		return
	}
	for round := 0; l.round(ctx, round); round++ {
	}
}

// round lets the other one come and go once. It reports whether the lane goes
// on.
func (l *lane) round(ctx context.Context, round int) bool {
	c := l.crowd
	if !l.pause(ctx, time.Duration(l.rng.Int64N(int64(c.tick())))) {
		return false
	}
	silent := l.number%silentLanes == silentLanes-1
	p := c.newPlayer(l.person("other"))
	p.gateway = l.number + round + 1
	l.drain()
	c.start(p)
	at, ok := l.await(ctx, 2, lostAfter)
	joined := p.joined.Load()
	if !ok || joined == nil {
		p.tell(leave)
		if ctx.Err() == nil {
			c.audit.violate(checkLost, 0, "a viewer who joined team probe-%d was not seen for %v", l.number, lostAfter)
		}
		return false
	}
	c.stats.joinSeen.add(at.Sub(joined.asked).Seconds())

	if !l.pause(ctx, time.Duration(l.rng.Int64N(int64(c.tick())))) {
		p.tell(leave)
		return false
	}
	l.drain()
	how, measured, patience := leave, &c.stats.leaveSeen, lostAfter
	if silent {
		how, measured = vanish, &c.stats.silentGap
		patience += time.Duration(c.linger()) * time.Millisecond
	}
	left := time.Now()
	p.tell(how)
	if at, ok = l.await(ctx, 1, patience); !ok {
		if ctx.Err() == nil {
			c.audit.violate(checkLost, 0, "a viewer who left team probe-%d was seen for %v more", l.number, patience)
		}
		return false
	}
	if silent {
		if m := p.silent.Load(); m != nil {
			left = m.asked
		}
	}
	measured.add(at.Sub(left).Seconds())
	return true
}

// await waits until the observer is shown n in the team, and returns when.
func (l *lane) await(ctx context.Context, n uint64, patience time.Duration) (time.Time, bool) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case s := <-l.seen:
			if s.n == n {
				return s.now, true
			}
		case <-timeout.C:
			return time.Time{}, false
		case <-ctx.Done():
			return time.Time{}, false
		}
	}
}

// drain forgets what was seen so far.
func (l *lane) drain() {
	for {
		select {
		case <-l.seen:
		default:
			return
		}
	}
}

func (l *lane) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
