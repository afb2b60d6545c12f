package archiver

import (
	"slices"
	"strconv"
)

// spans is a set of numbers that mostly follow each other, as ranges in order.
// The zero value is empty.
type spans struct {
	list []span
}

type span struct{ from, to uint64 } // both in it

// at returns the index of the first range that does not end before n.
func (s *spans) at(n uint64) int {
	if k := len(s.list); k > 0 && s.list[k-1].to < n {
		return k // they mostly come in order
	}
	i, _ := slices.BinarySearchFunc(s.list, n, func(r span, n uint64) int {
		if r.to < n {
			return -1
		}
		return 1
	})
	return i
}

func (s *spans) has(n uint64) bool {
	i := s.at(n)
	return i < len(s.list) && s.list[i].from <= n
}

// add reports whether n was not in the set before.
func (s *spans) add(n uint64) bool {
	i := s.at(n)
	if i < len(s.list) && s.list[i].from <= n {
		return false
	}
	before := i > 0 && s.list[i-1].to+1 == n
	after := i < len(s.list) && s.list[i].from == n+1
	switch {
	case before && after:
		s.list[i-1].to = s.list[i].to
		s.list = slices.Delete(s.list, i, i+1)
	case before:
		s.list[i-1].to = n
	case after:
		s.list[i].from = n
	default:
		s.list = slices.Insert(s.list, i, span{n, n})
	}
	return true
}

// merge adds another set, without sharing memory with the receiver's before.
func (s *spans) merge(o *spans) {
	all := append(slices.Clone(s.list), o.list...)
	slices.SortFunc(all, func(a, b span) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	s.list = nil
	for _, r := range all {
		if k := len(s.list); k > 0 && r.from <= s.list[k-1].to+1 {
			s.list[k-1].to = max(s.list[k-1].to, r.to)
		} else {
			s.list = append(s.list, r)
		}
	}
}

func (s *spans) count() (n uint64) {
	for _, r := range s.list {
		n += r.to - r.from + 1
	}
	return n
}

func (s *spans) bounds() (first, last uint64, ok bool) {
	if len(s.list) == 0 {
		return 0, 0, false
	}
	return s.list[0].from, s.list[len(s.list)-1].to, true
}

// missing returns how many numbers from first to last are not in the set.
func (s *spans) missing(first, last uint64) uint64 {
	n := last - first + 1
	for i := s.at(first); i < len(s.list) && s.list[i].from <= last; i++ {
		n -= min(s.list[i].to, last) - max(s.list[i].from, first) + 1
	}
	return n
}

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
