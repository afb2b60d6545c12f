package redistest

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	masters      = 3
	slots        = 16384
	joinDeadline = 30 * time.Second
)

// Cluster is three masters that share the slots.
type Cluster struct {
	tb    testing.TB
	Nodes []*Server
}

// StartCluster starts three servers and joins them. They are killed when the
// test ends.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	for i := range masters {
		s := start(tb, true)
		c.Nodes = append(c.Nodes, s)
		// Without epochs of their own the nodes settle conflicts first.
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/masters), strconv.Itoa((i+1)*slots/masters-1))
	}
	for _, s := range c.Nodes[1:] {
		s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].port), strconv.Itoa(c.Nodes[0].bus))
	}
	deadline := time.Now().Add(joinDeadline)
	for !c.joined() {
		if time.Now().After(deadline) {
			tb.Fatalf("start redis cluster: the nodes did not join within %v:\n%s", joinDeadline, c.Nodes[0].Do("CLUSTER", "NODES"))
		}
		time.Sleep(poll)
	}
	return c
}

// joined reports whether every node knows all slots and finds them served.
func (c *Cluster) joined() bool {
	for _, s := range c.Nodes {
		info := s.Do("CLUSTER", "INFO")
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(masters)) {
			return false
		}
	}
	return true
}

// URL returns the address of all nodes for redis.Config.
func (c *Cluster) URL() string {
	addrs := make([]string, len(c.Nodes))
	for i, s := range c.Nodes {
		addrs[i] = s.Addr()
	}
	return "redis://" + strings.Join(addrs, ",")
}

// FlushAll deletes everything on all nodes.
func (c *Cluster) FlushAll() {
	c.tb.Helper()
	for _, s := range c.Nodes {
		s.FlushAll()
	}
}
