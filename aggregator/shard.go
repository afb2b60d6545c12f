package aggregator

import (
	"context"
	"slices"

	"grandstand"
)

// shard is one shard of the boards.
type shard struct {
	id    int
	held  bool
	adopt bool // held, but the board that is there must be read first

	// Between the takeover and the first boards of it:
	reload   bool  // what is remembered of its events may be old
	fresh    bool  // its events' last phases are due, if nobody has published them
	gainedAt int64 // ms

	events map[string]*event
	list   []*event // by name

	used      bool   // a board of it was published at some time, by anybody
	epoch, at int64  // of the newest board known
	boot      string // of the data set that it was published in
}

// leaseMS is how long the shards are held after the last renewal, with a margin
// below the lease in Redis.
const leaseMS = 3_500

// renew renews the leases, at full seconds the membership too, and takes what
// comes of it.
func (a *Aggregator) renew(ctx context.Context, phase int64) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	var held []int
	var ms grandstand.Membership
	var heldErr, msErr error
	member := phase%1000 == 0 || a.membership.Now == 0
	parallel(2, 2, func(i int) {
		switch {
		case i == 0:
			held, heldErr = a.cfg.Leases.HoldShards(ctx, a.cfg.ID)
		case member:
			ms, msErr = a.cfg.Members.Renew(ctx, grandstand.Member{ID: a.cfg.ID, Role: grandstand.RoleAggregator, Peer: a.cfg.Peer})
		}
	})
	now := a.cfg.Clock.Now()
	if heldErr != nil {
		a.trouble("hold shards", heldErr)
	} else {
		a.hold(held, now)
	}
	if msErr != nil {
		a.trouble("renew membership", msErr)
	} else if member {
		a.join(ms)
	}
}

// hold takes the list of shards held from now on. After a pause in which the
// leases ran out even those that are still held may have been somebody else's.
func (a *Aggregator) hold(shards []int, now int64) {
	lapsed := a.heldAt != 0 && (now-a.heldAt > leaseMS || now < a.heldAt)
	a.heldAt = now
	for i := range a.shards {
		sh := &a.shards[i]
		held := slices.Contains(shards, i)
		switch {
		case held && (!sh.held || lapsed):
			sh.adopt, sh.reload, sh.fresh, sh.gainedAt = true, true, true, now
		case !held && sh.held:
			a.lose(sh)
		}
		sh.held = held
	}
	a.metrics.shards.Set(float64(len(shards)))
}

// lose forgets a shard that somebody else has now. What is not saved of its
// events is saved yet: it merges with whatever the other saves.
func (a *Aggregator) lose(sh *shard) {
	a.parting = append(a.parting, sh.list...)
	*sh = shard{id: sh.id, events: map[string]*event{}}
	for _, g := range a.gateways {
		g.holdings[sh.id] = nil
	}
}

// join takes a membership. A data set that was lost is filled again with what
// is known here.
func (a *Aggregator) join(ms grandstand.Membership) {
	lost := a.membership.Boot != "" && ms.Boot != a.membership.Boot
	if lost || ms.EventsVersion != a.membership.EventsVersion {
		a.configs.outdated = true
	}
	a.membership, a.lost = ms, a.lost || lost
	a.enlist(ms)
	if !lost {
		return
	}
	a.cfg.Logger.Warn("the data in Redis was lost: write again what is known", "boot_at", ms.BootAt)
	a.recordAt = [grandstand.Shards]int64{}
	for _, g := range a.gateways {
		for _, h := range g.holdings {
			if h != nil {
				h.lostAt, h.lostUpTo = ms.BootAt, h.upTo
			}
		}
	}
	for i := range a.shards {
		for _, e := range a.shards[i].list {
			e.memory.writeAgain(e)
		}
	}
}

// adopting reports whether shards wait to be worked on.
func (a *Aggregator) adopting() bool {
	return slices.ContainsFunc(a.shards[:], func(sh shard) bool { return sh.held && sh.adopt })
}

// adopt reads the last boards of shards that were taken over: what they say of
// peak and reach holds until more is known.
func (a *Aggregator) adopt(ctx context.Context, at int64) {
	var todo []*shard
	for i := range a.shards {
		if sh := &a.shards[i]; sh.held && sh.adopt {
			todo = append(todo, sh)
		}
	}
	boards := make([]*grandstand.ShardBoard, len(todo))
	errs := make([]error, len(todo))
	parallel(len(todo), 16, func(i int) {
		ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		boards[i], errs[i] = a.cfg.Boards.LastBoard(ctx, todo[i].id)
	})
	for i, sh := range todo {
		if errs[i] != nil {
			a.trouble("read last board", errs[i])
			continue
		}
		sh.adopt = false
		for _, e := range sh.list {
			if sh.reload {
				e.memory.reload()
			}
		}
		sh.reload = false
		if sb := boards[i]; sb != nil {
			a.inherit(sh, sb, at)
		}
	}
}

// inherit takes over what the last boards of a shard say.
func (a *Aggregator) inherit(sh *shard, sb *grandstand.ShardBoard, at int64) {
	sh.used = true
	if grandstand.NewerThan(sb.Epoch, sb.At, sh.epoch, sh.at) {
		sh.epoch, sh.at, sh.boot = sb.Epoch, sb.At, a.membership.Boot
	}
	for _, b := range sb.Boards {
		if e := a.eventOf(sh, b.Event, at); e != nil && !e.final {
			e.inherit(b)
		}
	}
}

// inherit takes over peak and reach from the event's last board. The board
// itself stands until there is a better one.
func (e *event) inherit(b *grandstand.Board) {
	if e.board == nil {
		e.board = b
		e.setTick(b.TickMS)
	}
	for i := range b.Segments {
		c := &b.Segments[i]
		s := &e.segs[e.slot(c.Segment)]
		if c.Peak > s.peak {
			s.peak, s.peakAt = c.Peak, b.At
		}
		s.reachFloor = max(s.reachFloor, c.Reach)
	}
	for i := range b.Public {
		c := &b.Public[i]
		e.publicPeak[c.Segment.Dim] = max(e.publicPeak[c.Segment.Dim], c.Peak)
		e.publicReach[c.Segment.Dim] = max(e.publicReach[c.Segment.Dim], c.Reach)
	}
	e.changed = true
}

// drop removes an event that nobody needs here any more.
func (sh *shard) drop(e *event) {
	delete(sh.events, e.name)
	sh.list = slices.DeleteFunc(sh.list, func(o *event) bool { return o == e })
}
