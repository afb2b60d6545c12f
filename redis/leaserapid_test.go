package redis

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"grandstand"
)

func cutTwice(s string) (a, b, c string) {
	f := strings.SplitN(s, " ", 3)
	return f[0], f[1], f[2]
}

// machine drives an account in Redis and the model alike.
type machine struct {
	c       *Client
	account grandstand.Key
	m       model
	holds   map[string]grandstand.Hold // by device and session
	refs    []grandstand.LeaseRef      // that a verdict or the account named once
	met     map[string]int             // verdicts
}

// modelling is held by who plays the model: rapid's flags belong to the process.
var modelling sync.Mutex

var machines int

func newMachine(c *Client) *machine {
	machines++
	return &machine{c: c, account: acct(machines), m: model{watch: map[string]int64{}}, holds: map[string]grandstand.Hold{}}
}

var modelTerms = []grandstand.Terms{
	{Limit: 2, Rule: "default"},
	{Limit: 1, Rule: "plan:basic"},
	{Limit: 3, Rule: "token"},
	{Limit: 2, Rule: "default", EventLimit: 1},
	{Rule: "default", EventLimit: 2},
	{Limit: 1, Rule: "default", Household: 1},
	{Limit: 2, Rule: "default", Evict: true},
	{Limit: 2, Rule: "default", Evict: true, EventLimit: 1, Household: 2},
	{Limit: 1, Rule: "default", Shadow: true},
	{Limit: 2, Rule: "default", Shadow: true, Evict: true},
	{Rule: "default"},
}

func (mc *machine) drawAsk(t *rapid.T) grandstand.Ask {
	d := rapid.IntRange(0, 4).Draw(t, "device")
	s := rapid.IntRange(0, 1).Draw(t, "session")
	session := fmt.Sprintf("d%d-s%d", d, s)
	a := grandstand.Ask{
		Account: mc.account, Device: device(fmt.Sprint("d", d)), Session: session,
		Event: rapid.SampledFrom([]string{"final", "final", "semi"}).Draw(t, "event"),
		Name:  fmt.Sprintf("TV %d | 100%% of %d", d, s), Member: rapid.SampledFrom([]string{"g1", "g2"}).Draw(t, "member"),
		LeaseMS: rapid.SampledFrom([]int64{10_000, 25_000}).Draw(t, "lease"),
		Terms:   rapid.SampledFrom(modelTerms).Draw(t, "terms"),
		Insist:  rapid.IntRange(0, 3).Draw(t, "insist") == 0, Wait: rapid.Bool().Draw(t, "wait"),
	}
	if n := rapid.IntRange(0, 3).Draw(t, "network"); n > 0 {
		a.Address = device(fmt.Sprint("network ", n%2))
	}
	if rapid.IntRange(0, 3).Draw(t, "hold") > 0 {
		a.Hold = mc.holds[session]
	}
	if len(mc.refs) > 0 && rapid.Bool().Draw(t, "terminate") {
		for range rapid.IntRange(1, 3).Draw(t, "refs") {
			a.Terminate = append(a.Terminate, rapid.SampledFrom(mc.refs).Draw(t, "ref"))
		}
	}
	return a
}

func (mc *machine) ask(t *rapid.T) {
	a := mc.drawAsk(t)
	for range rapid.IntRange(1, 2).Draw(t, "times") { // a second time: the reply was lost
		answers := make([]grandstand.Answer, 1)
		var told notices
		mc.c.ask(t.Context(), []grandstand.Ask{a}, answers, &told)
		if answers[0].Err != nil {
			t.Fatal(answers[0].Err)
		}
		got := answers[0].Verdict
		want := mc.m.ask(got.Now, a)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%+v\nverdict (-model +redis):\n%s", a, diff)
		}
		mc.compareTold(t, told)
		mc.met[string(got.Outcome)+" "+string(got.Code)]++
		if got.Allowed {
			mc.holds[a.Session] = got.Hold
		}
		for _, r := range got.Rivals {
			mc.refs = append(mc.refs, r.LeaseRef)
		}
		if len(mc.refs) > 8 {
			mc.refs = mc.refs[len(mc.refs)-8:]
		}
	}
	mc.account_(t)
}

func (mc *machine) compareTold(t *rapid.T, told notices) {
	got := slices.Clone(told.members)
	slices.Sort(got)
	if want := slices.Sorted(maps.Keys(mc.m.told)); !slices.Equal(got, want) {
		t.Fatalf("told %q, the model %q", got, want)
	}
}

// account_ compares everything that is kept.
func (mc *machine) account_(t *rapid.T) {
	got, err := mc.c.Account(t.Context(), mc.account)
	if err != nil {
		t.Fatal(err)
	}
	want := grandstand.AccountState{Now: got.Now}
	leases, waiting := slices.Clone(mc.m.leases), slices.Clone(mc.m.waiting)
	slices.SortFunc(leases, byRank)
	for _, p := range leases {
		if p.Until > got.Now {
			want.Leases = append(want.Leases, p.Lease)
		}
	}
	for _, p := range waiting {
		if p.Until > got.Now {
			want.Waiting = append(want.Waiting, grandstand.Waiting{
				Device: p.Device, Session: p.Session, Name: p.Name, Event: p.Event, At: p.SeenAt, Until: p.Until,
			})
		}
	}
	for _, e := range mc.m.ended {
		if e.until > got.Now {
			want.Ended = append(want.Ended, e.Ended)
		}
	}
	bySession := []cmp.Option{
		cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b grandstand.Waiting) bool { return a.Session < b.Session }),
		cmpopts.SortSlices(func(a, b grandstand.Ended) bool { return a.Session < b.Session }),
	}
	if diff := cmp.Diff(&want, got, bySession...); diff != "" {
		t.Fatalf("account (-model +redis):\n%s", diff)
	}
}

// settled brings the clock of the model to that of Redis and returns it.
func (mc *machine) settled(t *rapid.T) int64 {
	s, err := mc.c.Account(t.Context(), mc.account)
	if err != nil {
		t.Fatal(err)
	}
	return s.Now
}

func (mc *machine) leave(t *rapid.T) {
	d, s := rapid.IntRange(0, 4).Draw(t, "device"), rapid.IntRange(0, 1).Draw(t, "session")
	l := grandstand.Leave{
		Account: mc.account, Device: device(fmt.Sprint("d", d)), Session: fmt.Sprintf("d%d-s%d", d, s),
		Member: rapid.SampledFrom([]string{"g1", "g2", ""}).Draw(t, "member"),
	}
	var told notices
	if err := mc.c.leave(t.Context(), []grandstand.Leave{l}, &told); err != nil {
		t.Fatal(err)
	}
	mc.m.leave(mc.settled(t), l)
	mc.begun(t)
	mc.compareTold(t, told)
	mc.account_(t)
}

func (mc *machine) signOut(t *rapid.T) {
	d := device(fmt.Sprint("d", rapid.IntRange(0, 4).Draw(t, "device")))
	at := mc.settled(t)
	got, err := mc.c.SignOut(t.Context(), mc.account, d)
	if err != nil {
		t.Fatal(err)
	}
	if want := mc.m.signOut(at, d); got != want {
		t.Fatalf("signed out %d, the model %d", got, want)
	}
	mc.begun(t)
	// When exactly is not said: take it over.
	state, err := mc.c.Account(t.Context(), mc.account)
	if err != nil {
		t.Fatal(err)
	}
	for i := range mc.m.ended {
		e := &mc.m.ended[i]
		for _, g := range state.Ended {
			if g.Session == e.Session && g.Device == e.Device && g.At >= e.At && g.At-e.At < 1000 {
				e.until += g.At - e.At
				e.At = g.At
			}
		}
	}
	mc.account_(t)
}

func (mc *machine) watch(t *rapid.T) {
	member := rapid.SampledFrom([]string{"w1", "w2"}).Draw(t, "member")
	if err := mc.c.WatchAccount(t.Context(), mc.account, member); err != nil {
		t.Fatal(err)
	}
	now := mc.settled(t)
	before := slices.Clone(mc.m.leases)
	mc.m.begin(now)
	mc.m.watch[member] = now + watchKept.Milliseconds()
	mc.m.end(before)
	mc.begun(t)
}

// begun takes over when the state began: these calls do not say their time, and
// make no state if there is nothing to change.
func (mc *machine) begun(t *rapid.T) {
	mc.m.born = 0
	if state := stored(t, mc.c, mc.account); state != "" {
		mc.m.born, _ = strconv.ParseInt(state[2:15], 10, 64)
	}
}

// age moves what both know into the past, which is how time passes here.
func (mc *machine) age(t *rapid.T) {
	// Multiples of 5 s, as leases are: what is not over now has seconds left, so
	// that it does not matter how long a call takes.
	d := rapid.SampledFrom([]int64{5_000, 10_000, 20_000, 60_000, 16 * 60_000}).Draw(t, "ms")
	state := stored(t, mc.c, mc.account)
	if state != "" {
		store(t, mc.c, mc.account, aged(state, d))
	}
	mc.m.age(d)
	for s, h := range mc.holds {
		mc.holds[s] = grandstand.Hold{Since: h.Since - d, Born: h.Born - d, Granted: h.Granted - d}
	}
	for i := range mc.refs {
		mc.refs[i].Born -= d
	}
}

// lose has Redis lose the account.
func (mc *machine) lose(t *rapid.T) {
	cmd := mc.c.rc.B().Del().Key(leasesKey(mc.account), decisionsKey(mc.account)).Build()
	if err := mc.c.rc.Do(t.Context(), cmd).Error(); err != nil {
		t.Fatal(err)
	}
	mc.m = model{watch: map[string]int64{}}
}

// decisions compares the log.
func (mc *machine) decisions(t *rapid.T) {
	got, err := mc.c.Decisions(t.Context(), mc.account, maxDecisions)
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(mc.m.leases)
	mc.m.begin(mc.settled(t))
	mc.m.end(before)
	mc.begun(t)
	var have []string
	for _, d := range got {
		have = append(have, d.Outcome+" "+string(d.Code)+" "+d.Session)
	}
	want := slices.Clone(mc.m.log[max(0, len(mc.m.log)-maxDecisions):])
	slices.Reverse(want)
	if diff := cmp.Diff(want, have, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("decisions (-model +redis):\n%s", diff)
	}
}

// testLeaseModel compares the scripts with the model, step by step.
func testLeaseModel(t *testing.T, r *rig) {
	c := open(t, r.url)
	modelling.Lock()
	t.Cleanup(modelling.Unlock)
	set := func(name, value string) {
		f := flag.Lookup("rapid." + name)
		if f.Value.String() != f.DefValue {
			return // somebody said what it is to be
		}
		ok(t, f.Value.Set(value))
		t.Cleanup(func() { ok(t, f.Value.Set(f.DefValue)) })
	}
	set("nofailfile", "true") // a run depends on the time
	if !r.quick {
		set("checks", "40")
	}
	met := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		mc := newMachine(c)
		mc.met = met
		t.Repeat(map[string]func(*rapid.T){
			"ask": mc.ask, "ask2": mc.ask, "ask3": mc.ask, "ask4": mc.ask, "ask5": mc.ask,
			"leave": mc.leave, "signOut": mc.signOut, "watch": mc.watch, "age": mc.age, "lose": mc.lose, "decisions": mc.decisions,
		})
	})
	t.Logf("verdicts: %v", met)
}
