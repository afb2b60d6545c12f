package archiver

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"grandstand"
)

// mergeCheckpoints returns what two checkpoints of an event say together: the
// newer event and board, the highest peaks, the union of the sketches. The order
// makes no difference, nor does merging something twice. If the event was begun
// anew after its end only the newer run counts.
func mergeCheckpoints(a, b *grandstand.Checkpoint) *grandstand.Checkpoint {
	if newRun(&a.Event, &b.Event) {
		a = b
	} else if newRun(&b.Event, &a.Event) {
		b = a
	}
	out := &grandstand.Checkpoint{Event: a.Event, Board: a.Board}
	if b.Event.UpdatedAt > a.Event.UpdatedAt {
		out.Event = b.Event
	}
	if newerBoard(b.Board, a.Board) {
		out.Board = b.Board
	}
	segs := make(map[grandstand.Segment]grandstand.CheckpointSegment, max(len(a.Segments), len(b.Segments)))
	for _, list := range [][]grandstand.CheckpointSegment{a.Segments, b.Segments} {
		for _, s := range list {
			if was, ok := segs[s.Segment]; ok {
				s = mergeSegments(was, s)
			}
			segs[s.Segment] = s
		}
	}
	out.Segments = make([]grandstand.CheckpointSegment, 0, len(segs))
	for _, s := range segs {
		out.Segments = append(out.Segments, s)
	}
	slices.SortFunc(out.Segments, func(x, y grandstand.CheckpointSegment) int {
		return grandstand.CompareSegments(x.Segment, y.Segment)
	})
	return out
}

// newRun reports whether b is of a run of the event that began after the one
// that a tells the end of. A state goes forward only, but for that.
func newRun(a, b *grandstand.Event) bool {
	return a.State == grandstand.EventEnded && b.State != grandstand.EventEnded && b.UpdatedAt > a.UpdatedAt
}

// newerBoard reports whether a takes the place of b. A final board does, of any
// that is not.
func newerBoard(a, b *grandstand.Board) bool {
	switch {
	case a == nil || b == nil:
		return a != nil
	case (a.Quality == grandstand.Final) != (b.Quality == grandstand.Final):
		return a.Quality == grandstand.Final
	}
	return grandstand.NewerThan(a.Epoch, a.At, b.Epoch, b.At)
}

func mergeSegments(a, b grandstand.CheckpointSegment) grandstand.CheckpointSegment {
	out := a
	if b.Peak > a.Peak || b.Peak == a.Peak && b.PeakAt < a.PeakAt {
		out.Peak, out.PeakAt = b.Peak, b.PeakAt // the first time that it was reached
	}
	if len(a.Reach) == 0 || bytes.Equal(a.Reach, b.Reach) {
		out.Reach = b.Reach
	} else if len(b.Reach) > 0 {
		// One that cannot be read adds nothing.
		var u grandstand.Union
		errA, errB := u.Merge(a.Reach), u.Merge(b.Reach)
		if errA == nil || errB == nil {
			out.Reach = u.AppendBinary(nil)
		}
	}
	return out
}

// stepsVersion begins an object of steps. Then each step follows, with its
// length in front.
const stepsVersion = 1

func appendSteps(dst []byte, steps []grandstand.Step) []byte {
	dst = append(dst, stepsVersion)
	var buf []byte
	for i := range steps {
		buf = grandstand.AppendStep(buf[:0], &steps[i])
		dst = binary.AppendUvarint(dst, uint64(len(buf)))
		dst = append(dst, buf...)
	}
	return dst
}

var errSteps = grandstand.Errorf(grandstand.CodeInvalid, "the object does not hold steps")

// decodeSteps reads what appendSteps wrote; nothing has no steps.
func decodeSteps(b []byte) ([]grandstand.Step, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != stepsVersion {
		return nil, errSteps
	}
	b = b[1:]
	var steps []grandstand.Step
	for len(b) > 0 {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, errSteps
		}
		s, err := grandstand.DecodeStep(b[k : k+int(n)])
		if err != nil {
			return nil, err
		}
		steps = append(steps, *s)
		b = b[k+int(n):]
	}
	return steps, nil
}

// mergeSteps returns the steps of both by time, one of each time: a full one
// rather than one that only tells what changed.
func mergeSteps(a, b []grandstand.Step) []grandstand.Step {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y grandstand.Step) int {
		switch {
		case x.At != y.At:
			return cmp.Compare(x.At, y.At)
		case x.Full != y.Full:
			if x.Full {
				return -1
			}
			return 1
		}
		return bytes.Compare(grandstand.AppendStep(nil, &y), grandstand.AppendStep(nil, &x))
	})
	return slices.CompactFunc(all, func(x, y grandstand.Step) bool { return x.At == y.At })
}
