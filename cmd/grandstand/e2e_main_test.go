package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/redis/redistest"
)

// putEvent configures an event at the gateway.
func putEvent(t *testing.T, url, event, body string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, url+"/v1/events/"+event, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("PUT event answers %s", resp.Status)
	}
}

// fast is an event with the shortest tick and beat there are.
const fast = `{"tick_ms":1000,"beat_ms":5000}`

// ledger notes what each source said the world was at each "at".
type ledger map[string]map[int64][2]uint64

func (l ledger) note(source string, at int64, world [2]uint64) {
	if l[source] == nil {
		l[source] = map[int64][2]uint64{}
	}
	l[source][at] = world
}

// agree fails the test where two sources named another world for one "at", and
// returns how many boards all of them have shown.
func (l ledger) agree(t *testing.T) (common int) {
	t.Helper()
	for at, want := range l["socket"] {
		everywhere := true
		for source, seen := range l {
			got, ok := seen[at]
			everywhere = everywhere && ok
			if ok && got != want {
				t.Errorf("at %d the socket says %v, %s says %v", at, want, source, got)
			}
		}
		if everywhere {
			common++
		}
	}
	return common
}

// A crowd, a stock WebSocket client, Server-Sent Events and REST agree on every
// board, while one gateway of two and one aggregator of two are killed.
func TestEveryoneAgreesWhileOneOfEachIsKilled(t *testing.T) {
	beside(t) // it mostly waits
	redis := redistest.StartServer(t).URL()
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	a1 := startAggregator(t, "aggregator-1", redis)
	startAggregator(t, "aggregator-2", redis)
	putEvent(t, g1.url, "final", fast)

	report := filepath.Join(t.TempDir(), "report.json")
	const crowdTime = 36 * time.Second
	crowd := start(t, "crowd", "simulate", "--target", g1.url, "--target", g2.url, "--event", "final",
		"--viewers", "400", "--join-rate", "100", // a surge is another test's, which has the machine to itself
		"--duration", crowdTime.String(), "--profile", "flat", "--beat", "5s", "--guests", "1", "--json", report)

	_, frames := watch(t, g2.url, "final", "viewer=stock&device=d1&country=US&region=US-CA&team=KC&interval_ms=60000")
	events := sse(t, g2.url+"/v1/events/final/counts/stream")
	seen := ledger{}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	killAt := time.After(12 * time.Second)
	end := time.After(crowdTime - 8*time.Second)
	beforeKill := 0
	for running := true; running; {
		select {
		case b := <-frames:
			var f struct {
				T  string
				At int64
				N  map[string]*[2]uint64
			}
			if err := json.Unmarshal(b, &f); err != nil {
				t.Fatalf("%v in %s", err, b)
			}
			if f.T == "counts" {
				seen.note("socket", f.At, *f.N["world"])
			}
		case b := <-events:
			c, err := parseCounts(b)
			if err != nil {
				t.Fatal(err)
			}
			seen.note("stream", c.At, [2]uint64{c.World.Sessions, c.World.Fans})
		case <-poll.C:
			if c, err := getCounts(g2.url, "final"); err == nil {
				seen.note("counts", c.At, [2]uint64{c.World.Sessions, c.World.Fans})
			}
		case <-killAt:
			beforeKill = seen.agree(t)
			g1.kill()
			a1.kill()
		case <-end:
			running = false
		}
	}
	after := seen.agree(t) - beforeKill
	t.Logf("boards that all three have shown: %d before the kill, %d after", beforeKill, after)
	if beforeKill < 5 || after < 8 {
		t.Errorf("too few boards were seen by all: %d before the kill, %d after", beforeKill, after)
	}
	if code := crowd.wait(crowdTime + 60*time.Second); code != 0 {
		text, _ := os.ReadFile(report)
		t.Errorf("the crowd saw a promise broken (exit code %d):\n%s\n%s", code, tail(crowd.log.String(), 4000), tail(string(text), 4000))
	}
}

// beat sends a beat with the interval.
func beat(ctx context.Context, c *websocket.Conn, seq int) error {
	return c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"t":"beat","seq":%d,"state":"playing","interval_ms":5000}`, seq))
}

// Redis is emptied, then killed, then comes back empty: screens keep the last
// good number, marked stale when it is old, and are right again within two
// beats.
func TestRedisIsLost(t *testing.T) {
	beside(t) // it mostly waits
	server := redistest.StartServer(t)
	g := startGateway(t, "gateway", server.URL())
	startAggregator(t, "aggregator", server.URL())
	putEvent(t, g.url, "final", fast)

	const viewers = 5
	for i := range viewers - 1 {
		c, _ := watch(t, g.url, "final", fmt.Sprintf("viewer=v%d&device=d%d&team=KC", i, i))
		keepBeating(t, c)
	}
	c, frames := watch(t, g.url, "final", "viewer=watcher&device=w&team=KC")
	keepBeating(t, c)

	// next reads frames until one satisfies ok; on the way no number may be
	// anything but the truth.
	next := func(what string, d time.Duration, strict bool, ok func(q string, age int64) bool) {
		t.Helper()
		deadline := time.After(d)
		for {
			select {
			case b := <-frames:
				var f struct {
					T, Q string
					Age  int64
					N    map[string]*[2]uint64
				}
				if err := json.Unmarshal(b, &f); err != nil {
					t.Fatalf("%v in %s", err, b)
				}
				if f.T != "counts" {
					continue
				}
				if w := *f.N["world"]; strict && w != [2]uint64{viewers, viewers} {
					t.Fatalf("%s: the frame shows %v, not the %d who watch: %s", what, w, viewers, b)
				}
				if f.N["world"][0] == viewers && ok(f.Q, f.Age) {
					return
				}
			case <-deadline:
				t.Fatalf("%s: not within %v", what, d)
			}
		}
	}
	live := func(q string, _ int64) bool { return q == "" }
	stale := func(q string, _ int64) bool { return q == "stale" }

	next("at first", 20*time.Second, false, live)

	server.FlushAll()
	putEvent(t, g.url, "other", fast) // the emptied Redis is written to at once
	for range 4 {
		// Numbers do not repeat while nothing moves: a newcomer is shown the
		// newest frame right after hello.
		probe(t, g.url, viewers)
	}

	before := residentKB(t, g)
	server.Kill()
	next("while Redis is dead", 15*time.Second, true, stale)
	next("still dead", 15*time.Second, true, func(q string, age int64) bool { return q == "stale" && age > 4000 })
	server.Restart()
	next("fresh within two beats of its return", 10*time.Second, true, func(q string, age int64) bool { return q != "stale" && age < 2000 })
	// Boards say partial until 12 s after the loss was noticed: gateways have to
	// agree again on whose a session is.
	next("and live in the end", 15*time.Second, true, live)
	if after := residentKB(t, g); after > before+32<<10 {
		t.Errorf("the gateway grew from %d to %d kB while Redis was away", before, after)
	}
}

// keepBeating sends beats until the test ends.
func keepBeating(t *testing.T, c *websocket.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for seq := 1; ; seq++ {
			if beat(ctx, c, seq) != nil {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// probe reads the public counts and fails unless the world has the sessions.
func probe(t *testing.T, url string, sessions uint64) {
	t.Helper()
	before := int64(0)
	eventually(t, 10*time.Second, "a newer board", func() error {
		c, err := getCounts(url, "final")
		if err != nil {
			return err
		}
		if c.World.Sessions != sessions {
			t.Fatalf("counts say %d, not the %d who watch (%s)", c.World.Sessions, sessions, c.Quality)
		}
		if before == 0 {
			before = c.At
		}
		if c.At == before {
			return fmt.Errorf("still the board of %d (%s)", c.At, c.Quality)
		}
		return nil
	})
}
