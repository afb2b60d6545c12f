package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"grandstand"
)

// sample is what one gateway with some viewers uses, by the fields of Units.
type sample struct {
	viewers int
	units   Units // Base only
}

// capacity measures one gateway at two sizes, draws the unit costs from them,
// and checks what they predict at three other sizes.
func (b *run) capacity(ctx context.Context) ([]Row, error) {
	fits := make([]sample, 2)
	for i, n := range b.scale.fits {
		var err error
		if fits[i], err = b.sample(ctx, n); err != nil {
			return nil, err
		}
	}
	u := b.units()
	lines := []func(*Units) *Line{func(u *Units) *Line { return &u.Messages }}
	for _, r := range resources {
		lines = append(lines, r.line)
	}
	for _, line := range lines {
		*line(u) = through(fits[0].viewers, fits[1].viewers, line(&fits[0].units).Base, line(&fits[1].units).Base)
	}
	u.Kernel = fits[1].units.Kernel
	// What Redis takes here is a percent of a core, known to some ticks of the
	// kernel's clock: a line through two such figures might fall. It grows with
	// the commands.
	perCommand := (fits[0].units.RedisCores.Base + fits[1].units.RedisCores.Base) / (fits[0].units.Commands.Base + fits[1].units.Commands.Base)
	u.RedisCores = Line{Base: perCommand * u.Commands.Base, PerViewer: perCommand * u.Commands.PerViewer}
	worst, where := 0.0, ""
	for _, n := range b.scale.checks {
		s, err := b.sample(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, r := range resources {
			more := 0.0
			if r.tallies {
				more = tallyTraffic(n)
			}
			p := Prediction{Viewers: n, What: r.name, Unit: r.unit,
				Predicted: (r.line(u).At(1, float64(n)) + more) / r.scale, Measured: (r.line(&s.units).Base + more) / r.scale}
			b.report.Checks = append(b.report.Checks, p)
			b.cfg.Logger.Info("checked", "viewers", n, "what", r.name, "predicted", number(p.Predicted), "measured", number(p.Measured), "unit", r.unit)
			if off := math.Abs(p.Off()); off > worst {
				worst, where = off, fmt.Sprintf("%s at %d viewers", r.name, n)
			}
		}
	}
	return []Row{{Key: "capacity", What: "model against measurement, the worst of all", Value: 100 * worst, Unit: "% off", Target: 20,
		Note: fmt.Sprintf("from %d and %d viewers, checked at %v: %s. See docs/capacity.md.", b.scale.fits[0], b.scale.fits[1], b.scale.checks, where)}}, nil
}

// tallyTraffic returns the bytes per second that the tallies of a gateway with n
// viewers of a benchmark's event go in and out of Redis with. No line fits that:
// the sketch of a segment stops to grow when it is dense. But it can be built.
func tallyTraffic(n int) float64 {
	event := &grandstand.Event{Name: "bench"}
	if err := event.Normalize(); err != nil {
		panic(err) // all of it is a default
	}
	auds := grandstand.NewAudiences(event)
	rng := rand.New(rand.NewPCG(1, 2))
	t := grandstand.NewTallier()
	t.Reset(0)
	for i := range n {
		a := strconv.Itoa(i % audiences)
		t.Add(auds.Intern([]string{"US", "US-" + a, "T" + a}), rng.Uint64())
	}
	tally := &grandstand.ShardTally{Gateway: "0123456789abcdef", Events: []grandstand.Tally{*t.Build(event, auds.Segments(), nil)}}
	return 2 * float64(len(grandstand.AppendShardTally(nil, tally))) / tick.Seconds()
}

// sample measures one gateway with n viewers who beat each 10 s.
func (b *run) sample(ctx context.Context, n int) (s sample, err error) {
	s.viewers = n
	d, err := b.deploy(ctx, deployConfig{gateways: 1})
	if err != nil {
		return s, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return s, err
	}
	kernel, err := kernelMemory()
	if err != nil {
		return s, err
	}
	c, err := b.gather(ctx, LoadConfig{Path: playerPath, Audiences: audiences, Conns: n, Rate: b.scale.rate}, d.addrs()...)
	if err != nil {
		return s, err
	}
	defer c.end()
	if _, err := c.opened(ctx, time.Minute); err != nil {
		return s, err
	}
	if err := c.beat(10 * time.Second); err != nil {
		return s, err
	}
	if err := c.grow(tick); err != nil {
		return s, err
	}
	if err := c.lives(ctx, b.scale.steady); err != nil {
		return s, err
	}
	if _, err := c.mark(); err != nil {
		return s, err
	}
	seconds, used, cores, err := d.leastUse(ctx, c, 2*b.scale.window)
	if err != nil {
		return s, err
	}
	stats, err := c.mark()
	if err != nil {
		return s, err
	}
	now, err := kernelMemory()
	if err != nil {
		return s, err
	}
	s.units = Units{
		Cores: Line{Base: cores}, Memory: Line{Base: used.rss},
		Commands: Line{Base: used.commands / seconds}, RedisBytes: Line{Base: (used.in+used.out)/seconds - tallyTraffic(n)}, RedisCores: Line{Base: used.redis / seconds},
		Egress: Line{Base: float64(stats.Bytes) / seconds}, Messages: Line{Base: float64(stats.Frames) / seconds},
		Kernel: max(now-kernel, 0) / float64(n) / 2, // the other end of each socket is on this machine, too
	}
	return s, nil
}

// looks is in how many parts leastUse looks at a window.
const looks = 3

// leastUse returns what the deployment used in a window of some seconds, and the
// cores that its gateway took in that of its parts in which it took least: what
// else a machine does makes processor time dearer, and never cheaper.
func (d *deployment) leastUse(ctx context.Context, c *crowd, window time.Duration) (seconds float64, all usage, cores float64, err error) {
	part := max((window / looks).Truncate(tick), tick)
	first, err := d.use()
	if err != nil {
		return 0, all, 0, err
	}
	before := first
	for i := range looks {
		if err := c.lives(ctx, part); err != nil {
			return 0, all, 0, err
		}
		after, err := d.use()
		if err != nil {
			return 0, all, 0, err
		}
		s, u := after.since(before)
		if mine := u.gateway / s; i == 0 || mine < cores {
			cores = mine
		}
		before = after
	}
	seconds, all = before.since(first)
	return seconds, all, cores, nil
}
