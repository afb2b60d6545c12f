package aggregator

import "grandstand"

// folded is a dimension of a board with segments that the public sees within
// "other".
type folded struct {
	lo, hi   int    // its segments are segs[lo:hi]
	sessions uint64 // of the public's "other"
}

// fold marks the segments that are too small for the public, with less than k
// sessions (see grandstand.FoldCohort), and returns the dimensions that have
// any. segs is sorted by CompareSegments.
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
		if sessions, any := grandstand.FoldCohort(segs[lo:hi], k); any {
			dims = append(dims, folded{lo: lo, hi: hi, sessions: sessions})
		}
		lo = hi
	}
	return dims
}
