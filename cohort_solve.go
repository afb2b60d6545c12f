package grandstand

import (
	"encoding/binary"
	"slices"
)

// maxUnknowns bounds the work of solving sums, which grows with its third power: at
// most some 20 ms.
const maxUnknowns = 256

// solve returns the concealed segments that the sums tell, all of them taken
// together: those x for which "x = a number" is a combination of equations between
// concealed segments. It is false if that is too much work.
//
// Segments that are in the same sums can be exchanged for each other, so none of
// them is told; they count as one unknown.
func (c *concealment) solve(in [][]int32) (told []int32, ok bool) {
	var unknowns [][]int32 // each of segments in the same sums
	column := make([]int, len(c.segs))
	byName := map[string]int{}
	var name []byte
	for i := range c.segs {
		if !c.hidden[i] {
			continue
		}
		name = name[:0]
		for _, n := range in[i] {
			sign := uint32(0)
			if c.sums[n].total == int32(i) {
				sign = 1 // on the other side
			}
			name = binary.AppendUvarint(name, uint64(n)<<1|uint64(sign))
		}
		at, there := byName[string(name)]
		if !there {
			at = len(unknowns)
			byName[string(name)] = at
			unknowns = append(unknowns, nil)
		}
		column[i] = at
		unknowns[at] = append(unknowns[at], int32(i))
	}
	if len(unknowns) > maxUnknowns {
		return nil, false
	}
	var rows [][]uint64
	for _, s := range c.sums {
		row := make([]uint64, len(unknowns))
		for _, i := range s.members {
			if c.hidden[i] {
				row[column[i]] = 1
			}
		}
		if c.hidden[s.total] {
			row[column[s.total]] = prime - 1
		}
		if slices.ContainsFunc(row, func(v uint64) bool { return v != 0 }) {
			rows = append(rows, row)
		}
	}
	for _, row := range reduced(rows) {
		single := -1
		for at, v := range row {
			if v != 0 && single < 0 {
				single = at
			} else if v != 0 {
				single = -2
				break
			}
		}
		if single >= 0 && len(unknowns[single]) == 1 {
			told = append(told, unknowns[single][0])
		}
	}
	return told, true
}

// prime is the number modulo which is counted: fractions would grow. What it makes
// of equations with coefficients of 1 and -1 differs from what fractions make of them
// for next to no system.
const prime = 1<<31 - 1

// reduced returns the reduced row echelon form, in the memory of rows.
func reduced(rows [][]uint64) [][]uint64 {
	done := 0
	for at := 0; len(rows) > 0 && at < len(rows[0]) && done < len(rows); at++ {
		p := done
		for p < len(rows) && rows[p][at] == 0 {
			p++
		}
		if p == len(rows) {
			continue
		}
		rows[done], rows[p] = rows[p], rows[done]
		pivot := rows[done]
		inverse := power(pivot[at], prime-2) // Fermat
		for j := at; j < len(pivot); j++ {
			pivot[j] = pivot[j] * inverse % prime
		}
		for i, row := range rows {
			if i == done || row[at] == 0 {
				continue
			}
			factor := prime - row[at]
			for j := at; j < len(row); j++ {
				row[j] = (row[j] + factor*pivot[j]) % prime
			}
		}
		done++
	}
	return rows[:done]
}

// power returns base to the n, modulo prime.
func power(base uint64, n int) uint64 {
	out := uint64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			out = out * base % prime
		}
		base = base * base % prime
	}
	return out
}
