package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func TestAuthNoneIdentify(t *testing.T) {
	a := &AuthNone{}
	r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live?viewer=v1&device=d1&account=a1&limit=2&plan=family&name=%20Den%09TV%20&session=s1"+
		"&interval_ms=60000&country=US&region=US-CA&team=KC&world=x&key=k&Team=SF&team+region=KC&mood=", nil)
	got, err := a.Identify(r, "final")
	if err != nil {
		t.Fatal(err)
	}
	want := &Identity{
		Viewer: "v1", Device: "d1", Account: "a1", Limit: 2, Plan: "family", Name: "Den TV", Session: "s1", IntervalMS: 60000,
		Segments: map[string]string{"country": "US", "region": "US-CA", "team": "KC"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again, err := a.Renew(t.Context(), "whatever", "final", got); err != nil || again != got {
		t.Errorf("Renew = %v, %v, want the same identity", again, err)
	}
	if err := a.Reader(r, &grandstand.Event{Name: "final"}); err != nil {
		t.Errorf("Reader: %v", err)
	}
}

func TestAuthNoneIdentifyAnonymous(t *testing.T) {
	got, err := (&AuthNone{}).Identify(httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil), "final")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Identity{Segments: map[string]string{}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuthNoneIdentifyRefuses(t *testing.T) {
	for _, q := range []string{
		"viewer=a&viewer=b", "viewer=" + strings.Repeat("x", 257), "viewer=a%00b", "device=%ff", "account=%0a",
		"limit=0", "limit=-1", "limit=two", "limit=1e3", "limit=99999999999999999999", "limit=65", "plan=%00", "plan=a&plan=b", "interval_ms=soon", "interval_ms=-1",
		"viewer=%zz", "team=KC;region=US-CA", "country=US&country=DE",
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil)
		r.URL.RawQuery = q
		if id, err := (&AuthNone{}).Identify(r, "final"); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("?%s = %+v, %v, want invalid", q, id, err)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	const firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
	for _, c := range []struct{ query, agent, want string }{
		{"name=Den+TV", firefox, "Den TV"},
		{"name=%00%20", firefox, "Firefox on Windows"},
		{"", firefox, "Firefox on Windows"},
		{"", "curl/8", ""},
		{"name=" + strings.Repeat("x", 500), "", strings.Repeat("x", grandstand.MaxDeviceName)},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live?"+c.query, nil)
		r.Header.Set("User-Agent", c.agent)
		id, err := (&AuthNone{}).Identify(r, "final")
		if err != nil || id.Name != c.want || id.Segments["name"] != "" {
			t.Errorf("?%.20s of %.20s: %+v, %v, want the name %q", c.query, c.agent, id, err, c.want)
		}
	}
}

func TestAuthNoneCaller(t *testing.T) {
	a := &AuthNone{AdminToken: "correct horse battery"}
	r := httptest.NewRequest(http.MethodGet, "/v1/accounts/a1/devices?viewer=v1&account=a1&limit=3&plan=family&name=TV&team=KC", nil)
	r.RemoteAddr = "192.0.2.1:1"
	got, err := a.Caller(r)
	if err != nil {
		t.Fatal(err)
	}
	want := &Identity{Viewer: "v1", Account: "a1", Limit: 3, Plan: "family", Name: "TV", Service: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r.URL.RawQuery = "limit=65"
	if _, err := a.Caller(r); grandstand.CodeOf(err) != grandstand.CodeInvalid {
		t.Errorf("a limit above all: %v", err)
	}
}

func TestAuthNoneEdgeWinsOverQuery(t *testing.T) {
	r := edgeRequest("10.0.0.1:1", "CF-IPCountry", "DE")
	r.URL.RawQuery = "country=US&region=US-CA"
	id, err := (&AuthNone{Edge: newEdge(t, "10.0.0.1")}).Identify(r, "final")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"country": "DE", "region": "US-CA"}, id.Segments); diff != "" {
		t.Error(diff)
	}
}

func TestAuthNoneAdmin(t *testing.T) {
	const token = "correct horse battery"
	for _, c := range []struct {
		name, remote, host string
		headers            []string
		want               bool
	}{
		{"this machine", "127.0.0.1:4711", "127.0.0.1:8080", nil, true},
		{"this machine by name", "127.0.0.1:4711", "localhost:8080", nil, true},
		{"this machine, IPv6", "[::1]:4711", "[::1]:8080", nil, true},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:4711", "127.0.0.1:8080", nil, true},
		{"its own page", "127.0.0.1:4711", "127.0.0.1:8080", []string{"Origin", "http://127.0.0.1:8080"}, true},
		{"another machine", "192.0.2.1:4711", "gw.example.com", nil, false},
		{"another machine that says localhost", "192.0.2.1:4711", "localhost:8080", nil, false},
		{"a name that was rebound", "127.0.0.1:4711", "evil.example:8080", nil, false},
		{"a page of another host", "127.0.0.1:4711", "127.0.0.1:8080", []string{"Origin", "https://evil.example"}, false},
		{"a page without an origin", "127.0.0.1:4711", "127.0.0.1:8080", []string{"Origin", "null"}, false},
		{"past a proxy", "127.0.0.1:4711", "localhost", []string{"X-Forwarded-For", "192.0.2.1"}, false},
		{"past a proxy that says so otherwise", "127.0.0.1:4711", "localhost", []string{"Forwarded", "for=192.0.2.1"}, false},
		{"no address", "@", "localhost", nil, false},
		{"another machine with the token", "192.0.2.1:4711", "gw.example.com", []string{"Authorization", "Bearer " + token}, true},
		{"a wrong token", "192.0.2.1:4711", "gw.example.com", []string{"Authorization", "Bearer " + token + "!"}, false},
		{"an empty token", "192.0.2.1:4711", "gw.example.com", []string{"Authorization", "Bearer "}, false},
		{"a basic password", "192.0.2.1:4711", "gw.example.com", []string{"Authorization", "Basic " + token}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := edgeRequest(c.remote, c.headers...)
			r.Host = c.host
			err := (&AuthNone{AdminToken: token}).Admin(r)
			if got := err == nil; got != c.want {
				t.Errorf("allowed %v, want %v (%v)", got, c.want, err)
			}
		})
	}
	if err := (&AuthNone{}).Admin(edgeRequest("192.0.2.1:1", "Authorization", "Bearer ")); err == nil {
		t.Error("without a token configured, an empty one has admin rights")
	}
}

func TestTokenOf(t *testing.T) {
	const auth, proto = "Authorization", "Sec-WebSocket-Protocol"
	for _, c := range []struct {
		name    string
		headers []string
		want    string
		refused bool
	}{
		{"none", nil, "", false},
		{"authorization", []string{auth, "Bearer a.b.c"}, "a.b.c", false},
		{"authorization in small letters", []string{auth, "bearer  a.b.c"}, "a.b.c", false},
		{"subprotocol", []string{proto, "grandstand.v1, bearer.a.b.c"}, "a.b.c", false},
		{"subprotocol on a line of its own", []string{proto, "grandstand.v1", proto, "bearer.a.b.c"}, "a.b.c", false},
		{"both the same", []string{auth, "Bearer a.b.c", proto, "bearer.a.b.c"}, "a.b.c", false},
		{"both different", []string{auth, "Bearer a.b.c", proto, "bearer.a.b.d"}, "", true},
		{"two subprotocols", []string{proto, "bearer.a.b.c, bearer.a.b.d"}, "", true},
		{"empty subprotocol", []string{proto, "bearer."}, "", true},
		{"empty", []string{auth, "Bearer"}, "", true},
		{"basic", []string{auth, "Basic YTpi"}, "", true},
	} {
		got, err := tokenOf(edgeRequest("192.0.2.1:1", c.headers...))
		if got != c.want && !c.refused || (err != nil) != c.refused {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if err != nil && grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
			t.Errorf("%s: code %q", c.name, grandstand.CodeOf(err))
		}
	}
}
