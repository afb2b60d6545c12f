package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// Config says how a Gateway works. What has no default is required.
type Config struct {
	// ID is the gateway's member id, unique among all gateways and restarts.
	// Default: random.
	ID string

	// Peer is the host:port of --peer, for other members. Default: none.
	Peer string

	// Secret keys the ids of viewers, devices, accounts and sessions. The same
	// on every gateway.
	Secret []byte

	Clock       Clock
	Sessions    Sessions
	Tallies     Tallies
	Registry    grandstand.Admitter
	Events      Events
	Members     Members
	Hub         Hub
	Auth        Auth
	Revocations *Revocations // that Auth knows; default: there are none
	Leases      Leases       // default: nobody's streams are limited
	History     History      // default: the series of the last day are empty
	Archive     Archive      // default: nothing is kept of events for good
	Cluster     Cluster      // default: operators are not told of the members

	// Journal takes every raw event. Its Committed is to call that of the
	// gateway. It is sealed when the gateway is closed: the last events are
	// written then. Default: nothing is kept, and nothing acknowledged.
	Journal Journal

	// Rules returns the rules by which accounts are limited as they are now,
	// which it is asked for often. Nil, and a nil result: only tokens limit.
	Rules func() *grandstand.Rules

	// Edge knows the addresses of clients, for rules about households. Nil:
	// they are those that connections come from, so behind a proxy that is not
	// named there all devices are one household.
	Edge *Edge

	// Limits bounds what one network address, and one account, may use. Nil:
	// nobody is limited but by MessageRate.
	Limits *Limits

	// Origins are the browser origins that may connect. Default: the gateway's
	// own host.
	Origins Origins

	// OpenEvents creates an unknown event at its first viewer, as long as there
	// are fewer than MaxEvents here (default 10,000).
	OpenEvents bool
	MaxEvents  int

	// MinCohort is the min_cohort of events that name none. Default 0: nothing
	// is folded.
	MinCohort int

	// MaxConns is how many WebSockets, streams included, are taken; the rest
	// is told 503. Default 50,000. An idle one takes about 2 KB of memory where
	// connections are polled (Linux, plain TCP), and 10 KB elsewhere.
	MaxConns int

	// MaxSessions is how many sessions are taken, those without a WebSocket
	// included; the rest is told 503. Default 4 x MaxConns.
	MaxSessions int

	// MessageRate and MessageBurst bound the messages of one connection, per
	// second. Default 10 and 60.
	MessageRate, MessageBurst float32

	// SlowLimit is for how long a client may take nothing before it is closed.
	// Default 10 s.
	SlowLimit time.Duration

	// DrainOver is the time over which Close sends the viewers elsewhere.
	// Default 20 s.
	DrainOver time.Duration

	// NoShed has overload be measured, and nothing be shed because of it, but
	// joins that find no turn for a second (overload.go).
	NoShed bool

	// RedisTimeout bounds every call to Redis. Default 1 s.
	RedisTimeout time.Duration

	// Now is the wall clock by which tokens end: that of Auth. Default time.Now.
	Now func() time.Time

	// Tracer takes the spans of what clients want followed. Default: nothing is.
	Tracer trace.Tracer

	Violated   grandstand.Violated   // told of broken invariants; default: nobody is
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen

	sense func() strain // takes the place of overload.measure in tests
}

func (c *Config) validate() error {
	for name, missing := range map[string]bool{
		"Secret": len(c.Secret) == 0, "Clock": c.Clock == nil, "Sessions": c.Sessions == nil, "Tallies": c.Tallies == nil,
		"Registry": c.Registry == nil, "Events": c.Events == nil, "Members": c.Members == nil, "Hub": c.Hub == nil, "Auth": c.Auth == nil,
	} {
		if missing {
			return fmt.Errorf("gateway: Config.%s is required", name)
		}
	}
	if c.MinCohort < 0 {
		return errors.New("gateway: Config.MinCohort is negative")
	}
	if c.ID == "" {
		c.ID = "g" + strconv.FormatUint(rand.Uint64(), 36)
	}
	defaultTo(&c.MaxEvents, 10_000)
	defaultTo(&c.MaxConns, 50_000)
	defaultTo(&c.MaxSessions, 4*c.MaxConns)
	defaultTo(&c.MessageRate, 10)
	defaultTo(&c.MessageBurst, 60)
	defaultTo(&c.SlowLimit, 10*time.Second)
	defaultTo(&c.DrainOver, 20*time.Second)
	defaultTo(&c.RedisTimeout, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Violated == nil {
		c.Violated = func(grandstand.Invariant, ...any) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func defaultTo[T int | float32 | time.Duration](at *T, value T) {
	if *at <= 0 {
		*at = value
	}
}

// Gateway serves the viewers of any number of events. Its methods may be called
// at the same time.
type Gateway struct {
	// static after New
	cfg     Config
	id      string
	log     *slog.Logger
	metrics *metrics
	clock   steadyClock // of what is kept of sessions; cfg.Clock: what others are told
	handler http.Handler
	catalog *catalog

	keepers backlog       // records to be kept or forgotten
	keeping chan struct{} // holds a token while a batch of them is under way
	movers  backlog       // sessions to be claimed
	refolds backlog       // sessions that were folded without the registry
	leaser  *leaser       // nil: nobody's streams are limited
	load    *overload
	acker   acker
	tracing tracing
	pool    pool
	poller  poller
	counts  countsCache
	finals  finals
	members memberList

	state    atomic.Int32 // a phase
	conns    atomic.Int64 // sockets and streams that are open or about to be
	sessions atomic.Int64 // in all rooms
	watching atomic.Int64 // of these, as of the last tick
	crowded  atomic.Bool  // there are so many gateways that ticks are spread
	alone    atomic.Bool  // there is no other gateway
	hungUp   atomic.Bool  // all sockets were told to close
	renewed  atomic.Int64 // ms of the last renewal of the lease; 0: none yet

	closing chan struct{} // closed when draining begins
	closed  chan struct{} // closed when Close is done with the sockets
	ended   chan struct{} // closed when Run has returned

	spawning sync.Mutex
	stopped  bool           // guarded by spawning: no goroutine may be started
	wg       sync.WaitGroup // every goroutine of a connection or in the background

	mu       sync.RWMutex
	rooms    map[string]*room // guarded by mu
	boot     string           // guarded by mu; of Redis's data
	troubles map[string]*trouble
}

// phase is where a Gateway is in its life.
type phase = int32

const (
	phaseNew phase = iota
	phaseRunning
	phaseDraining
	phaseClosed
)

// New returns a gateway. It starts nothing.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg: cfg, id: cfg.ID, log: cfg.Logger,
		metrics:  newMetrics(cfg.Registerer),
		keepers:  newBacklog(),
		keeping:  make(chan struct{}, 1),
		movers:   newBacklog(),
		refolds:  newBacklog(),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		ended:    make(chan struct{}),
		rooms:    map[string]*room{},
		troubles: map[string]*trouble{},
	}
	g.clock.start(cfg.Clock)
	g.metrics.maxConns.Set(float64(cfg.MaxConns))
	if cfg.Leases != nil {
		g.leaser = newLeaser(g)
	}
	g.load = newOverload(g)
	g.pool.g, g.pool.cond.L = g, &g.pool.mu
	g.poller.g = g
	g.tracing.tracer = cfg.Tracer
	g.acker.g, g.acker.wake = g, make(chan struct{}, 1)
	g.catalog = newCatalog(g)
	if cfg.Revocations != nil {
		cfg.Revocations.Follow(g.closeRevoked)
	}
	g.handler = g.onlyOrigins(cfg.Origins.CORS(cfg.Limits.Requests(g.routes())))
	return g, nil
}

// onlyOrigins refuses, and counts, pages of foreign origins.
func (g *Gateway) onlyOrigins(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkOrigin(r, g.cfg.Origins); err != nil {
			g.fail(w, "origin", err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Handler serves every route of the gateway (DESIGN.md, "HTTP").
func (g *Gateway) Handler() http.Handler { return g.handler }

// ID returns the gateway's member id.
func (g *Gateway) ID() string { return g.id }

// Ready reports whether the gateway may be sent viewers: it runs, is not shut
// down, and has had its lease renewed.
func (g *Gateway) Ready() bool {
	return g.state.Load() == phaseRunning && g.renewed.Load() != 0
}

// Overloaded reports whether the gateway takes nobody because it cannot carry more,
// so that they are better sent elsewhere. In a surge alone it goes on to take who
// watched on a gateway that is gone: all gateways may be in it.
func (g *Gateway) Overloaded() bool { return g.load.sheds(refuseJoins) && g.load.full.Load() }

func (g *Gateway) routes() http.Handler {
	m := mux.NewRouter()
	m.HandleFunc("/v1/events/{event}/live", g.live).Methods(http.MethodGet) // first: routes are tried one after the other
	m.HandleFunc("/v1/events/{event}/beats", g.postBeats).Methods(http.MethodPost)
	m.HandleFunc("/v1/revocations", g.putRevocation).Methods(http.MethodPut)
	m.HandleFunc("/v1/events", g.listEvents).Methods(http.MethodGet)
	m.HandleFunc("/v1/events/{event}", g.getEvent).Methods(http.MethodGet)
	m.HandleFunc("/v1/events/{event}", g.putEvent).Methods(http.MethodPut)
	m.HandleFunc("/v1/events/{event}", g.deleteEvent).Methods(http.MethodDelete)
	m.HandleFunc("/v1/events/{event}/counts", g.getCounts).Methods(http.MethodGet, http.MethodHead)
	m.HandleFunc("/v1/events/{event}/counts/stream", g.streamCounts).Methods(http.MethodGet)
	m.HandleFunc("/v1/events/{event}/history", g.getHistory).Methods(http.MethodGet)
	m.HandleFunc("/v1/events/{event}/timeline.{form:json|vtt}", g.getTimeline).Methods(http.MethodGet)
	m.HandleFunc("/v1/cluster", g.getCluster).Methods(http.MethodGet)
	m.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.fail(w, "none", grandstand.Errorf(grandstand.CodeNotFound, "there is nothing at this address"))
	})
	m.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.metrics.refused.WithLabelValues("none", "method").Inc()
		writeJSON(w, http.StatusMethodNotAllowed, map[string]string{
			"code": string(grandstand.CodeInvalid), "message": "this address does not take this method"})
	})
	return m
}

// Run holds the gateway's lease, counts and writes at every tick, and sends
// frames, until ctx ends or Close is done. If ctx ends first the sockets are
// closed without a drain. It runs once.
func (g *Gateway) Run(ctx context.Context) error {
	if !g.state.CompareAndSwap(phaseNew, phaseRunning) {
		return errors.New("gateway: Run was called before, or after Close")
	}
	defer close(g.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { g.hangUp(closeRestart) })
	defer stop()

	var loops sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		loops.Go(func() { g.pool.run(ctx) })
	}
	loops.Go(func() { g.keepRecords(ctx) })
	for range claimers {
		loops.Go(func() { g.moveSessions(ctx) })
	}
	loops.Go(func() { g.keepMember(ctx) })
	loops.Go(func() { g.tick(ctx) })
	loops.Go(func() { g.load.run(ctx) })
	if g.cfg.Journal != nil {
		loops.Go(func() { g.acker.run(ctx) })
	}
	if g.leaser != nil {
		loops.Go(func() { g.leaser.run(ctx) })
		loops.Go(func() { g.leaser.followNotices(ctx) })
	}

	select {
	case <-ctx.Done():
	case <-g.closed:
		cancel()
	}
	g.state.Store(phaseClosed)
	loops.Wait()
	g.hangUp(closeRestart)
	for _, r := range g.allRooms() {
		g.drop(r)
	}
	g.spawning.Lock()
	g.stopped = true
	g.spawning.Unlock()
	g.wg.Wait() // bounded: every close and every call has a deadline
	g.poller.stop()
	return nil
}

// spawn runs f in a goroutine that Run waits for. It reports false if Run does
// so already.
func (g *Gateway) spawn(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.wg.Done()
		f()
	}()
	return true
}

// enter has Run wait for wg.Done. It reports false if Run waits already.
func (g *Gateway) enter() bool {
	g.spawning.Lock()
	defer g.spawning.Unlock()
	if g.stopped {
		return false
	}
	g.wg.Add(1)
	return true
}

// deadline bounds a call to Redis.
func (g *Gateway) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, g.cfg.RedisTimeout)
}

// allRooms returns the rooms as they are now.
func (g *Gateway) allRooms() []*room {
	g.mu.RLock()
	defer g.mu.RUnlock()
	all := make([]*room, 0, len(g.rooms))
	for _, r := range g.rooms {
		all = append(all, r)
	}
	return all
}

// roomOf returns the event's room, nil if there is none.
func (g *Gateway) roomOf(event string) *room {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.rooms[event]
}

// room returns the event's room, a new one if need be.
func (g *Gateway) room(e *grandstand.Event) *room {
	if r := g.roomOf(e.Name); r != nil && !r.outgrown(e) {
		return r
	}
	g.mu.Lock()
	r := g.rooms[e.Name]
	if r != nil && r.outgrown(e) {
		delete(g.rooms, e.Name)
		defer r.retire()
		r = nil
	}
	if r == nil {
		r = newRoom(g, e, g.clock.Now())
		g.rooms[e.Name] = r
	}
	g.mu.Unlock()
	return r
}

// drop takes a room away that nobody can join any more.
func (g *Gateway) drop(r *room) {
	g.mu.Lock()
	if g.rooms[r.name] == r {
		delete(g.rooms, r.name)
	}
	g.mu.Unlock()
	r.retire()
}

func (g *Gateway) bootOf() string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.boot
}

// hangUp closes all sockets, and those that are just being opened.
func (g *Gateway) hangUp(code closeCode) {
	g.hungUp.Store(true)
	for _, r := range g.allRooms() {
		for _, c := range r.sockets() {
			c.w.close(code)
		}
	}
}

// trouble is what went wrong lately under one name.
type trouble struct {
	logged time.Time
	since  int // occurrences that were not logged
}

// trouble logs what went wrong, once a second at most for each what.
func (g *Gateway) trouble(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	g.mu.Lock()
	t := g.troubles[what]
	if t == nil {
		t = &trouble{}
		g.troubles[what] = t
	}
	if time.Since(t.logged) < time.Second {
		t.since++
		g.mu.Unlock()
		return
	}
	more := t.since
	t.logged, t.since = time.Now(), 0
	g.mu.Unlock()
	g.log.Warn(what, "error", err, "more", more)
}
