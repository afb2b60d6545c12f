package fanout

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// child is one gateway that a relay serves. One goroutine reads what it watches,
// another writes.
type child struct {
	relay  *Relay             // static
	conn   *websocket.Conn    // static
	cancel context.CancelFunc // static; sends it away
	pinned bool               // static: its relay was chosen by hand
	wake   chan struct{}      // static; holds one if dirty is not empty

	events map[uint64]*childEvent // owned by the reader
	buf    []byte                 // owned by the writer

	mu    sync.Mutex
	dirty []*childEvent // guarded by mu: what there may be something new of
}

// childEvent is an event that a child watches.
type childEvent struct {
	child  *child  // static
	id     uint64  // static
	event  string  // static
	source *source // static after attach

	queued, dropped bool // guarded by child.mu

	sent *grandstand.Board // owned by the writer; nil: none yet
	told bool              // owned by the writer: that there is none, or sent
}

// run serves the child until it goes, or ctx ends.
func (c *child) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer cancel()
		c.write(ctx)
	})
	c.read(ctx)
	cancel()
	writer.Wait()
	for _, e := range c.events {
		c.relay.detach(e)
	}
}

// read takes what the child asks for until it goes or asks for nonsense.
func (c *child) read(ctx context.Context) {
	for {
		b, err := readFeed(ctx, c.conn, childSilence)
		if err != nil {
			return
		}
		c.relay.metrics.received.Add(float64(len(b)))
		w, err := grandstand.DecodeFeedWatch(b)
		if err != nil {
			c.relay.cfg.Logger.Warn("a child asks for what is not understood", "error", err)
			return
		}
		for _, a := range w.Add {
			if c.events[a.ID] != nil || !grandstand.ValidValue(a.Event) {
				return
			}
			e := &childEvent{child: c, id: a.ID, event: a.Event}
			c.events[a.ID] = e
			c.relay.attach(e)
		}
		for _, id := range w.Drop {
			if e := c.events[id]; e != nil {
				c.relay.detach(e)
				c.drop(e)
				delete(c.events, id)
			}
		}
	}
}

func (c *child) drop(e *childEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.dropped = true
}

// queue has the writer look at an event. It never blocks.
func (c *child) queue(e *childEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.queued {
		return
	}
	e.queued = true
	c.dirty = append(c.dirty, e)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// takeDirty returns the events to look at. Whatever comes later queues them
// again.
func (c *child) takeDirty() []*childEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*childEvent
	for _, e := range c.dirty {
		e.queued = false
		if !e.dropped {
			list = append(list, e)
		}
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	return list
}

// write sends what is new, and a sign of life at once and each feedBeat.
func (c *child) write(ctx context.Context) {
	if c.send(ctx, nil) != nil {
		return
	}
	beat := time.NewTicker(feedBeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			err = c.send(ctx, nil)
		case <-c.wake:
			err = c.flush(ctx)
		}
		if err != nil {
			return
		}
	}
}

// flush sends what is new of the dirty events: of each the newest board at the
// time when it is its turn.
func (c *child) flush(ctx context.Context) error {
	var boards []grandstand.FeedBoard
	size := 0
	for _, e := range c.takeDirty() {
		board, delta := e.source.since(e.sent)
		if delta == nil && e.told {
			continue
		}
		e.sent, e.told = board, true
		boards = append(boards, grandstand.FeedBoard{ID: e.id, Delta: delta})
		if size += len(delta); size < feedBatch {
			continue
		}
		if err := c.send(ctx, boards); err != nil {
			return err
		}
		boards, size = boards[:0], 0
	}
	if len(boards) == 0 {
		return nil
	}
	return c.send(ctx, boards)
}

func (c *child) send(ctx context.Context, boards []grandstand.FeedBoard) error {
	c.buf = grandstand.AppendFeedBoards(c.buf[:0], &grandstand.FeedBoards{
		Now: c.relay.cfg.Clock.Now(), Depth: int(c.relay.depth.Load()), Boards: boards,
	})
	c.relay.metrics.sent.Add(float64(len(c.buf)))
	return writeFeed(ctx, c.conn, c.buf)
}

// writeFeed writes one message within feedWrite.
func writeFeed(ctx context.Context, conn *websocket.Conn, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, feedWrite)
	defer cancel()
	return conn.Write(ctx, websocket.MessageBinary, b)
}

// readFeed reads one message within a time.
func readFeed(ctx context.Context, conn *websocket.Conn, within time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, b, err := conn.Read(ctx)
	return b, err
}
