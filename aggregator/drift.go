package aggregator

import (
	"slices"

	"grandstand"
)

// Drift is by how much a segment's archived counts differ from its live ones.
type Drift struct {
	Segment grandstand.Segment
	Points  int     // that were compared
	Mean    float64 // of the difference in sessions, as a share of the live count
	Max     float64 // the largest such share
	MaxAt   int64   // of which point
}

// driftFloor keeps one session in a segment of two from being half of it: shares
// are of at least so many sessions.
const driftFloor = 100

// DriftMeter compares replayed boards with the live series.
type DriftMeter struct {
	live  map[int64]*grandstand.Step // by At
	drift map[grandstand.Segment]*Drift
	now   map[grandstand.Segment]uint64 // the live counts as of the last step
}

// NewDriftMeter takes the steps of the live series.
func NewDriftMeter(steps []grandstand.Step) *DriftMeter {
	m := &DriftMeter{drift: map[grandstand.Segment]*Drift{}, now: map[grandstand.Segment]uint64{}}
	m.Series(steps)
	return m
}

// Series takes other steps of the series in the place of those it had: it may be
// compared hour by hour.
func (m *DriftMeter) Series(steps []grandstand.Step) {
	m.live = make(map[int64]*grandstand.Step, len(steps))
	for i := range steps {
		m.live[steps[i].At] = &steps[i]
	}
}

// Compare takes the next replayed board.
func (m *DriftMeter) Compare(b *grandstand.Board) {
	step := m.live[b.At]
	if step == nil {
		return
	}
	if step.Full {
		clear(m.now)
	}
	for _, c := range step.Counts {
		m.now[c.Segment] = c.Sessions
	}
	for i := range b.Segments {
		if s := &b.Segments[i]; m.now[s.Segment] == 0 && s.Sessions > 0 {
			m.add(b.At, s.Segment, 0, s.Sessions)
		}
	}
	for seg, live := range m.now {
		replayed := uint64(0)
		if c := b.Find(seg); c != nil {
			replayed = c.Sessions
		}
		if live > 0 || replayed > 0 {
			m.add(b.At, seg, live, replayed)
		}
	}
}

func (m *DriftMeter) add(at int64, seg grandstand.Segment, live, replayed uint64) {
	d := m.drift[seg]
	if d == nil {
		d = &Drift{Segment: seg}
		m.drift[seg] = d
	}
	diff := float64(live) - float64(replayed)
	share := max(diff, -diff) / float64(max(live, driftFloor))
	d.Points++
	d.Mean += (share - d.Mean) / float64(d.Points)
	if share > d.Max {
		d.Max, d.MaxAt = share, at
	}
}

// Drifts returns what was compared, the world first.
func (m *DriftMeter) Drifts() []Drift {
	list := make([]Drift, 0, len(m.drift))
	for _, d := range m.drift {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Drift) int { return grandstand.CompareSegments(a.Segment, b.Segment) })
	return list
}
