package gateway

import (
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

// jumpyClock is the clock of a gateway that can be set.
type jumpyClock struct{ ahead atomic.Int64 }

func (c *jumpyClock) Now() int64 { return time.Now().UnixMilli() + c.ahead.Load() }

// The clock of one gateway is wrong by an hour: that neither ends sessions nor
// changes who plays.
func TestJumpsOfTheClock(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		clock := &jumpyClock{}
		c := newRig(t, rigConfig{redis: bs.redis, set: func(c *Config) {
			c.ID, c.Leases, c.Clock = "c", bs.leases, clock
		}})
		defer c.stop()
		time.Sleep(10 * time.Millisecond)
		tv := c.watch(device("tv") + "&interval_ms=20000").keep(20 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := c.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		car := bs.b.watch(device("car")).keep(5 * time.Second)
		car.blocked("device_limit")
		for _, ahead := range []time.Duration{time.Hour, 0, -time.Hour, time.Hour, 0} {
			clock.ahead.Store(ahead.Milliseconds())
			for range 6 {
				time.Sleep(10 * time.Second)
				bs.want(t, fmt.Sprintf("%v ahead", ahead), tv.session, phone.session)
			}
			for _, v := range []*viewer{tv, phone, pad, car} {
				v.silent("blocked")
				v.silent("unblocked")
				select {
				case err := <-v.closed:
					t.Fatalf("closed with the clock %v ahead: %v", ahead, err)
				default:
				}
			}
			if n := c.metric("sessions", ""); n != 1 {
				t.Errorf("%v ahead: %v sessions are watching", ahead, n)
			}
		}
		// The dead are not kept for an hour either.
		clock.ahead.Store(time.Hour.Milliseconds())
		time.Sleep(4 * time.Second)
		tv.cut()
		clock.ahead.Store(0)
		time.Sleep(55 * time.Second)
		bs.leases.set(func() {
			acc := bs.leases.account(accountKey("acc"))
			if len(acc.leases) != 2 || acc.find(grandstand.NewAccountsKey([]byte("0123456789abcdef")).Device(accountKey("acc"), "tv"), tv.session) >= 0 {
				t.Errorf("after a crash %+v", acc.leases)
			}
		})
		if s := c.g.roomOf("final").find(tv.session); s != nil {
			t.Error("the session that crashed is still there")
		}
	})
}

// Redis is away: who plays plays on, and newcomers do what the rules say.
func TestAnOutage(t *testing.T) {
	for _, rule := range []string{grandstand.OutageAllow, grandstand.OutageDeny} {
		withLeases(t, func(t *testing.T, bs *blockers) {
			bs.rules.Store(&grandstand.Rules{OnOutage: rule})
			tv := bs.a.watch(device("tv")).keep(5 * time.Second)
			time.Sleep(time.Second)
			phone := bs.b.watch(device("phone")).keep(5 * time.Second)
			time.Sleep(time.Second)
			pad := bs.b.watch(device("pad")).keep(5 * time.Second)
			pad.blocked("device_limit")
			ticked()
			bs.leases.set(func() { bs.leases.down = true })
			car := bs.a.watch(device("car")).keep(5 * time.Second)
			status, text, _ := bs.b.do(http.MethodPost, "/v1/events/final/beats?"+device("rest"), `{"state":"playing"}`)
			if rule == grandstand.OutageDeny {
				car.blocked("unavailable")
				if status != 200 || !strings.Contains(text, `"verdict":{"status":"blocked","code":"unavailable"`) {
					t.Errorf("denied: %d %s", status, text)
				}
				bs.counts(t, "newcomers are denied", 2)
			} else {
				if status != 200 || !strings.Contains(text, `"verdict":{"status":"allowed"}`) {
					t.Errorf("allowed: %d %s", status, text)
				}
				bs.counts(t, "newcomers are allowed", 4)
				car.silent("blocked")
			}
			time.Sleep(40 * time.Second) // longer than any lease
			tv.silent("blocked")
			phone.silent("blocked")
			pad.silent("unblocked")

			bs.leases.set(func() { bs.leases.down = false })
			time.Sleep(4 * time.Second)
			car.blocked("device_limit")
			bs.counts(t, "Redis is back", 2)
			if rule == grandstand.OutageAllow {
				got, want := bs.leases.playing("acc"), []string{tv.session, phone.session}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("%v play, want who played before: %v", got, want)
				}
			}
			car.silent("unblocked")
			kept, denied, allowed := bs.a.metric("lease_outages_total", "kept"), bs.a.metric("lease_outages_total", "denied"), bs.a.metric("lease_outages_total", "allowed")
			if kept < 10 || (denied > 0) != (rule == grandstand.OutageDeny) || (allowed > 0) != (rule == grandstand.OutageAllow) {
				t.Errorf("%s: %v kept, %v denied, %v allowed", rule, kept, denied, allowed)
			}
		})
	}
}

// Redis loses all leases, and a newcomer is the first to ask: who played before
// has its place back.
func TestIncumbentsComeFirstAfterALoss(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(8 * time.Second)
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone")).keep(9 * time.Second)
		time.Sleep(time.Second)
		bs.leases.lose()
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		time.Sleep(500 * time.Millisecond)
		bs.want(t, "right after the loss", pad.session)
		bs.redis.flush("boot-2")
		time.Sleep(3 * time.Second) // the gateways notice
		bs.want(t, "a moment later", tv.session, phone.session)
		pad.blocked("device_limit")
		tv.silent("blocked")
		phone.silent("blocked")
		bs.counts(t, "in the end", 2)
	})
}

// Notices are lost: everybody learns at its next beat, and a zero notice has all
// look again within a second.
func TestNoticesAreLost(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(10 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(10 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(10 * time.Second)
		code := codes(pad.blocked("device_limit"))
		bs.leases.set(func() { bs.leases.mute = true })
		pad.send(fmt.Sprintf(`{"t":"takeover","codes":[%q]}`, code["tv"]))
		pad.unblocked()
		if m := tv.nextWithin("blocked", 10*time.Second); m["code"] != "taken_over" {
			t.Errorf("%v", m)
		}
		tv.send(`{"t":"takeover"}`)
		tv.blocked("device_limit")
		phone.leave()
		time.Sleep(900 * time.Millisecond) // more than a closed page is waited for
		bs.a.g.leaser.look(grandstand.Key{})
		tv.unblocked()
	})
}

func TestSigningOut(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		key := grandstand.NewAccountsKey([]byte("0123456789abcdef"))
		account := key.Account("acc")
		bs.leases.signOut(account, key.Device(account, "tv"))
		tv.blocked("signed_out")
		bs.counts(t, "signed out", 0)
		tv.send(`{"t":"takeover"}`)
		tv.unblocked()
		bs.counts(t, "it wants to play", 1)
	})
}

func TestTheOldestIsEvicted(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.rules.Store(&grandstand.Rules{OnConflict: grandstand.EvictOldest})
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		if m := tv.blocked("taken_over"); m["by"] != "pad" {
			t.Errorf("%v", m)
		}
		time.Sleep(time.Second)
		pad.silent("blocked")
	})
}

// A player without a WebSocket is told its verdict with the first answer.
func TestVerdictsOfBeats(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		type answer struct {
			Session string
			Verdict map[string]any
		}
		post := func(rg *rig, id, body string) answer {
			t.Helper()
			status, text, _ := rg.do(http.MethodPost, "/v1/events/final/beats?"+device(id), body)
			if status != 200 {
				t.Fatalf("%d %s", status, text)
			}
			return parse[answer](t, text)
		}
		tv := post(bs.a, "tv", `{"state":"playing"}`)
		if len(tv.Verdict) != 1 || tv.Verdict["status"] != "allowed" {
			t.Errorf("the first: %v", tv.Verdict)
		}
		time.Sleep(time.Second)
		phone := bs.b.watch(device("phone"))
		time.Sleep(time.Second)
		pad := post(bs.b, "pad", `{"state":"playing"}`)
		if v := pad.Verdict; v["status"] != "blocked" || v["code"] != "device_limit" || v["limit"] != 2.0 || len(v["conflicts"].([]any)) != 2 {
			t.Errorf("the third: %v", v)
		}
		bs.counts(t, "two of three", 2)
		time.Sleep(2 * time.Second)
		before := bs.asked()
		beat := func(rg *rig, id string, a answer) answer {
			return post(rg, id, fmt.Sprintf(`{"state":"playing","session":%q}`, a.Session))
		}
		for range 5 { // many beats in a moment are one renewal
			beat(bs.a, "tv", tv)
			time.Sleep(100 * time.Millisecond)
		}
		if n := bs.asked() - before; n != 1 {
			t.Errorf("%d asks for five beats in a moment", n)
		}
		phone.leave()
		time.Sleep(time.Second)
		if v := beat(bs.b, "pad", pad).Verdict; v["status"] != "allowed" {
			t.Errorf("a place is free: %v", v)
		}
		// It moves, as beats behind a load balancer do.
		time.Sleep(time.Second)
		if v := beat(bs.a, "pad", pad).Verdict; v["status"] != "allowed" {
			t.Errorf("it moved: %v", v)
		}
		bs.counts(t, "it moved", 2)
		post(bs.a, "pad", fmt.Sprintf(`{"state":"ended","session":%q}`, pad.Session))
		time.Sleep(100 * time.Millisecond)
		bs.want(t, "one ended", tv.Session)
		// The query says otherwise from now on.
		other := strings.ReplaceAll(device("tv"), "limit=2", "limit=1")
		third := post(bs.b, "third", `{"state":"playing"}`)
		bs.want(t, "two of two", tv.Session, third.Session)
		bs.b.do(http.MethodPost, "/v1/events/final/beats?"+strings.ReplaceAll(other, "=tv", "=third"), fmt.Sprintf(`{"session":%q}`, third.Session))
		time.Sleep(100 * time.Millisecond)
		if v := beat(bs.b, "third", third).Verdict; v["code"] != "device_limit" || v["limit"] != 1.0 {
			t.Errorf("with a lower limit: %v", v)
		}
		post(bs.b, "third", fmt.Sprintf(`{"state":"ended","session":%q}`, third.Session))
		time.Sleep(100 * time.Millisecond)
		// The Redis of leases takes its time: the first answer waits for it.
		bs.leases.set(func() { bs.leases.trip = 150 * time.Millisecond })
		car := post(bs.a, "car", `{"state":"playing"}`)
		bs.want(t, "in the end", tv.Session, car.Session)
	})
}

// Who is blocked is in no tally: when it moves nothing is taken off one.
func TestABlockedSessionMoves(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		bs.counts(t, "two", 2)
		pad := bs.a.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		code := codes(bs.b.watch(device("car")).blocked("device_limit"))
		for range 3 {
			bs.counts(t, "two of four", 2)
		}
		now := time.Now().UnixMilli()
		if r := bs.redis.record(pad.session); r.Since < now {
			t.Errorf("the record of a blocked session is since %d, now is %d", r.Since, now)
		}
		// One that was counted is blocked, then moves.
		pad.send(fmt.Sprintf(`{"t":"takeover","codes":[%q]}`, code["phone"]))
		phone.blocked("taken_over")
		pad.unblocked()
		for range 3 {
			bs.counts(t, "another two", 2)
		}
		if r := bs.redis.record(phone.session); r.Since < now {
			t.Errorf("the record of a session that was taken over is since %d, now is %d", r.Since, now)
		}
		if r := bs.redis.record(pad.session); r.Since < now || r.Since > time.Now().UnixMilli() {
			t.Errorf("the record of a session that plays is since %d, now is %d", r.Since, now)
		}
		phone.cut()
		again := bs.b.watch(device("phone") + "&session=" + phone.session).keep(5 * time.Second)
		again.blocked("taken_over")
		for range 3 {
			bs.counts(t, "after the move", 2)
		}
	})
}

// Whatever rivals are called, the message does not make a reader a slow one.
func TestBlockedByManyWithLongNames(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		name := strings.Repeat("%3C", grandstand.MaxDeviceName)
		query := func(i int) string {
			return fmt.Sprintf("account=acc&limit=%d&viewer=v&device=d%d&name=%s", grandstand.MaxStreams, i, name)
		}
		for i := range grandstand.MaxStreams {
			bs.a.watch(query(i)).keep(5 * time.Second)
		}
		time.Sleep(time.Second)
		v := bs.b.watch(query(1000)).keep(5 * time.Second)
		if m := v.blocked("device_limit"); len(m["conflicts"].([]any)) != maxConflicts || m["current"] != 64.0 {
			t.Errorf("%d conflicts of %v", len(m["conflicts"].([]any)), m["current"])
		}
		v.send(`{"t":"join","seg":{"team":"KC"}}`)
		v.next("ok")
	})
}

// A page is loaded anew: its place is not given away meanwhile, nor taken from
// it afterwards.
func TestAReload(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(5 * time.Second)
		time.Sleep(time.Second)
		phone := bs.a.watch(device("phone")).keep(5 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad")).keep(5 * time.Second)
		pad.blocked("device_limit")
		now := time.Now().UnixMilli()
		time.Sleep(time.Duration(2000-now%2000-50) * time.Millisecond) // a tick is in 50 ms
		tv.leave()
		time.Sleep(100 * time.Millisecond)
		again := bs.a.watch(device("tv") + "&session=" + tv.session).keep(5 * time.Second)
		time.Sleep(time.Second)
		again.silent("blocked")
		pad.silent("unblocked")
		bs.want(t, "after the reload", tv.session, phone.session)
		bs.counts(t, "after the reload", 2)
	})
}

// A session is not counted before there is a verdict.
func TestNobodyCountsBeforeTheVerdict(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		bs.a.watch("viewer=other")
		bs.counts(t, "one that nobody pays for", 1)
		now := time.Now().UnixMilli()
		time.Sleep(time.Duration(2000-now%2000-50) * time.Millisecond)
		bs.leases.set(func() { bs.leases.trip = 200 * time.Millisecond })
		bs.a.watch(device("tv"))
		bs.counts(t, "its verdict is on its way", 1)
		bs.counts(t, "it has its verdict", 2)
		now = time.Now().UnixMilli()
		time.Sleep(time.Duration(2000-now%2000-50) * time.Millisecond)
		v := bs.a.watch(strings.ReplaceAll(device("phone"), "limit=2", "limit=1"))
		bs.counts(t, "another verdict is on its way", 2)
		v.blocked("device_limit")
		bs.counts(t, "it is blocked", 2)
		time.Sleep(1100 * time.Millisecond)
		if r := bs.redis.record(v.session); r.Since < time.Now().UnixMilli() {
			t.Errorf("its record, written before the verdict, is still since %d", r.Since)
		}
	})
}

// A notice that comes while an ask is under way is not lost.
func TestANoticeWhileTheVerdictIsOnItsWay(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		tv := bs.a.watch(device("tv")).keep(20 * time.Second)
		bs.a.watch(device("phone")).keep(20 * time.Second)
		time.Sleep(time.Second)
		pad := bs.b.watch(device("pad") + "&interval_ms=60000")
		pad.blocked("device_limit")
		time.Sleep(2 * time.Second)
		bs.leases.set(func() { bs.leases.lag = 150 * time.Millisecond })
		pad.beat() // judged in 5 ms, heard of in 155 ms
		time.Sleep(50 * time.Millisecond)
		tv.send(`{"t":"beat","state":"ended"}`)
		pad.unblocked()
	})
}

// A takeover is a sign of life: the lease lasts from then on.
func TestATakeoverIsASignOfLife(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		v := bs.a.watch(device("tv"))
		time.Sleep(20 * time.Second)
		v.send(`{"t":"takeover"}`)
		v.next("ok")
		bs.leases.set(func() {
			if a := bs.leases.asks[len(bs.leases.asks)-1]; !a.Insist || a.LeaseMS < 24_900 || a.LeaseMS > 25_000 {
				t.Errorf("%+v", a)
			}
		})
	})
}

// A socket that was not greeted yet is told nothing: hello comes first.
func TestHelloComesFirst(t *testing.T) {
	s := &session{sockets: &conn{}} // it has no wire to be written to
	s.tellLocked(unblockedMessage)
}

// A flood of alarms is let through piece by piece.
func TestAlarmsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gateway{cfg: Config{Secret: []byte("secret")}}
		g.leaser = newLeaser(g)
		ls, r := g.leaser, &room{g: g}
		for range 10 * ringRate {
			s := &session{room: r, lease: &leasing{}}
			s.lease.retryAt = ls.now() + 1
			ls.alarm(s)
		}
		time.Sleep(time.Millisecond)
		rung := func() int {
			ls.ring()
			n := len(ls.queue)
			ls.queue = nil
			return n
		}
		if n := rung(); n != ringBurst {
			t.Errorf("%d alarms at once, want %d", n, ringBurst)
		}
		n := 0
		for range 100 {
			time.Sleep(ringPause)
			n += rung()
		}
		if n < ringRate*9/10 || n > ringRate*11/10 {
			t.Errorf("%d alarms in a second, want %d", n, ringRate)
		}
	})
}

func TestABucketOfAClockThatIsSetBack(t *testing.T) {
	var b bucket
	now := int64(10_000_000)
	for range 5 {
		b.take(1, 1, 5, now)
	}
	now -= 3_600_000
	if b.take(1, 1, 5, now) {
		t.Error("the clock was set back, and the bucket is full again")
	}
	if !b.take(1, 1, 5, now+1000) {
		t.Error("a second later it is empty still")
	}
}
