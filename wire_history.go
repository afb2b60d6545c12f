package grandstand

import (
	"encoding/binary"
	"encoding/json"
)

const (
	stepVersion       = 2
	checkpointVersion = 1
)

// AppendStep appends the wire form of s.
func AppendStep(dst []byte, s *Step) []byte {
	dst = appendTime(append(dst, stepVersion), s.At)
	dst = append(dst, byte(bit(s.Full)))
	dst = binary.AppendUvarint(dst, uint64(len(s.Counts)))
	var segs segmentWriter
	for i := range s.Counts {
		c := &s.Counts[i]
		dst = segs.append(dst, c.Segment)
		dst = binary.AppendUvarint(dst, min(c.Sessions, maxWireNumber)<<1|bit(c.Folded))
		dst = appendFrom(dst, c.Fans, c.Sessions)
	}
	return dst
}

// DecodeStep reads what AppendStep wrote, and version 1, which did not say what
// the public was shown: nothing of it but the world was. Errors have CodeInvalid.
func DecodeStep(b []byte) (*Step, error) {
	r, version := readWireSince("step", 1, stepVersion, b)
	s := &Step{At: r.time(), Full: r.flag()}
	if n := r.count(3); n > 0 {
		s.Counts = make([]StepCount, n)
		var segs segmentReader
		for i := range s.Counts {
			c := &s.Counts[i]
			c.Segment = segs.next(r)
			if version == 1 {
				c.Sessions = r.number()
				c.Folded = c.Sessions > 0 && c.Segment.Dim != World && c.Segment.Value != Other
			} else {
				sessions := r.upTo(maxWireNumber<<1 | 1)
				c.Sessions, c.Folded = sessions>>1, sessions&1 != 0
			}
			if c.Fans = r.from(c.Sessions); r.err != nil {
				break
			}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return s, nil
}

// AppendCheckpoint appends the wire form of c. The event is in it as JSON, the
// form in which it is configured.
func AppendCheckpoint(dst []byte, c *Checkpoint) []byte {
	event, err := json.Marshal(&c.Event)
	if err != nil {
		panic(err) // an Event is made of strings and numbers: it has a JSON form
	}
	dst = appendBytes(append(dst, checkpointVersion), event)
	dst = append(dst, byte(bit(c.Board != nil)))
	if c.Board != nil {
		dst = appendTime(dst, c.Board.Epoch)
		dst = appendBytes(dst, AppendBoard(nil, c.Board))
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Segments)))
	var segs segmentWriter
	for i := range c.Segments {
		s := &c.Segments[i]
		dst = segs.append(dst, s.Segment)
		dst = appendNumber(dst, s.Peak)
		dst = appendTime(dst, s.PeakAt)
		dst = appendBytes(dst, s.Reach)
	}
	return dst
}

// DecodeCheckpoint reads what AppendCheckpoint wrote. The sketches alias b.
// Errors have CodeInvalid.
func DecodeCheckpoint(b []byte) (*Checkpoint, error) {
	r := readWire("checkpoint", checkpointVersion, b)
	c := new(Checkpoint)
	event := r.bytes()
	if r.err == nil {
		if err := json.Unmarshal(event, &c.Event); err != nil {
			return nil, WrapError(CodeInvalid, err, "decode checkpoint: its event is not one")
		}
	}
	if r.flag() {
		epoch, body := r.time(), r.bytes()
		if r.err == nil {
			if c.Board, r.err = DecodeBoard(body); r.err != nil {
				return nil, r.err
			}
			c.Board.Epoch = epoch
		}
	}
	if n := r.count(4); n > 0 {
		c.Segments = make([]CheckpointSegment, n)
		var segs segmentReader
		for i := range c.Segments {
			c.Segments[i] = CheckpointSegment{Segment: segs.next(r), Peak: r.number(), PeakAt: r.time(), Reach: r.bytes()}
			if r.err != nil {
				break
			}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return c, nil
}
