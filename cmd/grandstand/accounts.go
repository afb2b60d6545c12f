package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"grandstand"
	"grandstand/blocker"
	"grandstand/gateway"
)

type blockerCmd struct {
	common
	public
	believing
	journalling
}

// Run serves the accounts' routes alone.
func (c *blockerCmd) Run(ctx context.Context, f *file) error {
	if err := thisMachine.check(c.logger(), c.exposed()); err != nil {
		return err
	}
	if c.Redis == "" {
		return errNeedsRedis("blocker")
	}
	n, err := newNode(ctx, &c.common, f)
	if err != nil {
		return err
	}
	err = func() error {
		door, err := n.door(&c.public, &c.believing, &serving{})
		if err != nil {
			return err
		}
		w := &gatewayJournal{journalling: c.journalling}
		if err := w.open(n, randomText(8)); err != nil {
			return err
		}
		n.run("blocker's lease", func(ctx context.Context) error { w.beFound(ctx, n, grandstand.RoleBlocker); return nil })
		b, err := n.addBlocker(door, w)
		if err != nil {
			return err
		}
		_, err = n.listen(&c.public, handlers{limits: door.limits, accounts: b})
		return err
	}()
	if err != nil {
		return n.orStop(err)
	}
	return n.wait(ctx)
}

// door is what the roles that serve players know of whoever comes.
type door struct {
	origins gateway.Origins
	edge    *gateway.Edge
	limits  *gateway.Limits
	auth    believer
	revoked *gateway.Revocations // nil: there are no tokens
	open    bool                 // --auth none
}

// believer is gateway.Auth, and says who asks regardless of an event.
type believer interface {
	gateway.Auth
	Caller(r *http.Request) (*gateway.Identity, error)
}

// door is made once for all roles of a process: they share one set of keys.
func (n *node) door(p *public, b *believing, s *serving) (*door, error) {
	d := &door{open: b.Auth == "none"}
	var err error
	if d.origins, err = gateway.ParseOrigins(p.Origins); err != nil {
		return nil, fmt.Errorf("--origins: %w", err)
	}
	d.edge, err = gateway.NewEdge(gateway.EdgeConfig{TrustedProxies: b.TrustedProxies, CountryHeader: s.CountryHeader, RegionHeader: s.RegionHeader})
	if err != nil {
		return nil, fmt.Errorf("edge headers: %w", err)
	}
	d.limits = gateway.NewLimits(gateway.LimitsConfig{
		Edge: d.edge, AddressConns: b.AddressConns, AddressRate: b.AddressRate, AccountConns: b.AccountConns, AccountRate: b.AccountRate,
		AdminToken: b.AdminToken, Most: 4 * s.MaxConns, Registerer: n.registry,
	})
	if d.open {
		d.auth = &gateway.AuthNone{AdminToken: b.AdminToken, Edge: d.edge}
		return d, nil
	}
	if d.revoked, err = n.revocations(); err != nil {
		return nil, err
	}
	j, err := gateway.NewJWT(gateway.JWTConfig{
		Secret: []byte(b.JWTSecret), JWKS: b.JWKSURL, Issuer: b.JWTIssuer, Audience: b.JWTAudience,
		AdminToken: b.AdminToken, ReadKeys: s.ReadKeys, Revocations: d.revoked, Edge: d.edge, Logger: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("--auth jwt: %w", err)
	}
	n.onStop("key set", 0, func(context.Context) error { j.Close(); return nil })
	d.auth = j
	return d, nil
}

// revocations are known before anybody is let in.
func (n *node) revocations() (*gateway.Revocations, error) {
	r, err := gateway.NewRevocations(gateway.RevocationsConfig{Secret: n.secret, Store: n.redis, Logger: n.log})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openBound)
	defer cancel()
	if err := r.Load(ctx); err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	n.run("revocations", r.Run)
	return r, nil
}

// Caller implements blocker.Auth.
func (d *door) Caller(r *http.Request) (blocker.Caller, error) {
	id, err := d.auth.Caller(r)
	if err != nil {
		return blocker.Caller{}, err
	}
	return blocker.Caller{
		Account: id.Account, Device: id.Device, Name: id.Name, Service: id.Service, Open: d.open,
		Limit: id.Limit, Plan: id.Plan, Events: id.Events, Expires: id.Expires,
	}, nil
}

// addBlocker runs the role that serves the accounts' routes, and writes what it
// decides to w. Its Close is for listen, which knows when.
func (n *node) addBlocker(d *door, w *gatewayJournal) (*accounts, error) {
	b, err := blocker.New(blocker.Config{
		Member: randomText(8), Secret: n.secret, Clock: n.redis,
		Leases: n.redis, Accounts: n.redis, Notices: n.redis, Events: n.redis,
		Auth: d, Rules: n.rules.now.Load, ClientAddr: d.edge.Client, Keep: w.keep, OpenStream: d.limits.Stream,
		Logger: n.log.With("role", "blocker"), Registerer: n.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("blocker: %w", err)
	}
	n.run("blocker", b.Run)
	n.reports(b.Describe)
	n.checks = append(n.checks, func() error {
		if !b.Ready() {
			return errors.New("the blocker is starting, or shuts down")
		}
		return nil
	})
	return &accounts{Handler: d.origins.CORS(d.limits.Requests(b.Handler())), close: b.Close}, nil
}

// accounts is a blocker as listen serves it.
type accounts struct {
	http.Handler
	close func(context.Context) error
}
