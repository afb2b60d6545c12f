package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"grandstand"
)

const (
	reachVersion = 1
	reachScan    = 32 // fields asked for at once: a dense sketch has 12 KiB
)

// LoadReach returns what was saved of an event, sorted by CompareSegments. The
// caller merges it with what it knows: peaks by maximum, reach by union.
func (c *Client) LoadReach(ctx context.Context, event string) ([]grandstand.CheckpointSegment, error) {
	key := reachKey(event)
	found := map[grandstand.Segment]grandstand.CheckpointSegment{} // a scan may tell a field twice
	for cursor := uint64(0); ; {
		page, err := c.do(ctx, "load_reach", c.rc.B().Hscan().Key(key).Cursor(cursor).Count(reachScan).Build())[0].AsScanEntry()
		if err != nil {
			return nil, c.fail("load_reach", err)
		}
		for i := 0; i+1 < len(page.Elements); i += 2 {
			s, err := parseReach(page.Elements[i], []byte(page.Elements[i+1]))
			if err != nil {
				c.corrupt("load_reach", key, err)
				continue
			}
			found[s.Segment] = s
		}
		if cursor = page.Cursor; cursor == 0 {
			break
		}
	}
	segs := make([]grandstand.CheckpointSegment, 0, len(found))
	for _, s := range found {
		segs = append(segs, s)
	}
	slices.SortFunc(segs, func(a, b grandstand.CheckpointSegment) int {
		return grandstand.CompareSegments(a.Segment, b.Segment)
	})
	return segs, nil
}

// appendReach writes version, peak, its time (both uvarint) and the sketch.
func appendReach(dst []byte, s *grandstand.CheckpointSegment) []byte {
	dst = binary.AppendUvarint(append(dst, reachVersion), s.Peak)
	dst = binary.AppendUvarint(dst, uint64(max(s.PeakAt, 0)))
	return append(dst, s.Reach...)
}

func parseReach(field string, b []byte) (s grandstand.CheckpointSegment, err error) {
	if s.Segment, err = grandstand.ParseSegment(field); err != nil {
		return s, err
	}
	if len(b) == 0 || b[0] != reachVersion {
		return s, errors.New("reach of an unknown version")
	}
	b = b[1:]
	peak, n := binary.Uvarint(b)
	if n <= 0 {
		return s, errors.New("reach is cut off")
	}
	b = b[n:]
	at, n := binary.Uvarint(b)
	if n <= 0 || at > 1<<62 {
		return s, errors.New("reach is cut off")
	}
	s.Peak, s.PeakAt = peak, int64(at)
	if b = b[n:]; len(b) > 0 {
		s.Reach = b
	}
	return s, nil
}
