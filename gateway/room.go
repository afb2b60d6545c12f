package gateway

import (
	"slices"
	"sync"
	"sync/atomic"

	"grandstand"
)

const (
	groupSize  = 1024   // sockets that one pass of a worker serves
	roomIdleMS = 60_000 // for which a room without sessions is kept, and its empty tally written
)

// room is one event with sessions on this gateway.
type room struct {
	g    *Gateway            // static
	name string              // static
	key  grandstand.EventKey // static
	auds *grandstand.Audiences

	config atomic.Pointer[grandstand.Event]
	dirty  atomic.Bool // something that is counted changed otherwise than by time

	mu sync.Mutex // taken before a session's

	// guarded by mu
	sessions map[string]*session
	list     []*session
	moves    []heldMove
	listed   int               // the first so many of moves go with what the last scan counted
	blocked  map[string]uint64 // sessions that may not play, by kind of rule, as of the last tick
	gone     bool              // removed from the gateway: nobody may join
	idleAt   int64             // ms since when there are no sessions; 0: there are

	started atomic.Bool // the event is being set live

	admitMu  sync.RWMutex
	admitted admitted // guarded by admitMu
	refused  int      // guarded by admitMu; values in admitted that are not

	segments sync.Map // of *grandstand.Audience: their wire form; empty if nothing is kept

	groupsMu sync.Mutex // taken before a group's

	// guarded by groupsMu
	groups []*group
	view   *grandstand.View // the newest
	cancel func()           // of the subscription

	// owned by the ticker
	tally *grandstand.Tally // as of the last change
}

// heldMove is a move that the tallies list as long as its old owner's may be in
// use.
type heldMove struct {
	grandstand.Move
	until int64 // ms
}

// newRoom returns a room that follows the event's boards.
func newRoom(g *Gateway, e *grandstand.Event, now int64) *room {
	r := &room{
		g: g, name: e.Name,
		key:      grandstand.NewEventKey(g.cfg.Secret, e.Name),
		auds:     grandstand.NewAudiences(e),
		admitted: admitted{},
		sessions: map[string]*session{},
		blocked:  map[string]uint64{},
		idleAt:   now,
	}
	r.config.Store(e)
	r.groupsMu.Lock() // the first notify may come before Subscribe returns
	defer r.groupsMu.Unlock()
	r.view, r.cancel = g.cfg.Hub.Subscribe(e, r.notify)
	return r
}

// event returns the event as it is configured. It must not be changed.
func (r *room) event() *grandstand.Event { return r.config.Load() }

// joining is somebody who wants to be counted.
type joining struct {
	session                 string // to resume; "": a new one
	viewer, device, account grandstand.Key
	payer                   payer
	audience                *grandstand.Audience
	undeclared              bool              // nothing was declared: a session that is resumed keeps its audience
	declared                map[string]string // if it has to be folded again
	intervalMS              int64
}

// join opens or resumes a session. It returns nil if the room is gone: the
// caller asks the gateway for another.
func (r *room) join(j *joining) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil
	}
	now := r.g.clock.Now()
	s, kind := r.sessions[j.session], "attached"
	switch {
	case s != nil:
	case j.session == "":
		s, kind = r.openLocked(j, grandstand.NewSessionID(r.key, j.viewer, j.device)), "new"
		s.since, s.had = now, true
	default:
		s, kind = r.openLocked(j, j.session), "resumed"
		s.own = claiming
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Audience != j.audience && !j.undeclared {
		s.Audience, s.keepAt = j.audience, 0
		r.dirty.Store(true)
	}
	left := s.Left
	if left {
		s.since = now // the newest tally does not count it
	}
	s.declared, s.adopt = j.declared, j.undeclared
	s.Open(now, j.intervalMS)
	if s.own == lost {
		s.own = claiming
	}
	if s.own == claiming {
		s.socketed = s.sockets != nil // this one is on its way: it is not gone
	}
	again := s.forgot // its record goes, or is gone: it is not counted without
	s.forgot = false
	switch {
	case s.own == claiming && !s.moving:
		s.moving = true
		r.g.movers.add(s)
	case kind == "new" || again && s.own == owned:
		s.recorded = false
		r.g.keepers.add(s)
		s.keepAt = now + r.g.keepAfter()
	}
	if kind == "new" {
		s.keepJoinLocked(joinOpened, now)
	} else {
		s.keepJoinLocked(joinResumed, now)
	}
	s.joinLeaseLocked(j.payer, left)
	r.g.metrics.joins.WithLabelValues(kind).Inc()
	return s
}

func (r *room) openLocked(j *joining, id string) *session {
	s := &session{room: r, index: len(r.list)}
	s.ID, s.Gen, s.Audience = id, 1, j.audience
	s.Device, s.Account = j.device, j.account
	s.openLeaseLocked(j.payer)
	switch {
	case !j.viewer.IsZero():
		s.Viewer = j.viewer
	case !j.device.IsZero():
		s.Viewer = j.device
	default:
		s.Viewer = r.key.Viewer("session " + id)
	}
	r.g.sessions.Add(1)
	r.sessions[id] = s
	r.list = append(r.list, s)
	r.idleAt = 0
	return s
}

// removeLocked takes a session out of the room. The caller holds both locks.
func (r *room) removeLocked(s *session, now int64) {
	last := len(r.list) - 1
	r.list[s.index] = r.list[last]
	r.list[s.index].index = s.index
	r.list[last] = nil
	r.list = r.list[:last]
	s.index = -1
	s.closeLeaseLocked()
	r.g.sessions.Add(-1)
	delete(r.sessions, s.ID)
	if last == 0 {
		r.idleAt = now
	}
}

// find returns the session, nil if it is not here.
func (r *room) find(id string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[id]
}

// tooEarly reports whether our tallies may not say yet that we know of a release:
// the owner before us has not been told that the session was ours. That one counts
// it, and we are to list that it moved here.
func (r *room) tooEarly(rel grandstand.Release) bool {
	s := r.find(rel.Session)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own == claiming && (s.asking && rel.Gen > s.Gen || s.previous != nil && rel.Gen >= s.Gen) // else it is of an earlier time
}

// release stops counting a session that another gateway has taken over.
func (r *room) release(rel grandstand.Release, now int64) {
	s := r.find(rel.Session)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = max(s.released, rel.Gen)
	if s.own == owned && s.Gen <= rel.Gen {
		s.loseLocked(now)
		r.g.metrics.moves.WithLabelValues("out").Inc()
	}
}

// notify takes a view from the hub. It does not wait for any socket.
func (r *room) notify(v *grandstand.View) {
	r.groupsMu.Lock()
	defer r.groupsMu.Unlock()
	r.view = v
	for _, gr := range r.groups {
		gr.offer(v)
	}
}

// newest returns the newest view, nil if there is none.
func (r *room) newest() *grandstand.View {
	r.groupsMu.Lock()
	defer r.groupsMu.Unlock()
	return r.view
}

// attach has c be shown every view from the newest on.
func (r *room) attach(c *conn) {
	r.groupsMu.Lock()
	var gr *group
	for i := len(r.groups) - 1; i >= 0 && gr == nil; i-- {
		if r.groups[i].room() {
			gr = r.groups[i]
		}
	}
	if gr == nil {
		gr = &group{pool: &r.g.pool}
		r.groups = append(r.groups, gr)
	}
	gr.add(c)
	v := r.view
	r.groupsMu.Unlock()
	c.showNewest(v)
}

// sockets returns all sockets of the room.
func (r *room) sockets() []*conn {
	r.groupsMu.Lock()
	defer r.groupsMu.Unlock()
	var all []*conn
	for _, gr := range r.groups {
		all = gr.appendTo(all)
	}
	return all
}

// configure makes e the room's configuration, and tells sockets their pace if
// it changed.
func (r *room) configure(e *grandstand.Event) {
	old := r.event()
	for !e.Newer(old) || !r.config.CompareAndSwap(old, e) {
		if old = r.event(); !e.Newer(old) {
			return
		}
	}
	r.dirty.Store(true)
	if e.State == grandstand.EventEnded {
		r.end()
		return
	}
	if e.TickMS == old.TickMS && e.BeatMS == old.BeatMS {
		return
	}
	// Who declared no interval of its own keeps the event's.
	r.mu.Lock()
	for _, s := range r.list {
		s.mu.Lock()
		s.IntervalMS = max(s.IntervalMS, e.BeatMS)
		s.mu.Unlock()
	}
	r.mu.Unlock()
	pace := appendText(nil, grandstand.AppendPace(nil, e.BeatMS, e.TickMS))
	for _, c := range r.sockets() {
		c.w.send(pace)
	}
}

// outgrown reports whether the room cannot serve the event as it is configured
// now.
func (r *room) outgrown(e *grandstand.Event) bool {
	old := r.event()
	return e.Newer(old) && !slices.EqualFunc(e.Dims, old.Dims, func(a, b grandstand.Dimension) bool { return a.Name == b.Name })
}

func (r *room) isGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// retire ends a room that is no longer among the gateway's.
func (r *room) retire() {
	r.mu.Lock()
	r.gone = true
	r.g.sessions.Add(-int64(len(r.list)))
	for _, s := range r.list {
		s.mu.Lock()
		s.keepLeaveLocked(leaveMoved, r.g.clock.Now())
		s.closeLeaseLocked()
		s.mu.Unlock()
	}
	clear(r.sessions)
	r.list = nil
	r.mu.Unlock()
	r.cancel()
	for _, c := range r.sockets() {
		c.w.close(closeRestart)
	}
}

// end closes every socket of an event that is over. The sessions stop counting
// at the next tick.
func (r *room) end() {
	r.mu.Lock()
	for _, s := range r.list {
		s.leave(leaveEventEnded)
	}
	r.mu.Unlock()
	for _, c := range r.sockets() {
		c.w.close(closeEnded)
	}
}
