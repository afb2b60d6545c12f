package gateway

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gorilla/mux"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// The subprotocols that are spoken, the better one for whoever offers both; who
// offers none speaks the second. The token, which a browser offers as another, is
// never echoed.
const (
	subprotocolCompact = "grandstand.v1.bin" // docs/protocol-bin.md
	subprotocol        = "grandstand.v1"
)

// live upgrades a viewer to a WebSocket: GET /v1/events/{event}/live.
func (g *Gateway) live(w http.ResponseWriter, r *http.Request) {
	if err := g.load.enter(r); err != nil {
		g.fail(w, "live", err)
		return
	}
	defer g.load.leave()
	span := g.traceHandshake(r)
	if !g.admitConn() {
		err := g.full()
		endSpan(span, err)
		g.fail(w, "live", err)
		return
	}
	v, err := g.visitorOf(r)
	if err == nil {
		err = g.load.admit(v)
	}
	if err == nil {
		err = checkUpgrade(r)
	}
	var s share
	if err == nil {
		s, err = g.cfg.Limits.open(g.cfg.Limits.Network(v.address), v.payer.account)
	}
	if err != nil {
		endSpan(span, err)
		g.leaveConn(share{})
		g.fail(w, "live", err)
		return
	}
	v.span = span
	h, err := accept(w, r)
	if err != nil {
		endSpan(span, err)
		// checkUpgrade looked at all that Accept does: the connection is gone.
		g.leaveConn(s)
		g.metrics.refused.WithLabelValues("live", "upgrade").Inc()
		return
	}
	c, head := &conn{g: g, share: s}, h.head
	c.w.g, c.w.sock, c.w.compact = g, g.socketOf(h.nc), strings.EqualFold(h.subprotocol, subprotocolCompact)
	hungUp := len(head) == 0 && isGone(c.w.sock)
	if hungUp {
		g.metrics.refused.WithLabelValues("live", "gone").Inc()
	}
	if hungUp || !g.enter() {
		span.End()
		c.w.leave()
		g.leaveConn(s)
		return
	}
	// The handler returns, and with it goes what net/http keeps for a request.
	if _, own := c.w.sock.(netSocket); own {
		go c.serve(v, head)
		return
	}
	c.serve(v, head)
}

// isGone reports that a client did not wait for the answer to its handshake, which
// may have been long in a queue. Who has hung up must not join: the session may be
// back elsewhere since, or have said goodbye there, and would count here until its
// deadline. Not every kind of socket can tell.
func isGone(s socket) bool {
	g, can := s.(interface{ gone() bool })
	return can && g.gone()
}

// socketOf returns the connection as a socket: polled, or read by a goroutine.
func (g *Gateway) socketOf(nc net.Conn) socket {
	if s, ok := g.poller.detach(nc); ok {
		return s
	}
	return netSocket{nc}
}

// serve takes the connection from the upgrade to whoever reads it.
func (c *conn) serve(v *visitor, head []byte) {
	if v.event.State == grandstand.EventEnded {
		v.span.End()
		c.refuse(closeEnded, head)
		return
	}
	s, err := c.g.join(context.Background(), v)
	endSpan(v.span, err)
	if err != nil {
		c.g.trouble("join after the upgrade", err)
		c.refuse(closeRestart, head)
		return
	}
	c.session, c.room = s, s.room
	if v.id.Expires != 0 || s.lease != nil {
		id := *v.id
		id.Segments = nil
		c.identity = &id
		c.expiresAt(id.Expires)
	}
	c.beatAt, c.granted = c.g.clock.Now(), v.id.Grant
	s.add(c)
	v = nil // an idle connection keeps nothing of its request
	c.greet()
	c.read(head)
}

// refuse closes a connection that belongs to no session.
func (c *conn) refuse(code closeCode, head []byte) {
	c.g.metrics.closes.WithLabelValues(code.reason()).Inc()
	c.w.close(code)
	c.read(head)
}

// admitConn takes one of the gateway's places for sockets and streams.
func (g *Gateway) admitConn() bool {
	if g.state.Load() != phaseRunning {
		return false
	}
	if g.conns.Add(1) > int64(g.cfg.MaxConns) {
		g.conns.Add(-1)
		return false
	}
	g.metrics.conns.Inc()
	return true
}

func (g *Gateway) leaveConn(s share) {
	g.cfg.Limits.close(s)
	g.conns.Add(-1)
	g.metrics.conns.Dec()
}

// full says why admitConn refused.
func (g *Gateway) full() error {
	if g.state.Load() != phaseRunning {
		return grandstand.Errorf(grandstand.CodeUnavailable, "this gateway is not taking viewers: it is starting or shutting down")
	}
	return grandstand.Errorf(grandstand.CodeUnavailable, "this gateway has as many connections as it takes")
}

// visitor is who wants to watch an event, checked as far as that can be done
// without counting anybody.
type visitor struct {
	event   *grandstand.Event
	room    *room
	id      *Identity
	address netip.Addr // of the client; invalid: not known
	span    trace.Span // of the handshake; nil over REST
	joining
}

// visitorOf checks everything about a request to watch but its origin. For an event that is
// over only event and id are set.
func (g *Gateway) visitorOf(r *http.Request) (*visitor, error) {
	name, err := eventName(r)
	if err != nil {
		return nil, err
	}
	id, err := g.cfg.Auth.Identify(r, name)
	if err != nil {
		return nil, err
	}
	e, err := g.catalog.get(r.Context(), name)
	if grandstand.CodeOf(err) == grandstand.CodeNotFound && g.cfg.OpenEvents {
		e, err = g.openEvent(r.Context(), name)
	}
	if err != nil {
		return nil, err
	}
	if g.sessions.Load() >= int64(g.cfg.MaxSessions) && id.Session == "" {
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "this gateway has as many sessions as it takes")
	}
	v := &visitor{event: e, id: id}
	if !id.Service { // else it is where the backend stands
		v.address = g.cfg.Edge.Client(r)
	}
	if e.State == grandstand.EventEnded {
		return v, nil
	}
	return v, g.prepare(r.Context(), v)
}

// prepare fills in what joining takes.
func (g *Gateway) prepare(ctx context.Context, v *visitor) error {
	rm := g.room(v.event)
	v.room = rm
	v.joining = joining{
		session:    strings.Clone(v.id.Session),
		viewer:     rm.key.Viewer(v.id.Viewer),
		device:     rm.key.Device(v.id.Device),
		account:    rm.key.Account(v.id.Account),
		payer:      g.payerOf(v),
		intervalMS: grandstand.ClampInterval(v.id.IntervalMS, v.event),
		undeclared: len(v.id.Segments) == 0,
	}
	if err := checkSession(rm.key, &v.joining); err != nil {
		return err
	}
	if err := g.checkPayer(v); err != nil {
		return err
	}
	a, unasked, err := rm.fold(ctx, v.id.Segments)
	if err != nil {
		return err
	}
	v.audience = a
	if unasked {
		g.metrics.unasked.Inc()
		v.declared = v.id.Segments
	}
	return nil
}

const sessionChars = 28 // of NewSessionID

// checkSession refuses to resume what is not a session of the same viewer and
// device.
func checkSession(key grandstand.EventKey, j *joining) error {
	if j.session == "" || grandstand.ValidSessionID(key, j.session, j.viewer, j.device) {
		return nil
	}
	if b, err := base64.RawURLEncoding.DecodeString(j.session); err != nil || len(j.session) != sessionChars || len(b) != sessionChars*3/4 {
		return grandstand.Errorf(grandstand.CodeInvalid, "session is not the id of a session: leave it out to begin a new one")
	}
	return grandstand.Errorf(grandstand.CodeForbidden, "the session is of another viewer, device or event: leave it out to begin a new one")
}

// payerOf returns who pays for the visitor.
func (g *Gateway) payerOf(v *visitor) payer {
	if g.leaser == nil || v.id.Account == "" {
		return payer{}
	}
	key, id := g.leaser.key, v.id
	account := key.Account(id.Account)
	return payer{
		account: account, device: key.Device(account, id.Device), address: key.Address(account, v.address),
		name: id.Name, plan: strings.Clone(id.Plan), limit: id.Limit,
	}
}

// checkPayer refuses to resume a session that is here and of another account.
func (g *Gateway) checkPayer(v *visitor) error {
	if g.leaser == nil || v.session == "" {
		return nil
	}
	s := v.room.find(v.session)
	if s == nil {
		return nil
	}
	var account grandstand.Key
	if s.lease != nil { // both are static
		account = s.lease.account
	}
	if account != v.payer.account {
		return grandstand.Errorf(grandstand.CodeForbidden, "the session is of another account: leave it out to begin a new one")
	}
	return nil
}

// join opens or resumes the visitor's session. If the room that it was prepared
// for is gone meanwhile, it is prepared for the next.
func (g *Gateway) join(ctx context.Context, v *visitor) (*session, error) {
	s := v.room.join(&v.joining)
	for s == nil {
		e, err := g.catalog.get(ctx, v.event.Name)
		if err != nil {
			return nil, err
		}
		v.event = e
		if err := g.prepare(ctx, v); err != nil {
			return nil, err
		}
		s = v.room.join(&v.joining)
	}
	if s.room.event().State == grandstand.EventScheduled && !s.room.started.Swap(true) {
		g.spawn(func() { g.startEvent(s.room) })
	}
	if v.declared != nil {
		g.refolds.add(s)
	}
	return s, nil
}

// eventName returns the event of the request's path.
func eventName(r *http.Request) (string, error) {
	name := mux.Vars(r)["event"]
	if !grandstand.ValidValue(name) {
		return "", grandstand.Errorf(grandstand.CodeInvalid, "an event's name is 1 to %d characters of A-Z a-z 0-9 . _ -", grandstand.MaxValueLen)
	}
	return strings.Clone(name), nil
}

// checkUpgrade refuses what websocket.Accept would, in the form of every HTTP
// error.
func checkUpgrade(r *http.Request) error {
	const offered = "Sec-Websocket-Protocol"
	h := r.Header
	if !hasToken(h, "Connection", "upgrade") || !hasToken(h, "Upgrade", "websocket") || !r.ProtoAtLeast(1, 1) {
		return grandstand.Errorf(grandstand.CodeInvalid, "this address takes WebSockets: ask for an upgrade (RFC 6455)")
	}
	keys := h.Values("Sec-Websocket-Key")
	if h.Get("Sec-Websocket-Version") != "13" || len(keys) != 1 {
		return grandstand.Errorf(grandstand.CodeInvalid, "the WebSocket handshake is not one of version 13 (RFC 6455)")
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(b) != 16 {
		return grandstand.Errorf(grandstand.CodeInvalid, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	if len(h.Values(offered)) > 0 && !hasToken(h, offered, subprotocol) && !hasToken(h, offered, subprotocolCompact) {
		return grandstand.Errorf(grandstand.CodeInvalid, "offer the subprotocol %s or %s", subprotocol, subprotocolCompact)
	}
	return nil
}

// hasToken reports whether a header's comma-separated list has the token,
// whatever its case.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
