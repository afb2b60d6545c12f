package grandstand

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// A sparse sketch is the set of its hashes' sparse keys: 25 bits of the hash
// instead of the 14 of a register, so that few values are as good as counted
// (Heule et al. 2013, "HyperLogLog in Practice", section 5.3). The keys, their
// order and their bytes are those of axiomhq/hyperloglog.
const (
	sketchP   = 14           // precision: 2^14 registers
	sparseP   = 25           // precision of the sparse keys
	registers = 1 << sketchP // of a dense sketch
	maxRank   = 64 - sketchP + 1
)

// sparseKey returns the key of a hash: its upper 25 bits and a 0. If the 11
// bits that its register does not use are all 0, so that they do not tell the
// rank, the number of leading zeros after them and a 1 follow instead.
func sparseKey(hash uint64) uint32 {
	const rest = 64 - sparseP
	index := uint32(hash >> rest)
	if index&(1<<(sparseP-sketchP)-1) != 0 {
		return index << 1
	}
	zeros := bits.LeadingZeros64(hash<<sparseP|(1<<sparseP-1)) + 1
	return index<<7 | uint32(zeros)<<1 | 1
}

// registerOf returns the register that a key belongs to, and its rank there.
func registerOf(key uint32) (index uint32, rank uint8) {
	if key&1 == 1 {
		return key >> (32 - sketchP), uint8(key>>1&63) + sparseP - sketchP
	}
	index = key >> (sparseP - sketchP + 1) & (registers - 1)
	return index, uint8(bits.LeadingZeros32(key<<(32-sparseP+sketchP-1))) + 1
}

// keySet gathers sparse keys cheaply: it appends them, and sorts and removes
// doubles only when somebody looks or there are many. (The library merges every
// 164 keys into its list, at 70 to 500 ns a key.) The zero value is empty.
type keySet struct {
	keys   []uint32 // the first sorted ones ascend, without doubles
	spare  []uint32 // for sorting
	sorted int
	size   int // bytes of the sorted ones when written
}

// minKeys is what a keySet gathers before it looks whether it is too large for
// a sparse sketch, which it is from about 7,650 different keys on.
const minKeys = 8192

func (s *keySet) reset() { s.keys, s.sorted, s.size = s.keys[:0], 0, 0 }

// full reports that compact is due: there are twice as many keys as after the
// last time, so that all compactions together cost no more than the last two.
func (s *keySet) full() bool { return len(s.keys) >= max(minKeys, 2*s.sorted) }

func (s *keySet) add(key uint32) { s.keys = append(s.keys, key) }

// compact sorts the keys and removes doubles. It reports whether they still fit
// a sparse sketch: the library leaves it when its bytes are more than a dense
// one's. That depends on the set of hashes alone, whatever their order, and
// stays so when others join; so equal sets have equal bytes.
func (s *keySet) compact() (fits bool) {
	if s.sorted < len(s.keys) {
		if s.sorted > 0 && slices.IsSorted(s.keys[s.sorted:]) {
			s.merge()
		} else {
			s.sort()
			s.keys = slices.Compact(s.keys)
		}
		s.sorted, s.size = len(s.keys), 0
		last := uint32(0)
		for _, k := range s.keys {
			s.size += (bits.Len32((k-last)|1) + 6) / 7
			last = k
		}
	}
	return s.size <= registers
}

// merge brings the sorted keys and those after them, which are sorted too, in one
// order without doubles: what a sketch adds to a union, or a union to a reach.
func (s *keySet) merge() {
	a, b := s.keys[:s.sorted], s.keys[s.sorted:]
	out := slices.Grow(s.spare[:0], len(s.keys))
	for len(a) > 0 && len(b) > 0 {
		k := min(a[0], b[0])
		out = append(out, k)
		if a[0] == k {
			a = a[1:]
		}
		for len(b) > 0 && b[0] == k {
			b = b[1:]
		}
	}
	out = append(out, a...)
	first := len(out)
	out = append(out, b...)
	out = out[:first+len(slices.Compact(out[first:]))]
	s.keys, s.spare = out, s.keys
}

// sort is a radix sort of four passes, for small sets the standard one.
func (s *keySet) sort() {
	const small = 96
	if len(s.keys) <= small {
		slices.Sort(s.keys)
		return
	}
	var counts [4][256]uint32
	for _, k := range s.keys {
		counts[0][k&255]++
		counts[1][k>>8&255]++
		counts[2][k>>16&255]++
		counts[3][k>>24]++
	}
	s.spare = slices.Grow(s.spare[:0], len(s.keys))
	from, to := s.keys, s.spare[:len(s.keys)]
	for pass := range counts {
		at, sum := &counts[pass], uint32(0)
		for i, n := range at {
			at[i], sum = sum, sum+n
		}
		shift := 8 * pass
		for _, k := range from {
			digit := k >> shift & 255
			to[at[digit]] = k
			at[digit]++
		}
		from, to = to, from
	}
	// An even number of passes: the result is where it began.
}

// The header of the bytes of a sketch: our version; then the library's version,
// precision, bias and representation (hyperloglog.UnmarshalBinary).
const (
	sketchVersion   = 1
	libraryVersion  = 2
	sketchHeader    = 5
	denseHeader     = sketchHeader + 4  // and the number of registers
	sparseHeader    = sketchHeader + 16 // and no loose keys, the keys' number, the last, the bytes
	denseSketchLen  = denseHeader + registers
	isDense         = 0
	isSparse        = 1
	maxSparseStream = registers
)

// MaxSketchLen is the greatest length, in bytes, of a sketch's wire form.
const MaxSketchLen = sparseHeader + maxSparseStream

// appendBinary appends the bytes of a sparse sketch. The keys must be compact.
func (s *keySet) appendBinary(dst []byte) []byte {
	dst = slices.Grow(dst, sparseHeader+s.size)
	dst = append(dst, sketchVersion, libraryVersion, sketchP, 0, isSparse)
	dst = binary.BigEndian.AppendUint32(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.keys)))
	last := uint32(0)
	if n := len(s.keys); n > 0 {
		last = s.keys[n-1]
	}
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.size))
	last = 0
	for _, k := range s.keys {
		dst = binary.AppendUvarint(dst, uint64(k-last))
		last = k
	}
	return dst
}

// addBinary adds the keys of a sparse sketch's bytes. They must be as
// appendBinary writes them; if they are not it adds none and its error has
// CodeInvalid.
func (s *keySet) addBinary(b []byte) error {
	if len(b) < sparseHeader || len(b) > MaxSketchLen {
		return errSketch
	}
	loose, count := binary.BigEndian.Uint32(b[5:]), binary.BigEndian.Uint32(b[9:])
	last, size := binary.BigEndian.Uint32(b[13:]), binary.BigEndian.Uint32(b[17:])
	stream := b[sparseHeader:]
	if loose != 0 || int(size) != len(stream) || count > size {
		return errSketch
	}
	// A byte of 0 ends a step that is 0, or longer than it must be. Only the first
	// key may be 0.
	if n := len(stream); n > 0 && (stream[n-1] >= 0x80 || bytes.IndexByte(stream[1:], 0) >= 0) {
		return errSketch
	}
	before := len(s.keys)
	s.keys = slices.Grow(s.keys, int(count))
	keys := s.keys[before : before+int(count)]
	// Each key is tested, so that a sum that overflows is seen before it wraps.
	key, n, tooLarge := uint64(0), 0, false
	for i := 0; i < len(stream); {
		if n+2 <= len(keys) && i+8 <= len(stream) {
			// Steps take two or three bytes, as a rule. A word has two of them at least,
			// and tells how long they are without a branch, which a processor could
			// not foresee.
			w := binary.LittleEndian.Uint64(stream[i:])
			first := ^w & highBits
			if second := first & (first - 1); second != 0 {
				one := key + septets(w&(first^(first-1)))
				key = one + septets(w&(second^(second-1))>>(bits.TrailingZeros64(first)+1))
				tooLarge = tooLarge || one|key > math.MaxUint32 || badRank(one) || badRank(key)
				keys[n], keys[n+1] = uint32(one), uint32(key)
				n, i = n+2, i+(bits.TrailingZeros64(second)+1)/8
				continue
			}
		}
		delta, length := binary.Uvarint(stream[i:])
		if key += delta; length <= 0 || n == len(keys) || delta > math.MaxUint32 {
			return errSketch
		}
		tooLarge = tooLarge || key > math.MaxUint32 || badRank(key)
		keys[n] = uint32(key)
		n, i = n+1, i+length
	}
	if n != len(keys) || uint32(key) != last || tooLarge {
		return errSketch
	}
	if s.keys = s.keys[:before+n]; before == 0 {
		s.sorted, s.size = n, int(size)
	}
	return nil
}

// septets returns the lower seven bits of each byte, one behind the other.
func septets(w uint64) uint64 {
	w = w&0x007f007f007f007f | w>>1&0x3f803f803f803f80
	w = w&0x00003fff00003fff | w>>2&0x0fffc0000fffc000
	return w&0x000000000fffffff | w>>4&0x00fffffff0000000
}

// badRank reports a rank that no hash has.
func badRank(key uint64) bool { return key&1 == 1 && key>>1&63 > maxRank-(sparseP-sketchP) }

var errSketch = Errorf(CodeInvalid, "the bytes are not a sketch's")
