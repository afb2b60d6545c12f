// Package web serves the pages of Grandstand: the demo page, the page of one
// device of an account, and the dashboard of operators. They are plain ES modules and a style sheet, embedded in
// the binary, that talk to the gateway and the blocker of the same origin. It also
// serves the SDK, which is built from web/sdk and which any page may load. The
// dashboard is built from web/dashboard.
//
// In: GET and HEAD requests of browsers.
//
// Out: the pages at /, /device and /dashboard, their parts under /static/, /stream/
// and /dashboard/; for the pages of others the SDK at /sdk.js, elements at
// /live-counts.js, an overlay at /overlay/{event} and badges at /badge/{event}.svg;
// for every other path an error in the form that all roles use.
package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"grandstand"
)

//go:embed static
var static embed.FS

//go:embed sdk/dist/*.js
var sdk embed.FS

// Config says what the pages show.
type Config struct {
	// Event is the event that the demo page opens when its URL names none.
	// Default "demo".
	Event string

	// Counts answers GET /v1/events/{event}/counts of a gateway, for badges. It
	// may be called at the same time. Default: there are no badges.
	Counts func(ctx context.Context, event string, query url.Values) (status int, body []byte)

	// Pictures answers GET /stream/live.m3u8 and its segments: a live HLS stream
	// (fragmented MP4) for the demo page. Default: that plays a clip.
	Pictures http.Handler
}

func (c *Config) validate() error {
	if c.Event == "" {
		c.Event = "demo"
	}
	if !grandstand.ValidValue(c.Event) {
		return fmt.Errorf("web: %q is not the name of an event", c.Event)
	}
	return nil
}

// file is one embedded file as it is served.
type file struct {
	name   string
	body   []byte
	packed []byte // body, gzipped
	etag   string // of body
	shared bool   // by pages of every origin
	framed bool   // by pages of every origin
}

// The kinds of files there are. They do not come from the machine's MIME table,
// which may lack them or say otherwise.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
	".webm": "video/webm",
}

// New returns the handler of the pages. It starts nothing.
func New(cfg Config) (http.Handler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, fmt.Errorf("list pages: %w", err)
	}
	r := mux.NewRouter()
	r.NotFoundHandler = http.HandlerFunc(notFound)
	r.MethodNotAllowedHandler = http.HandlerFunc(notAllowed)
	for _, e := range entries {
		body, err := static.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		if kinds[path.Ext(e.Name())] == "" {
			return nil, fmt.Errorf("web: no content type for %s", e.Name())
		}
		if path.Ext(e.Name()) == ".html" {
			if body, err = fill(body, cfg); err != nil {
				return nil, err
			}
		}
		f := newFile(e.Name(), body)
		f.framed = e.Name() == overlay
		r.Handle(address(e.Name()), f).Methods(http.MethodGet, http.MethodHead)
	}
	if cfg.Pictures != nil {
		r.PathPrefix(stream).Handler(http.StripPrefix(stream, cfg.Pictures)).Methods(http.MethodGet, http.MethodHead)
	}
	r.Handle("/badge/{event}.svg", badge{cfg}).Methods(http.MethodGet, http.MethodHead)
	if err := addSDK(r); err != nil {
		return nil, err
	}
	return secured(r), addDashboard(r)
}

// overlay is the page that others lay over their pictures.
const overlay = "overlay.html"

// stream is where the pictures of the demo page are.
const stream = "/stream/"

// addSDK serves the SDK and the parts that it loads.
func addSDK(r *mux.Router) error {
	const dir = "sdk/dist"
	entries, err := fs.ReadDir(sdk, dir)
	if err != nil {
		return fmt.Errorf("list the SDK: %w", err)
	}
	for _, e := range entries {
		body, err := sdk.ReadFile(dir + "/" + e.Name())
		if err != nil {
			return fmt.Errorf("read the SDK: %w", err)
		}
		f := newFile(e.Name(), body)
		f.shared = true
		r.Handle("/"+e.Name(), f).Methods(http.MethodGet, http.MethodHead)
	}
	return nil
}

// address returns the path that an embedded file is served at.
func address(name string) string {
	switch page, isPage := strings.CutSuffix(name, ".html"); {
	case page == "index":
		return "/"
	case name == overlay:
		return "/overlay/{event}"
	case isPage:
		return "/" + page
	}
	return "/static/" + name
}

// fill puts the configuration into a page.
func fill(page []byte, cfg Config) ([]byte, error) {
	t, err := template.New("page").Parse(string(page))
	if err != nil {
		return nil, fmt.Errorf("parse page: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, cfg); err != nil {
		return nil, fmt.Errorf("fill page: %w", err)
	}
	return b.Bytes(), nil
}

func newFile(name string, body []byte) *file {
	sum := sha256.Sum256(body)
	return &file{name: name, body: body, packed: pack(body), etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// pack returns the body gzipped, or nil if that does not make it much smaller.
func pack(body []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // no error: the level is one
	_, _ = w.Write(body)                                  // nor does a buffer have any
	_ = w.Close()
	if b.Len() > len(body)*9/10 {
		return nil
	}
	return b.Bytes()
}

// takesGzip reports whether a client said that it can unpack gzip.
func takesGzip(r *http.Request) bool {
	for _, v := range r.Header.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(v, ",") {
			name, q, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";q=")
			if share, err := strconv.ParseFloat(q, 64); strings.EqualFold(name, "gzip") && (err != nil || share > 0) {
				return true
			}
		}
	}
	return false
}

// ServeHTTP serves the file. A browser asks each time whether it has changed,
// so that a page and its modules are always of the same release. What pages of
// every origin share is kept for ten minutes.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", kinds[path.Ext(f.name)])
	body, etag := f.body, f.etag
	if f.packed != nil {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body, etag = f.packed, strings.TrimSuffix(f.etag, `"`)+`-gzip"` // it is another sequence of bytes
		}
	}
	h.Set("ETag", etag)
	h.Set("Cache-Control", "no-cache")
	if f.framed {
		h.Set("Content-Security-Policy", strings.Replace(policy, "frame-ancestors 'none'", "frame-ancestors *", 1))
		h.Del("Cross-Origin-Opener-Policy")
	}
	if f.shared {
		h.Set("Cache-Control", "public, max-age=600")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(body))
}

// policy lets a page load only what is embedded, and talk only to its own
// origin and to gateways; text never becomes markup. (A blob is what a script
// plays.)
const policy = "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the URL names the viewer
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeError(w, http.StatusNotFound, grandstand.CodeNotFound, "there is no such page; the demo page is at /, that of a device at /device, that of operators at /dashboard")
}

func notAllowed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	writeError(w, http.StatusMethodNotAllowed, grandstand.CodeInvalid, "pages are read with GET or HEAD")
}

func writeError(w http.ResponseWriter, status int, code grandstand.Code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"code": string(code), "message": message})
}
