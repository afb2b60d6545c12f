package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"grandstand"
)

func TestCheckOrigin(t *testing.T) {
	listed := []string{"https://tv.example.com", "http://localhost:3000", "https://shop.example.com:8443", "http://[::1]:5173"}
	under := []string{"https://*.example.com", "https://*.example.org:8443"}
	for _, c := range []struct {
		name, origin, host string
		entries            []string
		want               bool
	}{
		{"no browser", "", "gw.example.com", nil, true},
		{"no browser, with a list", "", "gw.example.com", listed, true},
		{"same host", "https://gw.example.com", "gw.example.com", nil, true},
		{"same host, TLS ended in front", "https://gw.example.com", "gw.example.com:443", nil, true},
		{"same host and port", "http://127.0.0.1:8080", "127.0.0.1:8080", nil, true},
		{"same host in other letters", "https://gw.example.com", "GW.Example.Com", nil, true},
		{"same host, other port", "http://127.0.0.1:8081", "127.0.0.1:8080", nil, false},
		{"same IPv6 host", "http://[::1]:8080", "[::1]:8080", nil, true},
		{"foreign", "https://evil.example", "gw.example.com", nil, false},
		{"listed", "https://tv.example.com", "gw.example.com", listed, true},
		{"listed, in other letters", "https://TV.example.com", "gw.example.com", listed, true},
		{"listed, default port written out", "https://tv.example.com:443", "gw.example.com", listed, true},
		{"listed under another scheme", "http://tv.example.com", "gw.example.com", listed, false},
		{"listed under another port", "https://tv.example.com:444", "gw.example.com", listed, false},
		{"listed with its port", "https://shop.example.com:8443", "gw.example.com", listed, true},
		{"port left out", "https://shop.example.com", "gw.example.com", listed, false},
		{"listed IPv6", "http://[::1]:5173", "gw.example.com", listed, true},
		{"below a listed one", "https://a.tv.example.com", "gw.example.com", listed, false},
		{"listed as a prefix", "https://tv.example.com.evil.net", "gw.example.com", listed, false},
		{"listed as a suffix", "https://eviltv.example.com", "gw.example.com", listed, false},
		{"one label", "https://a.example.com", "gw.test", under, true},
		{"two labels", "https://a.b.example.com", "gw.test", under, true},
		{"the domain itself", "https://example.com", "gw.test", under, false},
		{"suffix without a dot", "https://evilexample.com", "gw.test", under, false},
		{"label with another scheme", "http://a.example.com", "gw.test", under, false},
		{"label with a port", "https://a.example.com:8443", "gw.test", under, false},
		{"label with the port", "https://a.example.org:8443", "gw.test", under, true},
		{"empty label", "https://.example.com", "gw.test", under, false},
		{"any", "https://whoever.net", "gw.test", []string{"*"}, true},
		{"any is not null", "null", "gw.test", []string{"*"}, false},
		{"null", "null", "gw.test", listed, false},
		{"null listed", "null", "gw.test", []string{"null"}, true},
		{"any, but no origin at all", "javascript:alert(1)", "gw.test", []string{"*"}, false},
		{"an app's scheme", "capacitor://localhost", "localhost", []string{"*"}, false},
		{"user in it", "https://tv.example.com@evil.net", "gw.test", listed, false},
		{"path in it", "https://tv.example.com/x", "gw.test", listed, false},
		{"empty port", "https://tv.example.com:", "gw.test", listed, false},
		{"dot at the end", "https://tv.example.com.", "gw.test", listed, false},
		{"blank", " ", "gw.test", listed, false},
		{"fragment", "https://tv.example.com#", "gw.test", listed, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOrigins(c.entries)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil)
			r.Host = c.host
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			err = checkOrigin(r, o)
			if got := err == nil; got != c.want {
				t.Fatalf("Origin %q at %q: allowed %v, want %v (%v)", c.origin, c.host, got, c.want, err)
			}
			if !c.want && grandstand.CodeOf(err) != grandstand.CodeForbidden {
				t.Errorf("code %q, want forbidden", grandstand.CodeOf(err))
			}
		})
	}
}

func TestCheckOriginRefusesTwo(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header["Origin"] = []string{"https://tv.example.com", "https://evil.net"}
	o, _ := ParseOrigins([]string{"https://tv.example.com"})
	if checkOrigin(r, o) == nil {
		t.Error("a request with two origins was allowed")
	}
}

func TestParseOriginsRefuses(t *testing.T) {
	for _, entry := range []string{
		"", "tv.example.com", "https://", "ftp://tv.example.com", "https://tv.example.com/", "https://tv.example.com/live",
		"https://*.com", "https://*", "*.example.com", "https://a.*.example.com", "https://tv*.example.com",
		"https://tv.example.com?x", "https://me@tv.example.com", "https://tv..example.com", "https://täglich.example", "**",
	} {
		if o, err := ParseOrigins([]string{entry}); err == nil {
			t.Errorf("ParseOrigins(%q) = %+v, want an error", entry, o)
		}
	}
}

func TestCORS(t *testing.T) {
	o, err := ParseOrigins([]string{"https://tv.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	served := 0
	h := o.CORS(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	do := func(method, origin, ask string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/v1/events", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if ask != "" {
			r.Header.Set("Access-Control-Request-Method", ask)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Header().Get("Vary") != "Origin" {
			t.Errorf("%s from %q: no Vary, a cache may mix origins up", method, origin)
		}
		if w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s from %q: credentials allowed", method, origin)
		}
		return w
	}

	w := do("GET", "https://tv.example.com", "")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "https://tv.example.com" || served != 1 {
		t.Errorf("listed origin: %d %v, served %d", w.Code, w.Header(), served)
	}
	w = do("OPTIONS", "https://tv.example.com", "PUT")
	if w.Code != 204 || w.Header().Get("Access-Control-Allow-Methods") == "" || served != 1 {
		t.Errorf("preflight: %d %v, served %d", w.Code, w.Header(), served)
	}
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		w = do(method, "https://evil.net", "PUT")
		if w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" || served != 1 {
			t.Errorf("%s of a foreign origin: %d %v, served %d", method, w.Code, w.Header(), served)
		}
	}
	if w = do("GET", "", ""); w.Code != 200 || served != 2 {
		t.Errorf("no browser: %d, served %d", w.Code, served)
	}
}
