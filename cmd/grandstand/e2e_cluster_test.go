package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/redis/redistest"
)

// session returns the id that hello names.
func session(t *testing.T, messages <-chan []byte) string {
	t.Helper()
	select {
	case b := <-messages:
		var hello struct{ T, Session string }
		if err := json.Unmarshal(b, &hello); err != nil || hello.T != "hello" || hello.Session == "" {
			t.Fatalf("the first message is %s", b)
		}
		return hello.Session
	case <-time.After(10 * time.Second):
		t.Fatal("there is no hello")
		return ""
	}
}

// The whole path on a Redis Cluster of three masters: viewers on two gateways,
// moves between them, and a crowd that knows the truth.
func TestOnARedisCluster(t *testing.T) {
	beside(t) // it mostly waits
	redis := redistest.StartCluster(t).URL()
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	startAggregator(t, "aggregator", redis)
	// Events fall into slots of their own, and their shards into others.
	events := []string{"final", "semi", "quarter", "eighth", "opening"}
	for _, e := range events {
		putEvent(t, g1.url, e, fast)
	}
	// exactly waits until both gateways count n sessions of an event, all fans.
	exactly := func(event string, n uint64, teams string) {
		t.Helper()
		for _, g := range []*process{g1, g2} {
			eventually(t, 20*time.Second, fmt.Sprintf("%s counts %d of %s", g.name, n, event), func() error {
				c, err := getCounts(g.url, event)
				if err != nil {
					return err
				}
				got := strings.ReplaceAll(string(c.Dims["team"]), `"`, "")
				if c.World.Sessions != n || c.World.Fans != n || c.Quality != "live" || teams != "" && !strings.Contains(got, teams) {
					return fmt.Errorf("%+v %s %s", c.World, c.Quality, got)
				}
				return nil
			})
		}
	}

	const viewers = 6
	sockets := map[string][]*websocket.Conn{}
	sessions := map[string][]string{}
	query := func(i int) string { return fmt.Sprintf("viewer=v%d&device=d%d&team=T%d", i, i, i%2) }
	for _, e := range events {
		for i := range viewers {
			g := g1
			if i >= viewers/2 {
				g = g2
			}
			c, messages := watch(t, g.url, e, query(i))
			keepBeating(t, c)
			sockets[e], sessions[e] = append(sockets[e], c), append(sessions[e], session(t, messages))
		}
	}
	for _, e := range events {
		exactly(e, viewers, "T0:{sessions:3,fans:3")
	}

	// All viewers of the first gateway resume on the second; the old sockets
	// dangle for a while, then break.
	for _, e := range events {
		for i := range viewers / 2 {
			c, messages := watch(t, g2.url, e, query(i)+"&session="+sessions[e][i])
			keepBeating(t, c)
			if id := session(t, messages); id != sessions[e][i] {
				t.Errorf("%s: viewer %d resumed %s as %s", e, i, sessions[e][i], id)
			}
		}
	}
	for _, e := range events {
		first := int64(0)
		eventually(t, 20*time.Second, "three boards of "+e, func() error {
			c, err := getCounts(g2.url, e)
			if err != nil || c.World.Sessions > viewers || c.World.Peak > viewers {
				t.Fatalf("%s counts %+v (%v) while %d watch", e, c, err, viewers)
			}
			if first == 0 {
				first = c.At
			}
			if c.At < first+3000 {
				return errNotYet
			}
			return nil
		})
	}
	for _, e := range events {
		for i := range viewers / 2 {
			sockets[e][i].CloseNow()
		}
	}
	for _, e := range events {
		exactly(e, viewers, "T1:{sessions:3,fans:3")
	}

	report := filepath.Join(t.TempDir(), "report.json")
	crowd := start(t, "crowd", "simulate", "--target", g1.url, "--target", g2.url, "--event", "crowd", "--viewers", "200",
		"--duration", "20s", "--profile", "flat", "--beat", "5s", "--moves", "0.5", "--json", report)
	if code := crowd.wait(90 * time.Second); code != 0 {
		text, _ := os.ReadFile(report)
		t.Errorf("the crowd saw a promise broken (exit code %d):\n%s\n%s", code, tail(crowd.log.String(), 4000), tail(string(text), 3000))
	}
	for _, e := range events {
		exactly(e, viewers, "")
	}
}
