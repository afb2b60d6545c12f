package blocker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// Config says how a Blocker works. What has no default is required.
type Config struct {
	// Member is the id under which leases are asked for and notices come,
	// unique among all members and restarts. Default: random.
	Member string

	// Secret keys the ids of accounts and devices. The same on every node.
	Secret []byte

	Clock    Clock
	Leases   Leases
	Accounts Accounts
	Notices  Notices
	Events   Events
	Auth     Auth

	// Rules returns the rules as they are now. It may be called at the same
	// time. Default: the zero Rules.
	Rules func() *grandstand.Rules

	// ClientAddr returns the address of the player that sent the request, an
	// invalid one if it is not known. Default: it is never known, so there are
	// no households.
	ClientAddr func(r *http.Request) netip.Addr

	// Keep is given the raw event of every decision that changes something and is
	// about an event, to be archived. It keeps nothing that the event points to,
	// must not block, and may be called at the same time. Default: none is kept.
	Keep func(*grandstand.RawEvent)

	// MaxStreams is how many streams of device lists are served, and
	// MaxAccountStreams how many of one account. Default 10,000 and 32. One
	// takes about 12 KB besides its connection (BenchmarkStreams).
	MaxStreams, MaxAccountStreams int

	// OpenStream is asked before a stream is served, and its end called when it
	// is over. Its errors have a code, and refuse the stream. Default: none is
	// refused.
	OpenStream func(r *http.Request) (end func(), err error)

	// RequestRate and RequestBurst bound the requests for one account, per
	// second. Default 20 and 100.
	RequestRate, RequestBurst float32

	// MaxAccounts is how many accounts' rates are remembered, about 160 bytes
	// each (BenchmarkRates); one more, and the one not heard of for longest is
	// forgotten. Default 65,536.
	MaxAccounts int

	// SlowLimit is for how long the reader of a stream may take nothing before
	// it is cut. Default 10 s.
	SlowLimit time.Duration

	// RedisTimeout bounds every call to the ports; after it the rules say what
	// holds (Rules.OnOutage). Default 250 ms.
	RedisTimeout time.Duration

	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

func (c *Config) validate() error {
	for name, missing := range map[string]bool{
		"Secret": len(c.Secret) == 0, "Clock": c.Clock == nil, "Leases": c.Leases == nil, "Accounts": c.Accounts == nil,
		"Notices": c.Notices == nil, "Events": c.Events == nil, "Auth": c.Auth == nil,
	} {
		if missing {
			return fmt.Errorf("blocker: Config.%s is required", name)
		}
	}
	if c.Member == "" {
		c.Member = "b" + strings.ToLower(rand.Text())
	}
	if c.Rules == nil {
		c.Rules = func() *grandstand.Rules { return &grandstand.Rules{} }
	}
	if c.ClientAddr == nil {
		c.ClientAddr = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	if c.OpenStream == nil {
		c.OpenStream = func(*http.Request) (func(), error) { return func() {}, nil }
	}
	defaultTo(&c.MaxStreams, 10_000)
	defaultTo(&c.MaxAccountStreams, 32)
	defaultTo(&c.RequestRate, 20)
	defaultTo(&c.RequestBurst, 100)
	defaultTo(&c.MaxAccounts, 1<<16)
	defaultTo(&c.SlowLimit, 10*time.Second)
	defaultTo(&c.RedisTimeout, 250*time.Millisecond)
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

// Blocker serves the accounts' routes. Its methods may be called at the same
// time.
type Blocker struct {
	// static after New
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	keys    grandstand.AccountsKey
	handler http.Handler
	rates   *rates
	events  *eventRules

	state   atomic.Int32  // a phase
	closing chan struct{} // closed when Close begins
	ended   chan struct{} // closed when Run has returned

	mu       sync.Mutex
	watching watching
	troubles map[string]*trouble // guarded by mu
}

// phase is where a Blocker is in its life.
type phase = int32

const (
	phaseNew phase = iota
	phaseRunning
	phaseClosed
)

// New returns a blocker. It starts nothing.
func New(cfg Config) (*Blocker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	b := &Blocker{
		cfg: cfg, log: cfg.Logger,
		metrics:  newMetrics(cfg.Registerer),
		keys:     grandstand.NewAccountsKey(cfg.Secret),
		rates:    newRates(cfg.RequestRate, cfg.RequestBurst, cfg.MaxAccounts),
		closing:  make(chan struct{}),
		ended:    make(chan struct{}),
		watching: watching{of: map[grandstand.Key]*watch{}},
		troubles: map[string]*trouble{},
	}
	b.events = &eventRules{b: b, of: map[string]*ownRules{}}
	b.handler = b.routes()
	return b, nil
}

// Handler serves every route under /v1/accounts/ (DESIGN.md, "HTTP"). It knows
// nothing of browsers' origins: whoever joins the roles wraps it.
func (b *Blocker) Handler() http.Handler { return b.handler }

func (b *Blocker) routes() http.Handler {
	// Ids may hold anything, slashes and dots too.
	m := mux.NewRouter().UseEncodedPath().SkipClean(true)
	const devices = "/v1/accounts/{account}/devices"
	m.HandleFunc("/v1/accounts/{account}/decisions", b.answer("decisions", b.getDecisions)).Methods(http.MethodGet)
	m.HandleFunc(devices, b.answer("devices", b.getDevices)).Methods(http.MethodGet)
	m.HandleFunc(devices+"/stream", b.streamDevices).Methods(http.MethodGet)
	m.HandleFunc(devices+"/{device}", b.answer("device", b.getDevice)).Methods(http.MethodGet)
	m.HandleFunc(devices+"/{device}", b.answer("sign_out", b.signOut)).Methods(http.MethodDelete)
	m.HandleFunc(devices+"/{device}/heartbeat", b.answer("heartbeat", b.heartbeat)).Methods(http.MethodPost)
	m.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.write(w, "none", b.failed("none", grandstand.Errorf(grandstand.CodeNotFound, "there is nothing at this address")))
	})
	m.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b.write(w, "none", reply{status: http.StatusMethodNotAllowed,
			body: problem{grandstand.CodeInvalid, "this address does not take this method"}})
	})
	return m
}

// Describe adds what the blocker decided to s. It may be called at any time.
func (b *Blocker) Describe(s *grandstand.Status) { b.metrics.rules.Describe(s) }

// Ready reports whether the blocker follows notices and is not shut down.
func (b *Blocker) Ready() bool { return b.state.Load() == phaseRunning }

// Run follows notices until ctx ends or Close is called; then the streams end.
// It waits for them. It runs once.
func (b *Blocker) Run(ctx context.Context) error {
	if !b.state.CompareAndSwap(phaseNew, phaseRunning) {
		return errors.New("blocker: Run was called before, or after Close")
	}
	defer close(b.ended)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.mu.Lock()
	b.watching.ctx = ctx
	b.mu.Unlock()

	var loops sync.WaitGroup
	loops.Go(func() { b.follow(ctx) })
	select {
	case <-ctx.Done():
	case <-b.closing:
		cancel()
	}
	b.state.Store(phaseClosed)
	loops.Wait()
	b.mu.Lock()
	b.watching.ctx = nil // no more of them from here on
	b.mu.Unlock()
	b.watching.wg.Wait() // bounded by SlowLimit and RedisTimeout
	return nil
}

// follow takes notices until ctx ends.
func (b *Blocker) follow(ctx context.Context) {
	for {
		err := b.cfg.Notices.FollowNotices(ctx, b.cfg.Member, b.tell)
		if ctx.Err() != nil {
			return
		}
		b.trouble("follow notices", err)
		if !pause(ctx, time.Second) {
			return
		}
		b.tell(grandstand.Key{}) // those of meanwhile may be lost
	}
}

// Close ends the streams, and takes no new ones; heartbeats are answered as
// long as the server lives. It waits until Run has returned, or until ctx ends.
// It may be called more than once.
func (b *Blocker) Close(ctx context.Context) error {
	if b.state.CompareAndSwap(phaseNew, phaseClosed) {
		close(b.ended) // there will be no Run
		return nil
	}
	if b.state.CompareAndSwap(phaseRunning, phaseClosed) {
		close(b.closing)
	}
	select {
	case <-b.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deadline bounds a call to a port.
func (b *Blocker) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.cfg.RedisTimeout)
}

// trouble is what went wrong lately under one name.
type trouble struct {
	logged time.Time
	since  int // occurrences that were not logged
}

// trouble logs what went wrong, once a second at most for each what.
func (b *Blocker) trouble(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	b.mu.Lock()
	t := b.troubles[what]
	if t == nil {
		t = &trouble{}
		b.troubles[what] = t
	}
	if time.Since(t.logged) < time.Second {
		t.since++
		b.mu.Unlock()
		return
	}
	more := t.since
	t.logged, t.since = time.Now(), 0
	b.mu.Unlock()
	b.log.Warn(what, "error", err, "more", more)
}
