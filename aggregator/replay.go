package aggregator

import (
	"cmp"
	"encoding/json"
	"fmt"

	"grandstand"
)

// Replay counts the archived raw events of one event as they were counted live:
// the same sessions, tallies and merge, at any speed. What differs is that there
// is one gateway, so that nothing moves. It has one owner.
type Replay struct {
	emit func(*grandstand.Board) error // static

	cfg      *grandstand.Event
	auds     *grandstand.Audiences
	folded   map[string]*grandstand.Audience // by RawEvent.Segments
	sessions map[string]*grandstand.Session

	tallier *grandstand.Tallier
	merger  merger
	event   *event
	holding *holding

	at   int64 // ReceivedAt of the newest event
	next int64 // the next tick; 0: no event yet
}

// NewReplay returns a replay of the event as it was configured. It calls emit
// with the board of every tick; that must not keep it. An error of emit ends
// the replay.
func NewReplay(cfg *grandstand.Event, emit func(*grandstand.Board) error) *Replay {
	r := &Replay{
		emit: emit, cfg: cfg,
		auds:     grandstand.NewAudiences(cfg),
		folded:   map[string]*grandstand.Audience{},
		sessions: map[string]*grandstand.Session{},
		tallier:  grandstand.NewTallier(),
		event:    newEvent(cfg.Name, 0),
		holding:  &holding{gateway: &gateway{id: "archive", alive: true}},
	}
	r.merger.mended = func(string) {}
	r.event.configure(cfg)
	return r
}

// Add takes the next raw event, in the order of ReceivedAt; one that is older
// than the one before counts as received with it. Boards of the ticks in
// between are emitted first.
func (r *Replay) Add(raw *grandstand.RawEvent) error {
	r.at = max(r.at, raw.ReceivedAt)
	if r.next == 0 {
		r.next = r.at - r.at%r.cfg.TickMS + r.cfg.TickMS
	}
	if err := r.Until(r.at); err != nil {
		return err
	}
	s := r.sessions[string(raw.Session)]
	if s == nil && raw.Kind == grandstand.RawVerdict {
		return nil // of a device that is not watched here: a blocker's
	}
	aud, err := r.audience(raw)
	if err != nil {
		return err
	}
	if s == nil || r.at >= s.Deadline() {
		s = &grandstand.Session{ID: string(raw.Session), Viewer: raw.Viewer, Device: raw.Device, Account: raw.Account}
		s.Open(r.at, r.cfg.BeatMS) // its join may be in a file that is gone
		r.sessions[s.ID] = s
	}
	s.Audience = aud
	return r.change(s, raw)
}

// told is what the Data of a raw event may say about its session.
type told struct {
	How        string `json:"how"`
	IntervalMS int64  `json:"interval_ms"`
	Allowed    *bool  `json:"allowed"`
}

// The ways in which a session joins and leaves (told.How) that mean something
// to whoever counts. The gateway writes them.
const (
	howChose = "chose" // a join that only changes dimensions
	howMoved = "moved" // a leave of a session that goes on elsewhere
	howLapse = "lapsed"
)

// change carries out what the raw event says of its session.
func (r *Replay) change(s *grandstand.Session, raw *grandstand.RawEvent) error {
	var t told
	if len(raw.Data) > 0 && raw.Kind != grandstand.RawEvents {
		if err := json.Unmarshal(raw.Data, &t); err != nil {
			return fmt.Errorf("replay %s: read data: %w", raw.Kind, err)
		}
	}
	interval := int64(0)
	if t.IntervalMS != 0 {
		interval = grandstand.ClampInterval(t.IntervalMS, r.cfg)
	}
	switch raw.Kind {
	case grandstand.RawJoin:
		if t.How != howChose {
			s.Open(r.at, cmp.Or(interval, s.IntervalMS))
		}
	case grandstand.RawBeat:
		s.Renew(r.at, raw.State, interval)
	case grandstand.RawLeave:
		if t.How != howMoved && t.How != howLapse {
			s.Leave()
		}
	case grandstand.RawVerdict:
		s.Blocked = t.Allowed != nil && !*t.Allowed
	}
	return nil
}

// audience returns where a raw event's session is counted. Dimensions that the
// event does not have are left out; one that the session has no value in is
// unknown.
func (r *Replay) audience(raw *grandstand.RawEvent) (*grandstand.Audience, error) {
	if a := r.folded[string(raw.Segments)]; a != nil {
		return a, nil
	}
	segs, err := grandstand.DecodeSegments(raw.Segments)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(r.cfg.Dims))
	for i, d := range r.cfg.Dims {
		values[i] = grandstand.Unknown
		for _, s := range segs {
			if s.Dim == d.Name {
				values[i] = s.Value
			}
		}
	}
	a := r.auds.Intern(values)
	r.folded[string(raw.Segments)] = a
	return a, nil
}

// Until emits the boards of the ticks before at.
func (r *Replay) Until(at int64) error {
	for r.next != 0 && r.next < at {
		b, err := r.board(r.next)
		if err != nil {
			return err
		}
		if err := r.emit(b); err != nil {
			return err
		}
		r.next += r.cfg.TickMS
	}
	return nil
}

// Finish emits the boards until nobody is left.
func (r *Replay) Finish() error {
	for len(r.sessions) > 0 {
		if err := r.Until(r.next + 1); err != nil {
			return err
		}
	}
	return nil
}

// board counts the sessions that are watching at a tick.
func (r *Replay) board(at int64) (*grandstand.Board, error) {
	r.tallier.Reset(len(r.auds.Segments()))
	for id, s := range r.sessions {
		switch {
		case s.Watching(at):
			r.tallier.Add(s.Audience, s.Viewer.Hash())
		case at >= s.Deadline(): // one that left may come back until then
			delete(r.sessions, id)
		}
	}
	t := r.tallier.Build(r.cfg, r.auds.Segments(), nil)
	r.holding.asOf = at
	r.holding.round++
	r.merger.take(r.event, r.holding, t, nil)
	r.event.from[0].used = true
	b := r.merger.merge(r.event, at, true)
	if err := b.CheckSums(); err != nil {
		return nil, fmt.Errorf("replay %s: %w", r.cfg.Name, err)
	}
	b.At, b.TickMS, b.Quality, b.Coverage = at, r.cfg.TickMS, grandstand.Live, 1
	return b, nil
}
