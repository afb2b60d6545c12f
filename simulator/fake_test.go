package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// fake is a deployment of some gateways in one: it counts rightly, unless it is
// told to lie.
type fake struct {
	tick, beat time.Duration
	tell       func(*fakeBoard)                // changes what is shown, per tick
	tellOne    func(n int, b fakeBoard) []byte // changes what the n-th connection gets; nil: as it is
	keep       func(c *fakeConn, seq int64)    // takes a beat to the journal
	ignore     func(viewer, team string) bool  // sessions that are never counted
	frozen     func(gateway int) bool          // reads nothing and says nothing

	mu       sync.Mutex
	sessions map[string]*fakeSession
	conns    map[*fakeConn]bool
	made     int
	epoch    int64
	ahead    int64 // ms, of its clock
	newest   fakeBoard
	peaks    map[grandstand.Segment]int
	watchers map[chan fakeBoard]bool
}

type fakeSession struct {
	id     string
	viewer string
	segs   []grandstand.Segment
	beatAt time.Time
	linger time.Duration
	left   bool
	conn   *fakeConn
}

type fakeConn struct {
	n       int
	gateway int
	session *fakeSession
	out     chan []byte
	closing chan websocket.StatusCode
}

type fakeBoard struct {
	at       int64
	epoch    int64
	ahead    int64
	sessions map[grandstand.Segment]int
	fans     map[grandstand.Segment]int
	peaks    map[grandstand.Segment]int
	full     func(map[string]any) // changes the full board only
	silent   bool                 // nobody gets this one
	quality  string
}

func newFake() *fake {
	return &fake{
		tick: 2 * time.Second, beat: 10 * time.Second, epoch: 1,
		sessions: map[string]*fakeSession{}, conns: map[*fakeConn]bool{},
		peaks: map[grandstand.Segment]int{}, watchers: map[chan fakeBoard]bool{},
	}
}

// pipeListener lets an http.Server serve net.Pipe, which a synctest bubble can
// wait for.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// pipeDial dials listeners in place of gateways.
func pipeDial(listeners []*pipeListener) func(context.Context, int, int) (net.Conn, error) {
	return func(ctx context.Context, gateway, _ int) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case listeners[gateway].conns <- theirs:
			return ours, nil
		case <-listeners[gateway].done:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// serve starts n gateways. It returns a Config that dials them, and a function
// that ends them and waits.
func (f *fake) serve(t *testing.T, n int) (Config, func()) {
	t.Helper()
	cfg := Config{Event: "final", Probes: -1}
	var listeners []*pipeListener
	var servers []*http.Server
	var wg sync.WaitGroup
	for i := range n {
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/events/final/live", func(w http.ResponseWriter, r *http.Request) { f.live(w, r, i) })
		mux.HandleFunc("GET /v1/events/final/counts/stream", f.stream)
		s := &http.Server{Handler: mux}
		wg.Go(func() { s.Serve(l) })
		listeners, servers = append(listeners, l), append(servers, s)
		cfg.Addresses = append(cfg.Addresses, fmt.Sprintf("gateway-%d:80", i))
	}
	cfg.dial = pipeDial(listeners)
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { f.run(ctx) })
	return cfg, func() {
		cancel()
		for _, s := range servers {
			s.Close()
		}
		wg.Wait()
	}
}

func (f *fake) run(ctx context.Context) {
	ticker := time.NewTicker(f.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.count()
		}
	}
}

// count makes the board of a tick and sends it to everybody.
func (f *fake) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	b := fakeBoard{
		at:       now.UnixMilli() + f.ahead,
		epoch:    f.epoch,
		ahead:    f.ahead,
		sessions: map[grandstand.Segment]int{grandstand.WorldSegment: 0},
		fans:     map[grandstand.Segment]int{},
	}
	viewers := map[grandstand.Segment]map[string]bool{}
	for id, s := range f.sessions {
		if s.left || now.Sub(s.beatAt) >= s.linger {
			if s.conn == nil {
				delete(f.sessions, id)
			}
			continue
		}
		if f.ignore != nil && f.ignore(s.viewer, s.segs[3].Value) {
			continue
		}
		for _, seg := range s.segs {
			if viewers[seg] == nil {
				viewers[seg] = map[string]bool{}
			}
			b.sessions[seg]++
			viewers[seg][s.viewer] = true
			b.fans[seg] = len(viewers[seg])
		}
	}
	for seg, n := range b.sessions {
		f.peaks[seg] = max(f.peaks[seg], n)
	}
	b.peaks = maps.Clone(f.peaks)
	if f.tell != nil {
		f.tell(&b)
	}
	if b.silent {
		return
	}
	f.newest = b
	for c := range f.conns {
		f.send(c)
	}
	for w := range f.watchers {
		select {
		case w <- b:
		default:
		}
	}
}

func (f *fake) send(c *fakeConn) {
	if f.newest.at == 0 || f.isFrozen(c.gateway) {
		return
	}
	msg := f.newest.frame(c.session.segs)
	if f.tellOne != nil {
		if other := f.tellOne(c.n, f.newest); other != nil {
			msg = other
		}
	}
	select {
	case c.out <- msg:
	default:
	}
}

func (b fakeBoard) frame(segs []grandstand.Segment) []byte {
	var parts []string
	for _, s := range segs {
		parts = append(parts, fmt.Sprintf(`%q:[%d,%d]`, s.Dim, b.sessions[s], b.fans[s]))
	}
	q := ""
	if b.quality != "" {
		q = fmt.Sprintf(`"q":%q,`, b.quality)
	}
	return fmt.Appendf(nil, `{"t":"counts","at":%d,"age":%d,"epoch":%d,%s"n":{%s}}`,
		b.at, b.age(), b.epoch, q, strings.Join(parts, ","))
}

// age returns ms since the board was counted.
func (b fakeBoard) age() int64 { return time.Now().UnixMilli() + b.ahead - b.at }

func (b fakeBoard) json() []byte {
	dims := map[string]any{}
	for seg, n := range b.sessions {
		c := map[string]any{"sessions": n, "fans": b.fans[seg], "peak": b.peaks[seg], "reach": b.fans[seg]}
		if seg.Dim == grandstand.World {
			dims[seg.Dim] = c
			continue
		}
		if dims[seg.Dim] == nil {
			dims[seg.Dim] = map[string]any{}
		}
		dims[seg.Dim].(map[string]any)[seg.Value] = c
	}
	q := b.quality
	if q == "" {
		q = "live"
	}
	body := map[string]any{"event": "final", "at": b.at, "age_ms": b.age(), "epoch": b.epoch, "quality": q, "dims": dims}
	if b.full != nil {
		b.full(dims)
	}
	out, _ := json.Marshal(body)
	return out
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	ch := make(chan fakeBoard, 4)
	f.mu.Lock()
	f.watchers[ch] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, ch)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	http.NewResponseController(w).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case b := <-ch:
			fmt.Fprintf(w, "event: counts\ndata: %s\n\n", b.json())
			http.NewResponseController(w).Flush()
		}
	}
}

// isFrozen reports whether the gateway hangs.
func (f *fake) isFrozen(gateway int) bool { return f.frozen != nil && f.frozen(gateway) }

// live serves one viewer.
func (f *fake) live(w http.ResponseWriter, r *http.Request, gateway int) {
	if f.isFrozen(gateway) {
		<-r.Context().Done()
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"grandstand.v1"}})
	if err != nil {
		return
	}
	defer ws.CloseNow()
	c := f.attach(r, gateway)
	defer f.detach(c)
	ctx, cancel := context.WithCancel(r.Context())
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	writer.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case code := <-c.closing:
				ws.Close(code, "")
				return
			case msg := <-c.out:
				if ws.Write(ctx, websocket.MessageText, msg) != nil {
					return
				}
			}
		}
	})
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			if s := websocket.CloseStatus(err); s == 1000 || s == 1001 {
				f.mu.Lock()
				c.session.left = true
				f.mu.Unlock()
			}
			return
		}
		f.message(c, b)
	}
}

func (f *fake) message(c *fakeConn, b []byte) {
	var m struct {
		T, State string
		Seq      int64
		Interval int64 `json:"interval_ms"`
	}
	if json.Unmarshal(b, &m) != nil || m.T != "beat" {
		panic("the crowd sent " + string(b))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.session.conn != c || f.isFrozen(c.gateway) {
		return
	}
	c.session.beatAt = time.Now()
	c.session.linger = time.Duration(grandstand.LingerMS(m.Interval)) * time.Millisecond
	c.session.left = m.State == "ended"
	if f.keep != nil {
		f.keep(c, m.Seq)
	}
}

func (f *fake) attach(r *http.Request, gateway int) *fakeConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	id := q.Get("session")
	s := f.sessions[id]
	if s == nil {
		if id == "" {
			f.made++
			id = fmt.Sprintf("session-%d", f.made)
		}
		p := person{country: q.Get("country"), region: q.Get("region"), team: q.Get("team")}
		s = &fakeSession{id: id, viewer: q.Get("viewer"), segs: p.segments()}
		f.sessions[id] = s
	}
	s.beatAt, s.left = time.Now(), false
	s.linger = time.Duration(grandstand.LingerMS(f.beat.Milliseconds())) * time.Millisecond
	c := &fakeConn{n: f.made, gateway: gateway, session: s, out: make(chan []byte, 8), closing: make(chan websocket.StatusCode, 1)}
	s.conn = c
	f.conns[c] = true
	c.out <- fmt.Appendf(nil, `{"t":"hello","session":%q,"beat_ms":%d,"tick_ms":%d,"dims":["world","country","region","team"]}`,
		id, f.beat.Milliseconds(), f.tick.Milliseconds())
	f.send(c)
	return c
}

func (f *fake) detach(c *fakeConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	if c.session.conn == c {
		c.session.conn = nil
	}
}

// drain tells everybody on a gateway to go, and closes after the time.
func (f *fake) drain(gateway int, code websocket.StatusCode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if c.gateway == gateway {
			c.closing <- code
		}
	}
}
