package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"grandstand/web/chromiumtest"
)

// artifacts is where screenshots of the tests are kept.
const artifacts = "../../artifacts"

// chromium starts a headless browser for one test. A missing one is a failure:
// make tools installs it.
func chromium(t *testing.T) context.Context { return openBrowser(t, chromiumtest.Options) }

func openBrowser(t *testing.T, options func(dir string) []chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(options(dir), chromedp.WindowSize(1280, 900))...)
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() { chromedp.Cancel(ctx) })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium (make tools installs it): %v", err)
	}
	return ctx
}

// fan opens the demo page in a tab of its own, with nothing shared with others.
func fan(t *testing.T, browser context.Context, url, query string) context.Context {
	t.Helper()
	tab, _ := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(func() { chromedp.Cancel(tab) })
	if err := chromedp.Do(tab, chromedp.Navigate(url+"/?"+query)); err != nil {
		t.Fatal(err)
	}
	return tab
}

// shown waits until the page shows the sessions of a count.
func shown(t *testing.T, tab context.Context, what string, sessions int) {
	t.Helper()
	script := fmt.Sprintf(`document.querySelector('[data-count=%q]').dataset.sessions ?? ""`, what)
	eventually(t, 15*time.Second, fmt.Sprintf("the page shows %d for the %s", sessions, what), func() error {
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](script))
		if err == nil && got != fmt.Sprint(sessions) {
			err = fmt.Errorf("it shows %q", got)
		}
		return err
	})
}

// screenshot keeps a PNG of the whole page (100 is the quality that means PNG).
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(artifacts, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(artifacts, name), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Two people open the demo page in Chromium: each sees the other counted, by
// state and team too, and gone when the tab is closed.
func TestTwoFansSeeEachOther(t *testing.T) {
	beside(t) // it mostly waits
	addr := freeAddr(t)
	url := "http://" + addr
	site := siteOf(t, `<script type="module" src="`+url+`/live-counts.js"></script><live-counts event="final" segment="team:KC" label="KC fans"></live-counts>`)
	start(t, "all", "all", "--listen", addr, "--admin", "", "--archive", "file:"+archiveOf(t), "--origins", site).ready(addr)
	putEvent(t, url, "final", `{"tick_ms":1000,"dims":["country","region",{"name":"team","values":["KC","SF"],"choose":true}]}`)

	browser := chromium(t)
	first := fan(t, browser, url, "event=final&team=KC&region=US-CA&country=US&viewer=first")
	for _, what := range []string{"world", "country", "region", "team"} {
		shown(t, first, what, 1)
	}
	second := fan(t, browser, url, "event=final&team=SF&region=US-CA&country=US&viewer=second")
	for what, n := range map[string]int{"world": 2, "country": 2, "region": 2, "team": 1} {
		shown(t, first, what, n)
		shown(t, second, what, n)
	}
	screenshot(t, first, "two-fans.png")

	// A stock client, REST and the stream say the same as the page.
	_, frames := watch(t, url, "final", "viewer=third&device=d3&country=US&region=US-NY&team=KC")
	shown(t, first, "world", 3)
	shown(t, first, "team", 2)
	c, err := getCounts(url, "final")
	if err != nil || c.World.Sessions != 3 || c.World.Fans != 3 || c.dim(t, "team")["KC"].Sessions != 2 {
		t.Errorf("counts say %+v, %v", c, err)
	}
	if status, badge := request(t, http.MethodGet, url+"/badge/final.svg?segment=team:KC", "", nil); status != http.StatusOK || !strings.Contains(badge, ">2<") {
		t.Errorf("the badge says %d %s", status, badge)
	}
	// So do the lines of the README on a page of another origin, and the page for OBS.
	for _, page := range []string{site, url + "/overlay/final?segment=team:KC"} {
		until(t, openTab(t, browser, page), page+" shows the fans of KC",
			`document.querySelector("live-counts")?.shadowRoot.querySelector("[part=number]")?.textContent === "2"`)
	}
	for b := range frames {
		var f struct {
			T string
			N map[string]*[2]uint64
		}
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		if f.T == "counts" && *f.N["world"] == [2]uint64{3, 3} && *f.N["team"] == [2]uint64{2, 2} && *f.N["region"] == [2]uint64{1, 1} {
			break
		}
	}

	chromedp.Cancel(second)
	shown(t, first, "region", 1)
	shown(t, first, "world", 2)
}
