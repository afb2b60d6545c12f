package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

// household is an honest account of two streams, one on a WebSocket and one by
// REST, that plays all the time.
type household struct {
	tv    *device
	beats atomic.Int64
	slow  atomic.Int64 // ns, the slowest heartbeat
	wrong chan string
	done  chan struct{}
}

const honestAccount = "honest"

func startHousehold(t *testing.T, g, b *process, over <-chan struct{}) *household {
	t.Helper()
	h := &household{tv: play(t, g, identity(honestAccount, "tv", "TV", two...), nil), wrong: make(chan string, 1), done: make(chan struct{})}
	h.tv.keepBeating()
	console := newBox(t, b, honestAccount, "console", map[string]any{"limit": 2, "name": "Console", "interval_ms": 5000})
	console.want(200, "", nil)
	plays(t, b, honestAccount, "Console, TV")
	go func() {
		defer close(h.done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			from := time.Now()
			r, err := console.try(t.Context(), http.DefaultClient, nil)
			h.slow.Store(max(h.slow.Load(), int64(time.Since(from))))
			h.beats.Add(1)
			if err != nil || r.status != 200 {
				select {
				case h.wrong <- fmt.Sprint(err, r.text):
				default:
				}
			}
		}
	}()
	return h
}

// check fails the test if anything was wrong with the household.
func (h *household) check(t *testing.T, b *process) {
	t.Helper()
	<-h.done
	h.tv.neverBlocked(0)
	select {
	case text := <-h.wrong:
		t.Errorf("an honest heartbeat was answered %s", text)
	default:
	}
	if list := devicesOf(t, b, honestAccount); playing(list) != "Console, TV" {
		t.Errorf("of the honest account play %+v", list)
	}
	t.Logf("%d honest heartbeats, the slowest took %v", h.beats.Load(), time.Duration(h.slow.Load()).Round(time.Millisecond))
}

// Whatever is sent to the accounts' routes has its answer and its counter, and an
// honest account plays on.
func TestBadAccountsDisturbNobody(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	admin := freeAddr(t)
	g, b := startGateway(t, "gateway", redis), startBlocker(t, "blocker", redis, "--admin", admin)
	over := make(chan struct{})
	h := startHousehold(t, g, b, over)
	t.Run("attacks", func(t *testing.T) {
		for name, attack := range map[string]func(*testing.T, *process, *process){
			"requests": badAccountRequests, "identities": badIdentities, "codes": forgedCodes, "holds": forgedHolds,
			"devices": tooManyDevices, "flood": floodedAccount, "takeovers": floodedTakeovers, "streams": tooManyStreams,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); attack(t, g, b) })
		}
	})
	close(over)
	h.check(t, b)
	count := scrape(t, admin)
	for _, want := range []struct {
		labels []string
		least  float64
	}{
		{[]string{`route="heartbeat"`, `status="400"`}, 20}, {[]string{`route="heartbeat"`, `status="413"`}, 1}, {[]string{`route="heartbeat"`, `status="409"`}, 10},
		{[]string{`route="heartbeat"`, `status="429"`}, 100}, {[]string{`route="none"`, `status="404"`}, 2}, {[]string{`route="none"`, `status="405"`}, 3},
		{[]string{`route="stream"`, `status="429"`}, 1},
	} {
		if n := count("grandstand_blocker_requests_total", want.labels...); n < want.least {
			t.Errorf("%v requests are counted as %v, want %v at least", n, want.labels, want.least)
		}
	}
	if n := count("grandstand_blocker_forged_holds_total"); n < 5 {
		t.Errorf("%v holds are counted as forged", n)
	}
}

func badAccountRequests(t *testing.T, _, b *process) {
	const heartbeat = "/v1/accounts/bad/devices/d1/heartbeat"
	foreign := http.Header{"Origin": {"https://evil.example"}}
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		want               int
	}{
		{"POST", heartbeat, `{`, nil, 400},
		{"POST", heartbeat, `[]`, nil, 400},
		{"POST", heartbeat, `null`, nil, 400},
		{"POST", heartbeat, `"x"`, nil, 400},
		{"POST", heartbeat, `{} {}`, nil, 400},
		{"POST", heartbeat, "{\"name\":\"\xff\"}", nil, 400},
		{"POST", heartbeat, `{"event":7}`, nil, 400},
		{"POST", heartbeat, `{"event":"a b"}`, nil, 400},
		{"POST", heartbeat, `{"event":"` + strings.Repeat("x", 65) + `"}`, nil, 400},
		{"POST", heartbeat, `{"session":"a/b"}`, nil, 400},
		{"POST", heartbeat, `{"session":["x"]}`, nil, 400},
		{"POST", heartbeat, `{"limit":65}`, nil, 400},
		{"POST", heartbeat, `{"limit":0}`, nil, 400},
		{"POST", heartbeat, `{"limit":-1}`, nil, 400},
		{"POST", heartbeat, `{"limit":1.5}`, nil, 400},
		{"POST", heartbeat, `{"limit":1e99}`, nil, 400},
		{"POST", heartbeat, `{"limit":"2"}`, nil, 400},
		{"POST", heartbeat, `{"interval_ms":"5s"}`, nil, 400},
		{"POST", heartbeat, `{"terminate":"x"}`, nil, 400},
		{"POST", heartbeat, `{"terminate":[7]}`, nil, 400},
		{"POST", heartbeat, `{"terminate":[` + strings.Repeat(`"x",`, 99) + `"x"]}`, nil, 400},
		{"POST", heartbeat, `{"address":"here"}`, nil, 400},
		{"POST", heartbeat, `{"ended":true}`, nil, 400}, // of no session
		{"POST", heartbeat, strings.Repeat(" ", 9<<10), nil, 413},
		{"POST", "/v1/accounts/%00/devices/d1/heartbeat", `{}`, nil, 400},
		{"POST", "/v1/accounts/bad/devices/" + strings.Repeat("x", 257) + "/heartbeat", `{}`, nil, 400},
		{"POST", "/v1/accounts/%ff/devices/d1/heartbeat", `{}`, nil, 400},
		{"GET", heartbeat, ``, nil, 405},
		{"PUT", "/v1/accounts/bad/devices/d1", `{}`, nil, 405},
		{"DELETE", "/v1/accounts/bad/devices", ``, nil, 405},
		{"GET", "/v1/accounts/bad", ``, nil, 404},
		{"GET", "/v1/accounts/bad/devices/d1/heartbeat/more", ``, nil, 404},
		{"GET", "/v1/accounts/bad/devices", ``, foreign, 403},
		{"DELETE", "/v1/accounts/" + honestAccount + "/devices/tv", ``, foreign, 403}, // a page that a viewer has open
		{"POST", "/v1/accounts/" + honestAccount + "/devices/tv/heartbeat", `{}`, foreign, 403},
	} {
		status, text := request(t, c.method, b.url+c.path, c.body, c.header)
		var problem struct{ Code, Message string }
		if err := json.Unmarshal([]byte(text), &problem); status != c.want || err != nil || problem.Code == "" || problem.Message == "" {
			t.Errorf("%s %.80s %.80s is answered %d %.200s, want %d", c.method, c.path, c.body, status, text, c.want)
		}
	}
}

// badIdentities are refused before the upgrade; names are made fit to be shown.
func badIdentities(t *testing.T, g, b *process) {
	for _, query := range []string{"limit=65", "limit=0", "limit=-1", "limit=two", "limit=2&limit=3", "account=%00", "plan=%0a", "device=%ff"} {
		if _, status := open(t, g, finalLive+"?account=bad&"+query, ""); status != http.StatusBadRequest {
			t.Errorf("a socket with %s is answered %d", query, status)
		}
	}
	play(t, g, identity("named", "d1", "  \u202eLiving\u2066\x1b[31m \n room\u200b "+strings.Repeat("x", 500), two...), nil)
	list := []listedDevice{}
	eventually(t, 5*time.Second, "the device plays", func() error {
		if list = devicesOf(t, b, "named"); len(list) != 1 {
			return errNotYet
		}
		return nil
	})
	if name := list[0].Name; !strings.HasPrefix(name, "Living[31m room x") || len(name) > grandstand.MaxDeviceName {
		t.Errorf("the device is called %q", name)
	}
}

// forgedCodes end nobody.
func forgedCodes(t *testing.T, g, b *process) {
	// A code that is good: of another account.
	other := newBox(t, b, "codes", "one", map[string]any{"limit": 1, "name": "One"})
	other.want(200, "", nil)
	second := newBox(t, b, "codes", "two", map[string]any{"limit": 1, "name": "Two"})
	refused := second.want(409, grandstand.BlockDeviceLimit, nil)
	code := codeOf(t, &refused.Refusal, "One")
	forged := []string{code, "", "x", strings.Repeat("A", 22), code[:21], code + "A", "\n" + code, strings.Repeat("x", 100)}

	mallory := newBox(t, b, honestAccount, "mallory", map[string]any{"limit": 2, "name": "Mallory"})
	mallory.want(409, grandstand.BlockDeviceLimit, map[string]any{"terminate": forged})
	d := play(t, g, identity(honestAccount, "mallory-2", "Mallory", two...), nil)
	r := d.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	mark := d.mark()
	d.takeover(forged...)
	d.await(mark, 5*time.Second, "refused", func(m *told) bool { return m.T == "blocked" || m.T == "error" })
	if !d.refused() {
		t.Error("forged codes gave a place")
	}
	d.leave()
	mallory.want(200, "", map[string]any{"ended": true})

	// A code is good for one life of a lease.
	second.want(200, "", map[string]any{"terminate": []string{code}})
	second.want(200, "", map[string]any{"ended": true})
	other.session, other.hold = "", ""
	other.want(200, "", nil)
	second.session, second.hold = "", ""
	second.want(409, grandstand.BlockDeviceLimit, map[string]any{"terminate": []string{code, r.Conflicts[0].TerminationCode}})
}

// forgedHolds give no place.
func forgedHolds(t *testing.T, _, b *process) {
	fields := func(name string) map[string]any { return map[string]any{"limit": 1, "name": name} }
	first, second := newBox(t, b, "holds", "one", fields("One")), newBox(t, b, "holds", "two", fields("Two"))
	first.want(200, "", nil)
	second.want(409, grandstand.BlockDeviceLimit, nil)
	flipped := []byte(first.hold)
	flipped[10] ^= 1
	for _, hold := range []string{first.hold, string(flipped), first.hold + "\n", strings.Repeat("A", 48), "x", strings.Repeat("x", 4000)} {
		second.want(409, grandstand.BlockDeviceLimit, map[string]any{"hold": hold})
	}
	first.want(200, "", map[string]any{"hold": "x"}) // who has a lease needs none
}

// tooManyDevices of an account are refused, those that are there already never.
func tooManyDevices(t *testing.T, _, b *process) {
	box := func(i int) *box {
		return newBox(t, b, "crowd", fmt.Sprint("d", i), map[string]any{"limit": 1, "name": fmt.Sprint("D", i), "interval_ms": 60_000})
	}
	first := box(0)
	first.want(200, "", nil)
	for i := 1; i < grandstand.MaxDevices; i++ {
		box(i).want(409, grandstand.BlockDeviceLimit, nil)
	}
	last := box(grandstand.MaxDevices)
	if r := last.want(409, grandstand.BlockTooManyDevices, nil); r.RetryMS < 5000 {
		t.Errorf("it is to come again after %d ms", r.RetryMS)
	}
	first.want(200, "", nil)
	box(3).want(409, grandstand.BlockDeviceLimit, nil)
	if list := devicesOf(t, b, "crowd"); len(list) != grandstand.MaxDevices || playing(list) != "D0" {
		t.Errorf("%d devices are listed, %s plays", len(list), playing(list))
	}
}

// floodedAccount is told 429; nobody else is.
func floodedAccount(t *testing.T, _, b *process) {
	var wg sync.WaitGroup
	var limited, others atomic.Int64
	for range 8 {
		wg.Go(func() {
			flood := newBox(t, b, "flood", "d1", map[string]any{"limit": 1})
			for range 50 {
				switch r, err := flood.try(t.Context(), http.DefaultClient, nil); {
				case err != nil:
					t.Errorf("the flood: %v", err)
				case r.status == http.StatusTooManyRequests:
					limited.Add(1)
				case r.status >= 500:
					others.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if limited.Load() < 100 || others.Load() > 0 {
		t.Errorf("of 400 requests %d were told to wait, %d were not answered", limited.Load(), others.Load())
	}
}

// floodedTakeovers end the connection.
func floodedTakeovers(t *testing.T, g, _ *process) {
	s := dialRaw(t, g.url, "/v1/events/final/live?"+identity("takers", "d1", "D1", two...), nil)
	go s.Write(wsFrames(wsFin|wsText, []byte(`{"t":"takeover","codes":["`+strings.Repeat("A", 22)+`"]}`), 500))
	if code, err := s.closeCode(15 * time.Second); err != nil || code != 1008 {
		t.Errorf("closed with %d, %v", code, err)
	}
}

// tooManyStreams of one account are refused, and end with their readers.
func tooManyStreams(t *testing.T, _, b *process) {
	url := b.url + "/v1/accounts/streams/devices/stream"
	for range 32 {
		sse(t, url)
	}
	if status, text := request(t, "GET", url, "", nil); status != http.StatusTooManyRequests {
		t.Errorf("one more is answered %d %s", status, text)
	}
}

// Redis does not answer, and the rules deny: who plays plays on, who comes is
// told so and plays by itself when Redis is back.
func TestNobodyComesInWhileNobodyCanBeAsked(t *testing.T) {
	beside(t)
	server := redistest.StartServer(t)
	config := configFile(t, "rules: {limit: 2, on_outage: deny}\n")
	g, b := startGateway(t, "gateway", server.URL(), "--config", config), startBlocker(t, "blocker", server.URL(), "--config", config)
	const account = "a1"
	tv := play(t, g, identity(account, "tv", "TV"), nil)
	tv.keepBeating()
	plays(t, b, account, "TV")
	lone := newBox(t, b, "a2", "d1", map[string]any{"name": "One"})
	lone.want(200, "", nil)

	server.Stop()
	stopped := time.Now()
	newcomer := newBox(t, b, "a3", "d1", map[string]any{"name": "One"})
	if r := newcomer.want(503, grandstand.BlockUnavailable, nil); r.Message == "" {
		t.Errorf("the newcomer is told %s", r.text)
	}
	phone := play(t, g, identity(account, "phone", "Phone"), nil)
	phone.blocked(0, 5*time.Second, grandstand.BlockUnavailable)
	if r := lone.heartbeat(nil); r.status != 200 || !r.Outage {
		t.Errorf("who plays is told %s", r.text)
	}
	if d := time.Since(stopped); d > 5*time.Second {
		t.Errorf("it took %v to say so", d)
	}
	tv.neverBlocked(0)
	mark := phone.mark()
	server.Cont()
	phone.unblocked(mark, 15*time.Second)
	plays(t, b, account, "Phone, TV")
	eventually(t, 5*time.Second, "heartbeats are answered as ever", func() error {
		for _, b := range []*box{newcomer, lone} {
			if r := b.heartbeat(nil); r.status != 200 || r.Outage {
				return fmt.Errorf("%d %s", r.status, r.text)
			}
		}
		return nil
	})
	tv.neverBlocked(0)
}

// One process serves players, accounts and pages on one address; at its end
// nobody's list of devices holds it up.
func TestAllRolesOnOneAddress(t *testing.T) {
	addr, admin := freeAddr(t), freeAddr(t)
	p := start(t, "all", "all", "--listen", addr, "--admin", admin, "--archive", "file:"+archiveOf(t), "--drain-over", "1s").ready(addr)
	p.url = "http://" + addr
	const account = "a1"
	lists := sse(t, p.url+"/v1/accounts/"+account+"/devices/stream")
	tv := play(t, p, identity(account, "tv", "TV", two...), nil)
	plays(t, p, account, "TV")
	console := newBox(t, p, account, "the/console", map[string]any{"limit": 2, "name": "Console"})
	console.want(200, "", nil)
	phone := play(t, p, identity(account, "phone", "Phone", two...), nil)
	r := phone.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	take(t, phone, codeOf(t, &r.Refusal, "Console"), time.Now())
	console.want(410, grandstand.BlockTakenOver, nil)
	tv.neverBlocked(0)

	own := http.Header{"Origin": {p.url}, "Access-Control-Request-Method": {"DELETE"}}
	if status, text := request(t, "OPTIONS", p.url+"/v1/accounts/a1/devices/tv", "", own); status != http.StatusNoContent {
		t.Errorf("the preflight of its own page is answered %d %s", status, text)
	}
	for path, want := range map[string]int{"/": 200, "/v1/events": 200, "/v1/accounts": 404, "/v1/accounts/a1": 404, "/v1/nothing": 404} {
		if status, text := request(t, "GET", p.url+path, "", nil); status != want {
			t.Errorf("%s is answered %d %.100s", path, status, text)
		}
	}
	count := scrape(t, admin)
	for _, name := range []string{"grandstand_blocker_decisions_total", "grandstand_blocker_streams", "grandstand_rules_reloads_total", "grandstand_gateway_connections"} {
		if n := count(name); n == 0 && name != "grandstand_rules_reloads_total" {
			t.Errorf("%s is %v", name, n)
		}
	}

	begin := time.Now()
	p.signal(syscall.SIGTERM)
	for ended := false; !ended; {
		select {
		case _, open := <-lists:
			ended = !open
		case <-time.After(5 * time.Second):
			t.Fatal("the list of devices goes on")
		}
	}
	if code := p.wait(10 * time.Second); code != 0 {
		t.Errorf("it ends with code %d", code)
	}
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("it took %v to stop", d)
	}
}
