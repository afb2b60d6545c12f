package aggregator

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"grandstand"
)

// gateway is what is known of one gateway. It outlives its lease, and what
// Redis knows of it, for as long as its last tallies count.
type gateway struct {
	id       string
	listed   bool // in the newest membership
	alive    bool
	joinedAt int64

	manifest *grandstand.Manifest // the newest; nil: none yet
	refs     [grandstand.Shards]int64
	holdings [grandstand.Shards]*holding // of the shards held here; nil: none
	periodMS int64                       // between the last two manifests, in whole seconds up to the default tick
	inTime   bool                        // had written for the last tick when that was made
}

// holding is the newest tally of one gateway for one shard.
type holding struct {
	gateway *gateway
	shard   int

	at       int64                // ShardTally.At
	released grandstand.ReleaseID // ShardTally.Released
	asOf     int64                // up to when the manifest vouches for it, else at
	upTo     grandstand.ReleaseID // with that, else released

	lostAt   int64                // when Redis last lost its data; 0: not yet
	lostUpTo grandstand.ReleaseID // upTo then

	round  uint64 // counts the tallies
	events []*event
}

// knows reports whether the tally was made after its gateway had read the
// release. One that was lost with all data in Redis it never reads, whatever
// came after: it learns that the session is somebody else's within refillMS.
// Until then the session is taken off, so that it is missed at worst.
func (h *holding) knows(r grandstand.ReleaseID) bool {
	if h.lostAt != 0 && h.asOf < h.lostAt+refillMS && int64(r.MS) < h.lostAt && h.lostUpTo.Before(r) {
		return false
	}
	return !h.upTo.Before(r)
}

// maxLingerMS is the longest time that a tally can stand in for its gateway.
var maxLingerMS = grandstand.LingerMS(grandstand.MaxBeatMS) + grandstand.MaxTickMS + diedTogetherMS

// left reports whether the gateway has shut down on purpose.
func (g *gateway) left() bool { return g.manifest != nil && g.manifest.Left }

// late reports whether the gateway is there but has not said anything for two
// ticks of the event, or of its own if it only has slower ones: nobody knows
// what it counts.
func (g *gateway) late(at, tickMS int64) bool {
	if !g.alive || g.left() {
		return false
	}
	limit := 2 * max(tickMS, g.periodMS)
	seen := g.joinedAt
	if g.manifest != nil {
		seen = max(seen, g.manifest.At)
	}
	return at-seen > limit
}

// overdueMS is by how much two manifests may be less than a period apart.
const overdueMS = 500

// overdue reports whether the gateway is there and should have written for the
// tick, but has not.
func (g *gateway) overdue(at int64) bool {
	return g.alive && !g.left() && g.manifest != nil && g.periodMS != 0 && at-g.manifest.At >= g.periodMS-overdueMS
}

// enlist takes a membership.
func (a *Aggregator) enlist(ms grandstand.Membership) {
	for _, g := range a.gateways {
		g.listed, g.alive = false, false
	}
	for _, m := range ms.Members {
		if m.Role != grandstand.RoleGateway {
			continue
		}
		g := a.gateways[m.ID]
		if g == nil {
			g = &gateway{id: m.ID}
			a.gateways[m.ID] = g
		}
		g.listed, g.alive, g.joinedAt = true, m.Alive, m.JoinedAt
	}
}

// patienceStep is the time between two looks for what is awaited.
const patienceStep = 75 * time.Millisecond

// readAll is read that waits a little for a gateway which is overdue for the
// first time: an overloaded machine makes it so, and while many sessions move,
// nobody else counts those that it took over. A gateway that is always late, or
// gone, holds nothing up; a takeover only catches up.
func (a *Aggregator) readAll(ctx context.Context, at int64, takeover bool) error {
	err := a.read(ctx, at)
	for waited := time.Duration(0); err == nil && !takeover && waited < a.cfg.Patience && a.awaits(at); waited += patienceStep {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patienceStep):
		}
		err = a.read(ctx, at)
	}
	a.mind(at)
	for _, g := range a.gateways {
		late := g.overdue(at)
		if late && g.inTime {
			a.cfg.Logger.Info("gateway is late for a tick", "gateway", g.id, "at", at, "ms", at-g.manifest.At)
		}
		g.inTime = !late
	}
	return err
}

// tornShare is the share of all sessions that may be missing at a tick.
const tornShare = 0.005

// mind finds out whether the tick is torn: a gateway is late for the first time,
// and the others have fewer sessions than all had before. What it took over from
// them is in no tally then. Two ticks in a row are not.
func (a *Aggregator) mind(at int64) {
	sessions := int64(0)
	for _, g := range a.gateways {
		if g.manifest != nil {
			sessions += int64(g.manifest.Sessions)
		}
	}
	missing := float64(a.sessions-sessions) > tornShare*float64(a.sessions)
	if a.torn = a.cfg.Patience > 0 && !a.torn && missing && a.awaits(at); !a.torn {
		a.sessions = sessions
	}
}

// awaits reports whether a gateway that was in time for the tick before is
// overdue.
func (a *Aggregator) awaits(at int64) bool {
	for _, g := range a.gateways {
		if g.inTime && g.overdue(at) {
			return true
		}
	}
	return false
}

// read brings the manifests and the tallies that changed.
func (a *Aggregator) read(ctx context.Context, at int64) error {
	if err := a.readManifests(ctx, at); err != nil {
		return err
	}
	err := a.readTallies(ctx, at)
	for _, g := range a.gateways {
		a.vouch(g, at)
	}
	return err
}

func (a *Aggregator) readManifests(ctx context.Context, at int64) error {
	ids := make([]string, 0, len(a.gateways))
	for id, g := range a.gateways {
		if !g.listed && at-g.lastWord() > maxLingerMS {
			a.forget(g)
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	var manifests []*grandstand.Manifest
	if len(ids) > 0 {
		var err error
		if manifests, err = a.cfg.Tallies.Manifests(ctx, ids); err != nil {
			return err
		}
	}
	if gap := at - a.readAt; gap > 2*a.cfg.TickMS || gap < 0 {
		a.readableSince = at
	}
	a.readAt = at
	for i, m := range manifests {
		if m != nil && m.Gateway == ids[i] {
			a.gateways[ids[i]].hear(m, at)
			a.epoch = max(a.epoch, m.Epoch)
		}
	}
	return nil
}

func (g *gateway) lastWord() int64 {
	last := g.joinedAt
	if g.manifest != nil {
		last = max(last, g.manifest.At)
	}
	for _, h := range g.holdings {
		if h != nil {
			last = max(last, h.asOf)
		}
	}
	return last
}

// aheadMS is by how much a time may be ahead of now without being from another
// timeline: of a Redis whose clock was put back.
const aheadMS = 2_000

// hear takes a manifest unless an older one has come back.
func (g *gateway) hear(m *grandstand.Manifest, at int64) {
	if old := g.manifest; old != nil && m.At < old.At && old.At <= at+aheadMS {
		return
	}
	if g.manifest != nil && m.At != g.manifest.At {
		period := (m.At - g.manifest.At + 500) / 1000 * 1000
		g.periodMS = min(max(period, 0), grandstand.DefaultTickMS) // gateways write that often at least; a gap is no period
	}
	c := *m
	g.manifest = &c
	g.refs = [grandstand.Shards]int64{}
	for _, ref := range m.Shards {
		if ref.Shard >= 0 && ref.Shard < grandstand.Shards {
			g.refs[ref.Shard] = ref.At
		}
	}
}

// fetchChunk is how many tallies are asked for at once, so that a slow answer
// does not void the others.
const fetchChunk = 64

// readTallies fetches what the manifests name and is not here.
func (a *Aggregator) readTallies(ctx context.Context, at int64) error {
	refs := a.missing()
	chunks := slices.Collect(slices.Chunk(refs, fetchChunk))
	answers := make([][]*arrival, len(chunks))
	errs := make([]error, len(chunks))
	parallel(len(chunks), max(4, len(a.mergers)), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, 2*a.cfg.Timeout)
		defer cancel()
		var list []*grandstand.EncodedShardTally
		if list, errs[i] = a.cfg.Tallies.ShardTallies(ctx, chunks[i]); errs[i] == nil {
			answers[i] = a.unwrapAll(chunks[i], list)
		}
	})
	byShard := map[int][]*arrival{}
	for _, list := range answers {
		for _, t := range list {
			byShard[t.Shard] = append(byShard[t.Shard], t)
		}
	}
	shards := slices.Collect(maps.Values(byShard))
	a.eachShard(len(shards), func(m *merger, i int) {
		for _, t := range shards[i] {
			a.takeTally(m, t, at)
		}
	})
	return errors.Join(errs...)
}

// missing returns the tallies that the manifests name and that are not here.
func (a *Aggregator) missing() (refs []grandstand.TallyRef) {
	held := a.held()
	for _, id := range a.gatewayIDs() {
		g := a.gateways[id]
		for _, sh := range held {
			if ref := g.refs[sh.id]; ref != 0 {
				if h := g.holdings[sh.id]; h == nil || h.at != ref {
					refs = append(refs, grandstand.TallyRef{Gateway: id, Shard: sh.id})
				}
			}
		}
	}
	return refs
}

// arrival is a ShardTally that was fetched, with those of its tallies decoded
// that are not what they were: a shard is written as a whole when one event of
// it changed.
type arrival struct {
	*grandstand.EncodedShardTally
	parts []part
}

// part is the tally of one event. It keeps nothing of the message in memory,
// unless it is most of it.
type part struct {
	event *event            // nil: not known yet
	same  *contribution     // that the tally is; nil: it is another
	raw   []byte            // its bytes, unless it is the same
	tally *grandstand.Tally // of raw
}

// unwrapAll decodes what was fetched. It only reads what is known: others do so
// as well.
func (a *Aggregator) unwrapAll(refs []grandstand.TallyRef, list []*grandstand.EncodedShardTally) (out []*arrival) {
	for i, t := range list {
		switch {
		case t == nil:
		case t.Gateway != refs[i].Gateway || t.Shard != refs[i].Shard:
			a.mended(brokenShard)
		default:
			arrived, err := a.unwrap(t)
			if err != nil { // as good as missing
				a.trouble("decode tally", err)
				continue
			}
			out = append(out, arrived)
		}
	}
	return out
}

func (a *Aggregator) unwrap(t *grandstand.EncodedShardTally) (*arrival, error) {
	sh := &a.shards[t.Shard]
	arrived := &arrival{t, make([]part, 0, len(t.Tallies))}
	whole := 0
	for _, raw := range t.Tallies {
		whole += len(raw)
	}
	for _, raw := range t.Tallies {
		name, err := grandstand.EventOfTally(raw)
		if err != nil {
			return nil, err
		}
		p := part{event: sh.events[string(name)]}
		if p.event == nil && a.over[string(name)] != 0 || p.event != nil && p.event.final {
			continue
		}
		if p.event != nil {
			if c := p.event.find(t.Gateway); c != nil && bytes.Equal(c.raw, raw) {
				p.same = c
			}
		}
		if p.same == nil {
			if p.raw = raw; 2*len(raw) < whole {
				p.raw = bytes.Clone(raw)
			}
			if p.tally, err = grandstand.DecodeTally(p.raw); err != nil {
				return nil, err
			}
		}
		arrived.parts = append(arrived.parts, p)
	}
	return arrived, nil
}

// takeTally takes the newest tally of one gateway for one shard.
func (a *Aggregator) takeTally(m *merger, t *arrival, at int64) {
	g, sh := a.gateways[t.Gateway], &a.shards[t.Shard]
	h := g.holdings[t.Shard]
	if h == nil {
		h = &holding{gateway: g, shard: t.Shard}
		g.holdings[t.Shard] = h
	}
	h.at, h.released, h.asOf, h.upTo = t.At, t.Released, t.At, t.Released
	h.round++
	before := h.events
	h.events = make([]*event, 0, len(t.parts))
	for i := range t.parts {
		p := &t.parts[i]
		if p.same != nil {
			p.same.round = h.round
			h.events = append(h.events, p.event)
			continue
		}
		if grandstand.ShardOf(p.tally.Event) != sh.id {
			a.mended(brokenShard)
			continue
		}
		e := a.eventOf(sh, p.tally.Event, at)
		if m.take(e, h, p.tally, p.raw) {
			a.mended(brokenTally)
		}
		h.events = append(h.events, e)
	}
	for _, e := range before {
		if c := e.find(g.id); c != nil && c.round != h.round {
			e.drop(c)
		}
	}
}

// vouch carries over to the tallies what the manifest says of them.
func (a *Aggregator) vouch(g *gateway, at int64) {
	m := g.manifest
	if m != nil && m.At > at+aheadMS {
		m.At = at // from here on it ages
	}
	for _, h := range g.holdings {
		if h == nil {
			continue
		}
		switch ref := g.refs[h.shard]; {
		case m == nil:
		case ref == h.at:
			h.asOf = m.At
			if h.upTo = h.released; h.upTo.Before(m.Released) {
				h.upTo = m.Released
			}
		case ref == 0 && m.At >= h.at:
			a.dropHolding(h)
			continue
		}
		if h.asOf > at+aheadMS {
			h.asOf = at
		}
	}
}

func (a *Aggregator) dropHolding(h *holding) {
	for _, e := range h.events {
		if c := e.find(h.gateway.id); c != nil && c.holding == h {
			e.drop(c)
		}
	}
	h.gateway.holdings[h.shard] = nil
}

// forget gives up a gateway that is long gone.
func (a *Aggregator) forget(g *gateway) {
	for _, h := range g.holdings {
		if h != nil {
			a.dropHolding(h)
		}
	}
	delete(a.gateways, g.id)
}

func (a *Aggregator) gatewayIDs() []string {
	ids := make([]string, 0, len(a.gateways))
	for id := range a.gateways {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
