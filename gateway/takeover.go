package gateway

import (
	"context"

	"grandstand"
)

// takeover is the wish of a viewer to play here, if need be in the place of
// others.
type takeover struct {
	refs []grandstand.LeaseRef
	done chan takeoverResult // takes one
}

type takeoverResult struct {
	known   bool // leases could be asked for
	allowed bool
}

// takeover plays here: it ends the leases that the message names, as far as that
// is needed. Whoever may not play all the same is told so by "blocked". It takes
// leaseTimeout at most.
func (c *conn) takeover(m *grandstand.Message) error {
	result, err := c.session.takeOver(m.Codes)
	if err != nil {
		result = "failed"
	}
	c.g.metrics.takeovers.WithLabelValues(result).Inc()
	if err == nil && result == "allowed" {
		c.w.send(appendText(nil, grandstand.AppendOK(nil, "takeover")))
	}
	return err
}

// takeOver returns "allowed" or "blocked".
func (s *session) takeOver(codes [][]byte) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTimeout)
	defer cancel()
	if err := s.mayTakeOver(); err != nil {
		return "", err
	}
	refs, err := s.namedLeases(ctx, codes)
	if err != nil {
		return "", err
	}
	t := &takeover{refs: refs, done: make(chan takeoverResult, 1)}
	s.mu.Lock()
	l := s.lease
	if l.takeover != nil {
		s.mu.Unlock()
		return "", grandstand.Errorf(grandstand.CodeConflict, "another takeover of this session is under way")
	}
	l.takeover = t
	s.aliveLocked()
	s.dueLeaseLocked()
	s.mu.Unlock()

	var r takeoverResult
	select {
	case r = <-t.done:
	case <-ctx.Done():
		s.mu.Lock()
		if l.takeover == t {
			l.takeover = nil
		}
		s.mu.Unlock()
	}
	switch {
	case !r.known:
		return "", errNoLeases
	case !r.allowed:
		return "blocked", nil
	}
	return "allowed", nil
}

var errNoLeases = grandstand.Errorf(grandstand.CodeUnavailable, "we cannot check right now how many devices are playing: try again in a moment")

// mayTakeOver refuses what is no takeover.
func (s *session) mayTakeOver() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lease == nil || !s.limitedLocked():
		return grandstand.Errorf(grandstand.CodeInvalid, "this session is not limited: there is nothing to take over")
	case s.Left:
		return grandstand.Errorf(grandstand.CodeInvalid, "the session has ended: it comes back with a beat")
	case s.own == lost:
		return grandstand.Errorf(grandstand.CodeConflict, "the session goes on elsewhere")
	}
	return nil
}

// namedLeases returns the leases of the session's account that codes name.
func (s *session) namedLeases(ctx context.Context, codes [][]byte) ([]grandstand.LeaseRef, error) {
	if len(codes) == 0 {
		return nil, nil
	}
	g, account := s.room.g, s.lease.account
	state, err := g.cfg.Leases.Account(ctx, account)
	if err != nil {
		g.trouble("read account", err)
		return nil, errNoLeases
	}
	texts := make([]string, len(codes))
	for i, c := range codes {
		texts[i] = string(c)
	}
	return g.leaser.key.Named(account, state.Leases, texts), nil
}
