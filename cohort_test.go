package grandstand

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// crowd is sessions by what they declared: {"country": "US", …}, as text.
type crowd map[string]uint64

// boardOfCrowd counts a crowd in the dimensions. Values of crosses that overflow
// are "other".
func boardOfCrowd(dims []string, c crowd, overflow map[string]bool) *Board {
	counts := map[Segment]uint64{}
	for text, n := range c {
		counts[WorldSegment] += n
		for _, dim := range dims {
			v := valueIn(dim, text)
			if overflow[dim+":"+v] {
				v = Other
			}
			counts[Segment{dim, v}] += n
		}
	}
	b := &Board{}
	for s, n := range counts {
		b.Segments = append(b.Segments, SegmentCount{Segment: s, Sessions: n, Fans: n, Peak: n, Reach: n})
	}
	slices.SortFunc(b.Segments, func(x, y SegmentCount) int { return CompareSegments(x.Segment, y.Segment) })
	return b
}

// valueIn returns the value of a dimension in "country=US region=US-CA team=KC".
func valueIn(dim, text string) string {
	parts := strings.Split(dim, "+")
	for i, p := range parts {
		_, rest, _ := strings.Cut(text, p+"=")
		parts[i], _, _ = strings.Cut(rest, " ")
	}
	return strings.Join(parts, "+")
}

// conceal makes the public's view as the aggregator does.
func conceal(b *Board, k uint64) {
	Conceal(b.Segments, k)
	others := map[string]uint64{}
	folds := map[string]bool{}
	for _, s := range b.Segments {
		if s.Folded || s.Segment.Value == Other {
			others[s.Segment.Dim] += s.Sessions
		}
		if s.Folded && s.Sessions > 0 {
			folds[s.Segment.Dim] = true
		}
	}
	b.Public = nil
	for _, dim := range slices.Sorted(maps.Keys(folds)) {
		b.Public = append(b.Public, SegmentCount{Segment: Segment{dim, Other}, Sessions: others[dim]})
	}
}

// attacker works out what the public is not shown: it knows every name there is,
// asks for the segment of each, and solves all sums that hold. What it does not
// know is a column of rows, the last of which is the right side.
type attacker struct {
	b       *Board
	dims    []string
	columns map[Segment]int
	names   []Segment
	rows    [][]*big.Rat
	loose   []equation
}

// equation says that the segments have so many sessions together.
type equation struct {
	unknown []Segment
	minus   []Segment
	sum     int64
	text    string
	all     bool // nothing of it is shown
}

// attack returns the segments that the attacker knows the sessions of, and the sums
// that it knows.
func attack(b *Board, dims []string, values map[string][]string) (told map[Segment]int64, sums []equation) {
	a := &attacker{b: b, dims: dims, columns: map[Segment]int{}}
	cells := map[string][]Segment{}
	for _, dim := range dims {
		for _, v := range product(strings.Split(dim, "+"), values) {
			cells[dim] = append(cells[dim], Segment{dim, v})
		}
	}
	truth := func(s Segment) int64 {
		if c := b.Find(s); c != nil {
			return int64(c.Sessions)
		}
		return 0
	}
	for _, dim := range dims {
		all := append(slices.Clone(cells[dim]), Segment{dim, Other})
		a.add(all, WorldSegment)
		for _, parent := range dims {
			groups := map[Segment][]Segment{}
			for _, s := range cells[dim] {
				if p, ok := partOf(s, parent); ok {
					groups[p] = append(groups[p], s)
				}
			}
			// Unless some have no region, or are in the "other" of a cross: who knows of which.
			hold := truth(Segment{dim, Other}) == 0
			for p, list := range groups {
				sum := int64(0)
				for _, s := range list {
					sum += truth(s)
				}
				hold = hold && sum == truth(p)
			}
			for p, list := range groups {
				if hold {
					a.add(list, p)
				}
			}
		}
	}
	return a.solve(), a.loose
}

// partOf returns the segment of the dimension that s is part of.
func partOf(s Segment, dim string) (Segment, bool) {
	if dim == s.Dim {
		return Segment{}, false
	}
	names, values := strings.Split(s.Dim, "+"), strings.Split(s.Value, "+")
	var out []string
	for part := range strings.SplitSeq(dim, "+") {
		if i := slices.Index(names, part); i >= 0 {
			out = append(out, values[i])
		} else if i := slices.Index(names, "region"); i >= 0 && part == "country" && values[i] != Unknown && values[i] != Other {
			out = append(out, values[i][:2])
		} else {
			return Segment{}, false
		}
	}
	return Segment{dim, strings.Join(out, "+")}, true
}

func product(dims []string, values map[string][]string) []string {
	if len(dims) == 0 {
		return []string{""}
	}
	var out []string
	for _, v := range values[dims[0]] {
		for _, rest := range product(dims[1:], values) {
			out = append(out, strings.TrimSuffix(v+"+"+rest, "+"))
		}
	}
	return out
}

// shown returns what the attacker is shown of a segment. The "other" of a dimension
// in which segments are folded is not the segment's own.
func (a *attacker) shown(s Segment) (int64, bool) {
	if s.Value == Other && find(a.b.Public, s) != nil {
		return 0, false
	}
	c := a.b.FindPublic(s)
	if c == nil {
		return 0, false
	}
	return int64(c.Sessions), true
}

// add takes the equation "list = total".
func (a *attacker) add(list []Segment, total Segment) {
	e := equation{text: fmt.Sprintf("%s of %s", list[0].Dim, total), all: true}
	for _, s := range list {
		if n, ok := a.shown(s); ok {
			e.sum -= n
			e.all = e.all && n == 0
		} else {
			e.unknown = append(e.unknown, s)
		}
	}
	if n, ok := a.shown(total); ok {
		e.sum += n
	} else {
		e.minus = append(e.minus, total)
	}
	if len(e.unknown)+len(e.minus) > 0 {
		a.loose = append(a.loose, e)
	}
}

// solve returns what follows from the equations, and from there being no sessions
// below zero.
func (a *attacker) solve() map[Segment]int64 {
	zero := map[Segment]bool{}
	for again := true; again; {
		again = false
		for _, e := range a.loose {
			for _, list := range [][]Segment{e.unknown, e.minus} {
				other := len(e.unknown) + len(e.minus) - len(list)
				if e.sum != 0 || other != 0 && !all(zero, e.unknown, e.minus, list) {
					continue
				}
				for _, s := range list {
					if !zero[s] {
						zero[s], again = true, true
					}
				}
			}
		}
	}
	for _, e := range a.loose {
		for _, s := range append(slices.Clone(e.unknown), e.minus...) {
			if _, ok := a.columns[s]; !ok && !zero[s] {
				a.columns[s] = len(a.names)
				a.names = append(a.names, s)
			}
		}
	}
	for _, e := range a.loose {
		row := make([]*big.Rat, len(a.names)+1)
		for i := range row {
			row[i] = new(big.Rat)
		}
		for _, s := range e.unknown {
			if !zero[s] {
				row[a.columns[s]].SetInt64(1)
			}
		}
		for _, s := range e.minus {
			if !zero[s] {
				row[a.columns[s]].SetInt64(-1)
			}
		}
		row[len(a.names)].SetInt64(e.sum)
		a.rows = append(a.rows, row)
	}
	told := map[Segment]int64{}
	for _, row := range eliminate(a.rows, len(a.names)) {
		single := -1
		for i := range a.names {
			if row[i].Sign() != 0 && single < 0 {
				single = i
			} else if row[i].Sign() != 0 {
				single = -2
				break
			}
		}
		if single >= 0 {
			told[a.names[single]] = row[len(a.names)].Num().Int64()
		}
	}
	return told
}

// all reports whether the segments that are not those of list are zero.
func all(zero map[Segment]bool, unknown, minus, list []Segment) bool {
	for _, l := range [][]Segment{unknown, minus} {
		if len(l) > 0 && len(list) > 0 && &l[0] == &list[0] {
			continue
		}
		for _, s := range l {
			if !zero[s] {
				return false
			}
		}
	}
	return true
}

// eliminate is Gauss and Jordan's, with fractions.
func eliminate(rows [][]*big.Rat, n int) [][]*big.Rat {
	done := 0
	for at := 0; at < n && done < len(rows); at++ {
		p := slices.IndexFunc(rows[done:], func(r []*big.Rat) bool { return r[at].Sign() != 0 })
		if p < 0 {
			continue
		}
		rows[done], rows[done+p] = rows[done+p], rows[done]
		pivot := rows[done]
		inverse := new(big.Rat).Inv(pivot[at])
		for j := range pivot {
			if pivot[j].Sign() != 0 {
				pivot[j].Mul(pivot[j], inverse)
			}
		}
		for i, row := range rows {
			if i == done || row[at].Sign() == 0 {
				continue
			}
			factor := new(big.Rat).Set(row[at])
			for j := range row {
				if pivot[j].Sign() != 0 {
					row[j].Sub(row[j], new(big.Rat).Mul(factor, pivot[j]))
				}
			}
		}
		done++
	}
	return rows[:done]
}

var attackValues = map[string][]string{
	"country": {"DE", "US", Unknown},
	"region":  {"DE-BY", "DE-HE", "US-CA", "US-NY", "US-WY", Unknown},
	"team":    {"KC", "NE", "SF", Unknown, Other},
}

// checkAttack fails if a small segment can be told, or a sum of less than k.
func checkAttack(t interface{ Fatalf(string, ...any) }, b *Board, dims []string, k uint64) {
	if err := b.CheckSums(); err != nil {
		t.Fatalf("%v", err)
	}
	told, sums := attack(b, dims, attackValues)
	for s, n := range told {
		c := b.Find(s)
		if c == nil || c.Segment.Value == Other {
			continue // there is nobody to be told of, or it is of no segment
		}
		if int64(c.Sessions) != n {
			t.Fatalf("the attacker is wrong: %v has %d sessions, not %d", s, c.Sessions, n)
		}
		if c.Sessions < k {
			t.Fatalf("the %d sessions of %v can be told from\n%s", n, s, publicText(b))
		}
	}
	for _, e := range sums {
		if e.sum > 0 && e.sum < int64(k) && len(e.minus) == 0 && !e.all {
			t.Fatalf("%s: %d of %v are told by\n%s", e.text, e.sum, e.unknown, publicText(b))
		}
	}
}

func publicText(b *Board) string {
	var out strings.Builder
	for _, s := range b.Segments {
		mark := ""
		if s.Folded {
			mark = "~"
		}
		fmt.Fprintf(&out, "%s%v=%d ", mark, s.Segment, s.Sessions)
	}
	return out.String()
}

// TestConcealedSegmentsCannotBeToldFromOthers: whatever the crowd, and however its
// dimensions are linked.
func TestConcealedSegmentsCannotBeToldFromOthers(t *testing.T) {
	forms := [][]string{
		{"team"}, {"country", "region"}, {"country", "region", "team"},
		{"region", "team", "team+region"}, {"country", "region", "team", "team+region"},
		{"country", "region", "team", "team+country", "team+region"}, {"team+region"},
	}
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SampledFrom(forms).Draw(t, "dims")
		k := rapid.SampledFrom([]uint64{2, 5, 10}).Draw(t, "k")
		most := rapid.SampledFrom([]uint64{3, 12, 40, 400}).Draw(t, "most")
		c, overflow := crowd{}, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "groups") {
			region := rapid.SampledFrom(attackValues["region"]).Draw(t, "region")
			country := region[:2]
			if region == Unknown {
				country = rapid.SampledFrom(attackValues["country"]).Draw(t, "country")
			}
			team := rapid.SampledFrom(attackValues["team"]).Draw(t, "team")
			c[fmt.Sprintf("country=%s region=%s team=%s", country, region, team)] += rapid.Uint64Range(1, most).Draw(t, "sessions")
			if rapid.IntRange(0, 20).Draw(t, "overflows") == 0 {
				overflow["team+region:"+team+"+"+region] = true
			}
		}
		b := boardOfCrowd(dims, c, overflow)
		conceal(b, k)
		checkAttack(t, b, dims, k)
	})
}

// TestConcealTakesNoMoreThanItMust: one small cell of a large table takes three
// others along, those that make a rectangle with it, and nothing of the dimensions
// that the table is made of.
func TestConcealTakesNoMoreThanItMust(t *testing.T) {
	c := crowd{}
	for i, team := range []string{"KC", "NE", "SF"} {
		for j, region := range attackValues["region"][:5] {
			c[fmt.Sprintf("country=%s region=%s team=%s", region[:2], region, team)] = uint64(100 + 10*i + j)
		}
	}
	c["country=US region=US-WY team=NE"] = 3
	dims := []string{"country", "region", "team", "team+region"}
	b := boardOfCrowd(dims, c, nil)
	conceal(b, 10)
	checkAttack(t, b, dims, 10)
	var folded []string
	for _, s := range b.Segments {
		if s.Folded {
			folded = append(folded, s.Segment.String())
		}
	}
	if got, want := strings.Join(folded, " "), "team+region:KC+US-CA team+region:KC+US-WY team+region:NE+US-CA team+region:NE+US-WY"; got != want {
		t.Errorf("folded are %s, want %s", got, want)
	}
}

// TestTheSameAreConcealedFromTickToTick: a crowd that grows and shrinks a little has
// the same segments concealed, so that two boards differ by sums of the same.
func TestTheSameAreConcealedFromTickToTick(t *testing.T) {
	folded := func(wy, ny uint64) string {
		c := crowd{"country=US region=US-CA team=KC": 900, "country=US region=US-WY team=KC": wy, "country=US region=US-NY team=KC": ny, "country=US region=US-TX team=KC": 40}
		b := boardOfCrowd([]string{"region"}, c, nil)
		conceal(b, 10)
		var names []string
		for _, s := range b.Segments {
			if s.Folded {
				names = append(names, s.Segment.Value)
			}
		}
		return strings.Join(names, " ")
	}
	first := folded(3, 41)
	for ny := uint64(33); ny < 63; ny++ { // now below, now above US-TX
		for wy := uint64(1); wy < 10; wy++ {
			if got := folded(wy, ny); got != first {
				t.Fatalf("with %d and %d sessions %s are folded, at first %s", wy, ny, got, first)
			}
		}
	}
}

func BenchmarkConceal(b *testing.B) {
	for _, regions := range []int{10, 250} {
		c := crowd{}
		for team := range 8 {
			for region := range regions {
				c[fmt.Sprintf("country=C%c region=C%c-%03d team=T%d", 'A'+region%20, 'A'+region%20, region, team)] = uint64(1 + (team*7919+region*104729)%3000)
			}
		}
		board := boardOfCrowd([]string{"country", "region", "team", "team+region"}, c, nil)
		b.Run(fmt.Sprintf("segments=%d", len(board.Segments)), func(b *testing.B) {
			for b.Loop() {
				Conceal(board.Segments, 10)
			}
		})
	}
}
