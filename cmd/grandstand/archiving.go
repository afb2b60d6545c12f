package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"grandstand"
	"grandstand/archiver"
)

// archiving are the settings of an archiver.
type archiving struct {
	Workers int    `help:"Files in work at the same time; each takes up to 240 MB. Default: 2, on one core 1."`
	Temp    string `help:"Directory of objects before they are uploaded. Default: the system's." placeholder:"DIR"`
}

type archiverCmd struct {
	common
	archiving
	peering
	Adopt []string `help:"Directories of journals that gateways left behind; they are locked while they are worked on." placeholder:"DIR"`
	Once  bool     `help:"Archive what there is now, then end."`
}

// Run archives the journals of all gateways, and those left in directories.
func (c *archiverCmd) Run(ctx context.Context, f *file) error {
	if c.Redis == "" && len(c.Adopt) == 0 {
		return wrongUsef("archiver needs --redis, to find the gateways, or --adopt")
	}
	if c.Redis == "" {
		c.Once = true // there is nothing to wait for
	}
	if err := thisMachine.check(c.logger(), exposed{common: &c.common}); err != nil {
		return err
	}
	n, err := newNode(ctx, &c.common, f)
	if err != nil {
		return err
	}
	err = func() error {
		if err := n.usePeering(&c.peering); err != nil {
			return err
		}
		var left []archiver.Source
		for _, dir := range c.Adopt {
			d := archiver.AdoptDir(dir, n.redis.Now)
			n.onStop("adopted journal", 0, func(context.Context) error { return d.Close() })
			left = append(left, d)
		}
		m := &membership{n: n, id: randomText(8), peers: archiver.NewPeers(n.secret, "http", n.peerClient()), gateways: map[string]time.Time{}}
		if c.Once {
			m.renew(ctx)
			return n.archiveOnce(ctx, &c.archiving, func() []archiver.Source { return append(m.sources(), left...) })
		}
		n.run("archiver's lease", m.run)
		return n.addArchiver(&c.archiving, func() []archiver.Source { return append(m.sources(), left...) }, m.mine)
	}()
	if err != nil || c.Once {
		return n.orStopAlways(err)
	}
	return n.wait(ctx)
}

// addArchiver runs the role that moves journals into the archive.
func (n *node) addArchiver(s *archiving, sources func() []archiver.Source, mine func(archiver.JournalFile) bool) error {
	a, err := n.newArchiver(s, sources, mine)
	if err != nil {
		return err
	}
	n.run("archiver", a.Run)
	n.reports(a.Describe)
	c, err := archiver.NewCompactor(archiver.CompactorConfig{
		Store: n.archive, Temp: s.Temp, Logger: n.log.With("role", "archiver"), Registerer: n.registry,
	})
	if err != nil {
		return fmt.Errorf("archiver: %w", err)
	}
	n.run("compaction", c.Run)
	return nil
}

func (n *node) newArchiver(s *archiving, sources func() []archiver.Source, mine func(archiver.JournalFile) bool) (*archiver.Archiver, error) {
	a, err := archiver.New(archiver.Config{
		Store: n.archive, Sources: sources, Mine: mine, Workers: s.Workers, Temp: s.Temp,
		Tracer: n.tracer, Logger: n.log.With("role", "archiver"), Registerer: n.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("archiver: %w", err)
	}
	return a, nil
}

func (n *node) archiveOnce(ctx context.Context, s *archiving, sources func() []archiver.Source) error {
	a, err := n.newArchiver(s, sources, nil)
	if err != nil {
		return err
	}
	return a.Once(ctx)
}

// orStopAlways stops what has started and returns err, or what went wrong then.
func (n *node) orStopAlways(err error) error {
	if err != nil {
		return n.orStop(err)
	}
	return n.stop()
}

// membership is the archiver's lease among the members, by which it knows the
// gateways and shares the files with other archivers.
type membership struct {
	n     *node
	id    string
	peers *archiver.Peers

	mu        sync.Mutex
	gateways  map[string]time.Time // guarded by mu; when each address was listed last
	archivers []string             // guarded by mu; ids, this one's among them
}

// goneFor is for how long a gateway that is no longer listed is still asked for
// files: one that stops has resigned, and waits for its last file to be archived.
const goneFor = 2 * time.Minute

const memberEvery = 1500 * time.Millisecond // leases last 5 s

// run renews the lease until ctx ends.
func (m *membership) run(ctx context.Context) error {
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for {
		m.renew(ctx)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return m.n.redis.Resign(last, m.id)
		case <-tick.C:
		}
	}
}

func (m *membership) renew(ctx context.Context) {
	call, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ms, err := m.n.redis.Renew(call, grandstand.Member{ID: m.id, Role: grandstand.RoleArchiver, Status: m.n.status()})
	if err != nil {
		if ctx.Err() == nil {
			m.n.log.Warn("renew lease", "role", "archiver", "error", err)
		}
		return // who was there before is archived on
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.archivers = m.archivers[:0]
	for _, o := range ms.Members {
		switch {
		case o.Peer != "":
			m.gateways[o.Peer] = now // the dead too: it may only have lost Redis
		case o.Role == grandstand.RoleArchiver && o.Alive:
			m.archivers = append(m.archivers, o.ID)
		}
	}
	maps.DeleteFunc(m.gateways, func(_ string, listed time.Time) bool { return now.Sub(listed) > goneFor })
}

func (m *membership) sources() []archiver.Source {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers.Sources(slices.Sorted(maps.Keys(m.gateways)))
}

// mine reports whether the file is this archiver's share.
func (m *membership) mine(f archiver.JournalFile) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	owner := archiver.Owner(f, m.archivers)
	return owner == m.id || owner == ""
}

func cutFile(archive string) (string, bool) { return strings.CutPrefix(archive, "file:") }
