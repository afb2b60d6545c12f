package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// fakeGateway speaks the protocol of a gateway, with a crowd that is made up.
// Its tick is short so that tests are.
type fakeGateway struct {
	*httptest.Server
	tick time.Duration

	mu        sync.Mutex
	crowd     map[string]map[string]int // by dimension and value, without the sockets
	sockets   map[*fakeSocket]bool
	opened    []url.Values // queries of the sockets that were opened
	newSecret bool         // sessions of before are refused
	other     bool         // it speaks another version
	config    string       // of the event; "": as usual
	origin    string       // of pages elsewhere that may read
	folded    string       // a team that is too small to be shown
	refuse    int          // HTTP status instead of an upgrade
	state     string       // of the event
	quality   string
	rejoin    bool // joins are refused
	null      string
	beats     []map[string]any
	events    []map[string]any
	closes    []websocket.StatusCode
	sessions  int
	streams   []string // queries of the streams that were opened
	timelines []url.Values
	vtt       string // the timelines; "": of a recording of two minutes
	forgets   string // there are no timelines of segments that contain it; empty: there are all
	accounts  *fakeAccounts
}

type fakeSocket struct {
	c       *websocket.Conn
	session string
	seg     map[string]string
	sent    chan []byte
	goodbye bool // it closed on purpose
}

func newFakeGateway(t *testing.T) *fakeGateway { return newFakeGatewayAt(t, 200*time.Millisecond) }

func newFakeGatewayAt(t *testing.T, tick time.Duration) *fakeGateway {
	f := &fakeGateway{tick: tick, sockets: map[*fakeSocket]bool{}, state: "live"}
	f.crowd = map[string]map[string]int{
		"team":    {"KC": 4212, "SF": 3875, "unknown": 113},
		"region":  {"US-CA": 2250, "US-MO": 1890, "unknown": 4060},
		"country": {"US": 6830, "DE": 1370},
		"world":   {"": 8200},
	}
	f.accounts = newFakeAccounts(f)
	pages, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.Handle("/", pages)
	m.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"event":"demo","state":"live"},{"event":"final-2026","state":"scheduled"}]`)
	})
	m.HandleFunc("GET /v1/events/{event}", f.event)
	m.HandleFunc("GET /v1/events/{event}/counts", f.counts)
	m.HandleFunc("GET /v1/events/{event}/counts/stream", f.stream)
	m.HandleFunc("GET /v1/events/{event}/history", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().UnixMilli()
		fmt.Fprintf(w, `{"points":[[%d,7000,6900],null,[%d,9100,9000],[%d,8000,7900]]}`, now-60_000, now-40_000, now-20_000)
	})
	m.HandleFunc("GET /v1/events/{event}/timeline.vtt", f.timeline)
	m.HandleFunc("GET /v1/events/{event}/live", f.live)
	f.accounts.routes(m)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.locked(func() {
			if f.origin != "" && r.Header.Get("Origin") == f.origin {
				w.Header().Set("Access-Control-Allow-Origin", f.origin)
			}
		})
		m.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			select {
			case <-time.After(f.tick):
				f.push()
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		f.closeAll(websocket.StatusGoingAway, "")
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeGateway) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fakeGateway) event(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != 0 {
		refuse(w, f.refuse)
		return
	}
	if f.config != "" {
		fmt.Fprint(w, f.config)
		return
	}
	fmt.Fprintf(w, `{"event":%q,"state":%q,"dims":[{"name":"country"},{"name":"region"},{"name":"team","values":["KC","SF"],"choose":true}]}`, r.PathValue("event"), f.state)
}

// refuse answers as a gateway does.
func refuse(w http.ResponseWriter, status int) {
	body := map[int]string{
		http.StatusBadRequest:   `{"code":"invalid","message":"this address takes WebSockets: ask for an upgrade (RFC 6455)"}`,
		http.StatusUnauthorized: `{"code":"unauthorized","message":"a token is needed"}`,
		http.StatusForbidden:    `{"code":"forbidden","message":"not for you"}`,
		http.StatusNotFound:     `{"code":"not_found","message":"there is no such event"}`,
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body[status])
}

// timeline is of a recording of two minutes: 5,000 watch, then 6,000, then 5,500.
func (f *fakeGateway) timeline(w http.ResponseWriter, r *http.Request) {
	var forgets, vtt string
	f.locked(func() { f.timelines, forgets, vtt = append(f.timelines, r.URL.Query()), f.forgets, f.vtt })
	if forgets != "" && strings.Contains(r.URL.Query().Get("segment"), forgets) {
		refuse(w, http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/vtt; charset=utf-8")
	fmt.Fprint(w, cmp.Or(vtt, "WEBVTT\n\n"+
		"00:00:00.000 --> 00:00:40.000\n{\"sessions\":5000,\"fans\":4900}\n\n"+
		"00:00:40.000 --> 00:01:20.000\n{\"sessions\":6000,\"fans\":5900,\"moments\":[{\"kind\":\"surge\",\"change\":0.2},{\"kind\":\"peak\",\"sessions\":6100}]}\n\n"+
		"00:01:20.000 --> 00:01:50.000\n{\"sessions\":5500,\"fans\":5400}\n\n"+
		"00:01:50.000 --> 00:02:00.000\n<img src=x onerror=alert(1)>\n"))
}

// countLocked returns how many are in a segment: the crowd, and each session
// with a socket that may play, once.
func (f *fakeGateway) countLocked(dim, value string) int {
	n := f.crowd[dim][value]
	seen := map[string]bool{}
	for s := range f.sockets {
		if seen[s.session] || f.accounts.blockedLocked(s.session) {
			continue
		}
		seen[s.session] = true
		if v := s.seg[dim]; dim == "world" || v == value || v == "" && value == "unknown" {
			n++
		}
	}
	return n
}

func (f *fakeGateway) counts(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	_, known := f.crowd[cmp.Or(r.URL.Query().Get("dim"), "world")]
	f.mu.Unlock()
	if !known {
		w.WriteHeader(http.StatusBadRequest)
	} else if !f.refused(w) {
		w.Write(f.board(""))
	}
}

// refused answers a request that cannot be taken, and reports whether it did.
func (f *fakeGateway) refused(w http.ResponseWriter) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.other:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<h1>Not found</h1>")
	case f.refuse != 0:
		refuse(w, f.refuse)
	default:
		return false
	}
	return true
}

// board is what GET counts answers, of the segments asked for: team:KC,team:SF.
// None: of all.
func (f *fakeGateway) board(asked string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	dims := map[string]any{}
	for dim, values := range f.crowd {
		segs := map[string]any{}
		for v := range values {
			if asked != "" && !slices.Contains(strings.Split(asked, ","), strings.TrimSuffix(dim+":"+v, ":")) {
				continue
			}
			n := f.countLocked(dim, v)
			segs[v] = map[string]int{"sessions": n, "fans": n * 97 / 100, "peak": n, "reach": n}
		}
		if dim == "team" && f.folded != "" {
			segs[f.folded] = nil
		}
		if len(segs) == 0 {
			continue
		}
		dims[dim] = segs
		if dim == "world" {
			dims[dim] = segs[""]
		}
	}
	b, _ := json.Marshal(map[string]any{"event": "demo", "at": time.Now().UnixMilli(), "age_ms": 100, "quality": cmp.Or(f.quality, "live"), "dims": dims, "min_cohort": 10, "error": 0.0081})
	return b
}

func (f *fakeGateway) live(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f.mu.Lock()
	if r.Header.Get("Upgrade") != "" {
		f.opened = append(f.opened, q)
	}
	status, other := f.refuse, f.other
	if f.newSecret && q.Get("session") != "" {
		status = http.StatusForbidden
	}
	if status == 0 && r.Header.Get("Upgrade") == "" {
		status = http.StatusBadRequest
	}
	f.mu.Unlock()
	if other && r.Header.Get("Upgrade") == "" {
		http.NotFound(w, r)
		return
	}
	if status != 0 {
		refuse(w, status)
		return
	}
	speaks := "grandstand.v1"
	if other {
		speaks = "grandstand.v2"
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{speaks}})
	if err != nil {
		return
	}
	s := &fakeSocket{c: c, seg: map[string]string{}, sent: make(chan []byte, 64)}
	for _, dim := range []string{"country", "region", "team"} {
		s.seg[dim] = q.Get(dim)
	}
	s.session = q.Get("session")
	f.locked(func() {
		if s.session == "" {
			f.sessions++
			s.session = fmt.Sprintf("s%d", f.sessions)
		}
		s.sent <- fmt.Appendf(nil, `{"t":"hello","session":%q,"beat_ms":10000,"tick_ms":%d,"dims":["world","country","region","team"]}`, s.session, f.tick.Milliseconds())
		f.sockets[s] = true
		f.accounts.openLocked(s, r.PathValue("event"), q)
		s.sent <- f.countsLocked(s)
	})
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		defer cancel()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				f.locked(func() {
					f.closes = append(f.closes, websocket.CloseStatus(err))
					s.goodbye = websocket.CloseStatus(err) == websocket.StatusNormalClosure || websocket.CloseStatus(err) == websocket.StatusGoingAway
				})
				return
			}
			f.receive(s, b)
		}
	}()
	for ctx.Err() == nil {
		select {
		case b := <-s.sent:
			c.Write(ctx, websocket.MessageText, b)
		case <-ctx.Done():
		}
	}
	c.CloseNow()
	f.locked(func() {
		delete(f.sockets, s)
		f.accounts.closedLocked(s)
	})
}

func (f *fakeGateway) receive(s *fakeSocket, b []byte) {
	var m map[string]any
	json.Unmarshal(b, &m)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch m["t"] {
	case "beat":
		f.beats = append(f.beats, m)
	case "event":
		f.events = append(f.events, m)
		s.sent <- fmt.Appendf(nil, `{"t":"ack","seq":%.0f}`, m["seq"])
	case "join":
		if f.rejoin {
			s.sent <- []byte(`{"t":"error","code":"forbidden","message":"no <img src=x onerror=alert(1)>"}`)
			return
		}
		for dim, v := range m["seg"].(map[string]any) {
			s.seg[dim] = v.(string)
		}
		s.sent <- []byte(`{"t":"ok","re":"join"}`)
	case "takeover":
		f.accounts.takeoverLocked(s, m["codes"].([]any))
	}
}

func (f *fakeGateway) countsLocked(s *fakeSocket) []byte {
	n := map[string]any{}
	for _, dim := range []string{"world", "country", "region", "team"} {
		if f.crowd[dim] == nil {
			continue
		}
		v := s.seg[dim]
		if v == "" && dim != "world" {
			v = "unknown"
		}
		c := f.countLocked(dim, v)
		if dim == "world" {
			c = f.countLocked(dim, "")
		}
		if n[dim] = []int{c, c * 97 / 100}; dim == f.null {
			n[dim] = nil
		}
	}
	m := map[string]any{"t": "counts", "at": time.Now().UnixMilli() - 120, "age": 120, "epoch": 3, "n": n}
	if f.quality != "" {
		m["q"] = f.quality
	}
	b, _ := json.Marshal(m)
	return b
}

func (f *fakeGateway) push() {
	f.locked(func() {
		for s := range f.sockets {
			select {
			case s.sent <- f.countsLocked(s):
			default:
			}
		}
	})
}

// say sends a message to every socket.
func (f *fakeGateway) say(text string) {
	f.locked(func() {
		for s := range f.sockets {
			s.sent <- []byte(text)
		}
	})
}

func (f *fakeGateway) closeAll(code websocket.StatusCode, reason string) {
	f.mu.Lock()
	var all []*fakeSocket
	for s := range f.sockets {
		all = append(all, s)
	}
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() { s.c.Close(code, reason) })
	}
	wg.Wait()
}

func (f *fakeGateway) openings() []url.Values {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]url.Values(nil), f.opened...)
}

// stream sends the whole board each tick: a reader takes from it what it asked
// for.
func (f *fakeGateway) stream(w http.ResponseWriter, r *http.Request) {
	if f.refused(w) {
		return
	}
	f.locked(func() { f.streams = append(f.streams, r.URL.RawQuery) })
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		fmt.Fprintf(w, "data: %s\n\n", f.board(r.URL.Query().Get("segment")))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(f.tick):
		case <-r.Context().Done():
		}
	}
}
