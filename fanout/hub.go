package fanout

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// Clock tells Redis time.
type Clock interface {
	// Now returns Redis ms and never blocks.
	Now() int64
}

// Config says how a Hub works.
type Config struct {
	// Clock orders boards against now. Required.
	Clock Clock

	// Check is how often boards are checked for their age. Default 500 ms.
	Check time.Duration

	// Forget is for how long an event that no feed lists and nobody subscribes
	// to is remembered. Default one hour.
	Forget time.Duration

	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

func (c *Config) validate() {
	if c.Clock == nil {
		panic("fanout: Config.Clock is required")
	}
	if c.Check <= 0 {
		c.Check = 500 * time.Millisecond
	}
	if c.Forget <= 0 {
		c.Forget = time.Hour
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Hub keeps the newest board of every event and hands out a view of each. All
// its methods may be called at the same time.
type Hub struct {
	cfg     Config  // static after New
	metrics metrics // static after New

	epoch   atomic.Int64  // the highest seen
	frames  atomic.Uint64 // encoded, by the views
	partial atomic.Bool   // the feed is a relay, which tells of watched events only
	watches watches
	shards  [grandstand.Shards]shard
}

// New returns a hub that knows no board. It starts nothing: staleness is
// noticed by Run. It panics without a Clock.
func New(cfg Config) *Hub {
	cfg.validate()
	h := &Hub{cfg: cfg, watches: watches{events: map[string]struct{}{}}}
	for i := range h.shards {
		h.shards[i].events = map[string]*event{}
	}
	h.metrics = newMetrics(cfg.Registerer, h)
	return h
}

// shard holds the events of one board shard.
type shard struct {
	// deliver is held over an update and the notify calls that follow from it,
	// so that these come in order. It is taken before mu.
	deliver sync.Mutex
	batch   []delivery // guarded by deliver; reused

	mu        sync.RWMutex // held for moments, never over a notify
	epoch, at int64        // of the newest ShardBoard
	round     uint64       // counts the ShardBoards
	events    map[string]*event
}

// delivery is one notify call to be made.
type delivery struct {
	sub  *subscription
	view *grandstand.View
}

// Apply takes all boards of one shard. Boards that are not newer than what the
// hub has are refused, each for itself. It returns when all subscribers have
// been notified. Boards are kept: nobody may change them afterwards.
//
// An event that the hub knows and that sb leaves out has nobody watching, if
// the board before said so too: it is now zero at sb.At. Otherwise its last
// board is kept, and becomes stale: numbers never silently drop to zero.
func (h *Hub) Apply(sb *grandstand.ShardBoard) {
	if sb.Shard < 0 || sb.Shard >= grandstand.Shards {
		h.metrics.refused(refusedShard, len(sb.Boards))
		return
	}
	h.raiseEpoch(sb.Epoch)
	s := &h.shards[sb.Shard]
	s.deliver.Lock()
	defer s.deliver.Unlock()
	now := h.cfg.Clock.Now()

	s.mu.Lock()
	s.round++
	for _, b := range sb.Boards {
		h.applyLocked(s, sb, b, now)
	}
	if grandstand.NewerThan(sb.Epoch, sb.At, s.epoch, s.at) {
		s.epoch, s.at = sb.Epoch, sb.At
		h.idleLocked(s, sb, now)
	}
	s.mu.Unlock()
	h.deliver(s)
}

func (h *Hub) raiseEpoch(epoch int64) {
	for e := h.epoch.Load(); epoch > e && !h.epoch.CompareAndSwap(e, epoch); e = h.epoch.Load() {
	}
}

// eventLocked returns an event, a new one if need be.
func (s *shard) eventLocked(name string) *event {
	e := s.events[name]
	if e == nil {
		e = &event{}
		s.events[name] = e
	}
	return e
}

func (h *Hub) applyLocked(s *shard, sb *grandstand.ShardBoard, b *grandstand.Board, now int64) {
	if grandstand.ShardOf(b.Event) != sb.Shard {
		h.metrics.refused(refusedShard, 1)
		return
	}
	if b.Epoch != sb.Epoch {
		// The epoch is a property of the publication, not of the payload.
		c := *b
		c.Epoch, b = sb.Epoch, &c
	}
	e := s.eventLocked(b.Event)
	e.listedAt, e.round = now, s.round
	e.answerLocked()
	if e.good != nil && !grandstand.NewerThan(b.Epoch, b.At, e.good.Epoch, e.good.At) {
		reason := refusedOld
		if b.Epoch == e.good.Epoch && b.At == e.good.At {
			reason = refusedSame
		}
		h.metrics.refused(reason, 1)
		return
	}
	if err := b.CheckSums(); err != nil {
		h.metrics.refused(refusedSums, 1)
		h.cfg.Logger.Error("refuse board", "event", b.Event, "at", b.At, "error", err)
		return
	}
	h.metrics.applied.Inc()
	h.metrics.age.Observe(float64(max(now-b.At, 0)) / 1000)
	h.showLocked(s, e, b, now)
}

// idleLocked goes on with the events that sb leaves out because nobody watches
// them.
func (h *Hub) idleLocked(s *shard, sb *grandstand.ShardBoard, now int64) {
	for _, e := range s.events {
		if e.round == s.round || e.good == nil || !empty(e.good) || e.good.Quality == grandstand.Final {
			continue
		}
		if !grandstand.NewerThan(sb.Epoch, sb.At, e.good.Epoch, e.good.At) {
			continue
		}
		b := *e.good
		b.Epoch, b.At, b.Quality, b.Coverage = sb.Epoch, sb.At, grandstand.Live, 1
		h.showLocked(s, e, &b, now)
	}
}

// empty reports whether a board counts nobody.
func empty(b *grandstand.Board) bool {
	w := b.Find(grandstand.WorldSegment)
	return w == nil || w.Sessions == 0
}

// showLocked makes b the event's newest board and queues its views.
func (h *Hub) showLocked(s *shard, e *event, b *grandstand.Board, now int64) {
	e.good, e.arrived, e.seen, e.staleAt = b, now, min(b.At, now), 0
	e.setLocked(b, &h.frames)
	if e.late(now) {
		e.markStaleLocked(now, &h.frames)
	}
	s.queueLocked(e)
}

// queueLocked adds the event's views to the batch. The caller holds deliver
// too.
func (s *shard) queueLocked(e *event) {
	for _, g := range e.groups {
		for _, sub := range g.subs {
			s.batch = append(s.batch, delivery{sub, g.view})
		}
	}
}

// deliver makes the queued notify calls. The caller holds s.deliver, not s.mu.
func (h *Hub) deliver(s *shard) {
	if len(s.batch) == 0 {
		return
	}
	h.metrics.views.Add(float64(len(s.batch)))
	for _, d := range s.batch {
		if !d.sub.cancelled.Load() {
			d.sub.notify(d.view)
		}
	}
	clear(s.batch) // views must not live on in the unused part
	s.batch = s.batch[:0]
	if cap(s.batch) > 1<<16 {
		s.batch = nil
	}
}

// Subscribe returns the newest view of an event, nil if there is none yet, and
// calls notify with each later one, exactly once and in order: no update falls
// between the two. Views are of e's dimensions.
//
// Calls of notify for one subscription never overlap. The first may come before
// Subscribe has returned (with a view newer than the one it returns): a caller
// that stores both holds its own lock over Subscribe. A view that is stale
// comes again each tick, the same pointer, so that its growing age can be
// shown. notify must not block and must not call Apply; Subscribe, Latest and
// cancel are allowed.
//
// cancel ends the subscription. It may be called more than once and from
// anywhere, and does not wait: a call of notify that has begun, or is just
// about to, may end after it.
func (h *Hub) Subscribe(e *grandstand.Event, notify func(*grandstand.View)) (newest *grandstand.View, cancel func()) {
	s := &h.shards[grandstand.ShardOf(e.Name)]
	sub := &subscription{notify: notify}
	s.mu.Lock()
	defer s.mu.Unlock()
	ev := s.eventLocked(e.Name)
	h.watchLocked(ev, e.Name)
	if now := h.cfg.Clock.Now(); ev.late(now) && ev.staleAt == 0 {
		// Others learn of it at the next check.
		ev.shown = ev.good.AsStale()
		ev.resetViewsLocked(&h.frames)
	}
	g := ev.groupLocked(e.Dims, &h.frames)
	sub.group = g
	sub.index = len(g.subs)
	g.subs = append(g.subs, sub)
	return g.view, func() { h.cancel(s, ev, sub) }
}

func (h *Hub) cancel(s *shard, e *event, sub *subscription) {
	if sub.cancelled.Swap(true) {
		return
	}
	now := h.cfg.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := sub.group
	last := len(g.subs) - 1
	g.subs[last].index = sub.index
	g.subs[sub.index] = g.subs[last]
	g.subs[last] = nil
	g.subs = g.subs[:last]
	if last == 0 {
		e.groups = slices.DeleteFunc(e.groups, func(o *group) bool { return o == g })
		e.listedAt = max(e.listedAt, now)
		e.wanted = max(e.wanted, now+wantedMS)
	}
}

// Latest returns the newest board of an event, marked stale if it is; nil if
// there is none. It must not be changed.
//
// On a node that is fed by a relay it waits for up to a second if nobody has
// watched the event here for a minute: the relay has to be asked first. A notify
// function calls it for its own event only.
func (h *Hub) Latest(event string) *grandstand.Board {
	if h.partial.Load() {
		h.want(event)
	}
	s := &h.shards[grandstand.ShardOf(event)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.events[event]
	if e == nil || e.good == nil {
		return nil
	}
	if e.shown.Quality != grandstand.Stale && e.late(h.cfg.Clock.Now()) {
		return e.good.AsStale() // between two checks
	}
	return e.shown
}

// Epoch returns the highest epoch of any board that the hub was given, 0
// before the first.
func (h *Hub) Epoch() int64 { return h.epoch.Load() }

// Encodes returns how many frames the hub's views have encoded: one per
// audience and board, however many sessions are shown it.
func (h *Hub) Encodes() uint64 { return h.frames.Load() }

// Run marks boards stale as they age, and forgets events that are gone. It
// returns nil when ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	tick := time.NewTicker(h.cfg.Check)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.check(h.cfg.Clock.Now())
		}
	}
}

// check goes once over all events.
func (h *Hub) check(now int64) {
	var events, stale, subs int
	partial := h.partial.Load()
	for i := range h.shards {
		s := &h.shards[i]
		s.deliver.Lock()
		s.mu.Lock()
		for name, e := range s.events {
			h.unwatchLocked(e, name, now)
			if !e.watched && len(e.groups) == 0 && now-e.listedAt > h.cfg.Forget.Milliseconds() {
				delete(s.events, name)
				continue
			}
			events++
			for _, g := range e.groups {
				subs += len(g.subs)
			}
			if !e.late(now) || partial && !e.watched {
				continue
			}
			stale++
			if e.staleAt == 0 || now-e.staleAt >= e.good.TickMS {
				e.markStaleLocked(now, &h.frames)
				s.queueLocked(e)
			}
		}
		s.mu.Unlock()
		h.deliver(s)
		s.deliver.Unlock()
	}
	h.metrics.events.Set(float64(events))
	h.metrics.stale.Set(float64(stale))
	h.metrics.subscriptions.Set(float64(subs))
}
