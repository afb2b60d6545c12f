package simulator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Run lets a crowd loose on the gateways until cfg.Duration has passed, waits
// until it is quiet for the final verdict, and has everybody leave. It returns
// what was seen. Violations are in the Report and not an error; an error with
// CodeInvalid or CodeForbidden is about cfg. If ctx ends early the crowd leaves
// at once: the Report covers what was, and the error is ctx's.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	targets, err := cfg.targets()
	if err != nil {
		return nil, err
	}
	// Players outlive ctx: they leave by order, so that the truth knows how.
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	c := newCrowd(life, cfg, targets)
	started, cpu := time.Now(), cpuSeconds()

	var helpers, lanes sync.WaitGroup
	stopped := make(chan struct{})
	helpers.Go(func() { c.audit.run(stopped) })
	reading, stopReading := context.WithCancel(life)
	helpers.Go(func() { newOperator(c).run(reading) })
	looking, stopLooking := context.WithCancel(life)
	defer stopLooking()
	helpers.Go(func() { c.keepLooking(looking) })
	probing, stopProbing := context.WithCancel(ctx)
	for i := range cfg.Probes {
		lanes.Go(func() { newLane(c, i).run(probing) })
	}

	c.play(ctx)
	stopProbing()
	lanes.Wait()
	if ctx.Err() == nil && !cfg.Shared {
		c.quiet(ctx)
	}
	full := c.size()
	stopLooking()
	c.goHome(ctx, kill)
	stopReading()
	close(stopped)
	helpers.Wait()
	c.audit.close()
	if err := c.acked.close(); err != nil {
		return nil, fmt.Errorf("write what is acknowledged: %w", err)
	}

	r := c.report(started)
	r.AtTheEnd = full
	r.CPUSeconds = cpuSeconds() - cpu
	return r, ctx.Err()
}
