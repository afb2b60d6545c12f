package fanout

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

const (
	defaultFanout = 16

	lookEvery  = 100 * time.Millisecond // between two looks at how the feeds are
	tryWithin  = 4 * time.Second        // for a relay to tell of all that is watched
	moveSpread = 2 * time.Second        // over which children move when the relays change
	lossSpread = 100 * time.Millisecond // over which those of a lost relay try another
	redisAfter = 250 * time.Millisecond // without a parent, and up to twice of it: mostly another relay is there before
	redisHold  = 2 * time.Second        // for which Redis is read at least, and up to twice of it
	goodAfter  = 30 * time.Second       // of service, after which a relay's failures are forgotten

	backoffMin = time.Second      // of a relay that failed
	backoffMax = 10 * time.Second // of one that goes on failing

	// overdueTicks is for how many ticks a board may not come until Redis is
	// asked, and up to overdueJitter more.
	overdueTicks, overdueJitter = 1.5, 0.25
)

// The words that --upstream may be, besides the URL of a relay.
const (
	UpstreamAuto  = "auto"
	UpstreamRedis = "redis"
)

// Feed reads the boards of all events from Redis. See redis.Client.Follow for
// the contract.
type Feed interface {
	Follow(ctx context.Context, apply func(*grandstand.ShardBoard)) error
}

// UpstreamConfig says how an Upstream works.
type UpstreamConfig struct {
	Hub    *Hub   // that boards are for. Required
	Clock  Clock  // required
	Redis  Feed   // required
	Secret []byte // the cluster's

	// From is where boards come from: UpstreamAuto (the default), UpstreamRedis,
	// or ws://host:port or wss://host:port of a gateway's --peer, which alone is
	// read then.
	From string

	Self   string // id of this gateway as a member
	Fanout int    // of the tree. Default 16
	Relay  *Relay // of this node; nil: it serves nobody

	// Dial connects to relays. Default: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

func (c *UpstreamConfig) validate() error {
	if c.Hub == nil || c.Clock == nil || c.Redis == nil {
		panic("fanout: UpstreamConfig.Hub, Clock and Redis are required")
	}
	if c.From == "" {
		c.From = UpstreamAuto
	}
	if c.Fanout <= 0 {
		c.Fanout = defaultFanout
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.From == UpstreamAuto || c.From == UpstreamRedis {
		return nil
	}
	u, err := url.Parse(c.From)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return grandstand.Errorf(grandstand.CodeInvalid, "an upstream is auto, redis, or ws://host:port of a gateway's peer address")
	}
	return nil
}

// Upstream feeds a hub: from Redis, or from a relay as the node's place in the
// tree says. While its relay is lost, silent, or behind, Redis is read, and the
// next best relay is tried. One goroutine decides, that of Run: it looks at how
// things are, every lookEvery and whenever something happens, and does the next
// thing. Learn may be called at any time.
type Upstream struct {
	cfg      UpstreamConfig  // static after NewUpstream
	client   *http.Client    // static after NewUpstream
	token    string          // static after NewUpstream: the Authorization
	silence  time.Duration   // static after NewUpstream: jitter on linkSilence
	patience float64         // static after NewUpstream: ticks
	metrics  upstreamMetrics // static after NewUpstream
	wake     chan struct{}   // holds one if there is something to look at

	hopMS  atomic.Uint64                         // that the last boards took
	status atomic.Pointer[grandstand.TreeStatus] // as of the last look

	mu   sync.Mutex
	tree grandstand.TreePlace // guarded by mu; zero before the members are known

	// Owned by Run.
	parent      *link // that feeds the hub
	parentSince time.Time
	behindSince time.Time // zero: the parent is not
	trial       *link     // that may become the parent
	trialSince  time.Time
	target      string    // the relay to be tried next
	tryAt       time.Time // and when
	failed      map[string]failures
	redisAt     time.Time          // from when on Redis is read if there is no parent
	stopRedis   context.CancelFunc // nil: Redis is not read
	redisUntil  time.Time
	running     sync.WaitGroup
}

// failures are what is known of a relay that failed.
type failures struct {
	count int
	until time.Time // it is not tried before
}

// NewUpstream returns an Upstream that is run by Run. Its error has CodeInvalid.
func NewUpstream(cfg UpstreamConfig) (*Upstream, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	u := &Upstream{
		cfg: cfg, token: "Bearer " + grandstand.PeerToken(cfg.Secret),
		client:  &http.Client{Transport: &http.Transport{DialContext: cfg.Dial, DisableKeepAlives: true}},
		silence: rand.N(feedBeat), patience: overdueTicks + rand.Float64()*overdueJitter,
		metrics: newUpstreamMetrics(cfg.Registerer), wake: make(chan struct{}, 1), failed: map[string]failures{},
	}
	u.metrics.parent.WithLabelValues(u.rest()).Set(1)
	return u, nil
}

// Outside reports whether the relay was chosen by hand: the node is no part of
// the tree (grandstand.Member.Outside).
func (u *Upstream) Outside() bool { return u.cfg.From != UpstreamAuto && u.cfg.From != UpstreamRedis }

// Learn takes the members of the cluster, each time they were read.
func (u *Upstream) Learn(members []grandstand.Member) {
	place := grandstand.TreePlaceOf(members, u.cfg.Self, u.cfg.Fanout)
	u.mu.Lock()
	u.tree = place
	u.mu.Unlock()
	u.poke()
}

func (u *Upstream) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// place returns whether this node serves the children of the tree, and the
// relays that it may read from, the best first.
func (u *Upstream) place() (relay bool, parents []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.Outside():
		return false, []string{u.cfg.From}
	case u.cfg.From == UpstreamRedis:
		return u.tree.Relay, nil
	}
	return u.tree.Relay, u.tree.Parents
}

// Run feeds the hub until ctx ends, and returns nil.
func (u *Upstream) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer u.running.Wait()
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		u.step(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		case <-u.wake:
		}
	}
}

// step looks at how things are and does what there is to do.
func (u *Upstream) step(ctx context.Context, now time.Time) {
	relay, parents := u.place()
	u.judgeParent(now)
	u.judgeTrial(now)
	u.choose(ctx, now, parents)
	u.readRedis(ctx, now)
	u.cfg.Hub.partial.Store(u.stopRedis == nil)
	if u.cfg.Relay != nil {
		u.cfg.Relay.place(relay, u.depth())
	}
	u.metrics.depth.Set(float64(u.depth()))
	u.note(relay)
}

// note keeps for Describe how things are.
func (u *Upstream) note(relay bool) {
	s := &grandstand.TreeStatus{Relay: relay, Depth: uint64(u.depth())}
	if u.parent != nil {
		s.Parent, s.HopMS = u.parent.address, u.hopMS.Load()
	}
	u.status.Store(s)
}

// Describe adds where boards come from to s. It may be called at any time.
func (u *Upstream) Describe(s *grandstand.Status) { s.Tree = u.status.Load() }

// depth is the number of gateways between Redis and this one.
func (u *Upstream) depth() int {
	if u.parent == nil {
		return 0
	}
	return int(u.parent.depth.Load()) + 1
}

// judgeParent lets go of a parent that is of no use.
func (u *Upstream) judgeParent(now time.Time) {
	if u.parent == nil {
		return
	}
	behind := u.stopRedis != nil && u.parent.behind()
	if !behind {
		u.behindSince = time.Time{}
	} else if u.behindSince.IsZero() {
		u.behindSince = now
	}
	switch {
	case u.parent.ended():
		u.lose(now, switchLost)
	case u.parent.silent(now, u.silence):
		u.lose(now, switchSilent)
	case behind && now.Sub(u.behindSince) >= behindMS*time.Millisecond:
		u.lose(now, switchBehind)
	}
}

// lose gives up the parent. Another relay is tried, and Redis read soon.
func (u *Upstream) lose(now time.Time, why string) {
	p := u.parent
	if now.Sub(u.parentSince) >= goodAfter {
		delete(u.failed, p.address)
	}
	u.drop(why)
	u.fail(now, p.address)
	u.redisAt = now.Add(redisAfter + rand.N(redisAfter))
}

// rest is where boards come from without a parent.
func (u *Upstream) rest() string {
	if u.Outside() {
		return "none"
	}
	return "redis"
}

// drop ends the parent.
func (u *Upstream) drop(why string) {
	u.parent.cancel()
	u.switched(why, u.parent.address, u.rest())
	u.parent = nil
}

// fail has a relay not tried for a while: a time that doubles, jittered over its
// upper half, so that the next best one has its turn.
func (u *Upstream) fail(now time.Time, address string) {
	f := u.failed[address]
	wait := min(backoffMin<<min(f.count, 10), backoffMax)
	u.failed[address] = failures{f.count + 1, now.Add(wait/2 + rand.N(wait/2))}
	u.target = ""
}

// judgeTrial makes a trial the parent when it is ready, and gives it up when it
// takes too long.
func (u *Upstream) judgeTrial(now time.Time) {
	t := u.trial
	switch {
	case t == nil:
	case t.ended() || now.Sub(u.trialSince) > tryWithin || t.silent(now, u.silence):
		u.giveUp(now)
	case t.ready():
		u.trial = nil
		if u.parent == nil {
			u.switched(switchJoined, u.rest(), t.address)
		} else {
			u.parent.cancel()
			u.switched(switchMoved, u.parent.address, t.address)
		}
		u.parent, u.parentSince, u.behindSince = t, now, time.Time{}
	}
}

// giveUp ends the trial, and says so once in a row.
func (u *Upstream) giveUp(now time.Time) {
	t := u.trial
	t.cancel()
	u.trial = nil
	u.metrics.failures.Inc()
	level := slog.LevelDebug
	if u.failed[t.address].count == 0 {
		level = slog.LevelWarn
	}
	u.cfg.Logger.Log(context.Background(), level, "relay is of no use, it is tried again later", "relay", t.address, "error", t.reason())
	u.fail(now, t.address)
}

// choose begins to try a relay if there is a better one than the parent.
func (u *Upstream) choose(ctx context.Context, now time.Time, parents []string) {
	maps.DeleteFunc(u.failed, func(a string, f failures) bool { return now.After(f.until) && !slices.Contains(parents, a) })
	if len(parents) == 0 { // this is a relay, or there is none
		if u.trial != nil {
			u.trial.cancel()
			u.trial = nil
		}
		if u.parent != nil {
			u.drop(switchRoot)
		}
		u.redisAt = now
		return
	}
	best := ""
	for _, p := range parents {
		if u.parent != nil && p == u.parent.address {
			break // whoever comes now is worse
		}
		if now.After(u.failed[p].until) {
			best = p
			break
		}
	}
	if best == "" || u.trial != nil {
		return
	}
	if u.target != best {
		u.target = best
		spread := lossSpread
		if u.parent != nil {
			spread = moveSpread
		}
		u.tryAt = now.Add(rand.N(spread))
	}
	if now.Before(u.tryAt) {
		return
	}
	u.target = ""
	u.trial, u.trialSince = u.open(ctx, best), now
}

// open connects to a relay.
func (u *Upstream) open(ctx context.Context, address string) *link {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{
		address: address, url: "ws://" + address + FeedPath, hub: u.cfg.Hub, up: u, cancel: cancel, done: make(chan struct{}),
		events: map[uint64]*linkEvent{}, ids: map[string]uint64{},
	}
	l.depth.Store(-1)
	if u.Outside() {
		l.url = strings.TrimRight(address, "/") + FeedPath + "?" + feedPinned
	}
	u.running.Go(func() {
		defer cancel()
		l.run(ctx)
	})
	return l
}

// readRedis reads Redis while there is no parent, or boards do not come that
// should.
func (u *Upstream) readRedis(ctx context.Context, now time.Time) {
	if u.Outside() {
		return
	}
	if u.parent == nil && !now.Before(u.redisAt) || u.parent != nil && u.cfg.Hub.overdue(u.patience) {
		u.redisUntil = now.Add(redisHold + rand.N(redisHold))
		if u.stopRedis == nil {
			redis, stop := context.WithCancel(ctx)
			u.stopRedis = stop
			u.running.Go(func() {
				if err := u.cfg.Redis.Follow(redis, u.cfg.Hub.Apply); err != nil {
					u.cfg.Logger.Error("follow boards", "error", err)
				}
			})
		}
		return
	}
	if u.parent != nil && u.stopRedis != nil && now.After(u.redisUntil) {
		u.stopRedis()
		u.stopRedis = nil
	}
}

// switched notes that boards come from elsewhere now.
func (u *Upstream) switched(why, from, to string) {
	u.metrics.switches.WithLabelValues(why).Inc()
	u.metrics.parent.Reset()
	u.metrics.parent.WithLabelValues(to).Set(1)
	u.cfg.Logger.Info("boards come from elsewhere", "why", why, "from", from, "to", to)
}
