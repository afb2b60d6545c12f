package grandstand

import (
	"encoding/binary"
	"slices"
)

// The messages of the feed between gateways: what a child asks its relay for
// (FeedWatch), and what it is sent (FeedBoards). A connection is ordered and
// loses nothing, so a board travels as its difference from the one that the same
// connection carried before: some ten bytes where nothing moved, six or so for
// each segment that did.

const (
	feedWatchVersion  = 1
	feedBoardsVersion = 1
	boardDeltaVersion = 1
)

// FeedWatch asks for the boards of events, or for no more of them.
type FeedWatch struct {
	Add  []FeedEvent
	Drop []uint64 // ids
}

// FeedEvent names an event once; then its id stands for it. The child chooses
// the id, and uses it once in the life of a connection.
type FeedEvent struct {
	ID    uint64
	Event string
}

// FeedBoards are the boards that are new to a child. With none of them it says
// that the relay is there.
type FeedBoards struct {
	Now    int64 // Redis ms at sending
	Depth  int   // of the sender: 0 reads Redis, 1 reads from one that does
	Boards []FeedBoard
}

// FeedBoard is the board of the event with that id.
type FeedBoard struct {
	ID    uint64
	Delta []byte // AppendBoardDelta; empty: there is no board yet. A decoded one aliases the input
}

// AppendFeedWatch appends the wire form of w.
func AppendFeedWatch(dst []byte, w *FeedWatch) []byte {
	dst = binary.AppendUvarint(append(dst, feedWatchVersion), uint64(len(w.Add)))
	for _, e := range w.Add {
		dst = appendString(binary.AppendUvarint(dst, e.ID), e.Event)
	}
	dst = binary.AppendUvarint(dst, uint64(len(w.Drop)))
	for _, id := range w.Drop {
		dst = binary.AppendUvarint(dst, id)
	}
	return dst
}

// DecodeFeedWatch reads what AppendFeedWatch wrote. Errors have CodeInvalid.
func DecodeFeedWatch(b []byte) (*FeedWatch, error) {
	r := readWire("feed watch", feedWatchVersion, b)
	w := &FeedWatch{}
	if n := r.count(2); n > 0 {
		w.Add = make([]FeedEvent, n)
		for i := range w.Add {
			w.Add[i] = FeedEvent{ID: r.uvarint(), Event: r.string()}
		}
	}
	if n := r.count(1); n > 0 {
		w.Drop = make([]uint64, n)
		for i := range w.Drop {
			w.Drop[i] = r.uvarint()
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return w, nil
}

// AppendFeedBoards appends the wire form of f.
func AppendFeedBoards(dst []byte, f *FeedBoards) []byte {
	dst = appendTime(append(dst, feedBoardsVersion), f.Now)
	dst = binary.AppendUvarint(dst, uint64(f.Depth))
	dst = binary.AppendUvarint(dst, uint64(len(f.Boards)))
	for _, b := range f.Boards {
		dst = appendBytes(binary.AppendUvarint(dst, b.ID), b.Delta)
	}
	return dst
}

// maxFeedDepth bounds what a decoder takes for a depth; relays refuse far
// smaller ones.
const maxFeedDepth = 255

// DecodeFeedBoards reads what AppendFeedBoards wrote. Errors have CodeInvalid.
func DecodeFeedBoards(b []byte) (*FeedBoards, error) {
	r := readWire("feed boards", feedBoardsVersion, b)
	f := &FeedBoards{Now: r.time(), Depth: int(r.upTo(maxFeedDepth))}
	if n := r.count(2); n > 0 {
		f.Boards = make([]FeedBoard, n)
		for i := range f.Boards {
			f.Boards[i] = FeedBoard{ID: r.uvarint(), Delta: r.bytes()}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return f, nil
}

// AppendBoardDelta appends b, its epoch included, as the difference from base;
// the whole of it if base is nil. Both are sorted as Board says. The event's
// name is not part of it.
func AppendBoardDelta(dst []byte, base, b *Board) []byte {
	head := EncodedBoard{At: b.At, TickMS: b.TickMS, Quality: b.Quality, Coverage: b.Coverage}
	var from Board
	if base == nil {
		head.Body = b.Encode().Body
	} else {
		from = *base
		head.Body = appendBodyDelta(nil, base, b)
	}
	dst = append(dst, boardDeltaVersion, byte(bit(base == nil)))
	dst = appendFrom(dst, uint64(max(b.Epoch, 0)), uint64(max(from.Epoch, 0)))
	return appendEncodedBoard(dst, &head, from.At)
}

// DecodeBoardDelta reads what AppendBoardDelta wrote, with the base that it was
// told; nil does for a whole board. Errors have CodeInvalid.
func DecodeBoardDelta(base *Board, event string, delta []byte) (*Board, error) {
	r := readWire("board delta", boardDeltaVersion, delta)
	var from Board
	whole := r.flag()
	if !whole && base != nil {
		from = *base
	} else if !whole {
		r.fail("there is nothing that it could be the difference from")
	}
	epoch := int64(r.from(uint64(max(from.Epoch, 0))))
	head := readEncodedBoard(r, max(from.At, 0))
	if err := r.done(); err != nil {
		return nil, err
	}
	b := &Board{At: head.At, TickMS: head.TickMS, Quality: head.Quality, Coverage: head.Coverage}
	var err error
	switch {
	case whole:
		b, err = head.Decode()
	case len(head.Body) == 0:
		b.Segments, b.Public = from.Segments, from.Public
	default:
		body := &wireReader{what: "board delta", rest: head.Body}
		var segs segmentReader
		b.Segments = readSegmentsDelta(body, &segs, from.Segments)
		b.Public = readSegmentsDelta(body, &segs, from.Public)
		err = body.done()
	}
	if err == nil && !(inOrder(b.Segments) && inOrder(b.Public)) {
		err = Errorf(CodeInvalid, "decode board delta: its segments are not in order")
	}
	if err != nil {
		return nil, err
	}
	b.Event, b.Epoch = event, epoch
	return b, nil
}

// appendBodyDelta appends nothing if the segments are the same.
func appendBodyDelta(dst []byte, base, b *Board) []byte {
	if slices.Equal(base.Segments, b.Segments) && slices.Equal(base.Public, b.Public) {
		return dst
	}
	var segs segmentWriter
	dst = appendSegmentsDelta(dst, &segs, base.Segments, b.Segments)
	return appendSegmentsDelta(dst, &segs, base.Public, b.Public)
}

// A difference of two sorted lists of segments:
//
//	count, then of each segment that is gone    its place
//	count, then of each that has other numbers  its place, and their differences
//	the new ones, as in a board
//
// A place is the number of segments of the base that are jumped over since the
// place before.
func appendSegmentsDelta(dst []byte, segs *segmentWriter, base, list []SegmentCount) []byte {
	var gone, changed, places []int // changed: indices of list, at places of base
	var added []SegmentCount
	i, j := 0, 0
	for i < len(base) || j < len(list) {
		order := -1 // base[i] is before list[j]
		if i == len(base) {
			order = 1
		} else if j < len(list) {
			order = CompareSegments(base[i].Segment, list[j].Segment)
		}
		switch {
		case order < 0:
			gone = append(gone, i)
			i++
		case order > 0:
			added = append(added, list[j])
			j++
		default:
			if base[i] != list[j] {
				places, changed = append(places, i), append(changed, j)
			}
			i++
			j++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(gone)))
	next := 0
	for _, i := range gone {
		dst = binary.AppendUvarint(dst, uint64(i-next))
		next = i + 1
	}
	dst = binary.AppendUvarint(dst, uint64(len(changed)))
	next = 0
	for k, i := range places {
		dst = binary.AppendUvarint(dst, uint64(i-next))
		next = i + 1
		dst = appendCountDelta(dst, &base[i], &list[changed[k]])
	}
	return appendSegmentCounts(dst, segs, added)
}

func appendCountDelta(dst []byte, from, to *SegmentCount) []byte {
	dst = binary.AppendUvarint(dst, zigzag(int64(to.Sessions)-int64(from.Sessions))<<1|bit(to.Folded))
	dst = appendFrom(dst, to.Fans, from.Fans)
	dst = appendFrom(dst, to.Peak, from.Peak)
	return appendFrom(dst, to.Reach, from.Reach)
}

func readSegmentsDelta(r *wireReader, segs *segmentReader, base []SegmentCount) []SegmentCount {
	var gone []int
	if n := r.count(1); n > 0 {
		gone = make([]int, n)
		next := 0
		for i := range gone {
			gone[i] = readPlace(r, &next, len(base))
		}
	}
	list := slices.Clone(base)
	next := 0
	for range r.count(5) {
		i := readPlace(r, &next, len(base))
		if r.err != nil {
			return nil
		}
		readCountDelta(r, &list[i])
	}
	added := readSegmentCounts(r, segs)
	if r.err != nil || len(gone)+len(added) == 0 {
		return list
	}
	return mergeSegments(list, gone, added)
}

// readPlace reads the next place in a list of size segments.
func readPlace(r *wireReader, next *int, size int) int {
	if *next >= size {
		r.fail("it changes more segments than there are")
		return 0
	}
	i := *next + int(r.upTo(uint64(size-*next-1)))
	*next = i + 1
	return i
}

func readCountDelta(r *wireReader, s *SegmentCount) {
	sessions := r.uvarint()
	s.Sessions += uint64(unzigzag(sessions >> 1))
	if s.Sessions > maxWireNumber {
		r.fail("a number is out of range")
	}
	s.Folded = sessions&1 != 0
	s.Fans = r.from(s.Fans)
	s.Peak = r.from(s.Peak)
	s.Reach = r.from(s.Reach)
}

// mergeSegments returns list without those at the places gone, and with those
// added, in order.
func mergeSegments(list []SegmentCount, gone []int, added []SegmentCount) []SegmentCount {
	out := make([]SegmentCount, 0, len(list)+len(added))
	for i := range list {
		if len(gone) > 0 && gone[0] == i {
			gone = gone[1:]
			continue
		}
		for len(added) > 0 && CompareSegments(added[0].Segment, list[i].Segment) < 0 {
			out, added = append(out, added[0]), added[1:]
		}
		out = append(out, list[i])
	}
	return append(out, added...)
}

// inOrder reports whether a list is sorted and names no segment twice: the next
// difference from it relies on that.
func inOrder(list []SegmentCount) bool {
	for i := 1; i < len(list); i++ {
		if CompareSegments(list[i-1].Segment, list[i].Segment) >= 0 {
			return false
		}
	}
	return true
}
