package gateway

import (
	"math/rand/v2"

	"grandstand"
)

// conn is one WebSocket of a viewer. While it is idle there is nothing of it but
// this.
type conn struct {
	g       *Gateway // static
	session *session // static; nil: refused
	room    *room    // static
	share   share    // static

	w  wire
	in inbound

	identity *Identity // nil if there is nothing to renew; owned by the reader

	// guarded by session.mu
	older   *conn  // of the same session
	beatAt  int64  // ms of the last beat of this socket
	expires int64  // ms of the wall clock at which the token does; 0: never
	renewAt int64  // and at which a new one is asked for; 0: never
	greeted bool   // hello was sent: other messages may follow
	granted *Grant // of the token; nil: there is none

	// guarded by group.mu
	group *group // static after attach
	place int    // in group.conns
}

// greet sends hello, and the newest counts right after it.
func (c *conn) greet() {
	c.w.cork()
	defer c.w.uncork()
	e := c.room.event()
	b := make([]byte, 0, 192)
	b = grandstand.AppendHello(b, c.session.ID, e.BeatMS, e.TickMS, e.DimNames())
	if c.g.cfg.Journal == nil {
		b = append(b[:len(b)-1], `,"acks":false}`...) // nothing is kept, so nothing is ever acknowledged
	}
	c.w.send(appendText(make([]byte, 0, len(b)+4), b))
	c.session.greeted(c)
	c.room.attach(c)
	// Whoever closed all sockets before this one was among them is not going
	// to come again.
	switch {
	case c.g.hungUp.Load() || c.room.isGone():
		c.w.close(closeRestart)
	case c.room.event().State == grandstand.EventEnded:
		c.w.close(closeEnded)
	default:
		c.closeIfRevoked()
	}
}

// read reads a connection that is not polled to its end, and hands one that is to
// the poller. head is what the client sent already.
func (c *conn) read(head []byte) {
	in := incomings.Get().(*incoming)
	defer incomings.Put(in)
	in.left = in.b[:copy(in.b[:], head)]
	p := c.receive(in, len(in.left), c.g.clock.Now())
	s, own := c.w.sock.(netSocket)
	for {
		switch {
		case p == handOver:
			p = c.resume(in, c.g.clock.Now())
		case p == readOn && own:
			n, err := s.Read(c.space(in))
			p = c.filled(in, n, err, c.g.clock.Now())
		default:
			c.poll(p)
			return
		}
	}
}

// poll has the poller read on, or ends the connection if it is finished.
func (c *conn) poll(p progress) {
	if p == readOn && c.g.poller.add(c) {
		return
	}
	c.end(0)
	c.leave()
}

// end takes the connection away from its session and from the views. status is
// that of the client's close frame, 0 if none came.
func (c *conn) end(status closeCode) {
	if c.in.over {
		return
	}
	c.in.over, c.in.rest, c.in.text = true, nil, nil
	if c.session == nil {
		return // it was counted as refused
	}
	code, byUs := c.w.closed()
	c.g.metrics.closes.WithLabelValues(reasonOf(code, byUs, status)).Inc()
	// A goodbye is one even if it crossed a close frame of ours, which is answered
	// with our own code.
	c.session.remove(c, status == closeNormal || status == closeAway)
	c.group.remove(c)
}

// leave closes the connection. Nothing is done for it afterwards.
func (c *conn) leave() {
	c.w.leave()
	c.g.leaveConn(c.share)
	c.g.wg.Done()
}

// reasonOf returns the metric's label. code is of the close frame that we sent,
// byUs says that it was no echo, and status is of the client's.
func reasonOf(code closeCode, byUs bool, status closeCode) string {
	switch {
	case byUs:
		return code.reason()
	case status == closeNormal, status == closeAway:
		return status.reason()
	case status != 0:
		return "client"
	}
	return "reset"
}

// showNewest shows the viewer the newest view at once.
func (c *conn) showNewest(v *grandstand.View) {
	if v == nil {
		return
	}
	now := c.g.cfg.Clock.Now()
	if isLive(v.Board) && v.Board.IsStale(now-v.Board.At) {
		v = v.AsStale() // this process was stopped, and nobody has had a look at its boards yet
	}
	f := v.Frame(c.session.audience())
	message := appendFrame(make([]byte, 0, 256), f, c.w.compact, now)
	result := c.w.show(f, isLive(v.Board), message, now)
	c.g.metrics.shownBy[result].Inc()
	if result == shownSent {
		c.g.metrics.age.observe(now-f.At(), 1)
	}
}

// expiresAt notes when the token ends, and when to ask for a new one: 45 to 75 s
// before, so that those who came together do not renew together. Whoever has none
// that ends later is asked again when askAgainLocked says.
func (c *conn) expiresAt(at int64) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if at > c.expires {
		c.renewAt = max(at-45_000-rand.Int64N(30_000), 1)
	}
	c.expires = at
}

// askAgainLocked has a new token be asked for once more after half of the time that
// is left: many a client gets one only shortly before the old one ends.
func (c *conn) askAgainLocked(wall int64) {
	const least = 2000 // ms, for one to come in
	c.renewAt = 0
	if half := (c.expires - wall) / 2; half >= least {
		c.renewAt = wall + half
	}
}
