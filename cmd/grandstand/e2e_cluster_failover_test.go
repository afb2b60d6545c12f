package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// arena is a cluster of Redis with replicas, two gateways, two aggregators, a few
// events whose viewers stay, and one whose viewers come, go and move.
type arena struct {
	t        *testing.T
	redis    *redistest.Cluster
	gateways []*process
	events   []string
	viewers  int // of each event
	screens  []*screen
}

// openArena returns when every screen shows the truth.
func openArena(t *testing.T) *arena {
	a := &arena{t: t, redis: redistest.StartReplicatedCluster(t), viewers: 6}
	url := a.redis.URL()
	a.gateways = []*process{startGateway(t, "gateway-1", url), startGateway(t, "gateway-2", url)}
	startAggregator(t, "aggregator-1", url)
	startAggregator(t, "aggregator-2", url)
	putEvent(t, a.gateways[0].url, "load", fast)
	for i := range 8 { // in shards, and so slots, of their own
		event := fmt.Sprint("event-", i)
		putEvent(t, a.gateways[0].url, event, fast)
		a.events = append(a.events, event)
		for v := range a.viewers {
			c, _ := watch(t, a.gateways[v%2].url, event, fmt.Sprintf("viewer=v%d&device=d%d&team=T%d", v, v, v%3))
			keepBeating(t, c)
		}
	}
	start(t, "crowd", "simulate", "--target", a.gateways[0].url, "--target", a.gateways[1].url, "--event", "load", "--shared",
		"--viewers", "150", "--duration", "10m", "--profile", "flat", "--beat", "5s", "--moves", "2")
	a.exactly(a.viewers)
	for _, g := range a.gateways {
		for _, e := range a.events {
			a.screens = append(a.screens, newScreen(g, e, a.viewers, sse(t, g.url+"/v1/events/"+e+"/counts/stream")))
		}
	}
	return a
}

// exactly waits until every event has n sessions on a live board of every
// gateway.
func (a *arena) exactly(n int) {
	a.t.Helper()
	for _, g := range a.gateways {
		for _, e := range a.events {
			eventually(a.t, 20*time.Second, fmt.Sprintf("%s counts %d of %s", g.name, n, e), func() error {
				c, err := getCounts(g.url, e)
				if err == nil && (c.World.Sessions != uint64(n) || c.World.Fans != uint64(n) || c.Quality != "live") {
					err = fmt.Errorf("%+v %s", c.World, c.Quality)
				}
				return err
			})
		}
	}
}

// away has a master be struck, waits until all is well, and returns how long the
// screen that suffered most had no newer board.
func (a *arena) away(strike func()) (worst time.Duration) {
	a.t.Helper()
	for _, s := range a.screens {
		s.restart()
	}
	strike()
	eventually(a.t, 30*time.Second, "every screen has newer boards", func() error {
		for _, s := range a.screens {
			if n := s.shown(); n < 8 {
				return fmt.Errorf("%s has shown %d", s.name, n)
			}
		}
		return nil
	})
	a.exactly(a.viewers)
	for _, s := range a.screens {
		gap, trouble := s.verdict()
		for _, text := range trouble {
			a.t.Errorf("%s: %s", s.name, text)
		}
		worst = max(worst, gap)
	}
	return worst
}

// screen reads the boards that one gateway shows of an event, and checks that
// they follow each other, add up, and count whom they must.
type screen struct {
	name string
	want uint64

	mu        sync.Mutex
	epoch, at int64
	seenAt    time.Time
	boards    int           // newer ones since restart
	gap       time.Duration // the longest between two
	trouble   []string
}

func newScreen(g *process, event string, want int, boards <-chan []byte) *screen {
	s := &screen{name: event + " on " + g.name, want: uint64(want), seenAt: time.Now()}
	go func() {
		for b := range boards { // closed when the test ends
			s.show(b)
		}
	}()
	return s
}

func (s *screen) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boards, s.gap, s.seenAt = 0, 0, time.Now()
}

func (s *screen) show(text []byte) {
	var b struct {
		At, Epoch int64
		Quality   string
		Dims      struct {
			World count
			Team  map[string]count
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.Unmarshal(text, &b); err != nil {
		s.trouble = append(s.trouble, err.Error())
		return
	}
	sum := uint64(0)
	for _, c := range b.Dims.Team {
		sum += c.Sessions
	}
	switch world := b.Dims.World; {
	case b.Epoch < s.epoch, b.Epoch == s.epoch && b.At < s.at:
		s.trouble = append(s.trouble, fmt.Sprintf("from epoch %d at %d back to %d at %d", s.epoch, s.at, b.Epoch, b.At))
	case sum != world.Sessions:
		s.trouble = append(s.trouble, fmt.Sprintf("the teams' sum is %d: %s", sum, text))
	case world.Sessions != s.want || world.Fans != s.want || world.Peak != s.want || world.Reach != s.want:
		s.trouble = append(s.trouble, fmt.Sprintf("not the %d who watch: %s", s.want, text))
	}
	if b.At > s.at && b.Quality != "stale" {
		s.boards++
		s.gap = max(s.gap, time.Since(s.seenAt))
		s.seenAt = time.Now()
	}
	s.epoch, s.at = b.Epoch, b.At
}

func (s *screen) shown() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boards
}

func (s *screen) verdict() (gap time.Duration, trouble []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap, s.trouble
}

// The master that knows the members, the leases and the time is killed under
// load, and with it the boards and tallies of a third of the events.
func TestAMasterOfTheClusterIsKilled(t *testing.T) {
	beside(t) // it mostly waits
	a := openArena(t)
	victim := a.redis.MasterOf("gs:{members}:list")
	worst := a.away(victim.Kill)
	t.Logf("the longest time without a newer board: %v", worst)
	if worst > 5*time.Second {
		t.Errorf("a screen had no newer board for %v, the promise is 5 s", worst)
	}
	// Who comes now is counted: the new master takes records and tallies.
	for _, e := range a.events {
		c, _ := watch(t, a.gateways[0].url, e, "viewer=late&device=late&team=T0")
		keepBeating(t, c)
	}
	a.exactly(a.viewers + 1)
}
