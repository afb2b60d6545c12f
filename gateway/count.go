package gateway

import (
	"grandstand"
)

// scan goes over a room's sessions as they are at now. It reports whether the
// room's tally changed, notes which sessions are counted, lets go of those that
// ended, closes what is silent or expired, and queues what is due in Redis.
func (r *room) scan(now int64) (changed bool) {
	var ends []ending
	wall := r.g.cfg.Now().UnixMilli()
	r.mu.Lock()
	clear(r.blocked)
	changed = r.dirty.Swap(false)
	for i := len(r.list) - 1; i >= 0; i-- { // backwards: removing moves the last one here
		s := r.list[i]
		s.mu.Lock()
		s.straightenLocked(now)
		// One without a record is not counted: nobody who took it over would
		// know that this gateway's tally has it. Nor is one that came after the
		// tally's time: whoever took it over would know that it is not there.
		counted := s.own == owned && s.recorded && s.since <= now && s.declared == nil && s.Watching(now)
		if counted != s.counted {
			if s.counted, changed = counted, true; s.Blocked {
				s.keepAt = 0 // the record is to say that it is not counted
			}
		}
		if rule, is := s.blockedByLocked(); is {
			r.blocked[rule]++
		}
		ends = s.dueSocketsLocked(ends, now, wall)
		r.dueLocked(s, now)
		s.mu.Unlock()
	}
	kept := r.moves[:0]
	for _, m := range r.moves {
		if m.until > now {
			kept = append(kept, m)
		}
	}
	if len(kept) != len(r.moves) {
		clear(r.moves[len(kept):])
		r.moves, changed = kept, true
	}
	r.listed = len(r.moves)
	r.mu.Unlock()
	for _, e := range ends {
		e.do(r.g)
	}
	return changed
}

// dueLocked lets go of a session that has ended, and queues what is due for its
// record. The caller holds both locks.
func (r *room) dueLocked(s *session, now int64) {
	if s.Left != s.forgot {
		// It left since the last tick, or came back.
		s.forgot, s.keepAt = s.Left, 0
		if s.Left && s.own == owned {
			r.g.keepers.addForget(s)
			r.g.metrics.leaves.WithLabelValues("explicit").Inc()
		}
	}
	gone := now >= s.Deadline() || s.Left && s.sockets == nil && !s.partingLocked()
	switch {
	case gone && s.own == claiming && now < s.Deadline()+claimPatienceMS:
		// Its old owner must be told first.
	case gone:
		if !s.forgot {
			r.g.metrics.leaves.WithLabelValues("lapsed").Inc()
			if s.forgot = true; s.own == owned {
				r.g.keepers.addForget(s)
			}
		}
		s.keepLeaveLocked(leaveLapsed, now)
		r.removeLocked(s, now)
	case s.Left || s.own == claiming || now < s.keepAt:
	case s.own == lost && (s.BeatAt <= s.lostAt || s.awayLocked()):
		// Whoever has it now has it for good, as far as we know: a beat that came
		// late, on a socket that is closed since, does not say otherwise.
	default:
		s.keepAt = now + r.g.keepAfter()
		r.g.keepers.add(s)
	}
}

// claimPatienceMS is for how long the claim of a session that has lapsed
// meanwhile is waited for.
const claimPatienceMS = 60_000

// ending is something that a scan found due for a socket.
type ending struct {
	c    *conn
	code closeCode // 0: ask for a new token
}

func (e ending) do(g *Gateway) {
	if e.code != 0 {
		e.c.w.close(e.code)
		return
	}
	e.c.w.send(renewMessage)
}

var renewMessage = appendText(nil, grandstand.AppendRenew(nil))

// dueSocketsLocked appends what is due for the session's sockets. Tokens end at
// wall, by the clock that they are let in by: by another, whoever was closed would
// be let in and closed again.
func (s *session) dueSocketsLocked(ends []ending, now, wall int64) []ending {
	for c := s.sockets; c != nil; c = c.older {
		switch {
		case now >= c.beatAt+grandstand.LingerMS(s.IntervalMS), now >= s.Deadline(): // the session goes now, and nobody would look at its sockets again
			ends = append(ends, ending{c, closeSilent})
		case c.expires != 0 && wall >= c.expires:
			ends = append(ends, ending{c, closeExpired})
		case c.renewAt != 0 && wall >= c.renewAt:
			c.askAgainLocked(wall)
			ends = append(ends, ending{c, 0})
		}
	}
	return ends
}

// build returns the room's tally of the sessions that the last scan counted,
// with the moves that there were then: one that came since would be taken off its
// old owner's tally while its session is not in this one yet.
func (r *room) build(t *grandstand.Tallier) *grandstand.Tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Reset(len(r.auds.Segments()))
	for _, s := range r.list {
		if s.counted {
			t.Add(s.audience(), s.Viewer.Hash())
		}
	}
	var moves []grandstand.Move
	for _, m := range r.moves[:r.listed] {
		moves = append(moves, m.Move)
	}
	return t.Build(r.event(), r.auds.Segments(), moves)
}

// idle reports whether the room has had no sessions for so long that it can go.
// If so, nobody can join it any more.
func (r *room) idle(now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.idleAt != 0 && now-r.idleAt >= roomIdleMS && len(r.moves) == 0 {
		r.gone = true
	}
	return r.gone
}
