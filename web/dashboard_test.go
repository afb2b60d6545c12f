package web

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestDashboardFiles(t *testing.T) {
	h := newHandler(t, Config{})
	for target, kind := range map[string]string{
		"/dashboard": "text/html; charset=utf-8", "/dashboard/app.js": "text/javascript; charset=utf-8", "/dashboard/app.css": "text/css; charset=utf-8",
		"/dashboard/us.json": "application/json", "/dashboard/world.json": "application/json",
	} {
		w := get(h, "GET", target)
		if w.Code != 200 || w.Header().Get("Content-Type") != kind || w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
		if again := get(h, "GET", target, "If-None-Match", w.Header().Get("ETag")); again.Code != 304 {
			t.Errorf("%s: %d for who has it", target, again.Code)
		}
	}
	for _, target := range []string{"/dashboard/", "/dashboard/index.html", "/dashboard/app.map", "/dashboard/src/main.js"} {
		if w := get(h, "GET", target); w.Code != 404 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

// The page that is served is the one in src: make sdk builds the rest anew and
// compares, which needs Node.
func TestDashboardPageIsBuilt(t *testing.T) {
	want, err := os.ReadFile("dashboard/src/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := dashboard.ReadFile("dashboard/dist/index.html"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("dashboard/dist is not what dashboard/src makes: run make web (%v)", err)
	}
}

// TestDashboardNoMarkupFromText is TestNoMarkupFromText for the dashboard's own
// sources; what they are bundled with is bound by the policy, too.
func TestDashboardNoMarkupFromText(t *testing.T) {
	err := filepath.WalkDir("dashboard/src", func(p string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(p) != ".js" && path.Ext(p) != ".html" {
			return err
		}
		b, err := os.ReadFile(p)
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
