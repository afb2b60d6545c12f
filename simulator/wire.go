package simulator

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// wire is the client's end of a WebSocket (RFC 6455), as small as ten thousand
// in one process want it: no goroutine, no timer and no large buffer of its
// own. One goroutine reads and writes; others may only set deadlines on conn.
type wire struct {
	conn net.Conn
	buf  []byte // what was read and not yet used is buf[r:w]
	r, w int
	key  [4]byte // masks what is sent
	out  []byte
	frag []byte // of a message that comes in pieces
}

// Opcodes, RFC 6455 section 5.2.
const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

const (
	maxHead      = 8 << 10
	maxMessage   = 1 << 20
	writeTimeout = 2 * time.Second
)

// statusError is an answer to the upgrade that is not 101.
type statusError struct {
	status int
	retry  time.Duration // Retry-After, 0 if there is none
}

func (e *statusError) Error() string { return "http status " + strconv.Itoa(e.status) }

const websocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// handshake upgrades the connection, as a browser does: with the token, if there is
// one, among the subprotocols. nonce need not be secret: it only proves that the
// answer is a fresh one.
func handshake(conn net.Conn, host, target, token string, nonce [16]byte) (*wire, error) {
	c := &wire{conn: conn, key: [4]byte(nonce[:4]), buf: make([]byte, 1024), out: make([]byte, 0, 160)}
	key := base64.StdEncoding.EncodeToString(nonce[:])
	if token != "" {
		token = ", bearer." + token
	}
	req := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Protocol: grandstand.v1" + token + "\r\n\r\n"
	if _, err := io.WriteString(conn, req); err != nil {
		return nil, err
	}
	end := -1
	for ; end < 0; end = bytes.Index(c.buf[:c.w], []byte("\r\n\r\n")) {
		if c.w >= maxHead {
			return nil, errors.New("answer to the upgrade is too long")
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(c.buf[:end+4])), nil)
	if err != nil {
		return nil, fmt.Errorf("read answer to the upgrade: %w", err)
	}
	res.Body.Close()
	c.r = end + 4
	if res.StatusCode != http.StatusSwitchingProtocols {
		e := &statusError{status: res.StatusCode}
		if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
			e.retry = time.Duration(min(max(s, 0), 60)) * time.Second
		}
		return nil, e
	}
	sum := sha1.Sum([]byte(key + websocketGUID))
	if res.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errors.New("the upgrade was accepted with a wrong key")
	}
	if p := res.Header.Get("Sec-WebSocket-Protocol"); p != "grandstand.v1" {
		return nil, fmt.Errorf("the upgrade was accepted with the subprotocol %q", p)
	}
	return c, nil
}

// fill reads once more into the buffer.
func (c *wire) fill() error {
	if c.r > 0 && c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else {
			if len(c.buf) >= maxMessage+16 {
				return errors.New("message is too long")
			}
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// next returns the next message or control frame. The payload is valid until
// the call after. After a timeout it can be called again and goes on where it
// was.
func (c *wire) next() (op byte, payload []byte, err error) {
	for {
		n, ok := c.frame()
		if !ok {
			if n > maxMessage {
				return 0, nil, errors.New("message is too long")
			}
			if err := c.fill(); err != nil {
				return 0, nil, err
			}
			continue
		}
		head := c.buf[c.r]
		payload = c.buf[c.r+n.head() : c.r+n.head()+int(n)]
		c.r += n.head() + int(n)
		op, fin := head&0x0f, head&0x80 != 0
		switch {
		case op >= opClose, fin && op != opContinuation:
			return op, payload, nil
		case len(c.frag)+len(payload) > maxMessage:
			return 0, nil, errors.New("message is too long")
		}
		if c.frag = append(c.frag, payload...); fin {
			payload, c.frag = c.frag, nil
			return opText, payload, nil
		}
	}
}

// frameLen is the length of a frame's payload.
type frameLen int

// head returns the length of an unmasked frame's head.
func (n frameLen) head() int {
	switch {
	case n < 126:
		return 2
	case n <= 0xffff:
		return 4
	}
	return 10
}

// frame returns the length of the frame in the buffer, and whether all of it is
// there. A frame whose length is written longer than need be is refused as too
// long: RFC 6455 forbids it.
func (c *wire) frame() (frameLen, bool) {
	b := c.buf[c.r:c.w]
	if len(b) < 2 {
		return 0, false
	}
	n := frameLen(b[1] & 0x7f)
	size := 2
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if len(b) < size {
		return 0, false
	}
	switch size {
	case 4:
		n = frameLen(binary.BigEndian.Uint16(b[2:]))
	case 10:
		n = frameLen(min(binary.BigEndian.Uint64(b[2:]), maxMessage+1))
	}
	if b[1]&0x80 != 0 || n.head() != size {
		return maxMessage + 1, false
	}
	return n, len(b) >= size+int(n)
}

// write sends one frame. It waits at most writeTimeout for room in the socket.
func (c *wire) write(op byte, payload []byte) error {
	out := append(c.out[:0], 0x80|op)
	if len(payload) < 126 {
		out = append(out, 0x80|byte(len(payload)))
	} else {
		out = append(out, 0x80|126)
		out = binary.BigEndian.AppendUint16(out, uint16(len(payload)))
	}
	out = append(out, c.key[:]...)
	at := len(out)
	out = append(out, payload...)
	for i := range out[at:] {
		out[at+i] ^= c.key[i&3]
	}
	c.out = out
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(out)
	return err
}

// writeClose says goodbye.
func (c *wire) writeClose(code uint16) error {
	return c.write(opClose, binary.BigEndian.AppendUint16(nil, code))
}

// reset ends the connection as a lost network does: without a word, in TCP by
// RST.
func (c *wire) reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.conn.Close()
}

// closeCode returns the code of a close frame: 1005 if there is none.
func closeCode(payload []byte) int {
	if len(payload) < 2 {
		return 1005
	}
	return int(binary.BigEndian.Uint16(payload))
}
