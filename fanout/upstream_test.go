package fanout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"grandstand"
)

func TestBoardsComeDownTheTree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.stopAll()
		var list []*gatewayNode
		var viewers []*viewer
		for i := range 6 {
			n := c.start(fmt.Sprintf("g%d", i), "")
			list, viewers = append(list, n), append(viewers, n.view(t, "final"))
		}
		c.tell()
		for range 5 {
			c.tick("final", "other")
		}
		for i, n := range list {
			if n.readsRedis() != (i == 0) || n.depth() != min(i, 1) {
				t.Errorf("%s reads Redis: %v, at depth %d", n.id, n.readsRedis(), n.depth())
			}
		}
		before := testutil.ToFloat64(list[0].relay.metrics.encodes)
		frames, _ := viewers[1].seen()
		for range 10 {
			c.tick("final", "other")
		}
		if got := testutil.ToFloat64(list[0].relay.metrics.encodes) - before; got != 10 {
			t.Errorf("10 boards for 5 children were encoded %v times", got)
		}
		for _, v := range viewers {
			if n, world := v.seen(); n != frames+10 || world != uint64(10+c.boards-2) {
				t.Errorf("%s: %d boards, the last with %d", v.name, n-frames, world)
			}
		}
		if b := list[1].hub.fresh("other"); b != nil {
			t.Errorf("%s was sent a board of an event that nobody watches there", list[1].id)
		}
		if got := testutil.ToFloat64(list[0].relay.metrics.children); got != 5 {
			t.Errorf("the relay has %v children", got)
		}
	})
}

// Whoever asks for the board of an event that nobody watches here has it from
// the relay, and again at once.
func TestLatestAsksTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 2, 2)
		defer c.stopAll()
		c.publish("final", 77)
		time.Sleep(10 * time.Millisecond)
		ask := func(event string) (*grandstand.Board, time.Duration) {
			from := time.Now()
			return list[1].hub.Latest(event), time.Since(from)
		}
		if b, took := ask("final"); b == nil || worldOf(b) != 77 || took > 100*time.Millisecond {
			t.Errorf("the first time: %v after %v", b, took)
		}
		c.tick("final")
		if b, took := ask("final"); worldOf(b) != uint64(10+c.boards-1) || took != 0 {
			t.Errorf("the second time: %v after %v", b, took)
		}
		if b, took := ask("unheard"); b != nil || took > 100*time.Millisecond {
			t.Errorf("an event without a board: %v after %v", b, took)
		}
		time.Sleep(70 * time.Second) // it is watched no more
		c.tick("final")
		if events, _ := list[0].relay.serves(); events != 0 {
			t.Error("the relay sends an event that nobody has asked for in a minute")
		}
		if b, took := ask("final"); worldOf(b) != uint64(10+c.boards-1) || took > 100*time.Millisecond {
			t.Errorf("after a while: %v after %v", b, took)
		}
	})
}

// lossBound is what a viewer may be without a new board when a relay is lost.
const lossBound = 2*treeTick + 3*time.Second

func TestLostRelayIsReplaced(t *testing.T) {
	for name, lose := range map[string]func(c *cluster, n *gatewayNode){
		"killed":             func(c *cluster, n *gatewayNode) { n.kill() },
		"frozen":             func(c *cluster, n *gatewayNode) { n.freeze(true) },
		"cut off from Redis": func(c *cluster, n *gatewayNode) { n.setCut(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, list := treeOf(t, 6, 3) // two relays
				defer c.stopAll()
				var viewers []*viewer
				for _, n := range list[2:] {
					viewers = append(viewers, n.view(t, "final"))
				}
				c.tick("final")
				for _, v := range viewers {
					v.longest()
				}
				lost := list[0]
				lose(c, lost)
				for range 10 {
					c.tick("final")
				}
				for i, v := range viewers {
					if gap := v.longest(); gap > lossBound {
						t.Errorf("%s saw nothing for %v", v.name, gap)
					}
					if n := list[2+i]; n.parent() != "g1" || n.readsRedis() {
						t.Errorf("%s reads from %q, and from Redis: %v", n.id, n.parent(), n.readsRedis())
					}
				}
				if name != "killed" {
					lost.freeze(false)
					lost.setCut(false)
					for range 20 {
						c.tick("final")
					}
					back := 0
					for _, n := range list[2:] {
						if n.parent() == parentsOf(n)[0] {
							back++
						}
					}
					if back != 4 {
						t.Errorf("%d of 4 gateways read from their best relay in the end", back)
					}
				}
			})
		})
	}
}

// parentsOf returns the relays of a node, the best first.
func parentsOf(n *gatewayNode) []string {
	_, parents := n.up.place()
	return parents
}

// The aggregator is away for a while: nobody changes relays for that.
func TestQuietRedisIsNoRelaysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 4, 2)
		defer c.stopAll()
		v := list[3].view(t, "final")
		c.tick("final")
		parent := list[3].parent()
		time.Sleep(time.Minute)
		if got := list[3].parent(); got != parent || !list[3].readsRedis() {
			t.Errorf("after a minute without boards it reads from %q, not %q, and from Redis: %v", got, parent, list[3].readsRedis())
		}
		for range 5 {
			c.tick("final")
		}
		if list[3].parent() != parent || list[3].readsRedis() {
			t.Errorf("then it reads from %q, and from Redis: %v", list[3].parent(), list[3].readsRedis())
		}
		if n, _ := v.seen(); n != 6 {
			t.Errorf("the viewer saw %d boards", n)
		}
	})
}

// Redis is away for half a minute, for everybody: each goes on showing what it
// has, and in the end it is a tree again.
func TestRedisAwayFromAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 6, 3)
		defer c.stopAll()
		var viewers []*viewer
		for _, n := range list {
			viewers = append(viewers, n.view(t, "final"))
			n.setCut(true)
		}
		for range 15 {
			c.tick("final")
		}
		for _, n := range list {
			n.setCut(false)
		}
		for _, v := range viewers {
			v.begin()
		}
		for range 15 {
			c.tick("final")
		}
		for i, v := range viewers {
			if n, _ := v.seen(); n < 15 || v.longest() > treeTick+time.Second {
				t.Errorf("%s saw %d boards, the longest gap was %v", v.name, n, v.longest())
			}
			if list[i].readsRedis() != (i < 2) {
				t.Errorf("%s reads Redis: %v", list[i].id, list[i].readsRedis())
			}
		}
	})
}

// The oldest leaves: another becomes a relay, and reads Redis; nobody reads from
// who is no relay.
func TestPlacesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 5, 3)
		defer c.stopAll()
		var viewers []*viewer
		for _, n := range list[1:] {
			viewers = append(viewers, n.view(t, "final"))
		}
		for i, n := range list {
			if n.readsRedis() != (i < 2) {
				t.Fatalf("%s reads Redis: %v", n.id, n.readsRedis())
			}
		}
		c.unlist(list[0]) // four gateways: g1 and g2 are relays
		list[0].kill()
		for range 4 {
			c.tick("final")
		}
		c.start("g9", "") // five
		c.tell()
		for range 4 {
			c.tick("final")
		}
		for _, n := range c.nodes {
			relay := n.id == "g1" || n.id == "g2"
			if n.readsRedis() != relay || !relay && n.parent() != "g1" && n.parent() != "g2" {
				t.Errorf("%s reads from %q, and from Redis: %v", n.id, n.parent(), n.readsRedis())
			}
		}
		for _, v := range viewers {
			if gap := v.longest(); gap > lossBound {
				t.Errorf("%s saw nothing for %v", v.name, gap)
			}
		}
		c.nodes["g9"].member.JoinedAt, list[2].member.JoinedAt = list[2].member.JoinedAt, c.nodes["g9"].member.JoinedAt
		c.tell()
		for range 4 {
			c.tick("final")
		}
		if !c.nodes["g9"].readsRedis() || list[2].readsRedis() || list[2].switches(switchJoined) == 0 {
			t.Error("a relay that is no longer the oldest goes on reading Redis")
		}
	})
}

// A remote region: its relay is chosen by hand, Redis is not read, and depth is
// counted on.
func TestPinnedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 3, 3)
		defer c.stopAll()
		far := c.start("far", "ws://g2") // a child itself
		farther := c.start("farther", "ws://far/")
		c.tell()
		if !far.member.Outside || list[0].member.Outside {
			t.Error("who is outside is not told")
		}
		v := farther.view(t, "final")
		for range 5 {
			c.tick("final")
		}
		if n, _ := v.seen(); n < 4 || far.depth() != 2 || farther.depth() != 3 || far.readsRedis() || farther.readsRedis() {
			t.Errorf("%d boards, depths %d and %d", n, far.depth(), farther.depth())
		}
		list[2].freeze(true)
		c.tick("final")
		c.tick("final")
		c.tick("final")
		if far.readsRedis() || far.depth() != 0 {
			t.Error("it reads Redis instead of its relay")
		}
		list[2].freeze(false)
		v.longest()
		for range 10 {
			c.tick("final")
		}
		if gap := v.longest(); gap > 2*backoffMax || far.depth() != 2 {
			t.Errorf("no board for %v after its relay came back", gap)
		}
	})
}

func TestRingOfPinnedRelaysEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a, b := c.start("a", "ws://b"), c.start("b", "ws://a")
		for range 30 {
			time.Sleep(time.Second)
			if a.depth() > maxDepth+1 || b.depth() > maxDepth+1 {
				t.Fatalf("depths are %d and %d", a.depth(), b.depth())
			}
		}
		if a.switches(switchLost)+b.switches(switchLost) == 0 {
			t.Error("nobody has noticed the ring")
		}
		c.stopAll()
	})
}

// Gateways come, go, freeze and are cut off from Redis at random: no viewer on
// one that is not itself cut off waits for long.
func TestTreeInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { treeInTrouble(t, rand.New(rand.NewPCG(1, 2))) })
}

func treeInTrouble(t *testing.T, rnd *rand.Rand) {
	c, list := treeOf(t, 9, 3)
	defer c.stopAll()
	viewers := map[*gatewayNode]*viewer{}
	for _, n := range list {
		viewers[n] = n.view(t, "final")
	}
	next := len(list)
	var sick *gatewayNode
	for round := range 20 {
		if sick != nil { // one trouble at a time: the next comes when viewers have a relay again
			sick.freeze(false)
			sick.setCut(false)
			viewers[sick].begin()
			sick = nil
		}
		n := list[rnd.IntN(len(list))]
		switch rnd.IntN(4) {
		case 0:
			n.kill()
			delete(viewers, n)
			list = remove(list, n)
			fresh := c.start(fmt.Sprintf("g%d", next), "")
			next++
			viewers[fresh] = fresh.view(t, "final")
			list = append(list, fresh)
		case 1:
			n.freeze(true)
			sick = n
		case 2:
			n.setCut(true)
			sick = n
		}
		for range 4 {
			c.tick("final")
		}
		c.mu.Lock()
		maps.DeleteFunc(c.nodes, func(_ string, n *gatewayNode) bool { return viewers[n] == nil }) // the leases of the dead have ended
		c.mu.Unlock()
		c.tell()
		for o, v := range viewers {
			if gap := v.longest(); gap > lossBound && o != sick {
				t.Errorf("round %d: %s saw nothing for %v", round, v.name, gap)
			}
		}
	}
	if sick != nil {
		sick.freeze(false)
		sick.setCut(false)
	}
	for range 20 {
		c.tick("final")
	}
	for _, n := range list {
		if relay, _ := n.up.place(); n.readsRedis() != relay {
			t.Errorf("%s reads Redis: %v, it is a relay: %v", n.id, n.readsRedis(), relay)
		}
	}
}

func remove(list []*gatewayNode, n *gatewayNode) (rest []*gatewayNode) {
	for _, o := range list {
		if o != n {
			rest = append(rest, o)
		}
	}
	return rest
}
