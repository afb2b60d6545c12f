package redis

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// Rule 7: what the viewer named.
func testRuleTakeover(t *testing.T, r *rig) {
	take := func(refs ...grandstand.LeaseRef) func(*grandstand.Ask) {
		return func(a *grandstand.Ask) { a.Terminate, a.Insist = refs, true }
	}
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.pass(time.Second)
	d.ask("b", "b1", nil)
	a, b := d.ref("a", "a1"), d.ref("b", "b1")

	// References that do not name a lease: nobody is ended.
	for name, ref := range map[string]grandstand.LeaseRef{
		"another life": {Device: a.Device, Session: "a1", Born: a.Born + 1}, "another session": {Device: a.Device, Session: "a2", Born: a.Born},
		"another device": {Device: b.Device, Session: "a1", Born: a.Born}, "nothing": {},
	} {
		if v := d.ask("c", "c1", take(ref)); v.Allowed {
			t.Errorf("%s was taken over", name)
		}
	}
	// As many as it takes, in their order.
	d.ask("c", "c1", take(b, a)).is(tookOver, "").by("default", 2, 2)
	d.kept("a1,c1", "", "b1")
	d.ask("c", "c1", take(b, a)).is(renewed, "") // again: it plays already
	d.kept("a1,c1", "", "b1")
	d.ask("b", "b1", nil).is(blocked, grandstand.BlockTakenOver)
	d.leave("c", "c1", "m-c1")
	d.ask("d", "d1", take(a)).is(acquired, "") // there is room
	d.kept("a1,d1", "", "b1")
	d.pass(time.Second)
	a, b = d.ref("a", "a1"), d.ref("b", "b1")
	// And back. What was ended has another life, so the same reference is no
	// longer good.
	d.ask("b", "b1", take(a)).is(tookOver, "")
	d.ask("a", "a1", take(b)).is(blocked, grandstand.BlockDeviceLimit)
	d.kept("d1,b1", "a1", "")

	// Those that do not suffice are not ended.
	d.terms.Limit = 1
	d.ask("e", "e1", take(d.ref("d", "d1"))).is(blocked, grandstand.BlockDeviceLimit).by("default", 1, 2, "d1", "b1")
	d.kept("d1,b1", "a1,e1", "")
	d.ask("e", "e1", take(d.ref("d", "d1"), d.ref("b", "b1"))).is(tookOver, "")
	d.kept("e1", "a1", "d1,b1")

	// A lease of another event is not ended for the event's limit.
	r.flush()
	d = drive(t, open(t, r.url))
	d.terms = grandstand.Terms{Limit: 3, Rule: "default", EventLimit: 1}
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Event = "semi" }).is(acquired, "")
	d.ask("b", "b1", nil).is(acquired, "")
	d.ask("c", "c1", take(d.ref("a", "a1"), d.ref("b", "b1"))).is(tookOver, "")
	d.kept("a1,c1", "", "b1")
	// A session that takes over within a device's place.
	d.ask("a", "a2", take(d.ref("c", "c1"))).is(tookOver, "")
	d.kept("a2", "", "b1,a1,c1")

	// One that plays and is refused after the limit was lowered may take over.
	r.flush()
	d = drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.pass(time.Second)
	d.ask("b", "b1", nil)
	since := d.holds["b1"].Since
	d.terms.Limit = 1
	if v := d.ask("b", "b1", take(d.ref("a", "a1"))).is(tookOver, ""); v.Hold.Since != since {
		t.Errorf("it plays since %d, did since %d", v.Hold.Since, since)
	}
	d.kept("b1", "", "a1")
}

// Rule 7: the oldest is ended.
func testRuleEvict(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.terms.Evict = true
	for _, s := range []string{"a", "b", "c"} {
		d.ask(s, s+"1", nil)
		d.pass(time.Second)
	}
	d.kept("b1,c1", "", "a1")
	if v := d.ask("a", "a1", nil).is(blocked, grandstand.BlockTakenOver); v.By != "c" {
		t.Errorf("taken over by %q", v.By)
	}
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Insist = true }).is(evicted, "").by("default", 2, 2)
	d.kept("c1,a1", "", "b1")
	// Only newcomers evict: a renewal that the limit refuses does not.
	d.terms.Limit = 1
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockDeviceLimit)
	// By the event's limit, the oldest of the event.
	r.flush()
	d = drive(t, open(t, r.url))
	d.terms = grandstand.Terms{Limit: 3, Rule: "default", EventLimit: 1, Evict: true}
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Event = "semi" })
	d.pass(time.Second)
	d.ask("b", "b1", nil)
	d.pass(time.Second)
	d.ask("c", "c1", nil).is(evicted, "")
	d.kept("a1,c1", "", "b1")
	d.ask("a", "a2", nil).is(evicted, "") // in the place of a1, and of c1 in the event
	d.kept("a2", "", "b1,a1,c1")
	// Not more than it takes, but all that it takes.
	r.flush()
	d = drive(t, open(t, r.url))
	d.terms.Limit = 3
	for _, s := range []string{"a", "b", "c"} {
		d.ask(s, s+"1", nil)
		d.pass(time.Second)
	}
	d.terms.Limit, d.terms.Evict = 2, true
	d.ask("d", "d1", nil).is(evicted, "")
	d.kept("c1,d1", "", "a1,b1")
}

// Rule 7: who would be blocked is told, and plays.
func testRuleShadow(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.terms = grandstand.Terms{Limit: 1, Rule: "default", Shadow: true, Evict: true}
	d.ask("a", "a1", nil).is(acquired, "").by("default", 1, 1)
	d.pass(time.Second)
	v := d.ask("b", "b1", nil).is(wouldBlock, "").by("default", 1, 1)
	if v.Hold.Born != v.Now || v.Until != v.Now+25_000 {
		t.Errorf("in shadow it holds %+v until %d", v.Hold, v.Until)
	}
	d.kept("a1,~b1", "", "")
	d.ask("b", "b1", nil).is(wouldBlock, "")
	d.ask("a", "a1", nil).is(renewed, "").by("default", 1, 1)
	d.logged("would_block b1", "acquired a1")
	// It becomes a real one when there is room.
	d.leave("a", "a1", "m-a1")
	d.ask("b", "b1", nil).is(acquired, "")
	d.kept("b1", "", "")
	// A real one that is beyond a lowered limit goes into shadow.
	d.terms.Limit = 2
	d.pass(time.Second)
	d.ask("c", "c1", nil).is(acquired, "")
	d.terms.Limit = 1
	d.ask("c", "c1", nil).is(wouldBlock, "")
	d.kept("b1,~c1", "", "")
	// Enforced again, it is blocked, and its place was none.
	d.terms.Shadow = false
	d.ask("b", "b1", nil).is(renewed, "").by("default", 1, 1)
	d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 1, 1, "b1")
	// A newer session of a device in shadow is in shadow as well.
	d.terms.Shadow, d.terms.Evict = true, false
	d.ask("d", "d1", nil).is(wouldBlock, "")
	d.ask("d", "d2", nil).is(wouldBlock, "")
	d.kept("b1,~d2", "c1", "d1")
}

// Rule 7: who waits.
func testRuleWait(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.pass(10 * time.Second)
	d.ask("b", "b1", nil)
	until := d.account().Leases[0].Until
	first := d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit).by("default", 2, 2, "a1", "b1")
	if first.FreeAt != until || first.Hold != (grandstand.Hold{}) || first.Until != 0 {
		t.Errorf("free at %d, want %d; hold %+v until %d", first.FreeAt, until, first.Hold, first.Until)
	}
	w := d.account().Waiting
	if want := []grandstand.Waiting{{
		Device: device("c"), Session: "c1", Name: "c", Event: "final", At: first.Now, Until: first.Now + 25_000,
	}}; !cmp.Equal(w, want) {
		t.Errorf("waiting (-want +got):\n%s", cmp.Diff(want, w))
	}
	d.pass(14 * time.Second)
	d.ask("b", "b1", nil)
	d.ask("c", "c1", nil).is(waiting, grandstand.BlockDeviceLimit)
	d.pass(2 * time.Second) // the lease of a1 is over, nobody is told, the waiter comes by itself
	d.ask("c", "c1", nil).is(acquired, "")
	d.kept("b1,c1", "", "")

	// Who does not wait is not kept, but told apart by the log.
	poll := func(a *grandstand.Ask) { a.Wait = false }
	d.ask("e", "e1", poll).is(blocked, grandstand.BlockDeviceLimit)
	d.ask("e", "e1", poll).is(waiting, grandstand.BlockDeviceLimit)
	d.kept("b1,c1", "", "")
	d.logged("blocked e1", "acquired c1")
	d.ask("e", "e1", nil).is(blocked, grandstand.BlockDeviceLimit) // now it waits
	d.ask("e", "e1", poll).is(waiting, grandstand.BlockDeviceLimit)
	d.kept("b1,c1", "", "")
}

// Rule 7: so many devices.
func testRuleDevices(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	for i := range grandstand.MaxDevices {
		d.ask(fmt.Sprint("d", i), fmt.Sprint("s", i), nil)
	}
	if s := d.account(); len(s.Leases) != 2 || len(s.Waiting) != grandstand.MaxDevices-2 {
		t.Fatalf("%d play, %d wait", len(s.Leases), len(s.Waiting))
	}
	before := stored(t, d.c, acct(1))
	v := d.ask("one more", "m1", nil).is(blocked, grandstand.BlockTooManyDevices).by("default", 2, 2, "s0", "s1")
	if v.FreeAt == 0 {
		t.Error("it is not said when a place becomes free")
	}
	d.ask("one more", "m1", func(a *grandstand.Ask) { a.Wait = false }).is(blocked, grandstand.BlockDeviceLimit)
	if v := d.ask("one more", "m1", func(a *grandstand.Ask) { a.Terms.Shadow = true }).is(wouldBlock, ""); v.Hold != (grandstand.Hold{}) || v.Until == 0 {
		t.Errorf("in shadow: %+v", v.Verdict)
	}
	if after := stored(t, d.c, acct(1)); after != before {
		t.Errorf("something was stored:\n%s\nafter\n%s", after, before)
	}
	d.ask("d9", "s9", nil).is(waiting, grandstand.BlockDeviceLimit) // one that has an entry
	d.ask("d9", "s9b", nil).is(blocked, grandstand.BlockDeviceLimit)
	// Whoever ends a device has its place.
	d.ask("one more", "m1", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{d.ref("d0", "s0")} }).is(tookOver, "")
	d.leave("d1", "s1", "m-s1")
	d.ask("another", "n1", nil).is(acquired, "")
	d.ask("yet another", "y1", nil).is(blocked, grandstand.BlockTooManyDevices)
}

// Rule 8.
func testRuleLeave(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	d.ask("c", "c1", nil)
	d.leave("a", "a1", "m2") // the session is elsewhere by now
	d.leave("a", "a2", "m-a1")
	d.leave("b", "a1", "m-a1")
	d.leave("c", "c1", "m2")
	d.kept("a1,b1", "c1", "")
	d.leave("a", "a1", "m-a1")
	d.leave("a", "a1", "m-a1")
	d.leave("c", "c1", "m-c1")
	d.kept("b1", "", "")
	d.logged("left c1", "left a1")
	ok(t, d.c.Leave(t.Context(), nil))
	var all []grandstand.Leave
	for i := range 2 * portionSize {
		all = append(all, grandstand.Leave{Account: acct(i), Device: device("b"), Session: "b1", Member: "m-b1"})
	}
	ok(t, d.c.Leave(t.Context(), all))
	d.kept("", "", "")
}

// Rule 8.
func testRuleSignOut(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	semi := func(a *grandstand.Ask) { a.Event, a.Terms.EventLimit = "semi", 1 }
	d.ask("a", "a1", nil)
	d.ask("b", "b1", semi)
	d.ask("a", "a2", semi).is(blocked, grandstand.BlockDeviceLimit)
	out := func(dev string, want int) {
		t.Helper()
		if n, err := d.c.SignOut(t.Context(), acct(1), device(dev)); n != want || err != nil {
			t.Errorf("signed %s out: %d sessions, %v; want %d", dev, n, err, want)
		}
	}
	out("x", 0)
	out("a", 2)
	out("a", 2) // the first reply was lost
	d.kept("b1", "", "a1,a2")
	d.ask("a", "a1", nil).is(blocked, grandstand.BlockSignedOut).by("default", 2, 1, "b1")
	d.ask("a", "a2", semi).is(blocked, grandstand.BlockSignedOut)
	d.ask("a", "a2", semi).is(waiting, grandstand.BlockSignedOut)
	d.ask("a", "a3", nil).is(acquired, "") // a new session of the device may play
	d.pass(signOutRepeat + time.Second)
	out("a", 1)
	d.pass(signOutRepeat + time.Second)
	out("a", 0)
	d.ask("a", "a1", func(a *grandstand.Ask) { a.Insist = true }).is(acquired, "")
}

// Rule 10.
func testRuleLog(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	a := d.ask("a", "a1", nil)
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	c := d.ask("c", "c1", nil)
	d.ask("c", "c1", nil)
	took := d.ask("c", "c1", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{d.ref("a", "a1")} })
	list, err := d.c.Decisions(t.Context(), acct(1), 50)
	ok(t, err)
	slices.Reverse(list)
	if len(list) != 5 {
		t.Fatalf("decided: %+v", list)
	}
	list = append(list[:1], list[2:]...) // b1
	of := func(s string) grandstand.Decision {
		return grandstand.Decision{Device: device(s), Name: s, Session: s + "1", Event: "final"}
	}
	want := []grandstand.Decision{of("a"), of("c"), of("a"), of("c")}
	for i, w := range []grandstand.Decision{
		{At: a.Now, Outcome: "acquired", Rule: "default", Limit: 2, Current: 1},
		{At: c.Now, Outcome: "blocked", Code: grandstand.BlockDeviceLimit, Rule: "default", Limit: 2, Current: 2, Rivals: []string{"a", "b"}},
		{At: took.Now, Outcome: "ended", Code: grandstand.BlockTakenOver, Rivals: []string{"c"}},
		{At: took.Now, Outcome: "took_over", Rule: "default", Limit: 2, Current: 2, Rivals: []string{"a"}},
	} {
		w.Device, w.Name, w.Session, w.Event = want[i].Device, want[i].Name, want[i].Session, want[i].Event
		want[i] = w
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	for i := range 2 * maxDecisions {
		d.ask("b", fmt.Sprint("b", i+2), nil)
	}
	if list, err := d.c.Decisions(t.Context(), acct(1), 1000); err != nil || len(list) != maxDecisions {
		t.Errorf("%d decisions are kept, %v; want %d", len(list), err, maxDecisions)
	}
	if list, err := d.c.Decisions(t.Context(), acct(2), 10); err != nil || len(list) != 0 {
		t.Errorf("decisions of another account: %v, %v", list, err)
	}
}

// testRuleReplay asks everything twice, as if the first reply had been lost: the
// second answer allows the same, and nothing but renewals changed.
func testRuleReplay(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	ask := func(dev, session string, edit func(*grandstand.Ask)) {
		t.Helper()
		hold := d.holds[session]
		first := d.ask(dev, session, edit)
		kept := d.account()
		d.holds[session] = hold // which is what the asker knows
		again := d.ask(dev, session, edit)
		if first.Allowed != again.Allowed || first.Code != again.Code || first.Hold.Since != again.Hold.Since || first.Hold.Born != again.Hold.Born ||
			first.By != again.By || first.Current != again.Current || len(first.Rivals) != len(again.Rivals) {
			t.Errorf("%s: %+v, asked again %+v", session, first.Verdict, again.Verdict)
		}
		after := d.account()
		if len(after.Leases) != len(kept.Leases) || len(after.Waiting) != len(kept.Waiting) || !cmp.Equal(after.Ended, kept.Ended) {
			t.Errorf("%s: the account was %+v, then %+v", session, kept, after)
		}
	}
	take := func(a *grandstand.Ask) { a.Terminate, a.Insist = []grandstand.LeaseRef{d.ref("a", "a1")}, true }
	ask("a", "a1", nil)
	ask("b", "b1", nil)
	ask("c", "c1", nil)
	ask("c", "c1", take)
	ask("a", "a1", nil)
	ask("b", "b2", nil)
	ask("b", "b1", nil)
	ask("b", "b1", func(a *grandstand.Ask) { a.Insist = true })
	ask("e", "e1", func(a *grandstand.Ask) { a.Terms.Evict = true })
	ask("f", "f1", func(a *grandstand.Ask) { a.Terms.Shadow = true })
	ask("g", "g1", func(a *grandstand.Ask) { a.Wait = false })
	r.flush()
	ask("x", "x1", nil)
	ask("e", "e1", nil)
	ask("b", "b1", nil)
	ask("x", "x1", nil)
}
