package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowGateway answers after a second, and counts how often it is asked and how
// much of it at the same time.
type slowGateway struct {
	mu               sync.Mutex
	asked, now, most int // guarded by mu
}

func (g *slowGateway) count(by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now += by
	g.most = max(g.most, g.now)
	g.asked += max(by, 0)
}

func (g *slowGateway) ask(ctx context.Context, event string, query url.Values) (int, []byte) {
	g.count(1)
	defer g.count(-1)
	select {
	case <-time.After(time.Second):
		return http.StatusOK, []byte(countsPath(event, query))
	case <-ctx.Done():
		return http.StatusServiceUnavailable, nil
	}
}

func TestBadgesAskOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g slowGateway
		c := newBadgeCounts(g.ask)
		ask := func(ctx context.Context, event, segment, key string) {
			t.Helper()
			q := url.Values{"segment": {segment}, "key": {key}}
			if status, body := c.ask(ctx, event, q); ctx.Err() == nil && (status != http.StatusOK || string(body) != countsPath(event, q)) {
				t.Errorf("%s, %s, %s is answered %d %s", event, segment, key, status, body)
			}
		}
		var wg sync.WaitGroup
		gone, leave := context.WithCancel(t.Context())
		wg.Go(func() { ask(gone, "final", "world", "") }) // who goes while others wait
		synctest.Wait()
		for range 100 {
			wg.Go(func() { ask(t.Context(), "final", "world", "") })
		}
		synctest.Wait()
		leave()
		wg.Wait()
		ask(t.Context(), "final", "world", "")
		if n := g.asked; n != 1 {
			t.Errorf("the gateway is asked %d times for one count, want once", n)
		}
		for _, other := range [][3]string{{"semi", "world", ""}, {"final", "team:KC", ""}, {"final", "world", "key"}} {
			before := g.asked
			ask(t.Context(), other[0], other[1], other[2])
			if g.asked != before+1 {
				t.Errorf("%v is answered with what somebody else asked for", other)
			}
		}
		time.Sleep(badgeFor)
		before := g.asked
		ask(t.Context(), "final", "world", "")
		if g.asked != before+1 {
			t.Error("a count is answered that is too old")
		}
	})
}

// Whoever makes up events, or guesses keys, holds neither memory nor a gateway.
func TestBadgesOfManyAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g slowGateway
		c := newBadgeCounts(g.ask)
		var refused atomic.Int32
		for round := range 2 * badgeAnswers / badgeCalls {
			var wg sync.WaitGroup
			for i := range 4 * badgeCalls {
				wg.Go(func() {
					key := url.Values{"key": {fmt.Sprintf("%d-%d", round, i)}}
					if status, _ := c.ask(t.Context(), "final", key); status == http.StatusServiceUnavailable {
						refused.Add(1)
					}
				})
			}
			wg.Wait()
			c.mu.Lock()
			if n := len(c.answers); n > badgeAnswers {
				t.Fatalf("%d answers are remembered, want %d at most", n, badgeAnswers)
			}
			for _, a := range c.answers {
				a.until = a.until.Add(time.Hour) // the worst: none is ever over
			}
			c.mu.Unlock()
		}
		if n := g.most; n != badgeCalls {
			t.Errorf("%d calls were under way, want %d", n, badgeCalls)
		}
		if refused.Load() != 3*2*badgeAnswers {
			t.Errorf("%d were told to come again, want %d", refused.Load(), 3*2*badgeAnswers)
		}
	})
}
