package gateway

import (
	"container/heap"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
)

const (
	leaseTimeout = 250 * time.Millisecond // of every call for leases
	leaseGather  = 3 * time.Millisecond   // in which beats gather into one call
	leaseBatch   = 256                    // asks in one call
	leaseCalls   = 32                     // calls under way

	// askAllMS is the time over which all sessions ask again, once notices may
	// have been lost.
	askAllMS = 900

	// ringRate and ringBurst bound how many sessions a second ask without a beat.
	// An overloaded Redis answers too late what it decided; if everybody tried
	// again at once it would never catch up.
	ringRate, ringBurst = 3000, 300
	ringPause           = 10 * time.Millisecond

	noticesRetry = time.Second // after they could not be followed
)

// leaser asks for the leases of the gateway's sessions: beats put sessions on
// its queue, and one goroutine drains that into calls of many. Its methods may
// be called at the same time.
type leaser struct {
	g     *Gateway               // static
	key   grandstand.AccountsKey // static
	base  time.Time              // static; the zero of now
	wake  chan struct{}          // holds one signal
	slots chan struct{}          // holds a token for each call under way

	failedAt atomic.Int64 // when leases could not be asked for last

	rung bucket // of alarms; owned by run

	mu sync.Mutex // taken after a session's

	// guarded by mu
	queue  []*session
	spare  []*session // an empty queue, to be used again
	alarms alarms
	of     map[grandstand.Key][]*session // those that need a lease, by account
}

func newLeaser(g *Gateway) *leaser {
	return &leaser{
		g: g, key: grandstand.NewAccountsKey(g.cfg.Secret),
		base: time.Now().Add(-time.Hour), // no time is 0
		wake: make(chan struct{}, 1), slots: make(chan struct{}, leaseCalls),
		of: map[grandstand.Key][]*session{},
	}
}

// now returns ms of a clock of this process that never jumps: how long a lease
// lasts is counted by it, and not by the time of Redis.
func (ls *leaser) now() int64 { return time.Since(ls.base).Milliseconds() }

// noRules limit only accounts whose token does.
var noRules grandstand.Rules

// rules returns the rules that hold now.
func (ls *leaser) rules() *grandstand.Rules {
	if ls.g.cfg.Rules != nil {
		if r := ls.g.cfg.Rules(); r != nil {
			return r
		}
	}
	return &noRules
}

// put has the session looked at soon. The caller holds its lock.
func (ls *leaser) put(s *session) {
	l := s.lease
	if l.queued {
		return
	}
	l.queued = true
	ls.mu.Lock()
	if !l.indexed && !l.gone {
		l.indexed = true
		ls.of[l.account] = append(ls.of[l.account], s)
	}
	ls.queue = append(ls.queue, s)
	ls.mu.Unlock()
	ls.signal()
}

func (ls *leaser) signal() {
	select {
	case ls.wake <- struct{}{}:
	default:
	}
}

func (ls *leaser) unindex(s *session) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	account := s.lease.account
	list := ls.of[account]
	if i := slices.Index(list, s); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(ls.of, account)
	} else {
		ls.of[account] = list
	}
}

// alarm has the session looked at at its retryAt. The caller holds its lock.
func (ls *leaser) alarm(s *session) {
	l := s.lease
	if l.alarmAt != 0 && l.alarmAt <= l.retryAt {
		return // it sets the next one when it goes off
	}
	l.alarmAt = l.retryAt
	ls.mu.Lock()
	heap.Push(&ls.alarms, alarm{l.alarmAt, s})
	first := ls.alarms[0].at == l.alarmAt
	ls.mu.Unlock()
	if first {
		ls.signal()
	}
}

// ring puts the sessions whose time has come on the queue, and returns how long
// it is to the next.
func (ls *leaser) ring() time.Duration {
	for {
		now := ls.now()
		ls.mu.Lock()
		if len(ls.alarms) == 0 {
			ls.mu.Unlock()
			return math.MaxInt64
		}
		next := ls.alarms[0]
		if next.at > now {
			ls.mu.Unlock()
			return time.Duration(next.at-now) * time.Millisecond
		}
		if !ls.rung.take(1, ringRate, ringBurst, now) {
			ls.mu.Unlock()
			return ringPause
		}
		heap.Pop(&ls.alarms)
		ls.mu.Unlock()
		next.s.mu.Lock()
		if l := next.s.lease; l.alarmAt == next.at {
			l.alarmAt = 0
			switch {
			case l.retryAt == 0:
			case l.retryAt <= now:
				ls.put(next.s)
			default:
				ls.alarm(next.s)
			}
		}
		next.s.mu.Unlock()
	}
}

// alarms is a heap of sessions that are to ask again without a beat.
type alarms []alarm

type alarm struct {
	at int64
	s  *session
}

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at < a[j].at }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = alarm{}
	*a = old[:len(old)-1]
	return last
}

// run asks until ctx ends. Then it frees the places of those who had just said
// goodbye; all other leases are left alone.
func (ls *leaser) run(ctx context.Context) {
	var calls sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(ls.ring())
		select {
		case <-ctx.Done():
			calls.Wait()
			ls.drain(ctx, &calls)
			calls.Wait()
			return
		case <-timer.C:
		case <-ls.wake:
			pause(ctx, leaseGather)
			ls.drain(ctx, &calls)
		}
	}
}

// call is many asks in one, and whom they are for.
type call struct {
	asks []grandstand.Ask
	of   []asker
}

type asker struct {
	s *session
	t *takeover // that the ask carries out; nil: none
}

var leaseCallPool = sync.Pool{New: func() any {
	return &call{asks: make([]grandstand.Ask, 0, leaseBatch), of: make([]asker, 0, leaseBatch)}
}}

// free lets go of all that c holds.
func (c *call) free() {
	clear(c.asks)
	clear(c.of)
	c.asks, c.of = c.asks[:0], c.of[:0]
	leaseCallPool.Put(c)
}

// callList gathers what is to be asked.
type callList []*call

func (list *callList) add(a grandstand.Ask, of asker) {
	n := len(*list)
	if n == 0 || len((*list)[n-1].asks) == leaseBatch {
		*list = append(*list, leaseCallPool.Get().(*call))
		n++
	}
	c := (*list)[n-1]
	c.asks, c.of = append(c.asks, a), append(c.of, of)
}

// drain empties the queue: it starts calls for all that is due.
func (ls *leaser) drain(ctx context.Context, calls *sync.WaitGroup) {
	ls.mu.Lock()
	due := ls.queue
	ls.queue, ls.spare = ls.spare[:0], nil
	ls.mu.Unlock()
	ls.g.metrics.leaseQueue.Set(float64(len(due)))

	var asking callList
	var leaving []*session
	now, ended := ls.now(), ctx.Err() != nil
	for _, s := range due {
		s.mu.Lock()
		switch do := s.errandLocked(now); {
		case do == errandLeave:
			leaving = append(leaving, s)
		case do == errandNone || ended:
		default:
			a, t := s.askLocked(now)
			asking.add(a, asker{s, t})
		}
		s.mu.Unlock()
	}
	clear(due)
	ls.mu.Lock()
	ls.spare = due[:0]
	ls.mu.Unlock()

	start := func(f func()) {
		ls.slots <- struct{}{}
		calls.Go(func() {
			f()
			<-ls.slots
		})
	}
	for _, c := range asking {
		start(func() { ls.ask(ctx, c) })
	}
	for list := range slices.Chunk(leaving, leaseBatch) {
		start(func() { ls.leave(ctx, list) })
	}
}

// ask makes one call.
func (ls *leaser) ask(ctx context.Context, c *call) {
	defer c.free()
	start := time.Now()
	call, cancel := context.WithTimeout(ctx, leaseTimeout)
	answers := ls.g.cfg.Leases.Ask(call, c.asks)
	cancel()
	ls.g.metrics.leaseSeconds.Observe(time.Since(start).Seconds())
	if ctx.Err() != nil {
		return // the gateway ends: that says nothing of Redis
	}
	var trouble error
	for i := range answers {
		a := &answers[i]
		if a.Err != nil {
			trouble = a.Err
		} else {
			ls.g.metrics.decided(&a.Verdict)
		}
		c.of[i].s.answered(a, c.of[i].t)
	}
	if trouble != nil {
		ls.failedAt.Store(ls.now())
		ls.g.trouble("ask for leases", trouble)
	}
}

// leave frees the places of sessions that said goodbye.
func (ls *leaser) leave(ctx context.Context, list []*session) {
	leaves := make([]grandstand.Leave, len(list))
	for i, s := range list {
		l := s.lease
		leaves[i] = grandstand.Leave{Account: l.account, Device: l.device, Session: s.ID, Member: ls.g.id}
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTimeout)
	defer cancel()
	err := ls.g.cfg.Leases.Leave(call, leaves)
	if err != nil {
		ls.g.trouble("free places", err)
	}
	for _, s := range list {
		s.leaveDone(err)
	}
}

// followNotices has the sessions of accounts that changed look again, until ctx
// ends.
func (ls *leaser) followNotices(ctx context.Context) {
	for {
		err := ls.g.cfg.Leases.FollowNotices(ctx, ls.g.id, ls.look)
		if ctx.Err() != nil {
			return
		}
		ls.g.trouble("follow notices of leases", err)
		if !pause(ctx, noticesRetry) {
			return
		}
		ls.lookAtAll()
	}
}

// look has the sessions of an account ask again; the zero Key is all accounts.
func (ls *leaser) look(account grandstand.Key) {
	if account.IsZero() {
		ls.lookAtAll()
		return
	}
	ls.mu.Lock()
	list := slices.Clone(ls.of[account])
	ls.mu.Unlock()
	for _, s := range list {
		s.mu.Lock()
		s.dueLeaseLocked()
		s.mu.Unlock()
	}
}

// lookAtAll has all sessions ask again, spread over askAllMS.
func (ls *leaser) lookAtAll() {
	ls.mu.Lock()
	var all []*session
	for _, list := range ls.of {
		all = append(all, list...)
	}
	ls.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if !s.lease.finalLocked() {
			s.retryLocked(0, askAllMS)
		}
		s.mu.Unlock()
	}
}
