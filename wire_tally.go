package grandstand

import (
	"encoding/binary"
	"math"
)

const (
	tallyVersion      = 3 // 1 wrote dense sketches as they are; up to 2 a move did not say Moved
	shardTallyVersion = 3 // as 1, of tallies of another version
	manifestVersion   = 1
)

// EncodedShardTally is a ShardTally whose tallies are bytes. A gateway keeps
// the bytes of an event that did not change and builds the message of them; a
// reader need not decode bytes that are equal to those it had before.
type EncodedShardTally struct {
	Gateway  string
	Shard    int
	At       int64
	Released ReleaseID
	Tallies  [][]byte // AppendTally, in the order of ShardTally.Events; decoded ones alias the input
}

// AppendEncodedShardTally appends the wire form of a ShardTally, made of the
// bytes of its tallies.
func AppendEncodedShardTally(dst []byte, t *EncodedShardTally) []byte {
	dst = appendShardTallyHead(dst, &ShardTally{Gateway: t.Gateway, Shard: t.Shard, At: t.At, Released: t.Released}, len(t.Tallies))
	for _, tally := range t.Tallies {
		dst = appendBytes(dst, tally)
	}
	return dst
}

// DecodeEncodedShardTally reads a ShardTally and leaves its tallies encoded.
// They alias b. Errors have CodeInvalid.
func DecodeEncodedShardTally(b []byte) (*EncodedShardTally, error) {
	r, _ := readWireSince("shard tally", 1, shardTallyVersion, b)
	t := &EncodedShardTally{
		Gateway:  r.string(),
		Shard:    int(r.upTo(Shards - 1)),
		At:       r.time(),
		Released: r.releaseID(),
	}
	if n := r.count(6); n > 0 {
		t.Tallies = make([][]byte, n)
		for i := range t.Tallies {
			t.Tallies[i] = r.bytes()
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return t, nil
}

// Decode decodes the tallies. Their sketches may alias the bytes of t.
func (t *EncodedShardTally) Decode() (*ShardTally, error) {
	st := &ShardTally{Gateway: t.Gateway, Shard: t.Shard, At: t.At, Released: t.Released}
	if len(t.Tallies) > 0 {
		st.Events = make([]Tally, len(t.Tallies))
	}
	for i, b := range t.Tallies {
		if err := decodeTally(b, &st.Events[i]); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// AppendShardTally appends the wire form of t.
func AppendShardTally(dst []byte, t *ShardTally) []byte {
	dst = appendShardTallyHead(dst, t, len(t.Events))
	var body []byte
	for i := range t.Events {
		body = AppendTally(body[:0], &t.Events[i])
		dst = appendBytes(dst, body)
	}
	return dst
}

func appendShardTallyHead(dst []byte, t *ShardTally, events int) []byte {
	dst = appendString(append(dst, shardTallyVersion), t.Gateway)
	dst = binary.AppendUvarint(dst, uint64(t.Shard))
	dst = appendTime(dst, t.At)
	dst = appendReleaseID(dst, t.Released)
	return binary.AppendUvarint(dst, uint64(events))
}

// DecodeShardTally reads what AppendShardTally wrote. Sketches may alias b.
// Errors have CodeInvalid.
func DecodeShardTally(b []byte) (*ShardTally, error) {
	t, err := DecodeEncodedShardTally(b)
	if err != nil {
		return nil, err
	}
	return t.Decode()
}

// AppendTally appends the wire form of t. Equal tallies have equal bytes.
func AppendTally(dst []byte, t *Tally) []byte {
	dst = appendString(append(dst, tallyVersion), t.Event)
	dst = appendTime(dst, t.Tick)
	dst = binary.AppendUvarint(dst, uint64(len(t.Segments)))
	var segs segmentWriter
	for i := range t.Segments {
		s := &t.Segments[i]
		dst = segs.append(dst, s.Segment)
		dst = binary.AppendUvarint(dst, uint64(s.Sessions))
		dst = appendSketch(dst, s.Sketch)
	}
	return appendMoves(dst, t.Moves)
}

// DecodeTally reads what AppendTally wrote, in this version or one before.
// Sketches that are not dense alias b; moves of the same audience share their
// Values. Errors have CodeInvalid.
func DecodeTally(b []byte) (*Tally, error) {
	t := new(Tally)
	if err := decodeTally(b, t); err != nil {
		return nil, err
	}
	return t, nil
}

// EventOfTally returns the event's name of an encoded tally without decoding
// the rest. It aliases b. Errors have CodeInvalid.
func EventOfTally(b []byte) ([]byte, error) {
	r, _ := readWireSince("tally", 1, tallyVersion, b)
	event := r.bytes()
	return event, r.err
}

func decodeTally(b []byte, t *Tally) error {
	r, version := readWireSince("tally", 1, tallyVersion, b)
	t.Event = r.string()
	t.Tick = r.time()
	sketch := r.sketch
	if version == 1 {
		sketch = r.bytes
	}
	if n := r.count(3); n > 0 {
		t.Segments = make([]SegmentTally, n)
		var segs segmentReader
		for i := range t.Segments {
			t.Segments[i] = SegmentTally{
				Segment:  segs.next(r),
				Sessions: uint32(r.upTo(math.MaxUint32)),
				Sketch:   sketch(),
			}
			if r.err != nil {
				return r.err
			}
		}
	}
	t.Moves = readMoves(r, version)
	return r.done()
}

// Moves come by the thousand when a gateway dies, from few gateways and few
// audiences. So gateways, values and audiences are written once and referred to
// by index + 1 after that (0: a new one follows), and the id of a release as
// its difference from the last one of the same gateway.

type moveWriter struct {
	from      map[string]uint64
	last      []ReleaseID // by gateway
	values    map[string]uint64
	audiences map[string]uint64
	key       []byte // scratch
}

func appendMoves(dst []byte, moves []Move) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(moves)))
	if len(moves) == 0 {
		return dst
	}
	w := moveWriter{from: map[string]uint64{}, values: map[string]uint64{}, audiences: map[string]uint64{}}
	for i := range moves {
		dst = w.append(dst, &moves[i])
	}
	return dst
}

func (w *moveWriter) append(dst []byte, m *Move) []byte {
	dst = appendRef(dst, w.from, m.From)
	gateway := w.from[m.From] - 1
	if gateway == uint64(len(w.last)) {
		w.last = append(w.last, ReleaseID{})
	}
	last := &w.last[gateway]
	// Both differences wrap around, so that any id comes back.
	dst = binary.AppendUvarint(dst, zigzag(int64(m.Release.MS-last.MS)))
	if m.Release.MS == last.MS {
		dst = binary.AppendUvarint(dst, zigzag(int64(m.Release.Seq-last.Seq)))
	} else {
		dst = binary.AppendUvarint(dst, m.Release.Seq)
	}
	*last = m.Release
	dst = binary.AppendUvarint(dst, sinceCode(m))

	w.key = w.key[:0]
	for _, v := range m.Values {
		w.key = appendString(w.key, v)
	}
	if i, ok := w.audiences[string(w.key)]; ok {
		return binary.AppendUvarint(dst, i)
	}
	w.audiences[string(w.key)] = uint64(len(w.audiences) + 1)
	dst = append(dst, 0)
	dst = binary.AppendUvarint(dst, uint64(len(m.Values)))
	for _, v := range m.Values {
		dst = appendRef(dst, w.values, v)
	}
	return dst
}

// appendRef writes the index of s in the dictionary, or s if it is new there.
func appendRef(dst []byte, dict map[string]uint64, s string) []byte {
	if i, ok := dict[s]; ok {
		return binary.AppendUvarint(dst, i)
	}
	dict[s] = uint64(len(dict) + 1)
	return appendString(append(dst, 0), s)
}

type moveReader struct {
	version   byte // of the tally
	from      []string
	last      []ReleaseID // by gateway
	values    []string
	audiences [][]string
}

func readMoves(r *wireReader, version byte) []Move {
	n := r.count(4)
	if n == 0 {
		return nil
	}
	moves := make([]Move, n)
	m := moveReader{version: version}
	for i := range moves {
		if moves[i] = m.next(r); r.err != nil {
			return nil
		}
	}
	return moves
}

func (m *moveReader) next(r *wireReader) Move {
	gateway := readRef(r, &m.from)
	if r.err != nil {
		return Move{}
	}
	if gateway == len(m.last) {
		m.last = append(m.last, ReleaseID{})
	}
	last := &m.last[gateway]
	if d := unzigzag(r.uvarint()); d != 0 {
		*last = ReleaseID{MS: last.MS + uint64(d), Seq: r.uvarint()}
	} else {
		last.Seq += uint64(unzigzag(r.uvarint()))
	}
	move := Move{From: m.from[gateway], Release: *last}
	code := r.uvarint()
	if m.version > 2 && code > 0 {
		move.Moved = (code-1)&1 == 1
		code = (code-1)>>1 + 1
	}
	if move.Since = sinceOf(code, last.MS); move.Since == 0 {
		move.Moved = false
	}
	move.Values = m.audience(r)
	return move
}

// Since is written as its distance before the release, twice, plus Moved, plus
// one; 0 stands for none. A session that was there for longer than any tally in use is old, and
// costs one byte.
const sinceOldMS = 10 * 60_000

func sinceCode(m *Move) uint64 {
	if m.Since <= 0 || m.Release.MS > maxWireNumber {
		return 0
	}
	d := int64(m.Release.MS) - m.Since
	if d >= sinceOldMS {
		return 0
	}
	return (zigzag(d)<<1 | bit(m.Moved)) + 1
}

func sinceOf(code, release uint64) int64 {
	if code == 0 || release > maxWireNumber {
		return 0
	}
	since := int64(release) - unzigzag(code-1)
	if since < 0 || since > maxWireNumber {
		return 0
	}
	return since
}

func (m *moveReader) audience(r *wireReader) []string {
	if i := r.upTo(uint64(len(m.audiences))); i > 0 {
		return m.audiences[i-1]
	}
	values := make([]string, r.count(1))
	for i := range values {
		v := readRef(r, &m.values)
		if r.err != nil {
			return nil
		}
		values[i] = m.values[v]
	}
	m.audiences = append(m.audiences, values)
	return values
}

// readRef returns the index in the dictionary of what appendRef wrote; the
// caller checks r.err before using it.
func readRef(r *wireReader, dict *[]string) int {
	if i := r.upTo(uint64(len(*dict))); i > 0 {
		return int(i) - 1
	}
	*dict = append(*dict, r.string())
	return len(*dict) - 1
}

// AppendManifest appends the wire form of m.
func AppendManifest(dst []byte, m *Manifest) []byte {
	dst = appendString(append(dst, manifestVersion), m.Gateway)
	dst = appendTime(dst, m.At)
	dst = appendReleaseID(dst, m.Released)
	dst = appendTime(dst, m.Epoch)
	dst = binary.AppendUvarint(dst, uint64(m.Sessions)<<1|bit(m.Left))
	dst = binary.AppendUvarint(dst, uint64(len(m.Shards)))
	for _, s := range m.Shards {
		dst = binary.AppendUvarint(dst, uint64(s.Shard))
		dst = appendFrom(dst, uint64(max(s.At, 0)), uint64(max(m.At, 0)))
	}
	return dst
}

// DecodeManifest reads what AppendManifest wrote. Errors have CodeInvalid.
func DecodeManifest(b []byte) (*Manifest, error) {
	r := readWire("manifest", manifestVersion, b)
	m := &Manifest{Gateway: r.string(), At: r.time(), Released: r.releaseID(), Epoch: r.time()}
	sessions := r.upTo(math.MaxUint32<<1 | 1)
	m.Sessions, m.Left = uint32(sessions>>1), sessions&1 != 0
	if n := r.count(2); n > 0 {
		m.Shards = make([]ShardRef, n)
		for i := range m.Shards {
			m.Shards[i] = ShardRef{Shard: int(r.upTo(Shards - 1)), At: int64(r.from(uint64(m.At)))}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return m, nil
}
