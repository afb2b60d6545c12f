package redis

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"grandstand"
)

func acct(n int) grandstand.Key { return grandstand.AccountsKey{}.Account(fmt.Sprint("account ", n)) }

func device(name string) grandstand.Key { return grandstand.AccountsKey{}.Device(acct(1), name) }

// asks returns an ask of a session for one of two streams.
func asks(account int, dev, session string) grandstand.Ask {
	return grandstand.Ask{
		Account: acct(account), Device: device(dev), Session: session, Event: "final", Name: dev, Member: "m-" + session,
		LeaseMS: 25_000, Terms: grandstand.Terms{Limit: 2, Rule: "default"}, Wait: true,
	}
}

func testLeaseSmoke(t *testing.T, r *rig) {
	c := open(t, r.url)
	ask := func(d, s string, edit func(*grandstand.Ask)) grandstand.Verdict {
		t.Helper()
		a := asks(1, d, s)
		if edit != nil {
			edit(&a)
		}
		ans := c.Ask(t.Context(), []grandstand.Ask{a})[0]
		ok(t, ans.Err)
		return ans.Verdict
	}
	want := func(v grandstand.Verdict, o grandstand.Outcome, code grandstand.BlockCode) {
		t.Helper()
		if v.Outcome != o || v.Code != code || v.Allowed != (code == "") {
			t.Errorf("%s %q, allowed %v; want %s %q", v.Outcome, v.Code, v.Allowed, o, code)
		}
	}
	var mu sync.Mutex
	told := map[grandstand.Key]int{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = c.FollowNotices(ctx, "m-s1", func(k grandstand.Key) {
			mu.Lock()
			told[k]++
			mu.Unlock()
		})
	})
	want(ask("a", "s1", nil), grandstand.OutcomeAcquired, "")
	want(ask("a", "s1", nil), grandstand.OutcomeRenewed, "")
	want(ask("b", "s2", nil), grandstand.OutcomeAcquired, "")
	v := ask("c", "s3", nil)
	want(v, grandstand.OutcomeBlocked, grandstand.BlockDeviceLimit)
	want(ask("c", "s3", nil), grandstand.OutcomeWaiting, grandstand.BlockDeviceLimit)
	want(ask("c", "s3", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{v.Rivals[0].LeaseRef}; a.Insist = true }),
		grandstand.OutcomeTookOver, "")
	want(ask("a", "s1", nil), grandstand.OutcomeBlocked, grandstand.BlockTakenOver)
	want(ask("b", "s9", nil), grandstand.OutcomeSuperseded, "")
	want(ask("b", "s2", nil), grandstand.OutcomeBlocked, grandstand.BlockSuperseded)
	eventually(t, 5*time.Second, "the ended session's member is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return told[acct(1)] > 0
	})
	cancel()
	wg.Wait()
	ok(t, c.Leave(t.Context(), []grandstand.Leave{{Account: acct(1), Device: device("b"), Session: "s9", Member: "m-s9"}}))
	if n, err := c.SignOut(t.Context(), acct(1), device("c")); n != 1 || err != nil {
		t.Errorf("signed out %d, %v", n, err)
	}
	if s, err := c.Account(t.Context(), acct(1)); err != nil || len(s.Leases) != 0 || len(s.Ended) != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	if d, err := c.Decisions(t.Context(), acct(1), 50); err != nil || len(d) != 9 {
		t.Errorf("%d decisions, %v", len(d), err)
	}
}

// fataler is a test of either kind.
type fataler interface {
	Context() context.Context
	Fatal(args ...any)
}

// stored returns an account's state as it lies in Redis, "" if there is none.
func stored(t fataler, c *Client, account grandstand.Key) string {
	text, err := c.rc.Do(t.Context(), c.rc.B().Get().Key(leasesKey(account)).Build()).ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	return text
}

func store(t fataler, c *Client, account grandstand.Key, state string) {
	cmd := c.rc.B().Set().Key(leasesKey(account)).Value(state).PxMilliseconds(leasesTTL.Milliseconds()).Build()
	if err := c.rc.Do(t.Context(), cmd).Error(); err != nil {
		t.Fatal(err)
	}
}

// digits are the times of a state.
var digits = regexp.MustCompile(`\b\d{13}\b`)

// aged returns a state with all of its times d ms earlier.
func aged(state string, d int64) string {
	return digits.ReplaceAllStringFunc(state, func(s string) string { return earlier(s, d) })
}

func earlier(stamp string, d int64) string {
	n, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		panic(err)
	}
	if n > 0 && n < 9_999_999_999_999 {
		n -= d
	}
	return fmt.Sprintf("%013d", n)
}
