package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"grandstand/gateway"
)

// fromAddress is a connection that comes from an address.
type fromAddress struct {
	net.Conn
	addr   netip.Addr
	closed bool
}

func (c *fromAddress) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.addr, 1))
}
func (c *fromAddress) Close() error { c.closed = true; return nil }

func newTestLobby(most, perNetwork int) *lobby {
	return newLobby(most, perNetwork, (*gateway.Limits)(nil).Network, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}))
}

// Whoever comes and goes, there are never too many, who gives way has waited
// longest of all or of its network, and nothing is left behind.
func TestLobbyKeepsItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most, perNetwork = 8, 3
		l := newTestLobby(most, perNetwork)
		var inside []*fromAddress // as a model: who waits longest first
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(inside) > 0 && rapid.Bool().Draw(t, "leaves") {
				i := rapid.IntRange(0, len(inside)-1).Draw(t, "who")
				l.leave(inside[i])
				l.leave(inside[i])
				inside = slices.Delete(inside, i, i+1)
				continue
			}
			network := rapid.IntRange(0, 5).Draw(t, "network")
			c := &fromAddress{addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(network)})}
			if network == 0 {
				c.addr = netip.MustParseAddr("127.0.0.1") // not limited but by all
			}
			l.enter(c)
			l.enter(c)
			inside = append(inside, c)
			out, same := -1, 0
			for _, o := range inside {
				if o.addr == c.addr {
					same++
				}
			}
			if network != 0 && same > perNetwork {
				out = slices.IndexFunc(inside, func(o *fromAddress) bool { return o.addr == c.addr })
			} else if len(inside) > most {
				out = 0
			}
			if out >= 0 {
				if !inside[out].closed {
					t.Fatalf("the one that waited longest was not cut")
				}
				inside = slices.Delete(inside, out, out+1)
			}
			for _, o := range inside {
				if o.closed {
					t.Fatalf("another one was cut")
				}
			}
			if l.all.Len() != len(inside) || len(l.guests) != len(inside) {
				t.Fatalf("%d wait, want %d", l.all.Len(), len(inside))
			}
		}
		for _, c := range inside {
			l.leave(c)
		}
		if l.all.Len()+len(l.guests)+len(l.networks) != 0 {
			t.Fatalf("%d, %d, %d are left behind", l.all.Len(), len(l.guests), len(l.networks))
		}
	})
}

// A connection waits until its headers are there, not while it is answered, and
// again until the next request.
func TestConnectionsWaitForRequests(t *testing.T) {
	l := newTestLobby(100, 100)
	waiting := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.all.Len()
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, waiting())
		if r.URL.Path == "/hijack" {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	})}
	l.guard(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	dial := func(text string) net.Conn {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, text)
		return c
	}
	become := func(n int) {
		t.Helper()
		eventually(t, 5*time.Second, fmt.Sprint(n, " wait"), func() error {
			if got := waiting(); got != n {
				return fmt.Errorf("%d wait", got)
			}
			return nil
		})
	}
	dial("")
	half := dial("GET / HTTP/1.1\r\nHost: x\r\n")
	become(2)
	io.WriteString(half, "\r\n")
	b := make([]byte, 1000)
	n, err := half.Read(b)
	if err != nil || b[n-1] != '1' {
		t.Errorf("in the handler %s wait (%v), want the other one", b[:n], err)
	}
	become(2) // kept alive
	half.Close()
	become(1)
	dial("GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	dial("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	become(2) // the first, and the last one that is kept alive
}

// slowRequests is what slow clients begin with: nothing, and ever more of what is
// expected. The last two go on, a byte at a time.
var slowRequests = [4]string{"", "G", "GET /v1/eve", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "}

// crawl opens n connections to addr from some loopback addresses in turn, of which
// half send a byte now and then. They are closed at the end of the test.
func crawl(t *testing.T, addr string, begins [4]string, n int, from ...string) []net.Conn {
	t.Helper()
	var all []net.Conn
	for i := range n {
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from[i%len(from)])}}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		all = append(all, c)
		io.WriteString(c, begins[i%4])
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for i, c := range all {
				if i%4 >= 2 {
					io.WriteString(c, "x") // also on those that were cut: then an error
				}
			}
		}
	}()
	return all
}

// honest asks again and again from a connection of its own each time, and returns
// how long each took.
func honest(t *testing.T, url string, times int) []time.Duration {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var took []time.Duration
	for range times {
		start := time.Now()
		resp, err := client.Get(url)
		if err != nil {
			t.Fatalf("an honest request: %v", err)
		}
		resp.Body.Close()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took
}

func p99(sorted []time.Duration) time.Duration { return sorted[(len(sorted)*99+99)/100-1] }

// Clients that send their requests a byte at a time are in nobody's way, and are
// cut when their time is over.
func TestSlowClientsAreInNobodysWay(t *testing.T) {
	t.Parallel()
	l := newLife(slog.New(slog.DiscardHandler))
	addr, err := l.serve(endpoint{name: "test", address: "127.0.0.1:0", handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
	start := time.Now()
	slow := crawl(t, addr.String(), slowRequests, 200, "127.0.0.1")
	took := honest(t, "http://"+addr.String()+"/", 100)
	if slowest := p99(took); slowest > time.Second {
		t.Errorf("p99 of honest requests is %v, want less than 1 s", slowest)
	}
	for i, c := range slow {
		_ = c.SetReadDeadline(start.Add(headerBound + 10*time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
			t.Fatalf("slow connection %d is still open after %v", i, time.Since(start))
		}
	}
	t.Logf("p99 of honest requests %v; slow connections were cut within %v", p99(took), time.Since(start))
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// More than the lobby takes: the slow ones give way at once.
func TestACrowdOfSlowClientsGivesWay(t *testing.T) {
	cut := prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})
	l := newLobby(50, 1000, (*gateway.Limits)(nil).Network, cut)
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	l.guard(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	crawl(t, listener.Addr().String(), slowRequests, 300, "127.0.0.1")
	honest(t, "http://"+listener.Addr().String(), 50)
	if n := testutil.ToFloat64(cut); n < 250 {
		t.Errorf("%v connections gave way, want 250 or more", n)
	}
}
