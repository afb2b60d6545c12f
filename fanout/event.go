package fanout

import (
	"slices"
	"sync/atomic"

	"grandstand"
)

// event is what the hub knows of one event. Its shard's mu guards it.
type event struct {
	good  *grandstand.Board // the newest; nil before the first
	shown *grandstand.Board // good, or its copy that is marked stale
	seen  int64             // ms as of which good was fresh: its At, at most the time it came

	arrived int64 // ms at which good came

	staleAt  int64 // ms of the last stale view; 0: the board is fresh
	listedAt int64 // ms at which a feed last listed the event or a subscriber left it

	watched  bool          // the event is in Hub.watches: there are groups, or it is wanted
	wanted   int64         // ms until which it is watched without a subscriber
	answered bool          // a feed has told of it since it is watched
	answer   chan struct{} // closed then; nil: nobody waits

	round uint64 // of the shard, when the event was last listed

	groups []*group // one for each list of dimensions, so nearly always one
}

// group is the subscribers of an event that share views.
type group struct {
	dims []grandstand.Dimension
	view *grandstand.View // of event.shown; nil before the first board
	subs []*subscription
}

// subscription is one subscriber.
type subscription struct {
	notify    func(*grandstand.View) // called under the shard's deliver
	group     *group
	index     int // in group.subs; guarded by the shard's mu
	cancelled atomic.Bool
}

// late reports whether the event's board is too old to be called fresh.
func (e *event) late(now int64) bool { return e.good != nil && e.good.IsStale(now-e.seen) }

// setLocked shows a board from now on.
func (e *event) setLocked(b *grandstand.Board, encodes *atomic.Uint64) {
	e.shown = b
	e.resetViewsLocked(encodes)
}

// markStaleLocked shows the good board as a stale one. The views stay the same
// from one call to the next, and so do their encoded frames.
func (e *event) markStaleLocked(now int64, encodes *atomic.Uint64) {
	e.staleAt = now
	if e.shown.Quality != grandstand.Stale {
		e.setLocked(e.good.AsStale(), encodes)
	}
}

func (e *event) resetViewsLocked(encodes *atomic.Uint64) {
	for _, g := range e.groups {
		g.view = grandstand.NewView(e.shown, g.dims, encodes)
	}
}

// groupLocked returns the group of the dimensions, a new one if need be.
func (e *event) groupLocked(dims []grandstand.Dimension, encodes *atomic.Uint64) *group {
	for _, g := range e.groups {
		if slices.EqualFunc(g.dims, dims, func(a, b grandstand.Dimension) bool { return a.Name == b.Name }) {
			return g
		}
	}
	g := &group{dims: dims}
	if e.shown != nil {
		g.view = grandstand.NewView(e.shown, dims, encodes)
	}
	e.groups = append(e.groups, g)
	return g
}
