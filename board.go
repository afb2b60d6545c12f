package grandstand

import (
	"cmp"
	"slices"
	"sort"
)

// Quality says how far a board can be trusted.
type Quality uint8

// The qualities of a board. Peak and history take only live ones.
const (
	Live    Quality = iota // every gateway's tally is younger than two ticks
	Partial                // some gateway's is older: its last good tally stands in for it
	Stale                  // there is no fresh board: these are the last good numbers
	Final                  // the event is over
)

var qualityNames = [...]string{"live", "partial", "stale", "final"}

func (q Quality) String() string { return qualityNames[q] }

// MarshalText writes the name.
func (q Quality) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// Board is all tallies of one event merged.
type Board struct {
	Event   string
	At      int64 // Redis ms of the state that was counted
	Epoch   int64 // At never goes back within an epoch
	TickMS  int64
	Quality Quality

	// Coverage is the share of sessions, 0 to 1, that come from tallies
	// younger than two ticks. 1 for a live board.
	Coverage float64

	// Segments is sorted by CompareSegments: the world first. For every
	// dimension the sessions sum up to the world's, exactly. A cross that some
	// gateway does not count just now is not here at all (Counts).
	Segments []SegmentCount

	// Public replaces the segment "other" of the dimensions in which segments
	// are folded for the public (SegmentCount.Folded). With it in place the
	// public's sums hold as well. Sorted like Segments.
	Public []SegmentCount

	// Body is AppendBoardBody of the two, if whoever made the board has kept
	// it: a board that does not change need not be encoded at each tick. Who
	// changes one of them clears it. Nil in a decoded board.
	Body []byte
}

// staleAfterMS is how old a board gets, on top of two of its ticks, before it is
// stale.
const staleAfterMS = 1000

// IsStale reports whether a board of an age, in ms, is too old to be called fresh. The
// final board of an event never is.
func (b *Board) IsStale(age int64) bool {
	return b.Quality != Final && age > 2*b.TickMS+staleAfterMS
}

// AsStale returns a copy that is marked stale: the same numbers of the same time.
func (b *Board) AsStale() *Board {
	c := *b
	c.Quality, c.Coverage = Stale, 0
	return &c
}

// SegmentCount is one segment of a Board.
type SegmentCount struct {
	Segment  Segment
	Sessions uint64 // watching now, exact
	Fans     uint64 // distinct viewers watching now: an estimate, never above Sessions
	Peak     uint64 // the highest Sessions of any live board
	Reach    uint64 // distinct viewers since the event started: an estimate
	Folded   bool   // smaller than the event's min_cohort: the public sees it within "other"
}

// CompareSegments orders the world before all, then by dimension and value.
func CompareSegments(a, b Segment) int {
	if aw, bw := a.Dim == World, b.Dim == World; aw != bw {
		if aw {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.Dim, b.Dim), cmp.Compare(a.Value, b.Value))
}

// Counts reports whether the board counts a dimension: not a cross that some
// gateway leaves out while it is overloaded, of which nothing is known then. On a
// board without sessions there is nothing to count.
func (b *Board) Counts(dim string) bool {
	if !IsCross(dim) || len(b.Segments) == 0 || b.Segments[0].Sessions == 0 {
		return true
	}
	i := sort.Search(len(b.Segments), func(i int) bool { return CompareSegments(b.Segments[i].Segment, Segment{Dim: dim}) >= 0 })
	return i < len(b.Segments) && b.Segments[i].Segment.Dim == dim
}

// Find returns the count of a segment as operators see it; nil if nobody is in
// it.
func (b *Board) Find(s Segment) *SegmentCount { return find(b.Segments, s) }

// FindPublic returns the count of a segment as the public sees it; nil if it is
// folded, or of a dimension that is not counted. Where others of its dimension are folded, so is one that nobody is in: a
// zero would narrow down where they are.
func (b *Board) FindPublic(s Segment) *SegmentCount {
	if c := find(b.Public, s); c != nil {
		return c
	}
	c := b.Find(s)
	switch {
	case c != nil && !c.Folded:
		return c
	case c == nil && b.Counts(s.Dim) && find(b.Public, Segment{Dim: s.Dim, Value: Other}) == nil:
		return &SegmentCount{Segment: s}
	}
	return nil
}

func find(list []SegmentCount, s Segment) *SegmentCount {
	lo, hi := 0, len(list)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := CompareSegments(list[mid].Segment, s); {
		case c == 0:
			return &list[mid]
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// PublicView returns the segments as the public sees them: folded ones left
// out, "other" enlarged by them.
func (b *Board) PublicView() []SegmentCount {
	out := make([]SegmentCount, 0, len(b.Segments)+len(b.Public))
	public := b.Public
	for _, s := range b.Segments {
		for len(public) > 0 && CompareSegments(public[0].Segment, s.Segment) < 0 {
			out, public = append(out, public[0]), public[1:]
		}
		if len(public) > 0 && public[0].Segment == s.Segment {
			s, public = public[0], public[1:]
		} else if s.Folded {
			continue
		}
		out = append(out, s)
	}
	return append(out, public...)
}

// CheckSums returns an error that names the first dimension whose sessions do
// not add up to the world's, in the operators' or in the public's view.
func (b *Board) CheckSums() error {
	dims, err := checkSums(b.Segments)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(b.Segments, func(s SegmentCount) bool { return s.Folded }) && len(b.Public) == 0 {
		return nil
	}
	public, err := checkSums(b.PublicView())
	if err != nil {
		return err
	}
	if public < dims && b.Segments[0].Sessions > 0 {
		return Errorf(CodeInternal, "the public's view lacks %d dimensions", dims-public)
	}
	return nil
}

// CheckFans returns an error that names the first segment that has more fans than
// sessions, than reach, or than the world, which is the union of all.
func (b *Board) CheckFans() error {
	if len(b.Segments) == 0 {
		return nil
	}
	world := &b.Segments[0]
	for _, list := range [...][]SegmentCount{b.Segments, b.Public} {
		for i := range list {
			s := &list[i]
			if s.Fans > s.Sessions || s.Fans > s.Reach || s.Fans > world.Fans {
				return Errorf(CodeInternal, "%s has %d fans of %d sessions and a reach of %d, the world has %d fans", s.Segment, s.Fans, s.Sessions, s.Reach, world.Fans)
			}
		}
	}
	return nil
}

// checkSums returns the number of dimensions besides the world.
func checkSums(list []SegmentCount) (dims int, err error) {
	if len(list) == 0 {
		return 0, nil
	}
	if list[0].Segment != WorldSegment {
		return 0, Errorf(CodeInternal, "board has segments but no world")
	}
	world := list[0].Sessions
	for i := 1; i < len(list); dims++ {
		dim, sum := list[i].Segment.Dim, uint64(0)
		for ; i < len(list) && list[i].Segment.Dim == dim; i++ {
			sum += list[i].Sessions
		}
		if sum != world {
			return 0, Errorf(CodeInternal, "sessions of %s sum up to %d, the world has %d", dim, sum, world)
		}
	}
	return dims, nil
}

// NewerThan reports whether a board of (epoch, at) may follow one of o's: a
// later epoch, or a later time within the same.
func NewerThan(epoch, at, oEpoch, oAt int64) bool {
	return epoch > oEpoch || epoch == oEpoch && at > oAt
}

// ShardBoard is one message of a board shard: all boards of its events. At is
// the newest of theirs.
type ShardBoard struct {
	Shard  int
	At     int64
	Epoch  int64
	Boards []*Board // by event name
}

// Published is the answer to a ShardBoard that was offered for publication.
type Published struct {
	Epoch int64 // of the shard from now on
	At    int64 // of the newest board there is

	// Refused is "" if the board was published; "old" if one as new was there
	// already; "future" if its time has not come yet.
	Refused string
}
