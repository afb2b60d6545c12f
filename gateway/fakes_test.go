package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
)

// fakeClock is the wall clock: the bubble's in a synctest bubble.
type fakeClock struct{}

func (fakeClock) Now() int64 { return time.Now().UnixMilli() }

var errDown = errors.New("redis is down")

// fakeRedis is everything that gateways share. While it is down every call
// takes until its deadline.
type fakeRedis struct {
	mu       sync.Mutex
	down     bool
	boot     string
	bootAt   int64 // of the first renewal
	version  int64
	seq      uint64
	records  map[string]grandstand.Record
	releases map[string][]grandstand.Release
	events   map[string]grandstand.Event
	members  map[string]grandstand.Member
	values   map[grandstand.Segment]bool
	refuse   map[string]bool               // values that are never admitted
	late     string                        // the member whose lease cannot be renewed
	keepNS   atomic.Int64                  // that a Keep takes
	unheard  atomic.Value                  // string: releases to this member do not get through
	deaf     atomic.Value                  // string: this member's claims are carried out, and not answered
	claims   map[string]grandstand.Claimed // answers, by session and owner

	shards    map[grandstand.TallyRef]*grandstand.ShardTally
	manifests map[string]*grandstand.Manifest
	written   int // shard tallies
	calls     map[string]int
}

func newFakeRedis() *fakeRedis {
	f := &fakeRedis{refuse: map[string]bool{}, calls: map[string]int{}, claims: map[string]grandstand.Claimed{}}
	f.flush("boot-1")
	return f
}

// flush empties it.
func (f *fakeRedis) flush(boot string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boot, f.bootAt = boot, 0
	f.version++
	f.records = map[string]grandstand.Record{}
	f.releases = map[string][]grandstand.Release{}
	f.events = map[string]grandstand.Event{}
	f.members = map[string]grandstand.Member{}
	f.values = map[grandstand.Segment]bool{}
	f.shards = map[grandstand.TallyRef]*grandstand.ShardTally{}
	f.manifests = map[string]*grandstand.Manifest{}
}

func (f *fakeRedis) setDown(down bool) {
	f.mu.Lock()
	f.down = down
	f.mu.Unlock()
}

// enter begins a call and holds the lock, unless Redis is down.
func (f *fakeRedis) enter(ctx context.Context, name string) error {
	f.mu.Lock()
	f.calls[name]++
	if !f.down {
		return nil
	}
	f.mu.Unlock()
	if _, ok := ctx.Deadline(); !ok {
		panic(name + " was called without a deadline")
	}
	<-ctx.Done()
	return grandstand.WrapError(grandstand.CodeUnavailable, errDown, "down")
}

func (f *fakeRedis) Claim(ctx context.Context, recs []grandstand.Record) (_ []grandstand.Claimed, err error) {
	claimed := make([]grandstand.Claimed, len(recs))
	if err := f.enter(ctx, "Claim"); err != nil {
		return claimed, err
	}
	defer f.mu.Unlock()
	for i, rec := range recs {
		if claimed[i] = f.claimLocked(rec); rec.Owner == f.deaf.Load() {
			claimed[i], err = grandstand.Claimed{}, grandstand.WrapError(grandstand.CodeUnavailable, errDown, "down")
		}
	}
	return claimed, err
}

func (f *fakeRedis) claimLocked(rec grandstand.Record) grandstand.Claimed {
	cur, ok := f.records[rec.Session]
	if !ok {
		rec.Gen = max(rec.Gen+1, uint64(time.Now().UnixMilli()))
		f.records[rec.Session] = rec
		return grandstand.Claimed{Gen: rec.Gen}
	}
	last := f.claims[rec.Session+rec.Owner]
	if rec.Asked && last.Gen > rec.Gen {
		return last
	}
	if cur.Owner == rec.Owner {
		return grandstand.Claimed{Gen: cur.Gen}
	}
	rec.Gen = max(cur.Gen, rec.Gen) + 1
	rec.ClaimedAt, rec.ClaimedFrom = time.Now().UnixMilli(), cur.Owner
	f.records[rec.Session] = rec
	f.claims[rec.Session+rec.Owner] = grandstand.Claimed{Gen: rec.Gen, Previous: &cur}
	return grandstand.Claimed{Gen: rec.Gen, Previous: &cur}
}

func (f *fakeRedis) Keep(ctx context.Context, recs []grandstand.Record) (lost []int, err error) {
	select {
	case <-time.After(time.Duration(f.keepNS.Load())):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := f.enter(ctx, "Keep"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	for i, r := range recs {
		cur, ok := f.records[r.Session]
		if ok && cur.Owner != r.Owner && cur.Gen >= r.Gen {
			lost = append(lost, i)
			continue
		}
		f.records[r.Session] = r
	}
	return lost, nil
}

func (f *fakeRedis) Forget(ctx context.Context, recs []grandstand.Record) error {
	if err := f.enter(ctx, "Forget"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	for _, r := range recs {
		if cur := f.records[r.Session]; cur.Owner == r.Owner && cur.Gen <= r.Gen {
			delete(f.records, r.Session)
		}
	}
	return nil
}

func (f *fakeRedis) Release(ctx context.Context, owner string, rels []grandstand.Release) (ids []grandstand.ReleaseID, err error) {
	if owner == f.unheard.Load() {
		<-ctx.Done()
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, errDown, "down")
	}
	if err := f.enter(ctx, "Release"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	for _, r := range rels {
		f.seq++
		r.ID = grandstand.ReleaseID{MS: uint64(time.Now().UnixMilli()), Seq: f.seq}
		f.releases[owner] = append(f.releases[owner], r)
		ids = append(ids, r.ID)
	}
	return ids, nil
}

func (f *fakeRedis) Releases(ctx context.Context, owner string, after grandstand.ReleaseID) (rels []grandstand.Release, err error) {
	if err := f.enter(ctx, "Releases"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	for _, r := range f.releases[owner] {
		if after.Before(r.ID) {
			rels = append(rels, r)
		}
	}
	return rels, nil
}

func (f *fakeRedis) WriteTallies(ctx context.Context, shards []*grandstand.ShardTally, m *grandstand.Manifest) error {
	if err := f.enter(ctx, "WriteTallies"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	for _, s := range shards {
		f.shards[grandstand.TallyRef{Gateway: s.Gateway, Shard: s.Shard}] = s
		f.written++
	}
	f.manifests[m.Gateway] = m
	return nil
}

func (f *fakeRedis) Admit(ctx context.Context, _ *grandstand.Event, segs []grandstand.Segment) ([]bool, error) {
	if err := f.enter(ctx, "Admit"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	ok := make([]bool, len(segs))
	for i, s := range segs {
		ok[i] = !f.refuse[s.Value]
		f.values[s] = ok[i]
	}
	return ok, nil
}

func (f *fakeRedis) PutEvent(ctx context.Context, e *grandstand.Event) error {
	if err := f.enter(ctx, "PutEvent"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if old, ok := f.events[e.Name]; ok && e.UpdatedAt < old.UpdatedAt {
		return nil
	}
	f.version++
	f.events[e.Name] = *e
	return nil
}

func (f *fakeRedis) GetEvent(ctx context.Context, name string) (*grandstand.Event, error) {
	if err := f.enter(ctx, "GetEvent"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	e, ok := f.events[name]
	if !ok {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "no event %s", name)
	}
	return &e, nil
}

func (f *fakeRedis) ListEvents(ctx context.Context) (all []*grandstand.Event, err error) {
	if err := f.enter(ctx, "ListEvents"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	for _, e := range f.events {
		all = append(all, &e)
	}
	return all, nil
}

func (f *fakeRedis) Renew(ctx context.Context, m grandstand.Member) (ms grandstand.Membership, err error) {
	if err := f.enter(ctx, "Renew"); err != nil {
		return ms, err
	}
	defer f.mu.Unlock()
	if f.late == m.ID {
		return ms, errDown
	}
	if f.bootAt == 0 {
		f.bootAt = time.Now().UnixMilli()
	}
	m.Alive = true
	f.members[m.ID] = m
	ms.Now, ms.Boot, ms.EventsVersion = time.Now().UnixMilli(), f.boot, f.version
	for _, m := range f.members {
		ms.Members = append(ms.Members, m)
	}
	return ms, nil
}

func (f *fakeRedis) BootAt(ctx context.Context) (int64, error) {
	if err := f.enter(ctx, "BootAt"); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	return f.bootAt, nil
}

func (f *fakeRedis) Resign(ctx context.Context, id string) error {
	if err := f.enter(ctx, "Resign"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	delete(f.members, id)
	return nil
}

// count returns what an aggregator would make of the tallies: the sessions of a
// segment of an event over all gateways, minus moves.
func (f *fakeRedis) count(event, segment string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	seg, err := grandstand.ParseSegment(segment)
	if err != nil {
		panic(err)
	}
	type state struct {
		released grandstand.ReleaseID
		n        int
	}
	states := map[string]*state{}
	var moves []grandstand.Move
	for ref, st := range f.shards {
		if ref.Shard != grandstand.ShardOf(event) {
			continue
		}
		s := &state{released: st.Released}
		if m := f.manifests[ref.Gateway]; m != nil {
			for _, r := range m.Shards {
				if r.Shard == ref.Shard && r.At == st.At {
					s.released = m.Released
				}
			}
		}
		states[ref.Gateway] = s
		for _, t := range st.Events {
			if t.Event != event {
				continue
			}
			moves = append(moves, t.Moves...)
			for _, sg := range t.Segments {
				if sg.Segment == seg {
					s.n += int(sg.Sessions)
				}
			}
		}
	}
	sum := 0
	for _, s := range states {
		sum += s.n
	}
	dims := []string{"country", "region", "team"}
	for _, m := range moves {
		s := states[m.From]
		if s == nil || !s.released.Before(m.Release) {
			continue
		}
		if seg == grandstand.WorldSegment {
			sum--
		} else if i := slices.Index(dims, seg.Dim); i >= 0 && m.Values[i] == seg.Value {
			sum--
		}
	}
	return sum
}

func (f *fakeRedis) manifest(id string) grandstand.Manifest {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.manifests[id]; m != nil {
		return *m
	}
	return grandstand.Manifest{}
}

// called returns how often a method was called.
func (f *fakeRedis) called(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[name]
}

func (f *fakeRedis) record(session string) grandstand.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[session]
}

// fakeHub has one board per event and passes on what show is given.
type fakeHub struct {
	mu     sync.Mutex
	boards map[string]*grandstand.Board
	subs   map[int]fakeSub
	next   int
}

type fakeSub struct {
	event  *grandstand.Event
	notify func(*grandstand.View)
}

func newFakeHub() *fakeHub {
	return &fakeHub{boards: map[string]*grandstand.Board{}, subs: map[int]fakeSub{}}
}

func (h *fakeHub) Subscribe(e *grandstand.Event, notify func(*grandstand.View)) (*grandstand.View, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.next
	h.next++
	h.subs[id] = fakeSub{e, notify}
	var v *grandstand.View
	if b := h.boards[e.Name]; b != nil {
		v = grandstand.NewView(b, e.Dims, nil)
	}
	return v, func() {
		h.mu.Lock()
		delete(h.subs, id)
		h.mu.Unlock()
	}
}

func (h *fakeHub) Latest(event string) *grandstand.Board {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boards[event]
}

func (h *fakeHub) Epoch() int64 { return 7 }

func (h *fakeHub) show(b *grandstand.Board) {
	h.mu.Lock()
	h.boards[b.Event] = b
	var subs []fakeSub
	for _, s := range h.subs {
		if s.event.Name == b.Event {
			subs = append(subs, s)
		}
	}
	h.mu.Unlock()
	if len(subs) == 0 {
		return
	}
	v := grandstand.NewView(b, subs[0].event.Dims, nil)
	for _, s := range subs {
		s.notify(v)
	}
}

// board returns a live board of now: sessions by "team:KC", the world first.
func board(event string, at int64, world uint64, segments ...any) *grandstand.Board {
	b := &grandstand.Board{Event: event, At: at, Epoch: 1, TickMS: 2000, Coverage: 1}
	add := func(s grandstand.Segment, n uint64) {
		b.Segments = append(b.Segments, grandstand.SegmentCount{Segment: s, Sessions: n, Fans: n, Peak: n, Reach: n})
	}
	add(grandstand.WorldSegment, world)
	for i := 0; i < len(segments); i += 2 {
		s, err := grandstand.ParseSegment(segments[i].(string))
		if err != nil {
			panic(err)
		}
		add(s, uint64(segments[i+1].(int)))
	}
	slices.SortFunc(b.Segments, func(x, y grandstand.SegmentCount) int { return grandstand.CompareSegments(x.Segment, y.Segment) })
	return b
}

// fakeAuth is AuthNone with what the test wants otherwise.
type fakeAuth struct {
	AuthNone
	identify func(id *Identity) error
	renew    func(token string, old *Identity) (*Identity, error)
	admin    error
	reader   error
}

func (a *fakeAuth) Renew(_ context.Context, token, _ string, old *Identity) (*Identity, error) {
	return a.renew(token, old)
}
func (a *fakeAuth) Admin(*httpRequest) error                     { return a.admin }
func (a *fakeAuth) Reader(*httpRequest, *grandstand.Event) error { return a.reader }
func (a *fakeAuth) Identify(r *httpRequest, event string) (*Identity, error) {
	id, err := a.AuthNone.Identify(r, event)
	if err == nil && a.identify != nil {
		err = a.identify(id)
	}
	return id, err
}
