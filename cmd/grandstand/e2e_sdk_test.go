package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"grandstand/redis/redistest"
)

// stored returns how many events the page's browser keeps for the SDK.
const stored = `(async () => {
	const of = (r) => new Promise((ok, no) => { r.onsuccess = () => ok(r.result); r.onerror = no })
	const db = await of(indexedDB.open("grandstand"))
	const n = await of(db.transaction("events").objectStore("events").count())
	db.close()
	return n
})()`

// A page of another origin, with one line for the SDK, without a network for a
// while, on a link that loses acknowledgements, on a server that is killed and in a
// tab that crashes: every event that it told of is archived, once.
func TestTheSDKLosesNothing(t *testing.T) {
	beside(t) // it mostly waits
	addr, admin, redis, archive := freeAddr(t), freeAddr(t), redistest.StartServer(t).URL(), "file:"+archiveOf(t)
	between := newLink(t, addr)
	site := siteOf(t, withSDK("http://"+between.addr))
	all := func() *process {
		return start(t, "all", "all", "--listen", addr, "--admin", admin, "--redis", redis, "--secret", testSecret, "--archive", archive,
			"--journal-age", "1s", "--drain-over", "1s", "--origins", site).ready(addr)
	}

	first := all()
	browser := chromium(t)
	tab := openTab(t, browser, site)
	until(t, tab, "the page counts itself", `window.world === 1`)
	track(t, tab, 1, 30)
	until(t, tab, "the server has all", `live.outbox.items.length === 0`)
	setNetwork(t, tab, true)
	track(t, tab, 61, 80)
	until(t, tab, "the browser keeps what it cannot send", stored+`.then((n) => n === 20)`)
	setNetwork(t, tab, false)
	until(t, tab, "the server has all that the browser kept", stored+`.then((n) => n === 0)`)
	durable := func() float64 { return scrape(t, admin)("grandstand_journal_durable_events_total") }
	before := durable()
	between.deafen()
	track(t, tab, 81, 90)
	eventually(t, 20*time.Second, "the server has what it cannot acknowledge", func() error {
		if n := durable() - before; n < 10 {
			return fmt.Errorf("%.0f of 10", n)
		}
		return nil
	})
	until(t, tab, "the page does not know that", `live.outbox.items.length === 10`)
	between.cut()
	between.mend()
	until(t, tab, "the server has all again", `live.outbox.items.length === 0`)
	first.kill()
	track(t, tab, 31, 60)
	until(t, tab, "the browser keeps what waits", stored+`.then((n) => n === 30)`)
	crash, cancel := context.WithTimeout(tab, time.Second)
	_, _ = chromedp.Call(crash, page.Crash, cdp.Empty{}) // nobody is left to answer
	cancel()
	dead, cancel := context.WithTimeout(tab, 2*time.Second)
	if n, err := chromedp.Run(dead, chromedp.Evaluate[int](`1`)); err == nil {
		t.Errorf("the tab that crashed answers %d", n)
	}
	cancel()
	second := all()
	again := openTab(t, browser, site)
	until(t, again, "the page counts itself again", `window.world === 1`)
	until(t, again, "nothing waits any more", stored+`.then((n) => n === 0)`)

	second.signal(syscall.SIGTERM)
	if code := second.wait(60 * time.Second); code != 0 {
		t.Fatalf("it ended with code %d:\n%s", code, tail(second.log.String(), 2000))
	}
	archivedOnce(t, archive, 90)
}

// A proxy on the way refuses WebSockets: the page counts itself all the same, sees
// the number move, and loses nothing.
func TestTheSDKWithoutWebSockets(t *testing.T) {
	beside(t)
	addr, archive := freeAddr(t), "file:"+archiveOf(t)
	backend := &url.URL{Scheme: "http", Host: addr}
	through := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(backend); r.Out.Host = r.In.Host }}
	upgrades := atomic.Int64{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			upgrades.Add(1)
			http.Error(w, "no WebSockets here", http.StatusForbidden)
			return
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	site := siteOf(t, withSDK(proxy.URL))
	server := start(t, "all", "all", "--listen", addr, "--admin", "", "--redis", redistest.StartServer(t).URL(), "--secret", testSecret, "--archive", archive,
		"--journal-age", "1s", "--drain-over", "1s", "--origins", site).ready(addr)
	putEvent(t, "http://"+addr, "final", fast)

	tab := openTab(t, chromium(t), site)
	until(t, tab, "the page counts itself", `window.world === 1`)
	if upgrades.Load() == 0 {
		t.Error("it did not try a WebSocket")
	}
	socket, frames := watch(t, "http://"+addr, "final", "viewer=v2&device=d2&interval_ms=60000")
	go func() {
		for range frames {
		}
	}()
	until(t, tab, "the page sees who comes", `window.world === 2`)
	track(t, tab, 1, 30)
	until(t, tab, "the server has all", `live.outbox.items.length === 0`)
	socket.CloseNow()

	server.signal(syscall.SIGTERM)
	if code := server.wait(60 * time.Second); code != 0 {
		t.Fatalf("it ended with code %d:\n%s", code, tail(server.log.String(), 2000))
	}
	archivedOnce(t, archive, 30)
}

// siteOf returns the address of a page of another origin.
func siteOf(t *testing.T, html string) string {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, html)
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// withSDK is a page with one line for the SDK.
func withSDK(url string) string {
	return fmt.Sprintf(`<script type="module">
			import { connect } from "%s/sdk.js"
			window.live = connect({ event: "final", viewer: "v1", device: "d1", onCounts: (c) => { window.world = c.segments.world.sessions } })
		</script>`, url)
}

func openTab(t *testing.T, browser context.Context, url string) context.Context {
	t.Helper()
	tab, _ := chromedp.NewContext(browser)
	if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return tab
}

// until waits until a script in the tab says true.
func until(t *testing.T, tab context.Context, what, script string) {
	t.Helper()
	eventually(t, 30*time.Second, what, func() error {
		if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise)); err != nil || !ok {
			return fmt.Errorf("%s: %t, %w", script, ok, err)
		}
		return nil
	})
}

// track has the page of siteOf tell of goals, by number.
func track(t *testing.T, tab context.Context, from, to int) {
	t.Helper()
	script := fmt.Sprintf(`(() => { for (let i = %d; i <= %d; i++) live.track("goal", {number: "n" + i}) ; return true })()`, from, to)
	if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](script)); err != nil {
		t.Fatal(err)
	}
}

// archivedOnce proves that the goals 1 to n are in the archive, each once.
func archivedOnce(t *testing.T, archive string, n int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "archive", "cat", "--archive", archive, "final")
	cmd.Env = append(os.Environ(), beGrandstand+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("cat: %v\n%s", err, tail(out.String(), 2000))
	}
	for i := 1; i <= n; i++ {
		if got := strings.Count(out.String(), fmt.Sprintf(`n%d\"`, i)) + strings.Count(out.String(), fmt.Sprintf(`"n%d"`, i)); got != 1 {
			t.Errorf("event %d is archived %d times", i, got)
		}
	}
}
