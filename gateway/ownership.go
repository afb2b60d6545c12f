package gateway

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"grandstand"
)

const (
	keepMS      = 120_000                // between two refreshes of a session's record, give or take a half; it lives for 360 s
	confirmMS   = 4_000                  // between the first two records after Redis lost its data
	retryLostMS = 5_000                  // between two attempts to win a lost session back
	keepEvery   = 250 * time.Millisecond // between two batches of records
	keepBatch   = 512                    // records in one call
	keepNewFor  = 200 * time.Millisecond
	claimBatch  = 1000            // sessions that are claimed in one pipeline, before their old owners are told
	claimRetry  = 1 * time.Second // after Redis did not answer

	// holdFor is the time in which every gateway notices that Redis lost its
	// data, and has asked for its records, on a busy machine too.
	holdFor = memberEvery + 2500*time.Millisecond

	moveMarginMS = 30_000 // added to the time for which an old owner's last tally may be in use
)

// keepAfter returns in how many ms a record is due again.
func (g *Gateway) keepAfter() int64 { return keepMS - keepMS/10 + rand.Int64N(keepMS/5) }

// keepTime returns when a record that has just been written is due again: those
// of one bucket at the same time, since one script writes them all.
func keepTime(session string, now int64) int64 {
	phase := int64(grandstand.BucketOf(session)) * keepMS / grandstand.SessionBuckets
	at := now + keepMS/2
	return at + (phase-at%keepMS+keepMS)%keepMS
}

// backlog is a queue of sessions that something is to be done for in Redis. It
// may be used by many; wake has room for one signal.
type backlog struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []due // guarded by mu
}

// due is one entry of a backlog.
type due struct {
	s      *session
	forget bool // remove the record rather than keep it
}

func newBacklog() backlog { return backlog{wake: make(chan struct{}, 1)} }

func (b *backlog) add(s *session)       { b.put(due{s: s}) }
func (b *backlog) addForget(s *session) { b.put(due{s: s, forget: true}) }

func (b *backlog) put(d due) {
	b.mu.Lock()
	b.queue = append(b.queue, d)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes and returns the first n entries, all if n is 0.
func (b *backlog) take(n int) []due {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n == 0 || n >= len(b.queue) {
		all := b.queue
		b.queue = nil
		return all
	}
	some := b.queue[:n:n]
	b.queue = b.queue[n:]
	return some
}

// keepRecords writes, refreshes and removes session records in batches until
// ctx ends, and once more then.
func (g *Gateway) keepRecords(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.RedisTimeout)
			defer cancel()
			g.keeping <- struct{}{} // a batch under way ends with ctx
			g.keepDue(last)
			<-g.keeping
			return
		case <-tick.C:
			g.keeping <- struct{}{}
			g.keepDue(ctx)
			<-g.keeping
			g.refoldDue(ctx)
		}
	}
}

// keepNew has the records of sessions that came since the last batch written, so
// that the tick which follows can count them. A Redis that takes too long makes
// them wait for the tick after: they are few, as batches are frequent.
func (g *Gateway) keepNew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepNewFor)
	defer cancel()
	select {
	case g.keeping <- struct{}{}:
		g.keepDue(ctx)
		<-g.keeping
	case <-ctx.Done():
	}
}

// keepDue works the backlog of records off. The caller has put its token into
// keeping.
func (g *Gateway) keepDue(ctx context.Context) {
	var keep, forget []*session
	for _, d := range g.keepers.take(0) {
		d.s.mu.Lock()
		switch {
		case d.forget != d.s.forgot || d.s.own == claiming: // changed since
		case d.forget:
			forget = append(forget, d.s)
		default:
			keep = append(keep, d.s)
		}
		d.s.mu.Unlock()
	}
	for len(keep) > 0 {
		n := min(len(keep), keepBatch)
		if !g.keep(ctx, keep[:n]) {
			g.keepLater(keep) // the next batch would wait for the same trouble
			break
		}
		keep = keep[n:]
	}
	for len(forget) > 0 {
		n := min(len(forget), keepBatch)
		if !g.forget(ctx, forget[:n]) {
			break // they expire by themselves
		}
		forget = forget[n:]
	}
}

// keepLater has records tried again that could not be written.
func (g *Gateway) keepLater(list []*session) {
	g.metrics.records.WithLabelValues("failed").Add(float64(len(list)))
	at := g.clock.Now() + retryLostMS
	for _, s := range list {
		s.mu.Lock()
		if s.keepAt = at; !s.recorded {
			s.keepAt = 0 // it waits to be counted
		}
		s.mu.Unlock()
	}
}

func (g *Gateway) records(list []*session) []grandstand.Record {
	recs := make([]grandstand.Record, len(list))
	for i, s := range list {
		s.mu.Lock()
		recs[i] = s.recordLocked(g.id)
		s.mu.Unlock()
	}
	return recs
}

// keep writes the records of sessions, and learns which are somebody else's. It
// reports false if Redis did not answer.
func (g *Gateway) keep(ctx context.Context, list []*session) bool {
	recs := g.records(list)
	call, cancel := g.deadline(ctx)
	lost, err := g.cfg.Sessions.Keep(call, recs)
	cancel()
	if err != nil {
		g.trouble("keep session records", err)
		return false
	}
	now := g.clock.Now()
	isLost := make([]bool, len(list))
	for _, i := range lost {
		isLost[i] = true
	}
	g.metrics.records.WithLabelValues("kept").Add(float64(len(list) - len(lost)))
	g.metrics.records.WithLabelValues("lost").Add(float64(len(lost)))
	for i, s := range list {
		s.mu.Lock()
		if s.Gen == recs[i].Gen {
			s.keptLocked(isLost[i], now)
		}
		s.mu.Unlock()
	}
	return true
}

// keptLocked takes the answer to a Keep. A session that is said to be somebody
// else's is given up the second time only: its release, which is on its way,
// must come first, or it would be taken off our tally twice for a tick. If our
// record was never there whoever has the session does not know of us, and no
// release will come.
func (s *session) keptLocked(isLost bool, now int64) {
	if !isLost && !s.recorded {
		s.recorded = true
		s.room.dirty.Store(true)
	}
	switch {
	case !isLost && s.own == lost && s.awayLocked():
		// Nobody has it, and its viewer has left us: it is over.
		s.Leave()
		s.forgot = true
		s.room.g.keepers.addForget(s)
	case !isLost && s.own == lost:
		s.own, s.had, s.kept, s.doubted = owned, true, true, false
		s.keepAt = keepTime(s.ID, now)
		s.room.dirty.Store(true)
	case !isLost && s.confirm:
		// A release that we had not read yet is lost too. Whom it came from has
		// written its record by the time we ask again.
		s.confirm, s.keepAt = false, now+confirmMS
	case !isLost:
		s.kept, s.doubted = true, false
		if s.keepAt > 0 {
			s.keepAt = keepTime(s.ID, now)
		}
	case s.own == owned && (s.doubted || !s.kept):
		s.doubted = false
		s.loseLocked(now)
		s.room.dirty.Store(true)
		s.room.g.metrics.moves.WithLabelValues("out").Inc()
	default:
		s.doubted = s.own == owned
		s.keepAt = now + retryLostMS
		if s.own == lost {
			s.reclaimLocked()
		}
	}
}

// forget removes the records of sessions that ended. It reports false if Redis
// did not answer.
func (g *Gateway) forget(ctx context.Context, list []*session) bool {
	call, cancel := g.deadline(ctx)
	defer cancel()
	if err := g.cfg.Sessions.Forget(call, g.records(list)); err != nil {
		g.metrics.records.WithLabelValues("failed").Add(float64(len(list)))
		g.trouble("forget session records", err)
		return false
	}
	g.metrics.records.WithLabelValues("forgotten").Add(float64(len(list)))
	return true
}

// moveSessions takes sessions over from other gateways until ctx ends.
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
	again = g.claimRecords(ctx, batch)

	var nobody []*session
	byOwner := map[string][]*session{}
	for _, d := range batch {
		d.s.mu.Lock()
		switch {
		case d.s.asking: // it is among those to be tried again
		case d.s.own == lost:
			d.s.moving = false
		case d.s.previous == nil:
			nobody = append(nobody, d.s)
		default:
			byOwner[d.s.previous.Owner] = append(byOwner[d.s.previous.Owner], d.s)
		}
		d.s.mu.Unlock()
	}
	g.hold(ctx, nobody)
	for owner, list := range byOwner {
		if err := g.takeOver(ctx, owner, list); err != nil {
			g.trouble("release sessions", err)
			again = append(again, list...)
		}
	}
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
func (g *Gateway) claimRecords(ctx context.Context, batch []due) (unknown []*session) {
	var list []*session
	for _, d := range batch {
		if d.s.toClaim() {
			list = append(list, d.s)
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

// toClaim reports whether the session's record has to be claimed still.
func (s *session) toClaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.previous != nil {
		return false
	}
	if s.awayLocked() && !s.Left && !s.asking {
		// The viewer is gone again without a goodbye, and maybe on another
		// gateway by now: a claim that comes so late would take the session
		// away from where it is.
		s.loseLocked(s.room.g.clock.Now())
		return false
	}
	s.asking = true
	return true
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
