package grandstand

import (
	"encoding/binary"
	"math"
	"slices"
)

// The wire forms of everything that goes through Redis or into the archive
// share one alphabet: a leading version byte, then uvarints (encoding/binary),
// strings and byte strings with their length in front, and lists with their
// count in front. Signed differences are zigzag-coded. Decoders
//
//   - never panic, and never allocate more than a small multiple of their input:
//     every count and length is checked against what remains;
//   - refuse bytes that remain at the end, and versions that they do not know;
//   - return errors with CodeInvalid;
//   - copy strings; byte strings (sketches, bodies) alias the input.
//
// They check the form, not the sense: that an event exists, or that the sums of
// a board hold, is for the caller to know.

// maxWireNumber bounds every time and count on the wire. It is what JSON and
// Lua hold exactly. Nothing counts so far: encoders write more than it as it,
// and less than zero as zero; decoders refuse more.
const maxWireNumber = 1<<53 - 1

// wireReader reads one message. After the first trouble every read returns
// zero, so that callers check once, in done.
type wireReader struct {
	what string // what is read, for the error
	rest []byte
	err  error
}

// readWire starts to read a message of that version.
func readWire(what string, version byte, b []byte) *wireReader {
	r, _ := readWireSince(what, version, version, b)
	return r
}

// readWireSince starts to read a message of any version from the oldest to the
// newest, and returns which it is.
func readWireSince(what string, oldest, newest byte, b []byte) (r *wireReader, version byte) {
	r = &wireReader{what: what, rest: b}
	version = r.byte()
	if r.err == nil && (version < oldest || version > newest) {
		r.err = Errorf(CodeInvalid, "decode %s: version %d is not known here", what, version)
		r.rest = nil
	}
	return r, version
}

func (r *wireReader) fail(trouble string) {
	if r.err == nil {
		r.err = Errorf(CodeInvalid, "decode %s: %s", r.what, trouble)
	}
	r.rest = nil
}

// done returns the first trouble; bytes that remain are one.
func (r *wireReader) done() error {
	if len(r.rest) > 0 {
		r.fail("there are bytes after its end")
	}
	return r.err
}

func (r *wireReader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("it ends early")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// flag reads a byte that is 0 or 1.
func (r *wireReader) flag() bool {
	b := r.byte()
	if b > 1 {
		r.fail("a flag is not known here")
	}
	return b == 1
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("it ends early, or a number is too large")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// number reads a time or a count.
func (r *wireReader) number() uint64 { return r.upTo(maxWireNumber) }

// time reads a time in ms.
func (r *wireReader) time() int64 { return int64(r.number()) }

// upTo reads a number that is at most limit.
func (r *wireReader) upTo(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.fail("a number is out of range")
		return 0
	}
	return v
}

// from reads a number that is written as its difference from base.
func (r *wireReader) from(base uint64) uint64 {
	v := base + uint64(unzigzag(r.uvarint()))
	if v > maxWireNumber {
		r.fail("a number is out of range")
		return 0
	}
	return v
}

// count reads the length of a list whose items take at least size bytes each.
func (r *wireReader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.fail("a list is longer than the message")
		return 0
	}
	return int(n)
}

// bytes returns part of the input.
func (r *wireReader) bytes() []byte {
	n := r.count(1)
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// key reads a Key, which is never zero.
func (r *wireReader) key(k *Key) {
	if len(r.rest) < len(k) {
		r.fail("it ends early")
		return
	}
	copy(k[:], r.rest)
	r.rest = r.rest[len(k):]
	if k.IsZero() {
		r.fail("a key is zero")
	}
}

// float reads a finite number.
func (r *wireReader) float() float64 {
	if len(r.rest) < 8 {
		r.fail("it ends early")
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.rest))
	r.rest = r.rest[8:]
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.fail("a number is not finite")
		return 0
	}
	return f
}

func (r *wireReader) string() string { return string(r.bytes()) }

func (r *wireReader) releaseID() ReleaseID {
	return ReleaseID{MS: r.uvarint(), Seq: r.uvarint()}
}

func appendNumber(dst []byte, v uint64) []byte {
	return binary.AppendUvarint(dst, min(v, maxWireNumber))
}

func appendTime(dst []byte, ms int64) []byte { return appendNumber(dst, uint64(max(ms, 0))) }

// appendFrom writes v as its difference from base, which wireReader.from is
// told again.
func appendFrom(dst []byte, v, base uint64) []byte {
	return binary.AppendUvarint(dst, zigzag(int64(min(v, maxWireNumber)-min(base, maxWireNumber))))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendReleaseID(dst []byte, id ReleaseID) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, id.MS), id.Seq)
}

func bit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// A list of segments is written with each dimension's name once, and of each
// value only what differs from the value before:
//
//	head = len(rest of the value)<<4 | shared prefix, 0 to 7<<1 | new dimension
//	[dimension: 0 and its name, or its index among those named so far + 1]
//	rest of the value
//
// In the order of CompareSegments that is two to four bytes for "US-CA".
const maxSharedPrefix = 7

type segmentWriter struct {
	dims []string
	last Segment
}

func (w *segmentWriter) append(dst []byte, s Segment) []byte {
	shared := 0
	for shared < min(len(s.Value), len(w.last.Value), maxSharedPrefix) && s.Value[shared] == w.last.Value[shared] {
		shared++
	}
	rest := s.Value[shared:]
	head := uint64(len(rest))<<4 | uint64(shared)<<1
	if s.Dim == w.last.Dim && len(w.dims) > 0 {
		dst = binary.AppendUvarint(dst, head)
	} else {
		dst = binary.AppendUvarint(dst, head|1)
		i := slices.Index(w.dims, s.Dim)
		dst = binary.AppendUvarint(dst, uint64(i+1))
		if i < 0 {
			w.dims = append(w.dims, s.Dim)
			dst = appendString(dst, s.Dim)
		}
	}
	w.last = s
	return append(dst, rest...)
}

type segmentReader struct {
	dims []string
	last Segment
	buf  []byte // scratch, to put a value together
}

func (s *segmentReader) next(r *wireReader) Segment {
	head := r.uvarint()
	if head&1 != 0 {
		s.last.Dim = s.dim(r)
	} else if len(s.dims) == 0 {
		r.fail("a segment has no dimension")
	}
	shared, size := int(head>>1&maxSharedPrefix), head>>4
	if size > uint64(len(r.rest)) || shared > len(s.last.Value) {
		r.fail("a segment is longer than the message")
		return Segment{}
	}
	s.buf = append(append(s.buf[:0], s.last.Value[:shared]...), r.rest[:size]...)
	r.rest = r.rest[size:]
	s.last.Value = string(s.buf)
	return s.last
}

func (s *segmentReader) dim(r *wireReader) string {
	i := r.upTo(uint64(len(s.dims)))
	if i > 0 {
		return s.dims[i-1]
	}
	s.dims = append(s.dims, r.string())
	return s.dims[len(s.dims)-1]
}
