package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// reach is who can reach an address that is listened on.
type reach int

const (
	here     reach = iota // programs of this machine
	inside                // whoever is in a private network with it
	anywhere              // strangers
)

// machine is what a reach depends on.
type machine struct {
	addresses func() ([]net.Addr, error)
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)
}

var thisMachine = machine{
	addresses: net.InterfaceAddrs,
	lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	},
}

// reachOf returns who can reach host:port. Every address (0.0.0.0, ::, none) is
// as far to be reached as the addresses of the machine, and never only here: a
// container in a private network is inside. What address translation or a
// published port opens cannot be seen from within.
func (m machine) reachOf(address string) (reach, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return anywhere, err
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "localhost":
		return here, nil
	case host == "" || err == nil && ip.IsUnspecified():
		return max(inside, m.farthest()), nil
	case err == nil:
		return reachOfIP(ip), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ips, err := m.lookup(ctx, host)
	if err != nil {
		return anywhere, err
	}
	r := here
	for _, ip := range ips {
		r = max(r, reachOfIP(ip))
	}
	return r, nil
}

func (m machine) farthest() reach {
	addresses, err := m.addresses()
	if err != nil {
		return anywhere
	}
	r := here
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			return anywhere
		}
		r = max(r, reachOfIP(p.Addr()))
	}
	return r
}

// shared is the address space of carriers, and of overlay networks (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func reachOfIP(ip netip.Addr) reach {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return here
	case ip.IsPrivate(), ip.IsLinkLocalUnicast(), shared.Contains(ip):
		return inside
	}
	return anywhere
}

// exposed are the settings that decide what strangers can reach. Nil: the role
// does not have them.
type exposed struct {
	*common
	*public
	*believing
	limits *limiting
	*serving
	*journalling
}

func (c *allCmd) exposed() exposed {
	return exposed{&c.common, &c.public, &c.believing, &c.limiting, &c.serving, &c.journalling}
}

func (c *gatewayCmd) exposed() exposed {
	return exposed{&c.common, &c.public, &c.believing, &c.limiting, &c.serving, &c.journalling}
}

func (c *blockerCmd) exposed() exposed {
	return exposed{&c.common, &c.public, &c.believing, &c.limiting, nil, &c.journalling}
}

// check refuses a start that would let strangers in, or listen, in sentences that say what
// to do, or warns of each with --insecure.
func (m machine) check(log *slog.Logger, e exposed) error {
	var risks []string
	for _, ask := range []func(machine) (risk string, err error){e.admin, e.listen, e.pages, e.token, e.readKeys, e.proxies, e.peer} {
		risk, err := ask(m)
		if err != nil {
			return wrongUse{err}
		}
		if risk != "" {
			risks = append(risks, risk)
		}
	}
	risks = append(risks, e.outwards(m, log)...)
	if e.tokensInClear(m) {
		log.Warn("tokens arrive in clear: give --tls-cert and --tls-key, or have a proxy end TLS and name it in --trusted-proxies")
	}
	if len(risks) == 0 {
		return nil
	}
	if e.common.Insecure {
		for _, risk := range risks {
			log.Warn("INSECURE: " + risk)
		}
		return nil
	}
	return wrongUsef("unsafe settings:\n  %s\nor say --insecure, if nobody but friends can reach this machine", strings.Join(risks, "\n  "))
}

func (e exposed) admin(m machine) (string, error) {
	if e.common.Admin == "" {
		return "", nil
	}
	r, err := m.reachOf(e.common.Admin)
	if err != nil || r < anywhere {
		return "", settingError("--admin", e.common.Admin, err)
	}
	return "--admin " + e.common.Admin + " shows metrics and profiles to strangers: name an address of an inner network, such as 10.0.0.5:9090 or 127.0.0.1:9090", nil
}

func (e exposed) listen(m machine) (string, error) {
	if e.public == nil || e.believing == nil || e.Auth != "none" {
		return "", nil
	}
	r, err := m.reachOf(e.Listen)
	if err != nil || r == here {
		return "", settingError("--listen", e.Listen, err)
	}
	return "--auth none on " + e.Listen + " lets anybody be anybody: use --auth jwt, or listen on 127.0.0.1", nil
}

// pages looks at --origins. A token is in no cookie, so a foreign page has none;
// but one that gets hold of a token could use it from its visitors' browsers.
func (e exposed) pages(m machine) (string, error) {
	if e.public == nil || !slices.Contains(e.Origins, "*") && !slices.Contains(e.Origins, "null") {
		return "", nil
	}
	r, err := m.reachOf(e.Listen)
	if err != nil || r == here {
		return "", settingError("--listen", e.Listen, err)
	}
	return "--origins * (or null, which is whatever a page wants to be) lets the pages of every site in: list the sites, such as https://*.example.com", nil
}

func (e exposed) token(m machine) (string, error) {
	if e.public == nil || e.believing == nil || e.AdminToken == "" || len(e.AdminToken) >= minSecret {
		return "", nil
	}
	r, err := m.reachOf(e.Listen)
	if err != nil || r == here {
		return "", settingError("--listen", e.Listen, err)
	}
	return "--admin-token can be guessed: take 16 characters or more, such as openssl rand -hex 16 prints", nil
}

func (e exposed) readKeys(m machine) (string, error) {
	if e.serving == nil || !slices.ContainsFunc(e.ReadKeys, func(key string) bool { return len(key) < minSecret }) {
		return "", nil
	}
	r, err := m.reachOf(e.Listen)
	if err != nil || r == here {
		return "", settingError("--listen", e.Listen, err)
	}
	return "--read-keys has one that can be guessed: take 16 characters or more, such as openssl rand -hex 16 prints", nil
}

func (e exposed) proxies(machine) (string, error) {
	if e.limits == nil {
		return "", nil
	}
	for _, text := range e.limits.TrustedProxies {
		if p, err := netip.ParsePrefix(text); err == nil && p.Bits() == 0 {
			return "--trusted-proxies " + text + " believes whatever address a stranger claims: name the networks of the proxies", nil
		}
	}
	return "", nil
}

func (e exposed) peer(m machine) (string, error) {
	if e.journalling == nil || e.Peer == "" || e.PeerCA != "" {
		return "", nil
	}
	r, err := m.reachOf(e.Peer)
	if err != nil || r < anywhere {
		return "", settingError("--peer", e.Peer, err)
	}
	return "--peer " + e.Peer + " sends boards and raw events in clear where strangers listen: give --peer-cert, --peer-key and --peer-ca, or name an address of an inner network, such as 10.0.0.5:9091", nil
}

// tokensInClear is no risk to be refused: a balancer of TCP may end TLS, too.
func (e exposed) tokensInClear(m machine) bool {
	if e.public == nil || e.believing == nil || e.Auth == "none" || e.TLSCert != "" || len(e.TrustedProxies) > 0 {
		return false
	}
	r, err := m.reachOf(e.Listen)
	return err == nil && r > here
}

func settingError(flag, value string, err error) error {
	if err == nil {
		return nil
	}
	return wrongUsef("%s %q: %w", flag, value, err)
}
