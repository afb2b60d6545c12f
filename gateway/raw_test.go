package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// rawConn is a WebSocket client that may do everything wrong.
type rawConn struct {
	t *testing.T
	net.Conn
	br *bufio.Reader
}

// raw upgrades by hand.
func (rg *rig) raw(query string) *rawConn {
	rg.t.Helper()
	c, err := rg.dial()
	if err != nil {
		rg.t.Fatal(err)
	}
	go fmt.Fprintf(c, "GET /v1/events/final/live?%s HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: grandstand.v1\r\n\r\n", query)
	rc := &rawConn{rg.t, c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(rc.br, nil)
	if err != nil {
		rg.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Protocol") != subprotocol {
		rg.t.Fatalf("upgrade answers %v", resp)
	}
	rg.t.Cleanup(func() { c.Close() })
	return rc
}

func (rg *rig) dial() (net.Conn, error) {
	if tr := rg.client.Transport.(*http.Transport); tr.DialContext != nil {
		return tr.DialContext(context.Background(), "", "")
	}
	return net.Dial("tcp", rg.url[len("http://"):])
}

// frame returns a client's frame, masked with zeros.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	default:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// write writes in the background: the gateway may close before it has read all.
func (rc *rawConn) write(p []byte) { go rc.Write(p) }

// read returns the next frame of the gateway.
func (rc *rawConn) read() (first byte, payload []byte, err error) {
	rc.SetReadDeadline(time.Now().Add(60 * time.Second))
	var h [2]byte
	if _, err := io.ReadFull(rc.br, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(h[1])
	if n == 126 {
		var l [2]byte
		if _, err := io.ReadFull(rc.br, l[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(l[:]))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(rc.br, payload)
	return h[0], payload, err
}

// wantClose reads until the close frame, answers it, and expects the end.
func (rc *rawConn) wantClose(code int) {
	rc.t.Helper()
	for {
		first, payload, err := rc.read()
		if err != nil {
			rc.t.Errorf("the connection ended without a close frame: %v", err)
			return
		}
		if first != 0x88 {
			continue
		}
		if got := int(binary.BigEndian.Uint16(payload)); got != code {
			rc.t.Errorf("closed with %d %q, want %d", got, payload[2:], code)
		}
		break
	}
	rc.write(frame(0x88, binary.BigEndian.AppendUint16(nil, uint16(code))))
	if first, payload, err := rc.read(); !errors.Is(err, io.EOF) {
		rc.t.Errorf("after the close frame came %x %q %v", first, payload, err)
	}
	rc.Close()
}
