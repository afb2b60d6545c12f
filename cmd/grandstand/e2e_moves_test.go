package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// Three thousand sessions on three gateways change networks at 24 % a minute,
// one gateway is killed and one is drained: the crowd, which knows the truth,
// sees sessions never above it and at most 1 % below, fans within the error of
// the sketch, and the peak never above the true one.
func TestMovesAreNeverCountedTwice(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	g1 := startGateway(t, "gateway-1", redis, "--drain-over", "6s")
	g2 := startGateway(t, "gateway-2", redis, "--drain-over", "6s")
	g3 := startGateway(t, "gateway-3", redis, "--drain-over", "6s")
	putEvent(t, g1.url, "final", `{"tick_ms":2000,"beat_ms":5000}`)

	const crowdTime = 50 * time.Second
	report := filepath.Join(t.TempDir(), "report.json")
	crowd := start(t, "crowd", "simulate", "--target", g1.url, "--target", g2.url, "--target", g3.url, "--event", "final",
		"--viewers", "3000", "--join-rate", "400", "--duration", crowdTime.String(), "--profile", "flat", "--beat", "5s",
		"--moves", "0.24", "--json", report)

	eventually(t, 30*time.Second, "the whole crowd is there", func() error {
		c, err := getCounts(g3.url, "final")
		if err == nil && c.World.Sessions < 2900 {
			err = errNotYet
		}
		return err
	})
	g1.kill()
	eventually(t, 15*time.Second, "boards are partial after the kill", func() error { return quality(g3.url, "partial") })
	eventually(t, 30*time.Second, "boards are live again after the kill", func() error { return quality(g3.url, "live") })
	g2.signal(syscall.SIGTERM)
	if code := g2.wait(30 * time.Second); code != 0 {
		t.Errorf("the drained gateway ended with code %d", code)
	}
	if code := crowd.wait(crowdTime + 60*time.Second); code != 0 {
		text, _ := os.ReadFile(report)
		t.Errorf("the crowd saw a promise broken (exit code %d):\n%s\n%s", code, tail(crowd.log.String(), 5000), tail(string(text), 3000))
	}
	t.Logf("the crowd's report:\n%s", crowd.log)
}
