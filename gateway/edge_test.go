package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newEdge(t *testing.T, proxies ...string) *Edge {
	t.Helper()
	e, err := NewEdge(EdgeConfig{TrustedProxies: proxies, CountryHeader: "CF-IPCountry", RegionHeader: "CF-Region-Code"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func edgeRequest(remote string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil)
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestEdgeClient(t *testing.T) {
	const xff = "X-Forwarded-For"
	for _, c := range []struct {
		name    string
		proxies []string
		r       *http.Request
		want    string
	}{
		{"no proxy", nil, edgeRequest("203.0.113.7:4711"), "203.0.113.7"},
		{"nobody trusted", nil, edgeRequest("203.0.113.7:4711", xff, "198.51.100.1"), "203.0.113.7"},
		{"one proxy", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "198.51.100.1"), "198.51.100.1"},
		{"forged on the left", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "1.1.1.1, 198.51.100.1"), "198.51.100.1"},
		{"two proxies", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "1.1.1.1, 198.51.100.1, 10.9.9.9"), "198.51.100.1"},
		{"two header lines", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "1.1.1.1", xff, "198.51.100.1"), "198.51.100.1"},
		{"stranger in between", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "198.51.100.1, 192.0.2.9, 10.9.9.9"), "192.0.2.9"},
		{"proxies only", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "10.0.0.7, 10.9.9.9"), "10.0.0.7"},
		{"no header", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1"), "10.1.2.3"},
		{"rubbish", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "198.51.100.1, unknown"), "10.1.2.3"},
		{"with a port", []string{"10.0.0.0/8"}, edgeRequest("10.1.2.3:1", xff, "198.51.100.1:50000"), "198.51.100.1"},
		{"IPv6", []string{"2001:db8:1::/48"}, edgeRequest("[2001:db8:1::1]:1", xff, "[2001:db8:2::9]:443"), "2001:db8:2::9"},
		{"IPv4 in IPv6", []string{"10.0.0.1"}, edgeRequest("[::ffff:10.0.0.1]:1", xff, "::ffff:198.51.100.1"), "198.51.100.1"},
		{"IPv4 in IPv6, in the list", []string{"::ffff:10.0.0.0/104"}, edgeRequest("10.0.0.1:1", xff, "198.51.100.1"), "198.51.100.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := newEdge(t, c.proxies...).Client(c.r); got != netip.MustParseAddr(c.want) {
				t.Errorf("client %v, want %v", got, c.want)
			}
		})
	}
	if a := (*Edge)(nil).Client(edgeRequest("203.0.113.7:4711", xff, "1.1.1.1")); a.String() != "203.0.113.7" {
		t.Errorf("a nil Edge says %v", a)
	}
	if a := newEdge(t).Client(edgeRequest("@")); a.IsValid() {
		t.Errorf("no address in RemoteAddr: %v", a)
	}
}

func TestEdgeSegments(t *testing.T) {
	const cc, rc = "CF-IPCountry", "CF-Region-Code"
	for _, c := range []struct {
		name string
		r    *http.Request
		want map[string]string
	}{
		{"both", edgeRequest("10.0.0.1:1", cc, "US", rc, "CA"), map[string]string{"country": "US", "region": "US-CA"}},
		{"region in full, small letters", edgeRequest("10.0.0.1:1", cc, "us", rc, "us-ca"), map[string]string{"country": "US", "region": "US-CA"}},
		{"country only", edgeRequest("10.0.0.1:1", cc, "DE"), map[string]string{"country": "DE"}},
		{"not through the proxy", edgeRequest("203.0.113.7:1", cc, "US", rc, "CA"), nil},
		{"unknown country", edgeRequest("10.0.0.1:1", cc, "XX", rc, "CA"), map[string]string{}},
		{"Tor", edgeRequest("10.0.0.1:1", cc, "T1"), map[string]string{}},
		{"sent twice", edgeRequest("10.0.0.1:1", cc, "US", cc, "DE"), map[string]string{}},
		{"list", edgeRequest("10.0.0.1:1", cc, "US, DE"), map[string]string{}},
		{"markup", edgeRequest("10.0.0.1:1", cc, "<b>", rc, "\"><script>"), map[string]string{}},
		{"long region", edgeRequest("10.0.0.1:1", cc, "US", rc, "CALI"), map[string]string{"country": "US"}},
		{"two dashes", edgeRequest("10.0.0.1:1", cc, "US", rc, "US-C-A"), map[string]string{"country": "US"}},
		{"nothing", edgeRequest("10.0.0.1:1"), map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, newEdge(t, "10.0.0.0/8").Segments(c.r)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if s := (*Edge)(nil).Segments(edgeRequest("10.0.0.1:1", cc, "US")); s != nil {
		t.Errorf("a nil Edge says %v", s)
	}
}

func TestNewEdgeRefuses(t *testing.T) {
	for _, p := range []string{"", "10.0.0.0/33", "proxy.example.com", "10.0.0.0/8,10.1.0.0/16", "fe80::1%eth0"} {
		if _, err := NewEdge(EdgeConfig{TrustedProxies: []string{p}}); err == nil {
			t.Errorf("trusted proxy %q was accepted", p)
		}
	}
}
