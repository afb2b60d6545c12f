package blocker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

func TestAStreamShowsTheListThenEveryChange(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1","name":"TV"}`)
		rd := rg.follow("acc=a1;dev=tv;lim=3")
		first := rd.next(0)
		if rd.status != 200 || first.header.Get("Content-Type") != "text/event-stream" || first.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answered %d %v", rd.status, first.header)
		}
		// Word for word what GET says.
		if get := rg.do("GET", "a1/devices", "acc=a1;dev=tv;lim=3", ""); get.text != first.text {
			t.Errorf("the stream says\n%s\nthe list\n%s", first.text, get.text)
		}
		for _, step := range []struct {
			do   func()
			want []string
		}{
			{func() { rg.beat("phone", `{"session":"p1","name":"Phone"}`) }, []string{"TV playing", "Phone playing"}},
			{func() { rg.beat("pad", `{"session":"i1","name":"Pad"}`) }, []string{"TV playing", "Phone playing", "Pad waiting"}},
			{func() { rg.do("DELETE", "a1/devices/tv", "acc=a1", "") }, []string{"Phone playing", "Pad waiting", "ended"}},
			{func() { rg.beat("pad", `{"session":"i1","name":"Pad"}`) }, []string{"Phone playing", "Pad playing", "ended"}},
			{func() { rg.beat("phone", `{"session":"p1","ended":true}`) }, []string{"Pad playing", "ended"}},
		} {
			step.do()
			if got := rd.next(time.Second).devices(); !slices.Equal(got, step.want) {
				t.Errorf("the stream shows %v, want %v", got, step.want)
			}
		}
		rd.cancel()
		rd.wantEnd(time.Second)
		synctest.Wait()
		if n := rg.metric("stream_ends_total", "client"); n != 1 || rg.metric("streams") != 0 || rg.metric("watched_accounts") != 0 {
			t.Errorf("%v ended by their client; %v streams are left", n, rg.metric("streams"))
		}
	})
}

func TestAStreamShowsALapseWhenItHappens(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1","name":"TV","interval_ms":60000}`)
		rg.beat("phone", `{"session":"p1","name":"Phone","interval_ms":5000}`) // until 15 s from now
		rg.beat("pad", `{"session":"i1","name":"Pad","interval_ms":7000}`)     // waits until 19 s from now
		rd := rg.follow("acc=a1")
		rd.next(0)
		time.Sleep(10 * time.Second)
		rg.beat("phone", `{"session":"p1","interval_ms":5000}`) // until 25 s
		rd.quiet(8900 * time.Millisecond)                       // 18.9 s: a renewal is no change
		if got := rd.next(200 * time.Millisecond).devices(); !slices.Equal(got, []string{"TV playing", "Phone playing"}) {
			t.Errorf("the stream shows %v", got)
		}
		rd.quiet(5800 * time.Millisecond) // 24.9 s
		if got := rd.next(200 * time.Millisecond).devices(); !slices.Equal(got, []string{"TV playing"}) {
			t.Errorf("the stream shows %v", got)
		}
	})
}

func TestAStreamSaysThatItIsThere(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rd := rg.follow("acc=a1")
		rd.next(0)
		rd.quiet(50 * time.Second)
		if n := len(rd.notes); n != 3 {
			t.Errorf("%d signs of life in 50 s", n)
		}
	})
}

func TestAWatchIsRenewed(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		watches := func() (n int) { rg.redis.see(func() { n = len(rg.redis.watches) }); return n }
		rd := rg.follow("acc=a1")
		rd.next(0)
		rd.quiet(5 * time.Minute)
		if n := watches(); n < 15 || n > 16 {
			t.Errorf("watched %d times in 5 minutes", n)
		}
		// A failure is repaired long before the last watch is over, in no haste.
		var reads int
		rg.redis.see(func() { rg.redis.deaf, reads = true, rg.redis.reads })
		rd.quiet(watchEvery)
		rg.redis.see(func() { reads = rg.redis.reads - reads })
		if reads > 4*20 {
			t.Errorf("read %d times in %v", reads, watchEvery)
		}
		before := watches()
		rg.redis.see(func() { rg.redis.deaf = false })
		rd.quiet(2 * time.Second)
		if watches() == before {
			t.Error("the watch is not renewed")
		}
		rg.beat("tv", `{"name":"TV"}`)
		rd.next(time.Second)
	})
}

func TestALateReaderIsShownTheRenewalsToo(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"session":"t1","name":"TV"}`)
		first := rg.follow("acc=a1")
		first.next(0)
		for range 30 {
			first.quiet(10 * time.Second)
			rg.beat("tv", `{"session":"t1","name":"TV"}`)
		}
		a := rg.follow("acc=a1").next(0)
		if age := time.Since(time.UnixMilli(int64(a.num("at")))); age > watchEvery {
			t.Errorf("the list is of %v ago", age)
		}
	})
}

func TestManyStreamsCostOneReadPerChange(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		var all []*reader
		for range 20 {
			rd := rg.follow("acc=a1")
			rd.next(time.Second)
			all = append(all, rd)
		}
		var before, after int
		rg.redis.see(func() { before = rg.redis.reads })
		rg.beat("tv", `{"name":"TV","interval_ms":60000}`)
		for _, rd := range all {
			if got := rd.next(time.Second).devices(); !slices.Equal(got, []string{"TV playing"}) {
				t.Errorf("a stream shows %v", got)
			}
		}
		rg.redis.see(func() { after = rg.redis.reads })
		if before != 1 || after != 2 {
			t.Errorf("%d reads for 20 streams, %d for a change", before, after-before)
		}
		if n := rg.metric("watched_accounts"); n != 1 {
			t.Errorf("%v accounts are watched", n)
		}
		// A storm of changes is read ten times a second, and ends with the last.
		rg.redis.see(func() { before = rg.redis.reads })
		for range 300 {
			rg.b.tell(rg.keys.Account("a1"))
			time.Sleep(10 * time.Millisecond)
		}
		rg.redis.see(func() { after = rg.redis.reads })
		if after-before > 32 {
			t.Errorf("%d reads in 3 s", after-before)
		}
		for i, rd := range all {
			rd.cancel()
			rd.wantEnd(time.Second)
			synctest.Wait()
			if n := rg.metric("streams"); n != float64(len(all)-1-i) {
				t.Errorf("%v streams are left", n)
			}
		}
		rg.redis.see(func() { before = rg.redis.reads })
		time.Sleep(10 * time.Minute)
		rg.redis.see(func() { after = rg.redis.reads })
		if before != after {
			t.Error("an account that nobody looks at is read")
		}
	})
}

func TestLostNoticesAreMadeGood(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rd := rg.follow("acc=a1")
		rd.next(0)
		rg.redis.see(func() { rg.redis.mute = true })
		rg.beat("tv", `{"name":"TV","interval_ms":60000}`)
		rg.redis.notices <- grandstand.Key{} // notices may have been lost
		if got := rd.next(time.Second).devices(); !slices.Equal(got, []string{"TV playing"}) {
			t.Errorf("the stream shows %v", got)
		}
		// Nor does it need to be told that.
		rg.beat("phone", `{"name":"Phone","interval_ms":60000}`)
		rd.next(watchEvery + time.Second)
		// Whoever follows notices comes again, and looks at what it missed.
		rg.redis.broken <- errors.New("reset")
		rg.do("DELETE", "a1/devices/tv", "acc=a1", "")
		rd.next(2 * time.Second)
		if rg.redis.follows != 2 {
			t.Errorf("notices were followed %d times", rg.redis.follows)
		}
		if rg.metric("notices_total", "lost") != 2 {
			t.Error("it is not counted")
		}
		rg.redis.notices <- grandstand.Key{9}
		synctest.Wait()
		if rg.metric("notices_total", "unwatched") != 1 {
			t.Error("a notice for nobody is not counted")
		}
	})
}

func TestAStreamSaysThatItIsStale(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rg.beat("tv", `{"name":"TV","interval_ms":60000}`)
		rd := rg.follow("acc=a1")
		rd.next(0)
		rg.redis.setDown(true)
		a := rd.next(watchEvery + staleAfter + 2*time.Second)
		if a.body["stale"] != true || !slices.Equal(a.devices(), []string{"TV playing"}) {
			t.Errorf("the stream says %s", a.text)
		}
		rd.quiet(time.Minute) // once
		// Who comes now is shown what was known, marked.
		late := rg.follow("acc=a1")
		if a := late.next(0); a.body["stale"] != true {
			t.Errorf("a late reader is shown %s", a.text)
		}
		rg.redis.setDown(false)
		if a := rd.next(2 * time.Second); a.body["stale"] != nil {
			t.Errorf("the stream says %s", a.text)
		}
		rg.do("DELETE", "a1/devices/tv", "acc=a1", "")
		rd.next(time.Second)
		// A moment without Redis is not worth a word.
		rg.redis.setDown(true)
		rg.b.tell(rg.keys.Account("a1"))
		time.Sleep(time.Second)
		rg.redis.setDown(false)
		rd.quiet(10 * time.Second)
	})
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		rd := rg.follow(fmt.Sprint("acc=a1;exp=", time.Now().Add(time.Minute).UnixMilli()))
		rd.next(0)
		rd.quiet(59 * time.Second)
		rd.wantEnd(2 * time.Second)
		synctest.Wait()
		if rg.metric("stream_ends_total", "token_expired") != 1 {
			t.Error("it is not counted")
		}
		forever := rg.follow(fmt.Sprint("acc=a1;exp=", int64(1)<<62))
		forever.next(0)
		forever.quiet(time.Hour)
	})
}

// Redis may be an hour off, or become so: who was let in stays for as long as the
// token is good, and no longer.
func TestAStreamEndsWithItsTokenWhateverRedisSaysTheTimeIs(t *testing.T) {
	for _, c := range []struct{ before, amid time.Duration }{
		{time.Hour, time.Hour}, {-time.Hour, -time.Hour}, {0, time.Hour}, {0, -time.Hour},
	} {
		clock := &jumpyClock{}
		clock.ahead.Store(c.before.Milliseconds())
		t.Run(fmt.Sprintf("%v, then %v ahead", c.before, c.amid), func(t *testing.T) {
			inBubble(t, func(cfg *Config) { limited(cfg); cfg.Clock = clock }, func(t *testing.T, rg *rig) {
				rd := rg.follow(fmt.Sprint("acc=a1;exp=", time.Now().Add(time.Minute).UnixMilli()))
				rd.next(0)
				rd.quiet(30 * time.Second)
				clock.ahead.Store(c.amid.Milliseconds())
				rd.quiet(29 * time.Second)
				rd.wantEnd(2 * time.Second)
			})
		})
	}
}

func TestStreamsAreBounded(t *testing.T) {
	set := func(c *Config) { limited(c); c.MaxStreams, c.MaxAccountStreams = 3, 2 }
	inBubble(t, set, func(t *testing.T, rg *rig) {
		get := func(account string) answered { return rg.do("GET", account+"/devices/stream", "service", "") }
		a, b := rg.follow("acc=a1"), rg.follow("acc=a1")
		a.next(0)
		b.next(0)
		if got := get("a1").want(t, 429, "rate_limited"); got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://blocker.test/v1/accounts/a2/devices/stream", nil)
		req.Header.Set("Authorization", "Bearer service")
		resp, err := rg.client.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		if got := get("a3").want(t, 503, "unavailable"); got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		resp.Body.Close()
		synctest.Wait()
		if n := rg.metric("watched_accounts"); n != 1 {
			t.Errorf("%v accounts are watched", n)
		}
		a.cancel()
		a.wantEnd(time.Second)
		synctest.Wait()
		rg.follow("acc=a1").next(0)
	})
}

func TestASlowReaderIsCut(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		conn, err := rg.pipes.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET /v1/accounts/a1/devices/stream HTTP/1.1\r\nHost: blocker.test\r\nAuthorization: Bearer acc=a1\r\n\r\n")
		head := make([]byte, 4096)
		for got := ""; !strings.Contains(got, "data: "); {
			n, err := conn.Read(head)
			if err != nil {
				t.Fatal(err)
			}
			got += string(head[:n])
		}
		quick := rg.follow("acc=a1")
		quick.next(0)
		rg.beat("tv", `{"name":"TV","interval_ms":60000}`) // which the first one does not take
		quick.next(time.Second)
		time.Sleep(9 * time.Second)
		if n := rg.metric("streams"); n != 2 {
			t.Errorf("%v streams before the limit", n)
		}
		time.Sleep(2 * time.Second)
		if n := rg.metric("streams"); n != 1 || rg.metric("stream_ends_total", "slow_stream") != 1 {
			t.Errorf("%v streams after the limit", n)
		}
		rg.beat("phone", `{"name":"Phone","interval_ms":60000}`) // others do not notice
		quick.next(time.Second)
	})
}

// Whatever happens, a stream that is left in peace shows what the list says.
func TestStreamsConverge(t *testing.T) {
	for seed := range uint64(30) {
		inBubble(t, func(c *Config) { limited(c); c.RequestRate, c.RequestBurst = 1e6, 1e6 }, func(t *testing.T, rg *rig) {
			r := rand.New(rand.NewPCG(seed, 1))
			rd := rg.follow("acc=a1")
			shown := rd.next(0)
			for range 200 {
				device := fmt.Sprint("d", r.IntN(5))
				session := fmt.Sprint(device, "-", r.IntN(2))
				switch r.IntN(10) {
				case 0:
					rg.beat(device, `{"session":"`+session+`","ended":true}`)
				case 1:
					rg.do("DELETE", "a1/devices/"+device, "acc=a1", "")
				case 2:
					rg.beat(device, `{"session":"`+session+`","terminate":[]}`)
				case 3:
					rg.redis.see(func() { rg.redis.down = !rg.redis.down })
				case 4:
					rg.b.tell(grandstand.Key{})
				default:
					rg.beat(device, fmt.Sprintf(`{"session":"%s","name":"%s","interval_ms":%d}`, session, device, 5000+r.IntN(9000)))
				}
				time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
			}
			rg.redis.setDown(false)
			time.Sleep(watchEvery + 2*time.Second)
			for len(rd.lists) > 0 {
				shown = <-rd.lists
			}
			now := rg.do("GET", "a1/devices", "acc=a1", "")
			if !slices.Equal(shown.devices(), now.devices()) || shown.body["stale"] != nil {
				t.Errorf("seed %d: the stream shows %v, the list is %v", seed, shown.devices(), now.devices())
			}
		})
	}
}

// A stream counts where it is asked for, until it is over or refused for another
// reason.
func TestAStreamIsAskedFor(t *testing.T) {
	const most = 2
	open := 0
	set := func(c *Config) {
		c.MaxAccountStreams = 1
		c.OpenStream = func(*http.Request) (func(), error) {
			if open == most {
				return nil, grandstand.Errorf(grandstand.CodeRateLimited, "too many of your address")
			}
			open++
			return func() { open-- }, nil
		}
	}
	inBubble(t, set, func(t *testing.T, rg *rig) {
		opened := func(want int) {
			t.Helper()
			synctest.Wait()
			if open != want {
				t.Errorf("%d streams are open, want %d", open, want)
			}
		}
		rg.do("GET", "a1/devices/stream", "", "").want(t, 401, "unauthorized")
		opened(0)
		rd := rg.follow("acc=a1")
		rd.next(0)
		opened(1)
		rg.do("GET", "a1/devices/stream", "acc=a1", "").want(t, 429, "rate_limited") // of the account
		opened(1)
		open = most
		a := rg.do("GET", "a2/devices/stream", "acc=a2", "").want(t, 429, "rate_limited")
		if !strings.Contains(a.text, "too many of your address") {
			t.Errorf("answered %s", a.text)
		}
		open = 1
		rd.cancel()
		rd.wantEnd(time.Second)
		opened(0)
	})
}
