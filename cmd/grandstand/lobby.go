package main

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// lobby holds the connections that wait for a request: those that are new, and
// those that are kept alive after one. They are what strangers get for nothing, so
// there is a bound on all of them, and on those of one network. Beyond it the one
// that has waited longest gives way to the newcomer: whoever asks honestly has
// left within a round trip, and whoever is slow on purpose is cut first. Its
// methods may be called at the same time.
type lobby struct {
	// static
	most, perNetwork int
	network          func(netip.Addr) netip.Addr // the party that an address is of; not valid: not limited
	cut              prometheus.Counter          // nil: nobody counts

	mu       sync.Mutex
	guests   map[net.Conn]*guest       // guarded by mu
	all      list.List                 // of *guest, who waits longest first; guarded by mu
	networks map[netip.Addr]*list.List // of *guest, the same by network; guarded by mu
}

type guest struct {
	conn             net.Conn
	network          netip.Addr
	inAll, inNetwork *list.Element // inNetwork is nil if that is not limited
}

// perNetwork is how many connections of one network may wait: the viewers behind
// one address who all come within one round trip.
const perNetwork = 1024

func newLobby(most, perNetwork int, network func(netip.Addr) netip.Addr, cut prometheus.Counter) *lobby {
	return &lobby{
		most: most, perNetwork: perNetwork, network: network, cut: cut,
		guests: map[net.Conn]*guest{}, networks: map[netip.Addr]*list.List{},
	}
}

// lobbySize is how many connections may wait in a process that takes conns
// WebSockets: what its file descriptors leave, within bounds that its memory
// bears, at some 10 KB each and 20 KB with TLS.
func lobbySize(conns int) int {
	const least, most, others = 4096, 16_384, 1000 // others: files, Redis, peers
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return least
	}
	return int(max(least, min(most, int64(limit.Cur)-int64(conns)-others)))
}

// enter has a connection wait. It cuts the connection that gives way to it.
func (l *lobby) enter(c net.Conn) {
	g := &guest{conn: c, network: l.network(remoteOf(c))}
	l.mu.Lock()
	if l.guests[c] != nil {
		l.mu.Unlock()
		return
	}
	l.guests[c] = g
	g.inAll = l.all.PushBack(g)
	var full *list.List
	if l.all.Len() > l.most {
		full = &l.all
	}
	if g.network.IsValid() {
		same := l.networks[g.network]
		if same == nil {
			same = list.New()
			l.networks[g.network] = same
		}
		g.inNetwork = same.PushBack(g)
		if same.Len() > l.perNetwork {
			full = same
		}
	}
	var out *guest
	if full != nil {
		out = full.Front().Value.(*guest)
		l.removeLocked(out)
	}
	l.mu.Unlock()
	if out != nil {
		if l.cut != nil {
			l.cut.Inc()
		}
		hangUp(out.conn)
	}
}

// leave takes a connection out: it has asked, or is closed.
func (l *lobby) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.guests[c]; g != nil {
		l.removeLocked(g)
	}
}

func (l *lobby) removeLocked(g *guest) {
	delete(l.guests, g.conn)
	l.all.Remove(g.inAll)
	if g.inNetwork == nil {
		return
	}
	same := l.networks[g.network]
	if same.Remove(g.inNetwork); same.Len() == 0 {
		delete(l.networks, g.network)
	}
}

// hangUp closes a connection without a farewell, which it might not take.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

func remoteOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

type connKey struct{}

// guard has the connections of a server wait in the lobby: until a request has
// come with all its headers, and after it was answered.
func (l *lobby) guard(s *http.Server) {
	s.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew, http.StateIdle:
			l.enter(c)
		case http.StateHijacked, http.StateClosed:
			l.leave(c)
		}
	}
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.leave(r.Context().Value(connKey{}).(net.Conn))
		next.ServeHTTP(w, r)
	})
}
