package web

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"grandstand/web/chromiumtest"
)

// chromium is the one browser of all tests, started by the first that needs it.
var chromium = struct {
	once sync.Once
	ctx  context.Context
	err  error
}{}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "web")
	if err != nil {
		panic(err)
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), chromiumtest.Options(dir)...)
	chromium.ctx, _ = chromedp.NewContext(allocator)
	code := m.Run()
	chromedp.Cancel(chromium.ctx) // waits for the process, which writes to dir
	cancel()
	os.RemoveAll(dir)
	os.Exit(code)
}

// browser returns a context of one tab with a profile of its own. Chromium must
// be on the machine (make test installs it). A script error or a refusal by the
// content policy fails the test, in this tab and in those that tab opens.
func browser(t *testing.T) context.Context {
	t.Helper()
	chromium.once.Do(func() { chromium.err = chromedp.Do(chromium.ctx) })
	if chromium.err != nil {
		t.Fatalf("start Chromium (make test installs it): %v", chromium.err)
	}
	ctx, cancel := context.WithTimeout(chromium.ctx, 3*time.Minute)
	t.Cleanup(cancel)
	return tab(t, ctx, chromedp.WithNewBrowserContext())
}

// tab returns a context of another tab of the browser that ctx is of.
func tab(t *testing.T, ctx context.Context, options ...chromedp.ContextOption) context.Context {
	t.Helper()
	ctx, _ = chromedp.NewContext(ctx, options...)
	t.Cleanup(func() { chromedp.Cancel(ctx) })
	var mu sync.Mutex
	err := chromedp.Listen(ctx, func(e any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			d := e.ExceptionDetails
			text := d.Text
			if d.Exception != nil {
				text += " " + d.Exception.Description
			}
			t.Errorf("script error in %s, line %d: %s", d.URL, d.LineNumber+1, text)
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity {
				t.Errorf("refused by the policy: %s", e.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// eval runs a script in the page and returns its value; promises are awaited.
func eval[T any](t *testing.T, ctx context.Context, script string) T {
	t.Helper()
	v, err := tryEval[T](ctx, script)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return v
}

func tryEval[T any](ctx context.Context, script string) (T, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

func open(t *testing.T, ctx context.Context, f *fakeGateway, query string) {
	t.Helper()
	do(t, ctx, chromedp.Navigate(f.URL+"/"+query))
}

// until waits for a JavaScript expression to become true. (chromedp.Poll makes
// a function from text, which the content policy refuses.) A page that is just
// being replaced by the next one cannot be asked, and is asked again.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	var is bool
	var err error
	if !eventually(func() bool { is, err = tryEval[bool](ctx, "Boolean("+expression+")"); return is }) {
		t.Fatalf("never: %s (%v)\nthe page: %s", expression, err, eval[string](t, ctx, `document.body.innerText`))
	}
}

// eventually asks again until it is told yes, for as long as a busy machine may
// need.
func eventually(ask func() bool) bool {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ask() {
			return true
		}
	}
	return false
}

// runFirst runs a script in each page before its own.
func runFirst(t *testing.T, ctx context.Context, script string) {
	t.Helper()
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		t.Fatal(err)
	}
}

// change sets a control as a person would.
func change(t *testing.T, ctx context.Context, id, value string) {
	t.Helper()
	eval[bool](t, ctx, fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %q; return e.dispatchEvent(new Event("change", {bubbles: true})); })()`, id, value))
}

func status(state string) string {
	return fmt.Sprintf(`document.querySelector("#status").dataset.state === %q`, state)
}

func sessions(dim string, n int) string {
	return fmt.Sprintf(`document.querySelector('[data-count=%q]').dataset.sessions === "%d"`, dim, n)
}

func TestFourNumbers(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1&team=SF&region=US-MO&country=US")
	until(t, ctx, status("live"))
	until(t, ctx, sessions("world", 8201))
	for dim, n := range map[string]int{"region": 1891, "team": 3876, "country": 6831} {
		until(t, ctx, sessions(dim, n))
	}
	until(t, ctx, inside("[data-count=world] .number", "[part=number]")+` === "8,201"`)
	until(t, ctx, inside("[data-count=world] .fans", "[part=number]")+` === "≈\u00a07,954"`)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "3,876"`)
	until(t, ctx, inside("#over-mine", "[part=peak]")+` === "peak\u00a03,876"`)
	until(t, ctx, inside("#over-rivals", ".row")+`?.startsWith("SF 3,876 (48%)KC 4,212")`)
	until(t, ctx, `document.querySelector('[data-count=region] .who').textContent === "Missouri"`)
	until(t, ctx, `/^live, \d\.\d\ss old$/.test(document.querySelector("#status-text").textContent)`)
	until(t, ctx, `document.querySelector('[data-count=world] live-trend').shadowRoot.querySelector("canvas").getAttribute("aria-label") === "watching: 8,201, at most 9,100"`)
	q := f.openings()[0]
	if q.Get("viewer") != "v1" || q.Get("device") == "" || q.Get("team") != "SF" || q.Get("region") != "US-MO" || q.Get("country") != "US" {
		t.Errorf("connected with %v", q)
	}
	f.locked(func() { f.crowd["world"][""] += 100; f.null = "team" })
	until(t, ctx, sessions("world", 8301))
	until(t, ctx, inside("[data-count=team] .number", "[part=number]")+` === "<10" && !("sessions" in document.querySelector('[data-count=team]').dataset)`)
}

// An event without teams has no number for one, and says of a small region what it
// is less than all the same.
func TestAnEventWithoutTeams(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { delete(f.crowd, "team"); f.null = "region" })
	open(t, ctx, f, "?viewer=v1&region=US-MO&country=US")
	until(t, ctx, sessions("country", 6831))
	until(t, ctx, inside("[data-count=region] .number", "[part=number]")+` === "<10"`)
	until(t, ctx, inside("[data-count=team] .number", "[part=number]")+` === "–"`)
}

func TestSecondWindowIsAnotherFan(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "")
	until(t, ctx, sessions("world", 8201))
	do(t, ctx, chromedp.Click(chromedp.CSS("#second")))
	until(t, ctx, sessions("world", 8202))
	until(t, ctx, sessions("team", 4214))
	a, b := f.openings()[0], f.openings()[1]
	if a.Get("viewer") == b.Get("viewer") || b.Get("viewer") == "" || a.Get("team") != b.Get("team") {
		t.Errorf("the windows are %v and %v", a, b)
	}
	if a.Get("account") == b.Get("account") || a.Get("device") == b.Get("device") || a.Get("limit") != "2" || b.Get("limit") != "2" {
		t.Errorf("the windows are %v and %v, which are two accounts", a, b)
	}
	do(t, ctx, chromedp.Click(chromedp.CSS("#open-device")))
	until(t, ctx, sessions("world", 8203))
	if c := f.openings()[2]; c.Get("viewer") != a.Get("viewer") || c.Get("account") != a.Get("account") || c.Get("device") == a.Get("device") || c.Get("name") != "Window 2" {
		t.Errorf("another device is %v, the first %v", c, a)
	}
}

func TestAnotherFanFromAnotherDevice(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1&account=family&device=d1&name=Window+2&limit=5")
	until(t, ctx, sessions("world", 8201))
	do(t, ctx, chromedp.Click(chromedp.CSS("#second")))
	until(t, ctx, sessions("world", 8202))
	b := f.openings()[1]
	if v := b.Get("viewer"); v == "v1" || b.Get("account") != "acct-"+v || b.Get("device") != "dev-"+v || b.Get("limit") != "2" || b.Get("name") != "Chrome on Linux" {
		t.Errorf("another fan is %v: nothing but the choices is theirs too", b)
	}
}

func TestReconnectResumes(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, sessions("world", 8201))

	f.locked(func() { f.refuse = 503 })
	f.closeAll(websocket.StatusServiceRestart, "drain")
	until(t, ctx, status("reconnecting"))
	until(t, ctx, `/last good number, \d/.test(document.querySelector("#status-text").textContent)`)
	until(t, ctx, sessions("world", 8201)) // the last good number stays
	f.locked(func() { f.refuse = 0 })
	eval[bool](t, ctx, `dispatchEvent(new Event("online"))`)
	until(t, ctx, status("live"))
	for i, q := range f.openings()[1:] {
		if s := q.Get("session"); s != "s1" {
			t.Errorf("try %d came with session %q, want s1", i+1, s)
		}
	}
}

func TestServerWithANewSecret(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, sessions("world", 8201))
	f.locked(func() { f.newSecret = true })
	f.closeAll(websocket.StatusServiceRestart, "")
	until(t, ctx, status("reconnecting"))
	until(t, ctx, status("live"))
	if all := f.openings(); len(all) != 3 || all[1].Get("session") != "s1" || all[2].Get("session") != "" {
		t.Errorf("openings %v, want one with the session and one without", all)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.refuse = 503 })
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, status("reconnecting"))
	until(t, ctx, `/Try now \([5-9] s\)/.test(document.querySelector("#retry").textContent)`) // 5 s, where none is named
	f.locked(func() { f.refuse = 0 })
	do(t, ctx, chromedp.Click(chromedp.CSS("#retry")))
	until(t, ctx, status("live"))
}

func TestDrainMovesWithTheSession(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, sessions("world", 8201))
	f.say(`{"t":"drain","retry_ms":50}`)
	eventually(func() bool { return len(f.openings()) == 2 })
	until(t, ctx, status("live"))
	if all := f.openings(); len(all) != 2 || all[1].Get("session") != "s1" {
		t.Errorf("openings %v, want a second one with the session", all)
	}
	f.locked(func() {
		if len(f.closes) != 1 || f.closes[0] != 4000 {
			t.Errorf("closed with %v: a move must not be a goodbye", f.closes)
		}
	})
}

func TestFinalCloses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code  websocket.StatusCode
		state string
		says  string
	}{
		{4504, "ended", "is over"},
		{4501, "error", "asks for a token"},
		{4503, "error", "may not watch"},
		{4999, "error", "Reload the page"},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			f, ctx := newFakeGateway(t), browser(t)
			open(t, ctx, f, "?viewer=v1")
			until(t, ctx, status("live"))
			f.closeAll(c.code, "<b>because</b>")
			until(t, ctx, status(c.state))
			until(t, ctx, fmt.Sprintf(`document.querySelector("#notice-text").textContent.includes(%q)`, c.says))
			if c.code == 4504 {
				until(t, ctx, sessions("world", 8200)) // from counts: this window has left
			}
			if n := len(f.openings()); n != 1 {
				t.Errorf("connected %d times", n)
			}
		})
	}
}

func TestRefusedBeforeUpgrade(t *testing.T) {
	t.Parallel()
	for code, says := range map[int]string{
		http.StatusNotFound:     "There is no event",
		http.StatusUnauthorized: "asks for a token",
		http.StatusForbidden:    "may not watch",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			f, ctx := newFakeGateway(t), browser(t)
			f.locked(func() { f.refuse = code })
			open(t, ctx, f, "?event=nowhere")
			until(t, ctx, status("error"))
			until(t, ctx, fmt.Sprintf(`document.querySelector("#notice-text").textContent.includes(%q)`, says))
			f.locked(func() { f.refuse = 0 })
			change(t, ctx, "event", "demo")
			until(t, ctx, status("live"))
			until(t, ctx, `document.querySelector("#notice").hidden`)
		})
	}
}

func TestStaleAndPartial(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, status("live"))
	f.locked(func() { f.quality = "stale" })
	until(t, ctx, status("stale"))
	until(t, ctx, `/^last good number, \d/.test(document.querySelector("#status-text").textContent)`)
	until(t, ctx, sessions("world", 8201))
	f.locked(func() { f.quality = "partial" })
	until(t, ctx, status("live"))
	until(t, ctx, `document.querySelector("#status").dataset.quality === "partial"`)
}

func TestChoices(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, sessions("team", 4213))
	until(t, ctx, `document.querySelectorAll("#events option").length === 2`)
	change(t, ctx, "team", "SF") // in place
	until(t, ctx, sessions("team", 3876))
	if n := len(f.openings()); n != 1 {
		t.Errorf("changing the team connected %d times", n)
	}
	change(t, ctx, "region", "US-MO") // another play
	until(t, ctx, sessions("region", 1891))
	all := f.openings()
	if q := all[len(all)-1]; len(all) != 2 || q.Get("region") != "US-MO" || q.Get("team") != "SF" || q.Get("session") != "" {
		t.Errorf("openings %v", all)
	}
	f.locked(func() { f.rejoin = true })
	change(t, ctx, "team", "KC") // refused in place: another play
	until(t, ctx, sessions("team", 4213))
	change(t, ctx, "country", "DE")
	until(t, ctx, sessions("country", 1371))
	until(t, ctx, sessions("region", 4061))
	until(t, ctx, `location.search.includes("country=DE") && location.search.includes("region=unknown")`)
	f.locked(func() {
		for _, c := range f.closes {
			if c != websocket.StatusNormalClosure {
				t.Errorf("a play that was given up ended with %d", c)
			}
		}
	})
}

func TestTabLife(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, status("live"))
	interval := func(want float64) {
		t.Helper()
		var last map[string]any
		if !eventually(func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			if len(f.beats) > 0 {
				last = f.beats[len(f.beats)-1]
			}
			return last["interval_ms"] == want && last["state"] == "playing"
		}) {
			t.Fatalf("the last beat is %v, want interval_ms %v", last, want)
		}
	}
	interval(10000)
	hide(t, ctx, true)
	interval(60000)
	hide(t, ctx, false)
	interval(10000)
	f.locked(func() {
		for i, b := range f.beats {
			if i > 0 && b["seq"].(float64) <= f.beats[i-1]["seq"].(float64) {
				t.Errorf("beat %d has seq %v, the one before %v", i+1, b["seq"], f.beats[i-1]["seq"])
			}
		}
	})
	do(t, ctx, chromedp.Navigate("about:blank"))
	var closes []websocket.StatusCode
	eventually(func() bool {
		f.locked(func() { closes = f.closes })
		return len(closes) > 0
	})
	if len(closes) != 1 || closes[0] != websocket.StatusNormalClosure {
		t.Errorf("leaving the page closed with %v, want 1000", closes)
	}
}

// TestTextStaysText puts markup wherever a client or a server can put text.
func TestTextStaysText(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.crowd["team"]["<b>x</b>"] = 9000 })
	open(t, ctx, f, "?team=%3Cimg%20src=x%3E&event=%22%3E%3Cscript%3E&viewer=%3Cb%3E&region=US-%3C")
	until(t, ctx, status("live"))
	q := f.openings()[0]
	if q.Get("team") != "KC" || q.Get("region") != "US-CA" || !strings.HasPrefix(q.Get("viewer"), "fan-") {
		t.Errorf("impossible values were sent: %v", q)
	}
	f.say(`{"t":"error","code":"invalid","message":"<img src=x onerror=alert(1)>"}`)
	f.say(`{"t":"counts","n":{"world":"<b>"}}`)
	f.say(`7`)
	f.say(`{`)
	until(t, ctx, `document.querySelector("#notice-text").textContent.includes("<img src=x")`)
	until(t, ctx, inside("#over-rivals", ".row")+`?.includes("<b>x</b> 9,000")`)
	until(t, ctx, `document.querySelector("#over-rivals").shadowRoot.querySelectorAll("b").length === 0`)
	until(t, ctx, `document.querySelectorAll("main img, main script").length === 0`)
}
