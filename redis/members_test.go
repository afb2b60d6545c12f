package redis

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func testMembers(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	a := grandstand.Member{ID: "a", Role: grandstand.RoleGateway, Peer: "10.0.0.1:7000"}
	b := grandstand.Member{ID: "b", Role: grandstand.RoleAggregator}
	first, err := c.Renew(ctx, a)
	ok(t, err)
	a.JoinedAt, a.SeenAt, a.Alive = first.Now, first.Now, true
	if diff := cmp.Diff([]grandstand.Member{a}, first.Members); diff != "" {
		t.Fatalf("alone (-want +got):\n%s", diff)
	}
	eventually(t, time.Second, "time goes on", func() bool { return c.Now() > first.Now+2 })
	second, err := c.Renew(ctx, b)
	ok(t, err)
	b.JoinedAt, b.SeenAt, b.Alive = second.Now, second.Now, true
	if diff := cmp.Diff([]grandstand.Member{a, b}, second.Members); diff != "" {
		t.Fatalf("two (-want +got):\n%s", diff)
	}
	if second.Boot == "" || second.Boot != first.Boot || second.BootAt != first.BootAt || first.BootAt > first.Now {
		t.Errorf("boot %q at %d, then %q at %d", first.Boot, first.BootAt, second.Boot, second.BootAt)
	}
	// JoinedAt stays, whatever the member says.
	third, err := c.Renew(ctx, grandstand.Member{ID: "a", Role: grandstand.RoleGateway, JoinedAt: 1})
	ok(t, err)
	if got := third.Members[0]; got.JoinedAt != a.JoinedAt || got.SeenAt < second.Now || got.Peer != "" {
		t.Errorf("renewed: %+v", got)
	}
	ok(t, c.Resign(ctx, "b"))
	third, err = c.Renew(ctx, a)
	ok(t, err)
	if len(third.Members) != 1 {
		t.Errorf("members after one resigned: %+v", third.Members)
	}

	// One that stopped is dead after its lease, and forgotten when its tally is.
	old := func(age time.Duration) {
		text := "1 " + ms(time.Duration(c.Now())*time.Millisecond-age) + ` {"id":"c","role":"gateway"}`
		ok(t, c.rc.Do(ctx, c.rc.B().Hset().Key(membersKey).FieldValue().FieldValue("c", text).Build()).Error())
	}
	old(memberLease - 2*time.Second)
	m, err := c.Renew(ctx, a)
	ok(t, err)
	if len(m.Members) != 2 || m.Members[0].ID != "c" || !m.Members[0].Alive {
		t.Errorf("within the lease: %+v", m.Members)
	}
	old(memberLease + 500*time.Millisecond)
	if m, err = c.Renew(ctx, a); err != nil || len(m.Members) != 2 || m.Members[0].Alive {
		t.Errorf("after the lease: %+v, %v", m.Members, err)
	}
	old(memberListed + time.Second)
	if m, err = c.Renew(ctx, a); err != nil || len(m.Members) != 1 {
		t.Errorf("after that: %+v, %v", m.Members, err)
	}
}

// What a member says of itself is for operators: it is not in what members learn
// of each other, and goes with the lease.
func testCluster(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	status := &grandstand.Status{
		Viewers: &grandstand.ViewersStatus{Connections: 3, Sessions: 2},
		Tree:    &grandstand.TreeStatus{Depth: 1, Parent: "10.0.0.1:7000", HopMS: 4},
		Rules:   []grandstand.RuleStatus{{Rule: "plan", Waiting: 1, Blocked: 5}},
	}
	a := grandstand.Member{ID: "a", Role: grandstand.RoleGateway, Peer: "10.0.0.1:7000", Status: status}
	first, err := c.Renew(ctx, a)
	ok(t, err)
	if len(first.Members) != 1 || first.Members[0].Status != nil {
		t.Errorf("members learn what others say of themselves: %+v", first.Members)
	}
	eventually(t, time.Second, "time goes on", func() bool { return c.Now() > first.Now+2 })
	second, err := c.Renew(ctx, grandstand.Member{ID: "b", Role: grandstand.RoleAggregator})
	ok(t, err)
	want := second.Members
	want[0].Status = status
	got, err := c.Cluster(ctx)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}

	// One of a later version is a member all the same.
	ok(t, c.rc.Do(ctx, c.rc.B().Hset().Key(statusKey).FieldValue().FieldValue("a", "\xff").Build()).Error())
	if got, err = c.Cluster(ctx); err != nil || len(got) != 2 || got[0].Status != nil {
		t.Errorf("with a status that is not known here: %+v, %v", got, err)
	}
	ok(t, c.Resign(ctx, "a"))
	statuses, err := c.rc.Do(ctx, c.rc.B().Hlen().Key(statusKey).Build()).AsInt64()
	if got, _ = c.Cluster(ctx); err != nil || len(got) != 1 || statuses != 0 {
		t.Errorf("after one resigned: %+v, %d statuses, %v", got, statuses, err)
	}
}

func testBoot(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	m := grandstand.Member{ID: "a", Role: grandstand.RoleGateway}
	ok(t, c.PutEvent(ctx, &grandstand.Event{Name: "final"}))
	before, err := c.Renew(ctx, m)
	ok(t, err)
	at, err := c.BootAt(ctx)
	ok(t, err)
	if at != before.BootAt {
		t.Errorf("BootAt is %d, the membership says %d", at, before.BootAt)
	}
	r.flush()
	if at, err = c.BootAt(ctx); err != nil || at != 0 {
		t.Errorf("BootAt is %d, %v after the data was lost", at, err)
	}
	after, err := c.Renew(ctx, m)
	ok(t, err)
	if after.Boot == before.Boot || after.BootAt < before.BootAt {
		t.Errorf("boot %q at %d after the data was lost, %q at %d before", after.Boot, after.BootAt, before.Boot, before.BootAt)
	}
	if after.EventsVersion == before.EventsVersion {
		t.Errorf("the version of the events is still %d", after.EventsVersion)
	}
	for after.Now <= int64(before.EventsVersion) { // versions begin with the time in ms
		after, err = c.Renew(ctx, m)
		ok(t, err)
	}
	ok(t, c.PutEvent(ctx, &grandstand.Event{Name: "final"}))
	again, err := c.Renew(ctx, m)
	ok(t, err)
	if again.EventsVersion == before.EventsVersion {
		t.Errorf("the version of the events is that of before the loss: %d", again.EventsVersion)
	}
}

// testFailover: a replica that lacks the last writes takes the place of a server.
// Whoever renewed its lease since then notices, and everybody learns of it.
func testFailover(t *testing.T, r *rig) {
	a, b := open(t, r.url), open(t, r.url)
	ctx := t.Context()
	renew := func(c *Client, id string) grandstand.Membership {
		t.Helper()
		ms, err := c.Renew(ctx, grandstand.Member{ID: id, Role: grandstand.RoleGateway})
		ok(t, err)
		return ms
	}
	first := renew(a, "a")
	renew(b, "b")
	lease := func() string {
		t.Helper()
		text, err := a.rc.Do(ctx, a.rc.B().Hget().Key(membersKey).Field("a").Build()).ToString()
		ok(t, err)
		return text
	}
	old := lease()
	eventually(t, time.Second, "time goes on", func() bool { return renew(a, "a").Now > first.Now })
	if ms := renew(a, "a"); ms.Boot != first.Boot {
		t.Fatalf("boot %q became %q though nothing was lost", first.Boot, ms.Boot)
	}
	ok(t, a.rc.Do(ctx, a.rc.B().Hset().Key(membersKey).FieldValue().FieldValue("a", old).Build()).Error())
	if ms := renew(b, "b"); ms.Boot != first.Boot {
		t.Errorf("boot %q became %q for b, of whom nothing was lost", first.Boot, ms.Boot)
	}
	after := renew(a, "a")
	if after.Boot == first.Boot || after.BootAt < first.Now {
		t.Errorf("boot is %q at %d still", after.Boot, after.BootAt)
	}
	if ms := renew(b, "b"); ms.Boot != after.Boot || ms.BootAt != after.BootAt {
		t.Errorf("b is told boot %q at %d, a %q at %d", ms.Boot, ms.BootAt, after.Boot, after.BootAt)
	}
	if ms := renew(a, "a"); ms.Boot != after.Boot {
		t.Errorf("boot changes again, from %q to %q", after.Boot, ms.Boot)
	}
	// Of two that lost a renewal the first one tells the other.
	old = lease()
	base := renew(a, "a").Now
	eventually(t, time.Second, "time goes on", func() bool { return renew(a, "a").Now > base+1 && renew(b, "b").Now > base+1 })
	for _, id := range []string{"a", "b"} {
		ok(t, a.rc.Do(ctx, a.rc.B().Hset().Key(membersKey).FieldValue().FieldValue(id, old).Build()).Error())
	}
	one, other := renew(a, "a"), renew(b, "b")
	if one.Boot == after.Boot || other.Boot != one.Boot {
		t.Errorf("boot was %q, the first to notice makes it %q, the second %q", after.Boot, one.Boot, other.Boot)
	}
	after = one
	// A snapshot of earlier: of the leases nothing is left. A member that has just
	// started and knows of nothing is the first to be there.
	renewals := func() string {
		t.Helper()
		text, err := a.rc.Do(ctx, a.rc.B().Get().Key(renewalsKey).Build()).ToString()
		ok(t, err)
		return text
	}
	after = renew(a, "a")
	was := renewals()
	for range 5 { // as often, or more, as who comes first can renew meanwhile
		renew(a, "a")
		renew(b, "b")
	}
	eventually(t, time.Second, "time goes on", func() bool { return renew(a, "a").Now > after.Now+1 && renew(b, "b").Now > after.Now+1 })
	ok(t, a.rc.Do(ctx, a.rc.B().Del().Key(membersKey).Build()).Error())
	ok(t, a.rc.Do(ctx, a.rc.B().Set().Key(renewalsKey).Value(was).Build()).Error())
	if ms := renew(open(t, r.url), "c"); ms.Boot != after.Boot {
		t.Errorf("who has just come makes boot %q of %q", ms.Boot, after.Boot)
	}
	one, other = renew(a, "a"), renew(b, "b")
	if one.Boot == after.Boot || one.BootAt <= after.Now || other.Boot != one.Boot {
		t.Errorf("after a snapshot of earlier boot is %q at %d for one, %q for another; it was %q", one.Boot, one.BootAt, other.Boot, after.Boot)
	}
	if again := renew(a, "a"); again.Boot != one.Boot {
		t.Errorf("boot changes again, from %q to %q", one.Boot, again.Boot)
	}
	after = one
	// One that comes back after it was listed no more is not told of a loss.
	ok(t, a.rc.Do(ctx, a.rc.B().Hdel().Key(membersKey).Field("a").Build()).Error())
	if ms := renew(a, "a"); ms.Boot != after.Boot {
		t.Errorf("boot changes when a member is not listed any more, from %q to %q", after.Boot, ms.Boot)
	}
}

// hold calls HoldShards and checks that nobody else holds one of them.
func hold(t *testing.T, c *Client, held map[string][]int, member string) []int {
	t.Helper()
	list, err := c.HoldShards(t.Context(), member)
	ok(t, err)
	held[member] = list
	owner := map[int]string{}
	for m, shards := range held {
		for _, s := range shards {
			if owner[s] != "" {
				t.Fatalf("shard %d is held by %s and by %s", s, owner[s], m)
			}
			owner[s] = m
		}
	}
	return list
}

func testHoldShards(t *testing.T, r *rig) {
	c := open(t, r.url)
	held := map[string][]int{}
	if got := hold(t, c, held, "a"); len(got) != grandstand.Shards {
		t.Fatalf("alone it holds %d shards", len(got))
	}
	if got := hold(t, c, held, "b"); len(got) != 0 {
		t.Fatalf("the second holds %v before the first gave any up", got)
	}
	if got := hold(t, c, held, "a"); len(got) != grandstand.Shards/2 {
		t.Fatalf("the first keeps %d of two's share", len(got))
	}
	if got := hold(t, c, held, "b"); len(got) != grandstand.Shards/2 {
		t.Fatalf("the second takes %d", len(got))
	}
	before := held["a"]
	if got := hold(t, c, held, "a"); !cmp.Equal(before, got) {
		t.Fatalf("shards changed for no reason: %v, then %v", before, got)
	}
	hold(t, c, held, "c") // joins
	hold(t, c, held, "a")
	hold(t, c, held, "b")
	hold(t, c, held, "c")
	if a, b, n := len(held["a"]), len(held["b"]), len(held["c"]); a != 22 || b != 22 || n != 20 {
		t.Fatalf("three hold %d, %d, %d", a, b, n)
	}
	ok(t, c.DropShards(t.Context(), "a"))
	delete(held, "a")
	hold(t, c, held, "b")
	hold(t, c, held, "c")
	if b, n := len(held["b"]), len(held["c"]); b != 32 || n != 32 {
		t.Fatalf("after one left two hold %d, %d", b, n)
	}
}

// An aggregator whose questions arrive but which hears no answer in time loses its
// shards, as one that stopped does, and has its share back when it hears again.
func testHoldUnheard(t *testing.T, r *rig) {
	a, b := open(t, r.url), open(t, r.url)
	held := map[string][]int{}
	hold(t, a, held, "a")
	heard, _ := a.heard.Load("a")
	for end := a.Now() + 6_000; len(held["b"]) < grandstand.Shards; time.Sleep(100 * time.Millisecond) {
		if a.Now() > end {
			t.Fatalf("6 s after a heard its last answer b holds %d shards", len(held["b"]))
		}
		_, err := a.evalInts(t.Context(), holdScript, []string{shardsKey}, // and the answer comes too late
			"a", ms(shardLease), strconv.Itoa(grandstand.Shards), ms(membersTTL), fmt.Sprint(heard))
		ok(t, err)
		held["b"], err = b.HoldShards(t.Context(), "b")
		ok(t, err)
	}
	delete(held, "a")
	if got := hold(t, a, held, "a"); len(got) != 0 {
		t.Fatalf("it hears again, and at once holds %v", got)
	}
	hold(t, b, held, "b")
	if got := hold(t, a, held, "a"); len(got) != grandstand.Shards/2 {
		t.Fatalf("of two's share it holds %d", len(got))
	}
}

// testTakeover lets a holder stop without a word, in real time.
func testTakeover(t *testing.T, r *rig) {
	c := open(t, r.url)
	held := map[string][]int{}
	for range 2 {
		hold(t, c, held, "a")
		hold(t, c, held, "b")
	}
	hold(t, c, held, "a")
	stopped := c.Now()
	till := stopped + shardLease.Milliseconds()
	for len(held["b"]) < grandstand.Shards {
		now := c.Now()
		if now > stopped+5_000 {
			t.Fatalf("5 s after the other stopped %d shards are held", len(held["b"]))
		}
		if now >= till-100 {
			delete(held, "a") // its lease has run out, by its own reckoning
		}
		hold(t, c, held, "b")
		time.Sleep(50 * time.Millisecond)
	}
	// It comes back and takes part again.
	if got := hold(t, c, held, "a"); len(got) != 0 {
		t.Errorf("back, it still holds %v", got)
	}
	hold(t, c, held, "b")
	if got := hold(t, c, held, "a"); len(got) != grandstand.Shards/2 {
		t.Errorf("back, it gets %d shards", len(got))
	}
}
