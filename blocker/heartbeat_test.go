package blocker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func TestTwoPlayAndTheThirdIsToldWho(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		first := rg.beat("tv", `{"event":"final","name":" Living\troom "}`).want(t, 200, "")
		want := map[string]any{
			"status": "allowed", "session": first.str("session"), "current": 1.0, "limit": 2.0, "rule": "default",
			"expires_in_ms": 25_000.0, "heartbeat_interval_ms": 10_000.0, "hold": first.str("hold"),
		}
		if d := cmp.Diff(want, first.body); d != "" {
			t.Error(d)
		}
		if s := first.str("session"); !grandstand.ValidValue(s) {
			t.Errorf("the session %q is none", s)
		}
		if h := first.header; h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("headers are %v", h)
		}
		rg.beat("phone", `{"event":"final","name":"Phone","interval_ms":5000}`).want(t, 200, "")

		refused := rg.beat("laptop", `{"event":"final","session":"l1"}`).want(t, 409, "device_limit")
		if got := refused.conflicts("name"); !slices.Equal(got, []string{"Living room", "Phone"}) {
			t.Errorf("rivals are %v", got)
		}
		if m := refused.str("message"); m != "This account may play 2 streams at a time. Playing now: Living room and Phone." {
			t.Errorf("the viewer is told %q", m)
		}
		if refused.str("session") != "l1" || refused.num("limit") != 2 || refused.num("current") != 2 || refused.num("retry_ms") != 5000 {
			t.Errorf("answered %s", refused.text)
		}
		if got := refused.header.Get("Retry-After"); got != "5" {
			t.Errorf("Retry-After is %q", got)
		}
		// The phone's lease is the first to lapse: that is when to come again.
		time.Sleep(11 * time.Second)
		rg.beat("tv", `{"session":"`+first.str("session")+`"}`).want(t, 200, "")
		if again := rg.beat("laptop", `{"session":"l1"}`); again.num("retry_ms") != 4000 || again.header.Get("Retry-After") != "4" {
			t.Errorf("answered %s", again.text)
		}
		time.Sleep(4 * time.Second)
		rg.beat("laptop", `{"session":"l1"}`).want(t, 200, "")
		if n := rg.metric("decisions_total", "default", "acquired"); n != 3 {
			t.Errorf("%v places were acquired", n)
		}
		if n := rg.metric("decisions_total", "default", "blocked") + rg.metric("decisions_total", "default", "waiting"); n != 2 {
			t.Errorf("%v asks were refused", n)
		}
		if n := rg.metric("requests_total", "heartbeat", "409"); n != 2 {
			t.Errorf("%v answers were 409", n)
		}
	})
}

func TestAPlaceIsTakenOverWithItsCode(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1","name":"TV"}`).want(t, 200, "")
		rg.beat("phone", `{"session":"p1","name":"Phone"}`).want(t, 200, "")
		code := rg.beat("laptop", `{"session":"l1","name":"Laptop"}`).want(t, 409, "device_limit").conflicts("termination_code")[0]

		rg.beat("laptop", `{"session":"l1","name":"Laptop","terminate":["`+code+`"]}`).want(t, 200, "")
		gone := rg.beat("tv", `{"session":"t1"}`).want(t, 410, "taken_over")
		if gone.str("by") != "Laptop" || gone.body["retry_ms"] != nil || gone.header.Get("Retry-After") != "" {
			t.Errorf("answered %s", gone.text)
		}
		rg.beat("phone", `{"session":"p1"}`).want(t, 200, "")
		// Who wants to play there again is a newcomer, without a place.
		rg.beat("tv", `{"session":"t1","terminate":[]}`).want(t, 409, "device_limit")
		rg.beat("tv", `{"session":"t1"}`).want(t, 409, "device_limit")
		// Asked twice, since the first answer was lost: nobody else is ended.
		rg.beat("laptop", `{"session":"l1","name":"Laptop","terminate":["`+code+`"]}`).want(t, 200, "")
		rg.beat("phone", `{"session":"p1"}`).want(t, 200, "")
	})
}

func TestWrongAndUsedCodesEndNothing(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1"}`)
		rg.beat("phone", `{"session":"p1"}`)
		used := rg.beat("laptop", `{"session":"l1"}`).conflicts("termination_code")[0]
		rg.beat("tv", `{"session":"t1","ended":true}`).want(t, 200, "")
		time.Sleep(time.Second)
		rg.beat("tv", `{"session":"t1"}`).want(t, 200, "") // the same session, another lease
		account := rg.keys.Account("a2")
		foreign := rg.keys.TerminationCode(account, grandstand.LeaseRef{Device: rg.keys.Device(account, "tv"), Session: "t1"})
		for name, codes := range map[string]string{
			"wrong": `"AAAAAAAAAAAAAAAAAAAAAA"`, "used": `"` + used + `"`, "another account's": `"` + foreign + `"`,
			"empty": `""`, "long": `"` + strings.Repeat("A", 5000) + `"`,
			"many": strings.Repeat(`"AAAAAAAAAAAAAAAAAAAAAA",`, 31) + `"B"`,
		} {
			time.Sleep(time.Second)
			a := rg.beat("laptop", `{"session":"l1","terminate":[`+codes+`]}`)
			if a.want(t, 409, "device_limit"); len(a.conflicts("name")) != 2 {
				t.Errorf("%s: answered %s", name, a.text)
			}
		}
		if list := rg.do("GET", "a1/devices", "acc=a1", ""); !slices.Equal(list.devices(), []string{"playing", "playing", "waiting"}) {
			t.Errorf("the list is %s", list.text)
		}
	})
}

func TestLeavingFreesThePlaceAtOnce(t *testing.T) {
	for _, body := range []string{`{"session":"t1","ended":true}`, `{"session":"t1","state":"ended"}`} {
		inBubble(t, limited, func(t *testing.T, rg *rig) {
			rg.beat("tv", `{"session":"t1"}`)
			rg.beat("phone", `{"session":"p1"}`)
			rg.beat("laptop", `{"session":"l1"}`).want(t, 409, "device_limit")
			// The last heartbeat went to another blocker: leaving must work all the same.
			rg.redis.see(func() { rg.redis.accounts[rg.keys.Account("a1")].Leases[0].Member = "b-other" })
			a := rg.beat("tv", body).want(t, 200, "")
			if a.str("status") != "ended" || a.str("session") != "t1" {
				t.Errorf("answered %s", a.text)
			}
			rg.beat("laptop", `{"session":"l1"}`).want(t, 200, "")
			rg.beat("tv", body).want(t, 200, "") // again
			rg.beat("tv", `{"ended":true}`).want(t, 400, "invalid")
			rg.redis.setDown(true)
			if a := rg.beat("tv", body).want(t, 503, "unavailable"); a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
}

func TestANewerSessionSupersedes(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1"}`).want(t, 200, "")
		rg.beat("tv", `{"session":"t2"}`).want(t, 200, "")
		rg.beat("tv", `{"session":"t1"}`).want(t, 410, "superseded")
	})
}

func TestAHoldComesBack(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		first := rg.beat("tv", `{"session":"t1"}`)
		other := rg.beat("phone", `{"session":"p1"}`)
		time.Sleep(5 * time.Second)
		ask := func(body string) grandstand.Ask {
			rg.beat("tv", body).want(t, 200, "")
			var last grandstand.Ask
			rg.redis.see(func() { last = rg.redis.asks[len(rg.redis.asks)-1] })
			return last
		}
		hold := ask(`{"session":"t1","hold":"` + first.str("hold") + `"}`).Hold
		at := time.Now().Add(-5 * time.Second).UnixMilli()
		if want := (grandstand.Hold{Since: at, Born: at, Granted: at}); hold != want {
			t.Errorf("shown %v, granted %v", hold, want)
		}
		if n := rg.metric("forged_holds_total"); n != 0 {
			t.Errorf("%v are forged", n)
		}
		forged := []byte(first.str("hold"))
		forged[3] ^= 1
		for i, body := range []string{
			`{"session":"t1","hold":"` + string(forged) + `"}`,
			`{"session":"t1","hold":"` + other.str("hold") + `"}`, // another device's
			`{"session":"t1","hold":"x"}`,
			`{"session":"t2","hold":"` + first.str("hold") + `"}`, // another session's
			`{"hold":"` + first.str("hold") + `"}`,                // nobody's
		} {
			if h := ask(body).Hold; h != (grandstand.Hold{}) {
				t.Errorf("%s is believed: %v", body, h)
			}
			if n := rg.metric("forged_holds_total"); n != float64(i+1) {
				t.Errorf("%v are forged after %d", n, i+1)
			}
		}
	})
}

func TestAnOutageIsAsTheRulesSay(t *testing.T) {
	for _, onOutage := range []string{grandstand.OutageAllow, grandstand.OutageDeny, ""} {
		inBubble(t, rules(grandstand.Rules{Limit: 1, OnOutage: onOutage}), func(t *testing.T, rg *rig) {
			held := rg.beat("tv", `{"session":"t1"}`).str("hold")
			rg.redis.setDown(true)
			began := time.Now()
			a := rg.beat("phone", `{"session":"p1","terminate":["AAAAAAAAAAAAAAAAAAAAAA"]}`)
			if took := time.Since(began); took > 260*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if onOutage == grandstand.OutageDeny {
				a.want(t, 503, "unavailable")
				if a.header.Get("Retry-After") == "" || a.num("retry_ms") < 1000 || a.str("session") != "p1" || a.str("message") == "" {
					t.Errorf("answered %s", a.text)
				}
			} else {
				a.want(t, 200, "")
				if a.body["outage"] != true || a.body["hold"] != nil || a.body["current"] != nil || a.num("expires_in_ms") != 25_000 {
					t.Errorf("answered %s", a.text)
				}
			}
			// Who has had a place lately plays on, and keeps what proves it.
			a = rg.beat("tv", `{"session":"t1","hold":"`+held+`"}`).want(t, 200, "")
			if a.body["outage"] != true || a.str("hold") != held {
				t.Errorf("answered %s", a.text)
			}
			// A forged hold proves nothing, and is not passed on.
			a = rg.beat("pad", `{"session":"i1","hold":"`+held+`"}`)
			if a.body["hold"] != nil || a.status == 200 && onOutage == grandstand.OutageDeny {
				t.Errorf("answered %s", a.text)
			}
			time.Sleep(16 * time.Minute)
			a = rg.beat("tv", `{"session":"t1","hold":"`+held+`"}`)
			if onOutage == grandstand.OutageDeny {
				a.want(t, 503, "unavailable")
			} else if a.want(t, 200, ""); a.str("hold") != held {
				t.Errorf("answered %s", a.text)
			}
			if n := rg.metric("decisions_total", "default", "outage_held"); n != 1 {
				t.Errorf("%v held", n)
			}
			denied, let := rg.metric("decisions_total", "outage_denied"), rg.metric("decisions_total", "outage_allowed")
			if onOutage == grandstand.OutageDeny && (denied != 3 || let != 0) || onOutage != grandstand.OutageDeny && (denied != 0 || let != 3) {
				t.Errorf("%v denied, %v let in", denied, let)
			}
			rg.redis.setDown(false)
			time.Sleep(time.Second)
			rg.beat("tv", `{"session":"t1"}`).want(t, 200, "")
		})
	}
}

func TestOnlyLimitedAccountsAreAskedAbout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, rg *rig) {
		a := rg.beat("tv", "").want(t, 200, "")
		if a.num("limit") != 0 || a.str("session") == "" || a.body["hold"] != nil || a.num("expires_in_ms") != 25_000 {
			t.Errorf("answered %s", a.text)
		}
		if len(rg.redis.asks) != 0 {
			t.Error("somebody was asked")
		}
		rg.do("POST", "a1/devices/tv/heartbeat", "acc=a1;lim=1", "").want(t, 200, "")
		rg.do("POST", "a1/devices/phone/heartbeat", "acc=a1;lim=1", "").want(t, 409, "device_limit")
		if n := rg.metric("decisions_total", "default", "unlimited"); n != 1 {
			t.Errorf("%v were not limited", n)
		}
		if n := rg.metric("decisions_total", "token", "blocked"); n != 1 {
			t.Errorf("%v were blocked by the token's limit", n)
		}
	})
}

func TestShadowIsSaid(t *testing.T) {
	off := false
	inBubble(t, rules(grandstand.Rules{Limit: 1, Enforce: &off}), func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1"}`).want(t, 200, "")
		for range 2 {
			if a := rg.beat("phone", `{"session":"p1"}`).want(t, 200, ""); a.body["would_block"] != true {
				t.Errorf("answered %s", a.text)
			}
		}
	})
}

// lastAsk sends a heartbeat and returns what was asked for.
func (rg *rig) lastAsk(path, token, body string) grandstand.Ask {
	rg.t.Helper()
	rg.do("POST", path, token, body).want(rg.t, 200, "")
	var last grandstand.Ask
	rg.redis.see(func() { last = rg.redis.asks[len(rg.redis.asks)-1] })
	return last
}

func TestABackendActsForItsViewers(t *testing.T) {
	set := func(c *Config) {
		limited(c)
		c.ClientAddr = func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") }
	}
	inBubble(t, set, func(t *testing.T, rg *rig) {
		account := rg.keys.Account("a9")
		player := netip.MustParseAddr("203.0.113.7")
		a := rg.lastAsk("a9/devices/tv/heartbeat", "service",
			`{"event":"final","session":"s","limit":3,"plan":"gold","address":"203.0.113.7","interval_ms":20000}`)
		want := grandstand.Ask{
			Account: account, Device: rg.keys.Device(account, "tv"), Session: "s", Event: "final", Address: rg.keys.Address(account, player),
			Member: rg.b.cfg.Member, LeaseMS: 45_000, BeatMS: 20_000, Wait: true, Terms: grandstand.Terms{Limit: 3, Rule: "token"},
		}
		if d := cmp.Diff(want, a); d != "" {
			t.Error(d)
		}
		a = rg.lastAsk("a9/devices/phone/heartbeat", "service", `{"plan":"gold","name":"Phone"}`)
		if a.Terms.Limit != 4 || a.Terms.Rule != "plan:gold" || a.Name != "Phone" || !a.Address.IsZero() {
			t.Errorf("asked %+v", a)
		}
		// A player is known by its own address and User-Agent.
		a = rg.lastAsk("a8/devices/phone/heartbeat", "acc=a8;plan=gold;name=Mine", `{"name":"\u0000 "}`)
		if eight := rg.keys.Account("a8"); a.Address != rg.keys.Address(eight, netip.MustParseAddr("192.0.2.1")) || a.Name != "Mine" || a.Terms.Limit != 4 {
			t.Errorf("asked %+v", a)
		}
	})
	open := func(c *Config) { set(c); c.Auth = fakeAuth{open: true} }
	inBubble(t, open, func(t *testing.T, rg *rig) {
		a := rg.lastAsk("anybody/devices/tv/heartbeat", "", `{"limit":1}`)
		if key := rg.keys.Account("anybody"); a.Address != rg.keys.Address(key, netip.MustParseAddr("192.0.2.1")) || a.Terms.Limit != 1 {
			t.Errorf("asked %+v", a)
		}
	})
}

func TestDevicesAreNamedByTheirUserAgent(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		for token, want := range map[string]string{"acc=a1": "Firefox on Linux", "service": ""} {
			req, _ := http.NewRequest("POST", "http://blocker.test/v1/accounts/a1/devices/d/heartbeat", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0")
			resp, err := rg.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := rg.redis.asks[len(rg.redis.asks)-1].Name; got != want {
				t.Errorf("with the token %s the device is called %q, want %q", token, got, want)
			}
		}
	})
}

func TestEventsHaveTheirOwnRules(t *testing.T) {
	inBubble(t, rules(grandstand.Rules{Limit: 5}), func(t *testing.T, rg *rig) {
		rg.redis.events["final"] = &grandstand.Event{Name: "final", Rules: &grandstand.EventRules{Limit: 1}}
		beat := func(device, event string) answered {
			return rg.beat(device, `{"event":"`+event+`","session":"`+device+`"}`)
		}
		beat("tv", "final").want(t, 200, "")
		if a := beat("phone", "final").want(t, 409, "device_limit"); a.str("rule") != "event:final" || a.num("limit") != 1 {
			t.Errorf("answered %s", a.text)
		}
		beat("phone", "unknown").want(t, 200, "")
		if n := rg.redis.gets; n != 2 {
			t.Errorf("%d reads of events", n)
		}
		// Believed for 5 s, then asked for again; what was known outlasts an outage.
		rg.redis.events["final"] = &grandstand.Event{Name: "final"}
		beat("pad", "final").want(t, 409, "device_limit")
		time.Sleep(5 * time.Second)
		beat("pad", "final").want(t, 200, "")
		rg.redis.events["final"] = &grandstand.Event{Name: "final", Rules: &grandstand.EventRules{Limit: 1}}
		time.Sleep(5 * time.Second)
		beat("laptop", "final").want(t, 409, "device_limit")
		time.Sleep(5 * time.Second)
		rg.redis.setDown(true)
		beat("laptop", "final")
		rg.redis.setDown(false)
		beat("laptop", "final").want(t, 409, "device_limit")
		gets := rg.redis.gets
		time.Sleep(time.Second)
		beat("laptop", "final").want(t, 409, "device_limit")
		if rg.redis.gets != gets+1 {
			t.Errorf("after an outage the event was read %d times", rg.redis.gets-gets)
		}
		// Any number of names takes a bounded memory.
		for i := range 3 * maxEvents / 2 {
			rg.b.events.get(t.Context(), fmt.Sprint("e", i))
		}
		if n := len(rg.b.events.of); n > maxEvents {
			t.Errorf("%d events are remembered", n)
		}
	})
}

func TestTheTokensEventsHold(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		for _, c := range []struct {
			token, body string
			status      int
			code, event string
		}{
			{"acc=a1;evt=final", `{"session":"s"}`, 200, "", "final"},
			{"acc=a1;evt=final", `{"session":"s","event":"final"}`, 200, "", "final"},
			{"acc=a1;evt=final", `{"session":"s","event":"semi"}`, 403, "forbidden", ""},
			{"acc=a1;evt=final,semi", `{"session":"s","event":"semi"}`, 200, "", "semi"},
			{"acc=a1;evt=final,semi", `{"session":"s"}`, 400, "invalid", ""},
			{"acc=a1;evt=final,semi", `{"session":"s","ended":true}`, 200, "", ""},
			{"acc=a1;evt=final", `{"session":"s","event":"semi","ended":true}`, 200, "", ""},
		} {
			asks := len(rg.redis.asks)
			rg.do("POST", "a1/devices/tv/heartbeat", c.token, c.body).want(t, c.status, c.code)
			if c.event == "" != (len(rg.redis.asks) == asks) || c.event != "" && rg.redis.asks[asks].Event != c.event {
				t.Errorf("%s %s: asked %+v", c.token, c.body, rg.redis.asks[asks:])
			}
		}
	})
}

// The JSON of heartbeats is a contract with players that are out there.
func TestTheWordsOfHeartbeatsStay(t *testing.T) {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	one := 1
	a := allowed{Status: "allowed", Session: "s", Current: &one, Limit: 2, Rule: "token", ExpiresInMS: 25000, HeartbeatIntervalMS: 10000, Hold: "h", WouldBlock: true, Outage: true}
	if got := text(a); got != `{"status":"allowed","session":"s","current":1,"limit":2,"rule":"token","expires_in_ms":25000,"heartbeat_interval_ms":10000,"hold":"h","would_block":true,"outage":true}` {
		t.Error(got)
	}
	r := refused{Refusal: grandstand.Refusal{Code: "device_limit", Message: "m", Conflicts: []grandstand.Conflict{}}, Session: "s", HeartbeatIntervalMS: 10000}
	if got := text(r); got != `{"code":"device_limit","message":"m","limit":0,"current":0,"conflicts":[],"session":"s","heartbeat_interval_ms":10000}` {
		t.Error(got)
	}
}
