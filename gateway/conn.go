package gateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"grandstand"
)

// conn is one WebSocket of a viewer. One goroutine reads it, and while it is
// idle that is all there is.
type conn struct {
	g       *Gateway // static
	session *session // static
	room    *room    // static

	w wire

	// owned by the reader
	ws       *websocket.Conn
	identity *Identity // nil if there is nothing to renew
	rate     bucket

	// guarded by session.mu
	older   *conn // of the same session
	beatAt  int64 // ms of the last beat of this socket
	expires int64 // ms at which the token does; 0: never
	renewAt int64 // ms at which a new one is asked for; 0: it was
	greeted bool  // hello was sent: other messages may follow

	// guarded by group.mu
	group *group // static after attach
	place int    // in group.conns
}

// messages holds what readers decode with, so that an idle connection has no
// buffer.
var messages = sync.Pool{New: func() any { return &incoming{} }}

type incoming struct {
	b [grandstand.MaxMessageBytes]byte
	m grandstand.Message
}

// run greets the viewer and takes its messages until the connection ends.
func (c *conn) run() {
	c.greet()
	err := c.read()
	c.end(err)
}

func (c *conn) greet() {
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
	}
}

// read returns how the connection ended.
func (c *conn) read() error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		in := messages.Get().(*incoming)
		n, err := readMessage(r, in.b[:])
		if err == nil && !c.w.isClosing() {
			c.take(kind, in, in.b[:n])
		}
		messages.Put(in)
		if err != nil {
			return err
		}
	}
}

// readMessage reads all of r. What does not fit is an error of r itself, whose
// limit is the size of b.
func readMessage(r io.Reader, b []byte) (int, error) {
	n := 0
	for {
		if n == len(b) {
			var one [1]byte
			k, err := r.Read(one[:])
			switch {
			case errors.Is(err, io.EOF) && k == 0:
				return n, nil
			case err != nil:
				return n, err
			case k > 0:
				continue // the limit follows
			}
		}
		k, err := r.Read(b[n:])
		n += k
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// take checks a message's form and hands it on.
func (c *conn) take(kind websocket.MessageType, in *incoming, b []byte) {
	now := c.g.cfg.Clock.Now()
	switch {
	case !c.rate.take(1, c.g.cfg.MessageRate, c.g.cfg.MessageBurst, now):
		c.w.close(closePolicy)
	case kind != websocket.MessageText:
		c.w.close(closeType)
	case !utf8.Valid(b):
		c.w.close(closeUTF8)
	default:
		c.dispatch(b, &in.m, now)
	}
}

// end takes the connection away. It is the last to be called.
func (c *conn) end(err error) {
	code, byUs := c.w.closed()
	status := websocket.CloseStatus(err)
	if code == 0 && status == -1 {
		// Neither side said why. What the library found wrong without saying so
		// to the client is said here.
		switch {
		case c.w.flooded:
			c.w.close(closePolicy)
		case !disconnected(err):
			c.w.close(closeProtocol)
		}
		code, byUs = c.w.closed()
	}
	c.g.metrics.closes.WithLabelValues(c.reason(code, byUs, status)).Inc()
	onPurpose := !byUs && (status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway)
	c.session.remove(c, onPurpose)
	c.group.remove(c)
	if code != 0 && status == -1 && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.awaitClose()
	}
	c.ws.CloseNow()
	c.g.conns.Add(-1)
	c.g.metrics.conns.Dec()
}

// reason returns the metric's label.
func (c *conn) reason(code closeCode, byUs bool, status websocket.StatusCode) string {
	switch {
	case byUs:
		return code.reason()
	case status == websocket.StatusNormalClosure, status == websocket.StatusGoingAway:
		return closeCode(status).reason()
	case status != -1:
		return "client"
	case code != 0:
		return code.reason()
	}
	return "reset"
}

// disconnected reports whether err is of the network rather than of what the
// client sent.
func disconnected(err error) bool {
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.As(err, &ne)
}

// awaitClose reads, and drops, what the client sent before it read our close
// frame. A socket closed with bytes unread is reset, and the client might never
// see the frame.
func (c *conn) awaitClose() {
	c.w.nc.SetReadDeadline(time.Now().Add(closeGrace))
	if half, ok := c.w.nc.(interface{ CloseWrite() error }); ok && c.w.idle() {
		half.CloseWrite()
	}
	io.CopyN(io.Discard, c.w.nc, maxDiscarded)
}

// showNewest shows the viewer the newest view at once.
func (c *conn) showNewest(v *grandstand.View) {
	if v == nil {
		return
	}
	now := c.g.cfg.Clock.Now()
	f := v.Frame(c.session.audience())
	message := appendFrame(make([]byte, 0, 256), f, now)
	c.g.metrics.shownBy[c.w.show(f, isLive(v.Board), message, now)].Inc()
}

// expiresAt notes when the token ends, and when to ask for a new one: 45 to 75 s
// before, so that those who came together do not renew together.
func (c *conn) expiresAt(at int64) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	c.expires, c.renewAt = at, 0
	if at != 0 {
		c.renewAt = max(at-45_000-rand.Int64N(30_000), 1)
	}
}
