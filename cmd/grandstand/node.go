package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
	"grandstand/aggregator"
	"grandstand/archiver"
	"grandstand/fanout"
	"grandstand/gateway"
	"grandstand/redis"
)

// node is what all roles of one process share. Roles are added to it in the
// data's way backwards: what others rely on first.
type node struct {
	*life
	cfg      *common
	registry *prometheus.Registry
	violated grandstand.Violated
	tracer   trace.Tracer // nil: nothing is traced
	rules    liveRules
	secret   []byte
	metrics  *serverMetrics
	peers    *credentials // nil: members trust the secret alone
	redis    *redis.Client
	archive  *archiver.Store
	checks   []func() error                  // of /readyz
	queue    func(net.Listener) net.Listener // of players; nil: there are none here
	reporting
}

// openBound is how long the start waits for Redis and the archive.
const openBound = 20 * time.Second

func newNode(ctx context.Context, cfg *common, f *file) (_ *node, err error) {
	collectLess()
	log := cfg.logger()
	log.Info("starting", f.shown...)
	registry := newRegistry()
	n := &node{life: newLife(log), cfg: cfg, registry: registry, metrics: newServerMetrics(registry)}
	n.violated = newViolations(registry, log).violated
	n.addRules(f)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	if n.secret, err = cfg.secret(log); err != nil {
		return n, err
	}
	ctx, cancel := context.WithTimeout(ctx, openBound)
	defer cancel()
	if err := n.openTracing(ctx); err != nil {
		return n, err
	}
	if err := n.openRedis(ctx); err != nil {
		return n, err
	}
	if n.archive, err = archiver.OpenStore(ctx, cfg.Archive); err != nil {
		return n, fmt.Errorf("open archive: %w", err)
	}
	if cfg.Admin != "" {
		return n, n.serveAdmin(cfg.Admin)
	}
	return n, nil
}

func (n *node) serveAdmin(address string) error {
	_, err := n.serve(endpoint{name: "admin", address: address, handler: adminHandler(n.registry, n.health()), cut: n.metrics.cut.WithLabelValues("admin")})
	return err
}

// collectLess has the garbage collector run half as often, unless GOGC says how
// often: heaps are small here (2 KB a viewer), and a join, whose request is
// garbage at once, costs a tenth less.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

func (n *node) openRedis(ctx context.Context) error {
	address := n.cfg.Redis
	if address == "" {
		embedded, err := redis.StartEmbedded(redis.EmbeddedConfig{})
		if err != nil {
			return fmt.Errorf("start embedded redis: %w", err)
		}
		n.onStop("embedded redis", 0, func(context.Context) error { embedded.Close(); return nil })
		address = embedded.Address()
		n.log.Warn("EMBEDDED REDIS: one process only, everything in it is gone at exit; use --redis for more")
	}
	client, err := redis.Open(ctx, redis.Config{Address: address, Logger: n.log, Registerer: n.registry})
	if err != nil {
		return fmt.Errorf("open redis: %w", err)
	}
	n.redis = client
	n.onStop("redis client", 0, func(context.Context) error { client.Close(); return nil })
	n.run("redis clock", client.Run)
	return nil
}

func (n *node) health() health {
	return health{ready: func() error {
		if !n.whole.Load() { // before that, checks are being added
			return errors.New("starting")
		}
		for _, check := range n.checks {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	}}
}

// addAggregator runs the role that merges tallies.
func (n *node) addAggregator(minCohort int) {
	a := aggregator.New(aggregator.Config{
		ID: randomText(8), Clock: n.redis, MinCohort: minCohort,
		Leases: n.redis, Members: n.redis, Tallies: n.redis, Boards: n.redis, Series: n.redis, Events: n.redis,
		Archive: n.archive, Violated: n.violated, Logger: n.log.With("role", "aggregator"), Registerer: n.registry,
	})
	n.run("aggregator", a.Run)
}

// addHub runs the last level of the fan-out, and what feeds it:
//
//	Redis ──▶ Upstream ──▶ Hub ──▶ this gateway's viewers
//	relay ──▶              └─▶ Relay ──▶ other gateways, on --peer
func (n *node) addHub(s *serving, w *gatewayJournal, id string) (*fanout.Hub, *fanout.Upstream, error) {
	log := n.log.With("role", "fanout")
	hub := fanout.New(fanout.Config{Clock: n.redis, Logger: log, Registerer: n.registry})
	cfg := fanout.UpstreamConfig{
		Hub: hub, Clock: n.redis, Redis: n.redis, Secret: n.secret,
		From: s.Upstream, Self: id, Fanout: s.Fanout, Logger: log, Registerer: n.registry,
	}
	if n.peers != nil {
		cfg.Dial = n.peers.dial
		cfg.From = strings.Replace(cfg.From, "wss://", "ws://", 1) // dial makes it TLS
	}
	if w.peers != nil {
		cfg.Relay = fanout.NewRelay(fanout.RelayConfig{
			Hub: hub, Clock: n.redis, Secret: n.secret, Fanout: s.Fanout, Logger: log, Registerer: n.registry,
		})
	}
	upstream, err := fanout.NewUpstream(cfg)
	if err != nil {
		return nil, nil, wrongUsef("--upstream: %w", err)
	}
	n.run("hub", hub.Run)
	n.run("feed", upstream.Run)
	n.reports(upstream.Describe)
	if cfg.Relay != nil {
		w.peers.Handle(fanout.FeedPath, cfg.Relay)
		n.onStop("relay's children", 0, cfg.Relay.Close)
	}
	return hub, upstream, nil
}

// members is the gateway's lease as it is told to others, with what this process
// says of itself, and what it learns of them: the feed's place in the tree.
type members struct {
	*redis.Client
	upstream *fanout.Upstream
	reports  *reporting
}

func (m members) Renew(ctx context.Context, self grandstand.Member) (grandstand.Membership, error) {
	self.Outside, self.Status = m.upstream.Outside(), m.reports.status()
	ms, err := m.Client.Renew(ctx, self)
	if err == nil {
		m.upstream.Learn(ms.Members)
	}
	return ms, err
}

// addGateway runs the role that serves players, and its journal, and returns its
// handler.
func (n *node) addGateway(d *door, s *serving, w *gatewayJournal, events []*grandstand.Event) (http.Handler, error) {
	minCohort, id := s.minCohort(d.open), randomText(8)
	if err := w.open(n, id); err != nil {
		return nil, err
	}
	hub, upstream, err := n.addHub(s, w, id)
	if err != nil {
		return nil, err
	}
	g, err := gateway.New(gateway.Config{
		ID: id, Peer: w.peer, Journal: w.forGateway(), Secret: n.secret, Clock: n.redis,
		Sessions: n.redis, Tallies: n.redis, Registry: n.redis, Events: n.redis, Members: members{n.redis, upstream, &n.reporting},
		Hub: hub, History: n.redis, Archive: n.archive, Cluster: n.redis,
		Leases: n.redis, Rules: n.rules.now.Load, Edge: d.edge, Limits: d.limits,
		Auth: d.auth, Revocations: d.revoked, Origins: d.origins, OpenEvents: s.openEvents(d.open), MinCohort: minCohort, MaxConns: s.MaxConns, NoShed: s.NoShed, DrainOver: s.DrainOver,
		Tracer: n.tracer, Violated: n.violated, Logger: n.log.With("role", "gateway"), Registerer: n.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	w.gateway.Store(g)
	n.reports(g.Describe)
	n.run("gateway", g.Run)
	n.onStop("gateway's viewers", s.DrainOver, g.Close)
	n.checks = append(n.checks, func() error {
		if !g.Ready() {
			return errors.New("the gateway is starting, draining, or has lost Redis")
		}
		if g.Overloaded() {
			return errors.New("the gateway is overloaded: send newcomers elsewhere")
		}
		return nil
	})
	n.queue = g.LastInLine
	return g.Handler(), n.putEvents(events, minCohort)
}

// putEvents configures the events of the YAML file. They are as old as time:
// whatever was put since holds, and so does an event that has been live.
func (n *node) putEvents(events []*grandstand.Event, minCohort int) error {
	for _, e := range events {
		if e.MinCohort == nil {
			e.MinCohort = &minCohort
		}
		e.UpdatedAt = 1 // ms: not "now", which 0 would mean
		ctx, cancel := context.WithTimeout(context.Background(), openBound)
		err := n.redis.PutEvent(ctx, e)
		cancel()
		if err != nil {
			return fmt.Errorf("configure event %s: %w", e.Name, err)
		}
	}
	return nil
}

// openEvents is on by default where anybody may be anybody.
func (s *serving) openEvents(open bool) bool {
	if s.OpenEvents != nil {
		return *s.OpenEvents
	}
	return open
}

// minCohort is the deployment's default: where anybody may be anybody,
// everything is shown.
func (s *serving) minCohort(open bool) int {
	if s.MinCohort != nil {
		return max(*s.MinCohort, 0)
	}
	if open {
		return 0
	}
	return 10
}

// handlers are what the public address serves, each of its role; nil: the role
// is not here.
type handlers struct {
	limits   *gateway.Limits // nil: nobody is limited
	conns    int             // WebSockets that players may have
	players  http.Handler
	accounts *accounts
	pages    http.Handler
}

// listen serves the public address: players' and accounts' routes under /v1/,
// pages and health besides.
func (n *node) listen(p *public, h handlers) (string, error) {
	mux := http.NewServeMux()
	n.health().register(mux)
	if h.players != nil {
		mux.Handle("/v1/", h.players)
	}
	if h.accounts != nil {
		mux.Handle("/v1/accounts/", h.accounts)
	}
	if h.pages != nil {
		mux.Handle("/", h.limits.Requests(h.pages))
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]string{"code": string(grandstand.CodeNotFound), "message": "there is nothing at this address"})
		})
	}
	tls, err := n.playersTLS(p)
	if err != nil {
		return "", err
	}
	addr, err := n.serve(endpoint{
		name: "players", address: p.Listen, handler: mux, bound: writeBound, tls: tls,
		limits: h.limits, conns: h.conns, queue: n.queue, cut: n.metrics.cut.WithLabelValues("players"),
	})
	if err != nil {
		return "", fmt.Errorf("--listen: %w", err)
	}
	if h.accounts != nil { // before the listener, which would wait for streams
		n.onStop("blocker's streams", 0, h.accounts.close)
	}
	return addr.String(), nil
}

// randomText returns n random bytes in hexadecimal.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand docs, Go 1.24)
	return hex.EncodeToString(b)
}
