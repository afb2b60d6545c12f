package aggregator

import (
	"cmp"
	"slices"

	"grandstand"
)

// folded is a dimension of a board with segments that the public sees within
// "other".
type folded struct {
	lo, hi   int    // its segments are segs[lo:hi]
	sessions uint64 // of the public's "other"
}

// fold marks the segments that are too small for the public, with less than k
// sessions, and returns the dimensions that have any. If such a dimension's
// "other" is too small itself, which would tell the sessions of a single
// segment, the smallest of the others are folded as well, until it is not. A
// segment that is empty now and never had k sessions is hidden too: its peak and
// reach would tell of the few who were there.
//
// segs is sorted by CompareSegments.
func fold(segs []grandstand.SegmentCount, k uint64) []folded {
	if k <= 1 {
		return nil
	}
	var dims []folded
	for lo := 1; lo < len(segs); { // the world, which is always shown, is first
		hi := lo + 1
		for hi < len(segs) && segs[hi].Segment.Dim == segs[lo].Segment.Dim {
			hi++
		}
		if sessions, any := foldDim(segs[lo:hi], k); any {
			dims = append(dims, folded{lo: lo, hi: hi, sessions: sessions})
		}
		lo = hi
	}
	return dims
}

// foldDim folds the segments of one dimension. It returns the sessions of the
// public's "other", and whether it differs from the operators'.
func foldDim(segs []grandstand.SegmentCount, k uint64) (other uint64, any bool) {
	var large []*grandstand.SegmentCount
	for i := range segs {
		s := &segs[i]
		switch {
		case s.Segment.Value == grandstand.Other:
			other += s.Sessions
		case s.Sessions >= k:
			large = append(large, s)
		case s.Sessions > 0:
			s.Folded, any = true, true
			other += s.Sessions
		default:
			s.Folded = s.Peak < k
		}
	}
	if other == 0 || other >= k {
		return other, any
	}
	slices.SortStableFunc(large, func(a, b *grandstand.SegmentCount) int { return cmp.Compare(a.Sessions, b.Sessions) })
	for _, s := range large {
		s.Folded, any = true, true
		if other += s.Sessions; other >= k {
			break
		}
	}
	return other, any
}
