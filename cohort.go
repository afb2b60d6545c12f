package grandstand

import (
	"math/bits"
	"slices"
	"strings"
)

// Conceal marks (Folded) the segments of a board that the public is not shown:
// those with fewer than k sessions, and as many others as it takes that no small
// one can be worked out from what is shown. segs is sorted by CompareSegments. The
// public sees what is marked within the "other" of its dimension. Below 2, k
// conceals nothing.
//
// What is shown adds up in many ways: the values of a dimension to the world, those
// of a cross to the values of its parts, regions to their country. Of each such sum
// nothing is concealed, or two segments at least which have k sessions together.
// That leaves chains of sums (docs/decisions/0021): whatever they tell of a small
// segment is found by solving all sums together, and more is concealed until they
// tell none.
//
// A segment that is empty now and never had k sessions is marked too: its peak and
// reach would tell of the few who were there.
func Conceal(segs []SegmentCount, k uint64) {
	if k < 2 {
		return
	}
	small := false
	for i := range segs {
		s := &segs[i]
		s.Folded = s.Sessions == 0 && s.Peak < k && s.Segment.Value != Other && s.Segment.Dim != World
		small = small || s.Sessions > 0 && s.Sessions < k && s.Segment.Dim != World
	}
	if !small {
		return
	}
	c := newConcealment(segs, k)
	c.protect()
	for i := range segs {
		segs[i].Folded = segs[i].Folded || c.hidden[i] && segs[i].Segment.Value != Other
	}
}

// maxSolved is how often sums are solved before all crosses are concealed.
const maxSolved = 32

// concealment is what Conceal works with. Segments are named by their index.
type concealment struct {
	segs   []SegmentCount
	k      uint64
	dims   []dimRange
	sums   []sum
	linked bool    // there are sums besides those of whole dimensions
	hidden []bool  // never of an empty segment
	others []int32 // by segment: the "other" of its dimension; -1: there is none
}

// dimRange is one dimension of the board: segs[lo:hi].
type dimRange struct {
	parts  []string
	lo, hi int
}

// sum says that members add up to another segment, the world if that is 0.
type sum struct {
	members []int32
	total   int32
}

func newConcealment(segs []SegmentCount, k uint64) *concealment {
	c := &concealment{segs: segs, k: k, hidden: make([]bool, len(segs)), others: make([]int32, len(segs))}
	var whole []sum
	for lo := 0; lo < len(segs); {
		hi, other := lo, int32(-1)
		var members []int32
		for ; hi < len(segs) && segs[hi].Segment.Dim == segs[lo].Segment.Dim; hi++ {
			if segs[hi].Sessions == 0 {
				continue
			}
			members = append(members, int32(hi))
			if segs[hi].Segment.Value == Other {
				other = int32(hi)
			}
		}
		for i := lo; i < hi; i++ {
			c.others[i] = other
		}
		if dim := segs[lo].Segment.Dim; dim != World {
			c.dims = append(c.dims, dimRange{strings.Split(dim, string(crossSeparator)), lo, hi})
			whole = append(whole, sum{members, 0})
		}
		lo = hi
	}
	for i := range c.dims {
		for j := range c.dims {
			if i != j {
				c.link(&c.dims[i], &c.dims[j])
			}
		}
	}
	c.sums = append(c.sums, whole...) // last: what is concealed for the others is mostly enough
	return c
}

// link adds the sums by which the segments of child make those of parent, if they
// do: a cross and one of its parts, or regions and their countries.
func (c *concealment) link(child, parent *dimRange) {
	from := make([]int, len(parent.parts)) // by part of parent: the part of child; what is negative is a region's country
	for n, p := range parent.parts {
		switch at := slices.Index(child.parts, p); {
		case at >= 0:
			from[n] = at
		case p == "country" && slices.Contains(child.parts, "region"):
			from[n] = ^slices.Index(child.parts, "region")
		default:
			return
		}
	}
	totals := make(map[string]int32, parent.hi-parent.lo)
	for i := parent.lo; i < parent.hi; i++ {
		if c.segs[i].Sessions > 0 {
			totals[c.segs[i].Segment.Value] = int32(i)
		}
	}
	groups := map[int32][]int32{}
	for i := child.lo; i < child.hi; i++ {
		if c.segs[i].Sessions == 0 {
			continue
		}
		if value, ok := project(c.segs[i].Segment.Value, len(child.parts), from); ok {
			if total, there := totals[value]; there {
				groups[total] = append(groups[total], int32(i))
			}
		}
	}
	for i := parent.lo; i < parent.hi; i++ { // in their order: the outcome must not depend on a map's
		if members := groups[int32(i)]; members != nil {
			c.sums, c.linked = append(c.sums, sum{members, int32(i)}), true
		}
	}
}

// project returns which value of the parent dimension a value is part of. It is
// false for "other", which may be part of any, and for regions of no country.
func project(value string, parts int, from []int) (string, bool) {
	values := strings.Split(value, string(crossSeparator))
	if len(values) != parts {
		return "", false
	}
	out := make([]string, len(from))
	for n, at := range from {
		if at >= 0 {
			out[n] = values[at]
			continue
		}
		region := values[^at]
		if len(region) < 4 || region[2] != '-' {
			return "", false
		}
		out[n] = region[:2]
	}
	return strings.Join(out, string(crossSeparator)), true
}

// protect conceals what is small, and what else it takes.
func (c *concealment) protect() {
	for i := range c.segs {
		if s := &c.segs[i]; s.Sessions > 0 && s.Sessions < c.k && s.Segment.Dim != World {
			c.hide(int32(i))
		}
	}
	c.fill()
	if !c.linked {
		return
	}
	in := make([][]int32, len(c.segs)) // by segment: the sums that it is in
	for n, s := range c.sums {
		for _, i := range s.members {
			in[i] = append(in[i], int32(n))
		}
		in[s.total] = append(in[s.total], int32(n))
	}
	for range maxSolved {
		told, ok := c.solve(in)
		if !ok {
			break
		}
		if !c.cover(told, in) {
			return
		}
		c.fill()
	}
	for _, d := range c.dims {
		for i := d.lo; len(d.parts) > 1 && i < d.hi; i++ {
			c.hide(int32(i))
		}
	}
}

// hide conceals a segment. The "other" of its dimension is shown with it in.
func (c *concealment) hide(i int32) {
	if c.segs[i].Sessions == 0 {
		return
	}
	c.hidden[i] = true
	if o := c.others[i]; o >= 0 {
		c.hidden[o] = true
	}
}

// fill conceals until each sum has nothing concealed, or two segments at least
// with k sessions together, or all of it.
func (c *concealment) fill() {
	for again := true; again; {
		again = false
		for n := range c.sums {
			for c.short(&c.sums[n]) && c.hideNext(&c.sums[n]) {
				again = true
			}
		}
	}
}

// short reports whether too little of a sum is concealed.
func (c *concealment) short(s *sum) bool {
	n, sessions := 0, uint64(0)
	for _, i := range s.members {
		if c.hidden[i] {
			n++
			sessions += c.segs[i].Sessions
		}
	}
	return (n > 0 || c.hidden[s.total]) && (n < 2 || sessions < c.k)
}

// hideNext conceals the least member of a sum that is shown: by the order of its
// size, so that it is another one as rarely as can be, then by name. It reports
// false if there is none.
func (c *concealment) hideNext(s *sum) bool {
	best := int32(-1)
	for _, i := range s.members {
		if !c.hidden[i] && (best < 0 || c.size(i) < c.size(best)) {
			best = i
		}
	}
	if best >= 0 {
		c.hide(best)
	}
	return best >= 0
}

func (c *concealment) size(i int32) int { return bits.Len64(c.segs[i].Sessions) }

// cover conceals more of the sums by which small segments are told, and reports
// whether there was more.
func (c *concealment) cover(told []int32, in [][]int32) (more bool) {
	var small []int32
	for _, i := range told {
		if c.segs[i].Sessions < c.k {
			small = append(small, i)
		}
	}
	if small == nil {
		return false
	}
	for _, list := range [][]int32{small, told} { // its own sums first, else those of what it follows from
		for _, i := range list {
			for _, n := range in[i] {
				more = c.hideNext(&c.sums[n]) || more
			}
		}
		if more {
			break
		}
	}
	return more
}
