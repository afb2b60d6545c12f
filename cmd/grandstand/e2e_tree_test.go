package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// treeGateway is a gateway of the fan-out tree, with its metrics.
type treeGateway struct {
	*process
	peer, admin string
}

// depth returns how far it is from Redis.
func (g *treeGateway) depth(t *testing.T) int {
	t.Helper()
	return int(scrape(t, g.admin)("grandstand_fanout_depth"))
}

func startTreeGateway(t *testing.T, name, redis string, more ...string) *treeGateway {
	t.Helper()
	g := &treeGateway{peer: freeAddr(t), admin: freeAddr(t)}
	addr := freeAddr(t)
	g.process = start(t, name, append([]string{"gateway", "--listen", addr, "--admin", g.admin, "--redis", redis, "--secret", testSecret,
		"--archive", "file:" + archiveOf(t), "--peer", g.peer, "--fanout", "3"}, more...)...).ready(addr)
	g.url = "http://" + addr
	return g
}

// watched is what one viewer saw.
type watched struct {
	name   string
	frames int
	gap    time.Duration // the longest between two frames
	last   time.Time
	at     int64
	closed bool
}

// crowdWatch has a viewer on each gateway note what it sees until stop is
// closed.
func crowdWatch(t *testing.T, list []*treeGateway, stop <-chan struct{}) (result func() []*watched) {
	var all []*watched
	var wg sync.WaitGroup
	for i, g := range list {
		w := &watched{name: "the viewer on " + g.name}
		all = append(all, w)
		c, messages := watch(t, g.url, "final", fmt.Sprintf("viewer=watcher%d&device=w%d&team=KC", i, i))
		keepBeating(t, c)
		wg.Go(func() {
			for {
				select {
				case b, ok := <-messages:
					if !ok {
						w.closed = true
						return
					}
					w.see(t, b)
				case <-stop:
					w.gap = max(w.gap, time.Since(w.last))
					return
				}
			}
		})
	}
	return func() []*watched {
		wg.Wait()
		return all
	}
}

func (w *watched) see(t *testing.T, b []byte) {
	var f struct {
		T  string
		At int64
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Errorf("%v in %s", err, b)
	}
	if f.T != "counts" {
		return
	}
	if f.At < w.at {
		t.Errorf("%s: at goes back from %d to %d", w.name, w.at, f.At)
	}
	now := time.Now()
	if w.frames++; w.frames > 1 {
		w.gap = max(w.gap, now.Sub(w.last))
	}
	w.last, w.at = now, f.At
}

// newcomers lets a new viewer beat every 200 ms until stop is closed, so that
// there is a new number at every tick.
func newcomers(url string, stop <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		resp, err := http.Post(fmt.Sprintf("%s/v1/events/final/beats?viewer=v%d&device=d%d&team=SF", url, i, i), "application/json",
			strings.NewReader(`{"t":"beat","seq":1,"state":"playing","interval_ms":60000}`))
		if err == nil {
			resp.Body.Close()
		}
	}
}

// tree starts n gateways with a fanout of 3, one after the other, so that the
// first third are relays, and an aggregator.
func tree(t *testing.T, n int) (redis string, list []*treeGateway) {
	redis = redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	for i := range n {
		list = append(list, startTreeGateway(t, fmt.Sprintf("gateway-%d", i), redis))
	}
	putEvent(t, list[0].url, "final", fast)
	return redis, list
}

// atDepth waits until the gateway is so far from Redis.
func (g *treeGateway) atDepth(t *testing.T, depth int) {
	t.Helper()
	eventually(t, 20*time.Second, g.name+" finds its place", func() error {
		if d := g.depth(t); d != depth {
			return fmt.Errorf("its depth is %d, not %d", d, depth)
		}
		return nil
	})
}

// watchWhile has viewers watch on the gateways while relays are hurt one after
// the other, and returns what they saw.
func watchWhile(t *testing.T, list []*treeGateway, between time.Duration, hurt ...func()) []*watched {
	stop := make(chan struct{})
	go newcomers(list[len(list)-1].url, stop)
	result := crowdWatch(t, list, stop)
	for _, h := range hurt {
		<-time.After(between)
		h()
	}
	<-time.After(max(between, 6*time.Second)) // more than judge lets pass, or who lost the last one would not be seen
	close(stop)
	return result()
}

// judge fails the test for a viewer who saw less than is promised.
func (w *watched) judge(t *testing.T, tick time.Duration) {
	t.Helper()
	t.Logf("%s: %d frames, the longest gap %v", w.name, w.frames, w.gap.Round(time.Millisecond))
	switch {
	case w.closed:
		t.Errorf("%s: its socket was closed", w.name)
	case w.frames < 5:
		t.Errorf("%s saw %d frames", w.name, w.frames)
	case w.gap > 2*tick+3*time.Second:
		t.Errorf("%s saw nothing for %v", w.name, w.gap)
	}
}

// Gateways form a tree by themselves, with a remote one whose relay was chosen
// by hand. All show the boards of every event. Relays are killed: nobody's
// socket closes, and no viewer is without a new number for long.
func TestTreeLosesRelays(t *testing.T) {
	beside(t) // it mostly waits
	redis, list := tree(t, 7)
	for i, g := range list {
		g.atDepth(t, min(i/3, 1))
	}
	remote := startTreeGateway(t, "remote", redis, "--upstream", "ws://"+list[6].peer)
	remote.atDepth(t, 2)

	// Nobody watches this event on the gateways that are asked.
	putEvent(t, list[0].url, "semi", fast)
	c, _ := watch(t, list[0].url, "semi", "viewer=v&device=d")
	keepBeating(t, c)
	for _, g := range []*treeGateway{list[6], remote} {
		eventually(t, 5*time.Second, g.name+" shows an event that nobody watches there", func() error {
			c, err := getCounts(g.url, "semi")
			if err == nil && (c.World.Sessions != 1 || c.Quality == "stale") {
				err = fmt.Errorf("%d sessions, %s", c.World.Sessions, c.Quality)
			}
			return err
		})
	}
	for _, w := range watchWhile(t, append(list[2:], remote), 2500*time.Millisecond, list[0].kill, list[1].kill) {
		w.judge(t, time.Second)
	}
	if hops := scrape(t, list[6].admin)("grandstand_fanout_hop_seconds_count"); hops == 0 {
		t.Error("no hop was measured")
	}
}
