package grandstand

import "slices"

// Tallier counts the sessions of one event that are watching, and builds the
// Tally of one tick: Reset, Add for each session, Build. It keeps its memory
// from tick to tick. It has one owner.
//
// It gathers the hashes by audience first. So an insert into the sketches of
// four segments costs one append, and a sketch is filled in one go, in the
// processor's cache.
type Tallier struct {
	// NoCrosses has Build leave crosses out (IsCross), which saves most of its
	// work where an event has any.
	NoCrosses bool

	lists  []audienceList // by audience id
	used   []int          // ids of the audiences with sessions in this tick
	bySlot [][]int        // for Build: the ids of the used audiences, by slot
	sketch *Sketch        // for Build: one after another
	size   int            // bytes of the last tally's sketches
}

type audienceList struct {
	slots  []int
	hashes []uint64 // of the viewers, one per session
}

// NewTallier returns an empty tallier.
func NewTallier() *Tallier { return &Tallier{sketch: NewSketch(0)} }

// Reset starts a new tick, for an event with nslots segments. There may be more
// by the time of Build.
func (t *Tallier) Reset(nslots int) {
	for _, id := range t.used {
		t.lists[id].hashes = t.lists[id].hashes[:0]
	}
	t.used = t.used[:0]
	t.bySlot = slices.Grow(t.bySlot, max(nslots-len(t.bySlot), 0))
}

// Add counts a session of the audience whose viewer has the hash (Key.Hash).
func (t *Tallier) Add(a *Audience, viewerHash uint64) {
	if a.ID >= len(t.lists) {
		t.lists = append(t.lists, make([]audienceList, a.ID+1-len(t.lists))...)
	}
	l := &t.lists[a.ID]
	if len(l.hashes) == 0 {
		l.slots = a.Slots
		t.used = append(t.used, a.ID)
	}
	l.hashes = append(l.hashes, viewerHash)
}

// Build returns the tally of the sessions that were added: the segments with
// sessions, in the order of CompareSegments. The segments are the event's by
// slot, read from its Audiences after the last Add. The tally shares no memory
// with the tallier.
func (t *Tallier) Build(event *Event, segments []Segment, moves []Move) *Tally {
	slots := t.index(segments)
	tally := &Tally{Event: event.Name, Tick: event.TickMS, Moves: moves}
	tally.Segments = make([]SegmentTally, 0, len(slots))
	ends := make([]int, 0, len(slots))
	buf := make([]byte, 0, t.size+t.size/8)
	for _, slot := range slots {
		sessions := 0
		for _, id := range t.bySlot[slot] {
			sessions += len(t.lists[id].hashes)
		}
		t.sketch.Reset(sessions)
		for _, id := range t.bySlot[slot] {
			for _, h := range t.lists[id].hashes {
				t.sketch.Add(h)
			}
		}
		buf = t.sketch.AppendBinary(buf)
		ends = append(ends, len(buf))
		tally.Segments = append(tally.Segments, SegmentTally{Segment: segments[slot], Sessions: uint32(sessions)})
	}
	start := 0
	for i, end := range ends { // only now does buf stay where it is
		tally.Segments[i].Sketch = buf[start:end:end]
		start = end
	}
	t.size = len(buf)
	return tally
}

// index fills bySlot and returns the slots with sessions, in the order of their
// segments.
func (t *Tallier) index(segments []Segment) []int {
	for i := range t.bySlot {
		t.bySlot[i] = t.bySlot[i][:0]
	}
	for len(t.bySlot) < len(segments) {
		t.bySlot = append(t.bySlot, nil)
	}
	var slots []int
	for _, id := range t.used {
		for _, slot := range t.lists[id].slots {
			if t.NoCrosses && IsCross(segments[slot].Dim) {
				continue
			}
			if len(t.bySlot[slot]) == 0 {
				slots = append(slots, slot)
			}
			t.bySlot[slot] = append(t.bySlot[slot], id)
		}
	}
	slices.SortFunc(slots, func(a, b int) int { return CompareSegments(segments[a], segments[b]) })
	return slots
}
