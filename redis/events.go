package redis

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

// PutEvent stores an event and changes the version that Renew returns. Of two
// configurations the one updated later stays: an older one is dropped without an
// error. If e.UpdatedAt is 0 it is set to the time of Redis, later than what was
// stored. After an error the event may be put again.
func (c *Client) PutEvent(ctx context.Context, e *grandstand.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return grandstand.WrapError(grandstand.CodeInternal, err, "the event cannot be written down")
	}
	ttl := "0"
	if e.State == grandstand.EventEnded {
		ttl = ms(endedTTL)
	}
	res := c.eval(ctx, putEventScript, call{
		[]string{eventKey(e.Name)}, []string{strconv.FormatInt(e.UpdatedAt, 10), string(text), ttl},
	})[0]
	reply, err := res.ToString()
	if err != nil {
		return c.fail(putEventScript.op, err)
	}
	at, err := strconv.ParseInt(reply, 10, 64)
	if err != nil {
		return c.fail(putEventScript.op, err)
	}
	if at == 0 {
		return nil // a later one is there
	}
	e.UpdatedAt = at
	// The event is in its own slot. Should the process end here, the event is
	// not listed until somebody puts it again.
	res = c.eval(ctx, listEventScript, call{[]string{eventsKey, versionKey}, []string{e.Name}})[0]
	if err := res.Error(); err != nil {
		return c.fail(listEventScript.op, err)
	}
	return nil
}

// GetEvent returns an event; CodeNotFound if there is none of that name.
func (c *Client) GetEvent(ctx context.Context, name string) (*grandstand.Event, error) {
	list, err := c.readEvents(ctx, "get_event", []string{name})
	if err != nil {
		return nil, err
	}
	if list[0] == nil {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "there is no event %s", name)
	}
	return list[0], nil
}

// ListEvents returns all events by name.
func (c *Client) ListEvents(ctx context.Context) ([]*grandstand.Event, error) {
	names, err := c.do(ctx, "list_events", c.rc.B().Smembers().Key(eventsKey).Build())[0].AsStrSlice()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, c.fail("list_events", err)
	}
	list, err := c.readEvents(ctx, "list_events", names)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e *grandstand.Event) bool { return e == nil }) // ended long ago
	slices.SortFunc(list, func(a, b *grandstand.Event) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// readEvents returns events in the order asked, nil where there is none.
func (c *Client) readEvents(ctx context.Context, op string, names []string) ([]*grandstand.Event, error) {
	out := make([]*grandstand.Event, 0, len(names))
	for portion := range slices.Chunk(names, readPortion) {
		cmds := make([]rueidis.Completed, len(portion))
		for i, name := range portion {
			cmds[i] = c.rc.B().Hmget().Key(eventKey(name)).Field("u", "d").Build()
		}
		for i, r := range c.do(ctx, op, cmds...) {
			fields, err := r.ToArray()
			if err != nil {
				return nil, c.fail(op, err)
			}
			e, err := parseEvent(fields)
			if err != nil {
				c.corrupt(op, eventKey(portion[i]), err)
			}
			out = append(out, e)
		}
	}
	return out, nil
}

func parseEvent(fields []rueidis.RedisMessage) (*grandstand.Event, error) {
	if len(fields) != 2 || fields[0].IsNil() || fields[1].IsNil() {
		return nil, nil
	}
	text, err := fields[1].AsBytes()
	if err != nil {
		return nil, err
	}
	e := new(grandstand.Event)
	if err := json.Unmarshal(text, e); err != nil {
		return nil, err
	}
	if e.UpdatedAt, err = fields[0].AsInt64(); err != nil {
		return nil, err
	}
	return e, nil
}
