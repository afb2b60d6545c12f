package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"grandstand"
)

const maxEventBytes = 64 << 10 // of the body of a PUT

// listEvents answers GET /v1/events with the events that the caller may read,
// by name.
func (g *Gateway) listEvents(w http.ResponseWriter, r *http.Request) {
	call, cancel := g.deadline(r.Context())
	defer cancel()
	all, err := g.cfg.Events.ListEvents(call)
	if err != nil {
		g.fail(w, "events", unavailable(err))
		return
	}
	admin := g.cfg.Auth.Admin(r) == nil
	all = slices.DeleteFunc(all, func(e *grandstand.Event) bool {
		return !admin && g.cfg.Auth.Reader(r, e) != nil
	})
	slices.SortFunc(all, func(a, b *grandstand.Event) int { return strings.Compare(a.Name, b.Name) })
	if all == nil {
		all = []*grandstand.Event{}
	}
	writeJSON(w, http.StatusOK, all)
}

// getEvent answers GET /v1/events/{event}.
func (g *Gateway) getEvent(w http.ResponseWriter, r *http.Request) {
	e, err := g.readable(r)
	if err != nil {
		g.fail(w, "events", err)
		return
	}
	writeJSON(w, http.StatusOK, e)
}

// readable returns the event of the path if the caller may read it.
func (g *Gateway) readable(r *http.Request) (*grandstand.Event, error) {
	name, err := eventName(r)
	if err != nil {
		return nil, err
	}
	e, err := g.catalog.get(r.Context(), name)
	if err != nil {
		return nil, err
	}
	if err := g.cfg.Auth.Reader(r, e); err != nil && g.cfg.Auth.Admin(r) != nil {
		return nil, err
	}
	return e, nil
}

// putEvent answers PUT /v1/events/{event}: it configures the event. One that
// is over starts anew.
func (g *Gateway) putEvent(w http.ResponseWriter, r *http.Request) {
	e, err := g.configured(r)
	if err == nil {
		err = g.write(r.Context(), e)
	}
	if err != nil {
		g.fail(w, "events", err)
		return
	}
	writeJSON(w, http.StatusOK, e)
}

// configured returns the event as the request wants it.
func (g *Gateway) configured(r *http.Request) (*grandstand.Event, error) {
	if err := g.cfg.Auth.Admin(r); err != nil {
		return nil, err
	}
	name, err := eventName(r)
	if err != nil {
		return nil, err
	}
	e := &grandstand.Event{}
	body, err := readBody(r, maxEventBytes)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.DisallowUnknownFields()
		if err := d.Decode(e); err != nil || d.More() {
			return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the body is not one JSON object with members of an event")
		}
	}
	if e.Name != "" && e.Name != name {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the body names another event than the path")
	}
	e.Name = name
	g.fillIn(e)
	if err := e.Normalize(); err != nil {
		return nil, err
	}
	return e, g.follow(r.Context(), e)
}

// fillIn sets what is not the caller's to say, and the deployment's default.
func (g *Gateway) fillIn(e *grandstand.Event) {
	e.State, e.StartedAt, e.EndedAt = grandstand.EventScheduled, 0, 0
	e.UpdatedAt = g.cfg.Clock.Now()
	if e.MinCohort == nil {
		least := g.cfg.MinCohort
		e.MinCohort = &least
	}
}

// follow takes over from the configuration before what a new one cannot change.
func (g *Gateway) follow(ctx context.Context, e *grandstand.Event) error {
	old, err := g.fresh(ctx, e.Name)
	if grandstand.CodeOf(err) == grandstand.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	e.UpdatedAt = max(e.UpdatedAt, old.UpdatedAt+1)
	if old.State != grandstand.EventLive {
		return nil
	}
	e.State, e.StartedAt = old.State, old.StartedAt
	if !slices.EqualFunc(e.Dims, old.Dims, func(a, b grandstand.Dimension) bool {
		return a.Name == b.Name && slices.Equal(a.Values, b.Values)
	}) {
		return grandstand.Errorf(grandstand.CodeConflict, "the event is live: its dims cannot change any more")
	}
	return nil
}

// deleteEvent answers DELETE /v1/events/{event}: the event is over. Its sockets
// are closed, its counts stay readable.
func (g *Gateway) deleteEvent(w http.ResponseWriter, r *http.Request) {
	e, err := g.end(r)
	if err != nil {
		g.fail(w, "events", err)
		return
	}
	writeJSON(w, http.StatusOK, e)
}

func (g *Gateway) end(r *http.Request) (*grandstand.Event, error) {
	if err := g.cfg.Auth.Admin(r); err != nil {
		return nil, err
	}
	name, err := eventName(r)
	if err != nil {
		return nil, err
	}
	old, err := g.fresh(r.Context(), name)
	if err != nil || old.State == grandstand.EventEnded {
		return old, err
	}
	e := *old
	e.State, e.EndedAt = grandstand.EventEnded, g.cfg.Clock.Now()
	e.UpdatedAt = max(e.EndedAt, old.UpdatedAt+1)
	return &e, g.write(r.Context(), &e)
}

// openEvent creates an event that a viewer asked for, with all defaults.
func (g *Gateway) openEvent(ctx context.Context, name string) (*grandstand.Event, error) {
	if g.catalog.known() >= g.cfg.MaxEvents {
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "there are as many events as may be opened by viewers")
	}
	e := &grandstand.Event{Name: name}
	g.fillIn(e)
	if err := e.Normalize(); err != nil {
		return nil, err
	}
	return e, g.write(ctx, e)
}

// startEvent makes a scheduled event live: its first viewer is here.
func (g *Gateway) startEvent(r *room) {
	old, err := g.fresh(context.Background(), r.name)
	if err == nil && old.State == grandstand.EventScheduled {
		e := *old
		e.State, e.StartedAt = grandstand.EventLive, g.cfg.Clock.Now()
		e.UpdatedAt = max(e.StartedAt, old.UpdatedAt+1)
		err = g.write(context.Background(), &e)
	}
	if err != nil {
		g.trouble("start event", err)
		r.started.Store(false) // the next viewer tries again
	}
}

// fresh reads an event past all memory.
func (g *Gateway) fresh(ctx context.Context, name string) (*grandstand.Event, error) {
	call, cancel := g.deadline(ctx)
	defer cancel()
	e, err := g.cfg.Events.GetEvent(call, name)
	if grandstand.CodeOf(err) == grandstand.CodeNotFound {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "there is no such event")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	g.catalog.store(e)
	return e, nil
}

func (g *Gateway) write(ctx context.Context, e *grandstand.Event) error {
	call, cancel := g.deadline(ctx)
	defer cancel()
	if err := g.cfg.Events.PutEvent(call, e); err != nil {
		return unavailable(err)
	}
	g.catalog.store(e)
	return nil
}

func unavailable(err error) error {
	return grandstand.WrapError(grandstand.CodeUnavailable, err, "the shared state cannot be reached just now")
}
