package bench

import (
	"context"
	"fmt"
	"time"
)

// slow compares what a crowd is shown while some of its sockets read nothing
// with what it was shown while they all read.
func (b *run) slow(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: 1})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return nil, err
	}
	g := d.gateways[0]
	readers := b.scale.conns - b.scale.slow
	cfg := LoadConfig{Path: playerPath, Audiences: audiences, Conns: readers, Rate: b.scale.rate}
	others, err := b.gather(ctx, cfg, g.addr)
	if err != nil {
		return nil, err
	}
	defer others.end()
	if _, err := others.opened(ctx, 2*time.Minute); err != nil {
		return nil, err
	}
	if err := others.grow(tick); err != nil {
		return nil, err
	}
	cfg.Offset, cfg.Conns = 1_000_000, b.scale.slow
	with := func(silent int) (p99 int64, memory float64, stats *LoadStats, err error) {
		cfg.Silent = silent
		before, err := b.memoryOf(g)
		if err != nil {
			return 0, 0, nil, err
		}
		c, err := b.gather(ctx, cfg, g.addr)
		if err != nil {
			return 0, 0, nil, err
		}
		defer c.end()
		if _, err := c.opened(ctx, time.Minute); err != nil {
			return 0, 0, nil, err
		}
		if err := c.beat(125 * time.Millisecond); err != nil { // of those that do not read: messages that are answered
			return 0, 0, nil, err
		}
		o, err := b.observe(ctx, others, g.child)
		if err != nil {
			return 0, 0, nil, err
		}
		after, err := b.memoryOf(g)
		if err != nil {
			return 0, 0, nil, err
		}
		if silent > 0 { // long enough for buffers to fill, and the limit after that
			if err := others.lives(ctx, b.scale.silence); err != nil {
				return 0, 0, nil, err
			}
		}
		s, err := c.mark()
		return o.stats.Age.Quantile(0.99), (after - before) / float64(b.scale.slow), s, err
	}
	reading, _, _, err := with(0)
	if err != nil {
		return nil, err
	}
	silent, memory, stats, err := with(b.scale.slow)
	if err != nil {
		return nil, err
	}
	m, err := g.metrics()
	if err != nil {
		return nil, err
	}
	cut := m.sum("grandstand_gateway_closes_total", `"slow_reader"`)
	return []Row{
		{Key: "slow", What: "others' p99 while some never read", Value: float64(silent) / float64(max(reading, 1)), Unit: "×", Target: 1.10,
			Note: fmt.Sprintf("%d of %d read nothing and ask for answers; age on arrival of the others, p99: %d ms, %d ms while those read as well.", b.scale.slow, b.scale.conns, silent, reading)},
		{Key: "slow-memory", What: "memory of a socket that is not read", Value: memory / 1024, Unit: "KB", Target: 64,
			Note: fmt.Sprintf("gateway and kernel, after %v; %.0f of %d were cut within %v (%d noticed).", b.scale.window, cut, b.scale.slow, b.scale.settle+b.scale.window+b.scale.silence, stats.Closed)},
	}, nil
}

// memoryOf returns the bytes of a gateway and of all sockets in the kernel.
func (b *run) memoryOf(g *service) (float64, error) {
	rss, err := rssOf(g.pid())
	if err != nil {
		return 0, err
	}
	kernel, err := kernelMemory()
	return rss + kernel, err
}
