package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"grandstand"
	"grandstand/gateway/journal"
)

// answer is what a player without a WebSocket is told after its beats.
type answer struct {
	resumable
	Verdict    verdict  `json:"verdict"`
	IntervalMS int64    `json:"interval_ms"` // until the next beat
	Segments   []string `json:"segments"`    // that the session is counted in, as ?segment= takes them
	Frame      rawJSON  `json:"frame"`       // the message "counts"; null if there is none yet
}

// resumable names the sessions of a request, also if its beats were not kept.
type resumable struct {
	Session  string   `json:"session"`            // to be sent with the next beat
	Sessions []string `json:"sessions,omitempty"` // one per message, if a list was of several sessions
}

type rawJSON []byte

// MarshalJSON returns the bytes as they are.
func (r rawJSON) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// postBeats answers POST /v1/events/{event}/beats: one beat or a list.
func (g *Gateway) postBeats(w http.ResponseWriter, r *http.Request) {
	p, err := g.beats(r)
	if err == nil {
		err = p.await(r.Context())
	}
	if err != nil && p != nil && p.last != nil {
		names := p.giveUp()
		g.failWith(w, "beats", err, &names)
		return
	}
	if err != nil {
		g.fail(w, "beats", err)
		return
	}
	a := p.answer(r.Context())
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, a)
}

// beats takes the beats of a request. They may not be kept yet. With an error some
// may have been taken: the player says for which sessions, nil if there is none.
func (g *Gateway) beats(r *http.Request) (*player, error) {
	if g.state.Load() != phaseRunning {
		return nil, g.full()
	}
	v, err := g.visitorOf(r)
	if err != nil {
		return nil, err
	}
	if v.event.State == grandstand.EventEnded {
		return nil, grandstand.Errorf(grandstand.CodeConflict, "the event is over")
	}
	body, err := readBody(r, grandstand.MaxBodyBytes)
	if err != nil {
		return nil, err
	}
	p := &player{g: g, r: r, base: v}
	if g.cfg.Journal != nil {
		p.kept = newKeeping()
	}
	defer p.leave()
	return p, grandstand.DecodeBeats(body, p.take)
}

// readBody reads a body of at most limit bytes of UTF-8. The server bounds the
// time that takes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, grandstand.Errorf(grandstand.CodeTooLarge, "the body is larger than %d bytes", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the body does not come")
	case err != nil:
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the body cannot be read")
	case !utf8.Valid(body):
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the body is not UTF-8")
	}
	return body, nil
}

// player is one request with beats. Those that name no session belong to the
// one of the beat before, or to a new one.
type player struct {
	g        *Gateway
	r        *http.Request
	base     *visitor // whom the request itself is of
	last     *session
	sessions []string

	kept    *keeping   // nil: nothing is kept
	opened  []*session // by this request
	entered bool       // it has a place among the joins under way, for all that it opens
}

// enter waits for the request's turn to open or resume sessions.
func (p *player) enter(back bool) error {
	if p.entered {
		return nil
	}
	err := p.g.load.wait(p.r.Context(), back)
	p.entered = err == nil
	return err
}

func (p *player) leave() {
	if p.entered {
		p.g.load.leave()
	}
}

// take carries one message out.
func (p *player) take(m *grandstand.Message) error {
	s, err := p.sessionOf(m)
	if err != nil {
		return err
	}
	now := p.g.clock.Now()
	s.mu.Lock()
	ok := s.rate.take(1, p.g.cfg.MessageRate, p.g.cfg.MessageBurst+grandstand.MaxBodyMessages, now)
	s.mu.Unlock()
	if !ok {
		return grandstand.Errorf(grandstand.CodeRateLimited, "too many beats for one session")
	}
	if !p.base.id.Service && !p.g.cfg.Limits.beat(p.base.address, s) {
		return grandstand.Errorf(grandstand.CodeRateLimited, "your network address or your account sends more beats than one may")
	}
	p.g.metrics.typedBy[m.Type].Inc()
	if p.kept == nil {
		s.take(nil, m, now, nil)
	} else {
		p.kept.add(func(w journal.Waiter) error { return s.take(nil, m, now, w) })
	}
	p.last = s
	p.sessions = append(p.sessions, s.ID)
	return nil
}

// sessionOf returns the session of a message, which it opens or resumes if need
// be.
func (p *player) sessionOf(m *grandstand.Message) (*session, error) {
	v, err := p.visitorOf(m)
	if err != nil {
		return nil, err
	}
	if v.session == "" && p.last != nil && v == p.base {
		return p.last, nil
	}
	if s := v.room.find(v.session); s != nil && s.isHere() {
		s.pay(v.payer)
		if len(v.id.Segments) > 0 && v.declared == nil {
			s.refold(v.audience, nil)
		}
		return s, nil
	}
	if err := p.g.load.admit(v); err != nil {
		return nil, err
	}
	if err := p.enter(v.session != ""); err != nil {
		return nil, err
	}
	s, err := p.g.join(p.r.Context(), v)
	if err == nil && v.session == "" {
		p.opened = append(p.opened, s)
	}
	return s, err
}

// visitorOf returns whom a message is of: of whom the request is, unless it may
// and does say otherwise.
func (p *player) visitorOf(m *grandstand.Message) (*visitor, error) {
	if len(m.Session) == 0 && len(m.Viewer) == 0 && len(m.Device) == 0 && len(m.Account) == 0 && len(m.Seg) == 0 {
		return p.base, nil
	}
	id := *p.base.id
	_, open := p.g.cfg.Auth.(*AuthNone)
	for _, f := range []struct {
		at    *string
		value []byte
	}{{&id.Viewer, m.Viewer}, {&id.Device, m.Device}, {&id.Account, m.Account}} {
		if len(f.value) == 0 || string(f.value) == *f.at {
			continue
		}
		if !open && !id.Service {
			return nil, grandstand.Errorf(grandstand.CodeForbidden, "the token is not of the viewer, device or account that the beat names")
		}
		*f.at = string(f.value)
	}
	if len(m.Session) > 0 {
		id.Session = string(m.Session)
	}
	if len(m.Seg) > 0 {
		if !open && !id.Service {
			return nil, grandstand.Errorf(grandstand.CodeForbidden, "segments come from the token")
		}
		id.Segments = m.Declared()
	}
	v := &visitor{event: p.base.event, id: &id, address: p.base.address}
	return v, p.g.prepare(p.r.Context(), v)
}

// isHere reports whether this gateway counts the session, or is about to.
func (s *session) isHere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own != lost
}

func (p *player) resumable() resumable {
	names := resumable{Session: strings.Clone(p.last.ID)}
	for _, id := range p.sessions {
		if id != names.Session {
			names.Sessions = p.sessions
		}
	}
	return names
}

func (p *player) answer(ctx context.Context) *answer {
	e := p.last.room.event()
	a := &answer{resumable: p.resumable(), Verdict: p.last.verdict(ctx)}
	p.last.mu.Lock()
	a.IntervalMS = p.last.IntervalMS
	p.last.mu.Unlock()
	if a.IntervalMS == 0 {
		a.IntervalMS = e.BeatMS
	}
	aud := p.last.audience()
	a.Segments = append(a.Segments, grandstand.World)
	for i, d := range e.Dims {
		a.Segments = append(a.Segments, grandstand.Segment{Dim: d.Name, Value: aud.Values[i]}.String())
	}
	if v := p.last.room.newest(); v != nil {
		a.Frame = v.Frame(aud).AppendJSON(nil, p.g.cfg.Clock.Now())
	}
	return a
}
