package grandstand

import (
	"cmp"
	"slices"
)

// FoldCohort marks the segments of one dimension that are too small for the
// public, with less than k sessions, and returns the sessions of the public's
// "other", and whether it differs from the operators'. If "other" would be too
// small itself, which would tell the sessions of a single segment, the smallest
// of the others are folded as well, until it is not. A segment that is empty now
// and never had k sessions is marked too: its peak and reach would tell of the
// few who were there.
func FoldCohort(segs []SegmentCount, k uint64) (other uint64, differs bool) {
	var large []*SegmentCount
	for i := range segs {
		s := &segs[i]
		switch {
		case s.Segment.Value == Other:
			other += s.Sessions
		case s.Sessions >= k:
			large = append(large, s)
		case s.Sessions > 0:
			s.Folded, differs = true, true
			other += s.Sessions
		default:
			s.Folded = s.Peak < k
		}
	}
	if other == 0 || other >= k {
		return other, differs
	}
	slices.SortStableFunc(large, func(a, b *SegmentCount) int { return cmp.Compare(a.Sessions, b.Sessions) })
	for _, s := range large {
		s.Folded, differs = true, true
		if other += s.Sessions; other >= k {
			break
		}
	}
	return other, differs
}
