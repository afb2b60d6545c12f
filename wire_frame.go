package grandstand

// The compact form of "counts" is the binary message of the WebSocket subprotocol
// grandstand.v1.bin (docs/protocol-bin.md): the same numbers as the JSON form, in
// the order of hello's dims, in a quarter of the bytes.
//
//	version = 1, a byte
//	quality, a byte: 0 live, 1 partial, 2 stale, 3 final
//	at, epoch
//	of each of hello's dims:
//	    0 for null, else sessions + 1
//	    fans - sessions, zigzag-coded, unless null
//	age
//
// All but the first two are uvarints. A message needs none before it: one that a
// slow reader skips is not missed.

// compactVersion is the version of the compact form.
const compactVersion = 1

func appendCompactHead(dst []byte, b *Board) []byte {
	dst = append(dst, compactVersion, byte(b.Quality))
	return appendTime(appendTime(dst, b.At), b.Epoch)
}

func appendCompactCount(dst []byte, c SegmentCount) []byte {
	if c.Folded {
		return append(dst, 0)
	}
	sessions := min(c.Sessions, maxWireNumber-1)
	return appendFrom(appendNumber(dst, sessions+1), c.Fans, sessions)
}

// AppendCompact appends the compact message as it is sent at now, in Redis ms.
func (f *Frame) AppendCompact(dst []byte, now int64) []byte {
	return appendTime(append(dst, f.compact...), now-f.at)
}

// Counts is what a client reads from a compact message.
type Counts struct {
	At, Epoch int64
	Age       int64 // ms at sending
	Quality   Quality
	N         []ShownCount // world first, then in the order of hello's dims
}

// ShownCount is what one segment shows. Hidden: it is too small to be shown.
type ShownCount struct {
	Sessions, Fans uint64
	Hidden         bool
}

// DecodeCounts reads a compact message of a connection whose hello named dims
// dimensions, the world among them. Errors have CodeInvalid.
func DecodeCounts(b []byte, dims int) (*Counts, error) {
	r := readWire("counts", compactVersion, b)
	c := &Counts{Quality: Quality(r.byte())}
	if c.Quality > Final {
		r.fail("a quality is not known here")
	}
	c.At, c.Epoch = r.time(), r.time()
	for i := 0; i < dims && r.err == nil; i++ {
		n := ShownCount{Hidden: true}
		if v := r.number(); v > 0 {
			n = ShownCount{Sessions: v - 1, Fans: r.from(v - 1)}
		}
		c.N = append(c.N, n)
	}
	c.Age = r.time()
	if err := r.done(); err != nil {
		return nil, err
	}
	return c, nil
}
