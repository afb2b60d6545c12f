package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the HTTP server complains of is in the log without the addresses of
// clients, and loudly if it is our own doing.
func TestComplaintsNameNobody(t *testing.T) {
	ca := newAuthority(t)
	c, _, err := newCredentials(t, ca.player(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	l := newLife(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	addr, err := l.serve(endpoint{name: "test", address: "127.0.0.1:0", tls: c.server(), handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("of a test")
	})})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	io.WriteString(plain, strings.Repeat("no TLS ", 10))
	secure, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: ca.pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	io.WriteString(secure, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, 10*time.Second, "both are in the log", func() error {
		if s := log.String(); !strings.Contains(s, "TLS handshake error from a client: ") || !strings.Contains(s, "panic serving a client: of a test") {
			return errNotYet
		}
		return nil
	})
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	for _, client := range []net.Conn{plain, secure} {
		if strings.Contains(log.String(), client.LocalAddr().String()) {
			t.Errorf("the address of a client is in the log:\n%s", log.String())
		}
	}
	for line := range strings.Lines(log.String()) {
		if level := "level=DEBUG"; strings.Contains(line, "handshake error") && !strings.Contains(line, level) {
			t.Errorf("want %s: %s", level, line)
		}
		if level := "level=ERROR"; strings.Contains(line, "panic serving") && !strings.Contains(line, level) {
			t.Errorf("want %s: %s", level, line)
		}
	}
}

func TestComplaintsWithoutAddresses(t *testing.T) {
	for line, want := range map[string]string{
		"http: TLS handshake error from 203.0.113.7:4711: EOF":                                                              "http: TLS handshake error from a client: EOF",
		"http: TLS handshake error from 203.0.113.7:4711: read tcp 10.0.0.4:443->203.0.113.7:4711: i/o timeout":             "http: TLS handshake error from a client: read tcp a client: i/o timeout",
		"http: TLS handshake error from [2001:db8::7]:4711: write tcp [::1]:443->[2001:db8::7]:4711: broken pipe":           "http: TLS handshake error from a client: write tcp a client: broken pipe",
		"http: TLS handshake error from [fe80::1%eth0]:4711: read tcp [fe80::2%eth0]:443->[fe80::1%eth0]:4711: reset":       "http: TLS handshake error from a client: read tcp a client: reset",
		"http: TLS handshake error from [::ffff:203.0.113.7]:4711: EOF":                                                     "http: TLS handshake error from a client: EOF",
		"http: panic serving 203.0.113.7:4711: of a test\ngoroutine 7 [running]:\nnet/http.(*conn).serve\n\tserver.go:1947": "http: panic serving a client: of a test\ngoroutine 7 [running]:\nnet/http.(*conn).serve\n\tserver.go:1947",
		"http: Accept error: accept tcp 0.0.0.0:443: accept4: too many open files; retrying in 5ms":                         "http: Accept error: accept tcp 0.0.0.0:443: accept4: too many open files; retrying in 5ms",
	} {
		var log bytes.Buffer
		leaveOut := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key != slog.MessageKey {
				return slog.Attr{}
			}
			return a
		}
		c := complaints{slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: leaveOut}))}
		if n, err := c.Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
			t.Errorf("%d are written (%v) of %q", n, err, line)
		}
		if got := strings.TrimSpace(log.String()); got != fmt.Sprintf("msg=%q", want) {
			t.Errorf("%q is in the log as %s", line, got)
		}
	}
}

// Errors of the network name both ends of a connection: a client that hangs within
// the handshake, and one that resets it.
func TestBrokenHandshakesNameNobody(t *testing.T) {
	c, _, err := newCredentials(t, newAuthority(t).player(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c.server())
	if err != nil {
		t.Fatal(err)
	}
	var text lockedBuffer
	server := &http.Server{
		ReadHeaderTimeout: 100 * time.Millisecond,
		ErrorLog:          log.New(complaints{slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))}, "", 0),
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	defer serving.Wait()
	defer server.Close()
	for _, reset := range []bool{false, true} {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		client.Write([]byte{22, 3, 1, 2, 0, 1}) // a record of 512 bytes, and one of them
		want := "i/o timeout"
		if reset {
			want = "connection reset"
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
		}
		eventually(t, 10*time.Second, want+" is in the log", func() error {
			if !strings.Contains(text.String(), want) {
				return errNotYet
			}
			return nil
		})
	}
	if s := text.String(); strings.Contains(s, "127.0.0.1") {
		t.Errorf("the address of a client is in the log:\n%s", s)
	}
}

// Whoever is silent is cut after headerBound: before and after the TLS handshake,
// and within a request.
func TestSilentClientsAreCut(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	c, _, err := newCredentials(t, ca.player(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(slog.New(slog.DiscardHandler))
	addr, err := l.serve(endpoint{name: "test", address: "127.0.0.1:0", tls: c.server(), handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
	var wg sync.WaitGroup
	for name, open := range map[string]func() (net.Conn, error){
		"before the handshake": func() (net.Conn, error) { return net.Dial("tcp", addr.String()) },
		"within the handshake": func() (net.Conn, error) {
			c, err := net.Dial("tcp", addr.String())
			if err == nil {
				_, err = c.Write([]byte{22, 3, 1, 2, 0, 1}) // a record of 512 bytes, and one of them
			}
			return c, err
		},
		"after the handshake": func() (net.Conn, error) {
			return tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: ca.pool()})
		},
		"within the headers": func() (net.Conn, error) {
			c, err := tls.Dial("tcp", addr.String(), &tls.Config{RootCAs: ca.pool()})
			if err == nil {
				_, err = io.Copy(c, bytes.NewBufferString("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "))
			}
			return c, err
		},
	} {
		conn, err := open()
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(headerBound + 10*time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil && isTimeout(err) {
				t.Errorf("silent %s: still open", name)
			}
		})
	}
	wg.Wait()
}
