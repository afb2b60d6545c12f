package fanout

import (
	"sync"

	"grandstand"
)

// source is one event as a relay sends it: its newest board, encoded once for
// all children that were sent the same one before.
//
// Locks are taken in this order: Relay.mu, source.mu, child.mu.
type source struct {
	event  string
	encode func()

	mu      sync.Mutex
	cancel  func()                       // guarded by mu; ends the subscription
	board   *grandstand.Board            // guarded by mu; nil before the first
	deltas  map[*grandstand.Board][]byte // guarded by mu; of board, by what it is the difference from
	waiting map[*childEvent]struct{}     // guarded by mu: who wants it
}

// attach has a child sent an event from now on.
func (r *Relay) attach(e *childEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[e.event]
	if s == nil {
		s = &source{event: e.event, encode: r.metrics.encodes.Inc, deltas: map[*grandstand.Board][]byte{}, waiting: map[*childEvent]struct{}{}}
		r.sources[e.event] = s
	}
	e.source = s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[e] = struct{}{}
	if s.cancel == nil {
		newest, cancel := r.cfg.Hub.Subscribe(&grandstand.Event{Name: e.event}, s.notify)
		s.cancel = cancel
		if newest != nil {
			s.board = newest.Board
		}
	}
	e.child.queue(e)
}

// detach ends that.
func (r *Relay) detach(e *childEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := e.source
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, e)
	if len(s.waiting) == 0 {
		s.cancel()
		delete(r.sources, s.event)
	}
}

// notify takes a view from the hub. A board that has become stale is not sent
// again: children see for themselves how old it is.
func (s *source) notify(v *grandstand.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.board != nil && v.Board.Quality == grandstand.Stale {
		return
	}
	s.board = v.Board
	clear(s.deltas)
	for e := range s.waiting {
		e.child.queue(e)
	}
}

// since returns the newest board and how it differs from the one that a child
// has; nil: there is none.
func (s *source) since(base *grandstand.Board) (*grandstand.Board, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.board == nil || s.board == base {
		return s.board, nil
	}
	delta := s.deltas[base]
	if delta == nil {
		delta = grandstand.AppendBoardDelta(nil, base, s.board)
		s.deltas[base] = delta
		s.encode()
	}
	return s.board, delta
}
