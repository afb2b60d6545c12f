package gateway

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// LimitsConfig says how much of a node one network address, and one account, may
// use. The zero value is the documented defaults.
type LimitsConfig struct {
	// Edge knows the addresses of clients. Nil: they are those that connections
	// come from.
	Edge *Edge

	// AddressConns is how many sockets and streams one address may have open.
	// Thousands of viewers share one behind a carrier's NAT or on a campus.
	// Default 2,000.
	AddressConns int

	// AddressRate is how many messages a second one address may send, with
	// bursts of ten seconds' worth. A request, such as a handshake, counts as
	// ten messages. Default 2,000.
	AddressRate int

	// AccountConns and AccountRate are the same for one account. Default 100
	// each.
	AccountConns, AccountRate int

	// AdminToken marks the requests of backends, which act for many and are not
	// limited. Default: none.
	AdminToken string

	// Most is how many addresses, and how many accounts, are remembered, at some
	// 150 bytes each. It is to be at least twice the MaxConns of the gateway:
	// those with an open connection are never forgotten. Default 131,072.
	Most int

	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

const (
	requestCost  = 10 // messages that a request counts as
	burstSeconds = 10
)

// Limits bounds what one network address and one account may use of a node:
// requests, messages, and open connections. An IPv4 address is one party, and so
// is an IPv6 network of 64 bits, which is the least that a customer is given
// (RFC 6177). This machine's own addresses, trusted proxies, and backends with
// the admin token are not limited. It takes bounded memory, whatever addresses
// are made up. Its methods may be called at the same time; a nil Limits limits
// nobody.
type Limits struct {
	edge      *Edge
	token     string
	start     time.Time
	addresses parties[netip.Addr]
	accounts  parties[grandstand.Key]
	refused   *prometheus.CounterVec
}

// NewLimits returns Limits under which nobody has used anything yet.
func NewLimits(cfg LimitsConfig) *Limits {
	defaultTo(&cfg.AddressConns, 2_000)
	defaultTo(&cfg.AddressRate, 2_000)
	defaultTo(&cfg.AccountConns, 100)
	defaultTo(&cfg.AccountRate, 100)
	defaultTo(&cfg.Most, 1<<17)
	l := &Limits{
		edge: cfg.Edge, token: cfg.AdminToken, start: time.Now(),
		addresses: newParties[netip.Addr](cfg.AddressRate, cfg.AddressConns, cfg.Most),
		accounts:  newParties[grandstand.Key](cfg.AccountRate, cfg.AccountConns, cfg.Most),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "grandstand", Subsystem: "limits", Name: "refused_total",
			Help: "What was refused because one party used too much, by party (address, account) and what: request, connection, message.",
		}, []string{"party", "what"}),
	}
	remembered := func(of string, count func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "grandstand", Subsystem: "limits", Name: "remembered", ConstLabels: prometheus.Labels{"party": of},
			Help: "Parties whose use is remembered; bounded.",
		}, func() float64 { return float64(count()) })
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(l.refused, remembered("address", l.addresses.count), remembered("account", l.accounts.count))
	}
	return l
}

// Network returns the party that an address belongs to; it is not valid if that
// is not limited, or a is not valid.
func (l *Limits) Network(a netip.Addr) netip.Addr {
	if l != nil && l.edge.trusts(a) || a.IsLoopback() {
		return netip.Addr{}
	}
	if a.Is6() {
		const customer = 64
		p, _ := a.Prefix(customer) // no error: an IPv6 address has more bits
		return p.Addr()
	}
	return a
}

// networkOf returns the party that a request comes from.
func (l *Limits) networkOf(r *http.Request) netip.Addr {
	if l == nil || carriesToken(r, l.token) {
		return netip.Addr{}
	}
	return l.Network(l.edge.Client(r))
}

// Requests lets through to next what the address it comes from may still ask
// for, and answers 429 to the rest.
func (l *Limits) Requests(next http.Handler) http.Handler {
	if l == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if network := l.networkOf(r); network.IsValid() && !l.addresses.spend(network, requestCost, l.now()) {
			l.refused.WithLabelValues("address", "request").Inc()
			retryLater(w.Header())
			w.Header().Set("Cache-Control", "no-store")
			writeJSON(w, http.StatusTooManyRequests, map[string]string{
				"code":    string(grandstand.CodeRateLimited),
				"message": "too many requests come from your network address: wait as long as Retry-After says",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// retryLater says when to come again: jittered, so that those who were refused
// together do not come together.
func retryLater(h http.Header) { h.Set("Retry-After", strconv.Itoa(1+rand.IntN(5))) }

func (l *Limits) now() int64 { return time.Since(l.start).Milliseconds() }

// share is what a connection counts against. The zero value is nobody's.
type share struct{ address, account *party }

// open counts a connection of the network and the account, where they are
// limited, until close. Its errors have CodeRateLimited.
func (l *Limits) open(network netip.Addr, account grandstand.Key) (share, error) {
	var s share
	if l == nil {
		return s, nil
	}
	if network.IsValid() {
		if s.address = l.addresses.open(network, 0, l.now()); s.address == nil {
			l.refused.WithLabelValues("address", "connection").Inc()
			return share{}, grandstand.Errorf(grandstand.CodeRateLimited, "your network address has as many connections as one may have: close one, or come again later")
		}
	}
	if !account.IsZero() {
		if s.account = l.accounts.open(account, requestCost, l.now()); s.account == nil {
			l.close(share{address: s.address})
			l.refused.WithLabelValues("account", "connection").Inc()
			return share{}, grandstand.Errorf(grandstand.CodeRateLimited, "your account opens more connections than one may: close one, or come again later")
		}
	}
	return s, nil
}

func (l *Limits) close(s share) {
	if s.address != nil {
		l.addresses.close(s.address)
	}
	if s.account != nil {
		l.accounts.close(s.account)
	}
}

// Stream counts a stream that answers r against the address it comes from, until
// end. Its errors have CodeRateLimited.
func (l *Limits) Stream(r *http.Request) (end func(), err error) {
	s, err := l.open(l.networkOf(r), grandstand.Key{})
	return func() { l.close(s) }, err
}

// message reports whether a message of a connection is within what its address
// and its account may send.
func (l *Limits) message(s share) bool {
	if s == (share{}) {
		return true
	}
	now := l.now()
	if s.address != nil && !l.addresses.spendOf(s.address, now) {
		l.refused.WithLabelValues("address", "message").Inc()
		return false
	}
	if s.account != nil && !l.accounts.spendOf(s.account, now) {
		l.refused.WithLabelValues("account", "message").Inc()
		return false
	}
	return true
}

// beat is message for a session without a connection, of a client at address.
func (l *Limits) beat(address netip.Addr, s *session) bool {
	if l == nil {
		return true
	}
	if network := l.Network(address); network.IsValid() && !l.addresses.spend(network, 1, l.now()) {
		l.refused.WithLabelValues("address", "message").Inc()
		return false
	}
	if s.lease != nil && !l.accounts.spend(s.lease.account, 1, l.now()) {
		l.refused.WithLabelValues("account", "message").Inc()
		return false
	}
	return true
}
