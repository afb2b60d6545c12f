package simulator

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
)

// crowd is all players of a run and what they share.
type crowd struct {
	cfg     Config // static after newCrowd
	targets []target
	truth   *truth
	audit   *audit
	stats   stats
	acked   *acked
	kept    atomic.Bool     // gateways acknowledge what they keep
	still   atomic.Bool     // nobody comes or goes any more, so frames need not come
	life    context.Context // of the players: its end breaks off what they are opening

	numbers  atomic.Int64 // players made
	tickNS   atomic.Int64 // as the last hello said
	lingerMS atomic.Int64
	every    atomic.Int64 // one frame in so many is read in full

	players sync.WaitGroup

	mu     sync.Mutex
	all    map[*player]struct{}
	active []*player // those the plan may tell something
	back   []*person // reloaded: they join again at once

	plan plan // owned by play
}

// plan is what the driver draws its choices from.
type plan struct {
	rng    *rand.Rand
	people *people
	join   float64 // joins that may happen by now
	churn  float64 // leaves that are due
	change float64 // network changes that are due
	reload float64 // reloads that are due
}

func newCrowd(life context.Context, cfg Config, targets []target) *crowd {
	c := &crowd{
		cfg: cfg, targets: targets, life: life,
		truth: newTruth(cfg.Window.Milliseconds(), cfg.Late.Milliseconds()), all: map[*player]struct{}{},
	}
	c.acked = newAcked(cfg.Acked, cfg.Event)
	c.audit = newAudit(&c.cfg, c.truth, &c.stats)
	c.plan.rng = rand.New(rand.NewPCG(cfg.Seed, 1))
	c.plan.people = newPeople(&c.cfg, c.plan.rng)
	c.greeted(grandstand.DefaultTickMS*time.Millisecond, 0)
	c.lingerMS.Store(grandstand.LingerMS(grandstand.DefaultBeatMS))
	c.every.Store(1)
	if c.cfg.dial == nil {
		c.cfg.dial = dialer(targets)
	}
	return c
}

// dialer connects by TCP. A loopback target is dialed from many loopback
// addresses: one of them has some 28,000 ports only.
func dialer(targets []target) func(context.Context, int, int) (net.Conn, error) {
	spread := false
	if l, err := net.Listen("tcp", "127.0.1.1:0"); err == nil {
		spread = true // Linux has all of 127/8
		l.Close()
	}
	return func(ctx context.Context, gateway, source int) (net.Conn, error) {
		t := targets[gateway]
		d := net.Dialer{KeepAlive: -1}
		if spread && t.ip.IsLoopback() && t.ip.To4() != nil {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+source%64))}
		}
		return d.DialContext(ctx, "tcp", t.host)
	}
}

func (c *crowd) tick() time.Duration { return time.Duration(c.tickNS.Load()) }
func (c *crowd) linger() int64       { return c.lingerMS.Load() }

// greeted takes note of what a hello says about the event.
func (c *crowd) greeted(tick, linger time.Duration) {
	c.tickNS.Store(int64(tick))
	c.lingerMS.Store(linger.Milliseconds())
}

// sampled tells whether the player's newest frame is read in full.
func (c *crowd) sampled(p *player) bool {
	return (int64(p.frames)+int64(p.number))%c.every.Load() == 0
}

// newPlayer returns a session of the viewer that has not come yet.
func (c *crowd) newPlayer(who *person) *player {
	n := int(c.numbers.Add(1))
	rng := rand.New(rand.NewPCG(c.cfg.Seed, uint64(n)+2))
	return &player{
		crowd: c, who: who, number: n, gateway: n, index: -1, rng: rng, polite: rng.IntN(2) == 0,
		device: fmt.Sprintf("%s-%d", who.id, n), pres: c.truth.add(who), wake: make(chan struct{}, 1),
	}
}

// start lets the player play until its session is over.
func (c *crowd) start(p *player) {
	c.mu.Lock()
	c.all[p] = struct{}{}
	c.mu.Unlock()
	c.players.Go(func() {
		p.run(c.life)
		c.remove(p)
		c.mu.Lock()
		delete(c.all, p)
		c.mu.Unlock()
	})
}

// enter starts a player that the plan may tell something.
func (c *crowd) enter(who *person) {
	p := c.newPlayer(who)
	c.mu.Lock()
	p.index = len(c.active)
	c.active = append(c.active, p)
	c.mu.Unlock()
	c.start(p)
}

// remove takes a player out of the plan's hands.
func (c *crowd) remove(p *player) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.index < 0 {
		return
	}
	last := len(c.active) - 1
	c.active[last].index = p.index
	c.active[p.index] = c.active[last]
	c.active[last] = nil
	c.active = c.active[:last]
	p.index = -1
}

func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.active)
}

// comeBack lets the viewer of a player join again.
func (c *crowd) comeBack(p *player) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back = append(c.back, p.who)
}

// some returns a random player that has joined; nil if there is none at hand.
func (c *crowd) some() *player {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range 8 {
		if len(c.active) == 0 {
			return nil
		}
		if p := c.active[c.plan.rng.IntN(len(c.active))]; p.joined.Load() != nil {
			return p
		}
	}
	return nil
}

const (
	step       = 20 * time.Millisecond
	goalLasts  = 8 * time.Second
	goalShare  = 0.05 // of Viewers come for a goal
	goalReload = 0.02 // of the crowd reload at a goal
)

// play carries the plan out until its time is over.
func (c *crowd) play(ctx context.Context) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	start := time.Now()
	last := start
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if now.Sub(start) >= c.cfg.Duration {
				return
			}
			c.step(now.Sub(start), now.Sub(last).Seconds())
			last = now
		}
	}
}

// step does what is due after dt more seconds.
func (c *crowd) step(elapsed time.Duration, dt float64) {
	have := c.size()
	c.every.Store(int64(max(have/200, 1)))
	level, team := c.cfg.Profile.level(elapsed, c.cfg.Period)
	if len(c.cfg.Curve) > 0 {
		level, team = levelAt(c.cfg.Curve, elapsed), false
	}
	want := int(math.Round(level * float64(c.cfg.Viewers)))
	p := &c.plan

	p.join = min(p.join+c.cfg.JoinRate*dt, max(c.cfg.JoinRate/4, 1))
	for c.rejoin() {
		have++
	}
	for ; have < want && p.join >= 1; p.join-- {
		bias := ""
		if team && p.rng.IntN(4) != 0 {
			bias = c.scorer(elapsed)
		}
		who := p.people.next(bias)
		c.enter(who)
		have++
		if have < want && p.rng.Float64() < c.cfg.TwoDeviceShare {
			c.enter(who)
			have++
			p.join--
		}
	}
	p.churn += float64(have) * c.cfg.ChurnPerMinute / 60 * dt
	p.change += float64(have) * c.cfg.NetworkChangesPerMinute / 60 * dt
	if team {
		p.reload += float64(have) * goalReload * dt / goalLasts.Seconds()
	}
	for most := int(4*c.cfg.JoinRate*dt) + 1; (have > want || p.churn >= 1) && most > 0; most-- {
		if have <= want {
			p.churn--
		}
		if c.leave() {
			have--
		}
	}
	for ; p.change >= 1; p.change-- {
		if x := c.some(); x != nil {
			x.tell(change)
		}
	}
	for ; p.reload >= 1; p.reload-- {
		if x := c.some(); x != nil {
			c.remove(x)
			x.tell(reload)
		}
	}
}

// leave has somebody leave, one way or the other.
func (c *crowd) leave() bool {
	x := c.some()
	if x == nil {
		return false
	}
	c.remove(x)
	c.plan.people.left(x.who)
	how := leave
	if c.plan.rng.Float64() < c.cfg.SilentLeaveShare {
		how = vanish
	}
	x.tell(how)
	return true
}

// rejoin lets one of those join who reloaded.
func (c *crowd) rejoin() bool {
	c.mu.Lock()
	n := len(c.back)
	if n == 0 {
		c.mu.Unlock()
		return false
	}
	who := c.back[n-1]
	c.back = c.back[:n-1]
	c.mu.Unlock()
	c.enter(who)
	return true
}

// scorer returns the team whose goal it is: one of the two biggest of the mix
// in turn.
func (c *crowd) scorer(elapsed time.Duration) string {
	return c.cfg.TeamMix[int(elapsed/(c.cfg.Period/5+1))%min(2, len(c.cfg.TeamMix))].Value
}

// quiet waits until nobody has come or gone for two ticks, and for the verdict
// on the counts that are shown then.
func (c *crowd) quiet(ctx context.Context) {
	c.still.Store(true)
	still := 2*c.tick() + c.cfg.Window
	verdict := c.audit.settle(ms(time.Now().Add(still)))
	// Whoever has just vanished is counted on for a while, and for longer if nobody
	// said that the last beat was read.
	patience := time.NewTimer(still + deadAfter + time.Duration(c.linger())*time.Millisecond + 9*c.tick() + 10*time.Second)
	defer patience.Stop()
	select {
	case <-verdict:
	case <-ctx.Done():
	case <-patience.C:
		c.audit.violate(checkFinal, 0, "no live full board of a settled state came after the crowd had gone quiet")
	}
}

// goHome has everybody leave and waits for them.
func (c *crowd) goHome(ctx context.Context, kill context.CancelFunc) {
	over := time.Duration(float64(c.size()) / (4 * c.cfg.JoinRate) * float64(time.Second))
	c.dismiss(ctx, min(over, 30*time.Second))
	c.mu.Lock()
	for p := range c.all {
		p.tell(leave)
	}
	c.mu.Unlock()
	kill()
	c.players.Wait()
}

// dismiss has everybody leave, spread over the time.
func (c *crowd) dismiss(ctx context.Context, over time.Duration) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	rounds := max(int(over/step), 1)
	for each := c.size()/rounds + 1; ; {
		for range each {
			c.mu.Lock()
			var x *player
			if n := len(c.active); n > 0 {
				x = c.active[n-1]
			}
			c.mu.Unlock()
			if x == nil {
				return
			}
			c.remove(x)
			x.tell(leave)
		}
		select {
		case <-ctx.Done():
			each = math.MaxInt
		case <-ticker.C:
		}
	}
}

// level returns the share of Viewers that the profile wants after the time, and
// whether it is the time of a goal.
func (p Profile) level(elapsed, period time.Duration) (float64, bool) {
	if p == Flat {
		return 1, false
	}
	f := math.Mod(elapsed.Seconds()/period.Seconds(), 1)
	level := curve[len(curve)-1].level
	for i := 1; i < len(curve); i++ {
		if a, b := curve[i-1], curve[i]; f < b.at {
			x := (f - a.at) / (b.at - a.at)
			level = a.level + (b.level-a.level)*x*x*(3-2*x) // eases in and out
			break
		}
	}
	for _, g := range goals {
		if since := (f - g) * period.Seconds(); since >= 0 && since < goalLasts.Seconds() {
			return level + goalShare*(1-since/goalLasts.Seconds()), true
		}
	}
	return level, false
}

// levelAt returns the share that a curve has at a time.
func levelAt(curve []Level, at time.Duration) float64 {
	last := curve[0]
	for _, l := range curve {
		if at < l.At {
			return last.Share + (l.Share-last.Share)*float64(at-last.At)/float64(l.At-last.At)
		}
		last = l
	}
	return last.Share
}

// The curve of a match over its period, and its goals. The fullest, a goal in
// the second half included, is 1.
var (
	curve = []struct{ at, level float64 }{
		{0, 0.03}, {0.15, 0.80}, {0.30, 0.90}, {0.44, 0.90}, // in before kick-off, the first half
		{0.47, 0.70}, {0.53, 0.70}, {0.58, 0.93}, // half-time
		{0.86, 0.95}, {0.97, 0.15}, {1, 0.15}, // the second half, and home
	}
	goals = []float64{0.22, 0.36, 0.64, 0.78}
)
