package aggregator

import (
	"cmp"
	"runtime"
	"slices"
	"sync"

	"grandstand"
)

// The kinds of inputs that are mended: labels of the metric.
const (
	brokenTally  = "tally_sums"  // a tally did not add up and was mended
	brokenMove   = "move"        // a move names a session that the tally does not count: it came and went between two
	brokenSketch = "sketch"      // a sketch cannot be read
	brokenShard  = "wrong_shard" // a tally is not of the shard that it was written for
)

// merger merges the contributions to an event into a board. It holds the memory
// that this takes, so it has one owner.
type merger struct {
	minCohort int               // of events that do not say
	mended    func(kind string) // told of inputs that are not as they should be

	unions
	before    []int32            // by slot; all zero between calls
	left      []int64            // by slot; all zero between calls
	listed    []int32            // slots of the board's segments
	stale     []int32            // slots of the segments to be estimated
	strays    []*grandstand.Move // whose sessions are not where they are said to be; empty between calls
	audiences map[*string][]int32
}

// grow returns a slice of at least n elements that are zero if those of s are.
func grow[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	return make([]T, n+n/2)
}

// merge counts the event anew, and returns the board without its head. Only the
// segments whose sketches changed are estimated again. The peak is raised if
// the board is live.
func (m *merger) merge(e *event, at int64, live bool) *grandstand.Board {
	m.gather(e)
	m.sum(e)
	m.estimateAll(e)
	if live {
		e.raise(at)
	}
	b := m.board(e, live)
	for i := range e.segs {
		s := &e.segs[i]
		clear(s.sketches) // they would keep the messages they lie in
		s.sketches = s.sketches[:0]
	}
	e.changed, e.unpeaked = false, !live
	return b
}

// gather finds the moves to be taken off: those of sessions that a tally in use
// still counts, since it was made after they came and before its gateway read
// the release.
func (m *merger) gather(e *event) {
	e.applied = 0
	for _, c := range e.from {
		clear(c.moved)
		c.moved = c.moved[:0]
	}
	for _, by := range e.from {
		if !by.used {
			continue
		}
		var from *contribution
		for i := range by.tally.Moves {
			mv := &by.tally.Moves[i]
			if i == 0 || mv.From != by.tally.Moves[i-1].From {
				from = e.find(mv.From)
			}
			switch {
			case from == by:
			case from == nil:
				if mv.Since == 0 {
					m.strays = append(m.strays, mv)
				}
			case !from.used || from.holding.knows(mv.Release) || mv.Since > from.holding.asOf:
			default:
				from.moved = append(from.moved, mv)
				e.applied++
			}
		}
	}
	m.settle(e)
}

// settle takes off the moves that found nobody to take off. A session that had
// moved to its last owner, which has not told of it yet, is still in the tally of
// the one before: which that is only the last owner knows. So it goes off the
// oldest tally that was made before it moved on. There is one only while a
// gateway is late or dead.
func (m *merger) settle(e *event) {
	for _, c := range e.from {
		if over := -c.left(); over > 0 {
			slices.SortFunc(c.moved, func(x, y *grandstand.Move) int {
				return cmp.Or(cmp.Compare(x.Release.MS, y.Release.MS), cmp.Compare(x.Release.Seq, y.Release.Seq))
			})
			m.strays = append(m.strays, c.moved[len(c.moved)-over:]...)
			c.moved = c.moved[:len(c.moved)-over]
			e.applied -= over
		}
	}
	for _, mv := range m.strays {
		var oldest *contribution
		for _, c := range e.from {
			if c.used && c.left() > 0 && c.holding.asOf < int64(mv.Release.MS) &&
				(oldest == nil || c.holding.asOf < oldest.holding.asOf) {
				oldest = c
			}
		}
		if oldest == nil {
			m.mended(brokenMove)
			continue
		}
		oldest.moved = append(oldest.moved, mv)
		e.applied++
	}
	clear(m.strays) // they would keep the messages they lie in
	m.strays = m.strays[:0]
}

// left returns how many sessions there are that have not moved away.
func (c *contribution) left() int { return int(c.rows[0].sessions) - len(c.moved) }

// sum adds the contributions in use up, without the sessions that moved.
func (m *merger) sum(e *event) {
	for i := range e.segs {
		e.segs[i].sessions = 0
	}
	clear(e.dark)
	for _, c := range e.from {
		c.counted = 0
		if !c.used {
			continue
		}
		if len(c.moved) > 0 {
			m.sumMoved(e, c)
		} else {
			for _, r := range c.rows {
				e.segs[r.slot].sessions += r.sessions
			}
			c.counted = c.rows[0].sessions
		}
		for _, dim := range c.gaps {
			e.dark[dim] = e.dark[dim] || c.counted > 0
		}
		for _, r := range c.rows {
			if r.source >= 0 && r.sessions > 0 {
				s := &e.segs[r.slot]
				s.sketches = append(s.sketches, c.tally.Segments[r.source].Sketch)
			}
		}
	}
}

// sumMoved adds a contribution without the sessions that moved away from it.
// Their viewers stay in its sketches; they are in the new owner's as well, and
// a union counts them once.
func (m *merger) sumMoved(e *event, c *contribution) {
	m.left = grow(m.left, len(e.segs))
	for _, r := range c.rows {
		m.left[r.slot] += int64(r.sessions)
	}
	if m.audiences == nil {
		m.audiences = map[*string][]int32{}
	}
	clear(m.audiences)
	for _, mv := range c.moved {
		m.takeOff(e, c, m.slotsOf(e, mv.Values))
	}
	c.counted = uint64(m.left[worldSlot])
	for _, r := range c.rows {
		e.segs[r.slot].sessions += uint64(m.left[r.slot])
		m.left[r.slot] = 0
	}
}

// slotsOf returns the slots of an audience, one per dimension of the event; -1
// where no such segment was ever counted.
func (m *merger) slotsOf(e *event, values []string) []int32 {
	if len(values) == 0 {
		values = []string{""}
	}
	if slots, ok := m.audiences[&values[0]]; ok {
		return slots
	}
	slots := make([]int32, len(e.dims))
	for i, dim := range e.dims {
		slots[i] = -1
		// In the order of the dimensions, unless the configuration is not
		// known or has just been changed.
		try := values
		if e.cfg != nil && len(values) == len(e.dims) {
			try = values[i : i+1]
		}
		for _, v := range try {
			if slot, ok := e.slots[grandstand.Segment{Dim: dim, Value: v}]; ok {
				slots[i] = slot
				break
			}
		}
	}
	m.audiences[&values[0]] = slots
	return slots
}

// takeOff takes one session off the world and off one segment of each
// dimension: that of the audience, or, so that the sums hold, another.
func (m *merger) takeOff(e *event, c *contribution, slots []int32) {
	if m.left[worldSlot] <= 0 {
		m.mended(brokenMove)
		return
	}
	m.left[worldSlot]--
	for dim, slot := range slots {
		if slices.Contains(c.gaps, int32(dim)) {
			continue
		}
		if slot < 0 || m.left[slot] <= 0 {
			m.mended(brokenMove)
			slot = m.substitute(e, c, int32(dim))
		}
		m.left[slot]--
	}
}

// substitute returns a segment of the dimension that has sessions left: unknown
// if it has, else the largest. There is one, since the sums hold.
func (m *merger) substitute(e *event, c *contribution, dim int32) int32 {
	best := int32(-1)
	for _, r := range c.rows {
		if e.segs[r.slot].dim != dim || m.left[r.slot] <= 0 {
			continue
		}
		if e.segs[r.slot].segment.Value == grandstand.Unknown {
			return r.slot
		}
		if best < 0 || m.left[r.slot] > m.left[best] {
			best = r.slot
		}
	}
	return best
}

// sideBySide is from how many bytes of sketches on segments of one event are
// estimated side by side: some 0.2 ms of work.
const sideBySide = 256 << 10

// estimateAll counts the viewers of the segments whose sketches changed.
func (m *merger) estimateAll(e *event) {
	m.stale = m.stale[:0]
	size := 0
	for i := range e.segs {
		if s := &e.segs[i]; s.stale {
			m.stale = append(m.stale, int32(i))
			for _, sketch := range s.sketches {
				size += len(sketch)
			}
		}
	}
	if size < sideBySide {
		for _, slot := range m.stale {
			m.estimate(&e.segs[slot], m.mended)
		}
		return
	}
	parallel(len(m.stale), runtime.GOMAXPROCS(0), func(i int) {
		u := spareUnions.Get().(*unions)
		u.estimate(&e.segs[m.stale[i]], m.mended)
		spareUnions.Put(u)
	})
}

// unions is the memory to merge the sketches of a segment in. It has one owner.
type unions struct{ union, reach grandstand.Union }

var spareUnions = sync.Pool{New: func() any { return new(unions) }}

// estimate counts the viewers of a segment, now and since the start.
func (u *unions) estimate(s *segment, mended func(string)) {
	s.stale = false
	u.union.Reset()
	for _, sketch := range s.sketches {
		if len(sketch) > 0 && u.union.Merge(sketch) != nil {
			mended(brokenSketch)
		}
	}
	s.estimate = u.union.Estimate()
	if s.estimate > 0 && u.reachOut(s) != nil {
		mended(brokenSketch)
	}
}

// reachOut adds the viewers in u.union to the reach of a segment.
func (u *unions) reachOut(s *segment) (err error) {
	u.reach.Reset()
	u.reach.MergeUnion(&u.union)
	if len(s.reach) > 0 {
		err = u.reach.Merge(s.reach)
	}
	reached := u.reach.Estimate()
	if reached == s.reached && len(s.reach) > 0 {
		return err // nobody new
	}
	s.reach, s.reached, s.unsaved = u.reach.AppendBinary(nil), reached, true
	return err
}

// raise offers the sessions of a live board to the peaks.
func (e *event) raise(at int64) {
	for i := range e.segs {
		if s := &e.segs[i]; s.sessions > s.peak {
			s.peak, s.peakAt, s.unsaved = s.sessions, at, true
		}
	}
}

// board makes the segments of the event's board, and of the public's view.
func (m *merger) board(e *event, live bool) *grandstand.Board {
	b := &grandstand.Board{
		Event:    e.name,
		TickMS:   e.tickMS,
		Segments: make([]grandstand.SegmentCount, 0, len(e.segs)),
	}
	m.listed = m.listed[:0]
	for _, slot := range e.sorted() {
		s := &e.segs[slot]
		if slot != worldSlot && (s.dim < 0 || e.dark[s.dim] || s.sessions == 0 && s.peak == 0 && s.reached == 0) {
			continue
		}
		fans := min(s.estimate, s.sessions)
		b.Segments = append(b.Segments, grandstand.SegmentCount{
			Segment: s.segment, Sessions: s.sessions, Fans: fans,
			Peak: s.peak, Reach: max(s.reached, s.reachFloor, fans),
		})
		m.listed = append(m.listed, slot)
	}
	for _, f := range fold(b.Segments, e.cohort(m.minCohort)) {
		b.Public = append(b.Public, m.public(e, b.Segments, f, live))
	}
	for i, slot := range m.listed {
		e.segs[slot].folded = b.Segments[i].Folded
	}
	unite(b)
	b.Body = grandstand.AppendBoardBody(nil, b)
	return b
}

// unite has the world, which is the union of all segments, be no smaller than any
// part of it: a few thousand are counted exactly, and the union of more is an
// estimate, which may fall short of them.
func unite(b *grandstand.Board) {
	world := &b.Segments[0]
	for _, list := range [...][]grandstand.SegmentCount{b.Segments, b.Public} {
		for i := range list {
			world.Fans = max(world.Fans, list[i].Fans)
			world.Reach = max(world.Reach, list[i].Reach)
		}
	}
}

// public counts the "other" that the public is shown for a dimension.
func (m *merger) public(e *event, segs []grandstand.SegmentCount, f folded, live bool) grandstand.SegmentCount {
	dim := segs[f.lo].Segment.Dim
	peak := e.publicPeak[dim]
	if live {
		peak = max(peak, f.sessions)
	}
	m.union.Reset()
	m.reach.Reset()
	merge := func(u *grandstand.Union, sketch []byte) {
		if len(sketch) > 0 && u.Merge(sketch) != nil {
			m.mended(brokenSketch)
		}
	}
	for i := f.lo; i < f.hi; i++ {
		own := segs[i].Segment.Value == grandstand.Other
		if !own && !segs[i].Folded {
			continue
		}
		if own {
			peak = max(peak, segs[i].Peak)
		}
		s := &e.segs[m.listed[i]]
		for _, sketch := range s.sketches {
			merge(&m.union, sketch)
		}
		merge(&m.reach, s.reach)
	}
	fans := min(m.union.Estimate(), f.sessions)
	reach := max(m.reach.Estimate(), fans, e.publicReach[dim])
	e.publicPeak[dim], e.publicReach[dim] = peak, reach
	return grandstand.SegmentCount{
		Segment:  grandstand.Segment{Dim: dim, Value: grandstand.Other},
		Sessions: f.sessions, Fans: fans, Peak: peak, Reach: reach,
	}
}
