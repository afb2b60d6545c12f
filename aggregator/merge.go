package aggregator

import (
	"cmp"
	"slices"

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
	listed    []int32            // slots of the board's segments
	stale     []int32            // slots of the segments to be estimated
	rest      []int64            // by slot; all zero between calls
	aged      []*contribution    // see byAge
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
	if m.audiences == nil {
		m.audiences = map[*string][]int32{}
	}
	clear(m.audiences)
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
				if mv.Since == 0 || mv.Moved {
					m.strays = append(m.strays, mv)
				}
			case from.holding.knows(mv.Release):
			case mv.Since > from.holding.asOf:
				if mv.Moved {
					m.strays = append(m.strays, mv)
				}
			case !from.used:
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
// oldest tally that was made before it moved on, of those that have its audience
// if any does. There is one only while a gateway is late or dead.
func (m *merger) settle(e *event) {
	for _, c := range e.from {
		if over := -c.left(); over > 0 {
			m.sortOut(e, c)
			m.strays = append(m.strays, c.moved[len(c.moved)-over:]...)
			c.moved = c.moved[:len(c.moved)-over]
			e.applied -= over
		}
	}
	if len(m.strays) == 0 {
		return
	}
	strays := m.place(e, m.strays, true)
	strays = m.place(e, strays, false) // who joined another audience as they moved
	for range strays {
		m.mended(brokenMove)
	}
	clear(m.strays) // they would keep the messages they lie in
	m.strays = m.strays[:0]
}

// sortOut puts those moves last whose audience the contribution does not have as
// often, and of the others the latest.
func (m *merger) sortOut(e *event, c *contribution) {
	slices.SortFunc(c.moved, func(x, y *grandstand.Move) int {
		return cmp.Or(cmp.Compare(x.Release.MS, y.Release.MS), cmp.Compare(x.Release.Seq, y.Release.Seq))
	})
	all := c.moved
	c.moved = nil
	m.enter(e, c)
	alike, others := make([]*grandstand.Move, 0, len(all)), []*grandstand.Move(nil)
	for _, mv := range all {
		slots := m.slotsOf(e, mv.Values)
		if m.has(c, slots) {
			m.less(slots)
			alike = append(alike, mv)
		} else {
			others = append(others, mv)
		}
	}
	m.exit(e, c)
	c.moved = append(alike, others...)
}

// place takes moves off the oldest tallies that were made before them and have
// sessions left, if alike is true of their audience. It returns those that found
// none, in the memory of strays.
func (m *merger) place(e *event, strays []*grandstand.Move, alike bool) []*grandstand.Move {
	for _, c := range m.byAge(e) {
		m.enter(e, c)
		kept := strays[:0]
		for _, mv := range strays {
			slots := m.slotsOf(e, mv.Values)
			if c.left() <= 0 || c.holding.asOf >= int64(mv.Release.MS) || alike && !m.has(c, slots) {
				kept = append(kept, mv)
				continue
			}
			m.less(slots)
			c.moved = append(c.moved, mv)
			e.applied++
		}
		strays = kept
		m.exit(e, c)
	}
	return strays
}

// byAge returns the contributions in use that have sessions left, the oldest
// first.
func (m *merger) byAge(e *event) []*contribution {
	m.aged = m.aged[:0]
	for _, c := range e.from {
		if c.used && c.left() > 0 {
			m.aged = append(m.aged, c)
		}
	}
	slices.SortFunc(m.aged, func(x, y *contribution) int { return cmp.Compare(x.holding.asOf, y.holding.asOf) })
	return m.aged
}

// enter fills m.rest with what the contribution has of each segment without the
// sessions that moved away from it. Until exit.
func (m *merger) enter(e *event, c *contribution) {
	m.rest = grow(m.rest, len(e.segs))
	for _, r := range c.rows {
		m.rest[r.slot] += int64(r.sessions)
	}
	for _, mv := range c.moved {
		m.less(m.slotsOf(e, mv.Values))
	}
}

// has reports whether the contribution that was entered has a session left in
// each of the slots, but for those of dimensions that it does not count.
func (m *merger) has(c *contribution, slots []int32) bool {
	for dim, slot := range slots {
		if (slot < 0 || m.rest[slot] <= 0) && !slices.Contains(c.gaps, int32(dim)) {
			return false
		}
	}
	return true
}

// less takes a session off the contribution that was entered.
func (m *merger) less(slots []int32) {
	for _, slot := range slots {
		if slot >= 0 {
			m.rest[slot]--
		}
	}
}

func (m *merger) exit(e *event, c *contribution) {
	for _, r := range c.rows {
		m.rest[r.slot] = 0
	}
	for _, mv := range c.moved { // some in segments that it has no row of
		for _, slot := range m.slotsOf(e, mv.Values) {
			if slot >= 0 {
				m.rest[slot] = 0
			}
		}
	}
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
		c.counted = uint64(c.left())
		for _, dim := range c.gaps {
			e.dark[dim] = e.dark[dim] || c.counted > 0
		}
		for _, r := range c.rows {
			s := &e.segs[r.slot]
			s.sessions += r.sessions
			if r.source >= 0 && r.sessions > 0 {
				s.sketches = append(s.sketches, c.tally.Segments[r.source].Sketch)
			}
		}
	}
	m.takeOff(e)
}

// takeOff takes the sessions that moved off the sums. Their viewers stay in the
// sketches of their old owners; they are in the new owner's as well, and a union
// counts them once.
//
// They are taken off all that is counted, not each off one contribution: a
// session that moved on from a gateway which died before it told of having it is
// still in the tally of the one before, in the same segments.
func (m *merger) takeOff(e *event) {
	for _, c := range e.from {
		for _, mv := range c.moved {
			e.segs[worldSlot].sessions-- // left is never below 0
			for dim, slot := range m.slotsOf(e, mv.Values) {
				if slices.Contains(c.gaps, int32(dim)) {
					continue
				}
				if slot < 0 || e.segs[slot].sessions == 0 {
					m.mended(brokenMove)
					if slot = e.largest(int32(dim)); slot < 0 {
						continue // of a dark dimension
					}
				}
				e.segs[slot].sessions--
			}
		}
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

// largest returns a segment of the dimension that has sessions: unknown if it
// has, else the largest; -1 if none does. While the sums hold one does.
func (e *event) largest(dim int32) int32 {
	best := int32(-1)
	for i := range e.segs {
		s := &e.segs[i]
		if s.dim != dim || s.sessions == 0 {
			continue
		}
		if s.segment.Value == grandstand.Unknown {
			return int32(i)
		}
		if best < 0 || s.sessions > e.segs[best].sessions {
			best = int32(i)
		}
	}
	return best
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
