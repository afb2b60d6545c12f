package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"grandstand"
	"grandstand/gateway/journal"
)

// benchGateway is a gateway that nobody runs.
func benchGateway(b *testing.B) (*Gateway, *fakeHub, *fakeRedis) {
	redis, hub := newFakeRedis(), newFakeHub()
	g, err := New(Config{Secret: []byte("secret"), Clock: fakeClock{}, Sessions: redis, Tallies: redis, Registry: redis,
		Events: redis, Members: redis, Hub: hub, Auth: &fakeAuth{}, OpenEvents: true, MessageRate: 1e12, MessageBurst: 1e12})
	if err != nil {
		b.Fatal(err)
	}
	return g, hub, redis
}

func benchEvent(b *testing.B, redis *fakeRedis) *grandstand.Event {
	e := &grandstand.Event{Name: "final", State: grandstand.EventLive, UpdatedAt: 1}
	if err := e.Normalize(); err != nil {
		b.Fatal(err)
	}
	redis.events["final"] = *e
	return e
}

// openSessions fills the event's room with sessions of 250 audiences.
func openSessions(b *testing.B, g *Gateway, e *grandstand.Event, n int) *room {
	r := g.room(e)
	for i := range n {
		a, _, err := r.fold(b.Context(), map[string]string{"country": "US", "region": fmt.Sprintf("US-%d", i%50), "team": fmt.Sprint(i % 5)})
		if err != nil {
			b.Fatal(err)
		}
		r.join(&joining{viewer: r.key.Viewer(fmt.Sprint(i)), audience: a, intervalMS: 60_000})
	}
	return r
}

func BenchmarkDecodeAndRenewABeat(b *testing.B) {
	g, _, redis := benchGateway(b)
	r := openSessions(b, g, benchEvent(b, redis), 1)
	c := &conn{g: g, room: r, session: r.list[0]}
	c.w.g = g
	text := []byte(`{"t":"beat","seq":1,"state":"playing","pos":12.3,"bitrate":4500,"interval_ms":10000}`)
	in := &incoming{}
	b.ReportAllocs()
	for b.Loop() {
		c.take(opText, text, in, g.cfg.Clock.Now(), false)
	}
}

// memoryJournal encodes events, and forgets them. A hundred are a
// commit.
type memoryJournal struct {
	b     []byte
	waits []journal.Waiter
	seqs  []uint64
	g     *Gateway
}

func (j *memoryJournal) Gather(time.Duration) {}

func (j *memoryJournal) Append(e *grandstand.RawEvent, w journal.Waiter) error {
	j.b = grandstand.AppendEventRecord(j.b, e)
	if w != nil {
		j.waits, j.seqs = append(j.waits, w), append(j.seqs, e.Seq)
	}
	if len(j.waits) == 100 {
		for i, w := range j.waits {
			w.Durable(j.seqs[i])
		}
		j.g.Committed()
		j.b, j.waits, j.seqs = j.b[:0], j.waits[:0], j.seqs[:0]
	}
	return nil
}

// BenchmarkKeepABeat is BenchmarkDecodeAndRenewABeat with a journal, but for its
// disk: the beat is encoded, and what its connection is to be told worked out.
func BenchmarkKeepABeat(b *testing.B) {
	g, _, redis := benchGateway(b)
	j := &memoryJournal{g: g}
	g.cfg.Journal = j
	r := openSessions(b, g, benchEvent(b, redis), 1)
	c := &conn{g: g, room: r, session: r.list[0]}
	c.w.g, c.w.dead = g, true // what it costs to write to a socket is another benchmark
	in := &incoming{}
	seq := uint64(0)
	text := make([]byte, 0, 128)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go g.acker.run(ctx)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		text = strconv.AppendUint(append(text[:0], `{"t":"beat","seq":`...), seq, 10)
		text = append(text, `,"state":"playing","pos":12.3,"bitrate":4500,"interval_ms":10000}`...)
		c.take(opText, text, in, g.cfg.Clock.Now(), false)
	}
	if n := r.list[0].written.events; uint64(n) != seq {
		b.Errorf("%d of %d beats are kept", n, seq)
	}
}

func BenchmarkTick20000Sessions(b *testing.B) {
	for _, changed := range []bool{true, false} {
		b.Run(fmt.Sprintf("changed=%v", changed), func(b *testing.B) {
			g, _, redis := benchGateway(b)
			r := openSessions(b, g, benchEvent(b, redis), 20_000)
			t := &ticker{g: g, tallier: grandstand.NewTallier()}
			t.count(g.cfg.Clock.Now())
			b.ReportAllocs()
			for b.Loop() {
				r.dirty.Store(changed)
				t.count(g.cfg.Clock.Now())
			}
		})
	}
}

func BenchmarkTick10000Events(b *testing.B) {
	g, _, _ := benchGateway(b)
	for i := range 10_000 {
		e := &grandstand.Event{Name: fmt.Sprintf("e%d", i), State: grandstand.EventLive, UpdatedAt: 1}
		if err := e.Normalize(); err != nil {
			b.Fatal(err)
		}
		openSessions(b, g, e, 2)
	}
	t := &ticker{g: g, tallier: grandstand.NewTallier()}
	t.once(b.Context(), false)
	rooms := g.allRooms()
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range rooms[:10] { // ten of them change
			r.dirty.Store(true)
		}
		t.once(b.Context(), false)
	}
}

// BenchmarkPushAFrame pushes each frame to 1,000 TCP connections of 250
// audiences; one operation is one frame to one of them.
func BenchmarkPushAFrame(b *testing.B) {
	const conns = 1000
	g, _, redis := benchGateway(b)
	e := benchEvent(b, redis)
	r := openSessions(b, g, e, conns)
	gr := &group{pool: &g.pool}
	defer g.poller.stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for i := range conns {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		go io.Copy(io.Discard, client)
		c := &conn{g: g, session: r.list[i], room: r}
		c.w.g, c.w.sock = g, g.socketOf(server)
		gr.add(c)
		defer c.w.sock.close()
		defer client.Close()
	}
	w := &worker{g: g}
	at := g.cfg.Clock.Now()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if n%conns == 0 {
			at++
			bd := board("final", at, uint64(at), "country:US", int(at))
			gr.next.Store(grandstand.NewView(bd, e.Dims, nil))
			w.serve(gr)
		}
		n++
	}
}

func BenchmarkGetCounts(b *testing.B) {
	g, hub, redis := benchGateway(b)
	e := benchEvent(b, redis)
	g.state.Store(phaseRunning)
	segments := []any{}
	for i := range 300 {
		segments = append(segments, fmt.Sprintf("region:US-%d", i), 1000)
	}
	hub.show(board(e.Name, g.cfg.Clock.Now(), 300_000, segments...))
	for _, query := range []string{"", "?segment=region:US-7"} {
		b.Run(query, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "/v1/events/final/counts"+query, nil)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				g.Handler().ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}

// BenchmarkIdleConnection reports what an idle connection takes of heap and
// stacks. Its client, in the same process, is a bare TCP connection and counted
// too: some 600 bytes.
func BenchmarkIdleConnection(b *testing.B) {
	const conns = 2000
	redis, hub := newFakeRedis(), newFakeHub()
	cfg := Config{Secret: []byte("secret"), Clock: fakeClock{}, Sessions: redis, Tallies: redis, Registry: redis,
		Events: redis, Members: redis, Hub: hub, Auth: &fakeAuth{}, OpenEvents: true}
	for b.Loop() {
		g, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{})
		go func() { g.Run(ctx); close(ended) }()
		srv := httptest.NewServer(g.Handler())
		for !g.Ready() {
			time.Sleep(time.Millisecond)
		}
		before := memory()
		clients := make([]net.Conn, conns)
		var buf [4096]byte
		for i := range clients {
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(c, "GET /v1/events/final/live?viewer=v%d&device=d%d&country=US&region=US-CA&team=KC&interval_ms=60000 HTTP/1.1\r\n"+
				"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: grandstand.v1\r\n\r\n", i, i)
			if _, err := c.Read(buf[:]); err != nil {
				b.Fatal(err)
			}
			clients[i] = c
		}
		time.Sleep(1500 * time.Millisecond) // greeted, and their records kept
		b.ReportMetric(float64(memory()-before)/conns, "B/conn")
		for _, c := range clients {
			c.Close()
		}
		cancel()
		<-ended
		srv.Close()
	}
}

// memory returns the bytes of live heap and of stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// instantLeases grants everything at once, without allocating.
type instantLeases struct {
	asks    int
	answers [leaseBatch]grandstand.Answer
}

func (l *instantLeases) Ask(_ context.Context, asks []grandstand.Ask) []grandstand.Answer {
	l.asks += len(asks)
	for i := range asks {
		l.answers[i] = grandstand.Answer{Verdict: grandstand.Verdict{
			Allowed: true, Outcome: grandstand.OutcomeRenewed, Rule: "token", Hold: grandstand.Hold{Since: 1, Born: 1, Granted: 2},
		}}
	}
	return l.answers[:len(asks)]
}
func (*instantLeases) Leave(context.Context, []grandstand.Leave) error { return nil }
func (*instantLeases) Account(context.Context, grandstand.Key) (*grandstand.AccountState, error) {
	return &grandstand.AccountState{}, nil
}
func (*instantLeases) FollowNotices(ctx context.Context, _ string, _ func(grandstand.Key)) error {
	<-ctx.Done()
	return ctx.Err()
}

// BenchmarkRenewALease is a beat of a session with a lease, from the message to
// the answer carried out, but for Redis: 256 sessions beat, then one call asks
// for all of them. Compare it with the beat of a session that nobody pays for.
func BenchmarkRenewALease(b *testing.B) {
	for _, leased := range []bool{true, false} {
		b.Run(fmt.Sprintf("leased=%v", leased), func(b *testing.B) {
			g, _, redis := benchGateway(b)
			leases := &instantLeases{}
			g.cfg.Leases = leases
			g.leaser = newLeaser(g)
			r := g.room(benchEvent(b, redis))
			a, _, err := r.fold(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			conns := make([]*conn, leaseBatch)
			for i := range conns {
				j := &joining{viewer: r.key.Viewer(fmt.Sprint(i)), audience: a, intervalMS: 10_000}
				if leased {
					j.payer = payer{account: accountKey(fmt.Sprint(i)), device: accountKey("d"), name: "TV", limit: 2}
				}
				conns[i] = &conn{g: g, room: r, session: r.join(j)}
				conns[i].w.g = g
			}
			text := []byte(`{"t":"beat","seq":1,"state":"playing","pos":12.3,"bitrate":4500,"interval_ms":10000}`)
			in := &incoming{}
			var calls sync.WaitGroup
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				c := conns[n%leaseBatch]
				if l := c.session.lease; l != nil {
					l.askedBeat = 0 // as if the last beat was long ago
				}
				c.take(opText, text, in, g.cfg.Clock.Now(), false)
				if n++; n%leaseBatch == 0 && leased {
					g.leaser.drain(b.Context(), &calls)
					calls.Wait()
				}
			}
			if leased && leases.asks < n-leaseBatch {
				b.Errorf("%d asks for %d beats", leases.asks, n)
			}
		})
	}
}

// BenchmarkSessionMemory reports what a session takes without its socket.
func BenchmarkSessionMemory(b *testing.B) {
	const sessions = 10_000
	for _, leased := range []bool{true, false} {
		b.Run(fmt.Sprintf("leased=%v", leased), func(b *testing.B) {
			for b.Loop() {
				g, _, redis := benchGateway(b)
				g.cfg.Leases = &instantLeases{}
				g.leaser = newLeaser(g)
				r := g.room(benchEvent(b, redis))
				a, _, err := r.fold(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				before := memory()
				var calls sync.WaitGroup
				for i := range sessions {
					j := &joining{viewer: r.key.Viewer(fmt.Sprint(i)), audience: a, intervalMS: 10_000}
					if leased {
						j.payer = payer{account: accountKey(fmt.Sprint(i)), device: accountKey("d"), name: "TV", limit: 2}
					}
					r.join(j)
				}
				if leased {
					g.leaser.drain(b.Context(), &calls)
					calls.Wait()
				}
				b.ReportMetric(float64(memory()-before)/sessions, "B/session")
				runtime.KeepAlive(g)
			}
		})
	}
}
