package fanout

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

const (
	dialWithin = 2 * time.Second

	// linkSilence is how long a relay may be silent: four of its beats. An
	// Upstream adds some jitter, so that not all children go at once.
	linkSilence = 4 * feedBeat

	// behindMS is how far the boards of a relay may be older than those that came
	// from elsewhere, in ms. The two ways differ by some milliseconds.
	behindMS = 1000
)

// link is a connection to a relay, whose boards it gives to the hub. Its methods
// may be called while it runs.
type link struct {
	address string // static: host:port, or the URL that was pinned
	url     string // static
	hub     *Hub   // static
	up      *Upstream
	cancel  context.CancelFunc // static; ends run
	done    chan struct{}      // static; closed when run has ended

	heard atomic.Int64 // unix ns of this process's clock, of the last message
	depth atomic.Int32 // of the relay; -1 before its first message

	mu      sync.Mutex
	events  map[uint64]*linkEvent // guarded by mu
	ids     map[string]uint64     // guarded by mu
	nextID  uint64                // guarded by mu
	asked   bool                  // guarded by mu: for all that was watched at first
	waiting int                   // guarded by mu: events that the relay has not told of
	err     error                 // guarded by mu: why it ended
}

// linkEvent is an event that the relay was asked for.
type linkEvent struct {
	event string
	board *grandstand.Board // the last that came; nil: none
	told  bool
}

// run connects and reads boards until the relay goes, or ctx ends.
func (l *link) run(ctx context.Context) {
	err := l.serve(ctx)
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	close(l.done)
	l.up.poke()
}

func (l *link) serve(ctx context.Context) error {
	conn, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(feedLimit)
	if conn.Subprotocol() != feedProtocol {
		return errors.New("it does not speak " + feedProtocol)
	}
	l.heard.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer cancel()
		l.ask(ctx, conn)
	})
	defer writer.Wait()
	defer cancel()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if err := l.take(b); err != nil {
			return err
		}
	}
}

func (l *link) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, l.url, &websocket.DialOptions{
		HTTPClient:   l.up.client,
		HTTPHeader:   http.Header{"Authorization": {l.up.token}},
		Subprotocols: []string{feedProtocol},
	})
	return conn, err
}

// ask tells the relay what is watched here, and each watchBeat that somebody
// is.
func (l *link) ask(ctx context.Context, conn *websocket.Conn) {
	w := l.hub.watches.follow()
	defer w.stop()
	beat := time.NewTicker(watchBeat)
	defer beat.Stop()
	for {
		if err := writeFeed(ctx, conn, grandstand.AppendFeedWatch(nil, l.request(w.take()))); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-beat.C:
		}
	}
}

// request turns changes into a message.
func (l *link) request(changes []watchChange) *grandstand.FeedWatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m grandstand.FeedWatch
	for _, c := range changes {
		id, known := l.ids[c.event]
		switch {
		case c.on && !known:
			l.nextID++
			l.ids[c.event], l.events[l.nextID] = l.nextID, &linkEvent{event: c.event}
			l.waiting++
			m.Add = append(m.Add, grandstand.FeedEvent{ID: l.nextID, Event: c.event})
		case !c.on && known:
			if !l.events[id].told {
				l.waiting--
			}
			delete(l.ids, c.event)
			delete(l.events, id)
			m.Drop = append(m.Drop, id)
		}
	}
	l.asked = true
	return &m
}

// take takes one message of the relay.
func (l *link) take(b []byte) error {
	f, err := grandstand.DecodeFeedBoards(b)
	if err != nil {
		return err
	}
	if l.depth.Swap(int32(f.Depth)) != int32(f.Depth) {
		defer l.up.poke()
	}
	l.heard.Store(time.Now().UnixNano())
	l.up.metrics.received.Add(float64(len(b)))
	if f.Depth >= maxDepth {
		return errors.New(refusals[tooDeep])
	}
	if len(f.Boards) > 0 {
		hop := max(l.up.cfg.Clock.Now()-f.Now, 0)
		l.up.metrics.hop.Observe(float64(hop) / 1000)
		l.up.hopMS.Store(uint64(hop))
	}
	for _, fb := range f.Boards {
		if err := l.board(fb); err != nil {
			return err
		}
	}
	return nil
}

// board takes what is new of one event.
func (l *link) board(fb grandstand.FeedBoard) error {
	l.mu.Lock()
	e := l.events[fb.ID]
	l.mu.Unlock()
	if e == nil {
		return nil // it is watched no more
	}
	if len(fb.Delta) == 0 {
		l.hub.none(e.event)
		l.tell(e, nil)
		return nil
	}
	b, err := grandstand.DecodeBoardDelta(e.board, e.event, fb.Delta) // only this goroutine changes it
	if err != nil {
		return err
	}
	l.hub.take(b)
	l.tell(e, b)
	return nil
}

// tell notes what the relay has told of an event.
func (l *link) tell(e *linkEvent, b *grandstand.Board) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.board = b
	if !e.told {
		e.told = true
		if l.events[l.ids[e.event]] == e {
			l.waiting--
		}
		if l.waiting == 0 {
			l.up.poke()
		}
	}
}

// reason says why a link was of no use.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return errors.New("it did not tell of all events in time, or only old ones")
	}
	return l.err
}

// ended reports whether the link has ended.
func (l *link) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// silent reports whether the relay has said nothing for linkSilence and more.
func (l *link) silent(now time.Time, jitter time.Duration) bool {
	heard := l.heard.Load()
	return heard != 0 && now.UnixNano()-heard > (linkSilence+jitter).Nanoseconds()
}

// ready reports whether the relay has told of all events that were watched when
// the link began, and is not behind.
func (l *link) ready() bool {
	l.mu.Lock()
	told := l.asked && l.waiting == 0 && l.depth.Load() >= 0 && !l.ended()
	l.mu.Unlock()
	return told && !l.behind()
}

// behind reports whether the hub was given a newer board of an event than this
// relay has sent: then the relay has lost its own feed.
func (l *link) behind() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if b := l.hub.fresh(e.event); b != nil && e.told && older(e.board, b) {
			return true
		}
	}
	return false
}

// older reports whether b, which may be nil, is too old beside another.
func older(b, than *grandstand.Board) bool {
	if b == nil {
		return !empty(than) && than.Quality != grandstand.Final
	}
	return than.Epoch > b.Epoch || than.Epoch == b.Epoch && than.At-b.At > behindMS
}
