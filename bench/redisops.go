package bench

import (
	"context"
	"fmt"
	"time"
)

// commands counts what Redis does for a crowd that beats.
func (b *run) commands(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: 2})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return nil, err
	}
	c, err := b.gather(ctx, LoadConfig{Path: playerPath, Audiences: audiences, Conns: b.scale.beaters / 2, Rate: b.scale.rate}, d.addrs()...)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if _, err := c.opened(ctx, time.Minute); err != nil {
		return nil, err
	}
	if err := c.beat(10 * time.Second); err != nil {
		return nil, err
	}
	if err := c.grow(tick); err != nil {
		return nil, err
	}
	if err := c.lives(ctx, b.scale.steady); err != nil {
		return nil, err
	}
	if _, err := c.mark(); err != nil {
		return nil, err
	}
	before, err := d.use()
	if err != nil {
		return nil, err
	}
	if err := c.lives(ctx, 2*b.scale.window); err != nil {
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
	r := Row{Key: "commands", What: "Redis commands per beat, all included", Value: u.commands / float64(s.Beats), Guarded: true,
		Note: fmt.Sprintf("%d viewers on two gateways, a beat each 10 s, %.0f commands/s (those of scripts too), %.0f KB/s in, %.0f KB/s out.", b.scale.beaters, u.commands/seconds, u.in/seconds/1024, u.out/seconds/1024)}
	if b.scale.steady == scales[Full].steady {
		r.Target = 0.25
	} else {
		r.What = "Redis commands per beat, before records are refreshed"
	}
	return []Row{r}, nil
}
