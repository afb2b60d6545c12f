package gateway

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

func TestHalfOpenSocketsDieByTheirBeat(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		dead := rg.watch("viewer=dead&interval_ms=10000")
		alive := rg.watch("viewer=alive&interval_ms=10000")
		hidden := rg.watch("viewer=hidden&interval_ms=60000")
		dead.beat()
		for range 7 {
			time.Sleep(3 * time.Second)
			alive.beat()
		}
		ticked() // 22 s: within 2.5 beats
		if n := rg.redis.count("final", "world"); n != 3 {
			t.Errorf("%d sessions after 22 s, want 3", n)
		}
		alive.beat()
		time.Sleep(3 * time.Second)
		ticked() // 26 s
		if n := rg.redis.count("final", "world"); n != 2 {
			t.Errorf("%d sessions after 26 s, want 2", n)
		}
		dead.wantClose(4000, time.Second)
		alive.leave()
		time.Sleep(125 * time.Second)
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions at the end", n)
		}
		hidden.wantClose(4000, time.Second)
		if n := rg.metric("leaves_total", "lapsed"); n != 2 {
			t.Errorf("%v sessions lapsed, want 2", n)
		}
	})
}

// A reset lingers, so that a reconnect is no dip; a clean close does not.
func TestResetsLinger(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&device=d1")
		v.cut()
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions after a reset, want 1", n)
		}
		again := rg.watch("viewer=v1&device=d1&session=" + v.session)
		if again.session != v.session {
			t.Errorf("session %s became %s", v.session, again.session)
		}
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions after the reconnect, want 1", n)
		}
		again.cut()
		time.Sleep(26 * time.Second)
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after 2.5 beats", n)
		}
		if r := rg.redis.record(v.session); r.Owner != "" {
			t.Errorf("the record of a session that lapsed is still there: %+v", r)
		}
	})
}

func TestEndedAndPaused(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1")
		v.send(`{"t":"beat","state":"ended"}`)
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after ended", n)
		}
		v.send(`{"t":"beat","state":"playing"}`)
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions after playing again", n)
		}
		time.Sleep(1100 * time.Millisecond)
		if r := rg.redis.record(v.session); r.Owner != rg.g.ID() {
			t.Errorf("the record of a session that came back: %+v", r)
		}
		for range 13 {
			v.send(`{"t":"beat","state":"paused"}`)
			time.Sleep(5 * time.Second)
		}
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after 65 s of pause", n)
		}
		v.send(`{"t":"beat","state":"playing"}`)
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions after the pause", n)
		}
		v.leave()
	})
}

func TestTwoTabsAreOneSession(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		a := rg.watch("viewer=v1&device=d1&team=KC")
		b := rg.watch("viewer=v1&device=d1&team=KC&session=" + a.session)
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("two tabs count %d", n)
		}
		rg.hub.show(board("final", time.Now().UnixMilli(), 1, "team:KC", 1))
		a.next("counts")
		b.next("counts")
		b.leave()
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("the tab that is left counts %d", n)
		}
		a.leave()
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("no tab counts %d", n)
		}
	})
}

func TestTokensAreRenewedInBand(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		start := time.Now()
		rg.auth.identify = func(id *Identity) error { id.Expires = time.Now().Add(10 * time.Minute).UnixMilli(); return nil }
		rg.auth.renew = func(token string, old *Identity) (*Identity, error) {
			switch token {
			case "good":
				id := *old
				id.Expires = time.Now().Add(10 * time.Minute).UnixMilli()
				return &id, nil
			case "other":
				return nil, grandstand.Errorf(grandstand.CodeForbidden, "not for this event")
			case "later":
				return nil, grandstand.Errorf(grandstand.CodeUnavailable, "no keys just now")
			}
			return nil, grandstand.Errorf(grandstand.CodeUnauthorized, "bad token")
		}
		over, stop := context.WithCancel(context.Background())
		defer stop()
		var all []*viewer
		for _, name := range []string{"renews", "forgets", "forges", "strays"} {
			v := rg.watch("interval_ms=60000&viewer=" + name)
			all = append(all, v)
			go func() {
				for pause(over, 40*time.Second) {
					v.c.Write(over, 1, []byte(`{"t":"beat"}`))
				}
			}()
		}
		renews, forgets, forges, strays := all[0], all[1], all[2], all[3]
		time.Sleep(8*time.Minute + 40*time.Second)
		for _, v := range all {
			v.nextWithin("renew", time.Minute)
			if d := time.Since(start); d < 10*time.Minute-77*time.Second || d > 10*time.Minute-43*time.Second {
				t.Errorf("asked to renew after %v", d)
			}
		}
		renews.send(`{"t":"auth","token":"later"}`)
		if m := renews.next("error"); m["code"] != "unavailable" {
			t.Errorf("no keys: %v", m)
		}
		renews.send(`{"t":"auth","token":"good"}`)
		if m := renews.next("ok"); m["re"] != "auth" {
			t.Errorf("auth is answered %v", m)
		}
		forges.send(`{"t":"auth","token":"forged"}`)
		forges.wantClose(4501, time.Second)
		strays.send(`{"t":"auth","token":"other"}`)
		strays.wantClose(4503, time.Second)
		forgets.wantClose(4002, 80*time.Second)
		if d := time.Since(start); d < 10*time.Minute {
			t.Errorf("closed as expired after %v", d)
		}
		renews.nextWithin("renew", 10*time.Minute)
		renews.wantClose(4002, 80*time.Second)
	})
}

// Whoever has no token that ends later is asked for one a few times, not at every
// scan of the last minute; and who has one in the last seconds only stays.
func TestWhoHasNoLaterTokenIsAskedAFewTimes(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		end := time.Now().Add(5 * time.Minute).UnixMilli()
		rg.auth.identify = func(id *Identity) error { id.Expires = end; return nil }
		rg.auth.renew = func(_ string, old *Identity) (*Identity, error) {
			id := *old
			id.Expires = end
			return &id, nil
		}
		v := rg.watch("interval_ms=60000&viewer=fixed").keep(40 * time.Second)
		asked := 0
		for left := int64(5 * 60_000); left > 8000; asked++ {
			v.nextWithin("renew", time.Duration(left)*time.Millisecond)
			v.send(`{"t":"auth","token":"the same"}`)
			if m := v.next("ok"); m["re"] != "auth" {
				t.Errorf("auth is answered %v", m)
			}
			left = end - time.Now().UnixMilli()
		}
		if asked < 3 || asked > 5 {
			t.Errorf("it was asked %d times", asked)
		}
		end += 5 * 60_000 // a library that hands out another token in the last seconds
		v.nextWithin("renew", 8*time.Second)
		v.send(`{"t":"auth","token":"another"}`)
		v.next("ok")
		time.Sleep(3 * time.Minute)
		v.silent("renew")
		time.Sleep(2*time.Minute - 20*time.Second)
		v.wantClose(4002, 40*time.Second)
	})
}

func TestFramesAreSentWhenTheySaySomething(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&team=KC&interval_ms=60000")
		synctest.Wait() // hello is out
		at := time.Now().UnixMilli()
		drain := func() (n int) {
			synctest.Wait()
			for {
				select {
				case m := <-v.got:
					if m["t"] == "counts" {
						n++
					}
				default:
					return n
				}
			}
		}
		show := func(b *grandstand.Board, want int, what string) {
			t.Helper()
			rg.hub.show(b)
			if n := drain(); n != want {
				t.Errorf("%s: %d frames, want %d", what, n, want)
			}
		}
		show(board("final", at, 1, "team:KC", 1), 1, "the first")
		show(board("final", at+2000, 1, "team:KC", 1), 0, "the same numbers")
		show(board("final", at+4000, 2, "team:KC", 2), 1, "other numbers")
		show(board("final", at+3000, 3, "team:KC", 3), 0, "an older board")
		stale := board("final", at+4000, 2, "team:KC", 2)
		stale.Quality = grandstand.Stale
		show(stale, 1, "the same numbers, stale")
		show(stale, 0, "stale still")
		time.Sleep(5 * time.Second)
		show(stale, 1, "stale 5 s later")
		show(board("final", at+9000, 2, "team:KC", 2), 1, "live again")
		time.Sleep(14 * time.Second)
		show(board("final", at+23000, 2, "team:KC", 2), 0, "the same after 14 s")
		time.Sleep(time.Second)
		show(board("final", at+24000, 2, "team:KC", 2), 1, "the same after 15 s")
		older := board("final", at+30000, 5, "team:KC", 5)
		older.Epoch = 0
		show(older, 0, "an older epoch")
		v.leave()
		for result, want := range map[string]float64{"sent": 6, "same": 3, "old": 2} {
			if n := rg.metric("frames_total", result); n != want {
				t.Errorf("%v frames are counted as %s, want %v", n, result, want)
			}
		}
		w := rg.watch("viewer=v2&team=KC")
		if m := w.next("counts"); world(m) != 5 {
			t.Errorf("the newest frame right after hello is %v", m)
		}
		time.Sleep(40 * time.Second) // as if the process was stopped: the hub has not marked it
		if m := rg.watch("viewer=v3&team=KC").next("counts"); m["q"] != "stale" || m["age"].(float64) < 5000 {
			t.Errorf("the newest frame of a process that was stopped is %v", m)
		}
	})
}

func TestPaceFollowsTheConfiguration(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1")
		time.Sleep(20 * time.Millisecond) // the event goes live
		rg.put("final", `{"tick_ms":5000,"beat_ms":30000,"public":true}`)
		if m := v.next("pace"); m["tick_ms"] != 5000.0 || m["beat_ms"] != 30000.0 {
			t.Errorf("pace %v", m)
		}
		status, text, _ := rg.do(http.MethodPut, "/v1/events/final", `{"dims":["team"]}`)
		if status != http.StatusConflict {
			t.Errorf("other dims of a live event: %d %s", status, text)
		}
		time.Sleep(60 * time.Second) // over 2.5 of the old beats
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions at the new pace", n)
		}
		// There is a tick at the event's own odd phase, not at even seconds only.
		now := fakeClock{}.Now()
		time.Sleep(time.Duration(now-now%10_000+15_000-now)*time.Millisecond + time.Millisecond)
		synctest.Wait()
		if m := rg.redis.manifest(rg.g.ID()); m.At%10_000 != 5000 {
			t.Errorf("the last tick was at %d", m.At)
		}
		e := rg.redis.events["final"]
		if e.State != grandstand.EventLive || e.StartedAt == 0 {
			t.Errorf("event %+v", e)
		}
	})
}

func TestDrainSendsEverybodyElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis()
		a := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID = "a" }})
		b := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID = "b" }})
		synctest.Wait() // they run
		var moved, stays []*viewer
		for i := range 20 {
			v := a.watch("interval_ms=60000&viewer=" + string(rune('a'+i)))
			if i%2 == 0 {
				moved = append(moved, v)
			} else {
				stays = append(stays, v)
			}
		}
		ticked()
		done := make(chan error)
		go func() { done <- a.g.Close(context.Background()) }()
		synctest.Wait()
		if a.g.Ready() {
			t.Error("ready while draining")
		}
		if _, err := a.try("final", "viewer=new", nil); err == nil || err.Error()[:3] != "503" {
			t.Errorf("joining while draining: %v", err)
		}
		start := time.Now()
		var last time.Duration
		for i, v := range moved {
			m := v.next("drain")
			if ms := m["retry_ms"].(float64); ms <= 0 || ms > 5000 {
				t.Errorf("retry_ms %v", ms)
			}
			last = max(last, time.Since(start))
			w := b.watch("interval_ms=60000&viewer=" + string(rune('a'+2*i)) + "&session=" + v.session)
			if w.session != v.session {
				t.Error("another session")
			}
			v.leave() // the client closes its old socket
		}
		if last < time.Second || last > 10*time.Second {
			t.Errorf("the last was told after %v", last)
		}
		for _, v := range stays {
			v.wantClose(1012, 25*time.Second)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		ticked()
		if n := redis.count("final", "world"); n != 20 {
			t.Errorf("%d sessions after the drain, want 20", n)
		}
		m := redis.manifest("a")
		if !m.Left || m.Sessions != 10 {
			t.Errorf("the last manifest %+v", m)
		}
		if _, ok := redis.members["a"]; ok {
			t.Error("the lease is still held")
		}
		// The rest comes back later. A reads no releases any more.
		for i, v := range stays {
			b.watch("interval_ms=60000&viewer=" + string(rune('a'+2*i+1)) + "&session=" + v.session)
			ticked()
			if n := redis.count("final", "world"); n != 20 {
				t.Errorf("%d sessions when %d have come back, want 20", n, i+1)
			}
		}
		a.stop()
		b.stop()
	})
}

// A socket that is being opened while all are closed is closed too.
func TestNoSocketOutlivesHangingUp(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.g.hangUp(closeRestart)
		rg.watch("viewer=late").wantClose(1012, time.Second)
	})
}

func TestStartAfterCloseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRig(t, rigConfig{})
		synctest.Wait()
		if err := rg.g.Run(t.Context()); err == nil {
			t.Error("a second Run does not fail")
		}
		if err := rg.g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := rg.g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := rg.g.Run(t.Context()); err == nil {
			t.Error("Run after Close does not fail")
		}
		rg.stop()
	})
}

// An event that nobody watches yet is known to gateways only, once Redis lost
// its data.
func TestEventsOutliveAnEmptiedRedis(t *testing.T) {
	inBubble(t, rigConfig{set: func(c *Config) { c.OpenEvents = false }}, func(t *testing.T, rg *rig) {
		rg.put("final", `{"tick_ms":1000}`)
		rg.put("semi", `{"tick_ms":3000}`)
		rg.watch("viewer=v1")
		time.Sleep(5 * time.Second)
		rg.redis.flush("boot-2")
		time.Sleep(5 * time.Second)
		for name, tick := range map[string]int64{"final": 1000, "semi": 3000} {
			if e, err := rg.redis.GetEvent(t.Context(), name); err != nil || e.TickMS != tick {
				t.Errorf("Redis has of %s: %+v, %v", name, e, err)
			}
		}
	})
}

// The clock of Redis is set back by some seconds: the gateway goes on telling what
// it counts within a tick.
func TestTicksGoOnWhenTheClockIsSetBack(t *testing.T) {
	clock := &jumpyClock{}
	inBubble(t, rigConfig{set: func(c *Config) { c.Clock = clock }}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&interval_ms=60000")
		for _, back := range []int64{8_000, 3_000, 3_600_000} {
			ticked()
			clock.ahead.Add(-back)
			time.Sleep(2200 * time.Millisecond)
			if m := rg.redis.manifest(rg.g.ID()); clock.Now()-m.At > 2200 || m.At > clock.Now() || m.Sessions != 1 {
				t.Errorf("%d ms back: the last manifest is %d ms old, and counts %d", back, clock.Now()-m.At, m.Sessions)
			}
		}
		v.leave()
	})
}
