package gateway

import (
	"context"
	"sync"
	"time"

	"grandstand"
)

// moveSessions takes sessions over from other gateways until ctx ends. Several may
// do so: a session is in the hands of one (session.moving).
func (g *Gateway) moveSessions(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.movers.wake:
		}
		for batch := g.movers.take(claimBatch); len(batch) > 0; batch = g.movers.take(claimBatch) {
			if again := g.claim(ctx, batch); len(again) > 0 {
				time.AfterFunc(claimRetry, func() { g.moveAgain(again) }) // the others do not wait
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

func (g *Gateway) moveAgain(list []*session) {
	for _, s := range list {
		g.movers.add(s)
	}
}

// claim makes this gateway the owner of sessions, tells their owners before,
// and only then has them counted here. It returns the sessions for which that
// is to be tried again.
func (g *Gateway) claim(ctx context.Context, batch []due) (again []*session) {
	list := make([]*session, 0, len(batch))
	for _, d := range batch {
		if d.s.stillToMove() {
			list = append(list, d.s)
		}
	}
	again = g.claimRecords(ctx, list)

	var nobody []*session
	byOwner := map[string][]*session{}
	for _, s := range list {
		s.mu.Lock()
		switch {
		case s.asking: // it is among those to be tried again
		case s.previous == nil:
			nobody = append(nobody, s)
		default:
			byOwner[s.previous.Owner] = append(byOwner[s.previous.Owner], s)
		}
		s.mu.Unlock()
	}
	g.hold(ctx, nobody)
	return append(again, g.takeAllOver(ctx, byOwner)...)
}

// takeAllOver takes sessions over from several owners at once: many have died when
// many come. It returns those of owners that could not be told.
func (g *Gateway) takeAllOver(ctx context.Context, byOwner map[string][]*session) (again []*session) {
	var (
		mu      sync.Mutex
		callers sync.WaitGroup
	)
	for owner, list := range byOwner {
		callers.Go(func() {
			if err := g.takeOver(ctx, owner, list); err != nil {
				g.trouble("release sessions", err)
				mu.Lock()
				defer mu.Unlock()
				again = append(again, list...)
			}
		})
	}
	callers.Wait()
	return again
}

// hold counts sessions that nobody had a record of: at once, since whoever else
// has them could not count them without one, and is told so when it writes it.
// But if Redis has just lost its data, their owner may count them still by a
// record that was: it notices within holdFor that they are its no longer.
func (g *Gateway) hold(ctx context.Context, list []*session) {
	if len(list) == 0 {
		return
	}
	own := func() {
		for _, s := range list {
			s.room.own(s, nil)
		}
	}
	if g.alone.Load() || g.settled(ctx) {
		own()
	} else {
		time.AfterFunc(holdFor, own)
	}
}

// settled reports whether every gateway has written its records since Redis
// began with no data. A record that was not there before the call was not lost.
func (g *Gateway) settled(ctx context.Context) bool {
	call, cancel := g.deadline(ctx)
	defer cancel()
	at, err := g.cfg.Members.BootAt(call)
	if err != nil {
		g.trouble("read the age of the data", err)
		return false
	}
	return at > 0 && g.cfg.Clock.Now()-at > holdFor.Milliseconds()
}

// claimRecords has the sessions' records name this gateway. It returns those of
// which it is not known whether they do.
func (g *Gateway) claimRecords(ctx context.Context, all []*session) (unknown []*session) {
	var list []*session
	for _, s := range all {
		if s.toClaim() {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return nil
	}
	call, cancel := g.deadline(ctx)
	defer cancel()
	claims, err := g.cfg.Sessions.Claim(call, g.records(list))
	if err != nil {
		g.trouble("claim sessions", err)
	}
	var adopted []*session
	for i, s := range list {
		if claims[i].Gen == 0 {
			s.unanswered()
			unknown = append(unknown, s)
		} else if s.claimed(&claims[i]) {
			adopted = append(adopted, s)
		}
	}
	if len(adopted) > 0 {
		// The records must name the audience that they are counted in.
		if _, err := g.cfg.Sessions.Keep(call, g.records(adopted)); err != nil {
			g.trouble("keep session records", err)
		}
	}
	return unknown
}

// stillToMove reports whether the session is still to be taken over.
func (s *session) stillToMove() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.previous == nil && s.awayLocked() && !s.Left && !s.asking {
		// The viewer is gone again without a goodbye, and maybe on another
		// gateway by now: a claim that comes so late would take the session
		// away from where it is. Who comes back here meanwhile has it moved anew.
		s.loseLocked(s.room.g.clock.Now())
		s.moving = false
		return false
	}
	return true
}

// toClaim reports whether the session's record has to be claimed still.
func (s *session) toClaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = s.asking || s.previous == nil
	return s.previous == nil
}

// unanswered says that a claim may have been carried out all the same.
func (s *session) unanswered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsure, s.had = true, false // the session may have been to others since
}

// claimed takes the answer to a claim. It reports whether the session has adopted
// the audience that it was in.
func (s *session) claimed(c *grandstand.Claimed) (adopted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Gen, s.asking, s.unsure = c.Gen, false, false
	p := c.Previous
	if p != nil && p.Owner != s.room.g.id {
		s.previous = p
	}
	if !s.adopt || p == nil || len(p.Values) != len(s.Audience.Values) {
		return false
	}
	s.Audience = s.room.intern(p.Values)
	s.keepJoinLocked(joinChose, s.room.g.clock.Now())
	return true
}

// takeOver tells the owner before that the sessions are its no longer, and
// counts them from now on.
func (g *Gateway) takeOver(ctx context.Context, owner string, list []*session) error {
	rels := make([]grandstand.Release, len(list))
	for i, s := range list {
		s.mu.Lock()
		rels[i] = grandstand.Release{Event: s.room.name, Session: s.ID, Gen: s.previous.Gen}
		s.mu.Unlock()
	}
	call, cancel := g.deadline(ctx)
	defer cancel()
	ids, err := g.cfg.Sessions.Release(call, owner, rels)
	if err != nil {
		return err
	}
	for i, s := range list {
		s.room.own(s, &grandstand.Move{From: owner, Release: ids[i]})
		g.metrics.moves.WithLabelValues("in").Inc()
	}
	return nil
}

// own counts a claimed session from the next tick on, unless somebody has taken
// it over in turn, or it has ended meanwhile. The move, nil if nobody owned the
// session before, is listed from the same tick on.
func (r *room) own(s *session, move *grandstand.Move) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := r.g.clock.Now()
	s.keepAt = now + r.g.keepAfter()
	if move == nil {
		s.since, s.keepAt = now, 0 // as if it was opened here
	} else {
		move.Values = s.previous.Values
		move.Since, move.Moved = hadSince(s.previous, r.g.cfg.Clock.Now())
		if s.had && s.previous.ClaimedFrom == r.g.id {
			move.Moved = false // it was away for a moment: no other tally than ours counts it
		}
		s.previous = nil
		r.moves = append(r.moves, heldMove{*move, now + grandstand.LingerMS(r.event().BeatMS) + moveMarginMS})
	}
	s.own, s.moving, s.kept, s.recorded, s.doubted = owned, false, true, true, false
	s.had = true
	r.dirty.Store(true)
	switch {
	case s.Gen <= s.released:
		s.loseLocked(now)
	case s.index < 0:
		s.forgot = true
		r.g.keepers.addForget(s)
	}
}

// hadSince returns since when the owner of a record has had its session, for a
// Move, and whether it had moved there.
func hadSince(rec *grandstand.Record, now int64) (since int64, moved bool) {
	blocked := rec.Since > now+notYetMS/2
	if rec.ClaimedAt != 0 && !blocked {
		since, moved = rec.ClaimedAt, true
	} else {
		since = rec.Since
	}
	if !blocked && since > now {
		// The clock of Redis was set back since. By the times that tallies carry
		// now the owner has had it for long.
		return 0, false
	}
	return since, moved
}
