package blocker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func TestTheListSaysWhoPlaysWaitsAndWasEnded(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		start := time.Now().UnixMilli()
		rg.beat("tv", `{"session":"t1","name":"TV","event":"final"}`)
		time.Sleep(time.Second)
		rg.beat("phone", `{"session":"p1","name":"Phone"}`)
		rg.beat("pad", `{"session":"i1","name":"Pad","event":"semi","interval_ms":5000}`).want(t, 409, "device_limit")
		rg.do("DELETE", "a1/devices/phone", "acc=a1", "")
		rg.beat("phone", `{"session":"p1"}`).want(t, 410, "signed_out")
		rg.beat("laptop", `{"session":"l1","name":"Laptop"}`)
		rg.beat("laptop", `{"session":"l2","name":"Laptop"}`).want(t, 200, "") // l1 ended, but the device plays
		time.Sleep(time.Second)
		key := func(id string) string { return rg.keys.Device(rg.keys.Account("a1"), id).Text() }
		a := rg.do("GET", "a1/devices", "acc=a1;dev=tv;lim=3", "").want(t, 200, "")
		n := float64(start)
		want := map[string]any{
			"at": n + 2000, "limit": 3.0, "rule": "token", "this": key("tv"), "current": 2.0,
			"devices": []any{
				map[string]any{"device": key("tv"), "name": "TV", "event": "final", "status": "playing", "since": n, "last_seen": n, "expires_in_ms": 23_000.0},
				map[string]any{"device": key("laptop"), "name": "Laptop", "event": "", "status": "playing", "since": n + 1000, "last_seen": n + 1000, "expires_in_ms": 24_000.0},
				map[string]any{"device": key("pad"), "name": "Pad", "event": "semi", "status": "waiting", "last_seen": n + 1000, "expires_in_ms": 14_000.0},
				map[string]any{"device": key("phone"), "name": "", "event": "", "status": "ended", "code": "signed_out", "last_seen": n + 1000},
			},
		}
		if d := cmp.Diff(want, a.body); d != "" {
			t.Error(d)
		}
		if strings.Contains(a.text, `"t1"`) || strings.Contains(a.text, "phone") {
			t.Errorf("an id leaves the edge: %s", a.text)
		}
		// An account that nobody has heard of is an empty list.
		if a := rg.do("GET", "a2/devices", "service", "").want(t, 200, ""); !strings.Contains(a.text, `"devices":[]`) {
			t.Errorf("answered %s", a.text)
		}
	})
}

func TestADeviceIsListedOnceForWhatEndedIt(t *testing.T) {
	tv, phone, pad := grandstand.Key{1}, grandstand.Key{2}, grandstand.Key{3}
	s := &grandstand.AccountState{
		Leases: []grandstand.Lease{
			{LeaseRef: grandstand.LeaseRef{Device: tv, Session: "t2"}, Name: "TV", Until: 1},
			{LeaseRef: grandstand.LeaseRef{Device: pad, Session: "i1"}, Name: "Pad", Until: 1, Shadow: true},
		},
		Ended: []grandstand.Ended{
			{Device: tv, Session: "t1", Code: grandstand.BlockTakenOver, At: 1},
			{Device: phone, Session: "p1", Code: grandstand.BlockTakenOver, By: "TV", At: 2},
			{Device: phone, Session: "p2", Code: grandstand.BlockSignedOut, At: 3},
			{Device: phone, Session: "p3", Code: grandstand.BlockSuperseded, At: 4},
		},
	}
	list := devicesOf(s)
	if len(list) != 3 || list[0].Status != "playing" || !list[1].WouldBlock || list[2].Code != grandstand.BlockSignedOut || list[2].LastSeen != 3 {
		t.Errorf("the list is %+v", list)
	}
	if n := len(playing(s, "")); n != 1 {
		t.Errorf("%d streams count", n)
	}
	// Those who wait keep their order, whoever asked last.
	s = &grandstand.AccountState{Waiting: []grandstand.Waiting{{Device: phone, At: 1}, {Device: tv, At: 2}}}
	before := devicesOf(s)
	s.Waiting[0].At, s.Waiting[1].At = 4, 3
	slices.Reverse(s.Waiting)
	if after := devicesOf(s); before[0].key != after[0].key || before[1].key != after[1].key {
		t.Errorf("%v became %v", before, after)
	}
}

func TestTheStatusOfADevice(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		get := func(path string) answered { return rg.do("GET", "a1/devices/"+path, "acc=a1", "") }
		rg.beat("tv", `{"session":"t1","name":"TV","event":"final"}`)
		rg.beat("phone", `{"session":"p1","name":"Phone"}`)
		time.Sleep(time.Second)
		rg.beat("pad", `{"session":"i1","name":"Pad"}`)
		writes := rg.redis.writes
		tv := get("tv").want(t, 200, "")
		if tv.str("status") != "allowed" || tv.str("name") != "TV" || tv.str("event") != "final" || tv.num("limit") != 2 ||
			tv.num("current") != 2 || tv.num("expires_in_ms") != 24_000 || tv.num("since") == 0 {
			t.Errorf("the TV is %s", tv.text)
		}
		pad := get("pad").want(t, 200, "device_limit")
		if pad.str("status") != "blocked" || pad.num("limit") != 2 || pad.num("current") != 2 || pad.num("retry_ms") != 5000 ||
			!slices.Equal(pad.conflicts("name"), []string{"TV", "Phone"}) || pad.str("message") == "" {
			t.Errorf("the pad is %s", pad.text)
		}
		idle := get("laptop").want(t, 200, "")
		if idle.str("status") != "idle" || idle.num("limit") != 2 || idle.num("current") != 2 || idle.str("device") == "" {
			t.Errorf("the laptop is %s", idle.text)
		}
		time.Sleep(21 * time.Second)
		if a := get("pad"); a.num("retry_ms") != 3000 {
			t.Errorf("the first place becomes free in 3 s: %s", a.text)
		}
		rg.beat("tv", `{"session":"t1","name":"TV","event":"final"}`)
		rg.beat("phone", `{"session":"p1","name":"Phone"}`)
		rg.beat("pad", `{"session":"i1","name":"Pad"}`)
		tv = get("tv")
		// By the key of the list as by the id, in any spelling.
		for _, id := range []string{"tv", "%74v", tv.str("device")} {
			if a := get(id); a.text != tv.text {
				t.Errorf("%s is %s", id, a.text)
			}
		}
		if rg.redis.writes != writes || len(rg.redis.asks) != 6 {
			t.Error("to ask changed something")
		}
		// One session of a device.
		rg.beat("tv", `{"session":"t2","name":"TV"}`)
		if a := get("tv?session=t1").want(t, 200, "superseded"); a.str("status") != "blocked" || a.body["retry_ms"] != nil {
			t.Errorf("the older session is %s", a.text)
		}
		if a := get("tv?session=t2"); a.str("status") != "allowed" {
			t.Errorf("the newer session is %s", a.text)
		}
		if a := get("tv?session=t3"); a.str("status") != "idle" {
			t.Errorf("no session is %s", a.text)
		}
		// That the device has had a newer window says nothing of it later.
		rg.beat("tv", `{"session":"t2","ended":true}`)
		if a := get("tv"); a.str("status") != "idle" {
			t.Errorf("the TV that left is %s", a.text)
		}
		if a := rg.do("GET", "a1/devices", "acc=a1", ""); !slices.Equal(a.devices(), []string{"Phone playing", "Pad waiting"}) {
			t.Errorf("the list is %s", a.text)
		}
		rg.beat("tv", `{"session":"t2","name":"TV"}`).want(t, 200, "")
		// The termination code in it is good.
		code := get("pad").conflicts("termination_code")[0]
		rg.beat("pad", `{"session":"i1","name":"Pad","terminate":["`+code+`"]}`).want(t, 200, "")
		if a := get("phone").want(t, 200, "taken_over"); a.str("status") != "blocked" || a.str("by") != "Pad" ||
			a.str("message") != "Playing stopped here: Pad took over." {
			t.Errorf("the phone is %s", a.text)
		}
		// A caller that does not know the limit is not told a wrong one.
		rg.b.cfg.Rules = func() *grandstand.Rules { return nil }
		rg.do("POST", "a1/devices/pc/heartbeat", "acc=a1;lim=2", "").want(t, 409, "device_limit")
		if a := get("pc"); a.num("limit") != 0 || strings.Contains(a.str("message"), "0") {
			t.Errorf("the PC is %s", a.text)
		}
	})
}

func TestTheStatusOfADeviceThatAnEventBlocks(t *testing.T) {
	inBubble(t, rules(grandstand.Rules{Limit: 5}), func(t *testing.T, rg *rig) {
		rg.redis.events["final"] = &grandstand.Event{Name: "final", Rules: &grandstand.EventRules{Limit: 1}}
		rg.beat("tv", `{"session":"t1","name":"TV","event":"final"}`)
		rg.beat("phone", `{"session":"p1","name":"Phone"}`)
		rg.beat("pad", `{"session":"i1","event":"final"}`).want(t, 409, "device_limit")
		a := rg.do("GET", "a1/devices/pad", "acc=a1", "").want(t, 200, "device_limit")
		if a.str("rule") != "event:final" || a.num("limit") != 1 || a.num("current") != 1 || !slices.Equal(a.conflicts("name"), []string{"TV"}) {
			t.Errorf("the pad is %s", a.text)
		}
	})
}

func TestSigningOutTakesIdsAndKeys(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		for _, name := range []string{"tv", rg.keys.Device(rg.keys.Account("a1"), "tv").Text()} {
			rg.beat("tv", `{"session":"t1","terminate":[]}`).want(t, 200, "")
			for range 2 { // signing out twice is no error
				if a := rg.do("DELETE", "a1/devices/"+name, "acc=a1;dev=phone", ""); a.status != 204 || a.text != "" {
					t.Errorf("answered %d %s", a.status, a.text)
				}
			}
			rg.beat("tv", `{"session":"t1"}`).want(t, 410, "signed_out")
		}
		rg.redis.setDown(true)
		if a := rg.do("DELETE", "a1/devices/tv", "acc=a1", "").want(t, 503, "unavailable"); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
}

func TestReadsSayThatRedisIsAway(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.redis.setDown(true)
		for _, path := range []string{"a1/devices", "a1/devices/tv", "a1/devices/stream", "a1/decisions"} {
			began := time.Now()
			a := rg.do("GET", path, "acc=a1", "").want(t, 503, "unavailable")
			if took := time.Since(began); a.header.Get("Retry-After") == "" || took > 600*time.Millisecond {
				t.Errorf("%s: %v after %v", path, a.header, took)
			}
		}
	})
}

func TestDecisionsAreToldNewestFirst(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		tv := grandstand.Key{1}
		for i := range 60 {
			rg.redis.log = append(rg.redis.log, grandstand.Decision{
				At: 1000 - int64(i), Outcome: "blocked", Code: "device_limit", Rule: "plan:gold", Limit: 2, Current: 2,
				Device: tv, Name: "TV", Session: "secret", Event: "final", Rivals: []string{"Phone"},
			})
		}
		rg.redis.log[1] = grandstand.Decision{At: 999, Outcome: "left", Device: tv}
		a := rg.do("GET", "a1/decisions?limit=2", "acc=a1", "").want(t, 200, "")
		want := map[string]any{"decisions": []any{
			map[string]any{"at": 1000.0, "outcome": "blocked", "code": "device_limit", "rule": "plan:gold", "limit": 2.0, "current": 2.0,
				"device": tv.Text(), "name": "TV", "event": "final", "rivals": []any{"Phone"}},
			map[string]any{"at": 999.0, "outcome": "left", "limit": 0.0, "current": 0.0, "device": tv.Text(), "name": "", "event": "", "rivals": []any{}},
		}}
		if d := cmp.Diff(want, a.body); d != "" {
			t.Error(d)
		}
		for query, n := range map[string]int{"": 50, "?limit=": 50, "?limit=1": 1, "?limit=50": 50} {
			if got := len(rg.do("GET", "a1/decisions"+query, "acc=a1", "").body["decisions"].([]any)); got != n {
				t.Errorf("%q gives %d decisions", query, got)
			}
		}
	})
}
