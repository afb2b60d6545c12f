//go:build measure

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// How long screens have no newer board when a master is killed, and when it hangs
// with its connections open. Each comes back as a replica, and the next is struck.
func TestMeasureFailover(t *testing.T) {
	a := openArena(t)
	for round, tag := range []string{"members", "members", "b1", "b1", "b2", "b2"} { // of each third of the slots
		hang := round%2 == 1
		victim := a.redis.MasterOf("{" + tag + "}")
		strike, heal := victim.Kill, victim.Restart
		if hang {
			strike, heal = victim.Stop, victim.Cont
		}
		worst := a.away(strike)
		t.Logf("hangs %v, the master of {%s}: %v without a newer board", hang, tag, worst.Round(10*time.Millisecond))
		if worst > 5*time.Second {
			t.Errorf("a screen had no newer board for %v, the promise is 5 s", worst)
		}
		heal()
		eventually(t, 20*time.Second, "it follows", func() error { return following(victim) })
		a.exactly(a.viewers)
	}
}

// following returns nil if the node is a replica in step with its master.
func following(s *redistest.Server) error {
	if !strings.Contains(s.Do("INFO", "replication"), "master_link_status:up") {
		return errNotYet
	}
	return nil
}

// How evenly the masters of a cluster share keys and commands, with a crowd on one
// event, and with one on many.
func TestMeasureClusterLoad(t *testing.T) {
	cluster := redistest.StartCluster(t)
	m := &meter{t: t, servers: cluster.Nodes}
	g1, g2 := startGateway(t, "gateway-1", cluster.URL()), startGateway(t, "gateway-2", cluster.URL())
	startAggregator(t, "aggregator", cluster.URL())
	start(t, "crowd", "simulate", "--target", g1.url, "--target", g2.url, "--event", "final", "--viewers", "3000",
		"--duration", "10m", "--profile", "flat", "--moves", "0.1")
	eventually(t, 60*time.Second, "the crowd is there", func() error {
		c, err := getCounts(g1.url, "final")
		if err == nil && c.World.Sessions < 2900 {
			err = errNotYet
		}
		return err
	})
	<-time.After(10 * time.Second)
	a := m.read()
	<-time.After(45 * time.Second)
	b := m.read()
	var load []float64
	for i := range b.byServer {
		load = append(load, b.byServer[i]-a.byServer[i])
		t.Logf("carried out a second by master %d: %s", i+1, perSecond(a.calls[i], b.calls[i], b.at.Sub(a.at).Seconds()))
	}
	even(t, "keys", b.keys)
	even(t, "commands", load)
}

// even fails the test if a share is more than 15 % off the mean.
func even(t *testing.T, what string, shares []float64) {
	sum, worst := 0.0, 0.0
	for _, s := range shares {
		sum += s
	}
	mean := sum / float64(len(shares))
	for _, s := range shares {
		worst = max(worst, math.Abs(s/mean-1))
	}
	t.Logf("%s: %.0f, the worst %.1f %% off the mean", what, shares, 100*worst)
	if worst > 0.15 {
		t.Errorf("a master has a share of the %s that is %.0f %% off the mean", what, 100*worst)
	}
}
