package grandstand

import "strconv"

// FanError is the relative standard error of every estimate of fans and reach:
// 1.04/sqrt(2^14) (Flajolet et al. 2007, HyperLogLog, for 16,384 registers).
const FanError = 0.008125

// Frame is what one audience is shown at one tick: the WebSocket message
// "counts". It is encoded once and shared by all sessions of the audience; only
// the age differs from one sending to another.
type Frame struct {
	head, tail []byte // the JSON message without the digits of "age"
	compact    []byte // the binary message without its age (wire_frame.go)
	event      string
	at         int64
	epoch      int64
}

// Event returns the name of the event whose numbers these are.
func (f *Frame) Event() string { return f.event }

// At returns the time of the state that the frame shows.
func (f *Frame) At() int64 { return f.at }

// Epoch returns the epoch that At is ordered in.
func (f *Frame) Epoch() int64 { return f.epoch }

// NewFrame encodes the numbers of a board that an audience of the event is
// shown. A segment that nobody is counted in is [0,0]; one that the public does
// not see, or of a dimension that is not counted, is null (Board.FindPublic).
func NewFrame(b *Board, dims []Dimension, values []string) *Frame {
	f := &Frame{event: b.Event, at: b.At, epoch: b.Epoch}
	f.head = append(make([]byte, 0, 48), `{"t":"counts","at":`...)
	f.head = strconv.AppendInt(f.head, b.At, 10)
	f.head = append(f.head, `,"age":`...)

	t := append(make([]byte, 0, 64+32*len(dims)), `,"epoch":`...)
	t = strconv.AppendInt(t, b.Epoch, 10)
	if b.Quality != Live {
		t = append(t, `,"q":"`...)
		t = append(t, b.Quality.String()...)
		t = append(t, '"')
	}
	f.compact = appendCompactHead(make([]byte, 0, 16+8*len(dims)), b)

	world := publicCount(b, WorldSegment)
	t = appendCount(append(t, `,"n":{"world":`...), world)
	f.compact = appendCompactCount(f.compact, world)
	for i, d := range dims {
		t = append(t, ',', '"')
		t = append(t, d.Name...) // [a-z0-9_+]: needs no escapes
		t = append(t, '"', ':')
		c := publicCount(b, Segment{Dim: d.Name, Value: values[i]})
		t = appendCount(t, c)
		f.compact = appendCompactCount(f.compact, c)
	}
	f.tail = append(t, '}', '}')
	return f
}

// publicCount returns what the public is shown of a segment. It is folded if the
// public does not see it, or there is nothing to see.
func publicCount(b *Board, s Segment) SegmentCount {
	if c := b.FindPublic(s); c != nil {
		return *c
	}
	return SegmentCount{Folded: true}
}

func appendCount(dst []byte, c SegmentCount) []byte {
	if c.Folded {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	dst = strconv.AppendUint(dst, c.Sessions, 10)
	dst = append(dst, ',')
	dst = strconv.AppendUint(dst, c.Fans, 10)
	return append(dst, ']')
}

// AppendJSON appends the message as it is sent at now, in Redis ms.
func (f *Frame) AppendJSON(dst []byte, now int64) []byte {
	dst = append(dst, f.head...)
	dst = strconv.AppendInt(dst, max(now-f.at, 0), 10)
	return append(dst, f.tail...)
}

// SameNumbers reports whether f and o show the same numbers with the same
// quality in the same epoch.
func (f *Frame) SameNumbers(o *Frame) bool { return o != nil && string(f.tail) == string(o.tail) }
