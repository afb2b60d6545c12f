package gateway

import (
	"context"
	"sync"
	"sync/atomic"

	"grandstand"
)

// group is a part of a room's sockets. A worker serves all of it in one pass;
// views that come meanwhile replace each other.
type group struct {
	pool *pool // static

	next   atomic.Pointer[grandstand.View] // to be shown; nil: nothing new
	queued atomic.Bool                     // in the pool's queue
	since  atomic.Int64                    // ms; it has been since then

	mu    sync.Mutex
	conns []*conn // guarded by mu
}

func (gr *group) room() bool {
	gr.mu.Lock()
	defer gr.mu.Unlock()
	return len(gr.conns) < groupSize
}

func (gr *group) add(c *conn) {
	gr.mu.Lock()
	defer gr.mu.Unlock()
	c.group, c.place = gr, len(gr.conns)
	gr.conns = append(gr.conns, c)
}

func (gr *group) remove(c *conn) {
	gr.mu.Lock()
	defer gr.mu.Unlock()
	last := len(gr.conns) - 1
	gr.conns[c.place] = gr.conns[last]
	gr.conns[c.place].place = c.place
	gr.conns[last] = nil
	gr.conns = gr.conns[:last]
}

func (gr *group) appendTo(all []*conn) []*conn {
	gr.mu.Lock()
	defer gr.mu.Unlock()
	return append(all, gr.conns...)
}

// offer has the group show v, unless a newer one comes before its turn.
func (gr *group) offer(v *grandstand.View) {
	gr.next.Store(v)
	if !gr.queued.Swap(true) {
		gr.since.Store(gr.pool.g.clock.Now())
		gr.pool.push(gr)
	}
}

// pool is the workers that write frames, and the groups that wait for one. The
// queue is never longer than there are groups.
type pool struct {
	g *Gateway // static

	mu     sync.Mutex
	cond   sync.Cond // of mu
	queue  []*group  // guarded by mu
	closed bool      // guarded by mu
}

func (p *pool) push(gr *group) {
	p.mu.Lock()
	p.queue = append(p.queue, gr)
	p.mu.Unlock()
	p.cond.Signal()
}

// pop waits for a group; it returns nil when the pool is closed.
func (p *pool) pop() *group {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.closed {
		p.cond.Wait()
	}
	if p.closed {
		return nil
	}
	gr := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	return gr
}

// run serves groups until ctx ends.
func (p *pool) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cond.Broadcast()
	})
	defer stop()
	w := worker{g: p.g}
	for {
		gr := p.pop()
		if gr == nil {
			return
		}
		w.serve(gr)
	}
}

// worker writes frames to one group after another. It has one owner.
type worker struct {
	g      *Gateway
	view   *grandstand.View
	at     int64      // ms at which the messages of this pass were made
	pass   uint64     // counts the passes over one view
	conns  []*conn    // of the group that is served
	byAud  []rendered // by audience id
	counts [shownClosed + 1]int
	bytes  int
}

// rendered is a frame with its message as a complete WebSocket frame.
type rendered struct {
	pass    uint64 // in which it was made
	frame   *grandstand.Frame
	text    []byte
	compact []byte // empty: nobody has asked for it
}

// freshMS is for how long a message's age is right enough for others of the
// same audience.
const freshMS = 50

// serve shows the group's newest view to its sockets.
func (w *worker) serve(gr *group) {
	since := gr.since.Load()
	gr.queued.Store(false)
	v := gr.next.Swap(nil)
	if v == nil {
		return
	}
	now := w.g.cfg.Clock.Now()
	if v != w.view || now-w.at > freshMS {
		w.view, w.at = v, now
		w.pass++
	}
	live := isLive(v.Board)
	clear(w.counts[:])
	w.bytes = 0
	// Without the lock: whoever comes or goes does not wait for all the writes.
	w.conns = gr.appendTo(w.conns[:0])
	for _, c := range w.conns {
		f, message := w.message(c.session.audience(), c.w.compact)
		result := c.w.show(f, live, message, now)
		w.counts[result]++
		if result == shownSent {
			w.bytes += len(message)
		}
	}
	clear(w.conns)
	for result, n := range w.counts {
		if n > 0 {
			w.g.metrics.shownBy[result].Add(float64(n))
		}
	}
	w.g.metrics.bytes.Add(float64(w.bytes))
	w.g.load.pushed(w.g.clock.Now()-since, max(v.Board.TickMS, grandstand.MinTickMS))
	w.g.metrics.age.observe(now-v.Board.At, w.counts[shownSent]+w.counts[shownSame])
}

// message returns what an audience is shown. Each form of it is made once per
// pass.
func (w *worker) message(a *grandstand.Audience, compact bool) (*grandstand.Frame, []byte) {
	if a.ID >= len(w.byAud) {
		w.byAud = append(w.byAud, make([]rendered, a.ID+1-len(w.byAud))...)
	}
	m := &w.byAud[a.ID]
	if m.pass != w.pass {
		m.pass, m.frame = w.pass, w.view.Frame(a)
		m.text, m.compact = m.text[:0], m.compact[:0]
	}
	form := &m.text
	if compact {
		form = &m.compact
	}
	if len(*form) == 0 {
		*form = appendFrame(*form, m.frame, compact, w.at)
	}
	return m.frame, *form
}

// isLive reports whether the age of a board says nothing that must be shown.
func isLive(b *grandstand.Board) bool {
	return b.Quality == grandstand.Live || b.Quality == grandstand.Final
}
