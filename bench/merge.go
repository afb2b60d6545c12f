package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// merge measures an aggregator on one core that gets the tallies of a great
// audience, all of them anew at each tick.
func (b *run) merge(ctx context.Context) ([]Row, error) {
	if b.cfg.Feed == nil {
		return nil, errors.New("nobody writes tallies here")
	}
	d, err := b.deploy(ctx, deployConfig{aggregatorEnv: []string{"GOMAXPROCS=1"}})
	if err != nil {
		return nil, err
	}
	defer d.end()
	f := b.scale.merge
	f.Redis, f.Rounds = d.redis.url, new(atomic.Int64)
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	fed := make(chan error, 1)
	go func() { fed <- b.cfg.Feed(feeding, f) }()

	if err := d.aggregator.await(ctx, time.Minute, func() error {
		select {
		case err := <-fed:
			return fmt.Errorf("write tallies: %w", err)
		default:
		}
		m, err := d.aggregator.metrics()
		if err == nil && (f.Rounds.Load() < 3 || m.sum("grandstand_aggregator_published_total", "") == 0) {
			err = errors.New("no board yet")
		}
		return err
	}); err != nil {
		return nil, err
	}
	before, err := d.use()
	if err != nil {
		return nil, err
	}
	first := f.Rounds.Load()
	profiled := b.profile(d.aggregator, "merge", b.scale.window)
	err = pause(ctx, b.scale.window)
	profiled()
	if err != nil {
		return nil, err
	}
	rounds := float64(f.Rounds.Load() - first)
	after, err := d.use()
	if err != nil {
		return nil, err
	}
	stop()
	<-fed
	if rounds == 0 {
		return nil, errors.New("no tallies were written")
	}
	_, u := after.since(before)
	b.units().MergeCPU = u.aggregator / rounds / float64(f.Gateways)
	b.units().TallyBytes = u.in / rounds / float64(f.Gateways)
	r := Row{Key: "merge", What: fmt.Sprintf("aggregator, a tick of %d gateways × %d segments", f.Gateways, FeedSegments),
		Value: u.aggregator / rounds * 1000, Unit: "ms",
		Note: fmt.Sprintf("%d viewers, every tally new at every tick, all of it included (reading Redis, decoding, estimates, publishing); one core; %.0f KB a tally, %.0f rounds.",
			f.Viewers, b.units().TallyBytes/1024, rounds)}
	if f.Gateways == scales[Full].merge.Gateways {
		r.Target = 250 // estimates cost the same for fewer gateways
	}
	return []Row{r}, nil
}
