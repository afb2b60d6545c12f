package aggregator

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// Config says what an Aggregator works on.
type Config struct {
	// ID is the member's id, new at every start. Required.
	ID string

	// Peer is the host:port that other members reach this one at. May be empty.
	Peer string

	Clock   Clock   // required
	Leases  Leases  // required
	Members Members // required
	Tallies Tallies // required
	Boards  Boards  // required
	Series  Series  // required
	Events  Events  // required
	Archive Archive // nil: nothing is check-pointed

	// MinCohort is the min_cohort of events that do not say. Default 0:
	// nothing is folded.
	MinCohort int

	// TickMS is the tick at which manifests are read when no event has a
	// shorter one, a multiple of 1,000. Default grandstand.DefaultTickMS.
	TickMS int64

	// Offset is how long after each phase the aggregator looks: the gateways
	// write meanwhile. Below Phase. Default 250 ms.
	Offset time.Duration

	// Patience bounds how long a tick waits for a gateway that has not written,
	// but had in time for the tick before. If it still has not then, and sessions
	// are missing which it may have taken over, the tick is left out; the one after
	// is not. Default 300 ms; negative: not at all.
	Patience time.Duration

	// Timeout bounds every call to Redis. Default 500 ms.
	Timeout time.Duration

	// ArchiveTimeout bounds every call to the archive. Default 15 s.
	ArchiveTimeout time.Duration

	Violated   grandstand.Violated   // told of broken invariants; default: nobody is
	Logger     *slog.Logger          // default: discard
	Registerer prometheus.Registerer // default: metrics are kept, but nowhere to be seen
}

func (c *Config) validate() {
	if c.ID == "" || c.Clock == nil || c.Leases == nil || c.Members == nil || c.Tallies == nil ||
		c.Boards == nil || c.Series == nil || c.Events == nil {
		panic("aggregator: Config lacks something that is required")
	}
	c.TickMS = cmp.Or(c.TickMS, grandstand.DefaultTickMS)
	c.Offset = cmp.Or(c.Offset, 250*time.Millisecond)
	c.Patience = cmp.Or(c.Patience, 300*time.Millisecond)
	c.Timeout = cmp.Or(c.Timeout, 500*time.Millisecond)
	c.ArchiveTimeout = cmp.Or(c.ArchiveTimeout, 15*time.Second)
	if c.Violated == nil {
		c.Violated = func(grandstand.Invariant, ...any) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Aggregator merges the tallies of the shards that it holds. Run works, once;
// no other method may be called meanwhile.
type Aggregator struct {
	cfg     Config   // static after New
	metrics *metrics // static after New

	// Owned by Run's goroutine.
	mergers    []*merger // one for each core; the first is also used beside the shards
	shards     [grandstand.Shards]shard
	gateways   map[string]*gateway
	ticks      map[int64]bool // the ticks of the events that are there, in ms
	over       map[string]int64
	membership grandstand.Membership
	lost       bool // the data in Redis was lost before membership.BootAt, and we were there
	configs    configs
	recordAt   [grandstand.Shards]int64 // what changed of a shard's events is written not before
	records    *worker
	archive    *worker
	parting    []*event // of shards that were given up, until they are saved

	troubleMu sync.Mutex
	troubles  map[string]*trouble // guarded by troubleMu: shards are worked on side by side

	heldAt        int64 // when the leases were last renewed
	readAt        int64 // when manifests were last read
	readableSince int64 // since when they could be, without a gap
	epoch         int64 // the highest that any gateway has seen
	sessions      int64 // that all gateways had, when a tick was last not torn
	torn          bool  // the tick lacks sessions on their way to a gateway that is late
	phase         int64 // the last that was worked on
}

// New returns an Aggregator that does nothing before Run. It panics if
// something required is missing.
func New(cfg Config) *Aggregator {
	cfg.validate()
	a := &Aggregator{
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer),
		gateways: map[string]*gateway{},
		ticks:    map[int64]bool{},
		over:     map[string]int64{},
		troubles: map[string]*trouble{},
		records:  newWorker(16, 4*cfg.Timeout),
		archive:  newWorker(8, cfg.ArchiveTimeout),
	}
	for range runtime.GOMAXPROCS(0) {
		a.mergers = append(a.mergers, &merger{minCohort: cfg.MinCohort, mended: a.mended})
	}
	for i := range a.shards {
		a.shards[i] = shard{id: i, events: map[string]*event{}}
	}
	return a
}

// Phase is the time between two wake-ups.
const Phase = 500 * time.Millisecond

// goodbye bounds what is done after Run's context has ended.
const goodbye = 5 * time.Second

// Run works until ctx ends, then hands its shards over. It returns nil: trouble
// with Redis or the archive is logged, counted and outlived.
func (a *Aggregator) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	workers.Go(func() { a.records.run(ctx) })
	workers.Go(func() { a.archive.run(ctx) })

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			workers.Wait()
			a.leave(context.WithoutCancel(ctx))
			return nil
		case <-timer.C:
		}
		if phase, due := a.nextPhase(a.cfg.Clock.Now()); due {
			a.wake(ctx, phase)
		}
		timer.Reset(a.untilNext(a.cfg.Clock.Now()))
	}
}

// nextPhase returns the newest phase at now, and whether it is to be worked on.
// Phases that were missed are counted. A clock that is put back by more than a
// second starts over; jitter does not.
func (a *Aggregator) nextPhase(now int64) (phase int64, due bool) {
	step := Phase.Milliseconds()
	now -= a.cfg.Offset.Milliseconds()
	phase = now - now%step
	switch late := phase - a.phase; {
	case a.phase == 0:
	case late <= 0 && late >= -2*step:
		return a.phase, false
	case late > step:
		a.metrics.skipped.Add(float64(late/step - 1))
	}
	a.phase = phase
	return phase, true
}

// untilNext returns how long it is until the next phase: never longer than one
// takes, or a clock that was set back while we were at work would be waited for.
func (a *Aggregator) untilNext(now int64) time.Duration {
	step := Phase.Milliseconds()
	wait := a.phase + step + a.cfg.Offset.Milliseconds() - now
	return time.Duration(min(max(wait, 1), step)) * time.Millisecond
}

// wake does what a phase asks for: leases at each, boards at the full seconds
// that are some event's tick, and at once for shards that were just taken over.
func (a *Aggregator) wake(ctx context.Context, phase int64) {
	start := time.Now()
	a.records.collect()
	a.archive.collect()
	a.renew(ctx, phase)
	second := phase - phase%1000
	switch {
	case phase == second && a.due(second):
		a.tick(ctx, second, false)
	case a.adopting():
		a.tick(ctx, second, true)
	default:
		return
	}
	a.metrics.tick.Observe(time.Since(start).Seconds())
}

// due reports whether any event has a tick at that time.
func (a *Aggregator) due(at int64) bool {
	if at%a.cfg.TickMS == 0 {
		return true
	}
	for tick := range a.ticks {
		if at%tick == 0 {
			return true
		}
	}
	return false
}

// tick makes and publishes the boards of the events whose tick it is; with
// takeover, those of the shards that were just taken over, as of the events'
// last ticks.
func (a *Aggregator) tick(ctx context.Context, at int64, takeover bool) {
	if now := a.cfg.Clock.Now(); now-a.heldAt > leaseMS {
		return // they may be somebody else's by now
	}
	if a.membership.Now == 0 {
		return // nobody has told yet which gateways there are
	}
	a.adopt(ctx, at)
	if err := a.readAll(ctx, at, takeover); err != nil {
		a.trouble("read tallies", err)
		if a.readAt != at {
			return // not even the manifests
		}
	}
	a.noteAges(a.cfg.Clock.Now())
	a.learn(ctx, at)
	held := a.held()
	offers := make([]*offer, len(held))
	a.eachShard(len(held), func(m *merger, i int) { offers[i] = a.refresh(m, held[i], at, takeover) })
	a.publish(ctx, slices.DeleteFunc(offers, func(o *offer) bool { return o == nil }))
	a.save(at)
	a.takeStock()
}

// leave hands everything over: what is not saved, the shards, the membership.
func (a *Aggregator) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	a.records.collect()
	a.archive.collect()
	at := a.cfg.Clock.Now()
	a.records.flush(ctx, a.recordJobs(at, true))
	if err := a.cfg.Leases.DropShards(ctx, a.cfg.ID); err != nil {
		a.trouble("drop shards", err)
	}
	if err := a.cfg.Members.Resign(ctx, a.cfg.ID); err != nil {
		a.trouble("resign", err)
	}
	a.archive.flush(ctx, a.archiveJobs(at, true))
}

// eachShard calls f for 0 to n-1, each of which is of a shard of its own, on all
// cores. The calls share what is known of gateways and must not change it, but
// for their shard's holdings.
func (a *Aggregator) eachShard(n int, f func(m *merger, i int)) {
	var next atomic.Int64
	work := func(m *merger) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(m, i)
		}
	}
	var wg sync.WaitGroup
	for _, m := range a.mergers[1:max(1, min(n, len(a.mergers)))] {
		wg.Go(func() { work(m) })
	}
	work(a.mergers[0])
	wg.Wait()
}

// trouble logs at most one line a second of a kind, with the number of those
// left out.
type trouble struct {
	at      time.Time
	skipped int
}

func (a *Aggregator) trouble(what string, err error) {
	if errors.Is(err, context.Canceled) {
		return // we were told to stop; what was under way is done again in leave
	}
	a.metrics.troubles.WithLabelValues(what).Inc()
	a.troubleMu.Lock()
	defer a.troubleMu.Unlock()
	t := a.troubles[what]
	if t == nil {
		t = &trouble{}
		a.troubles[what] = t
	}
	if time.Since(t.at) < time.Second {
		t.skipped++
		return
	}
	a.cfg.Logger.Warn(what, "error", err, "more", t.skipped)
	t.at, t.skipped = time.Now(), 0
}

// mended counts an input that is not as it should be.
func (a *Aggregator) mended(kind string) { a.metrics.mended.WithLabelValues(kind).Inc() }

// parallel calls f for 0 to n-1, in at most so many goroutines, and waits.
func parallel(n, workers int, f func(i int)) {
	if n == 0 {
		return
	}
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	wg.Wait()
}

// held returns the shards that are held and may be worked on.
func (a *Aggregator) held() []*shard {
	list := make([]*shard, 0, len(a.shards))
	for i := range a.shards {
		if a.shards[i].held && !a.shards[i].adopt {
			list = append(list, &a.shards[i])
		}
	}
	return list
}

// eventOf returns the event of a shard, a new one if need be; nil if it is over
// and done with.
func (a *Aggregator) eventOf(sh *shard, name string, at int64) *event {
	e := sh.events[name]
	if e == nil {
		if a.over[name] != 0 {
			return nil
		}
		e = newEvent(name, at)
		sh.events[name] = e
		i, _ := slices.BinarySearchFunc(sh.list, name, func(e *event, name string) int { return cmp.Compare(e.name, name) })
		sh.list = slices.Insert(sh.list, i, e)
	}
	return e
}
