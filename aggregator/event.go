package aggregator

import (
	"slices"

	"grandstand"
)

// event is all that is known of one event: who counts it, and what must not be
// forgotten of its segments.
type event struct {
	name string
	cfg  *grandstand.Event // nil while it is not known

	dims     []string // whose segments are on the board; without a cfg, those of the tallies
	dark     []bool   // by dim; some gateway does not count it: it is not on the board. As of the last merge
	from     []*contribution
	segs     []segment // by slot; the world is slot 0
	slots    map[grandstand.Segment]int32
	order    []int32 // slots in the order of CompareSegments
	unsorted bool

	publicPeak  map[string]uint64 // by dimension, of the public's "other"
	publicReach map[string]uint64

	changed  bool // the sums must be made again
	unpeaked bool // the board's numbers have not been offered to peak yet
	applied  int  // moves taken off at the last merge
	tickMS   int64
	bornAt   int64             // when it was first heard of here
	emptyAt  int64             // since when nobody watches; 0: somebody does
	board    *grandstand.Board // as last published; nil: none yet
	lastLive grandstand.Board  // the newest live one; At is 0 if there was none
	beforeIt grandstand.Board  // the one before
	final    bool              // the event is over, board is its last
	asked    bool              // cfg was looked for, at least once, and Redis answered
	repeat   bool              // publish the final board again
	askAt    int64             // when to look for cfg again

	memory memory
	parted int64 // when its shard was given up; 0: it was not
}

// segment is one segment of an event, present or past.
type segment struct {
	segment grandstand.Segment
	dim     int32 // index in event.dims, -1: not of the event (any more); the world's is -1 too

	sessions   uint64
	estimate   uint64   // of the fans, before it is clamped
	unreadable bool     // a sketch of it could not be read: the estimate lacks somebody
	sketches   [][]byte // of the contributions in use; filled while merging
	stale      bool     // estimate must be made again
	peak       uint64
	peakAt     int64
	reach      []byte // sketch of all viewers so far; never changed in place
	reached    uint64 // its estimate
	reachFloor uint64 // what a former holder published
	unsaved    bool   // peak or reach changed since they were last saved
	folded     bool   // on the newest board, for the public

	// As of the last step.
	stepSessions, stepFans uint64
	stepFolded             bool
}

// worldSlot is the slot of the world.
const worldSlot = 0

func newEvent(name string, at int64) *event {
	e := &event{
		name: name, bornAt: at, emptyAt: at, tickMS: grandstand.DefaultTickMS,
		slots:       map[grandstand.Segment]int32{},
		publicPeak:  map[string]uint64{},
		publicReach: map[string]uint64{},
		changed:     true,
	}
	e.slot(grandstand.WorldSegment)
	return e
}

// slot returns the slot of a segment, a new one if need be.
func (e *event) slot(s grandstand.Segment) int32 {
	slot, ok := e.slots[s]
	if !ok {
		slot = int32(len(e.segs))
		e.slots[s] = slot
		e.segs = append(e.segs, segment{segment: s, dim: e.dim(s.Dim), stale: true})
		e.order = append(e.order, slot)
		e.unsorted = true
	}
	return slot
}

// dim returns the index of a dimension, -1 if the event does not have it.
func (e *event) dim(name string) int32 { return int32(slices.Index(e.dims, name)) }

// sorted returns all slots in the order of CompareSegments.
func (e *event) sorted() []int32 {
	if e.unsorted {
		slices.SortFunc(e.order, func(a, b int32) int {
			return grandstand.CompareSegments(e.segs[a].segment, e.segs[b].segment)
		})
		e.unsorted = false
	}
	return e.order
}

// configure takes a configuration, unless it is older than the one known.
func (e *event) configure(cfg *grandstand.Event) {
	if e.cfg != nil && !cfg.Newer(e.cfg) {
		return
	}
	e.cfg = cfg
	e.setTick(cfg.TickMS)
	e.changed = true
	dims := make([]string, len(cfg.Dims))
	for i, d := range cfg.Dims {
		dims[i] = d.Name
	}
	if !slices.Equal(dims, e.dims) {
		e.dims = dims
		e.reindex()
	}
}

// setTick takes the time between two boards, unless it is none.
func (e *event) setTick(ms int64) {
	if ms >= grandstand.MinTickMS && ms <= grandstand.MaxTickMS && ms%1000 == 0 {
		e.tickMS = ms
	}
}

// addDims makes the dimensions of a tally the event's, while nothing else is
// known about them.
func (e *event) addDims(t *grandstand.Tally) {
	known := len(e.dims)
	for i := range t.Segments {
		if d := t.Segments[i].Segment.Dim; d != grandstand.World && e.dim(d) < 0 {
			e.dims = append(e.dims, d)
		}
	}
	if len(e.dims) > known {
		e.reindex()
	}
}

// isDark reports whether a segment is of a cross that is not counted just now.
func (e *event) isDark(s *segment) bool { return s.dim >= 0 && e.dark[s.dim] }

// reindex makes everything anew that depends on the dimensions.
func (e *event) reindex() {
	e.dark = make([]bool, len(e.dims))
	for i := range e.segs {
		e.segs[i].dim = e.dim(e.segs[i].segment.Dim)
		e.segs[i].stale = true
	}
	for _, c := range e.from {
		c.rows, c.gaps, _ = e.rows(c.tally)
	}
	e.changed = true
}

// lingerMS is for how long the last tally of a gateway stands in for it.
func (e *event) lingerMS() int64 {
	if e.cfg != nil && e.cfg.BeatMS > 0 {
		return grandstand.LingerMS(e.cfg.BeatMS)
	}
	return grandstand.LingerMS(grandstand.DefaultBeatMS)
}

// cohort returns the event's min_cohort.
func (e *event) cohort(deployment int) uint64 {
	if e.cfg != nil && e.cfg.MinCohort != nil {
		return uint64(*e.cfg.MinCohort)
	}
	return uint64(deployment)
}

// ended reports whether the event is configured to be over.
func (e *event) ended() bool { return e.cfg != nil && e.cfg.State == grandstand.EventEnded }

func (e *event) world() uint64 { return e.segs[worldSlot].sessions }
