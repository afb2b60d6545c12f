package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand/gateway"
)

// endpoint is an address that the process serves.
type endpoint struct {
	name    string // in the log, and the label of metrics
	address string
	handler http.Handler
	bound   time.Duration                   // that an answer may take; 0: any
	tls     *tls.Config                     // nil: plain TCP
	limits  *gateway.Limits                 // that know whose connections are not limited; nil: this machine's
	conns   int                             // WebSockets that are taken, which the lobby leaves room for
	queue   func(net.Listener) net.Listener // puts newcomers behind those who are here; nil: they need not wait
	cut     prometheus.Counter              // connections that waited too long for the lobby; nil: nobody counts them
}

// writeBound is how long a player may take over an answer, so that readers that
// read nothing hold no memory. WebSockets and streams set bounds of their own.
const writeBound = time.Minute

// bodyBound is how long a player may take over a body, also over one that its
// handler does not read: net/http drains it to keep the connection.
const bodyBound = 10 * time.Second

// headerBound is how long a client may take over the TLS handshake, and again
// over the headers of a request. idleBound is how long a connection is kept for
// the next one; load balancers keep theirs for a minute.
const (
	headerBound = 5 * time.Second
	idleBound   = 2 * time.Minute
)

func boundBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyBound)) // the server ends it after the request
		}
		next.ServeHTTP(w, r)
	})
}

// serve listens at once, so that a taken address is an error of the start, and
// serves until the life ends.
func (l *life) serve(e endpoint) (net.Addr, error) {
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return nil, err
	}
	address := listener.Addr()
	if e.queue != nil {
		listener = e.queue(listener)
	}
	if e.tls != nil {
		listener = tls.NewListener(listener, e.tls)
	}
	server := &http.Server{
		Handler:           boundBodies(e.handler),
		ReadHeaderTimeout: headerBound, // of the TLS handshake, too
		WriteTimeout:      e.bound,
		IdleTimeout:       idleBound,
		MaxHeaderBytes:    16 << 10, // a token of 8 KiB and what browsers add
		ErrorLog:          log.New(complaints{l.log}, "", 0),
	}
	newLobby(lobbySize(e.conns), perNetwork, e.limits.Network, e.cut).guard(server)
	l.run(e.name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- server.Serve(listener) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		stopping, cancel := context.WithTimeout(context.Background(), stopBound/2)
		defer cancel()
		err := server.Shutdown(stopping)
		if errors.Is(err, context.DeadlineExceeded) {
			return server.Close() // streams that their readers keep open
		}
		return err
	})
	l.log.Info("listening", "for", e.name, "address", address.String(), "tls", e.tls != nil)
	return address, nil
}

// serverMetrics are what all servers of a process count.
type serverMetrics struct {
	cut     *prometheus.CounterVec // by endpoint
	reloads *prometheus.CounterVec // of certificates, by endpoint and result
	ends    *prometheus.GaugeVec   // days left of certificates, by endpoint
}

// newServerMetrics registers them, unless reg is nil.
func newServerMetrics(reg prometheus.Registerer) *serverMetrics {
	m := &serverMetrics{
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "grandstand", Subsystem: "http", Name: "waiting_cut_total",
			Help: "Connections that waited for a request and gave way to newer ones: there were too many, or too many of one network.",
		}, []string{"endpoint"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "grandstand", Subsystem: "tls", Name: "reloads_total",
			Help: "New certificate files by what came of them: changed, or refused, when the old ones stay in use.",
		}, []string{"endpoint", "result"}),
		ends: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "grandstand", Subsystem: "tls", Name: "certificate_days_left",
			Help: "Days until the certificate in use ends, by endpoint.",
		}, []string{"endpoint"}),
	}
	if reg != nil {
		reg.MustRegister(m.cut, m.reloads, m.ends)
	}
	return m
}

// peersEndpoint is --peer.
func (n *node) peersEndpoint(address string, handler http.Handler) endpoint {
	e := endpoint{name: "peers", address: address, handler: handler, cut: n.metrics.cut.WithLabelValues("peers")}
	if n.peers != nil {
		e.tls = n.peers.peerServer()
	}
	return e
}

// complaints is the log of an http.Server, which names the addresses of clients:
// they are left out. An error of the network names both ends once more.
type complaints struct{ log *slog.Logger }

var clientAddress = func() *regexp.Regexp {
	const one = `(?:\b\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+(?:%[^\]\s]*)?\]):\d+`
	return regexp.MustCompile(one + `(?:->` + one + `)?`)
}()

// Write implements io.Writer: one call for each line.
func (c complaints) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, bytes.TrimSpace(line)
	if bytes.HasPrefix(line, []byte("http: Accept error")) { // no file descriptors, as a rule; the address is ours
		c.log.Warn(string(text))
		return len(line), nil
	}
	if bytes.HasPrefix(line, []byte("http: panic")) {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, string(clientAddress.ReplaceAll(text, []byte("a client"))))
	return len(line), nil
}
