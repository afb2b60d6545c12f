package fanout

import (
	"slices"
	"sync"
	"time"

	"grandstand"
)

const (
	// wantedMS is for how long an event is watched after somebody asked for its
	// board, or after its last subscriber went: who asks again has it at once.
	wantedMS = 60_000

	// wantWait is how long Latest waits for a relay to tell of an event that
	// nobody watched here so far.
	wantWait = time.Second
)

// watches is the set of events that somebody on this node watches: what a relay
// is asked for.
type watches struct {
	mu       sync.Mutex
	events   map[string]struct{} // guarded by mu
	watchers []*watcher          // guarded by mu
}

// watcher is told of each change of the set.
type watcher struct {
	of      *watches
	wake    chan struct{} // holds one if there are changes
	changes []watchChange // guarded by of.mu
}

// watchChange says that an event is watched from now on, or no more.
type watchChange struct {
	event string
	on    bool
}

func (w *watches) set(event string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.events[event] = struct{}{}
	} else {
		delete(w.events, event)
	}
	for _, o := range w.watchers {
		o.addLocked(watchChange{event, on})
	}
}

// follow returns a watcher whose first changes are all events of the set.
func (w *watches) follow() *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &watcher{of: w, wake: make(chan struct{}, 1)}
	for event := range w.events {
		o.addLocked(watchChange{event, true})
	}
	w.watchers = append(w.watchers, o)
	return o
}

func (o *watcher) addLocked(c watchChange) {
	o.changes = append(o.changes, c)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns the changes since the last call, in order.
func (o *watcher) take() []watchChange {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	c := o.changes
	o.changes = nil
	return c
}

func (o *watcher) stop() {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	o.of.watchers = slices.DeleteFunc(o.of.watchers, func(p *watcher) bool { return p == o })
}

// watchLocked has an event watched.
func (h *Hub) watchLocked(e *event, name string) {
	if !e.watched {
		e.watched = true
		h.watches.set(name, true)
	}
}

// unwatchLocked ends that if nobody needs it any more.
func (h *Hub) unwatchLocked(e *event, name string, now int64) {
	if e.watched && len(e.groups) == 0 && now >= e.wanted {
		e.watched, e.answered = false, false
		h.watches.set(name, false)
	}
}

// want has an event watched for a while, and waits for the feed to tell of it.
func (h *Hub) want(name string) {
	s := &h.shards[grandstand.ShardOf(name)]
	s.mu.Lock()
	e := s.eventLocked(name)
	e.wanted = h.cfg.Clock.Now() + wantedMS
	h.watchLocked(e, name)
	if e.answered {
		s.mu.Unlock()
		return
	}
	if e.answer == nil {
		e.answer = make(chan struct{})
	}
	answer := e.answer
	s.mu.Unlock()

	t := time.NewTimer(wantWait)
	defer t.Stop()
	select {
	case <-answer:
	case <-t.C:
	}
}

// answerLocked notes that the feed has told what it knows of a watched event.
func (e *event) answerLocked() {
	if !e.watched {
		return
	}
	e.answered = true
	if e.answer != nil {
		close(e.answer)
		e.answer = nil
	}
}

// none notes that a relay knows no board of an event.
func (h *Hub) none(name string) {
	s := &h.shards[grandstand.ShardOf(name)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.events[name]; e != nil {
		e.answerLocked()
	}
}

// take takes a board from a relay, as Apply does one of a message that says
// nothing of other events.
func (h *Hub) take(b *grandstand.Board) {
	h.raiseEpoch(b.Epoch)
	sb := &grandstand.ShardBoard{Shard: grandstand.ShardOf(b.Event), At: b.At, Epoch: b.Epoch}
	s := &h.shards[sb.Shard]
	s.deliver.Lock()
	defer s.deliver.Unlock()
	s.mu.Lock()
	h.applyLocked(s, sb, b, h.cfg.Clock.Now())
	s.mu.Unlock()
	h.deliver(s)
}

// fresh returns the newest board of an event, nil if it is too old to tell
// anything.
func (h *Hub) fresh(name string) *grandstand.Board {
	s := &h.shards[grandstand.ShardOf(name)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.events[name]; e != nil && !e.late(h.cfg.Clock.Now()) {
		return e.good
	}
	return nil
}

// overdue reports whether an event that is shown to somebody has had no new
// board for so many of its ticks. One that nobody takes part in may have none.
func (h *Hub) overdue(ticks float64) bool {
	now := h.cfg.Clock.Now()
	for i := range h.shards {
		if h.shards[i].overdue(now, ticks) {
			return true
		}
	}
	return false
}

func (s *shard) overdue(now int64, ticks float64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.events {
		if len(e.groups) > 0 && e.good != nil && e.good.Quality != grandstand.Final && !empty(e.good) &&
			float64(now-e.arrived) > ticks*float64(e.good.TickMS) {
			return true
		}
	}
	return false
}
