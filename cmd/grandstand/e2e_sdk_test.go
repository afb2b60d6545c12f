package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
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
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<script type="module">
			import { connect } from "http://%s/sdk.js"
			window.live = connect({ event: "final", viewer: "v1", device: "d1", onCounts: (c) => { window.world = c.segments.world.sessions } })
		</script>`, between.addr)
	}))
	t.Cleanup(site.Close)
	all := func() *process {
		return start(t, "all", "all", "--listen", addr, "--admin", admin, "--redis", redis, "--secret", testSecret, "--archive", archive,
			"--journal-age", "1s", "--drain-over", "1s", "--origins", site.URL).ready(addr)
	}
	until := func(tab context.Context, what, script string) {
		t.Helper()
		eventually(t, 30*time.Second, what, func() error {
			if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](script, chromedp.EvalAwaitPromise)); err != nil || !ok {
				return fmt.Errorf("%s: %t, %w", script, ok, err)
			}
			return nil
		})
	}
	open := func(browser context.Context) context.Context {
		t.Helper()
		tab, _ := chromedp.NewContext(browser)
		if err := chromedp.Do(tab, chromedp.Navigate(site.URL)); err != nil {
			t.Fatal(err)
		}
		return tab
	}
	track := func(tab context.Context, from, to int) {
		t.Helper()
		script := fmt.Sprintf(`(() => { for (let i = %d; i <= %d; i++) live.track("goal", {number: "n" + i}) ; return true })()`, from, to)
		if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](script)); err != nil {
			t.Fatal(err)
		}
	}

	first := all()
	browser := chromium(t)
	tab := open(browser)
	until(tab, "the page counts itself", `window.world === 1`)
	track(tab, 1, 30)
	until(tab, "the server has all", `live.outbox.items.length === 0`)
	setNetwork(t, tab, true)
	track(tab, 61, 80)
	until(tab, "the browser keeps what it cannot send", stored+`.then((n) => n === 20)`)
	setNetwork(t, tab, false)
	until(tab, "the server has all that the browser kept", stored+`.then((n) => n === 0)`)
	durable := func() float64 { return scrape(t, admin)("grandstand_journal_durable_events_total") }
	before := durable()
	between.deafen()
	track(tab, 81, 90)
	eventually(t, 20*time.Second, "the server has what it cannot acknowledge", func() error {
		if n := durable() - before; n < 10 {
			return fmt.Errorf("%.0f of 10", n)
		}
		return nil
	})
	until(tab, "the page does not know that", `live.outbox.items.length === 10`)
	between.cut()
	between.mend()
	until(tab, "the server has all again", `live.outbox.items.length === 0`)
	first.kill()
	track(tab, 31, 60)
	until(tab, "the browser keeps what waits", stored+`.then((n) => n === 30)`)
	crash, cancel := context.WithTimeout(tab, time.Second)
	_, _ = chromedp.Call(crash, page.Crash, cdp.Empty{}) // nobody is left to answer
	cancel()
	dead, cancel := context.WithTimeout(tab, 2*time.Second)
	if n, err := chromedp.Run(dead, chromedp.Evaluate[int](`1`)); err == nil {
		t.Errorf("the tab that crashed answers %d", n)
	}
	cancel()
	second := all()
	again := open(browser)
	until(again, "the page counts itself again", `window.world === 1`)
	until(again, "nothing waits any more", stored+`.then((n) => n === 0)`)

	second.signal(syscall.SIGTERM)
	if code := second.wait(60 * time.Second); code != 0 {
		t.Fatalf("it ended with code %d:\n%s", code, tail(second.log.String(), 2000))
	}
	cmd := exec.Command(os.Args[0], "archive", "cat", "--archive", archive, "final")
	cmd.Env = append(os.Environ(), beGrandstand+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("cat: %v\n%s", err, tail(out.String(), 2000))
	}
	for i := 1; i <= 90; i++ {
		if n := strings.Count(out.String(), fmt.Sprintf(`n%d\"`, i)) + strings.Count(out.String(), fmt.Sprintf(`"n%d"`, i)); n != 1 {
			t.Errorf("event %d is archived %d times", i, n)
		}
	}
}
