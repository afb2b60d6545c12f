package aggregator

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testClock is a time that a test sets.
type testClock struct {
	mu sync.Mutex
	ms int64
}

func (c *testClock) Now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ms
}

func (c *testClock) set(ms int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ms = ms
}

// bubbleClock is the time of a synctest bubble.
type bubbleClock struct{}

func (bubbleClock) Now() int64 { return time.Now().UnixMilli() }

var errDown = grandstand.Errorf(grandstand.CodeUnavailable, "down")

// fakeRedis is the part of Redis that an aggregator sees. Tallies and boards go
// through their wire forms, as they do in earnest.
type fakeRedis struct {
	clock Clock

	mu        sync.Mutex
	down      bool
	boot      string
	bootAt    int64
	boots     int
	version   int64
	members   map[string]grandstand.Member
	leases    map[int]fakeLease
	alive     map[string]int64
	manifests map[string]grandstand.Manifest
	tallies   map[grandstand.TallyRef][]byte
	boards    map[int]fakeBoard
	events    map[string]grandstand.Event
	steps     map[string][]grandstand.Step
	reach     map[string]map[grandstand.Segment]grandstand.CheckpointSegment

	calls     map[string]int
	published []*grandstand.ShardBoard // all that were accepted
	onPublish func(*grandstand.ShardBoard)
}

type fakeLease struct {
	owner string
	until int64
}

type fakeBoard struct {
	at, epoch int64
	bytes     []byte
}

func newFakeRedis(clock Clock) *fakeRedis {
	r := &fakeRedis{clock: clock, calls: map[string]int{}}
	r.forget()
	r.bootAt = 0 // an old one
	return r
}

// forget loses all data.
func (r *fakeRedis) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boots++
	r.boot, r.bootAt = string(rune('A'+r.boots)), r.clock.Now()
	r.version++
	r.members = map[string]grandstand.Member{}
	r.leases = map[int]fakeLease{}
	r.alive = map[string]int64{}
	r.manifests = map[string]grandstand.Manifest{}
	r.tallies = map[grandstand.TallyRef][]byte{}
	r.boards = map[int]fakeBoard{}
	r.events = map[string]grandstand.Event{}
	r.steps = map[string][]grandstand.Step{}
	r.reach = map[string]map[grandstand.Segment]grandstand.CheckpointSegment{}
}

func (r *fakeRedis) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// enter counts a call and reports trouble.
func (r *fakeRedis) enter(ctx context.Context, call string) error {
	r.calls[call]++
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, ok := ctx.Deadline(); !ok {
		return errors.New(call + " has no deadline")
	}
	if r.down {
		return errDown
	}
	return nil
}

const fakeLeaseMS, fakeMemberMS, fakeListedMS = 4_000, 5_000, 60_000

func (r *fakeRedis) HoldShards(ctx context.Context, member string) ([]int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "HoldShards"); err != nil {
		return nil, err
	}
	now := r.clock.Now()
	r.alive[member] = now + fakeLeaseMS
	maps.DeleteFunc(r.alive, func(_ string, until int64) bool { return until <= now })
	fair := (grandstand.Shards + len(r.alive) - 1) / len(r.alive)
	var mine []int
	for s := range grandstand.Shards {
		if r.leases[s].owner == member {
			if len(mine) < fair {
				mine = append(mine, s)
			} else {
				delete(r.leases, s)
			}
		}
	}
	for s := range grandstand.Shards {
		if l := r.leases[s]; len(mine) < fair && l.owner != member && l.until <= now {
			mine = append(mine, s)
		}
	}
	for _, s := range mine {
		r.leases[s] = fakeLease{member, now + fakeLeaseMS}
	}
	slices.Sort(mine)
	return mine, nil
}

func (r *fakeRedis) DropShards(ctx context.Context, member string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "DropShards"); err != nil {
		return err
	}
	delete(r.alive, member)
	maps.DeleteFunc(r.leases, func(_ int, l fakeLease) bool { return l.owner == member })
	return nil
}

func (r *fakeRedis) Renew(ctx context.Context, m grandstand.Member) (grandstand.Membership, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Renew"); err != nil {
		return grandstand.Membership{}, err
	}
	now := r.clock.Now()
	if old, ok := r.members[m.ID]; ok {
		m.JoinedAt = old.JoinedAt
	} else {
		m.JoinedAt = now
	}
	m.SeenAt = now
	r.members[m.ID] = m
	ms := grandstand.Membership{Now: now, Boot: r.boot, BootAt: r.bootAt, EventsVersion: r.version}
	for id, m := range r.members {
		if now-m.SeenAt > fakeListedMS {
			delete(r.members, id)
			continue
		}
		m.Alive = now-m.SeenAt < fakeMemberMS
		ms.Members = append(ms.Members, m)
	}
	return ms, nil
}

func (r *fakeRedis) Resign(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, id)
	return r.enter(ctx, "Resign")
}

func (r *fakeRedis) Manifests(ctx context.Context, gateways []string) ([]*grandstand.Manifest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Manifests"); err != nil {
		return nil, err
	}
	out := make([]*grandstand.Manifest, len(gateways))
	for i, g := range gateways {
		if m, ok := r.manifests[g]; ok {
			out[i] = &m
		}
	}
	return out, nil
}

func (r *fakeRedis) ShardTallies(ctx context.Context, refs []grandstand.TallyRef) ([]*grandstand.EncodedShardTally, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "ShardTallies"); err != nil {
		return nil, err
	}
	out := make([]*grandstand.EncodedShardTally, len(refs))
	for i, ref := range refs {
		if b, ok := r.tallies[ref]; ok {
			t, err := grandstand.DecodeEncodedShardTally(bytes.Clone(b))
			if err != nil {
				return nil, err
			}
			out[i] = t
		}
	}
	return out, nil
}

// write is what a gateway does at a tick.
func (r *fakeRedis) write(shards []*grandstand.ShardTally, m *grandstand.Manifest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return
	}
	for _, t := range shards {
		r.tallies[grandstand.TallyRef{Gateway: t.Gateway, Shard: t.Shard}] = grandstand.AppendShardTally(nil, t)
	}
	if m != nil {
		r.manifests[m.Gateway] = *m
	}
}

func (r *fakeRedis) Publish(ctx context.Context, sb *grandstand.ShardBoard) (grandstand.Published, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Publish"); err != nil {
		return grandstand.Published{}, err
	}
	now, last := r.clock.Now(), r.boards[sb.Shard]
	epoch := max(sb.Epoch, 1, last.epoch)
	switch {
	case sb.At > now+1000:
		return grandstand.Published{Epoch: last.epoch, At: last.at, Refused: "future"}, nil
	case last.at > now+5000:
		epoch++
	case sb.At <= last.at:
		return grandstand.Published{Epoch: last.epoch, At: last.at, Refused: "old"}, nil
	}
	b := grandstand.AppendShardBoard(nil, sb)
	r.boards[sb.Shard] = fakeBoard{sb.At, epoch, b}
	got, err := grandstand.DecodeShardBoard(b)
	if err != nil {
		return grandstand.Published{}, err
	}
	got.SetEpoch(epoch)
	r.published = append(r.published, got)
	if r.onPublish != nil {
		r.onPublish(got)
	}
	return grandstand.Published{Epoch: epoch, At: sb.At}, nil
}

func (r *fakeRedis) LastBoard(ctx context.Context, shard int) (*grandstand.ShardBoard, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "LastBoard"); err != nil {
		return nil, err
	}
	last, ok := r.boards[shard]
	if !ok {
		return nil, nil
	}
	sb, err := grandstand.DecodeShardBoard(last.bytes)
	if err == nil {
		sb.SetEpoch(last.epoch)
	}
	return sb, err
}

// board returns the newest board of an event, nil if it is on none.
func (r *fakeRedis) board(t interface {
	Helper()
	Fatal(...any)
}, event string) *grandstand.Board {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	sb, err := r.LastBoard(ctx, grandstand.ShardOf(event))
	if err != nil {
		t.Fatal(err)
	}
	if sb == nil {
		return nil
	}
	for _, b := range sb.Boards {
		if b.Event == event {
			return b
		}
	}
	return nil
}

func (r *fakeRedis) SaveSeries(ctx context.Context, updates []grandstand.SeriesUpdate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "SaveSeries"); err != nil {
		return err
	}
	for _, u := range updates {
		r.steps[u.Event] = append(r.steps[u.Event], u.Steps...)
		if r.reach[u.Event] == nil {
			r.reach[u.Event] = map[grandstand.Segment]grandstand.CheckpointSegment{}
		}
		for _, s := range u.Reach {
			r.reach[u.Event][s.Segment] = s
		}
	}
	return nil
}

func (r *fakeRedis) Steps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "Steps"); err != nil {
		return nil, err
	}
	var out []grandstand.Step
	for _, s := range r.steps[event] {
		if grandstand.HourOf(s.At) == hour {
			out = append(out, s)
		}
	}
	return out, nil
}

func (r *fakeRedis) LoadReach(ctx context.Context, event string) ([]grandstand.CheckpointSegment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "LoadReach"); err != nil {
		return nil, err
	}
	return slices.Collect(maps.Values(r.reach[event])), nil
}

func (r *fakeRedis) GetEvent(ctx context.Context, name string) (*grandstand.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "GetEvent"); err != nil {
		return nil, err
	}
	e, ok := r.events[name]
	if !ok {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "no such event")
	}
	return &e, nil
}

func (r *fakeRedis) ListEvents(ctx context.Context) ([]*grandstand.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "ListEvents"); err != nil {
		return nil, err
	}
	var out []*grandstand.Event
	for _, e := range r.events {
		out = append(out, &e)
	}
	return out, nil
}

func (r *fakeRedis) PutEvent(ctx context.Context, e *grandstand.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enter(ctx, "PutEvent"); err != nil {
		return err
	}
	r.put(*e)
	return nil
}

func (r *fakeRedis) put(e grandstand.Event) {
	if old, ok := r.events[e.Name]; !ok || e.UpdatedAt > old.UpdatedAt {
		r.events[e.Name] = e
		r.version++
	}
}

// configure puts an event, as a gateway would.
func (r *fakeRedis) configure(e grandstand.Event) {
	if err := e.Normalize(); err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(e)
}

// fakeArchive keeps checkpoints, and can be slow or away.
type fakeArchive struct {
	mu    sync.Mutex
	down  bool
	stuck chan struct{} // if not nil, calls wait until it is closed or they are given up
	saves int
	cps   map[string]*grandstand.Checkpoint
	steps map[string][]grandstand.Step
}

func newFakeArchive() *fakeArchive {
	return &fakeArchive{cps: map[string]*grandstand.Checkpoint{}, steps: map[string][]grandstand.Step{}}
}

func (f *fakeArchive) enter(ctx context.Context) error {
	f.mu.Lock()
	stuck, down := f.stuck, f.down
	f.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if down {
		return errDown
	}
	return ctx.Err()
}

func (f *fakeArchive) SaveCheckpoint(ctx context.Context, cp *grandstand.Checkpoint) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.saves++
	c, err := grandstand.DecodeCheckpoint(grandstand.AppendCheckpoint(nil, cp))
	f.cps[cp.Event.Name] = c
	return err
}

func (f *fakeArchive) LoadCheckpoint(ctx context.Context, event string) (*grandstand.Checkpoint, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	return f.checkpoint(event), nil
}

func (f *fakeArchive) checkpoint(event string) *grandstand.Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cps[event]
}

func (f *fakeArchive) SaveSteps(ctx context.Context, event string, hour int64, steps []grandstand.Step) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range steps {
		if grandstand.HourOf(s.At) != hour {
			return errors.New("a step of another hour")
		}
		if !slices.ContainsFunc(f.steps[event], func(o grandstand.Step) bool { return o.At == s.At }) {
			f.steps[event] = append(f.steps[event], s)
		}
	}
	return nil
}

func (f *fakeArchive) LoadSteps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []grandstand.Step
	for _, s := range f.steps[event] {
		if grandstand.HourOf(s.At) == hour {
			out = append(out, s)
		}
	}
	return out, nil
}
