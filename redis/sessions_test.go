package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func record(session, owner string, gen uint64, values ...string) grandstand.Record {
	return grandstand.Record{Event: "final", Session: session, Owner: owner, Gen: gen, Values: values}
}

// keep keeps one record and reports whether it is still the owner's.
func keep(t *testing.T, c *Client, rec grandstand.Record) bool {
	t.Helper()
	lost, err := c.Keep(t.Context(), []grandstand.Record{rec})
	ok(t, err)
	return len(lost) == 0
}

// claimOne claims one session.
func claimOne(ctx context.Context, c *Client, rec grandstand.Record) (grandstand.Claimed, error) {
	claimed, err := c.Claim(ctx, []grandstand.Record{rec})
	return claimed[0], err
}

func testClaim(t *testing.T, r *rig) {
	a, b := open(t, r.url), open(t, r.url)
	mine := record("s1", "A", 1, "US", "US-CA", "KC")
	if !keep(t, a, mine) {
		t.Fatal("a new record is lost")
	}

	got, err := claimOne(t.Context(), b, record("s1", "B", 0, "US", "US-NV", "KC"))
	ok(t, err)
	if diff := cmp.Diff(grandstand.Claimed{Gen: 2, Previous: &mine}, got); diff != "" {
		t.Fatalf("first claim (-want +got):\n%s", diff)
	}
	if keep(t, a, mine) {
		t.Error("the owner before is not told that it lost the session")
	}
	if !keep(t, b, record("s1", "B", 2, "US", "US-NV", "KC")) {
		t.Error("the new owner cannot keep the session")
	}

	// And back: A learns what B counted, not what it did itself.
	got, err = claimOne(t.Context(), a, mine)
	ok(t, err)
	prev := record("s1", "B", 2, "US", "US-NV", "KC")
	if diff := cmp.Diff(grandstand.Claimed{Gen: 3, Previous: &prev}, got); diff != "" {
		t.Fatalf("claim back (-want +got):\n%s", diff)
	}

	// A value with every byte comes through the scripts.
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	odd := record("s2", "A", 7, string(all), "", "|1|2|")
	keep(t, a, odd)
	got, err = claimOne(t.Context(), b, record("s2", "B", 0))
	ok(t, err)
	if diff := cmp.Diff(&odd, got.Previous); diff != "" {
		t.Errorf("record with odd bytes (-want +got):\n%s", diff)
	}
}

func testClaimAgain(t *testing.T, r *rig) {
	c := open(t, r.url)
	mine := record("s1", "A", 4, "US")
	keep(t, c, mine)
	claim := record("s1", "B", 0, "DE")
	first, err := claimOne(t.Context(), c, claim)
	ok(t, err)
	again, err := claimOne(t.Context(), c, claim) // the reply was lost
	ok(t, err)
	if diff := cmp.Diff(first, again); diff != "" || first.Previous == nil {
		t.Fatalf("the second answer differs (-first +again):\n%s", diff)
	}
	// Once B keeps the session it has dealt with the answer.
	claim.Gen = again.Gen
	keep(t, c, claim)
	got, err := claimOne(t.Context(), c, claim)
	ok(t, err)
	if diff := cmp.Diff(grandstand.Claimed{Gen: 5}, got); diff != "" {
		t.Errorf("claim by the owner (-want +got):\n%s", diff)
	}
}

// testClaimOvertaken: the reply to a claim is lost, and another claims the session
// before it is asked again. It stays with that one, and who asks is told whom it had
// claimed it from.
func testClaimOvertaken(t *testing.T, r *rig) {
	c := open(t, r.url)
	first := record("s1", "A", 4, "US")
	keep(t, c, first)
	claim := record("s1", "B", 1, "DE")
	lost, err := claimOne(t.Context(), c, claim)
	ok(t, err)
	over, err := claimOne(t.Context(), c, record("s1", "C", 1, "FR"))
	ok(t, err)
	claim.Asked = true
	again, err := claimOne(t.Context(), c, claim)
	ok(t, err)
	if diff := cmp.Diff(lost, again); diff != "" || again.Previous == nil || again.Previous.Owner != "A" {
		t.Errorf("the second answer differs (-first +again):\n%s", diff)
	}
	if mine := record("s1", "C", over.Gen, "FR"); !keep(t, c, mine) {
		t.Error("the session did not stay with who has it")
	}
	// Who knows that it had the session, and wants it back, gets it.
	claim.Gen = again.Gen
	back, err := claimOne(t.Context(), c, claim)
	ok(t, err)
	if back.Gen <= over.Gen || back.Previous == nil || back.Previous.Owner != "C" {
		t.Errorf("claimed back: %+v", back)
	}
	if ms, err := c.rc.Do(t.Context(), c.rc.B().Pttl().Key(claimKey("s1")).Build()).AsInt64(); err != nil || ms <= 0 || ms > claimRepeat.Milliseconds() {
		t.Errorf("the note lives for %d ms, %v", ms, err)
	}
}

// testClaimWindow moves a claim back in time: an answer that old was received.
func testClaimWindow(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	for _, tc := range []struct {
		age  time.Duration
		told bool
	}{{claimRepeat - 3*time.Second, true}, {claimRepeat + time.Second, false}} {
		keep(t, c, record("s1", "A", 4, "US"))
		claim := record("s1", "B", 0)
		_, err := claimOne(ctx, c, claim)
		ok(t, err)
		stored, err := c.rc.Do(ctx, c.rc.B().Get().Key(recordKey("s1")).Build()).ToString()
		ok(t, err)
		parts := strings.SplitN(stored, "|", 4)
		parts[2] = strconv.FormatInt(c.Now()-tc.age.Milliseconds(), 10)
		ok(t, c.rc.Do(ctx, c.rc.B().Set().Key(recordKey("s1")).Value(strings.Join(parts, "|")).Build()).Error())
		got, err := claimOne(ctx, c, claim)
		ok(t, err)
		if told := got.Previous != nil; told != tc.told || got.Gen != 5 {
			t.Errorf("claimed again after %v: %+v, told %v, want %v", tc.age, got, told, tc.told)
		}
		ok(t, c.Forget(ctx, []grandstand.Record{record("s1", "B", got.Gen)}))
	}
}

// testClaimedAt: who claims a session is told since when its owner before has had
// it, and from whom, if that one had claimed it from another and not kept it since.
func testClaimedAt(t *testing.T, r *rig) {
	c := open(t, r.url)
	claimedAt := func(owner, from string) int64 {
		t.Helper()
		got, err := claimOne(t.Context(), c, record("s1", owner, 0, "US"))
		ok(t, err)
		if got.Previous == nil {
			return -1
		}
		if got.Previous.ClaimedFrom != from {
			t.Errorf("%s had claimed it from %q, want %q", got.Previous.Owner, got.Previous.ClaimedFrom, from)
		}
		return got.Previous.ClaimedAt
	}
	if at := claimedAt("A", ""); at != -1 {
		t.Errorf("the first owner is told of one before: claimed at %d", at)
	}
	if at := claimedAt("B", ""); at != 0 {
		t.Errorf("A had it from nobody, yet it claimed it at %d", at)
	}
	before := c.Now()
	if at := claimedAt("C", "A"); at > before+1000 || at < before-1000 {
		t.Errorf("B claimed it at %d, now it is %d", at, before)
	}
	keep(t, c, record("s1", "C", 1e13, "US"))
	if at := claimedAt("D", ""); at != 0 {
		t.Errorf("C has kept it, yet it claimed it at %d", at)
	}
}

// testClaimMany: several sessions are claimed at once, in their order, whatever
// their slots.
func testClaimMany(t *testing.T, r *rig) {
	c := open(t, r.url)
	var recs []grandstand.Record
	for i := range 300 {
		recs = append(recs, record(fmt.Sprint("m", i), "B", 0))
		if i%3 > 0 {
			keep(t, c, record(recs[i].Session, fmt.Sprint("A", i), uint64(i+1), fmt.Sprint(i)))
		}
	}
	claimed, err := c.Claim(t.Context(), recs)
	ok(t, err)
	for i, got := range claimed {
		if p := got.Previous; (p != nil) != (i%3 > 0) || p != nil && (p.Owner != fmt.Sprint("A", i) || p.Values[0] != fmt.Sprint(i) || got.Gen != uint64(i+2)) {
			t.Fatalf("claim %d: generation %d, before it %+v", i, got.Gen, p)
		}
	}
}

func testClaimRace(t *testing.T, r *rig) {
	const claimers = 8
	first := open(t, r.url)
	keep(t, first, record("s1", "A", 1))
	claims := make([]grandstand.Claimed, claimers)
	var wg sync.WaitGroup
	for i := range claimers {
		c := first
		if i%2 == 1 {
			c = open(t, r.url)
		}
		wg.Go(func() {
			var err error
			if claims[i], err = claimOne(t.Context(), c, record("s1", fmt.Sprint("B", i), 0, fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// By generation the claims form one chain from A: each is told the one before.
	owner, gen := "A", uint64(1)
	for range claimers {
		i := slices.IndexFunc(claims, func(c grandstand.Claimed) bool { return c.Gen == gen+1 })
		if i < 0 {
			t.Fatalf("nobody has generation %d: %+v", gen+1, claims)
		}
		if p := claims[i].Previous; p == nil || p.Owner != owner || p.Gen != gen {
			t.Fatalf("generation %d was told %+v, want owner %s of generation %d", gen+1, p, owner, gen)
		}
		owner, gen = fmt.Sprint("B", i), gen+1
	}
}

func testClaimUnknown(t *testing.T, r *rig) {
	c := open(t, r.url)
	got, err := claimOne(t.Context(), c, record("s1", "B", 0))
	ok(t, err)
	if d := c.Now() - int64(got.Gen); got.Previous != nil || d < -2000 || d > 5000 {
		t.Fatalf("claim without a record: %+v, want the time and nobody", got)
	}
	// A, which had it all along, is told so and cannot take it back by keeping.
	if keep(t, c, record("s1", "A", 3)) {
		t.Error("the owner of a lower generation keeps the session")
	}
	if !keep(t, c, record("s1", "B", got.Gen)) {
		t.Error("the claimer lost the session to a lower generation")
	}
}

func testKeep(t *testing.T, r *rig) {
	c := open(t, r.url)
	for _, tc := range []struct {
		what   string
		stored []grandstand.Record
		keep   grandstand.Record
		lost   bool
		owner  string // afterwards
		gen    uint64
	}{
		{what: "nothing stored", keep: record("k0", "A", 1), owner: "A", gen: 1},
		{what: "own", stored: []grandstand.Record{record("k1", "A", 1)}, keep: record("k1", "A", 1), owner: "A", gen: 1},
		{what: "own, now higher", stored: []grandstand.Record{record("k2", "A", 1)}, keep: record("k2", "A", 3), owner: "A", gen: 3},
		{what: "own, stored higher", stored: []grandstand.Record{record("k3", "A", 3)}, keep: record("k3", "A", 1), owner: "A", gen: 3},
		{what: "another of a higher generation", stored: []grandstand.Record{record("k4", "B", 2)}, keep: record("k4", "A", 1), lost: true, owner: "B", gen: 2},
		{what: "another of the same", stored: []grandstand.Record{record("k5", "B", 2)}, keep: record("k5", "A", 2), lost: true, owner: "B", gen: 2},
		{what: "another of a lower one", stored: []grandstand.Record{record("k6", "B", 1)}, keep: record("k6", "A", 2), owner: "A", gen: 2},
	} {
		for _, s := range tc.stored {
			keep(t, c, s)
		}
		if kept := keep(t, c, tc.keep); kept == tc.lost {
			t.Errorf("%s: lost %v, want %v", tc.what, !kept, tc.lost)
		}
		got, err := claimOne(t.Context(), c, record(tc.keep.Session, "Z", 0))
		ok(t, err)
		if got.Previous == nil || got.Previous.Owner != tc.owner || got.Previous.Gen != tc.gen || got.Gen != tc.gen+1 {
			t.Errorf("%s: stored %+v, want owner %s of generation %d", tc.what, got.Previous, tc.owner, tc.gen)
		}
	}
	// A join changes the audience: the next owner is told the new one.
	keep(t, c, record("k7", "A", 1, "KC"))
	keep(t, c, record("k7", "A", 1, "SF"))
	got, err := claimOne(t.Context(), c, record("k7", "B", 0))
	ok(t, err)
	if !slices.Equal(got.Previous.Values, []string{"SF"}) {
		t.Errorf("the record has %v, want the audience kept last", got.Previous.Values)
	}

	for _, bad := range []grandstand.Record{record("", "A", 1), record("s", "", 1), record("s", "A|B", 1), record("s", "A", 1e14)} {
		if _, err := c.Keep(t.Context(), []grandstand.Record{bad}); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("Keep(%+v): %v, want CodeInvalid", bad, err)
		}
		if _, err := claimOne(t.Context(), c, bad); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("Claim(%+v): %v, want CodeInvalid", bad, err)
		}
	}
}

func testKeepMany(t *testing.T, r *rig) {
	c := open(t, r.url)
	recs := make([]grandstand.Record, portionSize+300)
	var want []int
	for i := range recs {
		recs[i] = record(fmt.Sprint("many", i), "A", 1, "US")
		if i%97 == 0 {
			keep(t, c, record(recs[i].Session, "B", 2))
			want = append(want, i)
		}
	}
	for range 2 { // and again, over what is there
		lost, err := c.Keep(t.Context(), recs)
		ok(t, err)
		if !slices.Equal(lost, want) {
			t.Fatalf("lost %v, want %v", lost, want)
		}
	}
	ok(t, c.Forget(t.Context(), recs))
	lost, err := c.Keep(t.Context(), []grandstand.Record{record("many1", "B", 1), record("many0", "A", 1)})
	ok(t, err)
	if !slices.Equal(lost, []int{1}) {
		t.Errorf("after Forget lost %v, want only what was B's", lost)
	}
	if lost, err := c.Keep(t.Context(), nil); err != nil || lost != nil {
		t.Errorf("Keep of nothing: %v, %v", lost, err)
	}
}

func testRecordTTL(t *testing.T, r *rig) {
	c := open(t, r.url)
	keep(t, c, record("s1", "A", 1))
	ttl := func() time.Duration {
		n, err := c.rc.Do(t.Context(), c.rc.B().Pttl().Key(recordKey("s1")).Build()).AsInt64()
		ok(t, err)
		return time.Duration(n) * time.Millisecond
	}
	if d := ttl(); d <= recordTTL-20*time.Second || d > recordTTL {
		t.Errorf("a kept record lives for %v", d)
	}
	_, err := claimOne(t.Context(), c, record("s1", "B", 0))
	ok(t, err)
	if d := ttl(); d <= recordTTL-20*time.Second || d > recordTTL {
		t.Errorf("a claimed record lives for %v", d)
	}
}

func testForget(t *testing.T, r *rig) {
	c := open(t, r.url)
	for _, tc := range []struct {
		what           string
		stored, forget grandstand.Record
		gone           bool
	}{
		{"own", record("f1", "A", 2), record("f1", "A", 2), true},
		{"another's", record("f2", "B", 2), record("f2", "A", 2), false},
		{"own, claimed since", record("f3", "A", 3), record("f3", "A", 2), false},
		{"nothing there", record("f4", "A", 1), record("f5", "A", 1), true},
	} {
		keep(t, c, tc.stored)
		ok(t, c.Forget(t.Context(), []grandstand.Record{tc.forget}))
		got, err := claimOne(t.Context(), c, record(tc.forget.Session, "Z", 0))
		ok(t, err)
		if gone := got.Previous == nil; gone != tc.gone {
			t.Errorf("%s: gone %v, want %v", tc.what, gone, tc.gone)
		}
	}
}

func testReleases(t *testing.T, r *rig) {
	a, b := open(t, r.url), open(t, r.url)
	ctx := t.Context()
	if list, err := a.Releases(ctx, "A", grandstand.ReleaseID{}); err != nil || len(list) != 0 {
		t.Fatalf("releases of nobody: %v, %v", list, err)
	}
	var want []grandstand.Release
	for i := range 5 {
		want = append(want, grandstand.Release{Event: "final", Session: fmt.Sprint("s", i), Gen: uint64(i + 1)})
	}
	ids, err := b.Release(ctx, "A", want)
	ok(t, err)
	for i := range want {
		if want[i].ID = ids[i]; i > 0 && !ids[i-1].Before(ids[i]) {
			t.Fatalf("ids do not grow: %v", ids)
		}
	}
	got, err := a.Releases(ctx, "A", grandstand.ReleaseID{})
	ok(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	got, err = a.Releases(ctx, "A", ids[2])
	ok(t, err)
	if diff := cmp.Diff(want[3:], got); diff != "" {
		t.Fatalf("after the third (-want +got):\n%s", diff)
	}
	if got, err = a.Releases(ctx, "A", ids[4]); err != nil || len(got) != 0 {
		t.Fatalf("after the last: %v, %v", got, err)
	}
	if got, err = a.Releases(ctx, "B", grandstand.ReleaseID{}); err != nil || len(got) != 0 {
		t.Fatalf("of another gateway: %v, %v", got, err)
	}

	many := make([]grandstand.Release, releasesPage+10)
	for i := range many {
		many[i] = grandstand.Release{Event: "e", Session: fmt.Sprint(i), Gen: 1}
	}
	ids, err = b.Release(ctx, "C", many)
	ok(t, err)
	got, err = a.Releases(ctx, "C", grandstand.ReleaseID{})
	ok(t, err)
	if len(got) != len(many) || got[len(got)-1].ID != ids[len(ids)-1] {
		t.Fatalf("read %d of %d releases", len(got), len(many))
	}
}
