package grandstand

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func gateways(n int) []Member {
	list := make([]Member, n)
	for i := range list {
		list[i] = Member{ID: fmt.Sprintf("g%d", i), Role: RoleGateway, Peer: fmt.Sprintf("host%d:1", i), JoinedAt: int64(100 + i), Alive: true}
	}
	return list
}

func TestTreePlaces(t *testing.T) {
	list := gateways(5)
	list[0].Alive = false
	list[1].Peer = ""
	list[2].Outside = true
	list = append(list, Member{ID: "a", Role: RoleAggregator, Peer: "host9:1", Alive: true})
	// Alive and inside: 1 (no address), 3, 4.
	for self, want := range map[string]TreePlace{
		"g3": {Relay: true},
		"g4": {Parents: []string{"host3:1"}},
		"g1": {Parents: []string{"host3:1"}},
		"g2": {Parents: []string{"host3:1"}}, // who is outside decides by itself
		"g7": {Parents: []string{"host3:1"}},
	} {
		if diff := cmp.Diff(want, TreePlaceOf(list, self, 16)); diff != "" {
			t.Errorf("%s: %s", self, diff)
		}
	}
	if got := TreePlaceOf(list, "g4", 2); !got.Relay {
		t.Errorf("the second of three gateways is no relay at a fanout of 2: %+v", got)
	}
	if got := TreePlaceOf(nil, "g1", 2); got.Relay || got.Parents != nil {
		t.Errorf("alone in the world: %+v", got)
	}
	same := gateways(2)
	same[0].JoinedAt = same[1].JoinedAt
	if got := TreePlaceOf([]Member{same[1], same[0]}, "g0", 2); !got.Relay {
		t.Error("of two that joined together, the one with the lesser id is the older")
	}
}

// drawMembers draws gateways of all kinds, some of equal age.
func drawMembers(t *rapid.T) []Member {
	list := gateways(rapid.IntRange(1, 60).Draw(t, "gateways"))
	for i := range list {
		list[i].JoinedAt = rapid.Int64Range(1, 30).Draw(t, "joined")
		list[i].Alive = rapid.IntRange(0, 9).Draw(t, "dead") > 0
		list[i].Outside = rapid.IntRange(0, 9).Draw(t, "outside") == 0
		if rapid.IntRange(0, 9).Draw(t, "hidden") == 0 {
			list[i].Peer = ""
		}
	}
	return list
}

func inside(list []Member) (in []Member) {
	for _, m := range list {
		if m.Alive && !m.Outside {
			in = append(in, m)
		}
	}
	return in
}

// settle lets all gateways choose, in that order, and returns the address that
// each reads from: "" is Redis.
func settle(list []Member, fanout int) map[string]string {
	parent, children := map[string]string{}, map[string]int{}
	for _, m := range list {
		parent[m.ID] = ""
		for _, p := range TreePlaceOf(list, m.ID, fanout).Parents {
			if children[p] < MaxChildren(fanout) {
				children[p]++
				parent[m.ID] = p
				break
			}
		}
	}
	return parent
}

func TestTreeHasNoLoopAndBoundedChildren(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := inside(drawMembers(t))
		fanout := rapid.IntRange(1, 20).Draw(t, "fanout")
		relays := map[string]bool{}
		open := 0
		for _, m := range list {
			if m.Peer != "" {
				open++
			}
			if TreePlaceOf(list, m.ID, fanout).Relay {
				relays[m.Peer] = true
			}
		}
		if want := min(open, (len(list)+fanout-1)/fanout); len(relays) != want {
			t.Fatalf("%d relays of %d gateways at a fanout of %d, not %d", len(relays), len(list), fanout, want)
		}
		for _, m := range list {
			place := TreePlaceOf(list, m.ID, fanout)
			if place.Relay && len(place.Parents) > 0 {
				t.Fatalf("relay %s has parents", m.ID)
			}
			if !place.Relay && len(place.Parents) != len(relays) {
				t.Fatalf("%s may choose of %d relays, there are %d", m.ID, len(place.Parents), len(relays))
			}
			for _, p := range place.Parents {
				if !relays[p] {
					t.Fatalf("%s would read from %s, which is no relay", m.ID, p)
				}
			}
		}
		for id, p := range settle(list, fanout) {
			if p == "" && open == len(list) && !TreePlaceOf(list, id, fanout).Relay {
				t.Fatalf("there is no room for %s", id)
			}
		}
	})
}

// One that joins or leaves moves its own children, those that a relay in its
// place attracts, and nobody else.
func TestTreeMovesFew(t *testing.T) {
	first := func(list []Member, id string, fanout int) string {
		if p := TreePlaceOf(list, id, fanout).Parents; len(p) > 0 {
			return p[0]
		}
		return ""
	}
	rapid.Check(t, func(t *rapid.T) {
		list := inside(drawMembers(t))
		if len(list) < 2 {
			t.Skip("nobody is left")
		}
		fanout := rapid.IntRange(1, 20).Draw(t, "fanout")
		i := rapid.IntRange(0, len(list)-1).Draw(t, "leaves")
		gone := list[i]
		after := slices.Delete(slices.Clone(list), i, i+1)
		var before, now []string // addresses of relays
		for _, m := range list {
			if TreePlaceOf(list, m.ID, fanout).Relay {
				before = append(before, m.Peer)
			}
		}
		for _, m := range after {
			if TreePlaceOf(after, m.ID, fanout).Relay {
				now = append(now, m.Peer)
			}
		}
		changed := 0
		for _, p := range before {
			if !slices.Contains(now, p) {
				changed++
			}
		}
		for _, p := range now {
			if !slices.Contains(before, p) {
				changed++
			}
		}
		if changed > 2 {
			t.Fatalf("relays %v became %v", before, now)
		}
		for _, m := range after {
			was, is := first(list, m.ID, fanout), first(after, m.ID, fanout)
			if was == is || was == gone.Peer {
				continue
			}
			if slices.Contains(now, was) && slices.Contains(before, is) {
				t.Fatalf("%s moved from %s to %s, and both were there all the time", m.ID, was, is)
			}
		}
	})
}

func TestTreeSpreads(t *testing.T) {
	const n, fanout = 512, 16
	list := gateways(n)
	children := map[string]int{}
	for _, m := range list {
		if p := TreePlaceOf(list, m.ID, fanout).Parents; len(p) > 0 {
			children[p[0]]++
		}
	}
	for p, c := range children {
		if c > MaxChildren(fanout) {
			t.Errorf("%d gateways want %s first", c, p)
		}
	}
	if len(children) != n/fanout {
		t.Errorf("only %d of %d relays are anybody's first choice", len(children), n/fanout)
	}
}
