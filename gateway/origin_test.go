package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"grandstand"
)

func TestCheckOrigin(t *testing.T) {
	const empty = "(there, but empty)"
	listed := []string{"https://tv.example.com", "http://localhost:3000", "https://shop.example.com:8443", "http://[::1]:5173", "https://xn--tglich-bua.example.com"}
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
		{"query", "https://evil.net?https://tv.example.com", "gw.test", listed, false},
		{"listed, after a fragment", "https://evil.net#https://tv.example.com", "gw.test", listed, false},
		{"backslash", `https://tv.example.com\@evil.net`, "gw.test", listed, false},
		{"two in one", "https://tv.example.com, https://evil.net", "gw.test", listed, false},
		{"two in one, apart by a space", "https://tv.example.com https://evil.net", "gw.test", listed, false},
		{"nothing in it", empty, "gw.test", listed, false},
		{"nothing in it, and any is allowed", empty, "gw.test", []string{"*"}, false},
		{"listed IDN, as browsers send it", "https://xn--tglich-bua.example.com", "gw.test", listed, true},
		{"listed IDN in Unicode", "https://täglich.example.com", "gw.test", listed, false},
		{"Cyrillic look-alike", "https://tv.ex\u0430mple.com", "gw.test", listed, false},
		{"Cyrillic look-alike in punycode", "https://tv.xn--exmple-4nf.com", "gw.test", listed, false},
		{"Latin look-alike", "https://tv.examp1e.com", "gw.test", listed, false},
		{"ideographic full stop", "https://tv\u3002example.com", "gw.test", listed, false},
		{"full-width letters", "https://\uff54v.example.com", "gw.test", listed, false},
		{"Kelvin sign, which is a small k to some", "https://\u212aino.example.com", "gw.test", []string{"https://kino.example.com"}, false},
		{"zero-width space", "https://tv.example.com\u200b", "gw.test", listed, false},
		{"escaped dot", "https://tv%2eexample.com", "gw.test", listed, false},
		{"escaped NUL", "https://tv.example.com%00.evil.net", "gw.test", listed, false},
		{"tab", "https://tv.example.com\t", "gw.test", listed, false},
		{"scheme in other letters", "HTTPS://tv.example.com", "gw.test", listed, true},
		{"scheme of sockets", "wss://tv.example.com", "gw.test", listed, false},
		{"scheme left out", "//tv.example.com", "gw.test", listed, false},
		{"host alone", "tv.example.com", "gw.test", listed, false},
		{"an extension", "chrome-extension://tv.example.com", "gw.test", listed, false},
		{"a file", "file://", "gw.test", listed, false},
		{"a blob", "blob:https://tv.example.com", "gw.test", listed, false},
		{"other scheme's default port", "https://tv.example.com:80", "gw.test", listed, false},
		{"default port with a zero", "https://tv.example.com:0443", "gw.test", listed, false},
		{"port beyond ports", "https://tv.example.com:65979", "gw.test", listed, false}, // 443 + 65536
		{"local host in other forms", "http://127.0.0.1:3000", "gw.test", listed, false},
		{"short form of an address", "http://127.1:8080", "127.0.0.1:8080", nil, false},
		{"IPv6 written out", "http://[0:0:0:0:0:0:0:1]:5173", "gw.test", listed, false},
		{"the wildcard itself", "https://*.example.com", "gw.test", under, false},
		{"below a domain that begins so", "https://a.example.com.evil.net", "gw.test", under, false},
		{"IDN below a domain", "https://xn--tglich-bua.example.com", "gw.test", under, true},
		{"a domain below a top one", "https://example.com.", "gw.test", under, false},
		{"same host with a dot at the end", "https://gw.example.com", "gw.example.com.", nil, false},
		{"same host with a user", "https://gw.example.com", "x@gw.example.com", nil, false},
		{"no host", "https://gw.example.com", "", nil, false},
		{"below the same host", "https://a.gw.example.com", "gw.example.com", nil, false},
		{"above the same host", "https://example.com", "gw.example.com", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := ParseOrigins(c.entries)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil)
			r.Host = c.host
			switch c.origin {
			case "":
			case empty:
				r.Header.Set("Origin", "")
			default:
				r.Header.Set("Origin", c.origin)
			}
			err = checkOrigin(r, o)
			if got := err == nil; got != c.want {
				t.Fatalf("Origin %q at %q: allowed %v, want %v (%v)", c.origin, c.host, got, c.want, err)
			}
			if !c.want && grandstand.CodeOf(err) != grandstand.CodeForbidden {
				t.Errorf("code %q, want forbidden", grandstand.CodeOf(err))
			}
			// CORS goes by the same rule.
			served, w := false, httptest.NewRecorder()
			o.CORS(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })).ServeHTTP(w, r)
			readable := ""
			if c.want {
				readable = c.origin
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); served != c.want || got != readable {
				t.Errorf("CORS serves it: %v, readable for %q; want %v, %q", served, got, c.want, readable)
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
