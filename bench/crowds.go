package bench

import (
	"context"
	"fmt"
	"time"
)

// events measures many events of two viewers each.
func (b *run) events(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: 2})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := pause(ctx, 5*tick); err != nil { // until the aggregator holds all shards
		return nil, err
	}
	path := "/v1/events/bench-{e}/live?viewer=v{i}&device=d{i}&country=US&region=US-{a}&team=T{a}&interval_ms=60000"
	c, err := b.gather(ctx, LoadConfig{Path: path, Audiences: audiences, PerEvent: 2, Expect: 2, Conns: b.scale.events, Rate: min(b.scale.rate/2, 1000), Retry: true}, d.addrs()...)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if _, err := c.opened(ctx, 3*time.Minute); err != nil {
		return nil, err
	}
	if err := c.beat(10 * time.Second); err != nil {
		return nil, err
	}
	const repeated = 15 * time.Second // numbers that do not move are sent again after this
	if err := c.lives(ctx, b.scale.settle+repeated+2*tick); err != nil {
		return nil, err
	}
	if _, err := c.mark(); err != nil {
		return nil, err
	}
	before, err := d.use()
	if err != nil {
		return nil, err
	}
	if err := c.lives(ctx, repeated+5*tick); err != nil {
		return nil, err
	}
	s, err := c.mark()
	if err != nil {
		return nil, err
	}
	after, err := d.use()
	if err != nil {
		return nil, err
	}
	seconds, u := after.since(before)
	if s.Shown < s.Open || s.Counts < s.Open || int(s.Seen.N()) < s.Open || s.NotLive > 0 || s.Closed > 0 {
		err = fmt.Errorf("of %d viewers %d were shown counts, %d messages came again, %d saw both sessions, %d messages were not live, %d sockets closed",
			s.Open, s.Shown, s.Counts, s.Seen.N(), s.NotLive, s.Closed)
	}
	return []Row{{Key: "events", What: fmt.Sprintf("oldest board shown, %d events of 2 viewers", b.scale.events), Value: float64(s.Age.Quantile(1)) / 1000, Unit: "s", Target: 2.6,
		Note: fmt.Sprintf("age on arrival, p50 %d ms; from the second join to both being shown: p50 %d ms, p99 %d ms; %.0f Redis commands a tick; aggregator %.2f, gateways %.2f cores.",
			s.Age.Quantile(0.5), s.Seen.Quantile(0.5), s.Seen.Quantile(0.99), u.commands/seconds*tick.Seconds(), u.aggregator/seconds, u.gateway/seconds)}}, err
}

// machine fills this machine with viewers.
func (b *run) machine(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: b.scale.gateways})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return nil, err
	}
	c, err := b.gather(ctx, LoadConfig{Path: playerPath, Audiences: audiences, Conns: b.scale.crowd, Rate: b.scale.rate / b.scale.gateways, Retry: true}, d.addrs()...)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if _, err := c.opened(ctx, 5*time.Minute); err != nil {
		return nil, err
	}
	if err := c.beat(10 * time.Second); err != nil {
		return nil, err
	}
	if err := c.grow(tick); err != nil {
		return nil, err
	}
	if err := c.lives(ctx, 4*b.scale.settle); err != nil {
		return nil, err
	}
	if _, err := c.mark(); err != nil {
		return nil, err
	}
	before, err := d.use()
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(b.scale.stay); time.Now().Before(end); {
		if err := c.lives(ctx, min(30*time.Second, time.Until(end))); err != nil {
			return nil, err
		}
		b.cfg.Logger.Info("viewers stay", "left", time.Until(end).Round(time.Second))
	}
	s, err := c.mark()
	if err != nil {
		return nil, err
	}
	after, err := d.use()
	if err != nil {
		return nil, err
	}
	seconds, u := after.since(before)
	viewers := b.scale.gateways * b.scale.crowd
	return []Row{
		{Key: "machine", What: fmt.Sprintf("p99 freshness of %d viewers on this machine", viewers), Value: float64(s.Age.Quantile(0.99)) / 1000, Unit: "s", Target: 2.6,
			Note: fmt.Sprintf("age of counts on arrival, p50 %d ms, longest %d ms; age of what a screen shows when it is replaced, p50 %d ms, p99 %d ms. %d gateways, %v, a beat each 10 s; cores: gateways %.2f, Redis %.2f, aggregator %.2f, the rest the crowd; gateways take %.0f MB.",
				s.Age.Quantile(0.5), s.Age.Quantile(1), s.Screen.Quantile(0.5), s.Screen.Quantile(0.99), b.scale.gateways, b.scale.stay, u.gateway/seconds, u.redis/seconds, u.aggregator/seconds, u.rss/(1<<20))},
		{Key: "machine-stay", What: "of them, those who stayed connected", Value: 100 * float64(s.Open) / float64(s.Open+s.Closed+s.Failed), Unit: "%", Target: 100, AtLeast: true,
			Note: fmt.Sprintf("%d disconnects %s; %d were asked to join later, and did.", s.Closed, s.Reason, s.Retried)},
	}, nil
}
