package simulator

import (
	"strings"
	"testing"

	"grandstand"
)

// Of a count that is too high those are told who went lately, the latest first, and
// nobody who is there or went long ago.
func TestSuspectsAreWhoWentLately(t *testing.T) {
	truth := newTruth(300, 0)
	who := &person{country: "MX", region: "MX-JAL"}
	come := func(session string, at int64) *presence {
		p := truth.add(who)
		truth.begin(p, at)
		truth.confirm(p, at+10, 1, 1000)
		truth.name(p, session)
		return p
	}
	old, gone, silent, _ := come("old", 1000), come("gone", 2000), come("silent", 3000), come("here", 4000)
	truth.leave(old, 5_000)
	truth.drop(silent, 50_000, 55_000, 55_000, false)
	truth.leave(gone, 52_000)
	truth.at(60_000)

	jalisco := grandstand.Segment{Dim: "region", Value: "MX-JAL"}
	got := truth.suspects(jalisco, 60_000)
	if len(got) != 2 || !strings.HasPrefix(got[0], "silent:") || !strings.HasPrefix(got[1], "gone:") {
		t.Fatalf("suspects: %q", got)
	}
	if want := "gone: asks g0 -58.00 confirmed g1 -57.99 leaves g1 -8.00"; got[1] != want {
		t.Errorf("told as %q, want %q", got[1], want)
	}
	for _, other := range []grandstand.Segment{{Dim: "region", Value: "MX-NLE"}, {Dim: "team", Value: "nobody"}} {
		if got := truth.suspects(other, 60_000); len(got) != 0 {
			t.Errorf("suspects in %s: %q", other, got)
		}
	}
}
