package grandstand

import (
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/huff0"
)

// Since version 2 of a tally a sketch is written as
//
//	head = length of what follows<<1 | packed
//
// and its bytes. The registers of a dense sketch are packed: Huffman codes in
// four streams behind their table, as zstd has them (RFC 8878, section 4.2).
// They are a third of the registers; what else zstd does finds nothing in them,
// and takes thrice the time (docs/decisions/0014). A sparse sketch has nothing to
// gain, and is written as it is.

// minPacked is the least number of bytes that registers are packed to. Those of
// a real sketch take 3,000 and more; fewer would let a small message ask for a
// lot of memory.
const minPacked = 1024

var packers = sync.Pool{New: func() any { return &huff0.Scratch{Reuse: huff0.ReusePolicyNone} }}

func appendSketch(dst, sketch []byte) []byte {
	if dense, err := sketchForm(sketch); err == nil && dense {
		packer := packers.Get().(*huff0.Scratch)
		defer packers.Put(packer)
		packed, _, err := huff0.Compress4X(sketch[denseHeader:], packer)
		if err == nil && len(packed) >= minPacked { // else it is of no real crowd
			dst = binary.AppendUvarint(dst, uint64(len(packed))<<1|1)
			return append(dst, packed...)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(sketch))<<1)
	return append(dst, sketch...)
}

// sketch reads what appendSketch wrote. What was not packed is part of the input.
func (r *wireReader) sketch() []byte {
	head := r.upTo(uint64(len(r.rest))<<1 | 1)
	n := head >> 1
	if n > uint64(len(r.rest)) {
		r.fail("it ends early")
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	if head&1 == 0 {
		return b
	}
	if n < minPacked {
		r.fail("a packed sketch is too short")
		return nil
	}
	sketch, ok := unpack(b)
	if !ok {
		r.fail("a packed sketch cannot be unpacked")
	}
	return sketch
}

// unpack returns a dense sketch of packed registers.
func unpack(packed []byte) (sketch []byte, ok bool) {
	packer := packers.Get().(*huff0.Scratch)
	defer packers.Put(packer)
	_, streams, err := huff0.ReadTable(packed, packer)
	if err != nil {
		return nil, false
	}
	sketch = appendDenseHeader(make([]byte, 0, denseSketchLen))
	regs, err := packer.Decoder().Decompress4X(sketch[denseHeader:denseHeader:denseSketchLen], streams)
	if err != nil || len(regs) != registers {
		return nil, false
	}
	return sketch[:denseSketchLen], true
}
