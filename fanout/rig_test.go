package fanout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"grandstand"
)

// treeTick is the tick of the events in tests of the tree.
const treeTick = 2 * time.Second

// cluster is gateways with their feeds in a synctest bubble: a Redis that
// publishes boards, and a network of pipes.
type cluster struct {
	t      *testing.T
	fanout int

	mu     sync.Mutex
	nodes  map[string]*gatewayNode // by id, which is its address too
	joined int64
	last   map[int]*grandstand.ShardBoard // of each shard
	boards int
}

// gatewayNode is one gateway as the tree knows it.
type gatewayNode struct {
	c      *cluster
	id     string
	member grandstand.Member
	hub    *Hub
	relay  *Relay
	up     *Upstream
	server *http.Server
	accept chan net.Conn
	gone   chan struct{} // closed with the listener
	stop   context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	cut    bool                                 // guarded by mu: its way to Redis is
	feeds  map[int]func(*grandstand.ShardBoard) // guarded by mu: its readers of Redis
	feed   int                                  // guarded by mu
	frozen bool                                 // guarded by mu: it takes and sends nothing
	conns  map[*freezable]struct{}              // guarded by mu: of its children
}

func newCluster(t *testing.T, fanout int) *cluster {
	return &cluster{t: t, fanout: fanout, nodes: map[string]*gatewayNode{}, last: map[int]*grandstand.ShardBoard{}}
}

// start adds a gateway; from is what --upstream says.
func (c *cluster) start(id, from string) *gatewayNode {
	c.t.Helper()
	n := &gatewayNode{c: c, id: id, accept: make(chan net.Conn), gone: make(chan struct{}), feeds: map[int]func(*grandstand.ShardBoard){}, conns: map[*freezable]struct{}{}}
	n.hub = New(Config{Clock: bubbleClock{}})
	n.relay = NewRelay(RelayConfig{Hub: n.hub, Clock: bubbleClock{}, Secret: []byte("secret"), Fanout: c.fanout})
	var err error
	n.up, err = NewUpstream(UpstreamConfig{
		Hub: n.hub, Clock: bubbleClock{}, Redis: n, Secret: []byte("secret"), From: from, Self: id, Fanout: c.fanout, Relay: n.relay, Dial: c.dial,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(FeedPath, n.relay)
	n.server = &http.Server{Handler: mux}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.wg.Go(func() { n.hub.Run(ctx) })
	n.wg.Go(func() { n.up.Run(ctx) })
	n.wg.Go(func() { n.server.Serve(listener{n}) })
	c.mu.Lock()
	c.joined++
	n.member = grandstand.Member{ID: id, Role: grandstand.RoleGateway, Peer: id, JoinedAt: c.joined, Alive: true, Outside: n.up.Outside()}
	c.nodes[id] = n
	c.mu.Unlock()
	return n
}

// kill ends a gateway as a kill -9 does: its connections break, and it stays
// listed.
func (n *gatewayNode) kill() {
	n.stop()
	n.relay.Close(context.Background())
	n.server.Close()
	n.wg.Wait()
}

// tell tells every gateway who the members are.
func (c *cluster) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var members []grandstand.Member
	for _, n := range c.nodes {
		members = append(members, n.member)
	}
	for _, n := range c.nodes {
		n.up.Learn(members)
	}
}

// unlist takes a gateway from the members and tells the others.
func (c *cluster) unlist(n *gatewayNode) {
	c.mu.Lock()
	delete(c.nodes, n.id)
	c.mu.Unlock()
	c.tell()
}

func (c *cluster) stopAll() {
	for _, n := range c.nodes {
		n.freeze(false)
		n.kill()
	}
}

// publish publishes a board of an event with so many sessions as of now.
func (c *cluster) publish(event string, sessions uint64) {
	c.mu.Lock()
	c.boards++
	sb := of(1, board(event, time.Now().UnixMilli(), sessions))
	c.last[sb.Shard] = sb
	var nodes []*gatewayNode
	for _, n := range c.nodes {
		nodes = append(nodes, n)
	}
	c.mu.Unlock()
	for _, n := range nodes {
		n.mu.Lock()
		feeds := slices.Collect(maps.Values(n.feeds))
		if n.cut {
			feeds = nil
		}
		n.mu.Unlock()
		for _, apply := range feeds {
			apply(sb)
		}
	}
}

// tick publishes a new board of each event, then lets a tick go by.
func (c *cluster) tick(events ...string) {
	for _, e := range events {
		c.publish(e, uint64(10+c.boards))
	}
	time.Sleep(treeTick)
	synctest.Wait()
}

// Follow is the gateway's way to Redis.
func (n *gatewayNode) Follow(ctx context.Context, apply func(*grandstand.ShardBoard)) error {
	n.c.mu.Lock()
	var snapshot []*grandstand.ShardBoard
	for _, sb := range n.c.last {
		snapshot = append(snapshot, sb)
	}
	n.c.mu.Unlock()
	n.mu.Lock()
	n.feed++
	id, cut := n.feed, n.cut
	n.feeds[id] = apply
	n.mu.Unlock()
	if !cut {
		for _, sb := range snapshot {
			apply(sb)
		}
	}
	<-ctx.Done()
	n.mu.Lock()
	delete(n.feeds, id)
	n.mu.Unlock()
	return nil
}

func (n *gatewayNode) readsRedis() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.feeds) > 0
}

func (n *gatewayNode) setCut(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
}

// freeze has the gateway send nothing to its children, though their connections
// hold.
func (n *gatewayNode) freeze(frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = frozen
	for c := range n.conns {
		c.set(frozen)
	}
}

// parent returns the address that it reads from, "" for Redis.
func (n *gatewayNode) parent() (address string) {
	for id := range n.c.nodes {
		if testutil.ToFloat64(n.up.metrics.parent.WithLabelValues(id)) == 1 {
			address = id
		}
	}
	return address
}

func (n *gatewayNode) depth() int { return int(testutil.ToFloat64(n.up.metrics.depth)) }

func (n *gatewayNode) switches(why string) int {
	return int(testutil.ToFloat64(n.up.metrics.switches.WithLabelValues(why)))
}

func (c *cluster) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	c.mu.Lock()
	n := c.nodes[host]
	c.mu.Unlock()
	if n == nil {
		return nil, errors.New("no such host")
	}
	ours, theirs := net.Pipe()
	select {
	case n.accept <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.gone:
		return nil, errors.New("connection refused")
	}
}

type listener struct{ n *gatewayNode }

func (l listener) Accept() (net.Conn, error) {
	var conn net.Conn
	select {
	case conn = <-l.n.accept:
	case <-l.n.gone:
		return nil, net.ErrClosed
	}
	f := &freezable{Conn: conn}
	f.cond = sync.NewCond(&f.mu)
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	f.frozen = l.n.frozen
	l.n.conns[f] = struct{}{}
	return f, nil
}

func (l listener) Close() error {
	close(l.n.gone)
	return nil
}

func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// freezable is a connection that can be made to send nothing.
type freezable struct {
	net.Conn
	mu     sync.Mutex
	cond   *sync.Cond
	frozen bool
}

func (f *freezable) set(frozen bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = frozen
	f.cond.Broadcast()
}

func (f *freezable) Write(p []byte) (int, error) {
	f.mu.Lock()
	for f.frozen {
		f.cond.Wait()
	}
	f.mu.Unlock()
	return f.Conn.Write(p)
}

func (f *freezable) Close() error {
	f.set(false)
	return f.Conn.Close()
}

// viewer is somebody who is shown an event on a gateway.
type viewer struct {
	t      *testing.T
	name   string
	cancel func()

	mu     sync.Mutex
	frames int
	at     int64
	last   time.Time
	gap    time.Duration // the longest between two new boards
	world  uint64
}

func (n *gatewayNode) view(t *testing.T, event string) *viewer {
	v := &viewer{t: t, name: event + " on " + n.id, last: time.Now()}
	v.mu.Lock()
	defer v.mu.Unlock()
	_, v.cancel = n.hub.Subscribe(testEvent(event), v.notify)
	return v
}

func (v *viewer) notify(view *grandstand.View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := view.Board
	if b.At < v.at {
		v.t.Errorf("%s: at went back from %d to %d", v.name, v.at, b.At)
	}
	if b.At == v.at {
		return // it is stale
	}
	v.frames++
	v.at, v.world = b.At, worldOf(b)
	v.gap, v.last = max(v.gap, time.Since(v.last)), time.Now()
}

// seen returns how many boards came, and the last number.
func (v *viewer) seen() (frames int, world uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.frames, v.world
}

// longest returns the longest time without a new board, and begins anew.
func (v *viewer) longest() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	gap := max(v.gap, time.Since(v.last))
	v.gap = 0
	return gap
}

// treeOf starts n gateways and waits until they have found their places. Their
// boards of the event "final" are published each tick from then on by tick.
func treeOf(t *testing.T, n, fanout int) (*cluster, []*gatewayNode) {
	c := newCluster(t, fanout)
	list := make([]*gatewayNode, n)
	for i := range list {
		list[i] = c.start(fmt.Sprintf("g%d", i), "")
	}
	c.tell()
	for range 5 {
		c.tick("final")
	}
	return c, list
}

// begin forgets what was before.
func (v *viewer) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gap, v.last = 0, time.Now()
}
