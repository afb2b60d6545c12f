package gateway

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"grandstand"
	"grandstand/gateway/journal"
)

// acks is what one connection is told of its events: the journal.Waiter of those
// that have a seq. There is none until the first of them.
type acks struct {
	c *conn // static

	mu     sync.Mutex   // taken before the acker's
	state  journal.Acks // guarded by mu
	queued bool         // guarded by mu; in one of the acker's lists
	spans  []trace.Span // guarded by mu; end with the next ack
	kept   uint64       // guarded by mu; one above the highest seq that the journal called durable

	// guarded by conn.w.mu
	unsent uint64 // one above the ack that the socket takes when it is no longer behind; 0: none
}

// acker tells connections what is durable. Acks gather until the journal says
// that a commit is over, and are written by one goroutine: the journal waits for
// no socket, and a connection gets one ack per commit at most.
type acker struct {
	g    *Gateway      // static
	wake chan struct{} // holds one signal

	mu sync.Mutex

	// guarded by mu
	gathered []*acks // in this commit
	due      []*acks // to be told
}

// Durable implements journal.Waiter.
func (a *acks) Durable(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state.Durable(seq)
	a.kept = max(a.kept, seq+1)
	if a.queued {
		return
	}
	a.queued = true
	k := &a.c.g.acker
	k.mu.Lock()
	k.gathered = append(k.gathered, a)
	k.mu.Unlock()
}

// Committed says that the journal has told all waiters of a commit. It is to be
// the Committed of the journal that is Config.Journal.
func (g *Gateway) Committed() {
	k := &g.acker
	k.mu.Lock()
	if len(k.due) == 0 {
		k.due, k.gathered = k.gathered, k.due
	} else {
		k.due = append(k.due, k.gathered...)
		clear(k.gathered)
		k.gathered = k.gathered[:0]
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run sends acks until ctx ends.
func (k *acker) run(ctx context.Context) {
	var list []*acks
	var message, frame []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		}
		k.mu.Lock()
		list, k.due = k.due, list[:0]
		k.mu.Unlock()
		for i, a := range list {
			list[i] = nil
			a.mu.Lock()
			a.queued = false
			seq, ok := a.state.Next()
			kept := a.kept
			var spans []trace.Span
			if ok {
				spans, a.spans = a.spans, nil
			}
			a.mu.Unlock()
			if !ok {
				continue
			}
			if seq >= kept {
				k.g.cfg.Violated(grandstand.InvariantDurable, "event", a.c.room.name, "acked", seq, "durable_below", kept)
			}
			message = grandstand.AppendAck(message[:0], seq)
			frame = appendText(frame[:0], message)
			a.c.w.ack(seq, frame)
			k.g.metrics.acks.Inc()
			for _, s := range spans {
				s.End()
			}
		}
	}
}

// carry takes a beat or an event to the session and to the journal. The error
// says that it is not kept: no ack covers it until it was sent again. The
// session is renewed all the same.
func (c *conn) carry(m *grandstand.Message, now int64) error {
	if c.g.cfg.Journal == nil || !m.HasSeq {
		return c.session.take(c, m, now, nil)
	}
	a := c.w.acks
	if a == nil {
		a = c.w.wantAcks(c)
	}
	a.mu.Lock()
	a.state.Carry(m.Seq)
	a.mu.Unlock()
	err := c.session.take(c, m, now, a)
	if err != nil {
		a.mu.Lock()
		a.state.Refuse(m.Seq)
		a.mu.Unlock()
	}
	return err
}

// wantAcks has the wire take acks. Its caller, the reader, may look at w.acks
// without the lock.
func (w *wire) wantAcks(c *conn) *acks {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks = &acks{c: c}
	return w.acks
}

// ack sends an ack, of which message is the complete text frame. A socket that
// is behind gets the newest one only.
func (w *wire) ack(seq uint64, message []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dead || w.closing != 0:
	case w.stalled:
		w.acks.unsent = seq + 1
	default:
		w.writeLocked(message)
	}
}

// takeAckLocked returns the ack that waits as a complete text frame, nil if none
// does, or may any more.
func (w *wire) takeAckLocked() []byte {
	if w.acks == nil || w.acks.unsent == 0 {
		return nil
	}
	seq := w.acks.unsent - 1
	w.acks.unsent = 0
	if w.dead || w.closing != 0 {
		return nil
	}
	return appendText(nil, grandstand.AppendAck(nil, seq))
}
