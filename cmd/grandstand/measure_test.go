//go:build measure

// The figures of docs/measured.md. They need a quiet machine and no race
// detector, so `make measure` runs them and `make test` does not.

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"grandstand/redis/redistest"
	"grandstand/simulator"
)

// crowdReport runs simulate and returns what it reports.
func crowdReport(t *testing.T, bound time.Duration, args ...string) *simulator.Report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	p := start(t, "crowd", append([]string{"simulate", "--event", "final", "--json", file}, args...)...)
	code := p.wait(bound)
	t.Logf("\n%s", p.log)
	if code != 0 {
		t.Errorf("the crowd saw a promise broken: exit code %d", code)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := new(simulator.Report)
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Freshness at T = 2 s with 5,000 viewers on two gateways.
func TestMeasureFreshness(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	r := crowdReport(t, 4*time.Minute, "--target", g1.url, "--target", g2.url, "--viewers", "5000", "--join-rate", "500",
		"--profile", "flat", "--duration", "90s", "--silent", "0.1")
	for name, q := range map[string]simulator.Quantiles{"join": r.JoinSeen, "goodbye": r.LeaveSeen} {
		if q.N < 50 || q.P50 > 1.5 || q.P99 > 2.6 {
			t.Errorf("%s → seen by others: p50 %.2f s, p99 %.2f s of %d; the aim is 1.5 and 2.6", name, q.P50, q.P99, q.N)
		}
	}
	if limit := 25 + 2.6; r.SilentGap.Max > limit {
		t.Errorf("a silent leave was seen after %.1f s, the limit is %.1f", r.SilentGap.Max, limit)
	}
	memory(t, g1, g2)
}

// Ten thousand viewers of a match, from one process, on one gateway.
func TestMeasureMatch(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	g := startGateway(t, "gateway", redis)
	crowdReport(t, 6*time.Minute, "--target", g.url, "--viewers", "10000", "--profile", "match", "--duration", "3m", "--join-rate", "1000", "--moves", "0.05")
	memory(t, g)
}

// memory logs what each process takes.
func memory(t *testing.T, list ...*process) {
	t.Helper()
	for _, p := range list {
		t.Logf("%s takes %d kB", p.name, residentKB(t, p))
	}
}

// GET counts from memory: 2,000 requests a second on one core.
func TestMeasureCounts(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	t.Setenv("GOMAXPROCS", "1")
	g := startGateway(t, "gateway", redis)
	os.Unsetenv("GOMAXPROCS")
	crowd := start(t, "crowd", "simulate", "--event", "final", "--target", g.url, "--viewers", "200", "--profile", "flat", "--duration", "60s", "--shared")
	eventually(t, 30*time.Second, "the crowd is there", func() error {
		c, err := getCounts(g.url, "final")
		if err == nil && c.World.Sessions < 190 {
			err = errNotYet
		}
		return err
	})

	// Its sessions linger for 25 s: the same numbers, and both cores for us.
	crowd.kill()

	const rate, seconds, workers = 2000, 15, 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	due := make(chan time.Time, rate*seconds)
	begin := time.Now().Add(100 * time.Millisecond)
	for i := range rate * seconds {
		due <- begin.Add(time.Duration(i) * time.Second / rate)
	}
	close(due)
	var mu sync.Mutex
	var took []time.Duration
	var size int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for at := range due {
				<-time.After(time.Until(at)) // open loop: a late request counts its lateness
				from := time.Now()
				req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, g.url+"/v1/events/final/counts", nil)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				d := time.Since(from)
				mu.Lock()
				took, size = append(took, d), n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	elapsed := time.Since(begin).Seconds()
	t.Logf("GET counts: %d requests of %d bytes at %.0f/s: p50 %v, p99 %v, max %v", len(took), size, float64(len(took))/elapsed,
		took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	if p99 := took[len(took)*99/100]; p99 > 2*time.Millisecond {
		t.Errorf("p99 is %v, the aim is 2 ms", p99)
	}
	if got := float64(len(took)) / elapsed; got < rate*0.98 {
		t.Errorf("only %.0f requests a second were made", got)
	}
}

// The picture of the README: the demo after half a minute of a match.
func TestMeasurePicture(t *testing.T) {
	addr := freeAddr(t)
	start(t, "demo", "demo", "--listen", addr, "--admin", "", "--archive", "file:"+archiveOf(t)).ready(addr)
	tab := fan(t, chromium(t), "http://"+addr, "team=KC&region=US-CA&country=US&viewer=you")
	eventually(t, 50*time.Second, "the crowd has come", func() error {
		n, err := chromedp.Run(tab, chromedp.Evaluate[string](`document.querySelector('[data-count="world"]').dataset.sessions ?? "0"`))
		if sessions, _ := strconv.Atoi(n); err == nil && sessions < 1100 {
			err = errNotYet
		}
		return err
	})
	screenshot(t, tab, "demo.png")
}
