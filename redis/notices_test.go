package redis

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

// ear keeps what a member is told.
type ear struct {
	mu     sync.Mutex
	told   []grandstand.Key
	hold   chan struct{} // not nil: tell waits for it
	cancel context.CancelFunc
	done   chan struct{}
}

func listen(t *testing.T, c *Client, member string) *ear {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := &ear{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		if err := c.FollowNotices(ctx, member, e.tell); err != nil {
			t.Errorf("FollowNotices: %v", err)
		}
	}()
	t.Cleanup(func() { e.stop(t) })
	return e
}

func (e *ear) tell(k grandstand.Key) {
	e.mu.Lock()
	e.told = append(e.told, k)
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

func (e *ear) stop(t *testing.T) {
	t.Helper()
	e.cancel()
	select {
	case <-e.done:
	case <-time.After(2 * time.Second):
		t.Fatal("FollowNotices does not end with its context")
	}
}

func (e *ear) heard(k grandstand.Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.told, k)
}

func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = nil
}

// notice posts a notice as Ask does.
func notice(t *testing.T, c *Client, member string, accounts ...int) {
	t.Helper()
	var n notices
	for _, a := range accounts {
		n.add(member, acct(a))
	}
	c.notify(t.Context(), &n)
}

func testNotices(t *testing.T, r *rig) {
	a, b := open(t, r.url), open(t, r.url)
	notice(t, b, "m1", 1) // before the member listens
	e := listen(t, a, "m1")
	eventually(t, 5*time.Second, "a notice from before is told", func() bool { return e.heard(acct(1)) })
	begin := time.Now()
	notice(t, b, "m2", 2)
	notice(t, b, "m1", 3, 3, 4)
	eventually(t, 5*time.Second, "a notice is told", func() bool { return e.heard(acct(4)) })
	t.Logf("a notice takes %v", time.Since(begin))
	e.mu.Lock()
	defer e.mu.Unlock()
	if want := []grandstand.Key{acct(1), acct(3), acct(4)}; !slices.Equal(e.told, want) {
		t.Errorf("told %v, want %v", e.told, want)
	}
}

// testNoticesLost deletes the data under a member that listens.
func testNoticesLost(t *testing.T, r *rig) {
	c := open(t, r.url)
	e := listen(t, c, "m1")
	notice(t, c, "m1", 1)
	eventually(t, 5*time.Second, "a notice is told", func() bool { return e.heard(acct(1)) })

	r.flush()
	eventually(t, followBlock+3*time.Second, "a member that hears nothing notices the loss", func() bool { return e.heard(grandstand.Key{}) })
	e.forget()
	notice(t, c, "m1", 2)
	eventually(t, 5*time.Second, "a notice after the loss is told", func() bool { return e.heard(acct(2)) })
	e.forget()

	r.flush()
	notice(t, c, "m1", 3) // first in a new stream
	eventually(t, 5*time.Second, "a new stream says that the old one was lost", func() bool { return e.heard(grandstand.Key{}) })
}

// testNoticesTrimmed has a member read too late.
func testNoticesTrimmed(t *testing.T, r *rig) {
	c := open(t, r.url)
	e := listen(t, c, "m1")
	e.hold = make(chan struct{})
	notice(t, c, "m1", 1)
	eventually(t, 5*time.Second, "a notice is told", func() bool { return e.heard(acct(1)) })
	var many []int
	for i := range 2 * maxNotices {
		many = append(many, i)
	}
	notice(t, c, "m1", many...)
	n, err := c.rc.Do(t.Context(), c.rc.B().Xlen().Key(noticesKey("m1")).Build()).AsInt64()
	if err != nil || n > maxNotices+200 {
		t.Errorf("%d notices are kept, %v", n, err)
	}
	close(e.hold)
	eventually(t, 5*time.Second, "the member looks at everything", func() bool { return e.heard(grandstand.Key{}) })
}

// testWhoIsTold is rule 9 from end to end.
func testWhoIsTold(t *testing.T, r *rig) {
	c := open(t, r.url)
	ears := map[string]*ear{}
	for _, m := range []string{"m-a1", "m-b1", "m-c1", "watcher"} {
		ears[m] = listen(t, c, m)
	}
	told := func(what string, members ...string) {
		t.Helper()
		for _, m := range members {
			eventually(t, 5*time.Second, m+" is told of "+what, func() bool { return ears[m].heard(acct(1)) })
		}
		notice(t, c, "m-a1", 99) // so that what else there is has come
		eventually(t, 5*time.Second, "a notice comes", func() bool { return ears["m-a1"].heard(acct(99)) })
		for m, e := range ears {
			if e.heard(acct(1)) && !slices.Contains(members, m) {
				t.Errorf("%s is told of %s", m, what)
			}
			e.forget()
		}
	}
	ok(t, c.WatchAccount(t.Context(), acct(1), "watcher"))
	d := drive(t, c)
	d.ask("a", "a1", nil).is(grandstand.OutcomeAcquired, "")
	told("a lease", "watcher")
	d.ask("a", "a1", nil).is(grandstand.OutcomeRenewed, "")
	told("a renewal")
	d.ask("b", "b1", nil).is(grandstand.OutcomeAcquired, "")
	told("a lease", "watcher")
	d.ask("c", "c1", nil).is(grandstand.OutcomeBlocked, grandstand.BlockDeviceLimit)
	told("a session that waits", "watcher")
	d.ask("c", "c1", nil).is(grandstand.OutcomeWaiting, grandstand.BlockDeviceLimit)
	told("a session that waits on")
	ok(t, c.Leave(t.Context(), []grandstand.Leave{{Account: acct(1), Device: device("b"), Session: "b1", Member: "m-b1"}}))
	told("a free place", "watcher", "m-c1")
	v := d.ask("d", "d1", nil).is(grandstand.OutcomeAcquired, "")
	told("a lease", "watcher")
	d.ask("c", "c1", func(a *grandstand.Ask) {
		a.Terminate = []grandstand.LeaseRef{{Device: device("d"), Session: "d1", Born: v.Hold.Born}, {Device: device("a"), Session: "a1"}}
	}).is(grandstand.OutcomeTookOver, "")
	told("a takeover (d1 has nobody who listens)", "watcher")
	_, err := c.SignOut(t.Context(), acct(1), device("a"))
	ok(t, err)
	told("a device that was signed out", "watcher", "m-a1")
}

// TestNoticesComeAgainAfterARestart has Redis end, and freeze.
func TestNoticesComeAgainAfterARestart(t *testing.T) {
	s := redistest.StartServer(t)
	c := open(t, s.URL())
	e := listen(t, c, "m1")
	notice(t, c, "m1", 1)
	eventually(t, 5*time.Second, "a notice is told", func() bool { return e.heard(acct(1)) })
	for what, away := range map[string]func(){
		"a restart": s.Restart,
		"a freeze": func() {
			s.Stop()
			eventually(t, 20*time.Second, "the member finds Redis away", func() bool {
				c.warnMu.Lock()
				defer c.warnMu.Unlock()
				return !c.warned.IsZero() && time.Since(c.warned) < time.Second
			})
			s.Cont()
		},
	} {
		e.forget()
		away()
		eventually(t, 15*time.Second, "the member looks at everything after "+what, func() bool { return e.heard(grandstand.Key{}) })
		notice(t, c, "m1", 2)
		eventually(t, 5*time.Second, "a notice is told after "+what, func() bool { return e.heard(acct(2)) })
	}
}
