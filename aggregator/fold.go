package aggregator

import "grandstand"

// folded is a dimension of a board with segments that the public sees within
// "other".
type folded struct {
	lo, hi   int    // its segments are segs[lo:hi]
	sessions uint64 // of the public's "other"
}

// fold marks the segments that the public is not shown (see grandstand.Conceal),
// and returns the dimensions in which that are some with sessions. segs is sorted
// by CompareSegments.
func fold(segs []grandstand.SegmentCount, k uint64) []folded {
	grandstand.Conceal(segs, k)
	var dims []folded
	for lo := 1; lo < len(segs); { // the world, which is always shown, is first
		f, any := folded{lo: lo, hi: lo}, false
		for ; f.hi < len(segs) && segs[f.hi].Segment.Dim == segs[lo].Segment.Dim; f.hi++ {
			s := &segs[f.hi]
			if s.Folded || s.Segment.Value == grandstand.Other {
				f.sessions += s.Sessions
			}
			any = any || s.Folded && s.Sessions > 0
		}
		if any {
			dims = append(dims, f)
		}
		lo = f.hi
	}
	return dims
}
