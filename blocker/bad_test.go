package blocker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"grandstand"
)

func TestBadInputIsAnsweredNotTaken(t *testing.T) {
	long := strings.Repeat("x", 257)
	const beat, one = "a1/devices/tv/heartbeat", "acc=a1"
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
		code                      string
	}{
		"no token":                {"POST", beat, "", "", 401, "unauthorized"},
		"another account":         {"POST", "a2/devices/tv/heartbeat", one, "", 403, "forbidden"},
		"a token of no account":   {"POST", beat, "dev=tv", "", 403, "forbidden"},
		"another device":          {"POST", "a1/devices/phone/heartbeat", "acc=a1;dev=tv", "", 403, "forbidden"},
		"another account's list":  {"GET", "a2/devices", one, "", 403, "forbidden"},
		"its stream":              {"GET", "a2/devices/stream", one, "", 403, "forbidden"},
		"its device":              {"GET", "a2/devices/tv", one, "", 403, "forbidden"},
		"its decisions":           {"GET", "a2/decisions", one, "", 403, "forbidden"},
		"its sign-out":            {"DELETE", "a2/devices/tv", one, "", 403, "forbidden"},
		"trouble with auth":       {"POST", beat, "broken", "", 500, "internal"},
		"long account":            {"POST", long + "/devices/tv/heartbeat", "service", "", 400, "invalid"},
		"control in account":      {"POST", "a%00/devices/tv/heartbeat", "service", "", 400, "invalid"},
		"account not UTF-8":       {"POST", "a%ff/devices/tv/heartbeat", "service", "", 400, "invalid"},
		"no account":              {"GET", "/devices", "service", "", 404, "not_found"},
		"long device":             {"POST", "a1/devices/" + long + "/heartbeat", one, "", 400, "invalid"},
		"long after decoding":     {"POST", "a1/devices/" + strings.Repeat("%78", 257) + "/heartbeat", one, "", 400, "invalid"},
		"newline in device":       {"DELETE", "a1/devices/a%0Ab", one, "", 400, "invalid"},
		"C1 control in device":    {"GET", "a1/devices/a%C2%85", one, "", 400, "invalid"},
		"device not UTF-8":        {"GET", "a1/devices/%c3%28", one, "", 400, "invalid"},
		"no device":               {"POST", "a1/devices//heartbeat", one, "", 404, "not_found"},
		"nothing there":           {"GET", "a1/nothing", one, "", 404, "not_found"},
		"wrong method":            {"PUT", "a1/devices/tv", one, "", 405, "invalid"},
		"heartbeat by GET":        {"GET", beat, one, "", 405, "invalid"},
		"not JSON":                {"POST", beat, one, "session=s", 400, "invalid"},
		"cut short":               {"POST", beat, one, `{"session":"s"`, 400, "invalid"},
		"two objects":             {"POST", beat, one, `{}{}`, 400, "invalid"},
		"a list":                  {"POST", beat, one, `[]`, 400, "invalid"},
		"null":                    {"POST", beat, one, `null`, 400, "invalid"},
		"a number":                {"POST", beat, one, `1`, 400, "invalid"},
		"not UTF-8":               {"POST", beat, one, "{\"name\":\"\xff\"}", 400, "invalid"},
		"huge":                    {"POST", beat, one, `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too_large"},
		"deep":                    {"POST", beat, one, `{"x":` + strings.Repeat("[", 8000), 400, "invalid"},
		"session a number":        {"POST", beat, one, `{"session":1}`, 400, "invalid"},
		"session a list":          {"POST", beat, one, `{"session":["s"]}`, 400, "invalid"},
		"session with a space":    {"POST", beat, one, `{"session":"a b"}`, 400, "invalid"},
		"session with a slash":    {"POST", beat, one, `{"session":"a/b"}`, 400, "invalid"},
		"long session":            {"POST", beat, one, `{"session":"` + long[:65] + `"}`, 400, "invalid"},
		"session not ASCII":       {"POST", beat, one, `{"session":"ü"}`, 400, "invalid"},
		"event no name":           {"POST", beat, one, `{"event":"a b"}`, 400, "invalid"},
		"event a number":          {"POST", beat, one, `{"event":7}`, 400, "invalid"},
		"name a number":           {"POST", beat, one, `{"name":7}`, 400, "invalid"},
		"hold a number":           {"POST", beat, one, `{"hold":7}`, 400, "invalid"},
		"interval a text":         {"POST", beat, one, `{"interval_ms":"10"}`, 400, "invalid"},
		"interval beyond numbers": {"POST", beat, one, `{"interval_ms":1e999}`, 400, "invalid"},
		"ended a text":            {"POST", beat, one, `{"session":"s","ended":"true"}`, 400, "invalid"},
		"unknown state":           {"POST", beat, one, `{"state":"dancing"}`, 400, "invalid"},
		"codes a text":            {"POST", beat, one, `{"terminate":"x"}`, 400, "invalid"},
		"codes of numbers":        {"POST", beat, one, `{"terminate":[1]}`, 400, "invalid"},
		"codes of null":           {"POST", beat, one, `{"terminate":[null]}`, 400, "invalid"},
		"33 codes":                {"POST", beat, one, `{"terminate":[` + strings.Repeat(`"x",`, 32) + `"x"]}`, 400, "invalid"},
		"limit by a player":       {"POST", beat, one, `{"limit":64}`, 403, "forbidden"},
		"plan by a player":        {"POST", beat, one, `{"plan":"gold"}`, 403, "forbidden"},
		"address by a player":     {"POST", beat, one, `{"address":"192.0.2.1"}`, 403, "forbidden"},
		"limit 0":                 {"POST", beat, "service", `{"limit":0}`, 400, "invalid"},
		"limit negative":          {"POST", beat, "service", `{"limit":-1}`, 400, "invalid"},
		"limit 65":                {"POST", beat, "service", `{"limit":65}`, 400, "invalid"},
		"limit absurd":            {"POST", beat, "service", `{"limit":1e300}`, 400, "invalid"},
		"limit broken":            {"POST", beat, "service", `{"limit":1.5}`, 400, "invalid"},
		"limit a text":            {"POST", beat, "service", `{"limit":"2"}`, 400, "invalid"},
		"plan a number":           {"POST", beat, "service", `{"plan":1}`, 400, "invalid"},
		"plan with controls":      {"POST", beat, "service", `{"plan":"a\u0000"}`, 400, "invalid"},
		"address none":            {"POST", beat, "service", `{"address":"localhost"}`, 400, "invalid"},
		"decisions 0":             {"GET", "a1/decisions?limit=0", one, "", 400, "invalid"},
		"decisions 51":            {"GET", "a1/decisions?limit=51", one, "", 400, "invalid"},
		"decisions -1":            {"GET", "a1/decisions?limit=-1", one, "", 400, "invalid"},
		"decisions x":             {"GET", "a1/decisions?limit=x", one, "", 400, "invalid"},
		"decisions twice":         {"GET", "a1/decisions?limit=1&limit=2", one, "", 400, "invalid"},
		"bad query":               {"GET", "a1/decisions?limit=%zz", one, "", 400, "invalid"},
		"status of no session":    {"GET", "a1/devices/tv?session=a%20b", one, "", 400, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limited, func(t *testing.T, rg *rig) {
				a := rg.do(c.method, c.path, c.token, c.body).want(t, c.status, c.code)
				if a.str("message") == "" || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("answered %v %s", a.header, a.text)
				}
				if strings.Contains(a.text, "secret") {
					t.Errorf("the cause shows: %s", a.text)
				}
				if len(rg.redis.asks)+rg.redis.writes+len(rg.redis.signOuts)+len(rg.redis.leaves) != 0 {
					t.Error("it was carried out")
				}
				if n := rg.metric("requests_total", fmt.Sprint(c.status)); n != 1 {
					t.Errorf("counted %v times", n)
				}
			})
		})
	}
}

func TestOddInputIsTaken(t *testing.T) {
	for name, c := range map[string]struct {
		body       string
		intervalMS float64
	}{
		"nothing":            {"", 10_000},
		"space":              {" \r\n", 10_000},
		"empty object":       {" {} ", 10_000},
		"unknown members":    {`{"x":{"y":[1,2,{"session":"no"}]},"SESSION":"other","Limit":9}`, 10_000},
		"nulls":              {`{"session":null,"event":null,"interval_ms":null,"terminate":null,"limit":null,"ended":null}`, 10_000},
		"empty texts":        {`{"session":"","event":"","hold":"","name":"","plan":"","address":"","state":""}`, 10_000},
		"interval short":     {`{"interval_ms":1}`, 5_000},
		"interval long":      {`{"interval_ms":1e300}`, 60_000},
		"interval zero":      {`{"interval_ms":0}`, 10_000},
		"interval negative":  {`{"interval_ms":-5}`, 10_000},
		"interval fraction":  {`{"interval_ms":7000.9}`, 7_000},
		"the last one holds": {`{"interval_ms":6000,"interval_ms":8000}`, 8_000},
		"not ended":          {`{"ended":false,"state":"paused"}`, 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, limited, func(t *testing.T, rg *rig) {
				a := rg.beat("tv", c.body).want(t, 200, "")
				if a.str("status") != "allowed" || a.num("heartbeat_interval_ms") != c.intervalMS || a.num("expires_in_ms") != 2*c.intervalMS+5000 {
					t.Errorf("answered %s", a.text)
				}
				if s := a.str("session"); len(s) != 22 || !grandstand.ValidValue(s) {
					t.Errorf("the session %q is given", s)
				}
			})
		})
	}
}

func TestIdsMayHoldAnything(t *testing.T) {
	for path, id := range map[string]string{
		"a%2Fb":                   "a/b",
		"%2F%2F":                  "//",
		"%2E%2E":                  "..",
		"..":                      "..",
		"%73tream":                "stream",
		"heartbeat":               "heartbeat",
		"a+b%20c%25":              "a+b c%",
		"%F0%9F%93%BA":            "📺",
		"a%3Fb%23c":               "a?b#c",
		strings.Repeat("x", 256):  strings.Repeat("x", 256),
		"AAAAAAAAAAAAAAAAAAAAAA":  "AAAAAAAAAAAAAAAAAAAAAA", // reads as a key, and is none of this account
		"%41AAAAAAAAAAAAAAAAAAAA": "AAAAAAAAAAAAAAAAAAAAA",
	} {
		inBubble(t, limited, func(t *testing.T, rg *rig) {
			account := rg.keys.Account(id) // the same forms hold for both
			rg.do("POST", path+"/devices/"+path+"/heartbeat", "acc="+id, `{"session":"s"}`).want(t, 200, "")
			if a := rg.redis.asks[0]; a.Account != account || a.Device != rg.keys.Device(account, id) {
				t.Errorf("%s is asked for as %+v", path, a)
			}
			status := rg.do("GET", path+"/devices/"+path, "acc="+id, "")
			if status.want(t, 200, ""); status.str("status") != "allowed" {
				t.Errorf("%s: %s", path, status.text)
			}
			if a := rg.do("DELETE", path+"/devices/"+path, "acc="+id, ""); a.status != 204 || a.text != "" {
				t.Errorf("%s: signing out answers %d %s", path, a.status, a.text)
			}
			rg.do("POST", path+"/devices/"+path+"/heartbeat", "acc="+id, `{"session":"s"}`).want(t, 410, "signed_out")
		})
	}
}

// A body that never ends, or that comes in dribbles, is cut at its limit.
func TestAHugeBodyIsNotRead(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		body := &endless{}
		rg.send("POST", "a1/devices/tv/heartbeat", "acc=a1", body).want(t, 413, "too_large")
		if n := body.read.Load(); n > 1<<20 {
			t.Errorf("%d bytes were read", n)
		}
	})
}

type endless struct{ read atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func TestRequestsOfAnAccountAreBounded(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		count := func(n int, path string) (taken int) {
			for i := range n {
				req := httptest.NewRequest("POST", "/v1/accounts/"+fmt.Sprintf(path, i), nil)
				req.Header.Set("Authorization", "Bearer service")
				w := httptest.NewRecorder()
				rg.b.Handler().ServeHTTP(w, req)
				if w.Code != http.StatusTooManyRequests {
					taken++
				} else if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "rate_limited") {
					t.Fatalf("answered %v %s", w.Header(), w.Body)
				}
			}
			return taken
		}
		if n := count(10_000, "a1/devices/d%d/heartbeat"); n != 100 {
			t.Errorf("%d of 10,000 devices were let through", n)
		}
		if n := len(rg.redis.asks); n != 100 {
			t.Errorf("%d were asked for", n)
		}
		time.Sleep(time.Second)
		if n := count(50, "a1/devices/d%d/heartbeat"); n != 20 {
			t.Errorf("%d were let through after a second", n)
		}
		if n := count(50, "a2/devices/d%d/heartbeat"); n != 50 {
			t.Errorf("another account had %d let through", n)
		}
		time.Sleep(time.Minute)
		if n := count(200, "a1/devices/d%d/heartbeat"); n != 100 {
			t.Errorf("the burst is %d", n)
		}
		// Not one of the devices that are too many is kept.
		state := rg.redis.accounts[rg.keys.Account("a1")]
		if n := len(state.Leases) + len(state.Waiting); n > grandstand.MaxDevices {
			t.Errorf("%d devices are kept", n)
		}
		if rg.metric("requests_total", "heartbeat", "429") < 9900 {
			t.Error("they are not counted")
		}
	})
}

func TestTooManyDevicesAreToldToComeLater(t *testing.T) {
	set := func(c *Config) { limited(c); c.RequestBurst = 1000 }
	inBubble(t, set, func(t *testing.T, rg *rig) {
		for i := range grandstand.MaxDevices {
			rg.beat(fmt.Sprint("d", i), "")
		}
		a := rg.beat("more", "").want(t, 409, "too_many_devices")
		if a.header.Get("Retry-After") != "15" {
			t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
		}
	})
}

func TestRatesForgetTheLongestUnheard(t *testing.T) {
	r := newRates(1, 2, 3)
	key := func(i int) grandstand.Key { return grandstand.Key{byte(i), 1} }
	now := time.Now()
	take := func(i int) bool { return r.take(key(i), now) }
	for i := range 3 {
		for n := range 3 {
			if take(i) != (n < 2) {
				t.Fatalf("%d: a burst is 2", i)
			}
		}
	}
	take(0) // heard of, if refused
	if !take(3) {
		t.Error("a fourth account is refused")
	}
	if take(0) {
		t.Error("0 was forgotten, though it was heard of last")
	}
	if !take(1) {
		t.Error("1 was not forgotten")
	}
	if len(r.of) != 3 || r.order.Len() != 3 {
		t.Errorf("%d and %d accounts are remembered", len(r.of), r.order.Len())
	}
	now = now.Add(-time.Hour) // never goes back in fact; nothing may come of it
	take(1)
	if take(1) {
		t.Error("time that goes back gives a burst")
	}
}

func TestAConfigIsChecked(t *testing.T) {
	whole := func() Config {
		f := newFakeRedis()
		return Config{Secret: secret, Clock: fakeClock{}, Leases: f, Accounts: f, Notices: f, Events: f, Auth: fakeAuth{}}
	}
	b, err := New(whole())
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(whole())
	if err != nil {
		t.Fatal(err)
	}
	if b.cfg.Member == "" || b.cfg.Member == c.cfg.Member {
		t.Errorf("members are %q and %q", b.cfg.Member, c.cfg.Member)
	}
	if b.rules() == nil || b.cfg.ClientAddr(&http.Request{}).IsValid() {
		t.Error("the defaults are not")
	}
	for name, drop := range map[string]func(*Config){
		"Secret": func(c *Config) { c.Secret = nil }, "Clock": func(c *Config) { c.Clock = nil }, "Leases": func(c *Config) { c.Leases = nil },
		"Accounts": func(c *Config) { c.Accounts = nil }, "Notices": func(c *Config) { c.Notices = nil },
		"Events": func(c *Config) { c.Events = nil }, "Auth": func(c *Config) { c.Auth = nil },
	} {
		cfg := whole()
		drop(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
