package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// maxState is what an account's state may take at most, with ids of the length
// that ours have.
const maxState = 64 << 10

// testLeasesBounded has one account ask for 2,000 devices, of the slower servers
// for fewer.
func testLeasesBounded(t *testing.T, r *rig) {
	c := open(t, r.url)
	asked := make([]grandstand.Ask, 0, 50)
	largest, devices := 0, 300
	if r.quick {
		devices = 2_000
	}
	for i := range devices {
		a := asks(1, fmt.Sprint("device ", i), fmt.Sprintf("session-of-a-device-%08d", i))
		a.Name = strings.Repeat("n", grandstand.MaxDeviceName)
		a.Terms.Evict = i%2 == 0 // many are ended, many wait
		a.Terms.Shadow = i%5 == 0
		if asked = append(asked, a); len(asked) < cap(asked) {
			continue
		}
		for _, answer := range c.Ask(t.Context(), asked) {
			ok(t, answer.Err)
		}
		asked = asked[:0]
		ok(t, c.WatchAccount(t.Context(), acct(1), fmt.Sprint("member ", i)))
		largest = max(largest, len(stored(t, c, acct(1))))
	}
	s, err := c.Account(t.Context(), acct(1))
	ok(t, err)
	t.Logf("%d play, %d wait, %d were ended; the state has %d bytes", len(s.Leases), len(s.Waiting), len(s.Ended), largest)
	if largest > maxState || len(s.Ended) > maxEnded || len(s.Leases)+len(s.Waiting) > grandstand.MaxDevices {
		t.Error("that is too much")
	}
	n, err := c.rc.Do(t.Context(), c.rc.B().Llen().Key(decisionsKey(acct(1))).Build()).AsInt64()
	if err != nil || n > maxDecisions {
		t.Errorf("%d decisions, %v", n, err)
	}
}

// testLeasesOfOneDevice has a hundred sessions of a device, which all go on.
func testLeasesOfOneDevice(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	const n = maxEnded + 12 // more than have tombstones
	session := func(i int) string { return fmt.Sprintf("s%03d", i) }
	for i := range n {
		d.ask("tv", session(i), nil)
	}
	last := session(n - 1)
	for i := range n - 1 {
		d.ask("tv", session(i), nil).is(blocked, grandstand.BlockSuperseded).by("default", 2, 1, last)
	}
	d.ask("tv", last, nil).is(renewed, "")
	d.ask("tablet", "t1", nil).is(acquired, "")
	if s := d.account(); len(s.Ended) != maxEnded || len(s.Leases) != 2 {
		t.Errorf("%d were ended, %d play", len(s.Ended), len(s.Leases))
	}
	if size := len(stored(t, d.c, acct(1))); size > maxState {
		t.Errorf("the state has %d bytes", size)
	}
}

// testLeasesCorrupt has something else where an account's state is.
func testLeasesCorrupt(t *testing.T, r *rig) {
	for name, value := range map[string]string{
		"nonsense":         "\xff nonsense",
		"empty":            "",
		"another version":  "2|1795299042179|1795299042179|001|000\n",
		"cut off":          "CUT",
		"a line too many":  "LINE",
		"a count of words": "COUNT",
		"a time of words":  "TIME",
		"a list":           "LIST",
		"decisions":        "DECISIONS",
	} {
		t.Run(name, func(t *testing.T) {
			r.flush()
			d := drive(t, open(t, r.url))
			d.ask("a", "a1", nil)
			d.pass(time.Second)
			good := stored(t, d.c, acct(1))
			set := func(v string) {
				t.Helper()
				store(t, d.c, acct(1), v)
			}
			switch value {
			case "CUT":
				set(good[:len(good)-5])
			case "LINE":
				set(good + "what is this\n")
			case "COUNT":
				set(strings.Replace(good, "|001|000\n", "|  1|  0\n", 1))
			case "TIME":
				set(strings.Replace(good, fmt.Sprintf("\n%d|", d.holds["a1"].Since), "\nxxxxxxxxxxxxx|", 1))
			case "LIST", "DECISIONS":
				key := leasesKey(acct(1))
				if value == "DECISIONS" {
					key = decisionsKey(acct(1))
				}
				ok(t, d.c.rc.Do(t.Context(), d.c.rc.B().Del().Key(key).Build()).Error())
				set := d.c.rc.B().Hset().Key(key).FieldValue().FieldValue("x", "y").Build()
				ok(t, d.c.rc.Do(t.Context(), set).Error())
			default:
				set(value)
			}
			for try := range 3 {
				b := asks(1, "b", "b1")
				answer := d.c.Ask(t.Context(), []grandstand.Ask{b})[0]
				if answer.Err == nil && answer.Verdict.Allowed {
					break
				}
				if try == 2 {
					t.Fatalf("refused for ever: %+v, %v", answer.Verdict, answer.Err)
				}
			}
			v := d.ask("a", "a1", nil)
			if !v.Allowed || v.Hold.Since != d.holds["a1"].Since {
				t.Errorf("who played before: %+v", v.Verdict)
			}
			for try := range 2 {
				if _, err := d.c.Decisions(t.Context(), acct(1), 10); err == nil {
					break
				} else if try == 1 {
					t.Error(err)
				}
			}
			d.ask("c", "c1", nil).is(blocked, grandstand.BlockDeviceLimit)
			if s := d.account(); len(s.Leases) != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
	// Who only looks finds nothing.
	r.flush()
	c := open(t, r.url)
	store(t, c, acct(1), "nonsense")
	if s, err := c.Account(t.Context(), acct(1)); err != nil || len(s.Leases) != 0 || s.Now == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// testLeasesAhead has the clock of Redis set back by a day.
func testLeasesAhead(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	d.ask("a", "a1", nil)
	d.ask("b", "b1", nil)
	d.ask("c", "c1", nil)
	d.ask("c", "c1", func(a *grandstand.Ask) { a.Terminate = []grandstand.LeaseRef{d.ref("b", "b1")} }).is(tookOver, "")
	d.pass(-24 * time.Hour)
	d.ask("a", "a1", nil).is(renewed, "")
	d.ask("d", "d1", nil).is(blocked, grandstand.BlockDeviceLimit)
	d.ask("b", "b1", nil).is(blocked, grandstand.BlockTakenOver)
	for range 2 { // c1 is gone
		d.pass(20 * time.Second)
		d.ask("a", "a1", nil).is(renewed, "")
	}
	d.ask("d", "d1", nil).is(acquired, "")
	d.kept("a1,d1", "", "b1")
}

// testLeasesOdd has every byte in a session, a member, an event and a name.
func testLeasesOdd(t *testing.T, r *rig) {
	d := drive(t, open(t, r.url))
	for i := 0; i < 256; i += 32 {
		var odd string
		for b := range 32 {
			odd += string([]byte{byte(i + b)})
		}
		edit := func(a *grandstand.Ask) {
			a.Name, a.Event, a.Member, a.Terms.Rule, a.Terms.Limit = odd, odd, odd, "plan:"+odd, 1
		}
		dev := fmt.Sprint("d", i)
		d.ask(dev, odd, edit).is(acquired, "").by("plan:"+odd, 1, 1)
		d.ask(dev, odd, edit).is(renewed, "").by("plan:"+odd, 1, 1)
		v := d.ask("other", "o"+odd, edit).is(blocked, grandstand.BlockDeviceLimit).by("plan:"+odd, 1, 1, odd)
		if l := v.Rivals; len(l) != 1 || l[0].Name != odd || l[0].Event != odd || l[0].Member != odd {
			t.Errorf("rivals of %q: %+v", odd, l)
		}
		list, err := d.c.Decisions(t.Context(), acct(1), 1)
		ok(t, err)
		if list[0].Name != odd || list[0].Session != "o"+odd || list[0].Event != odd || list[0].Rule != "plan:"+odd {
			t.Errorf("decided %+v, want %q", list[0], odd)
		}
		r.flush()
	}
	long := strings.Repeat("x", 200)
	for name, edit := range map[string]func(*grandstand.Ask){
		"no account":     func(a *grandstand.Ask) { a.Account = grandstand.Key{} },
		"no device":      func(a *grandstand.Ask) { a.Device = grandstand.Key{} },
		"no session":     func(a *grandstand.Ask) { a.Session = "" },
		"a long session": func(a *grandstand.Ask) { a.Session = long },
		"a long member":  func(a *grandstand.Ask) { a.Member = long },
		"a long event":   func(a *grandstand.Ask) { a.Event = long },
		"no time":        func(a *grandstand.Ask) { a.LeaseMS = 0 },
		"a long time":    func(a *grandstand.Ask) { a.LeaseMS = 1 << 40 },
	} {
		bad, good := asks(1, "a", "a1"), asks(1, "b", "b1")
		edit(&bad)
		answers := d.c.Ask(t.Context(), []grandstand.Ask{bad, good})
		if grandstand.CodeOf(answers[0].Err) != grandstand.CodeInvalid || answers[1].Err != nil {
			t.Errorf("%s: %v, %v", name, answers[0].Err, answers[1].Err)
		}
	}
	a := asks(2, "a", "a1")
	a.Name = long
	ok(t, d.c.Ask(t.Context(), []grandstand.Ask{a})[0].Err)
	if err := d.c.WatchAccount(t.Context(), acct(1), ""); grandstand.CodeOf(err) != grandstand.CodeInvalid {
		t.Errorf("watched by nobody: %v", err)
	}
}
