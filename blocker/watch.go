package blocker

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"grandstand"
)

const (
	watchEvery = 20 * time.Second       // how often WatchAccount, good for 60 s, is called again
	readGap    = 100 * time.Millisecond // the least time between two reads of one account
	readAgain  = time.Second            // after a read that had no answer
	watchAgain = readAgain / 4          // after a WatchAccount that had none, though the read had: changes are not told
	staleAfter = 3 * time.Second        // without an answer the readers are told
	spreadOver = 500 * time.Millisecond // over which all accounts are read when notices were lost
)

// watch keeps the readers of one account's list up to date: one loop and one
// read per change, however many readers there are.
type watch struct {
	// static
	b       *Blocker
	account grandstand.Key
	ctx     context.Context // ends with Run, and with the last reader
	stop    context.CancelFunc
	wake    chan time.Duration // slot of one: look again, after so long
	first   chan struct{}      // closed when the first read is done

	// owned by the loop
	watchedAt time.Time // of the last WatchAccount; zero: none yet
	readAt    time.Time // of the last read
	goodAt    time.Time // of the last read that had an answer

	// guarded by Blocker.mu
	streams map[*stream]bool
	latest  *view // written by the loop only; nil: none yet
}

// view is an account's list at one time. It is immutable.
type view struct {
	at    int64
	stale bool // there has been no answer since, for some time
	devices
	encoded func() []byte // devices, as JSON
}

func newView(s *grandstand.AccountState) *view {
	v := &view{at: s.Now, devices: devices{len(playing(s, "")), devicesOf(s)}}
	v.encoded = sync.OnceValue(func() []byte {
		b, err := json.Marshal(v.devices)
		if err != nil {
			panic(err) // strings and numbers only
		}
		return b
	})
	return v
}

// same reports whether v says nothing that o did not, but for renewals.
func (v *view) same(o *view) bool {
	return o != nil && v.stale == o.stale && v.Current == o.Current &&
		slices.EqualFunc(v.Devices, o.Devices, func(a, b device) bool { return a.steady() == b.steady() })
}

// watching is the registry of watches. It is guarded by Blocker.mu.
type watching struct {
	ctx     context.Context // of Run; nil: it has not begun, or is over
	of      map[grandstand.Key]*watch
	streams int
	wg      sync.WaitGroup // every loop and every stream
}

// join adds a stream to the account's watch, and begins one if need be. Its
// errors have CodeUnavailable or CodeRateLimited.
func (b *Blocker) join(account grandstand.Key, st *stream) (*watch, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watching.of[account]
	switch {
	case b.watching.ctx == nil || b.watching.ctx.Err() != nil:
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "streams are not served: this service is starting or shutting down")
	case b.watching.streams >= b.cfg.MaxStreams:
		return nil, grandstand.Errorf(grandstand.CodeUnavailable, "this service has as many streams as it takes")
	case w != nil && len(w.streams) >= b.cfg.MaxAccountStreams:
		return nil, grandstand.Errorf(grandstand.CodeRateLimited, "too many streams for one account")
	}
	if w == nil {
		w = &watch{
			b: b, account: account, wake: make(chan time.Duration, 1), first: make(chan struct{}), streams: map[*stream]bool{},
		}
		w.ctx, w.stop = context.WithCancel(b.watching.ctx)
		b.watching.of[account] = w
		b.watching.wg.Go(w.run)
		b.metrics.watched.Inc()
	}
	w.streams[st] = true
	b.watching.streams++
	b.watching.wg.Add(1)
	b.metrics.streams.Inc()
	return w, nil
}

// leave takes a stream away, and with the last one the watch.
func (w *watch) leave(st *stream) {
	b := w.b
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(w.streams, st)
	b.watching.streams--
	b.watching.wg.Done()
	b.metrics.streams.Dec()
	if len(w.streams) == 0 {
		w.stop()
		delete(b.watching.of, w.account)
		b.metrics.watched.Dec()
	}
}

// tell takes a notice. It does not block.
func (b *Blocker) tell(account grandstand.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if account.IsZero() {
		b.metrics.notices.WithLabelValues("lost").Inc()
		for _, w := range b.watching.of {
			w.look(rand.N(spreadOver))
		}
		return
	}
	w := b.watching.of[account]
	if w == nil {
		b.metrics.notices.WithLabelValues("unwatched").Inc()
		return
	}
	b.metrics.notices.WithLabelValues("watched").Inc()
	w.look(0)
}

// look has the account read after a time, or after that which was asked for
// before.
func (w *watch) look(after time.Duration) {
	select {
	case w.wake <- after:
	default:
	}
}

// run reads the account when it changed, when somebody's time is up, and every
// watchEvery, should a notice not have come.
func (w *watch) run() {
	defer w.stop()
	for {
		timer := time.NewTimer(w.read())
		var after time.Duration
		select {
		case <-w.ctx.Done():
			timer.Stop()
			return
		case after = <-w.wake:
			timer.Stop()
		case <-timer.C:
		}
		if !pause(w.ctx, max(after, readGap-time.Since(w.readAt))) {
			return
		}
		select { // what came meanwhile is seen by the read that comes now
		case <-w.wake:
		default:
		}
	}
}

// read reads the account, shows it if it changed, and returns when it should be
// read again.
func (w *watch) read() time.Duration {
	// First the watch, then the read: no change falls between.
	if w.watchedAt.IsZero() || time.Since(w.watchedAt) >= watchEvery {
		call, cancel := w.b.deadline(w.ctx)
		err := w.b.cfg.Notices.WatchAccount(call, w.account, w.b.cfg.Member)
		cancel()
		if err != nil {
			w.b.trouble("watch account", err)
			w.watchedAt = time.Time{}
		} else {
			w.watchedAt = time.Now()
		}
	}
	state, err := w.b.account(w.ctx, w.account)
	w.readAt = time.Now()
	result := "same"
	switch {
	case err != nil && w.ctx.Err() == nil:
		result = "failed"
		w.b.trouble("read account", err)
		w.stale()
	case err == nil:
		w.goodAt = w.readAt
		if w.show(newView(state)) {
			result = "changed"
		}
	}
	w.b.metrics.reads.WithLabelValues(result).Inc()
	select {
	case <-w.first:
	default:
		close(w.first)
	}
	switch {
	case err != nil:
		return readAgain + rand.N(readAgain/4)
	case w.watchedAt.IsZero():
		return watchAgain + rand.N(watchAgain/4)
	}
	return min(untilLapse(state), watchEvery-time.Since(w.watchedAt))
}

// untilLapse returns when the first lease or the first one that waits lapses
// unless it is renewed: nobody gives notice of that.
func untilLapse(s *grandstand.AccountState) time.Duration {
	const slack = 2 // ms; what ends at a time is gone after it
	first := watchEvery.Milliseconds()
	for i := range s.Leases {
		if left := s.Leases[i].Until - s.Now; left > 0 {
			first = min(first, left+slack)
		}
	}
	for i := range s.Waiting {
		if left := s.Waiting[i].Until - s.Now; left > 0 {
			first = min(first, left+slack)
		}
	}
	return time.Duration(first) * time.Millisecond
}

// show has v be the newest view, and tells the streams if it is news to them.
func (w *watch) show(v *view) (news bool) {
	news = !v.same(w.latest) // nobody else writes it
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	w.latest = v
	if !news {
		return false
	}
	for st := range w.streams {
		select {
		case st.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// stale tells the streams if there has been no answer for some time.
func (w *watch) stale() {
	if w.latest != nil && !w.latest.stale && time.Since(w.goodAt) >= staleAfter {
		v := *w.latest
		v.stale = true
		w.show(&v)
	}
}

// newest returns the newest view, nil if there is none yet.
func (w *watch) newest() *view {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.latest
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
