package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type httpRequest = http.Request

// pipes is a listener of connections in memory, which time in a bubble can
// stand still over.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// proxyAddr is where connections in memory come from.
const proxyAddr = "192.0.2.1"

type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(proxyAddr), Port: 4711} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- pipeConn{b}:
		return a, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// smallBuffers accepts connections whose buffers are soon full.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// rig is a gateway that serves over pipes or TCP.
type rig struct {
	t      *testing.T
	g      *Gateway
	redis  *fakeRedis
	hub    *fakeHub
	auth   *fakeAuth
	reg    *prometheus.Registry
	client *http.Client
	url    string
	stop   func()
}

// rigConfig is what a test wants otherwise.
type rigConfig struct {
	redis *fakeRedis
	tcp   bool
	set   func(*Config)
}

func newRig(t *testing.T, rc rigConfig) *rig {
	t.Helper()
	if rc.redis == nil {
		rc.redis = newFakeRedis()
	}
	rg := &rig{t: t, redis: rc.redis, hub: newFakeHub(), auth: &fakeAuth{}, reg: prometheus.NewRegistry()}
	cfg := Config{
		Secret: []byte("0123456789abcdef"), Clock: fakeClock{}, Sessions: rc.redis, Tallies: rc.redis, Registry: rc.redis,
		Events: rc.redis, Members: rc.redis, Hub: rg.hub, Auth: rg.auth, OpenEvents: true, Registerer: rg.reg,
	}
	if rc.set != nil {
		rc.set(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rg.g = g
	var l net.Listener
	transport := &http.Transport{}
	if rc.tcp {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		rg.url = "http://" + l.Addr().String()
		l = smallBuffers{l}
	} else {
		p := newPipes()
		l = p
		rg.url = "http://gateway.test"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) }
	}
	rg.client = &http.Client{Transport: transport}
	srv := &http.Server{Handler: g.Handler()}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(l) })
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	rg.stop = sync.OnceFunc(func() {
		cancel()
		transport.CloseIdleConnections()
		srv.Close()
		wg.Wait()
	})
	t.Cleanup(rg.stop)
	return rg
}

// inBubble runs a test whose time is virtual.
func inBubble(t *testing.T, rc rigConfig, f func(t *testing.T, rg *rig)) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRig(t, rc)
		time.Sleep(10 * time.Millisecond) // off the phase of the ticks
		f(t, rg)
		rg.stop()
	})
}

// viewer is a stock WebSocket client.
type viewer struct {
	t       *testing.T
	c       *websocket.Conn
	session string
	got     chan map[string]any // all messages but hello
	closed  chan error
	sent    int
}

// watch connects a viewer; query is such as "viewer=v1&team=KC".
func (rg *rig) watch(query string) *viewer {
	rg.t.Helper()
	v, err := rg.try("final", query, nil)
	if err != nil {
		rg.t.Fatal(err)
	}
	return v
}

// try connects a viewer and reads hello.
func (rg *rig) try(event, query string, header http.Header) (*viewer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, rg.url+"/v1/events/"+event+"/live?"+query, &websocket.DialOptions{
		HTTPClient: rg.client, HTTPHeader: header, Subprotocols: []string{subprotocol},
	})
	if err != nil {
		if resp != nil && resp.Body != nil {
			b, _ := io.ReadAll(resp.Body)
			return nil, fmt.Errorf("%d %s", resp.StatusCode, b)
		}
		return nil, err
	}
	v := &viewer{t: rg.t, c: c, got: make(chan map[string]any, 1000), closed: make(chan error, 1)}
	_, b, err := c.Read(ctx)
	if err != nil {
		c.CloseNow()
		return nil, err
	}
	hello := decode(rg.t, b)
	if _, said := hello["acks"]; hello["t"] != "hello" || said != (rg.g.cfg.Journal == nil) || said && hello["acks"] != false {
		rg.t.Errorf("the first message is %s", b)
	}
	v.session, _ = hello["session"].(string)
	go v.read()
	rg.t.Cleanup(func() { c.CloseNow() })
	return v, nil
}

func (v *viewer) read() {
	for {
		_, b, err := v.c.Read(context.Background())
		if err != nil {
			v.closed <- err
			return
		}
		v.got <- decode(v.t, b)
	}
}

func decode(t *testing.T, b []byte) map[string]any {
	m := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil {
		t.Errorf("%v in %q", err, b)
	}
	return m
}

// send sends a message as it is.
func (v *viewer) send(text string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := v.c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		v.t.Errorf("send %.40s: %v", text, err)
	}
}

func (v *viewer) beat() {
	v.t.Helper()
	v.sent++
	v.send(fmt.Sprintf(`{"t":"beat","seq":%d,"state":"playing"}`, v.sent))
}

// next returns the next message of the type, dropping others.
func (v *viewer) next(typ string) map[string]any {
	v.t.Helper()
	return v.nextWithin(typ, 20*time.Second)
}

func (v *viewer) nextWithin(typ string, d time.Duration) map[string]any {
	v.t.Helper()
	timeout := time.After(d)
	for {
		select {
		case m := <-v.got:
			if m["t"] == typ {
				return m
			}
		case err := <-v.closed:
			v.closed <- err
			v.t.Fatalf("closed while waiting for %s: %v", typ, err)
		case <-timeout:
			v.t.Fatalf("no %s within %v", typ, d)
		}
	}
}

// wantClose waits for the connection to be closed with the code.
func (v *viewer) wantClose(code int, within time.Duration) {
	v.t.Helper()
	select {
	case err := <-v.closed:
		if got := websocket.CloseStatus(err); int(got) != code {
			v.t.Errorf("closed with %d (%v), want %d", got, err, code)
		}
		v.c.CloseNow()
	case <-time.After(within):
		v.t.Fatalf("not closed within %v, want %d", within, code)
	}
}

// leave closes cleanly.
func (v *viewer) leave() { v.c.Close(websocket.StatusNormalClosure, "") }

// cut is a reset: no close frame.
func (v *viewer) cut() { v.c.CloseNow() }

// world returns the world's sessions in a counts message.
func world(m map[string]any) int {
	n, ok := m["n"].(map[string]any)["world"].([]any)
	if !ok {
		return -1
	}
	return int(n[0].(float64))
}

// get requests a path and returns the status and the body.
func (rg *rig) do(method, path, body string) (int, string, http.Header) {
	rg.t.Helper()
	req, err := http.NewRequest(method, rg.url+path, strings.NewReader(body))
	if err != nil {
		rg.t.Fatal(err)
	}
	resp, err := rg.client.Do(req)
	if err != nil {
		rg.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		rg.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// metric returns the sum of a metric's values with the label value, "" for any.
func (rg *rig) metric(name, label string) (sum float64) {
	rg.t.Helper()
	families, err := rg.reg.Gather()
	if err != nil {
		rg.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "grandstand_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == label
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// ticked waits for the end of the next tick.
func ticked() {
	now := time.Now().UnixMilli()
	time.Sleep(time.Duration(2000-now%2000+100) * time.Millisecond)
	synctest.Wait()
}

var _ Auth = (*fakeAuth)(nil)
var _ Sessions = (*fakeRedis)(nil)
var _ Tallies = (*fakeRedis)(nil)
var _ Events = (*fakeRedis)(nil)
var _ Members = (*fakeRedis)(nil)
var _ grandstand.Admitter = (*fakeRedis)(nil)
var _ Hub = (*fakeHub)(nil)
