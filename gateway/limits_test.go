package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"grandstand"
)

// Whatever addresses come, they are limited as if every one was remembered, as
// long as there are not too many; and there never are.
func TestPartiesKeepTheirModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rate, conns, most = 5, 3, 16
		l := newParties[int](rate, conns, most)
		model := map[int]*party{}
		at := func(key int) *party {
			if model[key] == nil {
				model[key] = &party{}
			}
			return model[key]
		}
		type open struct {
			key int
			p   *party
		}
		var opened []open
		now := int64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.Int64Range(0, 500).Draw(t, "ms")
			key := rapid.IntRange(1, most).Draw(t, "key") // as many as are remembered
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				n := rapid.IntRange(1, 20).Draw(t, "n")
				if got, want := l.spend(key, n, now), at(key).rate.take(n, rate, rate*burstSeconds, now); got != want {
					t.Fatalf("spend %d of %d at %d: %v, want %v", n, key, now, got, want)
				}
			case 1:
				m := at(key)
				want := m.conns < conns && m.rate.take(requestCost, rate, rate*burstSeconds, now)
				p := l.open(key, requestCost, now)
				if (p != nil) != want {
					t.Fatalf("open of %d with %d open: %v, want %v", key, m.conns, p != nil, want)
				}
				if want {
					m.conns++
					opened = append(opened, open{key, p})
				}
			case 2:
				if len(opened) > 0 {
					i := rapid.IntRange(0, len(opened)-1).Draw(t, "which")
					l.close(opened[i].p)
					at(opened[i].key).conns--
					opened = append(opened[:i], opened[i+1:]...)
				}
			case 3:
				if len(opened) > 0 {
					o := opened[rapid.IntRange(0, len(opened)-1).Draw(t, "of")]
					if got, want := l.spendOf(o.p, now), at(o.key).rate.take(1, rate, rate*burstSeconds, now); got != want {
						t.Fatalf("message of %d at %d: %v, want %v", o.key, now, got, want)
					}
				}
			}
			if l.count() > most {
				t.Fatalf("%d are remembered, of %d at most", l.count(), most)
			}
		}
	})
}

// Whoever has connections open, or has used much, is not forgotten for those who
// are made up; nor does their number grow.
func TestPartiesForgetTheHarmless(t *testing.T) {
	const rate, most = 10, 1000
	l := newParties[int](rate, 5, most)
	var held []*party
	for key := range most / 2 {
		held = append(held, l.open(key, 0, 0))
	}
	const abuser = -1
	for l.spend(abuser, 1, 0) {
	}
	for i := range 100 * most {
		l.spend(most+i, 1, 0) // each of them once
		if l.count() > most {
			t.Fatalf("%d parties are remembered, of %d at most", l.count(), most)
		}
	}
	if l.spend(abuser, 1, 0) {
		t.Error("who had used all was washed clean by others")
	}
	for key, p := range held {
		if l.of[key] != p {
			t.Fatalf("party %d was forgotten with a connection open", key)
		}
		l.close(p)
	}
	// All may have connections open: then newcomers wait.
	l = newParties[int](rate, 5, 3)
	for key := range 3 {
		l.open(key, 0, 0)
	}
	if l.open(4, 0, 0) != nil || l.spend(5, 1, 0) || l.count() != 3 {
		t.Errorf("%d parties are remembered, of 3 at most", l.count())
	}
}

// The holder of a /48 has 65,536 networks of 64 bits, each with 2⁶⁴ addresses.
func TestAWholeNetworkOfAttackersTakesBoundedMemory(t *testing.T) {
	const most = 4096
	l := NewLimits(LimitsConfig{Most: most})
	served := 0
	h := l.Requests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	ask := func(from netip.Addr) int {
		r := httptest.NewRequest(http.MethodGet, "/v1/events", nil)
		r.RemoteAddr = netip.AddrPortFrom(from, 4711).String()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	random := rand.New(rand.NewPCG(1, 2))
	b := netip.MustParseAddr("2001:db8:bad::").As16()
	for range 100_000 {
		for i := 6; i < 16; i++ {
			b[i] = byte(random.Uint32())
		}
		ask(netip.AddrFrom16(b))
	}
	if n := l.addresses.count(); n != most {
		t.Errorf("%d networks are remembered, want %d", n, most)
	}
	if code := ask(netip.MustParseAddr("2001:db8:600d::1")); code != http.StatusOK {
		t.Errorf("an honest client is answered %d", code)
	}
}

func TestNetworksThatCountAsOne(t *testing.T) {
	edge, err := NewEdge(EdgeConfig{TrustedProxies: []string{"10.0.0.0/8", "2001:db8:ffff::/48"}})
	if err != nil {
		t.Fatal(err)
	}
	l := NewLimits(LimitsConfig{Edge: edge})
	for address, want := range map[string]string{
		"203.0.113.7":            "203.0.113.7",
		"2001:db8:1:2:3:4:5:6":   "2001:db8:1:2::",
		"2001:db8:1:2:ffff::":    "2001:db8:1:2::",
		"2001:db8:1:3::":         "2001:db8:1:3::",
		"127.0.0.1":              "",
		"::1":                    "",
		"10.1.2.3":               "",
		"2001:db8:ffff:1::1":     "",
		"fe80::1":                "fe80::",
		"::ffff:203.0.113.7":     "203.0.113.7", // as Client returns it
		"64:ff9b::203.0.113.7":   "64:ff9b::",
		"2002:cb00:7107:1::1":    "2002:cb00:7107:1::",
		"255.255.255.255":        "255.255.255.255",
		"2001:db8:fffe:ffff::42": "2001:db8:fffe:ffff::",
	} {
		got := l.Network(netip.MustParseAddr(address).Unmap())
		if want == "" && got.IsValid() || want != "" && got != netip.MustParseAddr(want) {
			t.Errorf("%s counts as %v, want %q", address, got, want)
		}
	}
	if (*Limits)(nil).Network(netip.Addr{}).IsValid() {
		t.Error("an address that is not known is limited")
	}
}

func TestRequestsOfOneAddressAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edge, _ := NewEdge(EdgeConfig{TrustedProxies: []string{"10.0.0.1"}})
		l := NewLimits(LimitsConfig{Edge: edge, AddressRate: 10, AdminToken: "a token of backends"})
		h := l.Requests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
		ask := func(remote string, header ...string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, edgeRequest(remote, header...))
			return w
		}
		const burst = 10 * burstSeconds / requestCost
		for range burst {
			if w := ask("203.0.113.7:1"); w.Code != 200 {
				t.Fatalf("a request within the burst is answered %d", w.Code)
			}
		}
		w := ask("203.0.113.7:2") // another port is the same address
		if w.Code != 429 || w.Header().Get("Retry-After") == "" || w.Header().Get("Cache-Control") != "no-store" ||
			!strings.Contains(w.Body.String(), `"rate_limited"`) || !strings.Contains(w.Body.String(), "network address") {
			t.Errorf("beyond the burst: %d %v %s", w.Code, w.Header(), w.Body)
		}
		for who, w := range map[string]*httptest.ResponseRecorder{
			"another address":           ask("203.0.113.8:1"),
			"another behind the proxy":  ask("10.0.0.1:1", "X-Forwarded-For", "203.0.113.9"),
			"the proxy itself":          ask("10.0.0.1:1"),
			"a backend, same address":   ask("203.0.113.7:1", "Authorization", "Bearer a token of backends"),
			"this machine":              ask("127.0.0.1:1"),
			"the in-process badge page": ask(""),
		} {
			if w.Code != 200 {
				t.Errorf("%s is answered %d", who, w.Code)
			}
		}
		for who, w := range map[string]*httptest.ResponseRecorder{
			"a forged header":        ask("203.0.113.7:1", "X-Forwarded-For", "203.0.113.10"),
			"a forged hop":           ask("10.0.0.1:1", "X-Forwarded-For", "203.0.113.10, 203.0.113.7"),
			"a wrong token":          ask("203.0.113.7:1", "Authorization", "Bearer another"),
			"a token where none is":  ask("203.0.113.7:1", "Authorization", "Bearer "),
			"IPv4 dressed as IPv6":   ask("[::ffff:203.0.113.7]:1"),
			"through the proxy, too": ask("10.0.0.1:1", "X-Forwarded-For", "203.0.113.7"),
		} {
			if w.Code != 429 {
				t.Errorf("%s is answered %d", who, w.Code)
			}
		}
		time.Sleep(time.Second) // ten messages' worth: one request
		if first, second := ask("203.0.113.7:1"), ask("203.0.113.7:1"); first.Code != 200 || second.Code != 429 {
			t.Errorf("a second later: %d, %d, want one more", first.Code, second.Code)
		}
	})
}

// The limits of a gateway's sockets, streams and beats. Connections in memory
// come from proxyAddr, which is trusted here.
func TestAConnectionCountsAgainstItsAddressAndItsAccount(t *testing.T) {
	var l *Limits
	set := func(c *Config) {
		edge, err := NewEdge(EdgeConfig{TrustedProxies: []string{proxyAddr}})
		if err != nil {
			t.Fatal(err)
		}
		l = NewLimits(LimitsConfig{Edge: edge, AddressConns: 2, AddressRate: 100, AccountConns: 3, AccountRate: 10})
		c.Limits, c.Edge, c.Leases = l, edge, newFakeLeases()
	}
	inBubble(t, rigConfig{set: set}, func(t *testing.T, rg *rig) {
		from := func(n int) http.Header {
			return http.Header{"X-Forwarded-For": {fmt.Sprintf("2001:db8::%d:0:0:0:1", n)}}
		}
		try := func(n int, query string) (*viewer, error) { return rg.try("final", query, from(n)) }
		refused := func(what string, err error, want string) {
			t.Helper()
			if err == nil || !strings.HasPrefix(err.Error(), "429") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want 429 with %q", what, err, want)
			}
		}
		a, err := try(1, "viewer=a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := try(1, "viewer=b"); err != nil {
			t.Fatal(err)
		}
		_, err = try(1, "viewer=c")
		refused("a third socket of one address", err, "network address")
		if _, err := try(2, "viewer=c"); err != nil {
			t.Errorf("a socket of another address: %v", err)
		}
		a.leave()
		synctest.Wait()
		if _, err := try(1, "viewer=c"); err != nil {
			t.Errorf("a socket after another was closed: %v", err)
		}
		for n := range 3 {
			if _, err := try(10+n, fmt.Sprintf("viewer=d%d&device=d%[1]d&account=rich", n)); err != nil {
				t.Fatal(err)
			}
		}
		_, err = try(20, "viewer=d&device=d9&account=rich")
		refused("a fourth socket of one account", err, "account")
		if n := len(l.addresses.of); n != 6 {
			t.Errorf("%d addresses are remembered, want 6", n)
		}
		if p := l.addresses.of[netip.MustParseAddr("2001:db8:0:20::")]; p == nil || p.conns != 0 {
			t.Errorf("the address of a refused account holds %+v", p)
		}
	})
	for key, p := range l.addresses.of {
		if p.conns != 0 {
			t.Errorf("at the end %v holds %d connections", key, p.conns)
		}
	}
	for _, p := range l.accounts.of {
		if p.conns != 0 {
			t.Errorf("at the end an account holds %d connections", p.conns)
		}
	}
}

// Two sockets that are each within their own rate are too much together.
func TestMessagesCountAgainstTheirAddressAndAccount(t *testing.T) {
	for of, cfg := range map[string]LimitsConfig{"address": {AddressRate: 12}, "account": {AccountRate: 12}} { // a burst of 120
		t.Run(of, func(t *testing.T) { messagesOfTwo(t, of, cfg) })
	}
}

func messagesOfTwo(t *testing.T, of string, cfg LimitsConfig) {
	var l *Limits
	set := func(c *Config) {
		cfg.Edge, _ = NewEdge(EdgeConfig{TrustedProxies: []string{proxyAddr}})
		cfg.Registerer = c.Registerer
		l = NewLimits(cfg)
		c.Edge, c.Limits, c.Leases = cfg.Edge, l, newFakeLeases()
	}
	inBubble(t, rigConfig{set: set}, func(t *testing.T, rg *rig) {
		var both []*viewer
		for n := range 2 {
			from := http.Header{"X-Forwarded-For": {"203.0.113.7"}}
			query := fmt.Sprintf("viewer=v%d", n)
			if of == "account" {
				from.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", n))
				query += fmt.Sprintf("&device=d%d&account=a&limit=2", n)
			}
			v, err := rg.try("final", query, from)
			if err != nil {
				t.Fatal(err)
			}
			both = append(both, v)
		}
		other := rg.watch("viewer=other")
		for range 50 { // with the two handshakes 120
			both[0].beat()
			both[1].beat()
		}
		synctest.Wait()
		both[1].beat()
		if m := both[1].next("error"); m["code"] != string(grandstand.CodeRateLimited) || !strings.Contains(fmt.Sprint(m["message"]), of) {
			t.Errorf("beyond the rate: %v", m)
		}
		both[1].wantClose(1008, 10*time.Second)
		if n := testutil.ToFloat64(l.refused.WithLabelValues(of, "message")); n != 1 {
			t.Errorf("%v messages are counted as refused, want 1", n)
		}
		other.beat()
		synctest.Wait()
		select {
		case err := <-other.closed:
			t.Errorf("the viewer of another address was closed: %v", err)
		default:
		}
	})
}

// What a message costs more if its address and its account are limited.
func BenchmarkLimitsMessage(b *testing.B) {
	l := NewLimits(LimitsConfig{AddressRate: 1 << 30, AccountRate: 1 << 30})
	s, err := l.open(netip.MustParseAddr("203.0.113.7"), grandstand.Key{1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if !l.message(s) {
			b.Fatal("refused")
		}
	}
}

// What it takes to remember one more address when there is no place left.
func BenchmarkLimitsForget(b *testing.B) {
	l := newParties[int](100, 100, 1<<17)
	for i := 0; b.Loop(); i++ {
		l.spend(i, requestCost, int64(i/1000))
	}
}
