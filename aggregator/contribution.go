package aggregator

import (
	"bytes"
	"slices"

	"grandstand"
)

// contribution is the newest tally of one event by one gateway, in the slots of
// the event. The sessions of its rows sum up to the world's in every dimension
// of the event.
type contribution struct {
	holding *holding
	tally   *grandstand.Tally
	raw     []byte // the bytes of tally, which aliases them; nil: it never had any
	rows    []row
	gaps    []int32 // crosses, as indices in event.dims, that its gateway does not count just now
	round   uint64  // holding.round when it was last listed

	used    bool // it is young enough to count
	counted uint64
	moved   []*grandstand.Move // to be taken off; filled while merging
}

// row is one segment of a contribution.
type row struct {
	slot     int32
	source   int32 // index in tally.Segments, -1: made up to keep the sums
	sessions uint64
}

// find returns the contribution of a gateway.
func (e *event) find(gateway string) *contribution {
	for _, c := range e.from {
		if c.holding.gateway.id == gateway {
			return c
		}
	}
	return nil
}

// take makes t, of which raw are the bytes, the gateway's contribution. It
// reports whether the sums of the tally had to be mended.
func (m *merger) take(e *event, h *holding, t *grandstand.Tally, raw []byte) (mended bool) {
	c := e.find(h.gateway.id)
	if e.cfg == nil {
		e.addDims(t)
		e.setTick(t.Tick)
	}
	if c == nil {
		c = &contribution{tally: &grandstand.Tally{}}
		e.from = append(e.from, c)
	}
	rows, gaps, mended := e.rows(t)
	m.compare(e, c, t, rows)
	c.holding, c.round, c.tally, c.raw, c.rows, c.gaps = h, h.round, t, raw, rows, gaps
	e.changed = true
	return mended
}

// drop forgets a contribution.
func (e *event) drop(c *contribution) {
	e.touch(c)
	e.from = slices.DeleteFunc(e.from, func(o *contribution) bool { return o == c })
}

// touch notes that all that the contribution counts must be counted again.
func (e *event) touch(c *contribution) {
	for i := range c.rows {
		e.segs[c.rows[i].slot].stale = true
	}
	e.changed = true
}

// compare marks the segments whose sketches differ between a contribution and
// the one that follows it.
func (m *merger) compare(e *event, c *contribution, t *grandstand.Tally, rows []row) {
	m.before = grow(m.before, len(e.segs))
	for i := range c.rows {
		m.before[c.rows[i].slot] = int32(i) + 1
	}
	for i := range rows {
		slot := rows[i].slot
		j := m.before[slot] - 1
		m.before[slot] = 0
		if j < 0 || !bytes.Equal(sketchOf(c.tally, c.rows[j]), sketchOf(t, rows[i])) {
			e.segs[slot].stale = true
		}
	}
	for i := range c.rows {
		if slot := c.rows[i].slot; m.before[slot] != 0 {
			m.before[slot] = 0
			e.segs[slot].stale = true
		}
	}
}

// sketchOf returns nil for a row that no sketch belongs to.
func sketchOf(t *grandstand.Tally, r row) []byte {
	if r.source < 0 {
		return nil
	}
	return t.Segments[r.source].Sketch
}

// rows brings a tally into the event's slots: one row per segment, of the
// world and of the event's dimensions. The sums of every dimension are the
// world's afterwards, whatever the tally says: what is missing (a gateway that
// does not know of a new dimension yet) is unknown, what is too much is taken
// off the largest segments. It reports whether that was necessary. A cross that
// is missing altogether is a gap: an overloaded gateway leaves crosses out.
func (e *event) rows(t *grandstand.Tally) (rows []row, gaps []int32, mended bool) {
	rows = make([]row, 1, len(t.Segments)+1)
	rows[0] = row{slot: worldSlot, source: -1}
	sums := make([]uint64, len(e.dims))
	for i := range t.Segments {
		s := &t.Segments[i]
		if s.Segment.Dim == grandstand.World {
			rows[0] = row{slot: worldSlot, source: int32(i), sessions: uint64(s.Sessions)}
			continue
		}
		dim := e.dim(s.Segment.Dim)
		if dim < 0 {
			continue
		}
		rows = append(rows, row{slot: e.slot(s.Segment), source: int32(i), sessions: uint64(s.Sessions)})
		sums[dim] += uint64(s.Sessions)
	}
	for dim, sum := range sums {
		switch {
		case sum == rows[0].sessions:
		case sum == 0 && grandstand.IsCross(e.dims[dim]):
			gaps = append(gaps, int32(dim))
		default:
			rows, mended = e.mend(rows, int32(dim), sum), true
		}
	}
	return rows, gaps, mended
}

// mend makes the sum of a dimension the world's.
func (e *event) mend(rows []row, dim int32, sum uint64) []row {
	world := rows[0].sessions
	if sum < world {
		unknown := e.slot(grandstand.Segment{Dim: e.dims[dim], Value: grandstand.Unknown})
		for i := range rows {
			if rows[i].slot == unknown {
				rows[i].sessions += world - sum
				return rows
			}
		}
		return append(rows, row{slot: unknown, source: -1, sessions: world - sum})
	}
	for sum > world {
		largest := -1
		for i := range rows {
			if e.segs[rows[i].slot].dim == dim && (largest < 0 || rows[i].sessions > rows[largest].sessions) {
				largest = i
			}
		}
		off := min(sum-world, rows[largest].sessions)
		rows[largest].sessions -= off
		sum -= off
	}
	return rows
}
