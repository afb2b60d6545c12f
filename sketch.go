package grandstand

import (
	"encoding/binary"
	"math"

	"github.com/axiomhq/hyperloglog"
)

// Sketch is a HyperLogLog of precision 14: it estimates how many different
// hashes were added, in at most MaxSketchLen bytes. It has one owner: no method
// may be called at the same time as another, Estimate included.
//
// While it holds fewer than about 7,650 hashes it is sparse, and as good as
// exact; then it is dense, with the standard error FanError. Which it is, and
// its bytes, depend on nothing but the set of hashes.
type Sketch struct {
	keys  keySet              // while it is sparse
	dense *hyperloglog.Sketch // nil while it is sparse
	buf   []byte
}

// NewSketch returns an empty sketch with memory for the expected number of
// hashes. It may be exceeded.
func NewSketch(expected int) *Sketch {
	s := &Sketch{}
	s.Reset(expected)
	return s
}

// Reset empties the sketch, for the expected number of hashes.
func (s *Sketch) Reset(expected int) {
	s.dense = nil
	s.keys.reset()
	if expected = min(expected, minKeys); cap(s.keys.keys) < expected {
		s.keys.keys = make([]uint32, 0, expected)
	}
}

// Add counts a hash. Hashes must be uniform and not of a client's choosing:
// Key.Hash.
func (s *Sketch) Add(hash uint64) {
	if s.dense != nil {
		s.dense.InsertHash(hash)
		return
	}
	if s.keys.add(sparseKey(hash)); s.keys.full() {
		s.settle()
	}
}

// settle compacts a sparse sketch, and makes it dense if it has become too
// large.
func (s *Sketch) settle() {
	if s.dense != nil || s.keys.compact() {
		return
	}
	s.dense = hyperloglog.NewNoSparse()
	for _, k := range s.keys.keys {
		index, rank := registerOf(k)
		s.dense.InsertHash(hashOf(index, rank))
	}
	s.keys.reset()
}

// hashOf returns a hash of the register and the rank: the lead bit of what
// follows the register's index is the rank-th; it has none at maxRank.
func hashOf(index uint32, rank uint8) uint64 {
	const rest = 64 - sketchP
	return uint64(index)<<rest | uint64(1)<<rest>>rank
}

// AppendBinary appends the wire form: a version byte, and the bytes of
// axiomhq/hyperloglog in its version 2. Equal sets of hashes have equal bytes.
func (s *Sketch) AppendBinary(dst []byte) []byte {
	s.settle()
	if s.dense == nil {
		return s.keys.appendBinary(dst)
	}
	dst, err := s.dense.AppendBinary(append(dst, sketchVersion))
	if err != nil {
		panic(err) // only of a precision out of bounds
	}
	return dst
}

// DecodeSketch returns the sketch that AppendBinary wrote. It accepts no more
// than MaxSketchLen bytes and allocates in proportion to them; its errors have
// CodeInvalid.
func DecodeSketch(b []byte) (*Sketch, error) {
	dense, err := sketchForm(b)
	if err != nil {
		return nil, err
	}
	s := &Sketch{}
	if !dense {
		if err := s.keys.addBinary(b); err != nil {
			return nil, err
		}
		s.settle()
		return s, nil
	}
	s.dense = &hyperloglog.Sketch{}
	if err := s.dense.UnmarshalBinary(b[1:]); err != nil {
		return nil, WrapError(CodeInvalid, err, errSketch.Message)
	}
	return s, nil
}

// sketchForm checks the header of a sketch's bytes.
func sketchForm(b []byte) (dense bool, err error) {
	if len(b) < sketchHeader || b[0] != sketchVersion || b[1] != libraryVersion ||
		b[2] != sketchP || b[3] != 0 || b[4] > isSparse {
		return false, errSketch
	}
	if b[4] == isSparse {
		return false, nil
	}
	if len(b) != denseSketchLen || binary.BigEndian.Uint32(b[sketchHeader:]) != registers {
		return false, errSketch
	}
	return true, nil
}

// Estimate returns the estimated number of different hashes: exactly what the
// library estimates for the same set.
func (s *Sketch) Estimate() uint64 {
	s.settle()
	if s.dense == nil {
		return estimateKeys(len(s.keys.keys))
	}
	s.buf = s.AppendBinary(s.buf[:0])
	return estimateRegisters((*[registers]byte)(s.buf[denseHeader:]))
}

// estimateKeys is linear counting over the 2^25 sparse keys (Whang et al.
// 1990).
func estimateKeys(n int) uint64 {
	const cells = 1 << sparseP
	c := float64(cells)
	return uint64(c * math.Log(c/float64(cells-n)))
}

// estimateRegisters is LogLog-Beta (Qin et al. 2016) as the library computes
// it, but from a histogram: 52 powers of two instead of 16,384. The sum is
// exact in either order, as a double has 53 bits, unless a rank is above 38 (one
// viewer in 10^11) while most registers are empty; then the estimates differ by
// less than 0.0001 before they are rounded.
func estimateRegisters(regs *[registers]byte) uint64 {
	// Four tables: equal neighbours would wait for each other's increment.
	var counts [4][256]uint32
	for i := 0; i < registers; i += 8 {
		w := binary.LittleEndian.Uint64(regs[i : i+8])
		counts[0][byte(w)]++
		counts[1][byte(w>>8)]++
		counts[2][byte(w>>16)]++
		counts[3][byte(w>>24)]++
		counts[0][byte(w>>32)]++
		counts[1][byte(w>>40)]++
		counts[2][byte(w>>48)]++
		counts[3][byte(w>>56)]++
	}
	sum := 0.0
	for r := range maxRank + 1 {
		n := counts[0][r] + counts[1][r] + counts[2][r] + counts[3][r]
		sum += math.Ldexp(float64(n), -r)
	}
	m := float64(registers)
	zeros := float64(counts[0][0] + counts[1][0] + counts[2][0] + counts[3][0])
	return uint64(alpha(m)*m*(m-zeros)/(sum+beta14(zeros)) + 0.5)
}

// alpha corrects the bias of the harmonic mean of m registers (Flajolet et al.
// 2007).
func alpha(m float64) float64 { return 0.7213 / (1 + 1.079/m) }

// beta14 is the polynomial of LogLog-Beta for precision 14, with the library's
// coefficients in its order.
func beta14(zeros float64) float64 {
	zl := math.Log(zeros + 1)
	return -0.371009760230692*zeros +
		0.00978811941207509*zl +
		0.185796293324165*math.Pow(zl, 2) +
		0.203015527328432*math.Pow(zl, 3) +
		-0.116710521803686*math.Pow(zl, 4) +
		0.0431106699492820*math.Pow(zl, 5) +
		-0.00599583540511831*math.Pow(zl, 6) +
		0.000449704299509437*math.Pow(zl, 7)
}
