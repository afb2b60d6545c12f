package redis

import (
	"context"
	"slices"
	"strconv"

	"grandstand"
)

// admitValues is how many values are asked for in one script.
const admitValues = 200

// Admit returns for each segment whether it is counted under its own value:
// values of free dimensions are admitted first come, first served, up to the
// limit of the dimension and of the event. Whoever asks gets the same answer,
// so the callers keep it. Unknown and Other always are; a dimension that the
// event does not have is not.
func (c *Client) Admit(ctx context.Context, e *grandstand.Event, segs []grandstand.Segment) ([]bool, error) {
	answers := make([]bool, len(segs))
	var ask []int
	for i, s := range segs {
		if d := dimension(e, s.Dim); d == nil {
			continue
		} else if s.Value == grandstand.Unknown || s.Value == grandstand.Other || slices.Contains(d.Values, s.Value) {
			answers[i] = true
		} else if len(d.Values) == 0 {
			ask = append(ask, i)
		}
	}
	for portion := range slices.Chunk(ask, admitValues) {
		args := []string{strconv.Itoa(admitTotal(e)), ms(registryTTL)}
		for _, i := range portion {
			args = append(args, segs[i].Dim, segs[i].Value, strconv.Itoa(dimension(e, segs[i].Dim).DimLimit()))
		}
		reply, err := c.evalInts(ctx, admitScript, []string{valuesKey(e.Name)}, args...)
		if err != nil {
			return nil, err
		}
		if len(reply) != len(portion) {
			return nil, c.fail(admitScript.op, strconv.ErrRange)
		}
		for k, i := range portion {
			answers[i] = reply[k] == 1
		}
	}
	return answers, nil
}

// admitTotal is how many values of an event can be admitted over all its
// dimensions, so that with the world, the configured values, and unknown and
// other in each dimension it has no more than MaxSegments segments.
func admitTotal(e *grandstand.Event) int {
	n := grandstand.MaxSegments - 1 - 2*len(e.Dims)
	for _, d := range e.Dims {
		n -= len(d.Values)
	}
	return max(n, 0)
}

func dimension(e *grandstand.Event, name string) *grandstand.Dimension {
	for i := range e.Dims {
		if e.Dims[i].Name == name {
			return &e.Dims[i]
		}
	}
	return nil
}
