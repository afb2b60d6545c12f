package gateway

import (
	"math/rand/v2"

	"grandstand"
)

// payer is whose streams a session counts among, and what its token says of
// them.
type payer struct {
	account grandstand.Key // by grandstand.AccountsKey; zero: nobody pays
	device  grandstand.Key // zero: the session stands for the device
	address grandstand.Key // zero: not known
	name    string         // of the device
	plan    string
	limit   int
}

// standing says whether a session may play.
//
//	              a verdict
//	unheard ─────────────────────▶ playing ◀───┐
//	  ▲  │ no answer               refused ◀───┤ the next verdicts
//	  │  └──────────▶ spared or refused ───────┘
//	  └── back after a goodbye
//
// It is free whenever the rules do not limit it.
type standing uint8

const (
	unheard standing = iota // there is no verdict yet; not counted
	free                    // the rules do not limit it
	playing                 // it has a lease
	spared                  // leases cannot be asked for, and the rules let newcomers play meanwhile
	refused                 // it may not play
)

// leasing is what is known of one session's lease. Sessions that nobody pays
// for have none of it. One call for a session is under way at a time, so no
// answer overtakes another. Its owner is the session, whose mu guards it; times
// are those of leaser.now.
type leasing struct {
	payer // account and device are static

	terms grandstand.Terms  // made of rules and event
	rules *grandstand.Rules // nil: terms are to be made anew
	event *grandstand.Event

	standing standing
	hold     grandstand.Hold     // of the lease; zero: none
	refusal  *grandstand.Refusal // what the viewer was told last; nil: that it may play

	beatAt    int64 // the last sign of life
	askedBeat int64 // beatAt as of the last ask
	missedAt  int64 // when it could not be asked for; 0: the last time it could
	retryAt   int64 // when to ask again without a beat; 0: not
	alarmAt   int64 // of its entry among the leaser's alarms; 0: it has none

	queued  bool // in the leaser's queue
	busy    bool // a call is under way
	again   bool // something happened meanwhile: to be looked at when it is answered
	place   bool // Redis may know of it, as one that plays or waits
	parting bool // it said goodbye: its place is to be freed
	cut     bool // its last socket went without a goodbye
	indexed bool // the leaser finds it by its account
	gone    bool // the session is not in its room any more

	takeover *takeover     // that the viewer wants; nil: none
	heard    chan struct{} // closed at the next answer; nil: nobody waits
}

// leaseMS returns for how long a lease granted now lasts: to LeaseMS after the
// last sign of life, whatever the reason to ask is.
func (s *session) leaseMS(now int64) int64 {
	return grandstand.LeaseMS(s.IntervalMS) - (now - s.lease.beatAt)
}

// limitedLocked reports whether the session needs a lease by the rules as they
// are now.
func (s *session) limitedLocked() bool {
	l := s.lease
	if r, e := s.room.g.leaser.rules(), s.room.event(); r != l.rules || e != l.event {
		l.rules, l.event = r, e
		l.terms = r.Terms(l.limit, l.plan, e.Name, e.Rules)
	}
	return l.terms.Limited()
}

// openLeaseLocked begins the session's lease, if somebody pays for it.
func (s *session) openLeaseLocked(p payer) {
	ls := s.room.g.leaser
	if ls == nil || p.account.IsZero() {
		return
	}
	if p.device.IsZero() {
		p.device = ls.key.Device(p.account, "session "+s.ID)
	}
	s.lease = &leasing{payer: p}
}

// joinLeaseLocked asks for a lease for who opens the session, or renews it for
// who joins it. left says that the session had left before.
func (s *session) joinLeaseLocked(p payer, left bool) {
	l := s.lease
	if l == nil {
		return
	}
	changed := s.payLocked(p)
	switch {
	case left || l.standing == unheard && !l.place:
		s.aliveLocked()
		s.returnLocked()
	case changed:
		s.aliveLocked()
		s.dueLeaseLocked()
	default:
		s.beatLeaseLocked(false)
	}
}

// payLocked takes over what may change of who pays, and reports whether the
// terms may have.
func (s *session) payLocked(p payer) bool {
	l := s.lease
	if l == nil || p.account != l.account {
		return false
	}
	l.address, l.name = p.address, p.name
	return s.termsOfLocked(p.limit, p.plan)
}

// termsOfLocked takes over what a token says, and reports whether that is new.
func (s *session) termsOfLocked(limit int, plan string) bool {
	l := s.lease
	if l == nil || l.limit == limit && l.plan == plan {
		return false
	}
	l.limit, l.plan, l.rules = limit, plan, nil
	return true
}

// pay takes over what may change of who pays.
func (s *session) pay(p payer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.payLocked(p) {
		s.dueLeaseLocked()
	}
}

// renewTerms takes over what a new token says of the account.
func (s *session) renewTerms(limit int, plan string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.termsOfLocked(limit, plan) {
		s.dueLeaseLocked()
	}
}

// renewLeastMS is the least time between two beats that renew a lease.
const renewLeastMS = 1000

// beatLeaseLocked renews the lease after a beat. left says that the session had
// left before.
func (s *session) beatLeaseLocked(left bool) {
	l := s.lease
	if l == nil {
		return
	}
	s.aliveLocked()
	switch {
	case s.Left && !left:
		s.partLocked(0)
	case s.Left:
	case left:
		s.returnLocked()
	case l.beatAt-l.askedBeat >= renewLeastMS:
		s.dueLeaseLocked()
	}
}

// aliveLocked notes a sign of life: the lease is to last from now on.
func (s *session) aliveLocked() {
	s.lease.beatAt, s.lease.cut = s.room.g.leaser.now(), false
}

// dueLeaseLocked has the leaser look at the session soon, unless there is
// nothing to be done for it.
func (s *session) dueLeaseLocked() {
	l := s.lease
	if l.takeover == nil && !l.parting {
		limited := s.limitedLocked()
		if limited && l.finalLocked() || !limited && l.standing == free && !l.place {
			return
		}
	}
	s.room.g.leaser.put(s)
}

// awaitLocked has the session wait for a verdict. It is not counted before.
func (s *session) awaitLocked() {
	l := s.lease
	if l.standing = free; s.limitedLocked() {
		l.standing, s.Blocked = unheard, true
	} else {
		s.allowLocked()
	}
	s.dueLeaseLocked()
}

// finalLocked reports whether only the viewer's own wish ends the refusal.
func (l *leasing) finalLocked() bool {
	return l.standing == refused && l.refusal.Code.Final()
}

// movedGraceMS is for how long a place is kept after the last socket was closed:
// who closes it may have just moved, and its new gateway be about to ask; or the
// page is being reloaded, which a browser does not tell from closing it. Others
// hear of a free place within a second all the same.
const movedGraceMS = 500

// partLocked frees the place of a session that said goodbye, in so many ms.
func (s *session) partLocked(in int64) {
	l := s.lease
	if l == nil || !l.place {
		return
	}
	if l.parting = true; in > 0 {
		s.retryLocked(in, in/4)
	} else {
		s.room.g.leaser.put(s)
	}
}

// partingLocked reports whether the session's place is still to be freed. Until
// then it stays in its room, so that a viewer who comes back meanwhile is not
// taken for another whose place it is.
func (s *session) partingLocked() bool { return s.lease != nil && s.lease.parting }

// returnLocked asks for a session that is new, or had said goodbye.
func (s *session) returnLocked() {
	l := s.lease
	if l.parting = false; !l.finalLocked() {
		s.awaitLocked()
	}
}

// closeLeaseLocked lets go of the lease of a session that is no longer in its
// room. It lapses by itself.
func (s *session) closeLeaseLocked() {
	l := s.lease
	if l == nil {
		return
	}
	l.gone = true
	if l.indexed {
		l.indexed = false
		s.room.g.leaser.unindex(s)
	}
}

// errand is what is to be done for a session.
type errand uint8

const (
	errandNone errand = iota
	errandAsk
	errandLeave
)

// errandLocked says what is to be done for the session at now. Who is not its
// owner does nothing, and the dead do not ask: neither a lease is renewed nor a
// place taken for a viewer who does not beat.
func (s *session) errandLocked(now int64) errand {
	l := s.lease
	l.queued = false
	if l.busy {
		l.again = true
		return errandNone
	}
	l.again = false
	do := errandNone
	switch {
	case s.own == lost || l.gone:
		l.parting = false
	case l.parting:
		do = errandLeave
	case s.Left:
	case !s.limitedLocked():
		l.standing, l.retryAt = free, 0
		s.allowLocked()
		if do = errandLeave; !l.place {
			do = errandNone
		}
	case l.finalLocked() && l.takeover == nil, s.leaseMS(now) <= 0, l.cut && l.standing != playing, s.quietLocked(now):
	default:
		do = errandAsk
	}
	if do == errandNone {
		l.answerLocked(l.takeover, false)
		l.takeover = nil
	}
	l.busy = do != errandNone
	return do
}

// askLocked returns what is asked for the session at now, and the takeover that
// it carries out.
func (s *session) askLocked(now int64) (grandstand.Ask, *takeover) {
	l := s.lease
	l.askedBeat, l.place, l.retryAt = l.beatAt, true, 0
	a := grandstand.Ask{
		Account: l.account, Device: l.device, Session: s.ID, Event: s.room.name,
		Name: l.name, Address: l.address, Member: s.room.g.id,
		LeaseMS: s.leaseMS(now), BeatMS: s.IntervalMS, Hold: l.hold, Terms: l.terms, Wait: true,
	}
	t := l.takeover
	if l.takeover = nil; t != nil {
		a.Terminate, a.Insist = t.refs, true
	}
	return a, t
}

// answered takes the answer to an ask, which may have been a takeover's.
func (s *session) answered(a *grandstand.Answer, t *takeover) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease
	l.busy = false
	known := false
	switch {
	case s.own == lost || l.gone || s.Left:
		// Whoever has the session asks for itself; who left is given up next.
	case a.Err != nil:
		s.missedLocked(t != nil)
	default:
		s.judgedLocked(&a.Verdict, t != nil)
		known = true
	}
	l.answerLocked(t, known)
	if l.again || l.takeover != nil {
		s.room.g.leaser.put(s)
	}
}

// answerLocked tells those who wait for an answer, t among them unless it is nil.
// known says that there is a verdict.
func (l *leasing) answerLocked(t *takeover, known bool) {
	if l.heard != nil {
		close(l.heard)
		l.heard = nil
	}
	if t != nil {
		t.done <- takeoverResult{known: known, allowed: l.standing != refused}
	}
}

// judgedLocked carries out a verdict. insisted says that the viewer waits for
// it.
func (s *session) judgedLocked(v *grandstand.Verdict, insisted bool) {
	l := s.lease
	if l.missedAt = 0; v.Allowed {
		if l.standing != playing {
			s.keepVerdictLocked(v)
		}
		l.standing, l.hold = playing, v.Hold
		s.allowLocked()
		return
	}
	l.standing, l.hold = refused, grandstand.Hold{}
	s.refuseLocked(v, insisted)
	if l.finalLocked() {
		l.place = false
	} else if v.FreeAt > 0 {
		s.retryLocked(v.FreeAt-v.Now+lapseMarginMS, lapseSpreadMS)
	}
}

// How long after a lease should have lapsed a session that waits asks again.
const (
	lapseMarginMS = 20
	lapseSpreadMS = 200
)

// How long after leases could not be asked for who holds one asks again, and how
// long after the last such failure on this gateway anybody else does: when Redis
// is back, those who played before are there first. Who is refused waits so long
// at most, should but a part of Redis be away.
const (
	retryMS        = 500
	quietMS        = 2250
	longestQuietMS = 30_000
)

// missedLocked does what the rules say if leases cannot be asked for. What was
// known before holds on: who has a lease plays, who was refused is refused.
func (s *session) missedLocked(insisted bool) {
	l, m := s.lease, s.room.g.metrics
	l.missedAt = s.room.g.leaser.now()
	switch deny := s.room.g.leaser.rules().OnOutage == grandstand.OutageDeny; {
	case l.standing == playing:
		m.outages.WithLabelValues("kept").Inc()
	case l.standing == refused && l.refusal.Code != grandstand.BlockUnavailable, l.standing == free:
		if l.finalLocked() {
			return
		}
		m.outages.WithLabelValues("kept").Inc()
	case deny:
		l.standing = refused
		s.refuseLocked(&grandstand.Verdict{Code: grandstand.BlockUnavailable}, insisted)
		m.outages.WithLabelValues("denied").Inc()
	default:
		if l.standing != spared {
			s.keepVerdictLocked(&grandstand.Verdict{Allowed: true, Code: grandstand.BlockUnavailable})
		}
		l.standing = spared
		s.allowLocked()
		m.outages.WithLabelValues("allowed").Inc()
	}
	s.retryLocked(retryMS, retryMS/2)
}

// quietLocked reports whether a session without a lease, which could not ask for
// one, is to go on waiting.
func (s *session) quietLocked(now int64) bool {
	l := s.lease
	if l.missedAt == 0 || l.standing != spared && l.standing != refused || l.takeover != nil {
		return false
	}
	wait := s.room.g.leaser.failedAt.Load() + quietMS - now
	if wait <= 0 || l.standing == refused && now-l.missedAt >= longestQuietMS {
		return false
	}
	s.retryLocked(wait, retryMS/2)
	return true
}

// retryLocked has the session looked at again in so many ms, and up to spread
// more.
func (s *session) retryLocked(in, spread int64) {
	ls := s.room.g.leaser
	in = min(max(in, leastRetryMS), maxRetryMS) + rand.Int64N(spread)
	s.lease.retryAt = ls.now() + in
	ls.alarm(s)
}

// The bounds of how far ahead a retry is. No lease lasts longer than the second.
const (
	leastRetryMS = 50
	maxRetryMS   = 2*grandstand.MaxBeatMS + 5_000
)

// leaveDone takes the answer to a goodbye. One that failed is tried again as
// long as the lease would last.
func (s *session) leaveDone(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lease
	l.busy = false
	switch {
	case err == nil:
		l.place, l.parting, l.hold = false, false, grandstand.Hold{}
	case s.leaseMS(s.room.g.leaser.now()) > 0:
		s.retryLocked(retryMS, retryMS/2)
	default:
		l.parting = false // it has lapsed by itself
	}
	if l.again || l.takeover != nil {
		s.room.g.leaser.put(s)
	}
}
