package redis

import (
	"cmp"
	"context"
	"slices"

	"github.com/redis/rueidis"

	"grandstand"
)

// stepsPage is how many steps of a series are read at once: an hour has 360.
const stepsPage = 120

// AppendSteps appends to the series of an event, each step to its hour. A step
// may be appended twice.
func (c *Client) AppendSteps(ctx context.Context, event string, steps []grandstand.Step) error {
	byHour := map[string][]string{}
	for i := range steps {
		key := stepsKey(event, grandstand.HourOf(steps[i].At))
		byHour[key] = append(byHour[key], rueidis.BinaryString(grandstand.AppendStep(nil, &steps[i])))
	}
	cmds := make([]rueidis.Completed, 0, 2*len(byHour))
	for key, values := range byHour {
		cmds = append(cmds,
			c.rc.B().Rpush().Key(key).Element(values...).Build().ToRetryable(),
			c.rc.B().Pexpire().Key(key).Milliseconds(historyTTL.Milliseconds()).Build().ToRetryable())
	}
	return c.doAll(ctx, "append_steps", cmds...)
}

// Steps returns one hour of an event's series in the order of time, each time
// once. hour is its beginning in ms (grandstand.HourOf).
func (c *Client) Steps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error) {
	key := stepsKey(event, hour)
	var steps []grandstand.Step
	for from := int64(0); ; from += stepsPage {
		list, err := c.do(ctx, "steps", c.rc.B().Lrange().Key(key).Start(from).Stop(from+stepsPage-1).Build())[0].ToArray()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, c.fail("steps", err)
		}
		for i := range list {
			b, err := list[i].AsBytes()
			if err != nil {
				return nil, c.fail("steps", err)
			}
			s, err := grandstand.DecodeStep(b)
			if err != nil {
				c.corrupt("steps", key, err)
				continue
			}
			steps = append(steps, *s)
		}
		if len(list) < stepsPage {
			break
		}
	}
	slices.SortStableFunc(steps, func(a, b grandstand.Step) int { return cmp.Compare(a.At, b.At) })
	// Of two steps of one time a full one says at least as much.
	return slices.CompactFunc(steps, func(a, b grandstand.Step) bool { return a.At == b.At }), nil
}
