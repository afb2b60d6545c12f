package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeOperator answers the dashboard as a gateway does, with a crowd in 280
// segments. Its time runs faster than ours, so that a minute of it is a moment.
type fakeOperator struct {
	*httptest.Server

	mu      sync.Mutex
	tick    time.Duration
	step    int64 // ms of its time from one board to the next
	at      int64
	n       int // boards made
	event   string
	state   string
	quality string
	token   string         // that operators show; "": none is asked for
	down    bool           // requests are not answered
	silent  bool           // streams have no board
	more    map[string]int // sessions of further teams
	growth  int            // sessions that every segment has more with each board
	members string
	events  string // what is answered instead of the list of events; "": the list
	asked   []string
	cut     chan struct{} // closed to end all streams
}

var usStates = strings.Fields("AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY")

const someMembers = `{"now":%[1]d,"members":[
	{"id":"a1b2c3d4e5f6a7b8","role":"gateway","peer":"10.0.0.1:9091","joined_at":1,"seen_at":%[1]d,"alive":true,"status":{"viewers":{"connections":5012,"sessions":4980},"tree":{"relay":true,"depth":0,"hop_ms":0},"rules":[{"rule":"plan","waiting":14,"granted":900,"blocked":%[2]d,"would_block":0},{"rule":"none","waiting":2,"granted":0,"blocked":31,"would_block":0}],"journal":{"bytes":73400320,"files":2}}},
	{"id":"b2c3d4e5f6a7b8c9","role":"gateway","peer":"10.0.0.2:9091","joined_at":2,"seen_at":%[1]d,"alive":true,"status":{"viewers":{"connections":3220,"sessions":3190},"tree":{"relay":false,"depth":1,"parent":"10.0.0.1:9091","hop_ms":3},"rules":[{"rule":"plan","waiting":5,"granted":600,"blocked":210,"would_block":0}],"journal":{"bytes":31457280,"files":1}}},
	{"id":"c3d4e5f6a7b8c9d0","role":"gateway","peer":"10.0.0.3:9091","joined_at":3,"seen_at":%[1]d,"alive":true,"status":{"viewers":{"connections":3301,"sessions":3274},"tree":{"relay":false,"depth":1,"parent":"10.0.0.1:9091","hop_ms":2},"journal":{"bytes":29360128,"files":1}}},
	{"id":"d4e5f6a7b8c9d0e1","role":"aggregator","joined_at":4,"seen_at":%[1]d,"alive":true,"status":{}},
	{"id":"e5f6a7b8c9d0e1f2","role":"archiver","joined_at":5,"seen_at":%[1]d,"alive":true,"status":{"archive":{"lag_ms":12400,"pending":3}}}]}`

func newFakeOperator(t *testing.T) *fakeOperator {
	f := &fakeOperator{tick: 100 * time.Millisecond, step: 5000, at: time.Now().UnixMilli() - 3_600_000, event: "final-2026", state: "live",
		quality: "live", members: someMembers, more: map[string]int{}, cut: make(chan struct{})}
	pages, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.Handle("/", pages)
	m.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.events != "" {
			fmt.Fprint(w, f.events)
			return
		}
		list := []map[string]string{}
		if f.event != "" {
			list = append(list, map[string]string{"event": "later", "state": "scheduled"}, map[string]string{"event": f.event, "state": f.state})
		}
		json.NewEncoder(w).Encode(list)
	})
	m.HandleFunc("GET /v1/cluster", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		text := f.members
		if strings.Contains(text, "%[") {
			text = fmt.Sprintf(text, f.at, 400+f.n)
		}
		fmt.Fprint(w, text)
	})
	m.HandleFunc("GET /v1/events/{event}/counts/stream", f.stream)
	m.HandleFunc("GET /v1/events/{event}/timeline.json", f.timeline)
	f.Server = httptest.NewServer(f.guard(m))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f.locked(func() { f.at += f.step; f.n++ })
			select {
			case <-time.After(f.tick):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeOperator) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// fail has no request answered, or all of them again.
func (f *fakeOperator) fail(down bool) {
	f.locked(func() {
		if f.down = down; down {
			close(f.cut)
			f.cut = make(chan struct{})
		}
	})
}

// guard refuses whom a gateway would.
func (f *fakeOperator) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		down, token := f.down, f.token
		f.asked = append(f.asked, r.URL.String())
		f.mu.Unlock()
		shown := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case !strings.HasPrefix(r.URL.Path, "/v1/"):
		case down:
			panic(http.ErrAbortHandler)
		case token != "" && shown == "viewer":
			writeError(w, http.StatusForbidden, "forbidden", "the token does not have the scope admin")
			return
		case token != "" && shown != token:
			writeError(w, http.StatusUnauthorized, "unauthorized", "the token is not ours")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// boardLocked is as GET counts answers: the crowd grows, but for one state that
// loses viewers.
func (f *fakeOperator) boardLocked() []byte {
	type count struct {
		Sessions int `json:"sessions"`
		Fans     int `json:"fans"`
		Peak     int `json:"peak"`
		Reach    int `json:"reach"`
	}
	of := func(n int) *count { n += f.n * f.growth; return &count{n, n * 97 / 100, n + 40, 2 * n} }
	region, country, team, cross := map[string]*count{}, map[string]*count{}, map[string]*count{}, map[string]*count{}
	world := 0
	for i, s := range usStates {
		n := 40_000/(i+2)/(1+i%4) + f.n*(i%7) + 3
		if s == "CA" {
			n = 9000 - min(f.n*20, 8000)
		}
		region["US-"+s] = of(n)
		for k, name := range []string{"KC", "SF", "unknown", "other"} {
			cross[name+"+US-"+s] = of(n * (4 - k) / 10)
		}
		world += n
	}
	region["DE-BY"], region["unknown"] = of(812), of(377)
	world += 812 + 377
	for i, c := range strings.Fields("US DE GB FR MX CA BR JP AU SG") {
		country[c] = of(world >> (i + 1))
	}
	country["unknown"] = of(world >> 10)
	team["KC"], team["SF"], team["unknown"] = of(world/2), of(world*2/5), of(world/10)
	for name, n := range f.more {
		team[name] = of(n)
	}
	b, _ := json.Marshal(map[string]any{"event": f.event, "at": f.at, "age_ms": 240, "epoch": 3, "quality": f.quality, "coverage": 0.83, "error": 0.0081,
		"dims": map[string]any{"world": of(world), "region": region, "country": country, "team": team, "team+region": cross}})
	return b
}

func (f *fakeOperator) stream(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	known, cut := r.PathValue("event") == f.event, f.cut
	f.mu.Unlock()
	if !known {
		writeError(w, http.StatusNotFound, "not_found", "there is no such event")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 3000\n\n")
	_ = http.NewResponseController(w).Flush()
	for last := int64(0); r.Context().Err() == nil; {
		f.mu.Lock()
		b, at, tick, final, silent := f.boardLocked(), f.at, f.tick, f.quality == "final", f.silent
		f.mu.Unlock()
		if at != last && !silent {
			last = at
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", at, b)
			_ = http.NewResponseController(w).Flush()
		}
		if final {
			return
		}
		select {
		case <-time.After(tick / 2):
		case <-r.Context().Done():
		case <-cut:
			panic(http.ErrAbortHandler)
		}
	}
}

// timeline has a peak, a gap and a surge.
func (f *fakeOperator) timeline(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var from, to int64
	fmt.Sscan(q.Get("from"), &from)
	fmt.Sscan(q.Get("to"), &to)
	type moment struct {
		Kind   string  `json:"kind"`
		Change float64 `json:"change"`
	}
	type cue struct {
		Start    int64    `json:"start"`
		End      int64    `json:"end"`
		Sessions int      `json:"sessions"`
		Fans     int      `json:"fans"`
		Moments  []moment `json:"moments,omitempty"`
	}
	var cues []cue
	step := max((to-from)/360/10_000, 1) * 10_000
	for at, i := int64(0), 0; at+step <= to-from; at, i = at+step, i+1 {
		if i > 100 && i < 120 {
			continue
		}
		n := 30_000 + 90*i
		if i > 240 {
			n -= 160 * (i - 240)
		}
		if i > 60 && i < 90 {
			n += 6000
		}
		c := cue{at, at + step, n, n * 97 / 100, nil}
		if i == 62 {
			c.Moments = []moment{{"surge", 0.171}}
		}
		if i == 91 {
			c.Moments = []moment{{"drop", -0.148}}
		}
		cues = append(cues, c)
	}
	json.NewEncoder(w).Encode(map[string]any{"event": r.PathValue("event"), "segment": q.Get("segment"), "from": from, "to": to, "cues": cues})
}

// addresses returns what was asked for.
func (f *fakeOperator) addresses() (all []string) {
	f.locked(func() { all = append(all, f.asked...) })
	return all
}

// changes returns how many segments have another count one board later.
func (f *fakeOperator) changes() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	read := func() map[string]json.RawMessage {
		all := map[string]json.RawMessage{}
		var board struct {
			Dims map[string]json.RawMessage
		}
		_ = json.Unmarshal(f.boardLocked(), &board)
		for dim, raw := range board.Dims {
			var values map[string]json.RawMessage
			_ = json.Unmarshal(raw, &values)
			for v, count := range values {
				if dim != "world" {
					all[dim+":"+v] = count
				}
			}
		}
		return all
	}
	now := read()
	f.n++
	for segment, count := range read() {
		if string(count) != string(now[segment]) {
			n++
		}
	}
	return n
}
