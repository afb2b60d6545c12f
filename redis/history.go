package redis

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"grandstand"
)

// stepsPage is how many steps of a series are read at once: an hour has 360.
const stepsPage = 120

// seriesBytes is about how much one script of SaveSeries is given.
const seriesBytes = 256 << 10

// SaveSeries appends the steps of events to their series, each to its hour, and
// saves peak and reach of segments over what was saved of them. Events of one
// shard go in one script, or a few if there is much to say. After an error some
// may have been saved: a step may be appended twice.
func (c *Client) SaveSeries(ctx context.Context, updates []grandstand.SeriesUpdate) error {
	w := seriesWriter{c: c, ctx: ctx}
	for i := range updates {
		u := &updates[i]
		w.shard(grandstand.ShardOf(u.Event))
		for steps := u.Steps; len(steps) > 0; {
			key := stepsKey(u.Event, grandstand.HourOf(steps[0].At))
			var values []string
			for len(steps) > 0 && stepsKey(u.Event, grandstand.HourOf(steps[0].At)) == key {
				values = append(values, rueidis.BinaryString(grandstand.AppendStep(nil, &steps[0])))
				steps = steps[1:]
			}
			w.add("RPUSH", key, historyTTL, values)
		}
		for segs := u.Reach; len(segs) > 0; {
			var fields []string
			for size := 0; len(segs) > 0 && size < seriesBytes; segs = segs[1:] {
				b := appendReach(nil, &segs[0])
				fields = append(fields, segs[0].Segment.String(), rueidis.BinaryString(b))
				size += len(b) + 64
			}
			w.add("HSET", reachKey(u.Event), reachTTL, fields)
		}
	}
	return w.flush()
}

// seriesWriter gathers what is saved of the events of one shard.
type seriesWriter struct {
	c     *Client
	ctx   context.Context
	call  call
	of    int // the shard
	size  int
	wrong error // the first
}

func (w *seriesWriter) shard(shard int) {
	if shard != w.of {
		w.flush()
	}
	w.of = shard
}

func (w *seriesWriter) add(command, key string, ttl time.Duration, args []string) {
	w.call.keys = append(w.call.keys, key)
	w.call.args = append(append(w.call.args, command, ms(ttl), strconv.Itoa(len(args))), args...)
	for _, a := range args {
		w.size += len(a)
	}
	if w.size >= seriesBytes {
		w.flush()
	}
}

// flush sends what was gathered, unless something went wrong before.
func (w *seriesWriter) flush() error {
	if w.wrong == nil && len(w.call.keys) > 0 {
		if err := w.c.eval(w.ctx, saveSeriesScript, w.call)[0].Error(); err != nil {
			w.wrong = w.c.fail(saveSeriesScript.op, err)
		}
	}
	w.call, w.size = call{}, 0
	return w.wrong
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
