package gateway

import (
	"context"
	"slices"
	"time"

	"grandstand"
)

// maxConflicts bounds the rivals that a viewer is shown, so that the message
// stays within maxPending whatever their names are. A takeover names no more.
const maxConflicts = grandstand.MaxTakeover

// How long a blocked viewer is told to wait before it asks again, in ms.
const (
	leastBlockedMS = 1_000
	mostBlockedMS  = 30_000
	usualBlockedMS = 5_000 // if nobody knows when a place becomes free
)

// refusalLocked returns what the viewer is told of a verdict.
func (s *session) refusalLocked(v *grandstand.Verdict) *grandstand.Refusal {
	retry := int64(usualBlockedMS)
	switch {
	case v.Code == grandstand.BlockUnavailable:
		retry = leastBlockedMS
	case v.FreeAt > 0:
		retry = min(max(v.FreeAt-v.Now, leastBlockedMS), mostBlockedMS)
	}
	r := v.Refusal(s.room.g.leaser.key, s.lease.account, retry)
	if len(r.Conflicts) > maxConflicts {
		r.Conflicts = r.Conflicts[:maxConflicts]
	}
	return &r
}

// sameRefusal reports whether two refusals say the same to a viewer. When a
// rival beat last, and when to ask again, is different each time.
func sameRefusal(a, b *grandstand.Refusal) bool {
	return a != nil && b != nil && a.Code == b.Code && a.Message == b.Message && a.Rule == b.Rule && a.Current == b.Current &&
		slices.EqualFunc(a.Conflicts, b.Conflicts, func(x, y grandstand.Conflict) bool {
			return x.TerminationCode == y.TerminationCode && x.Event == y.Event
		})
}

// refuseLocked stops the session from playing, and tells its sockets if that is
// new, or if the viewer waits for it. It is not counted from the next tick on.
func (s *session) refuseLocked(v *grandstand.Verdict, insisted bool) {
	l := s.lease
	r := s.refusalLocked(v)
	same := sameRefusal(l.refusal, r)
	told := same && !insisted
	if l.refusal = r; !same {
		s.keepVerdictLocked(v)
	}
	if s.Blocked = true; !s.counted {
		s.keepAt = 0 // the record is to say that it is not (recordLocked)
	}
	if !told {
		s.tellLocked(blockedMessage(r))
	}
}

// allowLocked lets the session play, and tells its sockets if they heard
// otherwise.
func (s *session) allowLocked() {
	r := s.lease.refusal
	s.lease.refusal, s.Blocked = nil, false
	if r == nil {
		return
	}
	if s.lease.standing == free {
		s.keepVerdictLocked(&grandstand.Verdict{Allowed: true}) // of no rule
	}
	// As if it was opened now: it counts once its record says so.
	s.since, s.recorded = s.room.g.clock.Now(), false
	s.room.g.keepers.add(s)
	s.tellLocked(unblockedMessage)
}

// tellLocked sends a complete frame to the session's sockets, but for those that
// have not been greeted yet. They are told by greet.
func (s *session) tellLocked(frame []byte) {
	for c := s.sockets; c != nil; c = c.older {
		if c.greeted {
			c.w.send(frame)
		}
	}
}

// greeted has the socket told from now on, and at once if the session is
// blocked.
func (s *session) greeted(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.greeted = true
	if s.lease != nil && s.lease.refusal != nil {
		c.w.send(blockedMessage(s.lease.refusal))
	}
}

var unblockedMessage = appendText(nil, grandstand.AppendUnblocked(nil))

func blockedMessage(r *grandstand.Refusal) []byte {
	return appendText(nil, grandstand.AppendBlocked(nil, r))
}

// verdict is what a player without a WebSocket is told of its lease.
type verdict struct {
	Status string `json:"status"` // "allowed" or "blocked"
	*grandstand.Refusal
}

// verdict returns what holds for the session. The first time it waits for an
// answer, later it is from memory.
func (s *session) verdict(ctx context.Context) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease
	if l == nil {
		return verdict{Status: "allowed"}
	}
	if l.standing == unheard && !s.Left && s.own != lost {
		s.awaitAnswerLocked(ctx)
	}
	if l.standing == unheard && s.room.g.leaser.rules().OnOutage == grandstand.OutageDeny {
		return verdict{"blocked", s.refusalLocked(&grandstand.Verdict{Code: grandstand.BlockUnavailable})}
	}
	if l.standing == refused {
		return verdict{"blocked", l.refusal}
	}
	return verdict{Status: "allowed"}
}

// awaitAnswerLocked waits for the next answer, with the lock released.
func (s *session) awaitAnswerLocked(ctx context.Context) {
	l := s.lease
	if l.heard == nil {
		l.heard = make(chan struct{})
	}
	heard := l.heard
	s.mu.Unlock()
	defer s.mu.Lock()
	patience := time.NewTimer(2 * leaseTimeout) // one call may be under way already
	defer patience.Stop()
	select {
	case <-heard:
	case <-ctx.Done():
	case <-patience.C:
	}
}
