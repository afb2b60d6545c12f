package gateway

import (
	"context"
	"time"

	"grandstand"
)

// memberEvery is how often the lease of 5 s that a member holds is renewed.
const memberEvery = 1500 * time.Millisecond

// keepMember renews the gateway's lease as a member until ctx ends, and does
// what the answer asks for.
func (g *Gateway) keepMember(ctx context.Context) {
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	var version int64
	for {
		version = g.renewMember(ctx, version)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renewMember returns the version of the events that is known from now on.
func (g *Gateway) renewMember(ctx context.Context, version int64) int64 {
	call, cancel := g.deadline(ctx)
	defer cancel()
	ms, err := g.cfg.Members.Renew(call, grandstand.Member{ID: g.id, Role: grandstand.RoleGateway, Peer: g.cfg.Peer})
	if err != nil {
		g.trouble("renew lease", err)
		return version
	}
	g.renewed.Store(max(ms.Now, 1))
	gateways := 0
	for _, m := range ms.Members {
		if m.Role == grandstand.RoleGateway && m.Alive {
			gateways++
		}
	}
	g.crowded.Store(gateways > spreadAbove)
	g.alone.Store(gateways <= 1)

	g.mu.Lock()
	before := g.boot
	g.boot = ms.Boot
	g.mu.Unlock()
	if before != "" && before != ms.Boot {
		g.log.Warn("Redis lost data: all that is known here is written again")
		if g.leaser != nil {
			g.leaser.lookAtAll() // who plays has its place back before a newcomer
		}
		g.writeAgain(ctx)
		version = 0
	}
	if ms.EventsVersion == version {
		return version
	}
	if err := g.catalog.reload(ctx); err != nil {
		g.trouble("reload events", err)
		return version
	}
	return ms.EventsVersion
}

// writeAgain has everything written that only Redis kept: the next tick writes
// all tallies, and this the rest.
func (g *Gateway) writeAgain(ctx context.Context) {
	now := g.clock.Now()
	for _, r := range g.allRooms() {
		r.mu.Lock()
		for _, s := range r.list {
			s.mu.Lock()
			// Owners at once; who is not one waits until they have written.
			s.kept = false
			if s.own == lost {
				s.keepAt = now + 2*retryLostMS
			} else {
				s.confirm, s.keepAt = true, now+g.keepAfter()
				g.keepers.add(s)
			}
			s.mu.Unlock()
		}
		r.mu.Unlock()
	}
	for _, r := range g.allRooms() {
		g.putAgain(ctx, r.event())
		call, cancel := g.deadline(ctx)
		r.admitAgain(call)
		cancel()
	}
	// Nobody watches the others yet: they can wait, the lease cannot.
	g.spawn(func() {
		for _, e := range g.catalog.all() {
			if ctx.Err() != nil || g.roomOf(e.Name) == nil && !g.putAgain(ctx, e) {
				return
			}
		}
	})
}

// putAgain writes an event as it is known here, unless a later one is there. It
// reports false if Redis does not answer.
func (g *Gateway) putAgain(ctx context.Context, e *grandstand.Event) bool {
	call, cancel := g.deadline(ctx)
	defer cancel()
	own := *e // others read e
	if err := g.cfg.Events.PutEvent(call, &own); err != nil {
		g.trouble("write event again", err)
		return false
	}
	return true
}
