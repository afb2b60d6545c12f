package aggregator

import (
	"context"
	"slices"

	"grandstand"
)

// emptyMS is for how long an event that nobody watches stays on the boards.
const emptyMS = 60_000

// offer is a ShardBoard on its way.
type offer struct {
	shard  *shard
	boards *grandstand.ShardBoard
	answer grandstand.Published
	err    error
}

// refresh makes the boards of the shard's events whose tick it is, and returns
// what is to be published. Nil: nothing. A shard that was just taken over has
// the boards of the events' last phases made, whenever that is.
func (a *Aggregator) refresh(m *merger, sh *shard, at int64, takeover bool) *offer {
	forced := sh.fresh
	if takeover && !forced || forced && a.unread(sh, at) {
		return nil
	}
	sh.fresh = false
	newest := int64(0) // phase that boards are offered of
	if at%a.cfg.TickMS == 0 && (sh.used || forced) {
		newest = at
	}
	outdated := map[int64]bool{} // by tick
	for _, e := range sh.list {
		phase := at - at%e.tickMS
		if phase != at && (!forced || e.board != nil && e.board.At >= phase) {
			continue
		}
		late, known := outdated[e.tickMS]
		if !known {
			late = a.outdated(sh, phase, e.tickMS)
			outdated[e.tickMS] = late
		}
		if phase != at && e.ahead(phase) {
			continue // its next phase is under way
		}
		a.count(m, e, phase, late)
		newest = max(newest, phase)
	}
	if newest == 0 {
		return nil
	}
	return a.offer(sh, newest)
}

// unread reports whether a tally of a shard that was just taken over could not
// be read. It is waited for, two ticks at most: without it there would be a dip.
func (a *Aggregator) unread(sh *shard, at int64) bool {
	if at >= sh.gainedAt+2*a.cfg.TickMS {
		return false
	}
	for _, g := range a.gateways {
		if g.refs[sh.id] != 0 && g.holdings[sh.id] == nil {
			return true
		}
	}
	return false
}

// ahead reports whether a tally is of a later tick than the phase: what it says
// must not be told as the state of the phase.
func (e *event) ahead(phase int64) bool {
	return slices.ContainsFunc(e.from, func(c *contribution) bool {
		return c.holding.asOf >= phase+grandstand.MinTickMS
	})
}

// count makes the board of an event as of at, a phase of its own whose tallies
// are here; a gateway that is late is counted as of its tick before. If nothing
// changed it is the same one with another head.
func (a *Aggregator) count(m *merger, e *event, at int64, late bool) {
	if e.ended() && !e.final {
		a.finish(e, at)
	}
	if e.final {
		if e.repeat && e.board != nil {
			e.board.At, e.repeat = at, false
			a.metrics.boards[grandstand.Final].Inc()
		}
		return
	}
	st := e.assess(at, a.readableSince+2*e.tickMS)
	overtaken := e.board != nil && at-e.board.At < 2*e.tickMS && e.ahead(at)
	if st.hold || a.torn || a.early(e, at) || overtaken {
		a.metrics.held.Inc()
		return
	}
	if late || a.refilling(e, at) {
		st.quality = grandstand.Partial
	}
	live := st.quality == grandstand.Live
	if e.changed || e.applied > 0 || live && e.unpeaked || e.board == nil {
		b := m.merge(e, at, live)
		a.metrics.merges.Inc()
		if err := e.checkUnion(); err != nil {
			a.cfg.Violated(grandstand.InvariantFans, "event", e.name, "at", at, "error", err)
		}
		if !a.addsUp(b, at) {
			if b, live, st.quality = e.board, false, grandstand.Partial; b == nil {
				return
			}
			e.changed = true
		}
		e.board = b
		e.memory.merged()
	}
	b := e.board
	b.At, b.TickMS, b.Quality, b.Coverage = at, e.tickMS, st.quality, 1
	a.metrics.boards[st.quality].Inc()
	if !live {
		b.Coverage = e.coverage(at)
	}
	switch {
	case e.world() > 0:
		e.emptyAt = 0
	case e.emptyAt == 0:
		e.emptyAt = at
	}
	if live {
		if e.lastLive.At < at {
			e.beforeIt = e.lastLive
		}
		e.lastLive = *b
		e.step(at)
	}
}

// addsUp checks the invariants of a board that was just merged, and reports
// whether its sums hold. If not it must not be published.
func (a *Aggregator) addsUp(b *grandstand.Board, at int64) bool {
	if err := b.CheckFans(); err != nil {
		a.cfg.Violated(grandstand.InvariantFans, "event", b.Event, "at", at, "error", err)
	}
	err := b.CheckSums()
	if err != nil {
		a.cfg.Violated(grandstand.InvariantSums, "event", b.Event, "at", at, "error", err)
	}
	return err == nil
}

// early reports whether it is too early for a board of the event: what it is
// configured to be is not known, or it is new here and Redis is too, so that not
// every gateway may have written yet.
func (a *Aggregator) early(e *event, at int64) bool {
	if e.cfg == nil && !e.asked {
		return true
	}
	boot := a.membership.BootAt
	return e.bornAt >= boot && at < boot+2*e.tickMS
}

// refillMS is how long gateways take to agree again on whose a session is, after
// Redis lost its data: they notice within 1.5 s, write their records in the
// second after, ask again whether they are theirs 4 s after that, at a tick, and
// count without those that are not at the next.
const refillMS = 12_000

// refilling reports whether Redis lost its data less than a beat, or refillMS,
// ago. A session that has moved around that time may be counted where it was
// before as well: no record says whose it is until everybody has written again.
func (a *Aggregator) refilling(e *event, at int64) bool {
	if !a.lost {
		return false
	}
	wait := int64(refillMS)
	if e.cfg != nil {
		wait = max(wait, e.cfg.BeatMS)
	}
	return at < a.membership.BootAt+wait
}

// shown reports whether the event is on the boards.
func (e *event) shown(at int64) bool {
	return e.board != nil && (e.emptyAt == 0 || at-e.emptyAt < emptyMS)
}

// poisonedMS is from how far ahead of now a stored board, which was not ahead when
// it was taken, is of another time: the clock was set back. It is replaced rather
// than respected.
const poisonedMS = 2_000

// offer puts the boards of a shard together. Nil: there is nothing new, or a
// newer one is known.
func (a *Aggregator) offer(sh *shard, at int64) *offer {
	epoch := max(sh.epoch, a.epoch)
	switch ahead := sh.at - at; {
	case ahead < 0:
	case sh.boot != a.membership.Boot:
		epoch++ // the data and with it the clock were lost
	case ahead < poisonedMS:
		return nil
	}
	sb := &grandstand.ShardBoard{Shard: sh.id, At: at, Epoch: epoch}
	for _, e := range sh.list {
		// A board that is held, or not due yet, may be of before the clock was set
		// back: in the new epoch it would stand in front of all that come until then.
		if e.shown(at) && e.board.At <= at {
			e.board.Epoch = epoch
			sb.Boards = append(sb.Boards, e.board)
		}
	}
	if len(sb.Boards) == 0 && !sh.used {
		return nil
	}
	return &offer{shard: sh, boards: sb}
}

// publish offers the boards, and takes what comes of it. Refused ones are
// forgotten: somebody else has published newer ones, whose numbers are read at
// the next tick.
func (a *Aggregator) publish(ctx context.Context, offers []*offer) {
	parallel(len(offers), 16, func(i int) {
		ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		offers[i].answer, offers[i].err = a.cfg.Boards.Publish(ctx, offers[i].boards)
	})
	for _, o := range offers {
		switch {
		case o.err != nil:
			a.trouble("publish boards", o.err)
			continue
		case o.answer.Refused == "":
			a.metrics.published.Inc()
			a.metrics.boardAge.Observe(float64(max(a.cfg.Clock.Now()-o.boards.At, 0)) / 1000)
			o.shard.used = true
		default:
			a.metrics.refused.WithLabelValues(o.answer.Refused).Inc()
			o.shard.adopt = o.answer.Refused == "old"
		}
		if o.answer.Epoch > 0 {
			o.shard.epoch, o.shard.at, o.shard.boot = o.answer.Epoch, o.answer.At, a.membership.Boot
		}
	}
}
