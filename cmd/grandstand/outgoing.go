package main

import (
	"log/slog"
	"net"
	"net/url"
	"strings"
)

// outgoing is a setting that has this process send or fetch something in clear.
type outgoing struct {
	flag  string
	hosts []string // without ports
	risk  string   // if one of them is reached past strangers
}

// outgoing returns what goes in clear. What is no address is for the part that
// takes it, which says so.
func (e exposed) outgoing() []outgoing {
	all := []outgoing{
		{"--redis", redisHosts(e.common.Redis), "the password, and hashes of viewers and accounts: say rediss://"},
		{"--archive", hostOf(endpointOf(e.common.Archive), "http"), "raw events: say endpoint=https://"},
		{"--trace", hostOf(e.common.Trace, "otlp"), "spans, and the collector's password: say otlps://"},
	}
	if e.believing != nil && e.Auth == "jwt" {
		all = append(all, outgoing{"--jwks-url", hostOf(e.JWKSURL, "http"), "the keys that tokens are believed by, so that whoever is on the way can sign any: say https://"})
	}
	if e.serving != nil && e.journalling != nil && e.PeerCA == "" { // with certificates it is TLS, whatever it is called
		all = append(all, outgoing{"--upstream", hostOf(e.Upstream, "ws"), "the token of members: say wss://, and give --peer-cert, --peer-key and --peer-ca"})
	}
	return all
}

// outwards returns the risks of what is sent. A name is as far away as the addresses
// it has. One that has none just now stops nobody: what is asked for by that name is
// waited for, or done without, and it is said that nobody looked.
func (e exposed) outwards(m machine, log *slog.Logger) (risks []string) {
	for _, o := range e.outgoing() {
		for _, host := range o.hosts {
			if host == "" {
				continue // an error, but not of this kind
			}
			r, err := m.reachOf(net.JoinHostPort(host, "0"))
			if err != nil {
				log.Warn("whether "+o.flag+" goes in clear past strangers cannot be known now", "host", host, "error", err)
				break // the others would be waited for as long
			}
			if r == anywhere {
				risks = append(risks, o.flag+" has "+host+" in clear, past strangers: it shows them "+o.risk+", or name an address of an inner network")
				break
			}
		}
	}
	return risks
}

// redisHosts returns the hosts of redis://[user:password@]host:port[,host:port…],
// which is no URL.
func redisHosts(address string) (hosts []string) {
	rest, inClear := strings.CutPrefix(address, "redis://")
	if !inClear {
		return nil
	}
	rest, _, _ = strings.Cut(rest[strings.LastIndexByte(rest, '@')+1:], "/")
	for part := range strings.SplitSeq(rest, ",") {
		host, _, err := net.SplitHostPort(part)
		if err != nil {
			host = strings.Trim(part, "[]") // without a port
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// hostOf returns the host of a URL with the scheme, and none of another.
func hostOf(text, scheme string) []string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Hostname() == "" {
		return nil
	}
	return []string{u.Hostname()}
}

// endpointOf returns the endpoint of s3://bucket/prefix?endpoint=URL; "": none.
func endpointOf(archive string) string {
	u, err := url.Parse(archive)
	if err != nil {
		return ""
	}
	return u.Query().Get("endpoint")
}
