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
	claimBatch  = 250             // sessions that are claimed in one pipeline, before their old owners are told
	claimers    = 4               // pipelines under way at once
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
	b.signal()
}

func (b *backlog) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take removes and returns the first n entries, all if n is 0. If it leaves some
// it wakes another who takes.
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
	b.signal()
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
