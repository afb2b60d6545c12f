package grandstand

import (
	"encoding/binary"
	"math"
	"slices"
)

const (
	boardVersion      = 1
	shardBoardVersion = 1
)

// EncodedBoard is a Board whose segments are bytes. Who publishes keeps the
// bytes of a board whose numbers did not change; who reads need not decode
// bytes that are equal to those it had before.
type EncodedBoard struct {
	Event    string
	At       int64
	TickMS   int64
	Quality  Quality
	Coverage float64
	Body     []byte // AppendBoardBody; a decoded one aliases the input
}

// EncodedShardBoard is a ShardBoard whose boards' segments are bytes.
type EncodedShardBoard struct {
	Shard  int
	At     int64
	Boards []EncodedBoard
}

// Encode returns b with its segments encoded. The epoch is not part of it.
func (b *Board) Encode() EncodedBoard {
	body := b.Body
	if body == nil {
		body = AppendBoardBody(nil, b)
	}
	return EncodedBoard{
		Event: b.Event, At: b.At, TickMS: b.TickMS,
		Quality: b.Quality, Coverage: b.Coverage,
		Body: body,
	}
}

// Decode decodes the segments. It leaves Epoch zero. Errors have CodeInvalid.
func (e *EncodedBoard) Decode() (*Board, error) {
	b := &Board{Event: e.Event, At: e.At, TickMS: e.TickMS, Quality: e.Quality, Coverage: e.Coverage}
	r := &wireReader{what: "board", rest: e.Body}
	var segs segmentReader
	b.Segments = readSegmentCounts(r, &segs)
	b.Public = readSegmentCounts(r, &segs)
	if err := r.done(); err != nil {
		return nil, err
	}
	return b, nil
}

// AppendBoardBody appends what EncodedBoard.Body holds: the segments and the
// public ones. Equal segments have equal bytes. It has no version of its own,
// so it is not for keeping outside of a board.
func AppendBoardBody(dst []byte, b *Board) []byte {
	var segs segmentWriter
	dst = appendSegmentCounts(dst, &segs, b.Segments)
	return appendSegmentCounts(dst, &segs, b.Public)
}

// appendSegmentCounts writes fans and peak as the difference from the sessions,
// and reach from the fans: they are near each other.
func appendSegmentCounts(dst []byte, segs *segmentWriter, list []SegmentCount) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for i := range list {
		s := &list[i]
		dst = segs.append(dst, s.Segment)
		dst = binary.AppendUvarint(dst, min(s.Sessions, maxWireNumber)<<1|bit(s.Folded))
		dst = appendFrom(dst, s.Fans, s.Sessions)
		dst = appendFrom(dst, s.Peak, s.Sessions)
		dst = appendFrom(dst, s.Reach, s.Fans)
	}
	return dst
}

func readSegmentCounts(r *wireReader, segs *segmentReader) []SegmentCount {
	n := r.count(5)
	if n == 0 {
		return nil
	}
	list := make([]SegmentCount, n)
	for i := range list {
		s := &list[i]
		s.Segment = segs.next(r)
		sessions := r.upTo(maxWireNumber<<1 | 1)
		s.Sessions, s.Folded = sessions>>1, sessions&1 != 0
		s.Fans = r.from(s.Sessions)
		s.Peak = r.from(s.Sessions)
		s.Reach = r.from(s.Fans)
		if r.err != nil {
			return nil
		}
	}
	return list
}

// appendEncodedBoard writes At as its difference from the shard's.
func appendEncodedBoard(dst []byte, b *EncodedBoard, shardAt int64) []byte {
	dst = appendString(dst, b.Event)
	dst = appendFrom(dst, uint64(max(b.At, 0)), uint64(max(shardAt, 0)))
	dst = appendTime(dst, b.TickMS)
	full := b.Coverage >= 1
	dst = append(dst, byte(b.Quality)<<1|byte(bit(full)))
	if !full {
		coverage := b.Coverage
		if !(coverage > 0) { // NaN as well
			coverage = 0
		}
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(coverage))
	}
	return appendBytes(dst, b.Body)
}

func readEncodedBoard(r *wireReader, shardAt int64) EncodedBoard {
	b := EncodedBoard{
		Event:    r.string(),
		At:       int64(r.from(uint64(shardAt))),
		TickMS:   r.time(),
		Coverage: 1,
	}
	flags := r.byte()
	if b.Quality = Quality(flags >> 1); int(b.Quality) >= len(qualityNames) {
		r.fail("its quality is not known here")
	}
	if flags&1 == 0 {
		var bits uint64
		for range 8 {
			bits = bits<<8 | uint64(r.byte())
		}
		if b.Coverage = math.Float64frombits(bits); !(b.Coverage >= 0 && b.Coverage < 1) {
			r.fail("its coverage is not 0 to 1")
		}
	}
	b.Body = r.bytes()
	return b
}

// AppendBoard appends the wire form of b, without its epoch: that is known
// only when a board has been published, and stands beside it.
func AppendBoard(dst []byte, b *Board) []byte {
	e := b.Encode()
	return appendEncodedBoard(append(dst, boardVersion), &e, 0)
}

// DecodeBoard reads what AppendBoard wrote. Errors have CodeInvalid.
func DecodeBoard(b []byte) (*Board, error) {
	r := readWire("board", boardVersion, b)
	e := readEncodedBoard(r, 0)
	if err := r.done(); err != nil {
		return nil, err
	}
	return e.Decode()
}

// AppendEncodedShardBoard appends the wire form of a ShardBoard, made of the
// bytes of its boards.
func AppendEncodedShardBoard(dst []byte, s *EncodedShardBoard) []byte {
	size := 32
	for i := range s.Boards {
		size += len(s.Boards[i].Event) + len(s.Boards[i].Body) + 32
	}
	dst = slices.Grow(dst, size)
	dst = binary.AppendUvarint(append(dst, shardBoardVersion), uint64(s.Shard))
	dst = appendTime(dst, s.At)
	dst = binary.AppendUvarint(dst, uint64(len(s.Boards)))
	for i := range s.Boards {
		dst = appendEncodedBoard(dst, &s.Boards[i], s.At)
	}
	return dst
}

// DecodeEncodedShardBoard reads a ShardBoard and leaves the segments of its
// boards encoded: they alias b. Errors have CodeInvalid.
func DecodeEncodedShardBoard(b []byte) (*EncodedShardBoard, error) {
	r := readWire("shard board", shardBoardVersion, b)
	s := &EncodedShardBoard{Shard: int(r.upTo(Shards - 1)), At: r.time()}
	if n := r.count(5); n > 0 {
		s.Boards = make([]EncodedBoard, n)
		for i := range s.Boards {
			if s.Boards[i] = readEncodedBoard(r, s.At); r.err != nil {
				break
			}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return s, nil
}

// Decode decodes the boards. It leaves the epochs zero.
func (s *EncodedShardBoard) Decode() (*ShardBoard, error) {
	sb := &ShardBoard{Shard: s.Shard, At: s.At}
	if len(s.Boards) > 0 {
		sb.Boards = make([]*Board, len(s.Boards))
	}
	for i := range s.Boards {
		b, err := s.Boards[i].Decode()
		if err != nil {
			return nil, err
		}
		sb.Boards[i] = b
	}
	return sb, nil
}

// AppendShardBoard appends the wire form of s, without the epochs.
func AppendShardBoard(dst []byte, s *ShardBoard) []byte {
	e := EncodedShardBoard{Shard: s.Shard, At: s.At, Boards: make([]EncodedBoard, len(s.Boards))}
	for i, b := range s.Boards {
		e.Boards[i] = b.Encode()
	}
	return AppendEncodedShardBoard(dst, &e)
}

// DecodeShardBoard reads what AppendShardBoard wrote. The epochs are zero: see
// SetEpoch. Errors have CodeInvalid.
func DecodeShardBoard(b []byte) (*ShardBoard, error) {
	s, err := DecodeEncodedShardBoard(b)
	if err != nil {
		return nil, err
	}
	return s.Decode()
}

// SetEpoch gives s and all its boards the epoch that it was published in.
func (s *ShardBoard) SetEpoch(epoch int64) {
	s.Epoch = epoch
	for _, b := range s.Boards {
		b.Epoch = epoch
	}
}
