package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

// soon is the promise: whoever must know of a place knows within it.
const soon = time.Second

// identity is the query of a device with --auth none, and of more pairs.
func identity(account, id, name string, more ...string) string {
	v := url.Values{"account": {account}, "device": {id}, "viewer": {id}, "name": {name}, "interval_ms": {"5000"}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

// two is the rest of identity for accounts of two streams.
var two = []string{"limit", "2"}

// Three devices of an account of two streams, on two gateways and by REST: the
// third is told who plays, gets the place of one that leaves, and takes the
// place of one that does not, whichever way both play.
func TestDevicesOfOneAccount(t *testing.T) {
	beside(t)
	for name, redis := range map[string]func(t *testing.T) string{
		"server":  func(t *testing.T) string { return redistest.StartServer(t).URL() },
		"cluster": func(t *testing.T) string { return redistest.StartCluster(t).URL() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			devicesOfOneAccount(t, redis(t))
		})
	}
}

func devicesOfOneAccount(t *testing.T, redis string) {
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	b := startBlocker(t, "blocker", redis)
	const account = "the smiths/home"
	tv := play(t, g1, identity(account, "tv", "Living room", two...), nil)
	plays(t, b, account, "Living room")
	phone := play(t, g2, identity(account, "phone", "Anna's phone", two...), nil)
	plays(t, b, account, "Anna's phone, Living room")
	for _, d := range []*device{tv, phone} {
		d.beat()
	}
	other := play(t, g2, identity("the joneses", "tv", "Kitchen", two...), nil) // is never disturbed

	tablet := play(t, g1, identity(account, "tablet", "Tablet", two...), nil)
	r := tablet.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	if r.names() != "Living room, Anna's phone" || r.Limit != 2 || r.Current != 2 || r.Rule != "token" || r.RetryMS <= 0 ||
		r.Message != "This account may play 2 streams at a time. Playing now: Living room and Anna's phone." {
		t.Errorf("the tablet is told %+v", r)
	}
	console := newBox(t, b, account, "console", map[string]any{"limit": 2, "name": "Console", "interval_ms": 5000})
	if c := console.want(409, grandstand.BlockDeviceLimit, nil); c.Message != r.Message || c.Conflicts[0].Name != "Living room" || c.RetryMS <= 0 {
		t.Errorf("the console is told %s, the tablet %+v", c.text, r)
	}

	// A clean goodbye on the other gateway.
	mark, from := tablet.mark(), time.Now()
	phone.leave()
	within(t, "a place became free", from, tablet.unblocked(mark, 10*time.Second).at)

	// Takeovers between gateways, there and back.
	phone = play(t, g2, identity(account, "phone", "Anna's phone", two...), nil)
	r = phone.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	mark, from = tv.mark(), time.Now()
	take(t, phone, codeOf(t, &r.Refusal, "Living room"), from)
	lost := tv.blocked(mark, 10*time.Second, grandstand.BlockTakenOver)
	within(t, "a place was taken over from another gateway", from, lost.at)
	if lost.By != "Anna's phone" || !strings.Contains(lost.Message, "Anna's phone took over") || lost.RetryMS != 0 {
		t.Errorf("the loser is told %+v", lost)
	}
	mark, from = phone.mark(), time.Now()
	take(t, tv, codeOf(t, &lost.Refusal, "Anna's phone"), from)
	within(t, "and back", from, phone.blocked(mark, 10*time.Second, grandstand.BlockTakenOver).at)
	plays(t, b, account, "Living room, Tablet")

	// From a WebSocket to REST and back.
	c := console.want(409, grandstand.BlockDeviceLimit, nil)
	mark, from = tablet.mark(), time.Now()
	console.want(200, "", map[string]any{"terminate": []string{codeOf(t, &c.Refusal, "Tablet")}})
	lost = tablet.blocked(mark, 10*time.Second, grandstand.BlockTakenOver)
	within(t, "a place was taken over by REST", from, lost.at)
	take(t, tablet, codeOf(t, &lost.Refusal, "Console"), time.Now())
	if gone := console.want(410, grandstand.BlockTakenOver, nil); gone.By != "Tablet" {
		t.Errorf("the console is told %s", gone.text)
	}
	plays(t, b, account, "Living room, Tablet")

	// The owner signs the television out: the tablet alone plays, and nobody
	// who was ended comes back by himself.
	mark, from = tv.mark(), time.Now()
	if status, text := request(t, "DELETE", b.url+"/v1/accounts/"+url.PathEscape(account)+"/devices/tv", "", nil); status != 204 {
		t.Errorf("DELETE answers %d %s", status, text)
	}
	within(t, "a device was signed out", from, tv.blocked(mark, 10*time.Second, grandstand.BlockSignedOut).at)
	plays(t, b, account, "Tablet")
	mark = phone.mark()
	phone.takeover()
	phone.await(mark, 5*time.Second, "ok", func(m *told) bool { return m.T == "ok" && m.Re == "takeover" })
	plays(t, b, account, "Anna's phone, Tablet")

	if list, _ := other.heard(1); len(list) != 0 {
		t.Errorf("a device of another account was told %+v", list)
	}
}

// take takes a place over and waits until the device is told that it plays.
func take(t *testing.T, d *device, code string, from time.Time) {
	t.Helper()
	mark := d.mark()
	d.takeover(code)
	done := d.await(mark, 10*time.Second, "ok", func(m *told) bool { return m.T == "ok" && m.Re == "takeover" })
	within(t, "a takeover was carried out", from, done.at)
	d.unblocked(mark, 10*time.Second)
}

// within fails the test if what took longer than soon.
func within(t *testing.T, what string, from, at time.Time) {
	t.Helper()
	took := at.Sub(from)
	t.Logf("%s: %v", what, took.Round(time.Millisecond))
	if took > soon {
		t.Errorf("%s: told after %v, want %v", what, took, soon)
	}
}

// since returns since when the named devices of an account have their places.
func since(list []listedDevice) map[string]int64 {
	m := map[string]int64{}
	for _, d := range list {
		if d.Status == "playing" {
			m[d.Name] = d.Since
		}
	}
	return m
}

// neverBlocked fails the test if the device was told, from the n-th message on,
// that it may not play.
func (d *device) neverBlocked(n int) {
	d.t.Helper()
	list, _ := d.heard(n)
	if i := slices.IndexFunc(list, func(m told) bool { return m.T == "blocked" }); i >= 0 {
		d.t.Errorf("the device was told %+v", list[i])
	}
}

// Redis is emptied, and later killed and back empty, while devices play: they
// play on and have the places that they had; who came meanwhile does not keep
// one of theirs.
func TestPlacesOutliveRedis(t *testing.T) {
	beside(t)
	server := redistest.StartServer(t)
	g1, g2 := startGateway(t, "gateway-1", server.URL()), startGateway(t, "gateway-2", server.URL())
	b := startBlocker(t, "blocker", server.URL())
	const account = "a1"
	tv := play(t, g1, identity(account, "tv", "TV", two...), nil)
	keepBeating(t, tv.c)
	plays(t, b, account, "TV")
	console := newBox(t, b, account, "console", map[string]any{"limit": 2, "name": "Console", "interval_ms": 5000})
	console.want(200, "", nil)
	waiting := play(t, g2, identity(account, "phone", "Phone", two...), nil)
	keepBeating(t, waiting.c)
	waiting.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	before := since(plays(t, b, account, "Console, TV"))

	// restored waits until both are back, and the newcomer is not.
	restored := func(newcomer *box) {
		t.Helper()
		eventually(t, 10*time.Second, "those who played have their places", func() error {
			mine, theirs := console.heartbeat(nil), newcomer.heartbeat(nil)
			if mine.status != 200 || mine.Outage {
				return fmt.Errorf("the console is told %s", mine.text)
			}
			if list := devicesOf(t, b, account); theirs.status != 409 || playing(list) != "Console, TV" {
				return fmt.Errorf("the newcomer is told %s, %+v play", theirs.text, list)
			}
			return nil
		})
		if after := since(devicesOf(t, b, account)); after["TV"] != before["TV"] || after["Console"] != before["Console"] {
			t.Errorf("places are held since %v, before they were since %v", after, before)
		}
		tv.neverBlocked(0)
	}

	server.FlushAll()
	early := newBox(t, b, account, "early", map[string]any{"limit": 2, "name": "Early", "interval_ms": 5000})
	early.heartbeat(nil) // before the console has asked again
	restored(early)

	server.Kill()
	eventually(t, 10*time.Second, "nobody can be asked", func() error {
		if r := console.heartbeat(nil); r.status != 200 || !r.Outage {
			return fmt.Errorf("the console is told %s", r.text)
		}
		return nil
	})
	spared := play(t, g2, identity(account, "tablet", "Tablet", two...), nil)
	guest := newBox(t, b, account, "guest", map[string]any{"limit": 2, "name": "Guest", "interval_ms": 5000})
	if r := guest.heartbeat(nil); r.status != 200 || !r.Outage || r.Hold != "" {
		t.Errorf("who comes while nobody can be asked is told %s", r.text)
	}
	spared.neverBlocked(0)
	server.Restart()
	restored(guest)
	spared.beat()
	spared.blocked(0, 15*time.Second, grandstand.BlockDeviceLimit)
	restored(guest)
	if !waiting.refused() {
		t.Error("who waited for a place has one")
	}
}

// A gateway is killed: its devices go on at the other one in the places that
// they had, and who waits there gets none of them.
func TestPlacesOutliveAGateway(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	b := startBlocker(t, "blocker", redis)
	const account = "a1"
	var players [2]*device
	for i := range players {
		name := string(rune('A' + i))
		players[i] = play(t, g1, identity(account, name, name, two...), nil)
		eventually(t, 5*time.Second, name+" plays", func() error {
			if list := devicesOf(t, b, account); !strings.HasSuffix(playing(list), name) {
				return fmt.Errorf("%+v", list)
			}
			return nil
		})
	}
	waiting := play(t, g2, identity(account, "waiting", "Waiting", two...), nil)
	keepBeating(t, waiting.c)
	waiting.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	before := since(plays(t, b, account, "A, B"))
	g1.kill()
	for i, d := range players {
		name := string(rune('A' + i))
		again := play(t, g2, identity(account, name, name, append(two, "session", d.session)...), nil)
		if again.session != d.session {
			t.Errorf("%s resumes %s as %s", name, d.session, again.session)
		}
		keepBeating(t, again.c)
		players[i] = again
	}
	// Longer than the leases that the dead gateway renewed last.
	for end := time.Now().Add(17 * time.Second); time.Now().Before(end); <-time.After(250 * time.Millisecond) {
		if list := devicesOf(t, b, account); playing(list) != "A, B" {
			t.Fatalf("%+v play", list)
		}
	}
	if after := since(devicesOf(t, b, account)); after["A"] != before["A"] || after["B"] != before["B"] {
		t.Errorf("places are held since %v, before they were since %v", after, before)
	}
	for _, d := range players {
		d.neverBlocked(0)
	}
	if !waiting.refused() {
		t.Error("who waited for a place has one")
	}
}

// SIGHUP lowers a limit: the youngest is blocked at its next beat. It is raised
// again: the device plays again.
func TestALimitIsChangedWhileDevicesPlay(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	config := configFile(t, "rules: {limit: 3, plans: {basic: 1}}\n")
	g, b := startGateway(t, "gateway", redis, "--config", config), startBlocker(t, "blocker", redis, "--config", config)
	const account = "a1"
	console := newBox(t, b, account, "console", map[string]any{"name": "Console", "interval_ms": 5000})
	console.want(200, "", nil)
	tv := play(t, g, identity(account, "tv", "TV"), nil)
	plays(t, b, account, "Console, TV")
	phone := play(t, g, identity(account, "phone", "Phone"), nil)
	plays(t, b, account, "Console, Phone, TV")
	hangup := func(limit int) {
		rewrite(t, config, fmt.Sprintf("rules: {limit: %d, plans: {basic: 1}}\n", limit))
		for _, p := range []*process{g, b} {
			p.hangup(fmt.Sprintf("→ %d", limit))
		}
	}

	for _, d := range []*device{tv, phone} {
		d.keepBeating()
	}

	mark := phone.mark()
	hangup(2)
	r := phone.blocked(mark, 10*time.Second, grandstand.BlockDeviceLimit)
	if r.Limit != 2 || r.Rule != "default" || r.names() != "Console, TV" {
		t.Errorf("the phone is told %+v", r)
	}
	mark = tv.mark()
	hangup(1)
	console.want(200, "", nil)
	tv.blocked(mark, 10*time.Second, grandstand.BlockDeviceLimit)
	plays(t, b, account, "Console")

	marks := []int{tv.mark(), phone.mark()}
	hangup(3)
	for i, d := range []*device{tv, phone} {
		d.unblocked(marks[i], 10*time.Second)
	}
	console.want(200, "", nil)
	plays(t, b, account, "Console, Phone, TV")

	// The plan that the query names, of which the file knows a limit.
	basic := play(t, g, identity("a2", "d1", "One", "plan", "basic"), nil)
	plays(t, b, "a2", "One")
	second := play(t, g, identity("a2", "d2", "Two", "plan", "basic"), nil)
	if r := second.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit); r.Rule != "plan:basic" || r.Limit != 1 {
		t.Errorf("a second device of a basic account is told %+v", r)
	}
	basic.neverBlocked(0)
}

// With tokens everybody sees and ends the devices of his own account only; a
// service acts for all.
func TestAccountsWithTokens(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	tokens := newIssuer(t)
	settings := []string{"--auth", "jwt", "--jwks-url", tokens.url, "--jwt-secret", jwtSecret, "--admin-token", adminToken, "--read-keys", readKey}
	g := startGateway(t, "gateway", redis, settings...)
	b := startBlocker(t, "blocker", redis, slices.Delete(slices.Clone(settings), 8, 10)...)
	configure(t, g, "final", `{}`)
	claims := func(account, dev string, more ...any) http.Header {
		return bearer(tokens.hs(append([]any{"acc", account, "dev", dev, "sub", dev, "lim", 1}, more...)...))
	}
	const heartbeat, own = "/v1/accounts/a1/devices/tv/heartbeat", "/v1/accounts/a1/devices"
	for _, c := range []struct {
		name         string
		method, path string
		header       http.Header
		body         string
		want         int
	}{
		{"no token", "POST", heartbeat, nil, ``, 401},
		{"nonsense", "POST", heartbeat, bearer("no"), ``, 401},
		{"a read key", "POST", heartbeat + "?key=" + readKey, nil, ``, 401},
		{"an identity in the query", "POST", heartbeat + "?account=a1&device=tv", nil, ``, 401},
		{"expired", "POST", heartbeat, claims("a1", "tv", "exp", time.Now().Add(-time.Minute).Unix()), ``, 401},
		{"a limit of no account", "POST", heartbeat, claims("a1", "tv", "lim", 65), ``, 401},
		{"its own", "POST", heartbeat, claims("a1", "tv"), `{"event":"final","name":"TV"}`, 200},
		{"another account", "POST", heartbeat, claims("a2", "tv"), `{"event":"final"}`, 403},
		{"no account", "POST", heartbeat, bearer(tokens.hs()), `{"event":"final"}`, 403},
		{"another device", "POST", heartbeat, claims("a1", "phone"), `{"event":"final"}`, 403},
		{"another event", "POST", heartbeat, claims("a1", "tv"), `{"event":"semi"}`, 403},
		{"a limit of its own", "POST", heartbeat, claims("a1", "tv"), `{"event":"final","limit":9}`, 403},
		{"a plan of its own", "POST", heartbeat, claims("a1", "tv"), `{"event":"final","plan":"gold"}`, 403},
		{"an address of its own", "POST", heartbeat, claims("a1", "tv"), `{"event":"final","address":"192.0.2.1"}`, 403},
		{"a service, on behalf", "POST", "/v1/accounts/a3/devices/tv/heartbeat", bearer(tokens.hs("scope", "service", "evt", nil)), `{"event":"final","limit":1,"name":"TV"}`, 200},
		{"a service, on behalf of another", "POST", "/v1/accounts/a3/devices/pc/heartbeat", bearer(tokens.hs("scope", "service", "evt", nil)), `{"event":"final","limit":1,"name":"PC"}`, 409},
		{"the admin token", "GET", own, bearer(adminToken), ``, 200},
		{"its own list", "GET", own, claims("a1", "phone"), ``, 200},
		{"another's list", "GET", own, claims("a2", "tv"), ``, 403},
		{"another's stream", "GET", own + "/stream", claims("a2", "tv"), ``, 403},
		{"another's decisions", "GET", "/v1/accounts/a1/decisions", claims("a2", "tv"), ``, 403},
		{"another's device", "GET", own + "/tv", claims("a2", "tv"), ``, 403},
		{"to end another's", "DELETE", own + "/tv", claims("a2", "tv"), ``, 403},
	} {
		if status, text := request(t, c.method, b.url+c.path, c.body, c.header); status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, status, text, c.want)
		}
	}
	// The same account at the gateway: its one stream is the television's, until
	// its owner signs that out on the phone.
	phone := play(t, g, "interval_ms=5000", claims("a1", "phone"))
	if r := phone.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit); r.names() != "TV" || r.Rule != "token" {
		t.Errorf("the phone is told %+v", r)
	}
	mark, from := phone.mark(), time.Now()
	if status, text := request(t, "DELETE", b.url+own+"/tv", "", claims("a1", "phone")); status != 204 {
		t.Errorf("DELETE answers %d %s", status, text)
	}
	within(t, "a device was signed out", from, phone.unblocked(mark, 10*time.Second).at)
	if status, text := request(t, "POST", b.url+heartbeat, `{"event":"final"}`, claims("a1", "tv")); status != 409 {
		t.Errorf("a new session of the television is answered %d %s", status, text)
	}
}

// Whoever looks at an account's devices sees every change within a second.
func TestTheListOfDevicesIsLive(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	g, b := startGateway(t, "gateway", redis), startBlocker(t, "blocker", redis)
	const account = "a1"
	lists := sse(t, b.url+"/v1/accounts/"+account+"/devices/stream")
	// shown waits until these devices are shown to play.
	shown := func(names string, waiting int, from time.Time) {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			select {
			case text, open := <-lists:
				var list struct{ Devices []listedDevice }
				if err := json.Unmarshal(text, &list); err != nil || !open {
					t.Fatalf("%v in %s", err, text)
				}
				n := 0
				for _, d := range list.Devices {
					if d.Status == "waiting" {
						n++
					}
				}
				if playing(list.Devices) == names && n == waiting {
					within(t, fmt.Sprintf("%q, %d waiting", names, waiting), from, time.Now())
					return
				}
			case <-deadline:
				t.Fatalf("%q and %d waiting are not shown", names, waiting)
			}
		}
	}
	shown("", 0, time.Now())
	from := time.Now()
	tv := play(t, g, identity(account, "tv", "TV", two...), nil)
	shown("TV", 0, from)
	console := newBox(t, b, account, "console", map[string]any{"limit": 2, "name": "Console"})
	from = time.Now()
	console.want(200, "", nil)
	shown("Console, TV", 0, from)
	from = time.Now()
	phone := play(t, g, identity(account, "phone", "Phone", two...), nil)
	shown("Console, TV", 1, from)
	from = time.Now()
	console.want(200, "", map[string]any{"ended": true})
	shown("Phone, TV", 0, from)
	phone.unblocked(0, 5*time.Second)
	plays := phone.mark()
	from = time.Now()
	tv.leave()
	shown("Phone", 0, from)
	phone.neverBlocked(plays)
}
