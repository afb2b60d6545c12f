package simulator

import (
	"container/heap"
	"math"
	"slices"
	"sync"

	"grandstand"
)

// truth is the timeline of who is watching, in local Unix ms. It is told of
// transitions as intervals, and asked about past instants in their order.
type truth struct {
	window int64 // ms, see Config.Window; static
	late   int64 // ms, see Config.Late; static

	mu      sync.Mutex
	now     int64 // the instant up to which pending was worked off
	seq     uint64
	pending deltas
	ids     map[grandstand.Segment]int
	segs    []grandstand.Segment
	counts  []bounds
	linger  map[*presence]struct{} // lost their connection, and have not resumed
	left    []farewell             // the latest goodbyes
	gone    []farewell             // who went lately, for all that is known
	suspect map[int]int64          // gateway → when it last dropped somebody
	crashed map[int]crash          // gateway → its last crash
	shaken  int64                  // until when the tally of a gateway that is gone counts
}

// crash is the sudden end of a gateway: its last tally counts until then.
type crash struct{ at, until int64 }

// crashNoticedMS is how long a player may take to notice, and go on saying
// goodbye to nobody.
const crashNoticedMS = 2_000

// farewell is a goodbye that a gateway may take along if it dies before its
// next tally.
type farewell struct {
	p  *presence
	at int64
}

// bounds is the truth about one segment at one instant.
type bounds struct {
	Lo, Hi         int // sessions: surely, and possibly, watching
	FansLo, FansHi int // distinct viewers
	Peak           int // the highest Hi so far
	Moving         int // sessions on their way between two gateways
	Came, Went     int // sessions that did so within Config.Late
}

// late returns the bounds as a gateway may know them that has told nothing for
// Config.Late.
func (b bounds) late() bounds {
	b.Lo, b.FansLo = max(b.Lo-b.Came, 0), max(b.FansLo-b.Came, 0)
	b.Hi, b.FansHi = b.Hi+b.Went, b.FansHi+b.Went
	return b
}

// with returns the bounds if so many others may be there too.
func (b bounds) with(guests int) bounds {
	b.Hi, b.FansHi, b.Peak = b.Hi+guests, b.FansHi+guests, b.Peak+guests
	return b
}

// presence is one session in the truth.
type presence struct {
	who     *person
	segs    []int
	lo, hi  edge
	moving  bool
	gateway int // that it was last on
	trail   trail
}

// edge is one of the two bounds of a presence: surely, or possibly, watching.
type edge struct {
	on      bool
	onAt    int64
	off     int64  // when it goes off; never if it is not known to
	pending *delta // that takes it off
}

const (
	never   = math.MaxInt64
	slackMS = 25 // of clocks that are compared through messages

	maxTickMS = grandstand.MaxTickMS * 2 // goodbyes are kept for so long
)

type edgeKind uint8

const (
	surely edgeKind = iota
	possibly
	onTheMove
	cameLately
	wentLately
)

// delta is one step of a bound.
type delta struct {
	at   int64
	seq  uint64
	p    *presence
	kind edgeKind
	d    int
	void bool
}

type deltas []*delta

func (h deltas) Len() int { return len(h) }
func (h deltas) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h deltas) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deltas) Push(x any)   { *h = append(*h, x.(*delta)) }
func (h *deltas) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return d
}

func newTruth(window, late int64) *truth {
	return &truth{
		window: window, late: late, ids: map[grandstand.Segment]int{},
		linger: map[*presence]struct{}{}, suspect: map[int]int64{}, crashed: map[int]crash{},
	}
}

// add returns the presence of a new session, which is not watching yet.
func (t *truth) add(who *person) *presence {
	p := &presence{who: who}
	segs := who.segments()
	p.segs = make([]int, len(segs))
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range segs {
		id, ok := t.ids[s]
		if !ok {
			id = len(t.segs)
			t.ids[s] = id
			t.segs = append(t.segs, s)
			t.counts = append(t.counts, bounds{})
		}
		p.segs[i] = id
	}
	return p
}

func (t *truth) pushLocked(p *presence, kind edgeKind, at int64, d int) *delta {
	t.seq++
	x := &delta{at: at, seq: t.seq, p: p, kind: kind, d: d}
	heap.Push(&t.pending, x)
	return x
}

func (p *presence) edge(kind edgeKind) *edge {
	if kind == surely {
		return &p.lo
	}
	return &p.hi
}

// onLocked has a bound on from at on, without a known end.
func (t *truth) onLocked(p *presence, kind edgeKind, at int64) {
	e := p.edge(kind)
	if e.on && e.off > at {
		if e.pending != nil {
			e.pending.void = true
		}
		e.pending, e.off = nil, never
		return
	}
	*e = edge{on: true, onAt: at, off: never}
	t.pushLocked(p, kind, at, +1)
}

// offLocked has a bound go off at the time, instead of the time known before.
func (t *truth) offLocked(p *presence, kind edgeKind, at int64) {
	e := p.edge(kind)
	if !e.on || e.off <= t.now {
		return
	}
	if e.pending != nil {
		e.pending.void = true
	}
	e.off = max(at, e.onAt, t.now+1)
	e.pending = t.pushLocked(p, kind, e.off, -1)
}

// begin: a request that opens or resumes the session is sent at the time.
func (t *truth) begin(p *presence, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("asks", at, p.gateway)
	delete(t.linger, p)
	t.onLocked(p, possibly, at-slackMS)
}

// confirm: the gateway said hello by the time.
func (t *truth) confirm(p *presence, at int64, gateway int, tick int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.gateway = gateway
	p.trail.add("confirmed", at, gateway)
	if e := &p.lo; e.on && e.off > at {
		t.onLocked(p, surely, at)
	} else {
		t.onLocked(p, surely, at+t.window)
	}
	t.arrivedLocked(p, at+t.window+2*tick)
}

// fail: the request of begin came to nothing at the time. unless says that the
// gateway surely did not take it; otherwise the session may count for linger
// ms. lapses is when the session goes off if it did not: 0 if it never was on.
func (t *truth) fail(p *presence, at, lapses, linger int64, refused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("fails", at, p.gateway)
	if !refused {
		lapses = max(lapses, at+linger+t.window)
	}
	t.offLocked(p, possibly, max(lapses, at))
	if p.lo.on {
		t.linger[p] = struct{}{}
	}
}

// drop: the connection is gone at the time, and the session is watching until
// its deadline, which is between lo and hi. moving says that it means to come
// back.
func (t *truth) drop(p *presence, at, lo, hi int64, moving bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("lost", at, p.gateway)
	p.trail.add("lapses", hi, p.gateway)
	t.offLocked(p, surely, lo-slackMS)
	t.offLocked(p, possibly, hi+t.window)
	t.linger[p] = struct{}{}
	if moving && !p.moving {
		p.moving = true
		t.pushLocked(p, onTheMove, at-slackMS, +1)
	}
}

// leave: the session said goodbye at the time.
func (t *truth) leave(p *presence, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("leaves", at, p.gateway)
	delete(t.linger, p)
	t.offLocked(p, surely, at-slackMS)
	t.offLocked(p, possibly, at+t.window)
	t.arrivedLocked(p, at)
	if len(t.left) >= 1000 && t.left[0].at < at-maxTickMS {
		t.left = slices.DeleteFunc(t.left, func(f farewell) bool { return f.at < at-maxTickMS })
	}
	t.left = append(t.left, farewell{p, at})
	if c, ok := t.crashed[p.gateway]; ok && at-c.at < crashNoticedMS {
		t.extendLocked(p, c.until)
	}
}

// disbelieve: the gateway has not been heard of, and what it surely read keeps
// the session until the time.
func (t *truth) disbelieve(p *presence, until int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("disbelieved", until, p.gateway)
	t.offLocked(p, surely, until-slackMS)
}

// believe: the gateway is heard of again, and has surely read a beat by the time.
func (t *truth) believe(p *presence, by int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("believed", by, p.gateway)
	t.onLocked(p, surely, by)
}

// abandon: the session does not come back any more; its deadline stands.
func (t *truth) abandon(p *presence, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("abandons", at, p.gateway)
	t.arrivedLocked(p, at)
}

func (t *truth) arrivedLocked(p *presence, at int64) {
	if p.moving {
		p.moving = false
		t.pushLocked(p, onTheMove, at, -1)
	}
}

// died: a gateway dropped a connection on its own at the time, so it may be
// gone. The last tally of a gateway that is gone counts on as a whole, and with
// it those of its sessions that had lost their connection before: longer, or
// shorter, by what their last beat was older, or younger, than the tally. If it
// crashed, so do those who left after that tally: nobody else knows of it.
func (t *truth) died(gateway int, at, tick, linger int64, crashed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shaken = max(t.shaken, at+linger+2*tick)
	known := at-t.suspect[gateway] < 500
	if known && (!crashed || at-t.crashed[gateway].at < 500) {
		return
	}
	t.suspect[gateway] = at
	until := at + linger + tick + t.window
	if crashed {
		t.crashed[gateway] = crash{at, until}
	}
	t.standLocked(gateway, t.lastTold(at, tick), until, crashed)
	for p := range t.linger {
		if p.gateway == gateway && p.lo.off != never && p.lo.off > at {
			t.offLocked(p, surely, min(p.lo.off, at+linger-2*tick))
		}
	}
	// The tallies of those that died just before it count for as long.
	for other, died := range t.suspect {
		if other == gateway || at-died > tick+diedTogetherMS {
			continue
		}
		if c, is := t.crashed[other]; is && at-c.at <= tick+diedTogetherMS {
			t.crashed[other] = crash{c.at, max(c.until, until)}
			t.standLocked(other, t.lastTold(c.at, tick), until, true)
		} else {
			t.standLocked(other, t.lastTold(died, tick), until, false)
		}
	}
}

// diedTogetherMS is how far apart the deaths of gateways may be whose tallies lapse
// together (DESIGN.md, "When a gateway dies").
const diedTogetherMS = 3_000

// lastTold returns how old the last tally of a gateway may be that is gone.
func (t *truth) lastTold(gone, tick int64) int64 { return gone - tick - tick/8 - t.window }

// standLocked has the last tally of a gateway, told not before since, count until
// then: with those of its sessions that had lost their connection, and goodbyes that
// only it knew of.
func (t *truth) standLocked(gateway int, since, until int64, goodbyes bool) {
	for p := range t.linger {
		if p.gateway == gateway && p.hi.off > since {
			t.extendLocked(p, until)
		}
	}
	for _, f := range t.left {
		if goodbyes && f.p.gateway == gateway && f.at > since {
			t.extendLocked(f.p, until)
		}
	}
}

// unsettled reports whether the sketches of a gateway that is gone count at the
// instant. They cannot forget those who have moved on and left since.
func (t *truth) unsettled(at int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return at <= t.shaken
}

// doubt: the goodbye of the session may have been heard as late as at the time,
// and so not be in a tally of before.
func (t *truth) doubt(p *presence, until int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.add("heard", until, p.gateway)
	t.extendLocked(p, until+t.window)
	if i := slices.IndexFunc(t.left, func(f farewell) bool { return f.p == p }); i >= 0 {
		t.left[i].at = max(t.left[i].at, until)
	}
	if c, ok := t.crashed[p.gateway]; ok && until-c.at < crashNoticedMS {
		t.extendLocked(p, c.until)
	}
}

// extendLocked lets a session possibly count until the time at least.
func (t *truth) extendLocked(p *presence, until int64) {
	if p.hi.off <= t.now {
		t.onLocked(p, possibly, t.now+1)
		t.offLocked(p, possibly, until)
	} else if p.hi.off != never {
		t.offLocked(p, possibly, max(p.hi.off, until))
	}
}

// advance works the timeline off up to the instant. It reports whether the
// instant can still be asked about: false if a later one was already.
func (t *truth) advanceLocked(at int64) bool {
	if at < t.now {
		return false
	}
	t.now = at
	for len(t.pending) > 0 && t.pending[0].at <= at {
		if x := heap.Pop(&t.pending).(*delta); !x.void {
			t.stepLocked(x)
		}
	}
	return true
}

func (t *truth) stepLocked(x *delta) {
	w := x.p.who
	switch x.kind {
	case onTheMove:
		for _, s := range x.p.segs {
			t.counts[s].Moving += x.d
		}
	case cameLately:
		for _, s := range x.p.segs {
			t.counts[s].Came--
		}
	case wentLately:
		for _, s := range x.p.segs {
			t.counts[s].Went--
		}
	case surely:
		was := w.lo > 0
		w.lo += x.d
		for _, s := range x.p.segs {
			t.counts[s].Lo += x.d
			t.counts[s].FansLo += crossed(was, w.lo > 0)
			if x.d > 0 && t.late > 0 {
				t.counts[s].Came++
			}
		}
		if x.d > 0 && t.late > 0 {
			t.pushLocked(x.p, cameLately, x.at+t.late, 0)
		}
	case possibly:
		was := w.hi > 0
		w.hi += x.d
		for _, s := range x.p.segs {
			c := &t.counts[s]
			c.Hi += x.d
			c.FansHi += crossed(was, w.hi > 0)
			c.Peak = max(c.Peak, c.Hi)
			if x.d < 0 && t.late > 0 {
				c.Went++
			}
		}
		if x.d < 0 && t.late > 0 {
			t.pushLocked(x.p, wentLately, x.at+t.late, 0)
		}
		if x.d < 0 && x.p.hi.off <= x.at {
			delete(t.linger, x.p)
			t.wentLocked(x.p, x.at)
		}
	}
}

func crossed(was, is bool) int {
	switch {
	case is && !was:
		return 1
	case was && !is:
		return -1
	}
	return 0
}

// forget gives up what was before the instant.
func (t *truth) forget(at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advanceLocked(at)
}

// at returns the truth at an instant, by segment: not before any that was asked
// about. It returns nil if it is. Segments that never had anybody are missing.
func (t *truth) at(at int64) map[grandstand.Segment]bounds {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.advanceLocked(at) {
		return nil
	}
	out := make(map[grandstand.Segment]bounds, len(t.segs))
	for i, s := range t.segs {
		out[s] = t.counts[i]
	}
	return out
}
