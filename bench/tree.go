package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const treeFanout = 3

// tree kills the relays of a fan-out tree one after the other, while viewers
// watch at the gateways below.
func (b *run) tree(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: b.scale.tree, peers: true, args: []string{"--upstream", "auto", "--fanout", fmt.Sprint(treeFanout)}})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return nil, err
	}
	relays := (b.scale.tree + treeFanout - 1) / treeFanout // the oldest
	c, err := b.gather(ctx, LoadConfig{Path: playerPath, Audiences: audiences, Conns: b.scale.treeConns, Rate: b.scale.rate}, d.addrs()[relays:]...)
	if err != nil {
		return nil, err
	}
	defer c.end()
	if _, err := c.opened(ctx, time.Minute); err != nil {
		return nil, err
	}
	if err := c.grow(tick); err != nil {
		return nil, err
	}
	if err := c.lives(ctx, 5*tick); err != nil {
		return nil, err
	}
	below := 0
	for _, g := range d.gateways[relays:] {
		m, err := g.metrics()
		if err != nil {
			return nil, err
		}
		if m.sum("grandstand_fanout_depth", "") > 0 {
			below++
		}
	}
	if below == 0 {
		return nil, errors.New("no gateway is below a relay")
	}
	if _, err := c.mark(); err != nil {
		return nil, err
	}
	const between = 5 * tick
	for _, g := range d.gateways[:relays] {
		g.kill()
		if err := c.lives(ctx, between); err != nil {
			return nil, err
		}
	}
	s, err := c.mark()
	if err != nil {
		return nil, err
	}
	if s.Closed > 0 {
		return nil, fmt.Errorf("%d of %d sockets were closed: %s", s.Closed, s.Asked, s.Reason)
	}
	return []Row{{Key: "tree", What: fmt.Sprintf("longest gap of a viewer, %d gateways, relays killed", b.scale.tree), Value: float64(s.MaxGap) / 1000, Unit: "s", Target: (2*tick + 3*time.Second).Seconds(),
		Note: fmt.Sprintf("fanout %d, %d of %d gateways were below a relay; all %d first relays killed, one each %v; %d viewers, no socket closed.", treeFanout, below, b.scale.tree, relays, between, s.Open)}}, nil
}
