package aggregator

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"grandstand"
)

// bigEvent is an event with 300 segments: 8 countries, 60 regions, 16 teams and
// the cross of the two. 20 gateways count so many sessions each.
func bigEvent(sessions int) (e *grandstand.Event, tallies []*grandstand.Tally) {
	e = testEvent("final", "country", "region", "team", "team+country")
	for g := range 20 {
		crowd := map[int]*testSession{}
		for i := range sessions {
			h := hashOf(uint64(g*sessions + i))
			country, region, team := fmt.Sprintf("c%d", h%8), fmt.Sprintf("r%d", h>>8%148), fmt.Sprintf("t%d", h>>16%16)
			crowd[i] = &testSession{id: i, viewer: hashOf(h), values: []string{country, region, team, team + "+" + country}}
		}
		t := tallyOf(e, crowd, nil)
		tallies = append(tallies, &t)
	}
	return e, tallies
}

func benchMerger() *merger { return &merger{mended: func(kind string) { panic(kind) }} }

// mergeRig returns an event to which the gateways contribute.
func mergeRig(cfg *grandstand.Event, tallies []*grandstand.Tally) (*merger, *event, []*holding) {
	m, e := benchMerger(), newEvent(cfg.Name, 0)
	e.configure(cfg)
	var hs []*holding
	for i, t := range tallies {
		h := &holding{gateway: &gateway{id: fmt.Sprint("gw", i)}}
		hs = append(hs, h)
		m.take(e, h, t, nil)
	}
	for _, c := range e.from {
		c.used = true
	}
	return m, e, hs
}

// BenchmarkMerge merges 20 tallies of 300 segments: when all sketches changed,
// when none did (only the sums are made), and taking the tallies in.
func BenchmarkMerge(b *testing.B) {
	for _, sessions := range []int{5_000, 100_000} {
		cfg, tallies := bigEvent(sessions)
		m, e, hs := mergeRig(cfg, tallies)
		run := func(name string, before func()) {
			b.Run(fmt.Sprintf("%s/gateways=20/segments=%d/sessions=%d", name, len(e.segs), 20*sessions), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					before()
					if board := m.merge(e, 1000, true); board.Segments[0].Sessions != uint64(20*sessions) {
						b.Fatal("lost some")
					}
				}
			})
		}
		run("everything-changed", func() {
			for i := range e.segs {
				e.segs[i].stale = true
			}
		})
		run("sums-only", func() {})
		b.Run(fmt.Sprintf("take/sessions=%d", sessions), func(b *testing.B) {
			b.ReportAllocs()
			c := e.find(hs[0].gateway.id)
			for b.Loop() {
				c.tally = &grandstand.Tally{} // so that it differs
				c.rows = c.rows[:0]
				m.take(e, hs[0], tallies[0], nil)
			}
		})
	}
}

// BenchmarkMoves takes the moves of a gateway that died with 20,000 sessions off
// its tally.
func BenchmarkMoves(b *testing.B) {
	cfg, tallies := bigEvent(20_000)
	m, e, _ := mergeRig(cfg, tallies[:2])
	from := e.from[0]
	lists := map[string][]string{}
	for i := range 20_000 {
		h := hashOf(uint64(i))
		country, region, team := fmt.Sprintf("c%d", h%8), fmt.Sprintf("r%d", h>>8%148), fmt.Sprintf("t%d", h>>16%16)
		values, ok := lists[country+region+team]
		if !ok { // moves of one audience share their values, as decoded ones do
			values = []string{country, region, team, team + "+" + country}
			lists[country+region+team] = values
		}
		e.from[1].tally.Moves = append(e.from[1].tally.Moves, grandstand.Move{
			From: from.holding.gateway.id, Release: grandstand.ReleaseID{MS: uint64(i + 1)}, Values: values,
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		if board := m.merge(e, 1000, true); board.Segments[0].Sessions != 20_000 {
			b.Fatal(board.Segments[0])
		}
	}
}

func BenchmarkEncodeBoard(b *testing.B) {
	cfg, tallies := bigEvent(5_000)
	m, e, _ := mergeRig(cfg, tallies)
	board := m.merge(e, 1000, true)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		board.Body = nil // else it is a copy
		buf = grandstand.AppendBoard(buf[:0], board)
	}
	b.ReportMetric(float64(len(buf)), "B/board")
}

// nullRedis answers from memory and encodes nothing twice, so that what is
// measured is the aggregator.
type nullRedis struct {
	*fakeRedis
	manifest *grandstand.Manifest
	tallies  map[int]*grandstand.EncodedShardTally
	bytes    int
}

func (r *nullRedis) Manifests(_ context.Context, gateways []string) ([]*grandstand.Manifest, error) {
	out := make([]*grandstand.Manifest, len(gateways))
	for i, g := range gateways {
		if g == r.manifest.Gateway {
			out[i] = r.manifest
		}
	}
	return out, nil
}

func (r *nullRedis) ShardTallies(_ context.Context, refs []grandstand.TallyRef) ([]*grandstand.EncodedShardTally, error) {
	out := make([]*grandstand.EncodedShardTally, len(refs))
	for i, ref := range refs {
		out[i] = r.tallies[ref.Shard]
	}
	return out, nil
}

func (r *nullRedis) Publish(_ context.Context, sb *grandstand.ShardBoard) (grandstand.Published, error) {
	b := grandstand.AppendShardBoard(nil, sb) // as the client does
	r.mu.Lock()
	r.bytes += len(b)
	r.mu.Unlock()
	return grandstand.Published{Epoch: 1, At: sb.At}, nil
}

func (r *nullRedis) SaveSeries(context.Context, []grandstand.SeriesUpdate) error { return nil }

// crowded returns an aggregator and the Redis of n events of so many viewers,
// and a function that lets time pass with a share of the events changing.
func crowded(b *testing.B, n, viewers int) (step func(changed int), redis *nullRedis) {
	r := newRig(b)
	redis = &nullRedis{fakeRedis: r.redis, tallies: map[int]*grandstand.EncodedShardTally{}}
	var events []*grandstand.Event
	dims := []string{"country", "region", "team"}
	fill := func(e *grandstand.Event, salt int) []byte {
		crowd := map[int]*testSession{}
		for i := range viewers {
			h := hashOf(uint64(i + salt))
			crowd[i] = &testSession{id: i, viewer: h, values: []string{
				fmt.Sprintf("c%d", h%2), fmt.Sprintf("r%d", h>>8%4), fmt.Sprintf("t%d", h>>16%2)}}
		}
		t := tallyOf(e, crowd, nil)
		return grandstand.AppendTally(nil, &t)
	}
	index := map[string]int{}
	for i := range n {
		e := testEvent(fmt.Sprintf("event-%d", i), dims...)
		r.redis.configure(*e)
		events = append(events, e)
		shard := grandstand.ShardOf(e.Name)
		st := redis.tallies[shard]
		if st == nil {
			st = &grandstand.EncodedShardTally{Gateway: "gw", Shard: shard, At: start}
			redis.tallies[shard] = st
		}
		index[e.Name] = len(st.Tallies)
		st.Tallies = append(st.Tallies, fill(e, i))
	}
	agg := r.aggregator("agg", func(c *Config) { c.Tallies, c.Boards, c.Series = redis, redis, redis })
	salt := 1_000_000
	step = func(changed int) {
		r.now += 2000
		r.clock.set(r.now + 250)
		ctx, cancel := context.WithTimeout(context.Background(), 1e9)
		redis.Renew(ctx, grandstand.Member{ID: "gw", Role: grandstand.RoleGateway})
		cancel()
		// A gateway sends all tallies of a shard that changed; those that did
		// not are equal, but elsewhere in memory.
		for shard, st := range redis.tallies {
			c := *st
			c.Tallies = make([][]byte, len(st.Tallies))
			for i, b := range st.Tallies {
				c.Tallies[i] = bytes.Clone(b)
			}
			redis.tallies[shard] = &c
		}
		for i := range changed {
			e := events[(salt+i*97)%len(events)]
			st := redis.tallies[grandstand.ShardOf(e.Name)]
			st.Tallies[index[e.Name]], st.At = fill(e, salt), r.now
		}
		salt += changed
		redis.manifest = &grandstand.Manifest{Gateway: "gw", At: r.now}
		for shard, st := range redis.tallies {
			redis.manifest.Shards = append(redis.manifest.Shards, grandstand.ShardRef{Shard: shard, At: st.At})
		}
		b.StartTimer()
		agg.wake(context.Background(), r.now)
		b.StopTimer()
		pump(agg)
	}
	step(0)
	step(0)
	return step, redis
}

// BenchmarkTick is what one aggregator does at one tick, but for the network.
func BenchmarkTick(b *testing.B) {
	for _, c := range []struct {
		name                     string
		events, viewers, changed int
	}{
		{"10000-events/nothing-changes", 10_000, 20, 0},
		{"10000-events/1-percent-changes", 10_000, 20, 100},
		{"10000-events/all-change", 10_000, 20, 10_000},
		{"100-events/all-change", 100, 20, 100},
		{"one-event-of-200000/changes", 1, 200_000, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.StopTimer()
			step, redis := crowded(b, c.events, c.viewers)
			redis.bytes = 0
			b.ReportAllocs()
			for range b.N {
				step(c.changed)
			}
			b.ReportMetric(float64(redis.bytes)/float64(b.N), "B-published/op")
		})
	}
}

// BenchmarkBigTick is one tick of an event with 3.3 million viewers in 301
// segments on 170 gateways: reading what they wrote, the moves of one of them
// that died, merging, estimating and encoding. Every sketch changes at every
// tick. It is what an aggregator does but for the network.
func BenchmarkBigTick(b *testing.B) {
	const gateways, sessions, moves = 170, 19_400, 2_000
	cfg := testEvent("final", "country", "region", "team", "team+country")
	shard := grandstand.ShardOf(cfg.Name)
	r := newRig(b)
	r.redis.configure(*cfg)
	redis := &manyGateways{nullRedis: nullRedis{fakeRedis: r.redis}}
	var raws [2][][]byte // by parity of the tick
	size := 0
	for g := range gateways {
		redis.ids = append(redis.ids, fmt.Sprint("gw", g))
		for odd := range raws {
			crowd := map[int]*testSession{}
			for i := range sessions {
				h := hashOf(uint64(g*sessions + i + odd*sessions/500)) // a part of them comes and goes
				country, region, team := fmt.Sprintf("c%d", h%8), fmt.Sprintf("r%d", h>>8%148), fmt.Sprintf("t%d", h>>16%16)
				crowd[i] = &testSession{id: i, viewer: h, values: []string{country, region, team, team + "+" + country}}
			}
			t := tallyOf(cfg, crowd, nil)
			for i := 0; g > 0 && i < moves/gateways; i++ {
				t.Moves = append(t.Moves, grandstand.Move{From: "gw0", Release: grandstand.ReleaseID{MS: uint64(start + 9e9), Seq: uint64(g)}, Values: crowd[i].values})
			}
			raws[odd] = append(raws[odd], grandstand.AppendTally(nil, &t))
			size += len(raws[odd][g])
		}
	}
	agg := r.aggregator("agg", func(c *Config) { c.Tallies, c.Boards, c.Series = redis, redis, redis })
	n := 0
	tick := func() {
		n++
		r.now += 2000
		r.clock.set(r.now + 250)
		redis.manifests, redis.answers = redis.manifests[:0], redis.answers[:0]
		for g, id := range redis.ids {
			redis.manifests = append(redis.manifests, &grandstand.Manifest{Gateway: id, At: r.now, Shards: []grandstand.ShardRef{{Shard: shard, At: r.now}}})
			redis.answers = append(redis.answers, &grandstand.EncodedShardTally{Gateway: id, Shard: shard, At: r.now, Tallies: [][]byte{raws[n%2][g]}})
			ctx, cancel := context.WithTimeout(context.Background(), 1e9)
			r.redis.Renew(ctx, grandstand.Member{ID: id, Role: grandstand.RoleGateway})
			cancel()
		}
		b.StartTimer()
		agg.wake(context.Background(), r.now)
		b.StopTimer()
		pump(agg)
	}
	b.StopTimer()
	tick()
	tick()
	b.ResetTimer()
	b.ReportAllocs()
	for range b.N {
		tick()
	}
	b.ReportMetric(float64(size)/2/gateways, "B/tally")
	if got := sessionsOf(agg.shards[shard].list[0].board, "world"); got != uint64(gateways*sessions-moves/gateways*(gateways-1)) {
		b.Fatal(got)
	}
}

// manyGateways answers in the order of the gateways' ids.
type manyGateways struct {
	nullRedis
	ids       []string
	manifests []*grandstand.Manifest
	answers   []*grandstand.EncodedShardTally
}

func (r *manyGateways) Manifests(_ context.Context, gateways []string) ([]*grandstand.Manifest, error) {
	out := make([]*grandstand.Manifest, len(gateways))
	for i, g := range gateways {
		if k := slices.Index(r.ids, g); k >= 0 {
			out[i] = r.manifests[k]
		}
	}
	return out, nil
}

func (r *manyGateways) ShardTallies(_ context.Context, refs []grandstand.TallyRef) ([]*grandstand.EncodedShardTally, error) {
	out := make([]*grandstand.EncodedShardTally, len(refs))
	for i, ref := range refs {
		out[i] = r.answers[slices.Index(r.ids, ref.Gateway)]
	}
	return out, nil
}
