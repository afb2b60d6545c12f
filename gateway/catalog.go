package gateway

import (
	"context"
	"sync"

	"grandstand"
)

const (
	eventFreshMS   = 5_000 // for which a configuration is believed without asking
	eventMissingMS = 1_000 // for which an unknown event is
	maxMissing     = 4096  // unknown names that are remembered
	reloadOneByOne = 64    // rooms up to which events are read one by one
)

// catalog is the gateway's memory of the events' configurations. Its methods
// may be called at the same time.
type catalog struct {
	g *Gateway // static

	mu      sync.Mutex
	entries map[string]*entry // guarded by mu
	missing int               // guarded by mu; entries without an event
}

// entry is what is known of one event.
type entry struct {
	event  *grandstand.Event // nil: there is none, or none is known yet
	readAt int64             // ms
	busy   chan struct{}     // closed when the read under way is done; nil: none is
	err    error             // of the last read
}

func newCatalog(g *Gateway) *catalog { return &catalog{g: g, entries: map[string]*entry{}} }

// get returns the event. What is known is returned at once, and read again in
// the background when it is old. Errors have CodeNotFound or CodeUnavailable.
func (c *catalog) get(ctx context.Context, name string) (*grandstand.Event, error) {
	now := c.g.cfg.Clock.Now()
	c.mu.Lock()
	e := c.entries[name]
	if e == nil {
		e = &entry{}
		if c.missing >= maxMissing {
			c.forgetMissingLocked()
		}
		c.missing++
		c.entries[name] = e
	}
	age := now - e.readAt
	if e.event == nil && e.readAt != 0 && 0 <= age && age < eventMissingMS {
		defer c.mu.Unlock()
		return nil, e.err
	}
	if e.busy == nil && (e.event == nil || age < 0 || age >= eventFreshMS) { // below 0: the clock was set back
		e.busy = make(chan struct{})
		background := context.WithoutCancel(ctx)
		if e.event == nil {
			c.mu.Unlock()
			c.read(background, name, e)
			c.mu.Lock()
		} else if !c.g.spawn(func() { c.read(background, name, e) }) {
			close(e.busy)
			e.busy = nil
		}
	}
	event, busy := e.event, e.busy
	if event == nil && busy != nil { // somebody else is reading it
		c.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		}
		c.mu.Lock()
		event = e.event
	}
	defer c.mu.Unlock()
	if event == nil && e.err == nil {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, ctx.Err(), "the event cannot be looked up just now")
	}
	if event == nil {
		return nil, e.err
	}
	return event, nil
}

// read reads the event from Redis. e.busy was made by the caller.
func (c *catalog) read(ctx context.Context, name string, e *entry) {
	call, cancel := c.g.deadline(ctx)
	defer cancel()
	event, err := c.g.cfg.Events.GetEvent(call, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(e.busy)
	e.busy, e.readAt = nil, c.g.cfg.Clock.Now()
	switch {
	case err == nil:
		e.err = nil
		c.storeLocked(name, e, event)
	case grandstand.CodeOf(err) == grandstand.CodeNotFound:
		// An event that is known is kept: Redis may have lost it, and this
		// gateway is about to write it again.
		e.err = grandstand.Errorf(grandstand.CodeNotFound, "there is no such event")
	default:
		e.err = grandstand.WrapError(grandstand.CodeUnavailable, err, "the event cannot be looked up just now")
	}
}

func (c *catalog) storeLocked(name string, e *entry, event *grandstand.Event) {
	if e.event != nil && !event.Newer(e.event) {
		return
	}
	if e.event == nil {
		c.missing--
	}
	e.event = event
	if r := c.g.roomOf(name); r != nil {
		c.g.spawn(func() { r.configure(event) })
	}
}

// store takes over a configuration that was just written.
func (c *catalog) store(event *grandstand.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[event.Name]
	if e == nil {
		e = &entry{}
		c.missing++
		c.entries[event.Name] = e
	}
	e.readAt = c.g.cfg.Clock.Now()
	c.storeLocked(event.Name, e, event)
}

// reload reads the events that are held here again.
func (c *catalog) reload(ctx context.Context) error {
	rooms := c.g.allRooms()
	c.mu.Lock()
	for _, e := range c.entries {
		e.readAt = min(e.readAt, 1) // to be read again when asked for
	}
	c.mu.Unlock()
	if len(rooms) > reloadOneByOne {
		call, cancel := c.g.deadline(ctx)
		defer cancel()
		all, err := c.g.cfg.Events.ListEvents(call)
		if err != nil {
			return err
		}
		for _, event := range all {
			if c.g.roomOf(event.Name) != nil {
				c.store(event)
			}
		}
		return nil
	}
	for _, r := range rooms {
		call, cancel := c.g.deadline(ctx)
		event, err := c.g.cfg.Events.GetEvent(call, r.name)
		cancel()
		if grandstand.CodeOf(err) == grandstand.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		c.store(event)
	}
	return nil
}

// all returns the events that are known here.
func (c *catalog) all() []*grandstand.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*grandstand.Event, 0, len(c.entries))
	for _, e := range c.entries {
		if e.event != nil {
			all = append(all, e.event)
		}
	}
	return all
}

// known returns how many events are known here.
func (c *catalog) known() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries) - c.missing
}

func (c *catalog) forgetMissingLocked() {
	for name, e := range c.entries {
		if e.event == nil && e.busy == nil {
			delete(c.entries, name)
			c.missing--
		}
	}
}
