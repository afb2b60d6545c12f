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

// Cluster is three masters that share the slots, and their replicas if it has
// any.
type Cluster struct {
	tb    testing.TB
	Nodes []*Server // the masters, then a replica of each in their order
}

// StartCluster starts three masters and joins them. They are killed when the
// test ends.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	return startCluster(tb, 2*time.Second, false)
}

// StartReplicatedCluster starts three masters with a replica each, which takes
// over when its master has not been heard of for a second. The slots of the
// others are served meanwhile.
func StartReplicatedCluster(tb testing.TB) *Cluster {
	tb.Helper()
	return startCluster(tb, time.Second, true)
}

func startCluster(tb testing.TB, nodeTimeout time.Duration, replicated bool) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	nodes := masters
	if replicated {
		nodes *= 2
	}
	for i := range nodes {
		s := start(tb, nodeTimeout)
		c.Nodes = append(c.Nodes, s)
		// Without epochs of their own the nodes settle conflicts first.
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		if i < masters {
			s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/masters), strconv.Itoa((i+1)*slots/masters-1))
		}
	}
	for _, s := range c.Nodes[1:] {
		s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(c.Nodes[0].port), strconv.Itoa(c.Nodes[0].bus))
	}
	c.await("the nodes to join", func() bool { return c.say("cluster_known_nodes:" + strconv.Itoa(nodes)) })
	for i, s := range c.Nodes[masters:] {
		s.Do("CLUSTER", "REPLICATE", c.Nodes[i].Do("CLUSTER", "MYID"))
	}
	c.await("the slots to be served", func() bool { return c.say("cluster_state:ok") && c.say("cluster_slots_ok:"+strconv.Itoa(slots)) })
	c.await("the replicas to be in step", func() bool {
		for _, s := range c.Nodes[masters:] {
			if !strings.Contains(s.Do("INFO", "replication"), "master_link_status:up") {
				return false
			}
		}
		return true
	})
	return c
}

func (c *Cluster) await(what string, ok func() bool) {
	c.tb.Helper()
	for deadline := time.Now().Add(joinDeadline); !ok(); time.Sleep(poll) {
		if time.Now().After(deadline) {
			c.tb.Fatalf("start redis cluster: waited %v for %s:\n%s", joinDeadline, what, c.Nodes[0].Do("CLUSTER", "NODES"))
		}
	}
}

// say reports whether CLUSTER INFO of every node holds the line.
func (c *Cluster) say(line string) bool {
	for _, s := range c.Nodes {
		if !strings.Contains(s.Do("CLUSTER", "INFO"), line+"\r\n") {
			return false
		}
	}
	return true
}

// Masters returns the nodes that serve slots now, as the first node that runs
// sees it.
func (c *Cluster) Masters() []*Server {
	c.tb.Helper()
	var list []*Server
	c.eachMaster(func(s *Server, _ []string) { list = append(list, s) })
	return list
}

// MasterOf returns the node that serves the key now, nil if none does.
func (c *Cluster) MasterOf(key string) (owner *Server) {
	c.tb.Helper()
	slot, _ := strconv.Atoi(c.running().Do("CLUSTER", "KEYSLOT", key))
	c.eachMaster(func(s *Server, ranges []string) {
		for _, r := range ranges {
			lo, hi, isRange := strings.Cut(r, "-")
			from, _ := strconv.Atoi(lo)
			to := from
			if isRange {
				to, _ = strconv.Atoi(hi)
			}
			if from <= slot && slot <= to {
				owner = s
			}
		}
	})
	return owner
}

// eachMaster calls f with the masters that have slots and are not known to have
// failed. A line of CLUSTER NODES is: id, address@bus, flags, master, ping, pong,
// epoch, link, slots.
func (c *Cluster) eachMaster(f func(s *Server, ranges []string)) {
	for line := range strings.Lines(c.running().Do("CLUSTER", "NODES")) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.Contains(fields[2], "master") || strings.Contains(fields[2], "fail") {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		for _, s := range c.Nodes {
			if s.Addr() == addr {
				f(s, fields[8:])
			}
		}
	}
}

// running returns a node that runs.
func (c *Cluster) running() *Server {
	for _, s := range c.Nodes {
		if s.running() {
			return s
		}
	}
	c.tb.Fatal("redis cluster: no node runs")
	return nil
}

// URL returns the address of all nodes for redis.Config.
func (c *Cluster) URL() string {
	addrs := make([]string, len(c.Nodes))
	for i, s := range c.Nodes {
		addrs[i] = s.Addr()
	}
	return "redis://" + strings.Join(addrs, ",")
}

// FlushAll deletes everything on all masters.
func (c *Cluster) FlushAll() {
	c.tb.Helper()
	for _, s := range c.Masters() {
		s.FlushAll()
	}
}
