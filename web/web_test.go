package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func newHandler(t *testing.T, cfg Config) http.Handler {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestFiles(t *testing.T) {
	h := newHandler(t, Config{})
	paths := []string{}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		paths = append(paths, address(e.Name()))
	}
	if len(paths) < 6 || !slices.Contains(paths, "/") || !slices.Contains(paths, "/device") {
		t.Fatalf("only %v are embedded", paths)
	}
	for _, p := range paths {
		w := get(h, "GET", p)
		if w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d, %d bytes", p, w.Code, w.Body.Len())
		}
		want := kinds[path.Ext(p)]
		if path.Ext(p) == "" {
			want = kinds[".html"]
		}
		csp := policy
		if strings.HasPrefix(p, "/overlay/") {
			csp = strings.Replace(policy, "frame-ancestors 'none'", "frame-ancestors *", 1)
		}
		for name, v := range map[string]string{
			"Content-Type": want, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": csp, "Referrer-Policy": "no-referrer",
		} {
			if got := w.Header().Get(name); got != v {
				t.Errorf("GET %s: %s %q, want %q", p, name, got, v)
			}
		}
		etag := w.Header().Get("ETag")
		if again := get(h, "GET", p, "If-None-Match", etag); etag == "" || again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("GET %s with ETag %q: %d, %d bytes", p, etag, again.Code, again.Body.Len())
		}
		if other := get(h, "GET", p, "If-None-Match", `"other"`); other.Code != 200 {
			t.Errorf("GET %s with another ETag: %d", p, other.Code)
		}
		if head := get(h, "HEAD", p); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != etag {
			t.Errorf("HEAD %s: %d, %d bytes", p, head.Code, head.Body.Len())
		}
	}
}

func TestRefuses(t *testing.T) {
	h := newHandler(t, Config{})
	for _, c := range []struct {
		method, target string
		status         int
		code           string
	}{
		{"GET", "/nothing", 404, "not_found"},
		{"GET", "/index.html", 404, "not_found"},
		{"GET", "/static/", 404, "not_found"},
		{"GET", "/static/index.html", 404, "not_found"},
		{"GET", "/device.html", 404, "not_found"},
		{"GET", "/device/", 404, "not_found"},
		{"GET", "/device/joe", 404, "not_found"},
		{"POST", "/device", 405, "invalid"},
		{"GET", "/static/../web.go", 301, ""},
		{"GET", "/static/%2e%2e/web.go", 301, ""},
		{"GET", "/static/demo.js/", 404, "not_found"},
		{"POST", "/nothing", 404, "not_found"},
		{"POST", "/", 405, "invalid"},
		{"PUT", "/static/demo.js", 405, "invalid"},
		{"OPTIONS", "/", 405, "invalid"},
	} {
		w := get(h, c.method, c.target)
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.target, w.Code, c.status)
			continue
		}
		if c.code == "" {
			continue // mux cleans the path first; where it leads to is refused
		}
		var body struct{ Code, Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Code != c.code || body.Message == "" {
			t.Errorf("%s %s: body %q, %v", c.method, c.target, w.Body, err)
		}
		if w.Header().Get("Content-Security-Policy") == "" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: headers %v", c.method, c.target, w.Header())
		}
		if c.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow %q", c.method, c.target, w.Header().Get("Allow"))
		}
	}
}

func TestConfig(t *testing.T) {
	if w := get(newHandler(t, Config{Event: "final-2026"}), "GET", "/"); !strings.Contains(w.Body.String(), `content="final-2026"`) {
		t.Error("the page does not name the configured event")
	}
	if w := get(newHandler(t, Config{}), "GET", "/"); !strings.Contains(w.Body.String(), `content="demo"`) {
		t.Error("the page does not name the event demo by default")
	}
	if _, err := New(Config{Event: `"><script>`}); err == nil {
		t.Error("an impossible event was accepted")
	}
}

// TestNoMarkupFromText keeps the ways of turning text into markup out of the
// scripts; the policy refuses them as well.
func TestNoMarkupFromText(t *testing.T) {
	err := fs.WalkDir(static, "static", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".js" && path.Ext(p) != ".html" {
			return err
		}
		b, err := static.ReadFile(p)
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "style=", "onclick=", "javascript:"} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s uses %s", p, bad)
			}
		}
		if n := strings.Count(string(b), "\n"); n > 500 {
			t.Errorf("%s has %d lines", p, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Whoever can unpack is sent a file packed, under an ETag of its own.
func TestFilesArePacked(t *testing.T) {
	h := newHandler(t, Config{})
	plain := get(h, "GET", "/sdk.js")
	for accepts, packed := range map[string]bool{
		"gzip": true, "gzip, deflate, br, zstd": true, "br;q=1.0, GZIP;q=0.5": true, "": false, "br": false, "gzip;q=0": false, "gzip; q=0.0, br": false,
	} {
		w := get(h, "GET", "/sdk.js", "Accept-Encoding", accepts)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != packed || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: packed %v, %v", accepts, got, w.Header())
		}
		if !packed {
			continue
		}
		const limit = 6 << 10
		if w.Body.Len() > limit {
			t.Errorf("the SDK takes %d bytes of the network, want %d at most", w.Body.Len(), limit)
		}
		etag := w.Header().Get("ETag")
		if again := get(h, "GET", "/sdk.js", "Accept-Encoding", accepts, "If-None-Match", etag); again.Code != 304 || etag == plain.Header().Get("ETag") {
			t.Errorf("%q with ETag %q: %d", accepts, etag, again.Code)
		}
		r, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, plain.Body.Bytes()) {
			t.Errorf("%q: %d bytes, %v", accepts, len(body), err)
		}
	}
}

// The SDK is for pages of every origin, with the parts that it loads.
func TestTheSDKIsForEveryPage(t *testing.T) {
	h := newHandler(t, Config{})
	w := get(h, "GET", "/sdk.js")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Content-Type") != "text/javascript; charset=utf-8" || w.Header().Get("ETag") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	parts := regexp.MustCompile(`"\./([a-z-]+\.js)"`).FindAllStringSubmatch(w.Body.String(), -1)
	if len(parts) == 0 {
		t.Error("it loads no parts: the way without WebSockets is one")
	}
	for _, p := range parts {
		if w := get(h, "GET", "/"+p[1]); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d", p[1], w.Code)
		}
	}
}

// A badge says in words what nobody sees as a status, and shows hostile text as
// text.
func TestBadges(t *testing.T) {
	asked := ""
	answers := map[string]string{
		"segment=world":              `{"dims":{"world":{"sessions":1234567,"fans":98000,"peak":7,"reach":8}}}`,
		"segment=team%3AKC":          `{"dims":{"team":{"KC":{"sessions":41,"fans":40}}}}`,
		"key=k1&segment=team%3ASF":   `{"dims":{"team":{"SF":null}},"min_cohort":10}`,
		"segment=%22%3E%3Cscript%3E": "400",
		"segment=secret%3Ax":         "403",
		"segment=gone%3Ax":           "404",
		"segment=away%3Ax":           "503",
		"segment=broken%3Ax":         `{"dims":`,
		"segment=nobody%3Ax":         `{"dims":{}}`,
		"segment=team%3Apart":        `{"quality":"partial","age_ms":900,"dims":{"team":{"part":{"sessions":41,"fans":40}}}}`,
		"segment=team%3Astale":       `{"quality":"stale","age_ms":4400,"dims":{"team":{"stale":{"sessions":41,"fans":40}}}}`,
		"segment=team%3Afew":         `{"dims":{"team":{"few":{"sessions":2100,"fans":2000,"reach":2001}}}}`,
		"segment=team%3Aslow":        `{"quality":"live","age_ms":151000,"dims":{"team":{"slow":{"sessions":41,"fans":40}}}}`,
		"segment=team%3Alive":        `{"quality":"live","age_ms":9900,"dims":{"team":{"live":{"sessions":41,"fans":40}}}}`,
		"segment=team%3Aover":        `{"quality":"final","age_ms":9900000,"dims":{"team":{"over":{"sessions":41,"fans":40}}}}`,
		"segment=team%3Aodd":         `{"quality":"stale","age_ms":9000000,"dims":{"team":{"odd":null}},"min_cohort":10}`,
	}
	h := newHandler(t, Config{Counts: func(_ context.Context, event string, q url.Values) (int, []byte) {
		asked = event + " " + q.Encode()
		a := answers[q.Encode()]
		if status, err := strconv.Atoi(a); err == nil {
			return status, nil
		}
		return 200, []byte(a)
	}})
	for target, want := range map[string]struct {
		status int
		text   string
	}{
		"/badge/final.svg":                               {200, ">1\u202f234\u202f567<"},
		"/badge/final.svg?value=fans":                    {200, ">≈ 98\u202f000<"},
		"/badge/final.svg?segment=team:KC&label=KC+fans": {200, ">KC fans<"},
		"/badge/final.svg?segment=team:SF&key=k1":        {200, ">&lt;10<"},
		"/badge/final.svg?segment=%22%3E%3Cscript%3E":    {400, ">no such segment<"},
		"/badge/final.svg?segment=secret:x":              {403, ">not public<"},
		"/badge/final.svg?segment=gone:x":                {404, ">no such event<"},
		"/badge/final.svg?segment=away:x":                {503, ">not known now<"},
		"/badge/final.svg?segment=broken:x":              {200, ">not known now<"},
		"/badge/final.svg?segment=nobody:x":              {200, ">0<"},
		"/badge/final.svg?segment=team:part":             {200, ">≈ 41<"},
		"/badge/final.svg?segment=team:stale":            {200, ">41, 4 s ago<"},
		"/badge/final.svg?segment=team:stale&value=fans": {200, "<title>watching: 40, 4 s ago</title>"}, // so few are counted as good as exactly
		"/badge/final.svg?segment=team:few&value=fans":   {200, ">2\u202f000<"},
		"/badge/final.svg?segment=team:few&value=reach":  {200, ">≈ 2\u202f001<"},
		"/badge/final.svg?segment=team:part&value=fans":  {200, ">≈ 40<"},
		"/badge/final.svg?segment=team:slow":             {200, `aria-label="watching: 41, 2 min ago"`},
		"/badge/final.svg?segment=team:live":             {200, ">41<"},
		"/badge/final.svg?segment=team:over":             {200, ">41<"},
		"/badge/final.svg?segment=team:odd":              {200, ">&lt;10, 2 h ago<"},
		"/badge/a%20b.svg":                               {404, ">no such event<"},
		"/badge/final.svg?label=%3C/text%3E%3Cscript%3E": {200, ">&lt;/text&gt;&lt;script&gt;<"},
	} {
		w := get(h, "GET", target)
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.text) || w.Header().Get("Content-Type") != "image/svg+xml" {
			t.Errorf("%s (asked for %s): %d %s", target, asked, w.Code, w.Body)
		}
		if err := xml.Unmarshal(w.Body.Bytes(), new(struct{})); err != nil {
			t.Errorf("%s: not XML: %v", target, err)
		}
	}
	if w := get(newHandler(t, Config{}), "GET", "/badge/final.svg"); w.Code != 503 || !strings.Contains(w.Body.String(), "no gateway") {
		t.Errorf("without a gateway: %d %s", w.Code, w.Body)
	}
}

// The overlay may be framed by every page, the others by none.
func TestTheOverlayMayBeFramed(t *testing.T) {
	h := newHandler(t, Config{})
	for target, want := range map[string]string{"/overlay/final": "frame-ancestors *", "/": "frame-ancestors 'none'", "/device": "frame-ancestors 'none'"} {
		if w := get(h, "GET", target); w.Code != 200 || !strings.Contains(w.Header().Get("Content-Security-Policy"), want) {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
}
