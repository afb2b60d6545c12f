package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strconv"
	"time"

	"grandstand"
)

// open connects, says who it is, and waits for hello.
func (p *player) open(ctx context.Context) (*wire, error) {
	c := p.crowd
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	at := p.gateway % len(c.targets)
	conn, err := c.cfg.dial(ctx, at, p.number)
	if err != nil {
		c.stats.failed("dial")
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	asked := time.Now()
	c.truth.begin(p.pres, ms(asked))
	var nonce [16]byte
	for i := range nonce {
		nonce[i] = byte(p.rng.Uint32())
	}
	w, err := handshake(conn, c.targets[at].host, p.target(), p.token(), nonce)
	var hello notice
	if err == nil {
		hello, err = readHello(w)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		var se *statusError
		refused := errors.As(err, &se)
		switch {
		case refused:
			c.stats.failed("status " + strconv.Itoa(se.status))
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
			c.stats.failed("timeout")
		default:
			c.stats.failed("handshake")
		}
		now := ms(time.Now())
		c.truth.fail(p.pres, now, p.lapse, c.linger(), refused)
		if !refused {
			p.unanswered(now)
		}
		return nil, err
	}
	p.welcome(hello, at, asked)
	return w, nil
}

// unanswered takes note of a request that came to nothing at the time, in ms, but
// that the gateway may have taken: it counts the session then, whatever becomes of
// the next request. A session that has just begun there has an id that nobody
// knows here. The next request begins another, and both may count.
func (p *player) unanswered(at int64) {
	if p.session == "" {
		p.pres = p.crowd.truth.add(p.who)
		return
	}
	p.lapse = max(p.lapse, at+p.crowd.linger()+p.crowd.cfg.Window.Milliseconds())
}

func readHello(w *wire) (hello notice, err error) {
	op, b, err := w.next()
	switch {
	case err != nil:
		return hello, err
	case op != opText:
		return hello, errors.New("the first message is not hello")
	}
	if err := json.Unmarshal(b, &hello); err != nil {
		return hello, err
	}
	if hello.T != "hello" || hello.Session == "" || hello.BeatMS <= 0 || hello.TickMS <= 0 {
		return hello, errors.New("the first message is not a hello with session, beat_ms and tick_ms")
	}
	return hello, nil
}

// welcome takes note of hello.
func (p *player) welcome(hello notice, gateway int, asked time.Time) {
	c, now := p.crowd, time.Now()
	if p.session != "" && hello.Session != p.session {
		// Another session has begun; the one before is left to its deadline.
		c.stats.notResumed.Add(1)
		c.truth.fail(p.pres, ms(now), p.lapse, 0, true)
		c.truth.abandon(p.pres, ms(now))
		p.pres = c.truth.add(p.who)
		c.truth.begin(p.pres, ms(asked))
		p.acked = p.seq // a number belongs to its session
	}
	p.again = true
	p.heard, p.doubted = now, 0
	p.session = hello.Session
	p.tick = time.Duration(hello.TickMS) * time.Millisecond
	p.interval = time.Duration(hello.BeatMS) * time.Millisecond
	linger := time.Duration(grandstand.LingerMS(hello.BeatMS)) * time.Millisecond
	c.greeted(p.tick, linger)
	p.beats = [2]beatSent{{asked, linger}, {now, linger}}
	c.truth.name(p.pres, hello.Session)
	c.truth.confirm(p.pres, ms(now), gateway, p.tick.Milliseconds())
	if c.cfg.Interval > 0 {
		p.interval = c.cfg.Interval
	}
	if p.dropped.IsZero() {
		c.stats.joins.Add(1)
	} else {
		c.stats.reconnects.Add(1)
		c.stats.away.add(now.Sub(p.dropped).Seconds())
		p.dropped = time.Time{}
	}
	if !p.opened {
		p.opened = true
		m := &moment{asked: asked, hello: now}
		p.joined.Store(m)
		c.audit.joined(m)
	}
	if p.seen.at > 0 {
		p.before = p.seen
	}
	p.seen = glance{}
}

// streamsOfAnAccount is more than the devices that a viewer comes and goes with
// within the time that a lease lasts.
const streamsOfAnAccount = 32

// target returns the path and query of the player's WebSocket.
func (p *player) target() string {
	q := url.Values{"viewer": {p.who.id}, "device": {p.device}}
	if p.session != "" {
		q.Set("session", p.session)
	}
	for dim, v := range p.who.declared() {
		q.Set(dim, v)
	}
	if p.who.pays {
		q.Set("account", p.who.id)
		q.Set("limit", strconv.Itoa(streamsOfAnAccount))
	}
	return "/v1/events/" + p.crowd.cfg.Event + "/live?" + q.Encode()
}
