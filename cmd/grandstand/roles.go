package main

import (
	"context"
	"net/http"

	"grandstand/gateway"
)

type allCmd struct {
	common
	public
	believing
	serving
	journalling
	archiving
	secondHere bool         // it may be the second of its kind in this directory
	pictures   http.Handler // of the demo; nil: none
}

// Run serves every role in one process until ctx ends.
func (c *allCmd) Run(ctx context.Context, f *file) error {
	n, _, err := c.start(ctx, f)
	if err != nil {
		return err
	}
	return n.wait(ctx)
}

// start starts every role and returns the public address.
func (c *allCmd) start(ctx context.Context, f *file) (*node, string, error) {
	if err := thisMachine.check(c.logger(), c.exposed()); err != nil {
		return nil, "", err
	}
	n, err := newNode(ctx, &c.common, f)
	if err != nil {
		return nil, "", err
	}
	n.addAggregator(c.minCohort(c.Auth == "none"))
	addr, err := func() (string, error) {
		door, err := n.door(&c.public, &c.believing, &c.serving)
		if err != nil {
			return "", err
		}
		w := &gatewayJournal{journalling: c.journalling, optional: c.secondHere}
		b, err := n.addBlocker(door, w)
		if err != nil {
			return "", err
		}
		if w.Journal == "" {
			w.Journal = besideArchive(c.Archive)
		}
		if w.Journal != journalOff {
			if err := n.addArchiver(&c.archiving, w.sources, nil); err != nil {
				return "", err
			}
		}
		players, err := n.addGateway(door, &c.serving, w, f.events)
		if err != nil {
			return "", err
		}
		pages, err := n.pages(askHere(players), c.pictures)
		if err != nil {
			return "", err
		}
		return n.listen(&c.public, handlers{limits: door.limits, conns: c.MaxConns, players: players, accounts: b, pages: pages})
	}()
	return n, addr, n.orStop(err)
}

// orStop stops what has started if err is not nil, and returns err.
func (n *node) orStop(err error) error {
	if err == nil {
		return nil
	}
	if stopping := n.stop(); stopping != nil {
		n.log.Error("stopping", "error", stopping)
	}
	return err
}

type gatewayCmd struct {
	common
	public
	believing
	serving
	journalling
}

func (c *gatewayCmd) Run(ctx context.Context, f *file) error {
	if err := thisMachine.check(c.logger(), c.exposed()); err != nil {
		return err
	}
	if c.Redis == "" {
		return errNeedsRedis("gateway")
	}
	n, err := newNode(ctx, &c.common, f)
	if err != nil {
		return err
	}
	err = func() error {
		door, err := n.door(&c.public, &c.believing, &c.serving)
		if err != nil {
			return err
		}
		players, err := n.addGateway(door, &c.serving, &gatewayJournal{journalling: c.journalling}, f.events)
		if err != nil {
			return err
		}
		_, err = n.listen(&c.public, handlers{limits: door.limits, conns: c.MaxConns, players: players})
		return err
	}()
	if err != nil {
		return n.orStop(err)
	}
	return n.wait(ctx)
}

type aggregatorCmd struct {
	common
	MinCohort int `help:"Segments with fewer sessions are folded into \"other\" for the public, unless the event says otherwise." default:"10"`
}

func (c *aggregatorCmd) Run(ctx context.Context, f *file) error {
	if c.Redis == "" {
		return errNeedsRedis("aggregator")
	}
	if err := thisMachine.check(c.logger(), exposed{common: &c.common}); err != nil {
		return err
	}
	n, err := newNode(ctx, &c.common, f)
	if err != nil {
		return err
	}
	n.addAggregator(c.MinCohort)
	return n.wait(ctx)
}

func errNeedsRedis(role string) error {
	return wrongUsef("%s alone needs --redis: an embedded Redis serves one process only (use \"all\" for that)", role)
}

type webCmd struct {
	public
	limiting
	Admin     string `help:"Address of metrics, health and pprof; empty: none."`
	Gateway   string `help:"URL of a gateway, which badges are asked of. Default: there are no badges." placeholder:"URL"`
	LogLevel  string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
	Insecure  bool   `help:"Take a key that every user of the machine may read."`
}

// Run serves the pages alone; they find the gateway behind the same name.
func (c *webCmd) Run(ctx context.Context, f *file) error {
	cfg := common{Admin: c.Admin, LogLevel: c.LogLevel, LogFormat: c.LogFormat, Insecure: c.Insecure}
	if err := thisMachine.check(cfg.logger(), exposed{common: &cfg, limits: &c.limiting}); err != nil {
		return err
	}
	log := cfg.logger()
	log.Info("starting", f.shown...)
	registry := newRegistry()
	n := &node{life: newLife(log), cfg: &cfg, registry: registry, metrics: newServerMetrics(registry)}
	edge, err := gateway.NewEdge(gateway.EdgeConfig{TrustedProxies: c.TrustedProxies})
	if err != nil {
		return wrongUsef("--trusted-proxies: %w", err)
	}
	limits := gateway.NewLimits(gateway.LimitsConfig{Edge: edge, AddressRate: c.AddressRate, Registerer: registry})
	var counts asker
	if c.Gateway != "" {
		counts = newBadgeCounts(askOver(c.Gateway)).ask
	}
	pages, err := n.pages(counts, nil)
	if err == nil && c.Admin != "" {
		err = n.serveAdmin(c.Admin)
	}
	if err == nil {
		_, err = n.listen(&c.public, handlers{limits: limits, players: http.NotFoundHandler(), pages: pages})
	}
	if err != nil {
		return n.orStop(err)
	}
	return n.wait(ctx)
}
