//go:build measure

package main

import (
	"fmt"
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

// How evenly the masters of a cluster share keys and commands, with a crowd of
// 6,000 on one event. The members' slot has some 20 commands a second more,
// whatever the crowd.
func TestMeasureClusterLoad(t *testing.T) {
	cluster := redistest.StartCluster(t)
	m := &meter{t: t, servers: cluster.Nodes}
	args := []string{"simulate", "--event", "final", "--viewers", "6000", "--duration", "10m", "--profile", "flat", "--moves", "0.1"}
	var gateways []*process
	for i := range 4 { // what is one key for each gateway should not all be of one master
		g := startGateway(t, fmt.Sprint("gateway-", i+1), cluster.URL())
		gateways, args = append(gateways, g), append(args, "--target", g.url)
	}
	startAggregator(t, "aggregator", cluster.URL())
	start(t, "crowd", args...)
	eventually(t, 60*time.Second, "the crowd is there", func() error {
		c, err := getCounts(gateways[0].url, "final")
		if err == nil && c.World.Sessions < 5900 {
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
