package blocker

import (
	"context"
	"sync"
	"time"

	"grandstand"
)

const (
	rulesFresh = 5 * time.Second // for which an event's rules are believed
	rulesRetry = time.Second     // after which they are asked for again if there was no answer
	maxEvents  = 4096            // names that are remembered
)

// eventRules is the memory of the events' own rules. Its methods may be called
// at the same time.
type eventRules struct {
	b *Blocker // static

	mu sync.Mutex
	of map[string]*ownRules // guarded by mu
}

// ownRules is what is known of one event. eventRules.mu guards it.
type ownRules struct {
	rules *grandstand.EventRules // nil: it has none, there is no such event, or it is not known
	until time.Time              // believed so long; zero: never read
	busy  chan struct{}          // closed when the read under way is done; nil: none is
}

// get returns the event's own rules, nil if it has none. Without an answer what
// was known before holds, and nothing if nothing was: whom the account's limit
// lets in should not be refused for a rule that nobody can look up.
func (c *eventRules) get(ctx context.Context, event string) *grandstand.EventRules {
	if event == "" {
		return nil
	}
	c.mu.Lock()
	e := c.of[event]
	if e == nil {
		if len(c.of) >= maxEvents {
			c.forgetLocked()
		}
		e = &ownRules{}
		c.of[event] = e
	}
	switch {
	case e.busy == nil && !time.Now().Before(e.until):
		e.busy = make(chan struct{})
		c.mu.Unlock()
		c.read(ctx, event, e)
		c.mu.Lock()
	case e.busy != nil && e.until.IsZero(): // somebody else reads it for the first time
		busy := e.busy
		c.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	return e.rules
}

// read asks for the event. The caller has made e.busy.
func (c *eventRules) read(ctx context.Context, event string, e *ownRules) {
	call, cancel := c.b.deadline(ctx)
	defer cancel()
	ev, err := c.b.cfg.Events.GetEvent(call, event)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(e.busy)
	e.busy = nil
	switch {
	case err == nil:
		e.rules, e.until = ev.Rules, time.Now().Add(rulesFresh)
	case grandstand.CodeOf(err) == grandstand.CodeNotFound:
		e.rules, e.until = nil, time.Now().Add(rulesFresh)
	default:
		e.until = time.Now().Add(rulesRetry)
		c.b.trouble("read event", err)
	}
}

func (c *eventRules) forgetLocked() {
	for name, e := range c.of {
		if e.busy == nil {
			delete(c.of, name)
		}
	}
}

// rules returns the rules as they are now.
func (b *Blocker) rules() *grandstand.Rules {
	if r := b.cfg.Rules(); r != nil {
		return r
	}
	return &grandstand.Rules{}
}

// terms returns what holds for a session of the event whose account has the
// limit and the plan.
func (b *Blocker) terms(ctx context.Context, limit int, plan, event string) grandstand.Terms {
	return b.rules().Terms(limit, plan, event, b.events.get(ctx, event))
}
