package main

import (
	"bytes"
	"crypto/tls"
	"io"
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
