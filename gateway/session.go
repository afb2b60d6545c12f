package gateway

import (
	"maps"
	"sync"

	"grandstand"
	"grandstand/gateway/journal"
)

// ownership says whether this gateway is the one to count a session.
//
//	   new ──────────────▶ owned ◀──── Keep wrote the record ────┐
//	                         │                                   │
//	resumed ─▶ claiming ─────┤ a release came, or Keep said so   │
//	   ▲    claimed,         ▼                                   │
//	   │    released        lost ── still beats: Keep every 5 s ─┘
//	   └─────────────────────┘
//	     a new socket, or it goes on beating here
type ownership uint8

const (
	owned    ownership = iota
	claiming           // Redis is being asked; not counted yet
	lost               // another gateway's; its sockets here stay, it is not counted
)

// session is one play of one event. Its mu guards all fields but the first.
type session struct {
	room *room // static

	mu sync.Mutex
	grandstand.Session
	own      ownership
	released uint64             // the highest generation that a release list named
	moving   bool               // in the hands of moveSessions
	asking   bool               // a claim was sent, and may have been carried out
	unsure   bool               // and was not answered
	previous *grandstand.Record // whom to tell that the session is ours now; nil: nobody
	lostAt   int64              // ms at which own became lost
	keepAt   int64              // ms at which its record is to be written again
	kept     bool               // its record has been in Redis, as far as we know
	recorded bool               // its record was in Redis once; before, it is not counted
	had      bool               // it was owned here once: our tallies tell from whom it came
	since    int64              // ms from which on it has been here; 0: it moved here
	confirm  bool               // Keep is to be asked again soon: Redis lost its data
	doubted  bool               // Keep has said once that it is somebody else's
	asked    int                // how often Keep has said so since it was lost
	patience int                // how often it may say so before the session is claimed
	forgot   bool               // its record was removed
	sockets  *conn              // the newest first
	socketed bool               // it had a socket, and has not beaten by REST since
	rate     bucket             // of REST beats
	adopt    bool               // if it moves here, it keeps the audience it had
	lease    *leasing           // nil: nobody pays for it, it needs none
	declared map[string]string  // not nil: the registry did not answer; to be folded again before it is counted
	written  written            // to the journal

	// guarded by room.mu, changed by the ticker with mu held too
	counted bool
	index   int // in room.list; -1: not there any more
}

// notYetMS is how far ahead the record of a blocked session sets its beginning:
// no tally counts it, so nothing is taken off one when it moves.
const notYetMS = 365 * 24 * 3600 * 1000

// recordLocked returns the session's record as of now.
func (s *session) recordLocked(owner string) grandstand.Record {
	rec := grandstand.Record{
		Event:   s.room.name,
		Session: s.ID,
		Owner:   owner,
		Gen:     s.Gen,
		Values:  s.Audience.Values,
		Since:   s.since,
		Asked:   s.unsure,
	}
	if !s.counted && s.lease != nil && s.lease.refusal != nil {
		rec.Since = s.room.g.clock.Now() + notYetMS
	}
	return rec
}

// loseLocked stops counting the session until it is won back.
func (s *session) loseLocked(now int64) {
	s.own, s.lostAt, s.keepAt, s.asked = lost, now, now+retryLostMS, 0
	s.patience = max(s.patience, leastPatience)
	s.keepLeaveLocked(leaveMoved, now)
}

// A session that goes on beating here though its record names another gateway
// is claimed back after a while: that gateway may have died, or claimed it for
// a socket that was gone already. Should the viewer really watch through both,
// each time takes twice as long.
const leastPatience, mostPatience = 2, 64

// reclaimLocked has a session that was lost claimed, if it is time.
func (s *session) reclaimLocked() {
	if s.asked++; s.asked < s.patience || s.moving {
		return
	}
	s.own, s.moving = claiming, true
	s.patience = min(2*s.patience, mostPatience)
	s.room.g.movers.add(s)
}

// take takes a beat or an event of the socket c, nil for REST. w, unless nil, is
// told when it is durable. The error says that it is not kept.
func (s *session) take(c *conn, m *grandstand.Message, now int64, w journal.Waiter) error {
	if len(m.Trace) > 0 {
		return s.takeTraced(c, m, now, w)
	}
	return s.takeOne(c, m, now, w)
}

// takeTraced is take for a message that names a trace.
func (s *session) takeTraced(c *conn, m *grandstand.Message, now int64, w journal.Waiter) error {
	g := s.room.g
	t := g.traceMessage(s.room.name, m, now, w)
	if t == nil {
		return s.takeOne(c, m, now, w)
	}
	err := s.takeOne(c, m, now, t)
	if err != nil || g.cfg.Journal == nil {
		endSpan(t.span, err) // nobody will say that it is durable
	}
	return err
}

func (s *session) takeOne(c *conn, m *grandstand.Message, now int64, w journal.Waiter) error {
	if m.Type == grandstand.MsgBeat {
		return s.beat(c, m, now, w)
	}
	return s.keepEvent(m, now, w)
}

// beat renews the session, whether the beat is kept or not. See take.
func (s *session) beat(c *conn, m *grandstand.Message, now int64, w journal.Waiter) error {
	e := s.room.event()
	var interval int64
	if m.IntervalMS != 0 {
		interval = grandstand.ClampInterval(m.IntervalMS, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.Left
	s.Renew(now, m.State, interval)
	if c != nil {
		c.beatAt = now
	} else {
		s.socketed = false
	}
	err := s.keepMessageLocked(m, now, w)
	if s.Left && !left {
		s.keepLeaveLocked(leaveEnded, now)
	}
	s.beatLeaseLocked(left)
	return err
}

// leave ends the session as of the next tick.
func (s *session) leave(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Leave()
	s.keepLeaveLocked(how, s.room.g.clock.Now())
	s.partLocked(0)
}

// add makes c the session's newest socket.
func (s *session) add(c *conn) {
	s.mu.Lock()
	c.older, s.sockets, s.socketed = s.sockets, c, true
	s.mu.Unlock()
}

// remove takes a socket that is closed away. If the viewer closed it on
// purpose, and it was the last one, the session ends.
func (s *session) remove(c *conn, onPurpose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := &s.sockets; *at != nil; at = &(*at).older {
		if *at == c {
			*at = c.older
			break
		}
	}
	if s.sockets != nil {
		return
	}
	if s.lease != nil {
		s.lease.cut = true
	}
	if onPurpose {
		s.Leave()
		s.keepLeaveLocked(leaveClosed, s.room.g.clock.Now())
		if s.room.g.state.Load() == phaseRunning { // in a drain it only goes elsewhere
			s.partLocked(movedGraceMS)
		}
	}
}

// awayLocked reports whether the viewer watched by sockets, and has none here.
func (s *session) awayLocked() bool { return s.socketed && s.sockets == nil }

// audience returns the session's audience.
func (s *session) audience() *grandstand.Audience {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Audience
}

// declaredNow returns what the session declared, as far as it is known still:
// a value that was not admitted is "other".
func (s *session) declaredNow() map[string]string {
	e := s.room.event()
	s.mu.Lock()
	defer s.mu.Unlock()
	declared := make(map[string]string, len(e.Dims))
	for i, d := range e.Dims {
		declared[d.Name] = s.Audience.Values[i]
	}
	maps.Copy(declared, s.declared)
	return declared
}

// refold puts the session into another audience. What it declared is kept only
// if it has to be folded once more.
func (s *session) refold(a *grandstand.Audience, declared map[string]string) {
	s.mu.Lock()
	changed := s.Audience != a
	s.Audience, s.declared = a, declared
	if changed {
		s.keepAt = 0 // whoever takes the session over must know where it is counted
		s.keepJoinLocked(joinChose, s.room.g.clock.Now())
	}
	s.mu.Unlock()
	if changed {
		s.room.dirty.Store(true)
	}
}
