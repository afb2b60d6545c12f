package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"grandstand/redis/redistest"
	"grandstand/web/chromiumtest"
)

// holds waits until an expression is true in a page; promises are awaited.
func holds(t *testing.T, tab context.Context, what, script string) {
	t.Helper()
	eventually(t, 30*time.Second, what, func() error {
		if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool]("Promise.resolve("+script+").then(Boolean)", chromedp.EvalAwaitPromise)); err != nil || !ok {
			text, _ := chromedp.Run(tab, chromedp.Evaluate[string]("document.body.innerText.slice(0, 1500)"))
			return fmt.Errorf("%s: %t, %w; the page: %s", script, ok, err, text)
		}
		return nil
	})
}

// has is true of a page that shows the text at a place that is not hidden.
func has(selector, text string) string {
	return fmt.Sprintf(`((e) => e && !e.closest("[hidden]") && e.textContent.includes(%q))(document.querySelector(%q))`, text, selector)
}

const (
	pageIsLive = `document.querySelector("#status").dataset.state === "live"`
	pageIsLost = `document.querySelector("#status").dataset.state === "reconnecting"`
	isBlocked  = `!document.querySelector("#blocked").hidden`
	notBlocked = `document.querySelector("#blocked").hidden`
)

// setNetwork takes a tab's network away, or gives it back.
func setNetwork(t *testing.T, tab context.Context, offline bool) {
	t.Helper()
	conditions := []*network.Conditions{{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1}}
	_, err := chromedp.Call(tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: conditions})
	if err == nil {
		_, err = chromedp.Call(tab, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func press(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.Click(chromedp.CSS(selector))); err != nil {
		t.Fatal(err)
	}
}

// The life of a page in Chromium: its network goes and comes, it is hidden, its
// server is killed. It says so, comes back by itself with the same session, and
// its number is right again. Then it is one of three devices of an account that
// may play on two.
func TestAPagesLife(t *testing.T) {
	beside(t) // it mostly waits
	addr, redis := freeAddr(t), redistest.StartServer(t).URL()
	url := "http://" + addr
	all := func() *process {
		return start(t, "all", "all", "--listen", addr, "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", "file:"+archiveOf(t), "--drain-over", "1s").ready(addr)
	}
	server := all()
	putEvent(t, url, "final", `{"tick_ms":1000,"dims":["country","region",{"name":"team","values":["KC","SF"],"choose":true}]}`)
	browser := openBrowser(t, chromiumtest.Windowed)
	other := fan(t, browser, url, "event=final&viewer=other&team=KC")
	tab := fan(t, browser, url, "event=final&viewer=v1&team=KC")
	shown(t, tab, "world", 2)
	holds(t, tab, "the video plays", `document.querySelector("#video").currentTime > 0`)
	const session = `Object.entries(localStorage).find(([k]) => k.startsWith("grandstand.session."))[1].split(" ")[0]`
	before, err := chromedp.Run(tab, chromedp.Evaluate[string](session))
	if err != nil || before == "" {
		t.Fatalf("no session: %v", err)
	}
	same := fmt.Sprintf("%s === %q", session, before)

	setNetwork(t, tab, true)
	holds(t, tab, "the page says that it is lost", pageIsLost)
	holds(t, tab, "and what it does about it", has("#notice", "The connection to the server is lost; the numbers are the last good ones."))
	screenshot(t, tab, "offline.png")
	setNetwork(t, tab, false)
	holds(t, tab, "it is back", pageIsLive)
	shown(t, tab, "world", 2)
	holds(t, tab, "with the same session", same)

	// A tab in front of it, in the same window, hides it.
	front, _ := chromedp.NewContext(tab, chromedp.WithNewWindow(false))
	if err := chromedp.Do(front, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(front, page.BringToFront, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	holds(t, tab, "it is hidden", `document.hidden`)
	chromedp.Cancel(front)
	if _, err := chromedp.Call(tab, page.BringToFront, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	holds(t, tab, "it is seen again", `!document.hidden`)
	press(t, tab, "#messages summary")
	holds(t, tab, "it declared a minute meanwhile", `[...document.querySelectorAll("#message-list .player code")].some((e) => e.textContent.includes('"interval_ms":60000'))`)

	server.kill()
	holds(t, tab, "the page says that the server is gone", has("#notice", "This page goes on trying by itself."))
	server = all()
	holds(t, tab, "it comes back", pageIsLive)
	holds(t, other, "so does the other", pageIsLive)
	shown(t, tab, "world", 2)
	holds(t, tab, "with the same session", same)

	family := func(device string) context.Context {
		return fan(t, browser, url, "event=final&viewer=v2&account=family&limit=2&device="+device+"&name="+device)
	}
	tv := family("TV")
	holds(t, tv, "the first device plays", pageIsLive)
	phone := family("Phone")
	holds(t, phone, "so does the second", pageIsLive)
	shown(t, tab, "world", 4)
	laptop := family("Laptop")
	holds(t, laptop, "the third is told why not", has("#blocked", "Playing now: TV and Phone."))
	holds(t, laptop, "and its video stands still", `document.querySelector("#video").paused`)
	screenshot(t, laptop, "third-device.png")
	press(t, laptop, "#blocked .main")
	holds(t, laptop, "it takes over", notBlocked)
	holds(t, phone, "the loser hears by whom", isBlocked+" && "+has("#blocked", "Laptop is playing instead"))
	holds(t, tv, "the other plays on", notBlocked)
	shown(t, tab, "world", 4)
	server.signal(syscall.SIGTERM)
	if code := server.wait(60 * time.Second); code != 0 {
		t.Errorf("it ended with code %d", code)
	}
}

// The demo makes a live stream, which the page plays, live and again; ffmpeg does
// not outlive it, however it ends.
func TestTheDemoPlaysALiveStream(t *testing.T) {
	beside(t) // it mostly waits
	addr := freeAddr(t)
	demo := start(t, "demo", "demo", "--listen", addr, "--admin", "", "--viewers", "20", "--archive", "file:"+archiveOf(t)).ready(addr)
	children := func() (pids []string) {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", demo.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err == nil {
				pids = append(pids, strings.Fields(string(text))...)
			}
		}
		return pids
	}
	eventually(t, 20*time.Second, "the stream begins", func() error {
		if status, text := request(t, http.MethodGet, "http://"+addr+"/stream/live.m3u8", "", nil); status != http.StatusOK || !strings.Contains(text, ".m4s") {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	tab := fan(t, chromium(t), "http://"+addr, "viewer=v1")
	holds(t, tab, "the page plays it", has("#what-video", "A live HLS stream, made on this machine by ffmpeg.")+` && document.querySelector("#video").currentTime > 2`)
	press(t, tab, "#replay")
	holds(t, tab, "and plays it again", has("#what-video", "with the audience of that time")+` && document.querySelector("#video").currentTime > 0.5 && document.querySelector("#video").duration < 300`)
	screenshot(t, tab, "live-stream.png")
	pids := children()
	if len(pids) != 1 {
		t.Errorf("the demo has the children %v", pids)
	}
	demo.kill()
	eventually(t, 5*time.Second, "ffmpeg is gone", func() error {
		for _, pid := range pids {
			if state, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
				return fmt.Errorf("%s", state)
			}
		}
		return nil
	})
}

// Pages of others that may not connect, or come with a token that is no good, are
// told in a sentence.
func TestTheSDKSaysWhatIsWrong(t *testing.T) {
	beside(t) // it mostly waits
	addr := freeAddr(t)
	site := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, `<script type="module">
				import { connect } from "http://%s/sdk.js"
				const asked = new URLSearchParams(location.search)
				window.states = []
				window.errors = []
				connect({ event: asked.get("event"), token: asked.get("token"), onState: (s) => states.push(s), onError: (e) => errors.push(e) })
			</script>`, addr)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	friend, stranger := site(), site()
	g := start(t, "all", "all", "--listen", addr, "--admin", "", "--archive", "file:"+archiveOf(t), "--journal", "off",
		"--auth", "jwt", "--jwt-secret", jwtSecret, "--admin-token", adminToken, "--secret", testSecret, "--origins", friend).ready(addr)
	g.url = "http://" + addr
	configure(t, g, "final", `{}`)
	token := newIssuer(t).hs()
	browser := chromium(t)
	for name, c := range map[string]struct{ page, wants string }{
		"good":           {friend + "?event=final&token=" + token, `states.at(-1)?.state === "open"`},
		"a wrong token":  {friend + "?event=final&token=" + token + "x", `states.at(-1)?.state === "closed" && states.at(-1).code === "unauthorized" && states.at(-1).message.length > 10`},
		"no token":       {friend + "?event=final", `states.at(-1)?.state === "closed" && states.at(-1).message.startsWith("a token is needed")`},
		"another event":  {friend + "?event=semi&token=" + token, `states.at(-1)?.state === "closed" && /^(forbidden|not_found)$/.test(states.at(-1).code)`},
		"another origin": {stranger + "?event=final&token=" + token, `errors.length === 1 && errors[0].message.includes("serves no pages of " + location.origin + ": its operator lists that in --origins")`},
	} {
		tab, _ := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
		if err := chromedp.Do(tab, chromedp.Navigate(c.page)); err != nil {
			t.Fatal(err)
		}
		holds(t, tab, name, "window.states && "+c.wants)
		chromedp.Cancel(tab)
	}
}
