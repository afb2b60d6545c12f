package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// blockers is two gateways that share leases and rules.
type blockers struct {
	leases *fakeLeases
	redis  *fakeRedis
	rules  atomic.Pointer[grandstand.Rules]
	a, b   *rig
}

// withLeases runs f in a bubble.
func withLeases(t *testing.T, f func(t *testing.T, bs *blockers)) {
	synctest.Test(t, func(t *testing.T) {
		bs := &blockers{leases: newFakeLeases(), redis: newFakeRedis()}
		time.Sleep(337 * time.Millisecond) // records are not kept at the instant of a tick
		bs.a, bs.b = bs.rig(t, "a"), bs.rig(t, "b")
		time.Sleep(10 * time.Millisecond)
		f(t, bs)
		bs.a.stop()
		bs.b.stop()
	})
}

func (bs *blockers) rig(t *testing.T, id string) *rig {
	return newRig(t, rigConfig{redis: bs.redis, set: func(c *Config) {
		c.ID, c.Leases, c.Rules, c.Edge = id, bs.leases, bs.rules.Load, newEdge(t, proxyAddr)
	}})
}

// device is the query of a device of the account acc, which may play two
// streams.
func device(id string) string {
	return "account=acc&limit=2&name=" + id + "&viewer=" + id + "&device=" + id
}

// keep has the viewer beat until the test is over.
func (v *viewer) keep(every time.Duration) *viewer {
	ctx, stop := context.WithCancel(context.Background())
	v.t.Cleanup(stop)
	go func() {
		for pause(ctx, every) && v.c.Write(ctx, 1, []byte(`{"t":"beat","state":"playing"}`)) == nil {
		}
	}()
	return v
}

// silent fails if the viewer is sent a message of the type.
func (v *viewer) silent(typ string) {
	v.t.Helper()
	synctest.Wait()
	for {
		select {
		case m := <-v.got:
			if m["t"] == typ {
				v.t.Errorf("%v", m)
			}
		default:
			return
		}
	}
}

// blocked waits for the message with the code, for a second at most.
func (v *viewer) blocked(code string) map[string]any {
	v.t.Helper()
	m := v.nextWithin("blocked", time.Second)
	if m["code"] != code {
		v.t.Errorf("blocked with %v, want %s", m, code)
	}
	return m
}

func (v *viewer) unblocked() {
	v.t.Helper()
	v.nextWithin("unblocked", time.Second)
}

// codes returns the termination codes by device.
func codes(m map[string]any) map[string]string {
	by := map[string]string{}
	for _, c := range m["conflicts"].([]any) {
		c := c.(map[string]any)
		by[c["name"].(string)] = c["termination_code"].(string)
	}
	return by
}

func (bs *blockers) want(t *testing.T, what string, sessions ...string) {
	t.Helper()
	if got := bs.leases.playing("acc"); !slices.Equal(got, sessions) {
		t.Errorf("%s: %v play, want %v", what, got, sessions)
	}
}

func (bs *blockers) counts(t *testing.T, what string, want int) {
	t.Helper()
	ticked()
	if n := bs.redis.count("final", "world"); n != want {
		t.Errorf("%s: %d are counted, want %d", what, n, want)
	}
}

func (bs *blockers) asked() int {
	bs.leases.mu.Lock()
	defer bs.leases.mu.Unlock()
	return len(bs.leases.asks)
}

func TestTheThirdDeviceIsBlocked(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		m := pad.blocked("device_limit")
		if m["limit"] != 2.0 || m["current"] != 2.0 || m["rule"] != "token" || m["retry_ms"].(float64) <= 0 ||
			m["message"] != "This account may play 2 streams at a time. Playing now: tv and phone." {
			t.Errorf("%v", m)
		}
		if c := m["conflicts"].([]any)[0].(map[string]any); c["name"] != "tv" || c["event"] != "final" || c["since"].(float64) == 0 || len(c["termination_code"].(string)) != 22 {
			t.Errorf("%v", c)
		}
		again := bs.b.watch(device("pad") + "&session=" + pad.session).keep(5 * time.Second)
		if m := again.blocked("device_limit"); m["limit"] != 2.0 {
			t.Errorf("a second socket is told %v", m)
		}
		bs.counts(t, "one of three is blocked", 2)
		time.Sleep(30 * time.Second)
		bs.counts(t, "after a while", 2)
		pad.silent("blocked")
		tv.silent("blocked")

		tv.leave()
		pad.unblocked()
		again.unblocked()
		bs.counts(t, "another is let in", 2)
		bs.want(t, "in the end", phone.session, pad.session)
		if n := bs.b.metric("lease_decisions_total", "blocked"); n != 1 {
			t.Errorf("%v decisions are counted as blocked", n)
		}
	})
}

// Ten minutes of three devices on two places: nobody loses its place.
func TestPlacesDoNotChange(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(10 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone") + "&interval_ms=60000").keep(60 * time.Second)
		time.Sleep(time.Second)
		pad := bs.a.watch(device("pad")).keep(10 * time.Second)
		pad.blocked("device_limit")
		before := bs.asked()
		for range 60 {
			time.Sleep(10 * time.Second)
			bs.want(t, "meanwhile", tv.session, phone.session)
		}
		for _, v := range []*viewer{tv, phone, pad} {
			v.silent("blocked")
			v.silent("unblocked")
		}
		if n := bs.asked() - before; n < 130 || n > 200 {
			t.Errorf("%d asks of two that beat 60 times and one that beats 10 times", n)
		}
	})
}

func TestTakeovers(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		code := codes(pad.blocked("device_limit"))

		pad.send(`{"t":"takeover","codes":["AAAAAAAAAAAAAAAAAAAAAA",""]}`)
		pad.blocked("device_limit")
		pad.send(`{"t":"takeover"}`)
		pad.blocked("device_limit")
		bs.want(t, "wrong codes end nothing", tv.session, phone.session)

		pad.send(fmt.Sprintf(`{"t":"takeover","codes":[%q,%q]}`, code["tv"], code["phone"]))
		if m := tv.blocked("taken_over"); m["by"] != "pad" || m["retry_ms"] != nil {
			t.Errorf("%v", m)
		}
		pad.unblocked()
		pad.nextWithin("ok", time.Second)
		bs.want(t, "no more than it takes is ended", phone.session, pad.session)
		bs.counts(t, "after the takeover", 2)

		// Who was taken over asks no more by itself, not even when there is room.
		time.Sleep(30 * time.Second)
		phone.leave()
		time.Sleep(30 * time.Second)
		tv.silent("unblocked")
		bs.want(t, "a place is free", pad.session)
		again := bs.a.watch(device("tv") + "&session=" + tv.session).keep(5 * time.Second)
		again.blocked("taken_over")
		tv.send(`{"t":"takeover"}`)
		tv.unblocked()
		again.unblocked()
		tv.next("ok")
		bs.want(t, "there was a place", pad.session, tv.session)

		// And the other way round, to the other gateway.
		phone = bs.a.watch(device("phone")).keep(5 * time.Second)
		code = codes(phone.blocked("device_limit"))
		phone.send(fmt.Sprintf(`{"t":"takeover","codes":[%q]}`, code["pad"]))
		pad.blocked("taken_over")
		phone.unblocked()
		phone.nextWithin("ok", time.Second)

		// Who plays may ask; nobody is ended for it.
		phone.send(fmt.Sprintf(`{"t":"takeover","codes":[%q]}`, code["tv"]))
		phone.nextWithin("ok", time.Second)
		bs.want(t, "a takeover of who plays", tv.session, phone.session)
		if ok, no := bs.a.metric("takeovers_total", "allowed"), bs.b.metric("takeovers_total", "blocked"); ok != 3 || no != 2 {
			t.Errorf("%v takeovers on a, %v refused on b", ok, no)
		}
	})
}

func TestTakeoversThatCannotBe(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		free := bs.a.watch("viewer=v1&limit=1")
		free.send(`{"t":"takeover","seq":4}`)
		if m := free.next("error"); m["code"] != "invalid" {
			t.Errorf("a session that is not limited: %v", m)
		}
		unlimited := bs.a.watch("viewer=v2&account=other")
		unlimited.send(`{"t":"takeover"}`)
		if m := unlimited.next("error"); m["code"] != "invalid" {
			t.Errorf("an account that is not limited: %v", m)
		}
		one := bs.a.watch(device("one"))
		one.send(`{"t":"beat","state":"ended"}`)
		one.send(`{"t":"takeover"}`)
		if m := one.next("error"); m["code"] != "invalid" {
			t.Errorf("a session that ended: %v", m)
		}
		two := bs.a.watch(device("two")).keep(5 * time.Second)
		time.Sleep(time.Second)
		bs.leases.set(func() { bs.leases.down = true })
		for _, codes := range []string{`[]`, `["AAAAAAAAAAAAAAAAAAAAAA"]`} {
			start := time.Now()
			two.send(`{"t":"takeover","codes":` + codes + `}`)
			if m := two.next("error"); m["code"] != "unavailable" {
				t.Errorf("without Redis: %v", m)
			}
			if d := time.Since(start); d > 260*time.Millisecond {
				t.Errorf("the reader stood still for %v", d)
			}
		}
		bs.leases.set(func() { bs.leases.down = false })
		for range 70 {
			two.c.Write(context.Background(), 1, []byte(`{"t":"takeover"}`))
		}
		two.wantClose(1008, 10*time.Second)
	})
}

// A crash holds the place until the lease ends, to the end and not longer,
// whatever else happens in the account.
func TestACrashHoldsThePlaceUntilTheLeaseEnds(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv"))
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(4 * time.Second)
		tv.beat()
		time.Sleep(time.Second)
		tv.cut()
		crashed := time.Now()
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		for range 5 { // others come and go meanwhile, and are told of
			time.Sleep(3 * time.Second)
			bs.a.g.leaser.look(accountKey("acc"))
			bs.b.g.leaser.look(accountKey("acc"))
		}
		pad.nextWithin("unblocked", 20*time.Second)
		if d := time.Since(crashed); d < 23500*time.Millisecond || d > 24500*time.Millisecond {
			t.Errorf("the place was free %v after the crash, want 24 s: 25 s after the last beat", d)
		}
		bs.want(t, "in the end", phone.session, pad.session)
	})
}

// A place that becomes free does not go to a socket that is dead.
func TestTheDeadTakeNoPlace(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		dead := bs.a.watch(device("dead"))
		dead.blocked("device_limit")
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		dead.cut()
		time.Sleep(100 * time.Millisecond)
		tv.leave()
		pad.unblocked()
		bs.want(t, "in the end", phone.session, pad.session)
	})
}

func TestTheSameDeviceInANewerSession(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		old := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		newer := bs.b.watch(device("tv")).keep(5 * time.Second)
		old.blocked("superseded")
		before := bs.asked()
		time.Sleep(40 * time.Second)
		if n := bs.asked() - before; n > 9 {
			t.Errorf("%d asks in 40 s of one who plays", n)
		}
		newer.silent("blocked")
		bs.want(t, "two windows", newer.session)
		bs.counts(t, "two windows", 1)
		newer.leave()
		time.Sleep(30 * time.Second)
		old.silent("unblocked")
		// Not even a goodbye and a new beginning bring it back.
		old.send(`{"t":"beat","state":"ended"}`)
		old.send(`{"t":"beat","state":"playing"}`)
		time.Sleep(2 * time.Second)
		bs.want(t, "both windows are done")
		old.send(`{"t":"takeover"}`)
		old.unblocked()
	})
}

func TestTwoTabsOfOneSessionAreOneStream(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		const one = "account=acc&limit=1&viewer=v&device=tv"
		tab := bs.a.watch(one).keep(5 * time.Second)
		time.Sleep(time.Second)
		other := bs.a.watch(one + "&session=" + tab.session).keep(5 * time.Second)
		time.Sleep(30 * time.Second)
		tab.silent("blocked")
		other.silent("blocked")
		bs.want(t, "two tabs", tab.session)
		tab.leave()
		time.Sleep(time.Second)
		bs.want(t, "one tab is closed", tab.session)
		other.leave()
		time.Sleep(900 * time.Millisecond) // more than a closed page is waited for
		bs.want(t, "both are closed")
	})
}

// A session that moves has its lease still, and its old gateway neither renews
// nor frees it.
func TestALeaseMovesAlong(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		onA := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.a.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		since := bs.leases.account(accountKey("acc")).counting("")[0].Since
		onB := bs.b.watch(device("tv") + "&session=" + onA.session).keep(5 * time.Second)
		onA.leave()
		time.Sleep(50 * time.Millisecond)
		for range 10 {
			time.Sleep(5 * time.Second)
			bs.want(t, "after the move", onA.session, phone.session)
			bs.leases.set(func() {
				if l := bs.leases.account(accountKey("acc")).counting("")[0]; l.Member != "b" || l.Since != since {
					t.Errorf("the lease is %s's since %d, want b's since %d", l.Member, l.Since, since)
				}
			})
		}
		onB.silent("blocked")
		pad.silent("unblocked")
		bs.counts(t, "after the move", 2)
		onB.leave()
		pad.unblocked()
	})
}

// While the viewer has sockets on two gateways only the owner renews, and
// neither frees the other's lease.
func TestTheOldOwnerLeavesTheLeaseAlone(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		onA := bs.a.watch(device("tv"))
		ticked()
		onB := bs.b.watch(device("tv") + "&session=" + onA.session).keep(5 * time.Second)
		ticked()
		ticked()
		from := bs.asked()
		onA.beat()
		bs.a.g.leaser.look(accountKey("acc"))
		time.Sleep(time.Second)
		bs.leases.set(func() {
			for _, a := range bs.leases.asks[from:] {
				if a.Member == "a" {
					t.Error("the old owner asks for the lease")
				}
			}
		})
		onA.leave()
		time.Sleep(time.Second)
		bs.want(t, "the old socket is closed", onB.session)
	})
}

func TestADrainLeavesLeasesAlone(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		done := make(chan error)
		go func() { done <- bs.a.g.Close(context.Background()) }()
		for _, v := range []*viewer{tv, phone} {
			v.next("drain")
			v.leave()
		}
		bs.b.watch(device("tv") + "&session=" + tv.session).keep(5 * time.Second)
		time.Sleep(10 * time.Second)
		bs.b.watch(device("phone") + "&session=" + phone.session).keep(5 * time.Second)
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Second)
		bs.want(t, "after the drain", tv.session, phone.session)
		pad.silent("unblocked")
	})
}

func TestGoodbyes(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(100 * time.Millisecond)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		phone.send(`{"t":"beat","state":"ended"}`)
		pad.unblocked()
		bs.want(t, "one ended", tv.session, pad.session)
		time.Sleep(4 * time.Second) // it beats again, and asks as anybody
		phone.blocked("device_limit")
		bs.counts(t, "it comes back too late", 2)
		// A waiter that says goodbye waits no longer.
		phone.send(`{"t":"beat","state":"ended"}`)
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		bs.leases.set(func() {
			if n := len(bs.leases.account(accountKey("acc")).waiting); n != 0 {
				t.Errorf("%d wait", n)
			}
		})
		// The event ends for all.
		if status, _, _ := bs.b.do(http.MethodDelete, "/v1/events/final", ""); status != 200 {
			t.Fatal(status)
		}
		pad.wantClose(4504, time.Second)
		time.Sleep(100 * time.Millisecond)
		if got := bs.leases.playing("acc"); slices.Contains(got, pad.session) {
			t.Errorf("%v play an event that is over", got)
		}
	})
}

// A goodbye that comes while the ask is under way frees the place all the same.
func TestAGoodbyeWhileTheVerdictIsOnItsWay(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.leases.set(func() { bs.leases.trip = 100 * time.Millisecond })
		v := bs.a.watch(device("tv"))
		time.Sleep(20 * time.Millisecond)
		v.leave()
		time.Sleep(time.Second)
		bs.want(t, "it left")
		w := bs.a.watch(device("phone"))
		time.Sleep(20 * time.Millisecond)
		w.send(`{"t":"beat","state":"ended"}`)
		w.send(`{"t":"beat","state":"playing"}`)
		time.Sleep(time.Second)
		bs.want(t, "it left and came back", w.session)
		bs.counts(t, "it left and came back", 1)
	})
}

func TestRulesAreReadAtEveryRenewal(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		const acc = "account=acc&plan=family&viewer=v&device="
		tv := bs.a.watch(acc + "tv").keep(5 * time.Second)
		phone := bs.a.watch(acc + "phone").keep(5 * time.Second)
		pad := bs.b.watch(acc + "pad").keep(5 * time.Second)
		bs.counts(t, "without rules", 3)
		if n := bs.asked(); n != 0 {
			t.Errorf("%d asks of an account that is not limited", n)
		}
		bs.rules.Store(&grandstand.Rules{Limit: 1, Plans: map[string]int{"family": 2}})
		time.Sleep(10 * time.Second)
		bs.counts(t, "with a plan of two", 2)
		blocked := 0
		for _, v := range []*viewer{tv, phone, pad} {
			synctest.Wait()
			for len(v.got) > 0 {
				if m := <-v.got; m["t"] == "blocked" && m["rule"] == "plan:family" {
					blocked++
				}
			}
		}
		if blocked != 1 {
			t.Errorf("%d are blocked", blocked)
		}
		bs.rules.Store(&grandstand.Rules{Limit: 1, Plans: map[string]int{"family": 1}})
		time.Sleep(10 * time.Second)
		bs.counts(t, "with a plan of one", 1)
		bs.rules.Store(nil)
		time.Sleep(10 * time.Second)
		bs.counts(t, "without rules again", 3)
		if got := bs.leases.playing("acc"); len(got) != 0 {
			t.Errorf("%v have a lease they do not need", got)
		}
	})
}

func TestAnEventsOwnLimit(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.a.put("final", `{"rules":{"limit":1}}`)
		tv := bs.a.watch("account=acc&viewer=v&device=tv").keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch("account=acc&viewer=v&device=phone").keep(5 * time.Second)
		if m := phone.blocked("device_limit"); m["rule"] != "event:final" || m["limit"] != 1.0 {
			t.Errorf("%v", m)
		}
		semi, err := bs.b.try("semi", "account=acc&viewer=v&device=pad", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		semi.silent("blocked")
		tv.leave()
		phone.unblocked()
		if n := bs.b.metric("lease_decisions_total", "event"); n == 0 {
			t.Error("no decision is counted for the event's rule")
		}
	})
}

func TestHouseholds(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.rules.Store(&grandstand.Rules{Household: 1})
		join := func(rg *rig, id, address string) *viewer {
			v, err := rg.try("final", device(id), http.Header{"X-Forwarded-For": {address}})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			return v.keep(5 * time.Second)
		}
		tv := join(bs.a, "tv", "198.51.100.1")
		join(bs.a, "phone", "203.0.113.7").silent("blocked")
		join(bs.b, "stranger", "203.0.113.8").blocked("device_limit")
		join(bs.b, "pad", "198.51.100.1").silent("blocked")
		tv.silent("blocked")
		join(bs.b, "car", "198.51.100.1").blocked("device_limit")
	})
}

// Whoever would be blocked plays and is counted.
func TestShadowMode(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		off := false
		bs.rules.Store(&grandstand.Rules{Enforce: &off})
		var all []*viewer
		for _, id := range []string{"tv", "phone", "pad", "car"} {
			all = append(all, bs.a.watch(device(id)).keep(5*time.Second))
			time.Sleep(100 * time.Millisecond)
		}
		bs.counts(t, "in shadow mode", 4)
		for _, v := range all {
			v.silent("blocked")
		}
		if n := bs.a.metric("lease_decisions_total", "would_block"); n < 2 {
			t.Errorf("%v decisions are counted as would_block", n)
		}
		// Enforced, who came too late is told.
		bs.rules.Store(nil)
		time.Sleep(6 * time.Second)
		bs.counts(t, "enforced", 2)
		all[2].blocked("device_limit")
		all[3].blocked("device_limit")
	})
}

func TestATokenWithAnotherLimit(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		limit := 1
		for _, rg := range []*rig{bs.a, bs.b} {
			rg.auth.identify = func(id *Identity) error {
				id.Limit, id.Expires = limit, time.Now().Add(time.Hour).UnixMilli()
				return nil
			}
			rg.auth.renew = func(token string, old *Identity) (*Identity, error) {
				if token == "other" {
					return nil, grandstand.Errorf(grandstand.CodeUnauthorized, "another account")
				}
				id := *old
				id.Limit = len(token)
				return &id, nil
			}
		}
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone")).keep(5 * time.Second)
		phone.blocked("device_limit")
		phone.send(`{"t":"auth","token":"xx"}`)
		phone.next("ok")
		phone.unblocked()
		bs.want(t, "with a better token", tv.session, phone.session)
		phone.send(`{"t":"auth","token":"x"}`)
		phone.blocked("device_limit")
		bs.want(t, "with the old one again", tv.session)
		phone.send(`{"t":"auth","token":"other"}`)
		phone.wantClose(4501, time.Second)
	})
}

func TestASessionIsOfOneAccount(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		v := bs.a.watch(device("tv"))
		for _, query := range []string{"viewer=tv&device=tv", "viewer=tv&device=tv&account=other"} {
			if _, err := bs.a.try("final", query+"&session="+v.session, nil); err == nil || !strings.HasPrefix(err.Error(), "403") {
				t.Errorf("resumed with %s: %v", query, err)
			}
			status, text, _ := bs.a.do(http.MethodPost, "/v1/events/final/beats?"+query, fmt.Sprintf(`{"session":%q}`, v.session))
			if status != 403 {
				t.Errorf("a beat with %s: %d %s", query, status, text)
			}
		}
		time.Sleep(time.Second)
		bs.want(t, "its own", v.session)
	})
}

// A device without an id is told apart by its session.
func TestDevicesWithoutAnID(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		one := bs.a.watch("account=acc&limit=2").keep(5 * time.Second)
		time.Sleep(10 * time.Millisecond)
		two := bs.a.watch("account=acc&limit=2").keep(5 * time.Second)
		time.Sleep(time.Second)
		three := bs.b.watch("account=acc&limit=2").keep(5 * time.Second)
		three.blocked("device_limit")
		bs.want(t, "two of three", one.session, two.session)
		again := bs.b.watch("account=acc&limit=2&session=" + one.session)
		time.Sleep(time.Second)
		again.silent("blocked")
		bs.want(t, "one of them moved", one.session, two.session)
	})
}

// Sessions that nobody pays for, or that nothing limits, ask for nothing.
func TestWhoIsNotLimitedAsksForNothing(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.a.watch("viewer=v1&device=d1&limit=1").keep(5 * time.Second)
		bs.a.watch("viewer=v1&device=d2&account=other").keep(5 * time.Second)
		bs.counts(t, "both", 2)
		time.Sleep(20 * time.Second)
		if n := bs.asked(); n != 0 {
			t.Errorf("%d asks", n)
		}
		bs.a.g.leaser.mu.Lock()
		if n := len(bs.a.g.leaser.of); n != 0 {
			t.Errorf("%d accounts are known", n)
		}
		bs.a.g.leaser.mu.Unlock()
	})
}
