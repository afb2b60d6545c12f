package gateway

import (
	"context"
	"math/rand/v2"
	"time"

	"grandstand"
)

// Close shuts the gateway down: it takes nobody new, sends the viewers to other
// gateways one after another over DrainOver, closes whoever is left with 1012,
// writes a last tally that goes on to count those who have not come back yet,
// and gives up the lease. It waits for all of that, or until ctx ends; then
// what is left is cut short. Run returns. It may be called more than once.
func (g *Gateway) Close(ctx context.Context) error {
	if g.state.CompareAndSwap(phaseNew, phaseClosed) {
		return nil
	}
	if !g.state.CompareAndSwap(phaseRunning, phaseDraining) {
		select {
		case <-g.ended:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	close(g.closing)
	g.drainSockets(ctx)
	close(g.closed) // the loops end: last records, last tally
	<-g.ended

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.RedisTimeout)
	defer cancel()
	if err := g.cfg.Members.Resign(last, g.id); err != nil {
		g.trouble("resign", err)
	}
	return ctx.Err()
}

const drainSteps = 50 // in which viewers are told to go

// drainSockets tells every viewer when to connect again, paced and jittered, so
// that the gateways which take them over are not flooded.
func (g *Gateway) drainSockets(ctx context.Context) {
	var all []*conn
	for _, r := range g.allRooms() {
		all = append(all, r.sockets()...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	// Half of the time is for telling them, a quarter for the last to go, the
	// rest for close frames to be answered.
	step := g.cfg.DrainOver / 2 / drainSteps
	wait := step.Milliseconds()
	for i := range drainSteps {
		for _, c := range all[i*len(all)/drainSteps : (i+1)*len(all)/drainSteps] {
			retry := 1 + rand.Int64N(max(g.cfg.DrainOver.Milliseconds()/4, 1))
			c.w.send(appendText(nil, grandstand.AppendDrain(nil, retry)))
		}
		if g.conns.Load() > 0 && !pause(ctx, time.Duration(wait)*time.Millisecond) {
			break
		}
	}
	until := time.Now().Add(g.cfg.DrainOver / 4)
	for g.conns.Load() > 0 && time.Now().Before(until) && pause(ctx, 20*time.Millisecond) {
	}
	g.hangUp(closeRestart)
	until = time.Now().Add(min(closeGrace, g.cfg.DrainOver/4))
	for g.conns.Load() > 0 && time.Now().Before(until) && pause(ctx, 20*time.Millisecond) {
	}
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
