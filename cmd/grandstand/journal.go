package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
	"grandstand/archiver"
	"grandstand/gateway"
	"grandstand/gateway/journal"
)

// journalling are the settings of a gateway's journal.
type journalling struct {
	Journal    string        `help:"Directory of the journal of raw events, or off. Default: off; for all: journal, beside the archive. Without one nothing is archived and nothing acknowledged." placeholder:"DIR"`
	JournalAge time.Duration `help:"Age at which a file of the journal is sealed and can be archived." default:"1m"`
	Peer       string        `help:"host:port at which other members reach this one: archivers fetch the journal there, gateways the boards. Never public." placeholder:"ADDRESS"`
	PeerAs     string        `help:"host:port that other members are told instead of --peer: of a port that is mapped, or of a proxy. Default: that of --peer." placeholder:"ADDRESS"`
	SealOver   time.Duration `help:"Time for which a stopping gateway waits for its journal to be archived." default:"20s"`
	peering
}

// peering are what members know each other by.
type peering struct {
	PeerCert string `help:"Certificate of this member, in PEM, for mutual TLS between members: all of them have one, or none. It has the DNS name peer.grandstand, for servers and clients, and is read again when it changes." placeholder:"FILE"`
	PeerKey  string `help:"Its key, in PEM." placeholder:"FILE"`
	PeerCA   string `help:"Authorities of the members' certificates, in PEM." name:"peer-ca" placeholder:"FILE"`
}

const journalOff = "off"

// gatewayJournal is the journal of this process's gateway, or of its blocker.
// Journal and gateway know each other: the one takes events, the other learns
// that they are durable.
type gatewayJournal struct {
	journalling
	optional bool                            // go on without one if another process has it
	journal  atomic.Pointer[journal.Journal] // nil: there is none
	gateway  atomic.Pointer[gateway.Gateway] // nil: it is not there yet
	peer     string                          // what members are told; "": nothing
	peers    *http.ServeMux                  // what --peer serves, beside the journal the feed of boards; nil: nothing
}

// open opens and runs the journal, unless there is to be none, and serves it.
// Whoever archives it in this process must have been added before, and so
// outlives it: a stopping journal seals its last file and waits until that is
// archived, within SealOver.
func (w *gatewayJournal) open(n *node, gatewayID string) error {
	if err := n.usePeering(&w.peering); err != nil {
		return err
	}
	if w.Journal == "" || w.Journal == journalOff {
		n.log.Info("no journal: raw events are not archived, and nothing is acknowledged")
		return w.serve(n)
	}
	j, err := journal.Open(journal.Config{
		Dir: w.Journal, Gateway: gatewayID, Clock: n.redis, MaxAge: w.JournalAge, Committed: w.committed,
		Tracer: n.tracer, Violated: n.violated, Logger: n.log.With("part", "journal"), Registerer: n.registry,
	})
	if grandstand.CodeOf(err) == grandstand.CodeConflict && w.optional {
		n.log.Warn("the journal is in use by another process: this one archives nothing", "dir", w.Journal)
		return w.serve(n)
	}
	if grandstand.CodeOf(err) == grandstand.CodeConflict {
		return wrongUsef("--journal %s is in use by another process: every gateway needs its own directory", w.Journal)
	}
	if err != nil {
		return fmt.Errorf("--journal: %w", err)
	}
	w.journal.Store(j)
	n.onStop("journal's directory", 0, func(context.Context) error { return j.Close() })
	n.run("journal", j.Run)
	n.reports(j.Describe)
	if err := w.serve(n); err != nil {
		return err
	}
	n.onStop("journal's files", w.SealOver, func(ctx context.Context) error { return w.seal(ctx, n) })
	return nil
}

// committed passes the journal's word on to the gateway.
func (w *gatewayJournal) committed() {
	if g := w.gateway.Load(); g != nil {
		g.Committed()
	}
}

// forGateway returns the journal as the gateway takes it: nil if there is none.
func (w *gatewayJournal) forGateway() gateway.Journal {
	if j := w.journal.Load(); j != nil {
		return j
	}
	return nil
}

// keep writes an event that nobody waits for, if there is a journal.
func (w *gatewayJournal) keep(e *grandstand.RawEvent) {
	if j := w.journal.Load(); j != nil {
		_ = j.Append(e, nil) // it counts what it refuses
	}
}

// sources is the journal for an archiver in this process.
func (w *gatewayJournal) sources() []archiver.Source {
	if j := w.journal.Load(); j != nil {
		return []archiver.Source{localSource{j}}
	}
	return nil
}

// seal waits until all is archived, and says what is left.
func (w *gatewayJournal) seal(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, w.SealOver)
	var found sync.WaitGroup
	defer func() {
		cancel()
		found.Wait() // it uses Redis, which is closed next
	}()
	if w.peer != "" {
		found.Go(func() { w.beFound(ctx, n, grandstand.RoleJournal) })
	}
	left, err := w.journal.Load().Seal(ctx)
	if len(left) == 0 {
		return err
	}
	n.log.Warn("the journal is not archived yet: its directory waits for the next gateway, or for archiver --adopt",
		"dir", w.Journal, "files", len(left))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // it is said, and nothing is lost
	}
	return err
}

// beFound keeps the journal listed among the members until ctx ends: its gateway
// has resigned, or there is none.
func (w *gatewayJournal) beFound(ctx context.Context, n *node, role grandstand.Role) {
	m := grandstand.Member{ID: string(role[:1]) + randomText(8), Role: role, Peer: w.peer}
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for {
		m.Status = n.status()
		call, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := n.redis.Renew(call, m); err != nil && ctx.Err() == nil {
			n.log.Warn("renew lease", "role", role, "error", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			return // the lease lapses, and archivers forget the address
		case <-tick.C:
		}
	}
}

// serve serves --peer.
func (w *gatewayJournal) serve(n *node) error {
	if w.Peer == "" {
		return nil
	}
	w.peers = http.NewServeMux()
	if j := w.journal.Load(); j != nil {
		w.peers.Handle("/v1/journal/", j.Handler(n.secret))
	}
	addr, err := n.serve(n.peersEndpoint(w.Peer, w.peers))
	if err != nil {
		return fmt.Errorf("--peer: %w", err)
	}
	if w.peer = w.PeerAs; w.peer == "" {
		w.peer, err = advertised(w.Peer, addr)
	} else if _, _, e := net.SplitHostPort(w.peer); e != nil {
		err = wrongUsef("--peer-as %q: %w", w.peer, e)
	}
	return err
}

// advertised returns how others reach a listener: by the host that was asked
// for, by this machine's name if that was every address.
func advertised(asked string, addr net.Addr) (string, error) {
	host, _, err := net.SplitHostPort(asked)
	if err != nil {
		return "", wrongUsef("--peer %q: %w", asked, err)
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "", fmt.Errorf("--peer: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("--peer: %w", err)
		}
	}
	return net.JoinHostPort(host, port), nil
}

// localSource is the journal of this process, for an archiver in it.
type localSource struct{ *journal.Journal }

func (s localSource) Files(context.Context) ([]archiver.JournalFile, error) {
	return s.Journal.Files(), nil
}

func (s localSource) Open(_ context.Context, f archiver.JournalFile) (io.ReadCloser, error) {
	return s.Journal.Open(f)
}

func (s localSource) Delete(_ context.Context, f archiver.JournalFile) error {
	return s.Journal.Delete(f)
}

// besideArchive returns the journal's directory of a process that archives
// itself: beside the archive if that is a directory.
func besideArchive(archive string) string {
	if dir, ok := cutFile(archive); ok {
		return filepath.Join(filepath.Dir(filepath.Clean(dir)), "journal")
	}
	return filepath.Join("data", "journal")
}
