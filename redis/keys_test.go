package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

// oneTag is what every key looks like: exactly one hash tag, near the front.
var oneTag = regexp.MustCompile(`^gs:\{[^{}]+\}:[^{}]+$`)

// forEver are the keys that end with the data only.
var forEver = map[string]bool{
	bootKey: true, renewalsKey: true, eventsKey: true, versionKey: true, eventKey("final"): true,
}

// testKeys writes one of everything and looks at what is in Redis then.
func testKeys(t *testing.T, r *rig) {
	c := open(t, r.url)
	ctx := t.Context()
	keep(t, c, record("s1", "A", 1))
	_, err := claimOne(ctx, c, record("s2", "A", 1))
	ok(t, err)
	for _, owner := range []string{"B", "C"} { // a claim that is overtaken leaves a note
		_, err = claimOne(ctx, c, record("s2", owner, 1))
		ok(t, err)
	}
	_, err = c.Release(ctx, "A", []grandstand.Release{{Event: "final", Session: "s1", Gen: 1}})
	ok(t, err)
	ok(t, c.WriteTallies(ctx, []*grandstand.ShardTally{{Gateway: "A", Shard: 3}}, &grandstand.Manifest{Gateway: "A"}))
	_, err = c.Admit(ctx, &grandstand.Event{Name: "final", Dims: grandstand.DefaultDims()}, []grandstand.Segment{{Dim: "team", Value: "KC"}})
	ok(t, err)
	publish(t, c, boardsOf(1, 1, c.Now(), 1))
	ok(t, c.PutEvent(ctx, &grandstand.Event{Name: "final"}))
	ok(t, c.PutEvent(ctx, &grandstand.Event{Name: "past", State: grandstand.EventEnded}))
	ok(t, c.SaveSeries(ctx, seriesOf("final", []grandstand.Step{{At: 5}})))
	ok(t, c.SaveSeries(ctx, reachOf("final", []grandstand.CheckpointSegment{{Segment: grandstand.WorldSegment}})))
	_, err = c.Renew(ctx, grandstand.Member{ID: "A"})
	ok(t, err)
	_, err = c.HoldShards(ctx, "A")
	ok(t, err)
	ok(t, c.WatchAccount(ctx, acct(1), "A"))
	ok(t, c.Ask(ctx, []grandstand.Ask{asks(1, "tv", "s1")})[0].Err)
	ok(t, c.Revoke(ctx, c.Now(), []grandstand.Revocation{{Name: grandstand.RevocationName{Kind: grandstand.RevokeAll}, Until: c.Now() + 60_000}}))

	var keys []string
	for _, n := range c.rc.Nodes() {
		list, err := n.Do(ctx, n.B().Keys().Pattern("*").Build()).AsStrSlice()
		ok(t, err)
		keys = append(keys, list...)
	}
	if len(keys) != 20+2 { // a second record, and an event that ended
		t.Errorf("%d keys, want one of each of the 20 kinds of the table and two more: %q", len(keys), keys)
	}
	for _, k := range keys {
		if !oneTag.MatchString(k) {
			t.Errorf("key %q does not have exactly one hash tag", k)
		}
		ttl, err := c.rc.Do(ctx, c.rc.B().Pttl().Key(k).Build()).AsInt64()
		ok(t, err)
		if (ttl < 0) != forEver[k] {
			t.Errorf("key %q lives for %v", k, time.Duration(ttl)*time.Millisecond)
		}
	}
}

// TestKeysAreNamedInOnePlace looks for key names outside of keys.go: the scripts
// and the rest take keys, they do not make them.
func TestKeysAreNamedInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	ok(t, err)
	lua, err := filepath.Glob("lua/*.lua")
	ok(t, err)
	leases, err := filepath.Glob("lua/leases/*.lua")
	ok(t, err)
	if len(lua) == 0 || len(leases) == 0 {
		t.Fatal("no scripts found")
	}
	for _, f := range slices.Concat(files, lua, leases) {
		if f == "keys.go" || strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		ok(t, err)
		if strings.Contains(string(b), `gs:{`) {
			t.Errorf("%s makes a key name; they are all in keys.go", f)
		}
	}
}

func TestKeysSpread(t *testing.T) {
	tags := map[string]bool{}
	tag := func(key string) string {
		_, rest, _ := strings.Cut(key, "{")
		tag, _, _ := strings.Cut(rest, "}")
		return tag
	}
	for range 20_000 {
		tags[tag(recordKey(grandstand.NewSessionID(grandstand.EventKey{}, grandstand.Key{}, grandstand.Key{})))] = true
	}
	if len(tags) != grandstand.SessionBuckets {
		t.Errorf("records of 20,000 sessions have %d tags, want %d", len(tags), grandstand.SessionBuckets)
	}
	clear(tags)
	for s := range grandstand.Shards {
		tags[tag(boardKey(s))] = true
	}
	if len(tags) != boardTags {
		t.Errorf("the boards have %d tags, want %d", len(tags), boardTags)
	}
	for _, group := range followGroups(true) {
		for _, s := range group {
			if tag(boardKey(s)) != tag(boardKey(group[0])) {
				t.Errorf("the read of shards %v spans slots", group)
			}
		}
	}
	clear(tags)
	for i := range 1000 {
		tags[tag(leasesKey(acct(i)))] = true
		if tag(leasesKey(acct(i))) != tag(decisionsKey(acct(i))) {
			t.Fatal("an account's decisions are not in the slot of its leases")
		}
	}
	if len(tags) != 1000 {
		t.Errorf("1000 accounts have %d tags", len(tags))
	}
	// Each third of the slots has its third of a gateway's tallies, and of the rest.
	thirds := func(what string, n int, key func(i int) string) {
		t.Helper()
		var shares [3]int
		for i := range n {
			shares[slotOf(tag(key(i)))*3/clusterSlots]++
		}
		if slices.Max(shares[:]) > n/3+n/12+1 {
			t.Errorf("three masters share %s like %v", what, shares)
		}
	}
	for i := range 20 {
		g := fmt.Sprint("gateway-", i)
		thirds("the tallies of "+g, grandstand.Shards, func(shard int) string { return tallyKey(g, shard) })
		clear(tags)
		for shard := range grandstand.Shards {
			tags[tag(tallyKey(g, shard))] = true
		}
		if len(tags) != tallySlots {
			t.Errorf("the tallies of %s have %d tags, want %d", g, len(tags), tallySlots)
		}
	}
	thirds("the boards", grandstand.Shards, boardKey)
	thirds("the series", 1000, func(i int) string { return reachKey(fmt.Sprint("event-", i)) })
	clear(tags)
	for i := range 1000 {
		e := fmt.Sprint("event-", i)
		tags[tag(reachKey(e))] = true
		if tag(stepsKey(e, 0)) != tag(reachKey(e)) {
			t.Fatal("an event's series is not in the slot of its reach: no script can save both")
		}
	}
	if len(tags) != grandstand.Shards {
		t.Errorf("the series of 1000 events have %d tags, want one for each shard", len(tags))
	}
	for _, k := range []string{bootKey, shardsKey, eventsKey, versionKey} {
		if tag(k) != tag(membersKey) {
			t.Errorf("%s is not in the slot of %s", k, membersKey)
		}
	}
}

// The slot of a tag is what the server says it is.
func TestSlotsAreTheServers(t *testing.T) {
	c := redistest.StartCluster(t)
	for i, tag := range slices.Concat(boardTag, tallyTag[:8], historyTag[:8]) {
		if want := c.Nodes[0].Do("CLUSTER", "KEYSLOT", "gs:{"+tag+"}:x"); strconv.Itoa(slotOf(tag)) != want {
			t.Errorf("tag %d, %s: slot %d, the server says %s", i, tag, slotOf(tag), want)
		}
	}
}
