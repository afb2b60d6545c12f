package redis

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
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

// driver plays the sessions of account 1. They show the Hold that they were given
// last.
type driver struct {
	t     *testing.T
	c     *Client
	terms grandstand.Terms
	holds map[string]grandstand.Hold // by session
}

// drive returns a driver whose sessions may play on two streams.
func drive(t *testing.T, c *Client) *driver {
	return &driver{t: t, c: c, terms: grandstand.Terms{Limit: 2, Rule: "default"}, holds: map[string]grandstand.Hold{}}
}

// said is a verdict to be looked at.
type said struct {
	grandstand.Verdict
	t *testing.T
}

func (d *driver) ask(dev, session string, edit func(*grandstand.Ask)) *said {
	d.t.Helper()
	a := asks(1, dev, session)
	a.Terms, a.Hold = d.terms, d.holds[session]
	if edit != nil {
		edit(&a)
	}
	answer := d.c.Ask(d.t.Context(), []grandstand.Ask{a})[0]
	ok(d.t, answer.Err)
	if answer.Verdict.Allowed {
		d.holds[session] = answer.Verdict.Hold
	}
	return &said{answer.Verdict, d.t}
}

// is checks what was decided.
func (v *said) is(o grandstand.Outcome, code grandstand.BlockCode) *said {
	v.t.Helper()
	if v.Outcome != o || v.Code != code || v.Allowed != (code == "") {
		v.t.Errorf("%s %q, allowed %v; want %s %q", v.Outcome, v.Code, v.Allowed, o, code)
	}
	return v
}

// by checks the rule of a verdict, and who has the places.
func (v *said) by(rule string, limit, current int, rivals ...string) *said {
	v.t.Helper()
	if v.Rule != rule || v.Limit != limit || v.Current != current {
		v.t.Errorf("by %s, %d of %d streams; want %s, %d of %d", v.Rule, v.Current, v.Limit, rule, current, limit)
	}
	var got []string
	for _, l := range v.Rivals {
		got = append(got, l.Session)
	}
	if !slices.Equal(got, rivals) {
		v.t.Errorf("rivals %q, want %q", got, rivals)
	}
	return v
}

func (d *driver) leave(dev, session, member string) {
	d.t.Helper()
	ok(d.t, d.c.Leave(d.t.Context(), []grandstand.Leave{{Account: acct(1), Device: device(dev), Session: session, Member: member}}))
}

func (d *driver) account() *grandstand.AccountState {
	d.t.Helper()
	s, err := d.c.Account(d.t.Context(), acct(1))
	ok(d.t, err)
	return s
}

// kept checks the sessions that play, in the order of their rank (in shadow with
// a ~), wait and were ended, in the order of time, each with commas between.
func (d *driver) kept(playing, waiting, ended string) {
	d.t.Helper()
	s := d.account()
	var p, w, e []string
	for _, l := range s.Leases {
		if l.Shadow {
			l.Session = "~" + l.Session
		}
		p = append(p, l.Session)
	}
	for _, x := range s.Waiting {
		w = append(w, x.Session)
	}
	for _, x := range s.Ended {
		e = append(e, x.Session)
	}
	for _, x := range []struct{ what, got, want string }{
		{"playing", strings.Join(p, ","), playing}, {"waiting", strings.Join(w, ","), waiting}, {"ended", strings.Join(e, ","), ended},
	} {
		if x.got != x.want {
			d.t.Errorf("%s: %q, want %q", x.what, x.got, x.want)
		}
	}
}

// logged checks the newest decisions, newest first: "outcome session" each.
func (d *driver) logged(want ...string) {
	d.t.Helper()
	list, err := d.c.Decisions(d.t.Context(), acct(1), len(want))
	ok(d.t, err)
	var got []string
	for _, x := range list {
		got = append(got, x.Outcome+" "+x.Session)
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("decided %q, want %q", got, want)
	}
}

// pass has time pass: all that is known moves into the past.
func (d *driver) pass(by time.Duration) {
	d.t.Helper()
	n := by.Milliseconds()
	if state := stored(d.t, d.c, acct(1)); state != "" {
		store(d.t, d.c, acct(1), aged(state, n))
	}
	for s, h := range d.holds {
		d.holds[s] = grandstand.Hold{Since: h.Since - n, Born: h.Born - n, Granted: h.Granted - n}
	}
}

// ref names a session's lease.
func (d *driver) ref(dev, session string) grandstand.LeaseRef {
	return grandstand.LeaseRef{Device: device(dev), Session: session, Born: d.holds[session].Born}
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
