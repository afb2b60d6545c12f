package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

func startBlocker(t *testing.T, name, redis string, more ...string) *process {
	t.Helper()
	addr := freeAddr(t)
	args := append([]string{"blocker", "--listen", addr, "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", "file:" + archiveOf(t)}, more...)
	p := start(t, name, args...).ready(addr)
	p.url = "http://" + addr
	return p
}

// told is one message about a device's right to play.
type told struct {
	T  string // hello, blocked, unblocked, ok, error, drain
	at time.Time
	grandstand.Refusal
	Session, Re string
	BeatMS      int64 `json:"beat_ms"`
}

// device plays over a WebSocket, and notes what it is told of its place.
type device struct {
	t       *testing.T
	c       *websocket.Conn
	cancel  context.CancelFunc
	opened  time.Time
	session string

	mu     sync.Mutex
	log    []told
	closed bool
	wake   chan struct{} // closed and replaced with every message
}

// play opens a device's session of the event "final" and waits for its hello.
func play(t *testing.T, gateway *process, query string, header http.Header) *device {
	t.Helper()
	d, err := tryPlay(t, gateway.url, query, header)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryPlay(t *testing.T, url, query string, header http.Header) (*device, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &device{t: t, cancel: cancel, opened: time.Now(), wake: make(chan struct{})}
	t.Cleanup(cancel)
	dialing, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	var err error
	d.c, _, err = websocket.Dial(dialing, strings.Replace(url, "http", "ws", 1)+"/v1/events/final/live?"+query,
		&websocket.DialOptions{Subprotocols: []string{"grandstand.v1"}, HTTPHeader: header})
	if err != nil {
		cancel()
		return nil, err
	}
	d.c.SetReadLimit(1 << 20)
	greeted := make(chan struct{})
	go d.listen(ctx, greeted)
	select {
	case <-greeted:
		return d, nil
	case <-dialing.Done():
		cancel()
		return nil, fmt.Errorf("there is no hello: %w", dialing.Err())
	}
}

func (d *device) listen(ctx context.Context, greeted chan struct{}) {
	for {
		_, b, err := d.c.Read(ctx)
		var m told
		if err == nil && json.Unmarshal(b, &m) == nil && m.T == "counts" {
			continue
		}
		m.at = time.Now()
		d.mu.Lock()
		if err != nil {
			d.closed = true
		} else {
			d.log = append(d.log, m)
		}
		close(d.wake)
		d.wake = make(chan struct{})
		if m.T == "hello" {
			d.session = m.Session
			close(greeted)
		}
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (d *device) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

// heard returns what the device was told from the n-th message on.
func (d *device) heard(n int) ([]told, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.log[min(n, len(d.log)):]), d.wake
}

func (d *device) mark() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// await returns the first message from the n-th on that is wanted.
func (d *device) await(n int, bound time.Duration, what string, wanted func(m *told) bool) told {
	d.t.Helper()
	deadline := time.After(bound)
	for {
		list, wake := d.heard(n)
		for i := range list {
			if wanted(&list[i]) {
				return list[i]
			}
		}
		select {
		case <-wake:
		case <-deadline:
			list, _ := d.heard(0)
			d.t.Fatalf("not within %v: %s; it was told %+v", bound, what, list)
		}
	}
}

// blocked waits for a refusal with the code, from the n-th message on.
func (d *device) blocked(n int, bound time.Duration, code grandstand.BlockCode) told {
	d.t.Helper()
	return d.await(n, bound, "blocked "+string(code), func(m *told) bool { return m.T == "blocked" && m.Code == code })
}

func (d *device) unblocked(n int, bound time.Duration) told {
	d.t.Helper()
	return d.await(n, bound, "unblocked", func(m *told) bool { return m.T == "unblocked" })
}

// refused reports whether the device is blocked as far as it was told.
func (d *device) refused() bool {
	list, _ := d.heard(0)
	for _, m := range slices.Backward(list) {
		if m.T == "blocked" || m.T == "unblocked" {
			return m.T == "blocked"
		}
	}
	return false
}

func (d *device) send(format string, args ...any) {
	d.t.Helper()
	if err := d.c.Write(d.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		d.t.Fatalf("send: %v", err)
	}
}

func (d *device) beat() { d.t.Helper(); d.send(`{"t":"beat","state":"playing","interval_ms":5000}`) }

// keepBeating beats until the test ends, as often as a gateway renews a lease.
func (d *device) keepBeating() {
	go func() {
		tick := time.NewTicker(1100 * time.Millisecond)
		defer tick.Stop()
		for beat(d.t.Context(), d.c, 1) == nil {
			select {
			case <-tick.C:
			case <-d.t.Context().Done():
				return
			}
		}
	}()
}

func (d *device) takeover(codes ...string) {
	d.t.Helper()
	list, _ := json.Marshal(append([]string{}, codes...))
	d.send(`{"t":"takeover","codes":%s}`, list)
}

// leave says goodbye.
func (d *device) leave() {
	d.c.Close(websocket.StatusNormalClosure, "")
	d.cancel()
}

func (r *told) names() string {
	var names []string
	for _, c := range r.Conflicts {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// codeOf returns the termination code of the rival with the name.
func codeOf(t *testing.T, r *grandstand.Refusal, name string) string {
	t.Helper()
	for _, c := range r.Conflicts {
		if c.Name == name {
			return c.TerminationCode
		}
	}
	t.Fatalf("%q is not among the rivals of %+v", name, r)
	return ""
}

// box is a device that plays by REST heartbeats.
type box struct {
	t      *testing.T
	path   string // of the device, at a blocker
	header http.Header
	fields map[string]any // of every body

	session, hold string
}

// newBox returns the device of an account at a blocker, or an "all".
func newBox(t *testing.T, b *process, account, id string, fields map[string]any) *box {
	return &box{t: t, path: b.url + "/v1/accounts/" + url.PathEscape(account) + "/devices/" + url.PathEscape(id), fields: fields}
}

// reply is what a heartbeat is answered with.
type reply struct {
	status int
	text   string
	Status string
	grandstand.Refusal
	Session     string
	Hold        string
	ExpiresInMS int64 `json:"expires_in_ms"`
	Outage      bool
	WouldBlock  bool `json:"would_block"`
}

// heartbeat sends one, with more fields than usual.
func (b *box) heartbeat(more map[string]any) reply {
	b.t.Helper()
	r, err := b.try(b.t.Context(), http.DefaultClient, more)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *box) try(ctx context.Context, client *http.Client, more map[string]any) (r reply, err error) {
	body := map[string]any{"event": "final"}
	for name, v := range b.fields {
		body[name] = v
	}
	if b.session != "" {
		body["session"] = b.session
	}
	if b.hold != "" {
		body["hold"] = b.hold
	}
	for name, v := range more {
		body[name] = v
	}
	text, err := json.Marshal(body)
	if err != nil {
		return r, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.path+"/heartbeat", strings.NewReader(string(text)))
	if err != nil {
		return r, err
	}
	for name, values := range b.header {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return r, err
	}
	r.status, r.text = resp.StatusCode, string(answer)
	if err := json.Unmarshal(answer, &r); err != nil {
		return r, fmt.Errorf("%w in %d %s", err, resp.StatusCode, answer)
	}
	if r.Session != "" {
		b.session = r.Session
	}
	if r.Hold != "" {
		b.hold = r.Hold
	}
	return r, nil
}

// want sends a heartbeat and fails the test unless it is answered so. That nobody
// could be asked is no answer: a busy machine may take longer than 250 ms.
func (b *box) want(status int, code grandstand.BlockCode, more map[string]any) reply {
	b.t.Helper()
	r := b.heartbeat(more)
	for range 10 {
		if !r.Outage && (r.Code != grandstand.BlockUnavailable || code == r.Code) {
			break
		}
		<-time.After(250 * time.Millisecond)
		r = b.heartbeat(more)
	}
	if r.status != status || r.Code != code || r.Outage {
		b.t.Fatalf("a heartbeat of %s is answered %d %s, want %d %q", b.path, r.status, r.text, status, code)
	}
	return r
}

// listed is one device of an account as its owner sees it.
type listedDevice struct {
	Device, Name, Event, Status, Code, By string
	Since                                 int64
	LastSeen                              int64 `json:"last_seen"`
}

// devicesOf returns the list of an account's devices.
func devicesOf(t *testing.T, b *process, account string) (devices []listedDevice) {
	t.Helper()
	eventually(t, 5*time.Second, "the devices of "+account+" are listed", func() error {
		status, text := request(t, http.MethodGet, b.url+"/v1/accounts/"+url.PathEscape(account)+"/devices", "", nil)
		var list struct{ Devices []listedDevice }
		if err := json.Unmarshal([]byte(text), &list); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, text, err) // a busy machine may not ask Redis in time
		}
		devices = list.Devices
		return nil
	})
	return devices
}

// playing returns the names of those that play, sorted.
func playing(list []listedDevice) string {
	var names []string
	for _, d := range list {
		if d.Status == "playing" {
			names = append(names, d.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// plays waits until exactly these devices of the account play.
func plays(t *testing.T, b *process, account, names string) []listedDevice {
	t.Helper()
	var list []listedDevice
	eventually(t, 10*time.Second, names+" of "+account+" play", func() error {
		if list = devicesOf(t, b, account); playing(list) != names {
			return fmt.Errorf("%+v", list)
		}
		return nil
	})
	return list
}
