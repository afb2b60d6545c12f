package fanout

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// FeedPath is where a relay serves its feed on --peer.
const FeedPath = "/v1/feed"

const (
	feedProtocol = "grandstand.feed.v1" // subprotocol
	feedPinned   = "pinned"             // query parameter of a child whose relay was chosen by hand

	feedBeat     = 500 * time.Millisecond // after which a relay says that it is there
	watchBeat    = 5 * time.Second        // after which a child does
	childSilence = 4 * watchBeat          // after which a relay takes a child for dead
	feedWrite    = 10 * time.Second       // for one message
	feedLimit    = 32 << 20               // bytes of one message that are read
	feedBatch    = 64 << 10               // bytes of boards after which a message is sent

	// maxDepth bounds chains of relays chosen by hand. Only a ring is as deep.
	maxDepth = 8
)

// RelayConfig says how a Relay works.
type RelayConfig struct {
	Hub    *Hub   // whose boards are served. Required
	Clock  Clock  // required
	Secret []byte // the cluster's: children show grandstand.PeerToken of it

	// Fanout bounds the children: grandstand.MaxChildren. Default 16.
	Fanout int

	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

// Relay serves the boards of a hub to other gateways: a WebSocket that carries
// grandstand.FeedWatch up and grandstand.FeedBoards down. It encodes what became
// of a board once for all children that were sent the same board before. A child
// that is slow skips boards: it never holds up the hub or another child. All
// methods may be called at the same time.
type Relay struct {
	cfg     RelayConfig  // static after NewRelay
	want    []byte       // static after NewRelay: the Authorization of a member
	metrics relayMetrics // static after NewRelay

	depth atomic.Int32 // of this node

	mu       sync.Mutex
	open     bool                // guarded by mu: gateways of the tree are taken
	closed   bool                // guarded by mu
	children map[*child]struct{} // guarded by mu
	sources  map[string]*source  // guarded by mu
	wg       sync.WaitGroup      // of children; grows under mu while not closed
}

// NewRelay returns a relay that takes children with a pinned upstream only,
// until an Upstream opens it. It panics without a Hub or a Clock.
func NewRelay(cfg RelayConfig) *Relay {
	if cfg.Hub == nil || cfg.Clock == nil {
		panic("fanout: RelayConfig.Hub and Clock are required")
	}
	if cfg.Fanout <= 0 {
		cfg.Fanout = defaultFanout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{cfg: cfg, want: []byte("Bearer " + grandstand.PeerToken(cfg.Secret)), children: map[*child]struct{}{}, sources: map[string]*source{}}
	r.metrics = newRelayMetrics(cfg.Registerer)
	return r
}

// ServeHTTP takes a child until it goes or is sent away. Errors are JSON as
// everywhere: 401 unauthorized, 409 conflict (this is no relay), 503
// unavailable (full, or closing).
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if subtle.ConstantTimeCompare([]byte(req.Header.Get("Authorization")), r.want) != 1 {
		refuse(w, http.StatusUnauthorized, grandstand.CodeUnauthorized, "show the token of a member")
		return
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	c := &child{relay: r, cancel: cancel, pinned: req.URL.Query().Has(feedPinned), wake: make(chan struct{}, 1), events: map[uint64]*childEvent{}}
	if why := r.admit(c); why != "" {
		r.metrics.refusals.WithLabelValues(string(why)).Inc()
		if why == notRelay || why == tooDeep {
			refuse(w, http.StatusConflict, grandstand.CodeConflict, refusals[why])
		} else {
			refuse(w, http.StatusServiceUnavailable, grandstand.CodeUnavailable, refusals[why])
		}
		return
	}
	defer r.leave(c)
	conn, err := websocket.Accept(w, req, &websocket.AcceptOptions{Subprotocols: []string{feedProtocol}})
	if err != nil {
		return // it has been answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(feedLimit)
	if conn.Subprotocol() != feedProtocol {
		conn.Close(websocket.StatusPolicyViolation, "only "+feedProtocol+" is spoken here")
		return
	}
	c.conn = conn
	c.run(ctx)
}

// refusal is why a child was not taken: label of the metric.
type refusal string

const (
	refusedFull refusal = "full"
	notRelay    refusal = "not_relay"
	tooDeep     refusal = "too_deep"
	closing     refusal = "closing"
)

var refusals = map[refusal]string{
	refusedFull: "there are as many children as this relay takes",
	notRelay:    "this gateway is no relay",
	tooDeep:     "this gateway is too far from Redis: do relays chosen by hand form a ring?",
	closing:     "this gateway is stopping",
}

func (r *Relay) admit(c *child) refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return closing
	case !c.pinned && !r.open:
		return notRelay
	case r.depth.Load() >= maxDepth:
		return tooDeep
	case len(r.children) >= grandstand.MaxChildren(r.cfg.Fanout):
		return refusedFull
	}
	r.children[c] = struct{}{}
	r.wg.Add(1)
	r.metrics.children.Inc()
	return ""
}

func (r *Relay) leave(c *child) {
	r.mu.Lock()
	delete(r.children, c)
	r.mu.Unlock()
	r.metrics.children.Dec()
	r.wg.Done()
}

// place tells the relay where its node stands. Who is no relay any more sends
// the children of the tree away: they must not read from a gateway that may
// itself come to read from one of them.
func (r *Relay) place(open bool, depth int) {
	r.depth.Store(int32(depth))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open && !open {
		for c := range r.children {
			if !c.pinned {
				c.cancel()
			}
		}
	}
	r.open = open
}

// Close refuses new children, sends those that are there away, and waits until
// they are gone, or ctx ends.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for c := range r.children {
		c.cancel()
	}
	r.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func refuse(w http.ResponseWriter, status int, code grandstand.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"code": string(code), "message": message})
}
