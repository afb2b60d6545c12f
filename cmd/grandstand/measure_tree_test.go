//go:build measure

package main

import (
	"syscall"
	"testing"
	"time"
)

// Thirteen gateways with a fanout of 3, so five relays: one is killed, one stands
// still with its connections open, and two more are killed.
func TestMeasureTree(t *testing.T) {
	_, list := tree(t, 13)
	for i, g := range list {
		g.atDepth(t, min(i/5, 1))
	}
	stop := func() { list[3].signal(syscall.SIGSTOP) }
	defer func() { list[3].signal(syscall.SIGCONT) }()
	var worst time.Duration
	for _, w := range watchWhile(t, list[4:], 8*time.Second, list[0].kill, stop, list[1].kill, list[2].kill) {
		w.judge(t, time.Second)
		worst = max(worst, w.gap)
	}
	t.Logf("the longest any viewer was without a new board: %v at ticks of 1 s", worst.Round(time.Millisecond))
	for _, g := range list[5:] {
		read := scrape(t, g.admin)
		hops := read("grandstand_fanout_hop_seconds_count")
		t.Logf("%s: depth %v, %v children, %.2f ms a hop, %v bytes received; switches: lost %v, silent %v, behind %v, moved %v", g.name,
			read("grandstand_fanout_depth"), read("grandstand_fanout_children"),
			1000*read("grandstand_fanout_hop_seconds_sum")/hops, read("grandstand_fanout_feed_received_bytes_total"),
			read("grandstand_fanout_switches_total", `"lost"`), read("grandstand_fanout_switches_total", `"silent"`),
			read("grandstand_fanout_switches_total", `"behind"`), read("grandstand_fanout_switches_total", `"moved"`))
	}
}
