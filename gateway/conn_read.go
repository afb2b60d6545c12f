package gateway

import (
	"sync"
	"unicode/utf8"

	"grandstand"
)

// incoming is what a reader works with, so that an idle connection has no buffer.
type incoming struct {
	b [2 * maxFrame]byte // what was read
	m grandstand.Message

	left []byte // of b: what is to be parsed still
}

var incomings = sync.Pool{New: func() any { return &incoming{} }}

// inbound is the reading half of a connection, owned by whoever reads: the poller,
// or a goroutine.
type inbound struct {
	rest      []byte // of a frame that is not complete; nil: none
	text      []byte // the fragments of a message that is not complete
	op        opcode // of that message; opContinuation: there is none
	over      bool   // the connection is no longer of a session; bytes are dropped
	discarded int    // bytes that were
	received  bucket // bytes
	messages  bucket
}

// progress is what is to be done after something was read.
type progress uint8

const (
	readOn   progress = iota
	handOver          // in.m may have to wait for Redis: to be carried out by a goroutine
	finished          // to be left
)

// space returns where the next bytes are to be read to.
func (c *conn) space(in *incoming) []byte { return in.b[copy(in.b[:], c.in.rest):] }

// filled takes what a read into space returned: no bytes and no error say that
// there was nothing to read.
func (c *conn) filled(in *incoming, n int, err error, now int64) progress {
	switch {
	case n > 0:
		c.g.metrics.received.Add(float64(n))
		in.left = in.b[:len(c.in.rest)+n]
		return c.receive(in, n, now)
	case err != nil:
		c.end(0) // the client is gone, or was cut off
		return finished
	}
	return readOn
}

// receive takes the n bytes that in.left ends with.
func (c *conn) receive(in *incoming, n int, now int64) progress {
	switch {
	case c.in.over:
		if c.in.discarded += n; c.in.discarded > maxDiscarded {
			return finished
		}
		return readOn
	case !c.in.received.take(n, bytesPerSecond, bytesBurst, now):
		return c.breach(closePolicy)
	}
	return c.parse(in, now, false)
}

// parse takes the frames of in.left. It carries out messages that have to wait
// only if it may wait.
func (c *conn) parse(in *incoming, now int64, mayWait bool) progress {
	for {
		f, size, bad := parseFrame(in.left)
		switch {
		case bad != 0:
			return c.breach(bad)
		case size == 0:
			c.in.rest = keep(c.in.rest, in.left)
			return readOn
		}
		in.left = in.left[size:]
		if p := c.frame(f, in, now, mayWait); p != readOn {
			return p
		}
	}
}

// keep returns a copy of b, nil if that is empty, in the memory of old if it fits.
func keep(old, b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append(old[:0], b...)
}

func (c *conn) frame(f clientFrame, in *incoming, now int64, mayWait bool) progress {
	switch f.op {
	case opPing:
		c.w.pong(f.payload)
		return readOn
	case opPong:
		return readOn
	case opClose:
		status, bad := parseClose(f.payload)
		if bad != 0 {
			return c.breach(bad)
		}
		c.end(status) // before the answer, which says that it was heard
		c.w.echo(f.payload)
		return finished
	}
	if (f.op == opContinuation) != (c.in.op != opContinuation) {
		return c.breach(closeProtocol) // of nothing, or a new message within one
	}
	if f.op != opContinuation {
		c.in.op = f.op
	}
	message := f.payload
	if len(c.in.text) > 0 || !f.fin {
		if len(c.in.text)+len(message) > grandstand.MaxMessageBytes {
			return c.breach(closeTooLarge)
		}
		checked := wholeRunes(c.in.text)
		c.in.text = append(c.in.text, message...)
		message = c.in.text
		if c.in.op == opText && !utf8.Valid(message[checked:wholeRunes(message)]) {
			c.w.close(closeUTF8) // at once: the last fragment may never come
		}
	}
	if !f.fin {
		return readOn
	}
	op := c.in.op
	c.in.op, c.in.text = opContinuation, nil
	if c.w.isClosing() {
		return readOn // only the client's close frame is waited for
	}
	return c.take(op, message, in, now, mayWait)
}

// wholeRunes returns the length of b without a code point at its end that is not
// complete yet.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

// take checks a message's form and carries it out.
func (c *conn) take(op opcode, text []byte, in *incoming, now int64, mayWait bool) progress {
	switch {
	case !c.in.messages.take(1, c.g.cfg.MessageRate, c.g.cfg.MessageBurst, now):
		c.tooMany("you send more messages than one connection may")
	case !c.g.cfg.Limits.message(c.share):
		c.tooMany("your network address or your account sends more messages than one may")
	case op != opText:
		c.w.close(closeType)
	case !utf8.Valid(text):
		c.w.close(closeUTF8)
	default:
		err := c.decode(text, &in.m)
		if err == nil && !mayWait && waits(in.m.Type) {
			return handOver
		}
		c.dispatch(&in.m, err, now)
	}
	return readOn
}

// tooMany says why before it closes.
func (c *conn) tooMany(why string) {
	c.w.send(appendText(nil, grandstand.AppendError(nil, grandstand.CodeRateLimited, why, 0, false)))
	c.w.close(closePolicy)
}

// waits reports whether carrying out such a message may take a call to Redis.
func waits(t grandstand.MsgType) bool {
	return t != grandstand.MsgBeat && t != grandstand.MsgEvent
}

// resume goes on where a poller handed over.
func (c *conn) resume(in *incoming, now int64) progress {
	c.dispatch(&in.m, nil, now)
	return c.parse(in, c.g.clock.Now(), true)
}

// breach ends a connection that cannot be read further. What the client sends
// until it has seen why is dropped: a socket closed with bytes unread is reset,
// and the client might never see the close frame.
func (c *conn) breach(why closeCode) progress {
	c.w.close(why)
	c.end(0)
	c.w.halfClose()
	return readOn
}
