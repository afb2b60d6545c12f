package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// EdgeConfig says what the proxies in front of the gateway know of a client.
type EdgeConfig struct {
	// TrustedProxies are the networks (CIDR) or addresses whose headers are
	// believed. Default: none, so no header is.
	TrustedProxies []string

	// CountryHeader holds the ISO 3166-1 country of the client, such as
	// CF-IPCountry or CloudFront-Viewer-Country. Default: not read.
	CountryHeader string

	// RegionHeader holds its ISO 3166-2 region, with the country (US-CA) or
	// without (CA, as in CF-Region-Code). Default: not read.
	RegionHeader string
}

// Edge reads what trusted proxies say of a client. It is immutable; a nil Edge
// trusts nobody.
type Edge struct {
	trusted         []netip.Prefix
	country, region string
}

// NewEdge checks the configuration.
func NewEdge(cfg EdgeConfig) (*Edge, error) {
	e := &Edge{country: cfg.CountryHeader, region: cfg.RegionHeader}
	for _, text := range cfg.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("trusted proxy %q: write a network such as 10.0.0.0/8, or an address", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		e.trusted = append(e.trusted, p.Masked())
	}
	return e, nil
}

func (e *Edge) trusts(a netip.Addr) bool {
	if e == nil {
		return false
	}
	for _, p := range e.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxHops bounds how many proxies of one request are looked at.
const maxHops = 32

// Client returns the address that the request comes from: the nearest one, from
// the right of X-Forwarded-For, that is no trusted proxy. What stands to the
// left of it was written by whoever sent it. The address is invalid if
// RemoteAddr holds none.
func (e *Edge) Client(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := remote.Addr().Unmap().WithZone("")
	if !e.trusts(client) {
		return client
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for n := 0; len(hops) > 0 && n < maxHops; n++ {
		hop, ok := parseHop(hops[len(hops)-1])
		if !ok {
			return client
		}
		if client = hop; !e.trusts(client) {
			return client
		}
		hops = hops[:len(hops)-1]
	}
	return client
}

// parseHop reads one entry of X-Forwarded-For; some proxies add the port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

// Segments returns the country and the region that a trusted proxy names; nil
// if none does, or if what it names is no country or region.
func (e *Edge) Segments(r *http.Request) map[string]string {
	if e == nil || e.country == "" && e.region == "" {
		return nil
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !e.trusts(remote.Addr().Unmap().WithZone("")) {
		return nil
	}
	found := map[string]string{}
	country := oneHeader(r, e.country)
	if validCountry(country) {
		found["country"] = country
	} else {
		country = ""
	}
	region := oneHeader(r, e.region)
	if region != "" && country != "" && !strings.Contains(region, "-") {
		region = country + "-" + region
	}
	if validRegion(region) {
		found["region"] = region
	}
	return found
}

// oneHeader returns the header's value in upper case; "" if it stands more than
// once: then one of them was not written by the proxy.
func oneHeader(r *http.Request, name string) string {
	if name == "" {
		return ""
	}
	values := r.Header.Values(name)
	if len(values) != 1 {
		return ""
	}
	return strings.ToUpper(strings.TrimSpace(values[0]))
}

// validCountry accepts ISO 3166-1 alpha-2. XX is what Cloudflare writes for an
// unknown country (its T1, for Tor, has a digit).
func validCountry(v string) bool {
	return len(v) == 2 && letters(v) && v != "XX"
}

// validRegion accepts ISO 3166-2: a country and 1 to 3 letters or digits.
func validRegion(v string) bool {
	country, part, ok := strings.Cut(v, "-")
	if !ok || !validCountry(country) || len(part) < 1 || len(part) > 3 {
		return false
	}
	for i := range len(part) {
		if c := part[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func letters(v string) bool {
	for i := range len(v) {
		if v[i] < 'A' || v[i] > 'Z' {
			return false
		}
	}
	return true
}
