package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// received takes what was read of a connection.
func (l *loader) received(c *loadConn, b []byte) {
	if len(c.part) > 0 {
		c.part = append(c.part, b...)
		b = c.part
	}
	if c.state == asking {
		var ok bool
		if b, ok = l.answered(c, b); !ok {
			return
		}
	}
	for c.state == open && !c.silent {
		op, payload, rest, ok := nextFrame(b)
		if !ok {
			break
		}
		b = rest
		l.message(c, op, payload)
	}
	if c.state == gone || len(b) == 0 {
		c.part = nil
	} else {
		c.part = append([]byte(nil), b...)
	}
}

// answered reads the answer to the handshake and returns what follows it. ok is
// false if it is not complete, or not what was hoped for.
func (l *loader) answered(c *loadConn, b []byte) (rest []byte, ok bool) {
	head, rest, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		c.part = append([]byte(nil), b...)
		return nil, false
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		status, _, _ := strings.Cut(string(head), "\r\n")
		if l.cfg.Retry && strings.HasPrefix(status, "HTTP/1.1 503 ") {
			seconds, _ := strconv.Atoi(header(head, "Retry-After"))
			l.comeAgain(c, max(time.Duration(seconds), 1)*time.Second)
			return nil, false
		}
		l.drop(c, status+" "+string(rest))
		return nil, false
	}
	if l.stats.Protocol == "" {
		l.stats.Protocol = header(head, "Sec-WebSocket-Protocol")
	}
	c.state = open
	delete(l.pending, c)
	l.stats.Open++
	l.stats.OpenMS = l.now.Sub(l.begin).Milliseconds()
	if l.cfg.Expect > 0 {
		e := (c.i - l.cfg.Offset) / l.cfg.PerEvent
		for len(l.lastJoin) <= e {
			l.lastJoin = append(l.lastJoin, 0)
		}
		l.lastJoin[e] = l.nowMS
	}
	c.part = nil
	return rest, true
}

// header returns the value of a header of an answer.
func header(head []byte, name string) string {
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if n, value, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (l *loader) message(c *loadConn, op byte, payload []byte) {
	switch op {
	case opPing:
		l.out = appendClientFrame(l.out[:0], opPong, payload)
		l.write(c, l.out)
	case opClose:
		why := "close frame"
		if len(payload) >= 2 {
			why = fmt.Sprintf("close %d %s", int(payload[0])<<8|int(payload[1]), payload[2:])
		}
		l.drop(c, why)
	case opText, opBinary:
		l.stats.Frames++
		l.stats.Bytes += len(payload)
		if op == opBinary {
			l.stats.Counts++ // nothing else is binary
			c.arrived(l, counts{live: true})
		} else if n, ok := readCounts(payload); ok {
			l.stats.Counts++
			c.arrived(l, n)
		}
	}
}

// arrived notes what counts say about freshness. Those of a compact protocol
// are not read: their at is 0.
func (c *loadConn) arrived(l *loader, n counts) {
	if !c.shown {
		c.shown = true
		l.stats.Shown++
	}
	if !n.live {
		l.stats.NotLive++
	}
	if c.got > 0 {
		l.stats.MaxGap = max(l.stats.MaxGap, l.nowMS-c.got)
	}
	if n.at > 0 {
		l.stats.Age.Add(l.nowMS - n.at)
		if c.at > 0 {
			l.stats.Screen.Add(l.nowMS - c.at)
		}
	}
	c.at, c.got = n.at, l.nowMS
	if l.cfg.Expect > 0 && !c.seen && n.sessions >= l.cfg.Expect {
		c.seen = true
		l.stats.Seen.Add(l.nowMS - l.lastJoin[(c.i-l.cfg.Offset)/l.cfg.PerEvent])
	}
}
