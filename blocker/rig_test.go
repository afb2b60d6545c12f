package blocker

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var secret = []byte("0123456789abcdef")

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

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// rig is a blocker that serves in a bubble.
type rig struct {
	t      *testing.T
	b      *Blocker
	redis  *fakeRedis
	reg    *prometheus.Registry
	pipes  *pipes
	client *http.Client
	keys   grandstand.AccountsKey
	stop   func()
}

// limited has accounts limited to two streams.
func limited(c *Config) {
	c.Rules = func() *grandstand.Rules { return &grandstand.Rules{Limit: 2, Plans: map[string]int{"gold": 4}} }
}

// rules sets the rules.
func rules(r grandstand.Rules) func(*Config) {
	return func(c *Config) { c.Rules = func() *grandstand.Rules { return &r } }
}

// inBubble runs a test whose time is virtual, on a blocker that runs.
func inBubble(t *testing.T, set func(*Config), f func(t *testing.T, rg *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rg := newRig(t, set)
		f(t, rg)
		rg.stop()
	})
}

func newRig(t *testing.T, set func(*Config)) *rig {
	t.Helper()
	rg := &rig{t: t, redis: newFakeRedis(), reg: prometheus.NewRegistry(), pipes: newPipes(), keys: grandstand.NewAccountsKey(secret)}
	cfg := Config{
		Secret: secret, Clock: fakeClock{}, Leases: rg.redis, Accounts: rg.redis, Notices: rg.redis, Events: rg.redis,
		Auth: fakeAuth{}, Registerer: rg.reg,
	}
	if set != nil {
		set(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rg.b = b
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return rg.pipes.dial(ctx) },
	}
	rg.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	server := &http.Server{Handler: b.Handler()}
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(rg.pipes) })
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { b.Run(ctx) })
	synctest.Wait()
	rg.stop = sync.OnceFunc(func() {
		cancel()
		transport.CloseIdleConnections()
		server.Close()
		wg.Wait()
		time.Sleep(time.Second) // that net/http waits for with a connection whose body it did not read
	})
	t.Cleanup(rg.stop)
	return rg
}

// answered is an answer as a client has it.
type answered struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// do sends a request. path is what comes after /v1/accounts/.
func (rg *rig) do(method, path, token, body string) answered {
	rg.t.Helper()
	return rg.send(method, path, token, strings.NewReader(body))
}

func (rg *rig) send(method, path, token string, body io.Reader) answered {
	rg.t.Helper()
	req, err := http.NewRequest(method, "http://blocker.test/v1/accounts/"+path, body)
	if err != nil {
		rg.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := rg.client.Do(req)
	if err != nil {
		rg.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		rg.t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, header: resp.Header, text: strings.TrimSpace(string(text))}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.body); err != nil {
			rg.t.Errorf("%s %s answers %q: %v", method, path, text, err)
		}
	}
	return a
}

// beat sends a heartbeat of a device of the account a1.
func (rg *rig) beat(device, body string) answered {
	rg.t.Helper()
	return rg.do(http.MethodPost, "a1/devices/"+device+"/heartbeat", "acc=a1", body)
}

// want fails unless the answer has the status and the code, "" for none.
func (a answered) want(t *testing.T, status int, code string) answered {
	t.Helper()
	if got, _ := a.body["code"].(string); a.status != status || got != code {
		t.Errorf("answered %d %s, want %d %s", a.status, a.text, status, code)
	}
	return a
}

func (a answered) str(name string) string  { s, _ := a.body[name].(string); return s }
func (a answered) num(name string) float64 { n, _ := a.body[name].(float64); return n }

// conflicts returns the members of a refusal's rivals.
func (a answered) conflicts(member string) (list []string) {
	rivals, _ := a.body["conflicts"].([]any)
	for _, r := range rivals {
		s, _ := r.(map[string]any)[member].(string)
		list = append(list, s)
	}
	return list
}

// metric returns the sum of a metric's values that have all of the label
// values.
func (rg *rig) metric(name string, labels ...string) (sum float64) {
	rg.t.Helper()
	families, err := rg.reg.Gather()
	if err != nil {
		rg.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "grandstand_blocker_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			found := 0
			for _, l := range m.GetLabel() {
				for _, want := range labels {
					if l.GetValue() == want {
						found++
					}
				}
			}
			if found == len(labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// reader reads a stream of Server-Sent Events.
type reader struct {
	t      *testing.T
	status int
	lists  chan answered // of each event
	notes  chan string   // comments
	ended  chan struct{}
	cancel func()
}

// follow opens the stream of a1's devices.
func (rg *rig) follow(token string) *reader {
	rg.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://blocker.test/v1/accounts/a1/devices/stream", nil)
	if err != nil {
		rg.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := rg.client.Do(req)
	if err != nil {
		rg.t.Fatal(err)
	}
	rd := &reader{
		t: rg.t, status: resp.StatusCode, lists: make(chan answered, 1000), notes: make(chan string, 1000),
		ended: make(chan struct{}), cancel: cancel,
	}
	rg.t.Cleanup(cancel)
	go func() {
		defer close(rd.ended)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			line := lines.Text()
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				a := answered{status: resp.StatusCode, header: resp.Header, text: text}
				if err := json.Unmarshal([]byte(text), &a.body); err != nil {
					rg.t.Errorf("the stream says %q: %v", text, err)
				}
				rd.lists <- a
			} else if strings.HasPrefix(line, ":") {
				rd.notes <- line
			}
		}
	}()
	return rd
}

// next returns the next list, which must come within d.
func (rd *reader) next(d time.Duration) answered {
	rd.t.Helper()
	synctest.Wait()
	select {
	case a := <-rd.lists:
		return a
	case <-rd.ended:
		rd.t.Fatal("the stream ended")
	case <-time.After(d + time.Millisecond):
		rd.t.Fatalf("no list within %v", d)
	}
	return answered{}
}

// quiet fails if a list comes within d.
func (rd *reader) quiet(d time.Duration) {
	rd.t.Helper()
	select {
	case a := <-rd.lists:
		rd.t.Errorf("a list came: %s", a.text)
	case <-rd.ended:
		rd.t.Error("the stream ended")
	case <-time.After(d + time.Millisecond):
	}
}

// wantEnd fails unless the stream ends within d.
func (rd *reader) wantEnd(d time.Duration) {
	rd.t.Helper()
	synctest.Wait()
	select {
	case <-rd.ended:
	case <-time.After(d + time.Millisecond):
		rd.t.Errorf("the stream has not ended after %v", d)
	}
}

// devices returns a list as "name status" in its order.
func (a answered) devices() (list []string) {
	entries, _ := a.body["devices"].([]any)
	for _, e := range entries {
		d := e.(map[string]any)
		name, _ := d["name"].(string)
		list = append(list, strings.TrimSpace(name+" "+d["status"].(string)))
	}
	return list
}
