package gateway

import (
	"context"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"grandstand"
)

const (
	rewriteMS    = 10_000 // after which a shard that did not change is written again
	spreadAbove  = 64     // members from which on gateways spread their ticks
	spreadMS     = 150    // over so long: the aggregators read 250 ms after the phase
	writeTimeout = 1 * time.Second
	setBackMS    = 500 // that a clock may be corrected by without having been set back
)

// ticker counts and writes, once a tick. It has one owner.
type ticker struct {
	g       *Gateway
	tallier *grandstand.Tallier

	period int64 // ms between two ticks
	late   int64 // ms that the last one began after its phase

	released grandstand.ReleaseID // the last entry of the release list that was carried out
	held     grandstand.ReleaseID // the entry that came too early
	heldAt   time.Time            // when it was met
	boot     string               // of the last write
	shards   [grandstand.Shards]shardState
}

// shardState is what was written of one shard.
type shardState struct {
	at      int64 // ShardTally.At of what is in Redis; 0: nothing
	pending bool  // changed since
	emptyAt int64 // ms since when it holds no event; 0: it does
}

// tick runs until ctx ends.
func (g *Gateway) tick(ctx context.Context) {
	t := &ticker{g: g, tallier: grandstand.NewTallier()}
	for due := t.next(); g.sleepUntil(ctx, due); due = t.next() {
		t.late = g.clock.Now() - due
		t.once(ctx, false)
	}
	// The last word: the sessions that are left linger in it.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*writeTimeout)
	defer cancel()
	t.once(last, true)
}

// next returns when the next tick is due: at the next phase of any event that
// is here, and of the default tick, so that a gateway which stops is noticed
// soon whatever its events.
func (t *ticker) next() int64 {
	now := t.g.clock.Now()
	phase := func(period int64) int64 { return now - now%period + period }
	at := phase(grandstand.DefaultTickMS)
	t.period = grandstand.DefaultTickMS
	for _, r := range t.g.allRooms() {
		tick := r.event().TickMS
		at, t.period = min(at, phase(tick)), min(t.period, tick)
	}
	if t.g.crowded.Load() {
		h := fnv.New32a()
		h.Write([]byte(t.g.id))
		at += int64(h.Sum32() % spreadMS)
	}
	return at
}

// sleepUntil waits for a time in Redis ms. If that is far away still when it
// should have come, the clock was set back, by too little to be a jump, and it is
// waited for no more. It returns false if ctx ends first.
func (g *Gateway) sleepUntil(ctx context.Context, at int64) bool {
	for slept := false; ; slept = true {
		wait := at - g.clock.Now()
		if wait <= 0 || slept && wait > setBackMS {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Duration(wait) * time.Millisecond):
		}
	}
}

// once counts, and writes what changed and a manifest. What cannot be written
// is written at the next tick.
func (t *ticker) once(ctx context.Context, last bool) {
	start := time.Now()
	t.readReleases(ctx)
	t.g.keepNew(ctx)
	now := t.takeTime()
	sessions := t.count(now)
	t.g.load.ticked(t.late+t.g.clock.Now()-now, t.period)

	boot := t.g.bootOf()
	tallies, refs := t.collect(now, boot != t.boot)
	m := &grandstand.Manifest{
		Gateway:  t.g.id,
		At:       now,
		Released: t.released,
		Epoch:    t.g.cfg.Hub.Epoch(),
		Left:     last,
		Sessions: uint32(sessions),
		Shards:   refs,
	}
	call, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := t.g.cfg.Tallies.WriteTallies(call, tallies, m); err != nil {
		// Some may have been written. The manifest does not vouch for them, so
		// they stand for themselves until the next tick writes them again: what
		// is pending, too old or of another boot still is.
		t.g.metrics.ticks.WithLabelValues("failed").Inc()
		t.g.trouble("write tallies", err)
		return
	}
	t.boot = boot
	for _, st := range tallies {
		t.shards[st.Shard].at, t.shards[st.Shard].pending = now, false
	}
	t.g.metrics.shards.Add(float64(len(tallies)))
	t.g.metrics.ticks.WithLabelValues("written").Inc()
	t.g.metrics.tickSeconds.Observe(time.Since(start).Seconds())
}

// readReleases carries out what the release list says, before counting.
func (t *ticker) readReleases(ctx context.Context) {
	call, cancel := t.g.deadline(ctx)
	defer cancel()
	rels, err := t.g.cfg.Sessions.Releases(call, t.g.id, t.released)
	if err != nil {
		t.g.trouble("read releases", err) // the first of them may be there
	}
	now := t.g.clock.Now()
	for _, rel := range rels {
		if r := t.g.roomOf(rel.Event); r != nil {
			if r.tooEarly(rel) && t.holds(rel.ID) {
				return // those after it wait too: the tally says up to which it knows all
			}
			r.release(rel, now)
		}
		t.released = rel.ID
	}
}

// holdReleases is for how long a release may wait for a claim: a session that is
// behind it must not be given up for another reason meanwhile (retryLostMS).
const holdReleases = 4 * time.Second

// holds reports whether a release that comes too early is still waited with.
func (t *ticker) holds(id grandstand.ReleaseID) bool {
	if t.held != id {
		t.held, t.heldAt = id, time.Now()
	}
	return time.Since(t.heldAt) < holdReleases
}

// count scans all rooms and builds the tallies that changed. It returns the
// number of sessions that are watching.
func (t *ticker) count(now int64) (sessions int) {
	rooms := t.g.allRooms()
	anew := t.g.load.sheds(dropCrosses) != t.tallier.NoCrosses
	t.tallier.NoCrosses = anew != t.tallier.NoCrosses
	for _, r := range rooms {
		shard := &t.shards[grandstand.ShardOf(r.name)]
		if r.idle(now) {
			t.g.drop(r)
			shard.pending = true
			continue
		}
		if r.scan(now) || r.tally == nil || anew {
			r.tally = r.build(t.tallier)
			shard.pending = true
		}
		sessions += worldOf(r.tally)
	}
	t.g.metrics.sessions.Set(float64(sessions))
	t.g.watching.Store(int64(sessions))
	t.g.metrics.rooms.Set(float64(len(rooms)))
	return sessions
}

func worldOf(t *grandstand.Tally) int {
	if len(t.Segments) == 0 {
		return 0
	}
	return int(t.Segments[0].Sessions)
}

// collect returns the shards that are to be written at now, and the references
// to all that hold as of now.
func (t *ticker) collect(now int64, all bool) (tallies []*grandstand.ShardTally, refs []grandstand.ShardRef) {
	var byShard [grandstand.Shards][]grandstand.Tally
	for _, r := range t.g.allRooms() {
		if r.tally != nil {
			i := grandstand.ShardOf(r.name)
			byShard[i] = append(byShard[i], *r.tally)
		}
	}
	for i := range t.shards {
		s, events := &t.shards[i], byShard[i]
		if len(events) > 0 {
			s.emptyAt = 0
		} else if s.emptyAt == 0 {
			s.emptyAt = now
		}
		if len(events) == 0 && s.at == 0 {
			s.pending = false // there is nothing, and nothing was there
			continue
		}
		if len(events) == 0 && now-s.emptyAt >= rewriteMS && !s.pending {
			s.at = 0 // the empty value has stood long enough
			continue
		}
		at := s.at
		if s.pending || all || now-s.at >= rewriteMS {
			slices.SortFunc(events, func(a, b grandstand.Tally) int { return strings.Compare(a.Event, b.Event) })
			tallies = append(tallies, &grandstand.ShardTally{Gateway: t.g.id, Shard: i, At: now, Released: t.released, Events: events})
			at = now
		}
		refs = append(refs, grandstand.ShardRef{Shard: i, At: at})
	}
	return tallies, refs
}
