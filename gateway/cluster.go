package gateway

import (
	"context"
	"net/http"
	"sync"

	"grandstand"
)

// clusterFreshMS is for how long an answer of Redis about the members is passed
// on, however many operators look.
const clusterFreshMS = 1000

// memberList is what was read of the members last. It may be used at the same
// time.
type memberList struct {
	mu  sync.Mutex
	at  int64
	all []grandstand.Member
}

// clusterView is the answer to GET /v1/cluster.
type clusterView struct {
	Now     int64               `json:"now"`     // Redis ms
	Members []grandstand.Member `json:"members"` // oldest first
}

// getCluster answers GET /v1/cluster: the members, and what each says of itself.
func (g *Gateway) getCluster(w http.ResponseWriter, r *http.Request) {
	v, err := g.clusterView(r)
	if err != nil {
		g.fail(w, "cluster", err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, v)
}

func (g *Gateway) clusterView(r *http.Request) (*clusterView, error) {
	if _, open := g.cfg.Auth.(*AuthNone); !open {
		if err := g.cfg.Auth.Admin(r); err != nil {
			return nil, err
		}
	}
	if g.cfg.Cluster == nil {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "this gateway does not know the members")
	}
	all, err := g.members.read(r.Context(), g)
	if err != nil {
		return nil, unavailable(err)
	}
	return &clusterView{Now: g.cfg.Clock.Now(), Members: all}, nil
}

// read returns the members as they are now, or were a moment ago. Whoever comes
// while they are read waits for that.
func (l *memberList) read(ctx context.Context, g *Gateway) ([]grandstand.Member, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := g.cfg.Clock.Now()
	if l.all != nil && now-l.at < clusterFreshMS && now >= l.at {
		return l.all, nil
	}
	call, cancel := g.deadline(ctx)
	defer cancel()
	all, err := g.cfg.Cluster.Cluster(call)
	if err != nil {
		return nil, err
	}
	l.all, l.at = all, now
	return all, nil
}

// Describe adds what the gateway serves, and what it decided, to s. It may be
// called at any time.
func (g *Gateway) Describe(s *grandstand.Status) {
	s.Viewers = &grandstand.ViewersStatus{Connections: uint64(g.conns.Load()), Sessions: uint64(g.watching.Load())}
	g.metrics.rules.Describe(s)
	for _, r := range g.allRooms() {
		r.mu.Lock()
		for kind, n := range r.blocked {
			s.Rule(kind).Waiting += n
		}
		r.mu.Unlock()
	}
}

// blockedByLocked returns the kind of rule by which the session may not play,
// and whether there is one.
func (s *session) blockedByLocked() (kind string, is bool) {
	if s.lease == nil || s.lease.refusal == nil || s.own != owned || s.Left {
		return "", false
	}
	return ruleKind(s.lease.refusal.Rule), true
}
