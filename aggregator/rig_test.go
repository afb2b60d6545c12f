package aggregator

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"grandstand"
)

// rig is a cluster in memory whose time a test sets.
type rig struct {
	t     testing.TB
	clock *testClock
	redis *fakeRedis
	now   int64
	gws   []*testGateway

	violated map[grandstand.Invariant]int
}

// start is a full minute, and of no special hour.
const start = int64(1_795_299_000_000)

func newRig(t testing.TB) *rig {
	r := &rig{t: t, clock: &testClock{}, now: start, violated: map[grandstand.Invariant]int{}}
	r.clock.set(r.now)
	r.redis = newFakeRedis(r.clock)
	return r
}

func (r *rig) config(id string) Config {
	return Config{
		ID: id, Clock: r.clock, Leases: r.redis, Members: r.redis, Tallies: r.redis,
		Boards: r.redis, Series: r.redis, Events: r.redis,
		Patience:   -1, // the clock stands still while a tick is made
		Violated:   func(what grandstand.Invariant, _ ...any) { r.violated[what]++ },
		Registerer: prometheus.NewRegistry(),
	}
}

// aggregator returns one that is driven by wake.
func (r *rig) aggregator(id string, change func(*Config)) *Aggregator {
	cfg := r.config(id)
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

// tick moves on to the next even second, lets all gateways write, and then all
// aggregators work.
func (r *rig) tick(aggs ...*Aggregator) {
	r.advance(2000)
	for _, g := range r.gws {
		g.write()
	}
	r.wake(aggs...)
}

func (r *rig) advance(ms int64) {
	r.now += ms
	r.clock.set(r.now)
	for _, g := range r.gws {
		if !g.dead {
			g.renew()
		}
	}
}

// wake has aggregators work at the present phase, and their workers after them.
func (r *rig) wake(aggs ...*Aggregator) {
	for _, a := range aggs {
		r.clock.set(r.now + 250)
		a.wake(context.Background(), r.now)
		pump(a)
		r.clock.set(r.now)
	}
}

// pump does what a's workers have to do.
func pump(a *Aggregator) {
	for _, w := range []*worker{a.records, a.archive} {
		select {
		case jobs := <-w.in:
			w.out <- w.do(context.Background(), jobs)
		default:
		}
		w.collect()
	}
}

// testSession is one session in a test's truth.
type testSession struct {
	id     int
	viewer uint64
	values []string
	gen    uint64
}

// testGateway counts sessions of one event the way that a gateway does.
type testGateway struct {
	r        *rig
	id       string
	event    *grandstand.Event
	sessions map[int]*testSession
	moves    []grandstand.Move
	released grandstand.ReleaseID
	stream   []testRelease
	claims   map[int]int // sessions whose owner before it has not told yet, and how often
	shardAt  int64
	last     []grandstand.Tally
	dead     bool
	bare     bool                 // it leaves crosses out
	written  map[int]*testSession // as of the newest tally in Redis
	asOf     int64
	vouched  int64                // asOf of the newest that a manifest vouches for
	upTo     grandstand.ReleaseID // that the newest tally in Redis tells
	half     bool                 // a newer one is there that no manifest vouches for
}

type testRelease struct {
	id      grandstand.ReleaseID
	session int
	gen     uint64
}

func (r *rig) gateway(event *grandstand.Event) *testGateway {
	g := &testGateway{r: r, id: fmt.Sprintf("gw%d", len(r.gws)), event: event, sessions: map[int]*testSession{}, claims: map[int]int{}}
	r.gws = append(r.gws, g)
	g.renew()
	return g
}

func (g *testGateway) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), 1e9)
	defer cancel()
	g.r.redis.Renew(ctx, grandstand.Member{ID: g.id, Role: grandstand.RoleGateway})
}

func (g *testGateway) add(s *testSession) { g.sessions[s.id] = s }

// readReleases does what the release stream says, up to what is of a session that
// the gateway does not have for sure.
func (g *testGateway) readReleases() {
	for len(g.stream) > 0 && g.claims[g.stream[0].session] == 0 {
		rel := g.stream[0]
		g.stream = g.stream[1:]
		if s := g.sessions[rel.session]; s != nil && s.gen <= rel.gen {
			delete(g.sessions, rel.session)
		}
		g.released = rel.id
	}
}

// tally builds what the gateway knows.
func (g *testGateway) tally() grandstand.Tally {
	t := tallyOf(g.event, g.sessions, g.moves)
	if g.bare {
		t.Segments = slices.DeleteFunc(t.Segments, func(s grandstand.SegmentTally) bool { return grandstand.IsCross(s.Segment.Dim) })
	}
	return t
}

func tallyOf(e *grandstand.Event, sessions map[int]*testSession, moves []grandstand.Move) grandstand.Tally {
	auds := grandstand.NewAudiences(e)
	t := grandstand.NewTallier()
	t.Reset(1)
	for _, s := range sessions {
		t.Add(auds.Intern(s.values), s.viewer)
	}
	return *t.Build(e, auds.Segments(), slices.Clone(moves))
}

func equalTallies(a, b *grandstand.Tally) bool {
	return bytes.Equal(grandstand.AppendTally(nil, a), grandstand.AppendTally(nil, b))
}

// write writes a tally if it changed, and a manifest.
func (g *testGateway) write() {
	if g.dead {
		return
	}
	g.writeAs(false)
}

func (g *testGateway) writeAs(left bool) {
	g.readReleases()
	shard := grandstand.ShardOf(g.event.Name)
	var tallies []*grandstand.ShardTally
	if t := g.tally(); len(g.last) == 0 || !equalTallies(&g.last[0], &t) || !g.there(shard) {
		g.last, g.shardAt = []grandstand.Tally{t}, g.r.now
		tallies = []*grandstand.ShardTally{{Gateway: g.id, Shard: shard, At: g.r.now, Released: g.released, Events: g.last}}
	}
	g.r.redis.write(tallies, &grandstand.Manifest{
		Gateway: g.id, At: g.r.now, Released: g.released, Left: left, Sessions: uint32(len(g.sessions)),
		Shards: []grandstand.ShardRef{{Shard: shard, At: g.shardAt}},
	})
	g.note()
}

func (g *testGateway) there(shard int) bool {
	g.r.redis.mu.Lock()
	defer g.r.redis.mu.Unlock()
	_, ok := g.r.redis.tallies[grandstand.TallyRef{Gateway: g.id, Shard: shard}]
	return ok
}

// note remembers what Redis was told.
func (g *testGateway) note() {
	g.written = map[int]*testSession{}
	for id, s := range g.sessions {
		g.written[id] = s
	}
	g.asOf, g.vouched, g.upTo, g.half = g.r.now, g.r.now, g.released, false
}

// hashOf makes a uniform hash of a small number.
func hashOf(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func testEvent(name string, dims ...string) *grandstand.Event {
	e := &grandstand.Event{Name: name, UpdatedAt: 1, State: grandstand.EventLive}
	for _, d := range dims {
		e.Dims = append(e.Dims, grandstand.Dimension{Name: d})
	}
	if err := e.Normalize(); err != nil {
		panic(err)
	}
	return e
}

// crowd adds n sessions of distinct viewers to a gateway.
func (g *testGateway) crowd(first, n int, values ...string) {
	for i := first; i < first+n; i++ {
		g.add(&testSession{id: i, viewer: hashOf(uint64(i)), values: values})
	}
}

// count returns a metric of an aggregator.
func metric(t testing.TB, a *Aggregator, name string, labels ...string) float64 {
	t.Helper()
	families, err := a.cfg.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "grandstand_aggregator_"+name {
			continue
		}
		for _, m := range f.Metric {
			if !hasLabels(m, labels) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, values []string) bool {
	for _, v := range values {
		if !slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == v }) {
			return false
		}
	}
	return true
}

func sessionsOf(b *grandstand.Board, seg string) uint64 {
	s, err := grandstand.ParseSegment(seg)
	if err != nil {
		panic(err)
	}
	if b == nil {
		return 0
	}
	if c := b.Find(s); c != nil {
		return c.Sessions
	}
	return 0
}
