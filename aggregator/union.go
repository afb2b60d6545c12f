package aggregator

import (
	"runtime"
	"sync"

	"grandstand"
)

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
	s.stale, s.unreadable = false, false
	u.union.Reset()
	for _, sketch := range s.sketches {
		if len(sketch) > 0 && u.union.Merge(sketch) != nil {
			s.unreadable = true
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

// unionSlack is by how much of it the estimate of a union may fall short of that of
// a part: both are off by 0.8 % (one standard error), so this is no chance.
const unionSlack = 0.06

// checkUnion returns an error if the union of all, as it was estimated, is smaller
// than a part of it. That is for unite to mend as long as it is by chance.
func (e *event) checkUnion() error {
	world := &e.segs[worldSlot]
	for i := range e.segs {
		s := &e.segs[i]
		counts := s.sessions > 0 && s.dim >= 0 && !e.dark[s.dim]
		if counts && !world.unreadable && float64(world.estimate) < (1-unionSlack)*float64(s.estimate)-1 {
			return grandstand.Errorf(grandstand.CodeInternal, "%s has an estimate of %d fans, the union of all one of %d", s.segment, s.estimate, world.estimate)
		}
	}
	return nil
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
