//go:build measure

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Five thousand sockets that trickle their requests, from eight addresses, do not
// stop honest handshakes, over plain TCP and over TLS.
func TestMeasureSlowClients(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", secure), func(t *testing.T) {
			ca := newAuthority(t)
			var more []string
			if secure {
				f := ca.player(t.TempDir())
				more = []string{"--tls-cert", f.cert, "--tls-key", f.key}
			}
			p, admin := startAll(t, "all", more...)
			addr, url := strings.TrimPrefix(p.url, "http://"), p.url
			if secure {
				url = "https://" + addr
			}
			client := over(ca.pool())
			handshakes := func(n int) []time.Duration {
				var took []time.Duration
				for i := range n {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					start := time.Now()
					c, _, err := websocket.Dial(ctx, fmt.Sprintf("%s/v1/events/final/live?viewer=v%d", url, i), &websocket.DialOptions{HTTPClient: client})
					if err == nil {
						_, _, err = c.Read(ctx)
						took = append(took, time.Since(start))
						c.CloseNow()
					}
					cancel()
					if err != nil {
						t.Fatalf("honest handshake %d: %v", i, err)
					}
				}
				slices.Sort(took)
				return took
			}
			alone := handshakes(200)
			var from []string
			for i := range 8 {
				from = append(from, fmt.Sprintf("127.0.7.%d", i+1))
			}
			begins := slowRequests
			if secure {
				begins = slowHellos
			}
			const slow = 5000
			all := crawl(t, addr, begins, slow, from...)
			open := stillOpen(all)
			beside := handshakes(200)
			t.Logf("handshakes: p99 %v alone, %v beside %d slow sockets, of which %d are open in the end; %v gave way",
				p99(alone), p99(beside), open, stillOpen(all), scrape(t, admin)("grandstand_http_waiting_cut_total"))
			if p99(beside) > time.Second || open < 4000 { // 4,096 may wait; the others give way
				t.Error("p99 is not under 1 s, or the slow ones were gone by then")
			}
		})
	}
}

// slowHellos are slowRequests of TLS: a ClientHello of 512 bytes.
var slowHellos = [4]string{"", "\x16", "\x16\x03\x01\x02\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}

// stillOpen returns how many of the connections the server has not closed.
func stillOpen(all []net.Conn) (n int) {
	for _, c := range all {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			n++
		}
	}
	return n
}
