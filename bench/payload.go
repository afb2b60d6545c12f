package bench

import (
	"context"
	"fmt"
	"time"
)

// payloadViewers watch each event whose bytes are counted.
const payloadViewers = 400

// payload counts the bytes of three events at the same time: one where all
// numbers of its audience move at each tick, in both protocols, and one where
// nothing moves.
func (b *run) payload(ctx context.Context) ([]Row, error) {
	d, err := b.deploy(ctx, deployConfig{gateways: 1})
	if err != nil {
		return nil, err
	}
	defer d.end()
	const compact = "grandstand.v1.bin"
	kinds := []struct {
		key, what, protocol string
		moving              bool
		target              float64
		crowd               *crowd
		open                *LoadStats
	}{
		{key: "payload", what: "payload of a viewer per minute, JSON", protocol: "grandstand.v1", moving: true, target: 5},
		{key: "payload-bin", what: "payload of a viewer per minute, compact", protocol: compact + ", grandstand.v1", moving: true, target: 1.5},
		{key: "payload-quiet", what: "payload per minute when nothing moves", protocol: "grandstand.v1", target: 0.5},
	}
	for i := range kinds {
		k := &kinds[i]
		if err := d.put(k.key, benchEvent, ""); err != nil {
			return nil, err
		}
		path := "/v1/events/" + k.key + "/live?viewer=v{i}&device=d{i}&country=US&region=US-CA&team=KC&interval_ms=60000"
		if k.crowd, err = b.gather(ctx, LoadConfig{Path: path, Conns: payloadViewers, Rate: 1000, Protocol: k.protocol}, d.gateways[0].addr); err != nil {
			return nil, err
		}
		defer k.crowd.end()
	}
	for i := range kinds {
		k := &kinds[i]
		if k.open, err = k.crowd.opened(ctx, time.Minute); err != nil {
			return nil, err
		}
		if k.moving {
			if err := k.crowd.grow(tick); err != nil {
				return nil, err
			}
		}
	}
	if err := pause(ctx, b.scale.settle+2*tick); err != nil { // until all have joined and been shown it
		return nil, err
	}
	for i := range kinds {
		if kinds[i].open, err = kinds[i].crowd.mark(); err != nil {
			return nil, err
		}
	}
	begin := time.Now()
	if err := kinds[0].crowd.lives(ctx, b.scale.payload); err != nil {
		return nil, err
	}
	var rows []Row
	for i := range kinds {
		k := &kinds[i]
		s, err := k.crowd.mark()
		if err != nil {
			return nil, err
		}
		r := Row{Key: k.key, What: k.what, Unit: "KB", Target: k.target, Guarded: true,
			Value: float64(s.Bytes) / float64(k.open.Open+s.Open) * 2 / 1024 / time.Since(begin).Minutes(),
			Note:  fmt.Sprintf("4 segments, tick %v, %d viewers; %.1f bytes a message.", tick, payloadViewers, float64(s.Bytes)/float64(max(s.Frames, 1)))}
		if k.key == "payload-bin" && s.Protocol != compact {
			r.Missing = "the gateway does not offer " + compact
		}
		rows = append(rows, r)
	}
	return rows, nil
}
