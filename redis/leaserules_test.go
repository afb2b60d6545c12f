package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// These are the numbered rules of Client.Ask, each as a story.

const (
	acquired   = grandstand.OutcomeAcquired
	renewed    = grandstand.OutcomeRenewed
	restored   = grandstand.OutcomeRestored
	superseded = grandstand.OutcomeSuperseded
	tookOver   = grandstand.OutcomeTookOver
	evicted    = grandstand.OutcomeEvicted
	wouldBlock = grandstand.OutcomeWouldBlock
	blocked    = grandstand.OutcomeBlocked
	waiting    = grandstand.OutcomeWaiting
)

// Rule 1.
func testRuleOver(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	v := d.ask("a", "a1", nil).is(acquired, "").by("default", 2, 1)
	if v.Until != v.Now+25_000 || v.Hold != (grandstand.Hold{Since: v.Now, Born: v.Now, Granted: v.Now}) {
		t.Errorf("a lease until %d ms from now, hold %+v at %d", v.Until-v.Now, v.Hold, v.Now)
	}
	d.ask("b", "b1", nil).is(acquired, "").by("default", 2, 2)
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.kept("a1,b1", "c1", "")
	d.pass(20 * time.Second)
	d.ask("b", "b1", nil).is(renewed, "").by("default", 2, 2)
	d.pass(6 * time.Second)
	d.kept("b1", "", "")
	d.ask("b", "b1", nil).is(renewed, "").by("default", 2, 1)
	d.ask("d", "d1", nil).is(acquired, "")
	d.logged("acquired d1", "lapsed a1")
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockDeviceLimit) // its place is gone
}

// Rule 2.
func testRuleEnded(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	d.ask("c", "c1", func(a *grandstand.Ask) {
		a.Terminate, a.Name = []grandstand.LeaseRef{d.ref("a", "a1")}, "Cinema | 100%"
	}).
		is(tookOver, "")
	d.kept("b1,c1", "", "a1")
	v := d.ask("a", "a1", nil).is(blocked, grandstand.BlockTakenOver).by("default", 2, 2, "b1", "c1")
	if v.By != "Cinema | 100%" || v.FreeAt != 0 {
		t.Errorf("taken over by %q, free at %d", v.By, v.FreeAt)
	}
	d.ask("a", "a1", nil).is(waiting, grandstand.BlockTakenOver)
	// As long as it asks, and for endedKept after.
	for range 3 {
		d.pass(10 * time.Minute)
		d.ask("a", "a1", nil).is(waiting, grandstand.BlockTakenOver).by("default", 2, 0)
	}
	d.pass(16 * time.Minute)
	d.ask("a", "a1", nil).is(acquired, "")

	// Insist ends it, whatever comes of that.
	d.ask("b", "b1", nil).is(acquired, "")
	d.ask("c", "c1", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{d.ref("b", "b1")} }).is(tookOver, "")
	d.ask("b", "b1", func(a *grandstand.Ask) { a.Insist = true }).is(blocked, grandstand.BlockDeviceLimit)
	d.kept("a1,c1", "b1", "")
	d.leave("a", "a1", "m-a1")
	d.ask("b", "b1", nil).is(acquired, "")
}

// Rule 3.
func testRuleRenewal(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.terms.Limit = 3
	for i, s := range []string{"a", "b", "c"} {
		d.ask(s, s+"1", nil).is(acquired, "").by("default", 3, i+1)
		d.pass(time.Second)
	}
	v := d.ask("a", "a1", func(a *grandstand.Ask) { a.Member, a.Name, a.LeaseMS = "m2", "tablet", 65_000 }).is(renewed, "").by("default", 3, 3)
	if l := d.account().Lease(device("a"), "a1"); l == nil || l.Member != "m2" || l.Name != "tablet" || l.Until != v.Now+65_000 ||
		l.SeenAt != v.Now || l.Hold() != v.Hold || v.Now-v.Hold.Since < 3000 {
		t.Errorf("renewed as %+v, verdict %+v", l, v.Verdict)
	}
	// A limit that was lowered refuses the youngest, whoever asks first.
	d.terms.Limit = 2
	d.ask("a", "a1", nil).is(renewed, "").by("default", 2, 3)
	d.ask("b", "b1", nil).is(renewed, "").by("default", 2, 3)
	d.ask("d", "d1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 2, 3, "a1", "b1", "c1")
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 2, 2, "a1", "b1")
	d.ask("c", "c1", nil).is(waiting, grandstand.BlockDeviceLimit)
	d.kept("a1,b1", "d1,c1", "")
	d.terms.Limit = 1
	d.ask("b", "b1", func(a *grandstand.Ask) { a.Wait = false }).is(blocked, grandstand.BlockDeviceLimit).by("default", 1, 1, "a1")

	// By the event's limit, within the event.
	d = drive(t, open(t, r.url))
	r.flush()
	for _, s := range []string{"a", "b", "c"} {
		d.terms.Limit = 3
		d.ask(s, s+"1", func(a *grandstand.Ask) {
			if s == "a" {
				a.Event = "semi"
			}
		}).is(acquired, "")
		d.pass(time.Second)
	}
	d.terms.EventLimit = 1
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit).by("event:final", 1, 1, "b1")
	d.ask("b", "b1", nil).is(renewed, "").by("default", 3, 2)
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Event = "semi" }).is(renewed, "")
	// Who goes to another event is a newcomer there.
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockDeviceLimit).by("event:final", 1, 1, "b1")

	// Two of the same ms have the order of their sessions.
	r.flush()
	d = drive(t, open(t, r.url))
	d.ask("b", "s-b", nil)
	d.ask("a", "s-a", nil)
	state := stored(t, d.c, acct(1))
	since := fmt.Sprintf("%013d|", d.holds["s-b"].Since)
	state = strings.ReplaceAll(state, fmt.Sprintf("%013d|", d.holds["s-a"].Since), since)
	store(t, d.c, acct(1), state)
	d.terms.Limit = 1
	d.ask("b", "s-b", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 1, 1, "s-a")
	d.ask("a", "s-a", nil).is(renewed, "")
}

// Rule 4.
func testRuleSameDevice(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	d.pass(time.Second)
	since := d.holds["a1"].Since
	v := d.ask("a", "a2", nil).is(superseded, "").by("default", 2, 2)
	if v.Hold.Since != since || v.Hold.Born != v.Now {
		t.Errorf("the newer session holds %+v at %d; the older one had its place since %d", v.Hold, v.Now, since)
	}
	d.kept("a2,b1", "", "a1")
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockSuperseded).by("default", 2, 2, "a2")
	d.ask("a", "a1", nil).is(waiting, grandstand.BlockSuperseded)
	d.ask("a", "a2", nil).is(renewed, "")
	// Without its tombstone it is known by what it held.
	d.pass(16 * time.Minute)
	d.ask("a", "a3", nil).is(acquired, "")
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockSuperseded).by("default", 2, 1, "a3")
	d.kept("a3", "", "a1")
	// The viewer goes back to the older window.
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Insist = true }).is(superseded, "")
	d.ask("a", "a3", nil).is(blocked, grandstand.BlockSuperseded)
	d.kept("a1", "", "a3")

	// Terms that refuse the newer session leave the older one alone.
	r.flush()
	d = drive(t, open(t, r.url))
	semi := func(a *grandstand.Ask) { a.Event, a.Terms.EventLimit = "semi", 1 }
	d.ask("a", "a1", nil).is(acquired, "")
	d.ask("b", "b1", semi).is(acquired, "")
	d.ask("a", "a2", semi).is(blocked, grandstand.BlockDeviceLimit).by("event:semi", 1, 1, "b1")
	d.kept("a1,b1", "a2", "")
	d.ask("a", "a1", nil).is(renewed, "")
	d.ask("a", "a2", semi).is(waiting, grandstand.BlockDeviceLimit)
	d.leave("b", "b1", "m-b1")
	d.ask("a", "a2", semi).is(superseded, "")
	d.kept("a2", "", "a1")

	// One session of a device waits, the one that came last.
	r.flush()
	d = drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.ask("c", "c2", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.kept("a1,b1", "c2", "c1")
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockSuperseded)
	d.ask("c", "c2", nil).is(waiting, grandstand.BlockDeviceLimit)
	d.leave("a", "a1", "m-a1")
	d.ask("c", "c1", nil).is(waiting, grandstand.BlockSuperseded)
	d.ask("c", "c3", nil).is(acquired, "")
	d.ask("c", "c2", nil).is(blocked, grandstand.BlockSuperseded)
	// One that played before the other asked first is the older one.
	d.leave("c", "c3", "m-c3")
	d.ask("a", "a2", nil).is(acquired, "")
	d.ask("c", "c4", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.ask("c", "c3", nil).is(blocked, grandstand.BlockSuperseded)
	d.ask("c", "c4", nil).is(waiting, grandstand.BlockDeviceLimit)
}

// Rule 5.
func testRuleRestore(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.pass(10 * time.Second)
	d.ask("b", "b1", nil)
	d.pass(5 * time.Second)
	before := d.holds["b1"]
	r.flush()
	// Newcomers are quicker.
	d.ask("x", "x1", nil).is(acquired, "")
	d.ask("y", "y1", nil).is(acquired, "")
	v := d.ask("b", "b1", nil).is(restored, "").by("default", 2, 2)
	if v.Hold.Since != before.Since || v.Hold.Born != before.Born || v.Hold.Granted != v.Now {
		t.Errorf("came back with %+v, had %+v", v.Hold, before)
	}
	d.kept("b1,x1", "", "")
	d.ask("y", "y1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 2, 2, "b1", "x1")
	d.ask("a", "a1", nil).is(restored, "")
	d.kept("a1,b1", "y1", "") // and no tombstone: both may wait
	d.logged("restored a1", "ended x1", "blocked y1", "restored b1", "ended y1", "acquired y1", "acquired x1")
	d.ask("x", "x1", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.ask("b", "b1", nil).is(renewed, "")
	d.ask("a", "a1", nil).is(renewed, "")
	// There were three before: the youngest has its place no more.
	d.holds["z1"] = grandstand.Hold{Since: before.Since + 1, Born: before.Since + 1, Granted: before.Granted}
	d.ask("z", "z1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 2, 2, "a1", "b1")

	// Of the event's limit those who came to the event first.
	r.flush()
	d = drive(t, open(t, r.url))
	d.terms = grandstand.Terms{Limit: 3, Rule: "default", EventLimit: 1}
	d.ask("a", "a1", nil).is(acquired, "")
	d.pass(time.Second)
	r.flush()
	d.ask("b", "b1", func(a *grandstand.Ask) { a.Event = "semi" }).is(acquired, "")
	d.ask("c", "c1", nil).is(acquired, "")
	d.ask("a", "a1", nil).is(restored, "").by("default", 3, 2)
	d.kept("a1,b1", "", "")

	// In shadow nobody has to leave.
	r.flush()
	d = drive(t, open(t, r.url))
	d.terms = grandstand.Terms{Limit: 1, Rule: "default", Shadow: true}
	d.ask("a", "a1", nil).is(acquired, "")
	d.pass(time.Second)
	r.flush()
	d.ask("x", "x1", nil).is(acquired, "")
	d.ask("a", "a1", nil).is(restored, "")
	d.kept("a1,~x1", "", "")
	d.ask("x", "x1", nil).is(wouldBlock, "")
}

// testRuleOldHold has a hold that gives no seniority.
func testRuleOldHold(t *testing.T, r *rig) {
	for _, tc := range []struct {
		name    string
		asleep  time.Duration // since its last renewal
		lost    bool          // the state was, just now
		outcome grandstand.Outcome
	}{
		{"it slept, and the others played on", 10 * time.Minute, false, blocked},
		{"it slept while Redis was lost", 16 * time.Minute, true, blocked},
		{"it was away for long, but so was Redis", 14 * time.Minute, true, restored},
		{"Redis was lost", 5 * time.Second, true, restored},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.flush()
			d := drive(t, open(t, r.url))
			d.ask("a", "a1", nil).is(acquired, "")
			left := tc.asleep
			for ; left > 0 && !tc.lost; left -= 20 * time.Second {
				d.pass(20 * time.Second)
				d.ask("x", "x1", nil)
				d.ask("y", "y1", nil)
			}
			if tc.lost {
				d.pass(left)
				r.flush()
				d.ask("x", "x1", nil).is(acquired, "")
				d.ask("y", "y1", nil).is(acquired, "")
			}
			code := grandstand.BlockCode("")
			if tc.outcome == blocked {
				code = grandstand.BlockDeviceLimit
			}
			d.ask("a", "a1", nil).is(tc.outcome, code)
		})
	}
}

// Rule 5, where Redis comes back with what was minutes ago: the account's state is
// there, and in none of its places is who plays.
func testRuleForgotten(t *testing.T, r *rig) {
	for name, tc := range map[string]struct {
		newcomers []string      // who are quicker
		noticed   bool          // by the time that they ask
		asleep    time.Duration // since when nobody heard of them, at the loss
		late      time.Duration // that they come back after it
		outcome   grandstand.Outcome
	}{
		"nobody has noticed":                {[]string{"x", "y"}, false, 0, 0, restored},
		"it was noticed":                    {[]string{"x", "y"}, true, 0, 0, restored},
		"room for one, nobody has noticed":  {[]string{"x"}, false, 0, 0, restored},
		"room for one, it was noticed":      {[]string{"x"}, true, 0, 0, restored},
		"no newcomers":                      {nil, false, 0, 0, restored},
		"they had lapsed before it":         {[]string{"x", "y"}, false, time.Minute, 0, blocked},
		"they had lapsed, it was noticed":   {[]string{"x", "y"}, true, time.Minute, 0, blocked},
		"they stayed away for long":         {[]string{"x", "y"}, true, 0, time.Minute, blocked},
		"they are back before their leases": {[]string{"x", "y"}, true, 0, 20 * time.Second, restored},
	} {
		t.Run(name, func(t *testing.T) {
			r.flush()
			c := open(t, r.url)
			d := drive(t, c)
			renew := func() grandstand.Membership {
				t.Helper()
				ms, err := c.Renew(t.Context(), grandstand.Member{ID: "m", Role: grandstand.RoleGateway})
				ok(t, err)
				return ms
			}
			d.ask("old", "old1", nil).is(acquired, "")
			before := renew()
			snapshot := aged(stored(t, c, acct(1)), 300_000)
			d.leave("old", "old1", "")
			d.ask("a", "a1", nil).is(acquired, "")
			d.ask("b", "b1", nil).is(acquired, "")
			d.pass(tc.asleep)
			renew()
			lose(t, c)
			store(t, c, acct(1), snapshot)
			eventually(t, time.Second, "time goes on", func() bool { return c.Now() > before.Now+5 })

			for _, name := range tc.newcomers {
				d.ask(name, name+"1", nil).is(acquired, "")
			}
			if tc.noticed {
				renew()
			}
			if d.pass(tc.late); tc.late > 0 {
				c.life.began -= tc.late.Milliseconds()
				c.life.before -= tc.late.Milliseconds()
				for _, name := range tc.newcomers {
					d.ask(name, name+"1", nil) // they beat all the time
				}
			}
			if tc.outcome == blocked {
				d.ask("a", "a1", nil).is(blocked, grandstand.BlockDeviceLimit)
				d.kept("x1,y1", "a1", "")
				return
			}
			since := d.holds["a1"].Since
			if v := d.ask("a", "a1", nil).is(restored, ""); v.Hold.Since != since {
				t.Errorf("it came back with %+v, was there since %d", v.Hold, since)
			}
			d.ask("b", "b1", nil).is(restored, "")
			d.kept("a1,b1", "", "")
			d.ask("a", "a1", nil).is(renewed, "")
			if len(tc.newcomers) > 0 {
				d.ask("x", "x1", nil).is(blocked, grandstand.BlockDeviceLimit)
			}
			if after := renew(); after.Boot == before.Boot {
				t.Errorf("boot is %q still", after.Boot)
			}
		})
	}
}

// lose has Redis know less of the members than the client does.
func lose(t *testing.T, c *Client) {
	t.Helper()
	ok(t, c.rc.Do(t.Context(), c.rc.B().Set().Key(renewalsKey).Value("0").Build()).Error())
	ok(t, c.rc.Do(t.Context(), c.rc.B().Del().Key(membersKey).Build()).Error())
}

// A session was taken over and came back because its viewer insisted. Redis comes
// back with the state in between, by which it is not to play.
func testForgottenReturn(t *testing.T, r *rig) {
	c := open(t, r.url)
	d := drive(t, c)
	d.terms.Limit = 1
	member := grandstand.Member{ID: "m", Role: grandstand.RoleGateway}
	_, err := c.Renew(t.Context(), member)
	ok(t, err)
	d.ask("a", "a1", nil).is(acquired, "")
	at := c.Now()
	eventually(t, time.Second, "time goes on", func() bool { return c.Now() > at+2 })
	d.ask("b", "b1", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{d.ref("a", "a1")} })
	d.leave("b", "b1", "")
	between := stored(t, c, acct(1))
	at = c.Now()
	eventually(t, time.Second, "time goes on", func() bool { return c.Now() > at+2 })
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockTakenOver)
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Insist = true }).is(acquired, "")
	_, err = c.Renew(t.Context(), member)
	ok(t, err)
	lose(t, c)
	store(t, c, acct(1), between)
	d.ask("a", "a1", nil).is(restored, "")
	d.kept("a1", "", "")
}

// Who is refused for another reason is, and no life begins for it.
func testRefusedHolder(t *testing.T, r *rig) {
	c := open(t, r.url)
	d := drive(t, c)
	member := grandstand.Member{ID: "m", Role: grandstand.RoleGateway}
	before, err := c.Renew(t.Context(), member)
	ok(t, err)
	d.ask("a", "a1", nil).is(acquired, "")
	d.ask("b", "b1", nil).is(acquired, "")
	d.terms.Limit = 1 // the plan was changed
	d.ask("b", "b1", nil).is(blocked, grandstand.BlockDeviceLimit)
	after, err := c.Renew(t.Context(), member)
	ok(t, err)
	if after.Boot != before.Boot {
		t.Errorf("boot was %q, and is %q though nothing was lost", before.Boot, after.Boot)
	}
}

// Rule 6.
func testRuleRoom(t *testing.T, r *rig) {
	home, away := device("home"), device("away")
	none := grandstand.Key{}
	type step struct {
		network grandstand.Key
		event   string
		refused string // by which rule
	}
	for _, tc := range []struct {
		name  string
		terms grandstand.Terms
		steps []step // one device each
	}{
		{"the account's limit", grandstand.Terms{Limit: 2, Rule: "plan:duo"},
			[]step{{none, "final", ""}, {none, "semi", ""}, {none, "other", "plan:duo"}}},
		{"no limit", grandstand.Terms{Rule: "default"},
			[]step{{none, "final", ""}, {none, "final", ""}, {none, "final", ""}}},
		{"the event's limit", grandstand.Terms{Limit: 3, Rule: "token", EventLimit: 1},
			[]step{{none, "final", ""}, {none, "semi", ""}, {none, "final", "event:final"}, {none, "other", ""}, {none, "last", "token"}}},
		{"the event's limit alone", grandstand.Terms{Rule: "default", EventLimit: 1},
			[]step{{none, "final", ""}, {none, "semi", ""}, {none, "final", "event:final"}, {none, "semi", "event:semi"}}},
		{"a household", grandstand.Terms{Limit: 1, Rule: "default", Household: 1},
			[]step{{home, "final", ""}, {home, "final", ""}, {home, "final", "default"}, {away, "final", "default"}}},
		{"two households", grandstand.Terms{Limit: 2, Rule: "default", Household: 2},
			[]step{{home, "final", ""}, {away, "final", ""}, {home, "final", ""}, {away, "final", ""}, {home, "final", "default"}}},
		{"a household that is not at home", grandstand.Terms{Limit: 1, Rule: "default", Household: 2},
			[]step{{home, "final", ""}, {away, "final", "default"}, {none, "final", "default"}}},
		{"networks that are not known", grandstand.Terms{Limit: 1, Rule: "default", Household: 2},
			[]step{{none, "final", ""}, {none, "final", "default"}}},
		{"a household, in an event with a limit", grandstand.Terms{Limit: 1, Rule: "default", Household: 2, EventLimit: 2},
			[]step{{home, "final", ""}, {home, "final", ""}, {home, "final", "event:final"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.flush()
			d := drive(t, open(t, r.url))
			d.terms = tc.terms
			playing := map[int]bool{}
			for i, s := range tc.steps {
				in := func(i int) func(a *grandstand.Ask) {
					return func(a *grandstand.Ask) { a.Address, a.Event = tc.steps[i].network, tc.steps[i].event }
				}
				v := d.ask(fmt.Sprint("d", i), fmt.Sprint("s", i), in(i))
				if s.refused == "" {
					v.is(acquired, "")
					playing[i] = true
				} else if v.is(blocked, grandstand.BlockDeviceLimit); v.Rule != s.refused {
					t.Errorf("step %d: refused by %s, want %s", i, v.Rule, s.refused)
				}
				for k := range playing { // and those who play do so on
					if v := d.ask(fmt.Sprint("d", k), fmt.Sprint("s", k), in(k)).is(renewed, ""); tc.terms.Limit > 0 && v.Current > v.Limit {
						t.Errorf("step %d: %d of %d streams", i, v.Current, v.Limit)
					}
				}
			}
		})
	}
}
