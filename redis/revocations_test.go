package redis

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"grandstand"
)

func testRevocations(t *testing.T, r *rig) {
	c, other := open(t, r.url), open(t, r.url)
	ctx := t.Context()
	read := func(known int64) ([]grandstand.Revocation, int64) {
		t.Helper()
		list, version, err := other.Revocations(ctx, known)
		ok(t, err)
		slices.SortFunc(list, func(a, b grandstand.Revocation) int { return cmp.Compare(a.Name.Kind, b.Name.Kind) })
		return list, version
	}
	if list, version := read(-1); len(list) != 0 || version != 0 {
		t.Fatalf("at first there are %v of version %d", list, version)
	}
	key, at := grandstand.NewRevocationsKey([]byte("secret")), c.Now()
	revoke := func(kind grandstand.RevocationKind, before, until int64) grandstand.Revocation {
		t.Helper()
		v := grandstand.Revocation{Name: key.Name(kind, "v1"), Before: before, Until: until}
		ok(t, c.Revoke(ctx, at, []grandstand.Revocation{v}))
		return v
	}
	all, sub := revoke(grandstand.RevokeAll, at-5, at+60_000), revoke(grandstand.RevokeViewer, at, at+30_000)
	revoke(grandstand.RevokeToken, at, at-1) // is over
	list, version := read(0)
	if diff := gocmp.Diff([]grandstand.Revocation{all, sub}, list); diff != "" || version == 0 {
		t.Fatalf("version %d: %s", version, diff)
	}
	if list, again := read(version); list != nil || again != version {
		t.Errorf("nothing is new, and %v of version %d is read", list, again)
	}
	revoke(grandstand.RevokeViewer, at-1000, at+20_000) // less than there is
	if _, same := read(version); same != version {
		t.Errorf("version %d became %d for nothing", version, same)
	}
	revoke(grandstand.RevokeViewer, at+7, at+20_000)
	list, next := read(version)
	if sub.Before = at + 7; next <= version || len(list) != 2 || list[1] != sub {
		t.Errorf("version %d after %d has %v", next, version, list)
	}

	var many []grandstand.Revocation
	for i := range grandstand.MaxRevocations {
		many = append(many, grandstand.Revocation{Name: key.Name(grandstand.RevokeAccount, fmt.Sprint(i)), Before: at, Until: at + 60_000})
	}
	if err := c.Revoke(ctx, at, many); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("two too many: %v", err)
	}
	if list, _ := read(next); len(list) != grandstand.MaxRevocations {
		t.Errorf("there are %d", len(list))
	}
	revoke(grandstand.RevokeAll, at, at+60_000) // one that is there needs no room
}

// What tokens say is of another clock than that of Redis: what is over by one only
// is kept, for as long as the later one says.
func testRevocationsOfAnotherClock(t *testing.T, r *rig) {
	const hour = 3600_000
	c := open(t, r.url)
	ctx := t.Context()
	key, at := grandstand.NewRevocationsKey([]byte("secret")), c.Now()
	for i, v := range []struct {
		now, until int64
		kept       bool
	}{
		{at - 2*hour, at - hour, true}, // Redis is ahead
		{at + 2*hour, at + hour, true}, // Redis is behind
		{at - hour, at - 2*hour, false},
		{at + 2*hour, at - hour, false},
	} {
		name := key.Name(grandstand.RevokeViewer, fmt.Sprint(i))
		ok(t, c.Revoke(ctx, v.now, []grandstand.Revocation{{Name: name, Until: v.until}}))
		list, _, err := c.Revocations(ctx, -1)
		ok(t, err)
		if kept := slices.ContainsFunc(list, func(r grandstand.Revocation) bool { return r.Name == name }); kept != v.kept {
			t.Errorf("at %d h by the clock of tokens one until %d h is kept: %t", (v.now-at)/hour, (v.until-at)/hour, kept)
		}
	}
}
