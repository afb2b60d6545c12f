package web

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
)

// readable is the script of TestReadable: texts with a contrast under 4.5 to
// the nearest ground behind them (WCAG 2.2, 1.4.3), controls that are too small
// to touch, and what sticks out of the window.
const readable = `(() => {
	const rgb = (c) => c.match(/[\d.]+/g).map(Number);
	const lum = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
	const above = (el) => el.parentElement || el.getRootNode().host; // out of a shadow, too
	const all = (root) => [...root.querySelectorAll("*")].flatMap((el) => [el, ...(el.shadowRoot ? all(el.shadowRoot) : [])]);
	const ground = (el) => { for (; el; el = above(el)) { const c = rgb(getComputedStyle(el).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
	const seen = (el) => { let o = 1; for (; el; el = above(el)) o *= getComputedStyle(el).opacity; return o; };
	const mix = (a, b, o) => a.slice(0, 3).map((v, i) => v * o + b[i] * (1 - o));
	const wrong = [];
	for (const el of all(document.body)) {
		const box = el.getBoundingClientRect();
		if (!box.width || getComputedStyle(el).opacity === "0" || el.closest(".unseen, .heard, style")) continue;
		if (box.right > innerWidth + 0.5 || box.left < -0.5) wrong.push(el.tagName + "." + el.className + " sticks out: " + box.left + " to " + box.right);
		if (["BUTTON", "INPUT", "SELECT"].includes(el.tagName) && box.height < 44) wrong.push(el.id + " is " + box.height + " px high");
		if (![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
		if (el.disabled || el.closest("[aria-busy]") || el.getRootNode().host?.closest("[aria-busy]")) continue;
		const a = lum(mix(rgb(getComputedStyle(el).color), ground(el), seen(el))), b = lum(ground(el));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) wrong.push(el.tagName + "." + el.className + " '" + el.textContent.slice(0, 20) + "' has contrast " + ratio.toFixed(2));
	}
	if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is " + document.documentElement.scrollWidth + " px wide");
	return wrong;
})()`

// TestReadable looks at the page in four widths, light and dark.
func TestReadable(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.crowd["world"][""], f.crowd["country"]["US"] = 3_298_412, 3_100_000 })
	for _, size := range [][2]int64{{320, 640}, {390, 844}, {768, 1024}, {1440, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			name := fmt.Sprintf("demo-%dx%d-%s", size[0], size[1], scheme)
			emulate(t, ctx, size, scheme)
			open(t, ctx, f, "?viewer=v1")
			until(t, ctx, status("live"))
			until(t, ctx, `!document.querySelector("#over-rivals").hidden`)
			if os.Getenv("WEB_SHOTS") != "" {
				wander(t, ctx, f)
			}
			checkReadable(t, ctx, name)
		}
	}
}

// TestReadableInTrouble looks at the notices.
func TestReadableInTrouble(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	do(t, ctx, chromedp.EmulateViewport(320, 640))
	open(t, ctx, f, "?viewer=v1&country=DE")
	until(t, ctx, status("live"))
	f.locked(func() { f.refuse = 503 })
	f.closeAll(websocket.StatusServiceRestart, "drain")
	until(t, ctx, `!document.querySelector("#notice").hidden`)
	checkReadable(t, ctx, "reconnecting")
	f.locked(func() { f.refuse = 404 })
	open(t, ctx, f, "?event=finall")
	until(t, ctx, status("error"))
	do(t, ctx, chromedp.Focus(chromedp.CSS("#event")))
	checkReadable(t, ctx, "error")
}

// TestReadableWhenStale looks at numbers that are old: they are to be read, too.
func TestReadableWhenStale(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.quality = "stale" })
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, status("stale"))
	until(t, ctx, `document.querySelectorAll(".fans[stale]").length === 4 && !document.querySelector("#over-rivals").hidden`)
	checkAll(t, ctx, "stale")
	for _, quality := range []string{"live", "stale"} {
		f.locked(func() { f.quality = quality })
		for theme, ground := range map[string]string{"outline": "#000", "card": "transparent", "light": "transparent"} { // an outline is its text's ground
			for _, query := range []string{"label=watching&peak=peak", "mine=team:KC&theirs=team:SF", "dim=team"} {
				do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?theme="+theme+"&"+query))
				until(t, ctx, fmt.Sprintf(`/\d/.test(document.body.lastElementChild?.shadowRoot.textContent) && document.body.lastElementChild.hasAttribute("stale") === %t`, quality == "stale"))
				eval[string](t, ctx, fmt.Sprintf(`document.body.style.background = %q`, ground))
				checkReadable(t, ctx, fmt.Sprintf("overlay-%s-%s-%.5s", theme, quality, query))
			}
		}
	}
}

// emulate gives the window a size, and the machine a colour scheme.
func emulate(t *testing.T, ctx context.Context, size [2]int64, scheme string) {
	t.Helper()
	do(t, ctx, chromedp.EmulateViewport(size[0], size[1]))
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}); err != nil {
		t.Fatal(err)
	}
	until(t, ctx, fmt.Sprintf(`matchMedia("(prefers-color-scheme: %s)").matches`, scheme))
}

// phoneAndDesk are the windows that every state is looked at in.
var phoneAndDesk = []struct {
	size   [2]int64
	scheme string
}{
	{[2]int64{390, 844}, "light"}, {[2]int64{390, 844}, "dark"}, {[2]int64{1440, 900}, "light"}, {[2]int64{1440, 900}, "dark"}, {[2]int64{320, 640}, "light"},
}

func checkAll(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	for _, w := range phoneAndDesk {
		emulate(t, ctx, w.size, w.scheme)
		checkReadable(t, ctx, fmt.Sprintf("%s-%dx%d-%s", name, w.size[0], w.size[1], w.scheme))
	}
}

// TestReadableBlocked looks at what a viewer of an account that is full sees.
func TestReadableBlocked(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "Living room TV", 2)
	f.accounts.play("family", "phone", "Joe’s phone", 2)
	open(t, ctx, f, "?viewer=v1&account=family&device=d3&name=Chrome+on+Linux")
	until(t, ctx, `!document.querySelector("#blocked").hidden && document.querySelectorAll("#account .row").length === 3`)
	checkAll(t, ctx, "blocked")
	do(t, ctx, chromedp.Click(chromedp.CSS("#blocked .main")))
	until(t, ctx, `document.querySelector("#blocked").hidden && document.querySelectorAll("#account .row").length === 2`)
	checkAll(t, ctx, "playing")
	f.accounts.fail(503)
	until(t, ctx, `document.querySelector("#account").dataset.state === "old"`)
	checkAll(t, ctx, "list-old")
	f.accounts.fail(0)
	f.accounts.play("family", "tablet", "The tablet in the kitchen with a name that goes on and on", 3)
	f.accounts.signOut("family", "d3")
	until(t, ctx, `document.querySelector("#blocked").dataset.code === "signed_out"`)
	checkAll(t, ctx, "signed-out")
}

// TestReadableDevice looks at the page of a device in all its states.
func TestReadableDevice(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	show := func(device, state string) {
		t.Helper()
		do(t, ctx, chromedp.Navigate(f.URL+"/device?account=family&limit=2&device="+device))
		until(t, ctx, fmt.Sprintf(`document.querySelector("#verdict").dataset.state === %q && !document.querySelector("#verdict").hidden`, state))
		checkAll(t, ctx, "device-"+state)
	}
	show("tv", "idle")
	f.accounts.play("family", "tv", "Living room TV", 2)
	show("tv", "allowed")
	f.accounts.play("family", "phone", "Joe’s phone", 2)
	show("tablet", "full")
	f.accounts.wait("family", "tablet", "Kitchen tablet")
	until(t, ctx, `!document.querySelector("#blocked").hidden`)
	checkAll(t, ctx, "device-blocked")
	f.accounts.fail(503)
	show("tablet", "trouble")
}

func checkReadable(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	keepPicture(t, ctx, name)
	for _, w := range eval[[]string](t, ctx, readable) {
		t.Errorf("%s: %s", name, w)
	}
	checkNames(t, ctx, name)
}

// called are the roles of what a screen reader calls by its name.
var called = map[string]bool{"button": true, "link": true, "textbox": true, "searchbox": true, "spinbutton": true, "combobox": true, "listbox": true,
	"checkbox": true, "switch": true, "radio": true, "slider": true, "DisclosureTriangle": true, "region": true, "image": true}

// checkNames looks for controls that a screen reader has no name for, and returns
// how many have one (WCAG 2.2, 4.1.2).
func checkNames(t *testing.T, ctx context.Context, name string) (named int) {
	t.Helper()
	tree, err := chromedp.Call(ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v *accessibility.Value) (s string) {
		if v != nil {
			_ = json.Unmarshal(v.Value, &s)
		}
		return strings.TrimSpace(s)
	}
	for _, n := range tree.Nodes {
		switch role := text(n.Role); {
		case n.Ignored || !called[role]:
		case text(n.Name) == "":
			html, _ := chromedp.Call(ctx, dom.GetOuterHTML, dom.GetOuterHTMLParams{BackendNodeID: n.BackendDOMNodeID})
			t.Errorf("%s: a %s without a name: %.200s", name, role, html.OuterHTML)
		default:
			named++
		}
	}
	return named
}

// TestEverythingHasAName looks at pages in whole; the tests above and below look
// at their states.
func TestEverythingHasAName(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "Living room TV", 2)
	operator := newFakeOperator(t)
	for _, c := range []struct {
		url, ready string
		least      int // names
	}{
		{f.URL + "/?viewer=v1&account=family&limit=2", status("live") + ` && document.querySelectorAll("#account .row").length > 0`, 18},
		{f.URL + "/device?account=family&limit=2&device=tv", `!document.querySelector("#verdict").hidden`, 4},
		{f.URL + "/overlay/final?segment=team:KC", inside("live-counts", "[part=number]") + `.startsWith("4,")`, 0},
		{f.URL + "/overlay/final?mine=team:KC&theirs=team:SF", inside("live-rivals", ".row") + `.startsWith("KC 4,")`, 0},
		{f.URL + "/overlay/final?trend", `document.querySelector("live-trend").shadowRoot.querySelector("canvas").ariaLabel`, 0},
		{operator.URL + "/dashboard?segment=team:KC", `document.querySelectorAll("#map path[data-step='6']").length > 0 && document.querySelectorAll("#movers-up .row").length === 5`, 51 + 25},
		{operator.URL + "/dashboard?map=country", `document.querySelector("#map path[data-value=US]")?.dataset.step === "6"`, 180},
	} {
		do(t, ctx, chromedp.Navigate(c.url))
		until(t, ctx, c.ready)
		if n := checkNames(t, ctx, c.url); n < c.least {
			t.Errorf("%s: %d names, want %d at least: the tree is not that of the page", c.url, n, c.least)
		}
	}
	operator.locked(func() { operator.token = "x" })
	do(t, ctx, chromedp.Reload())
	until(t, ctx, visible("#gate"))
	checkNames(t, ctx, "gate")
}

// wander lets the crowd move for some ticks, so that there is a line to see.
func wander(t *testing.T, ctx context.Context, f *fakeGateway) {
	for i := range 25 {
		f.locked(func() {
			for dim, by := range map[string]int{"world": (i%7 - 2) * 633, "country": (i%7 - 2) * 360, "region": (i%5 - 1) * 7, "team": (i%6 - 2) * 11} {
				for v := range f.crowd[dim] {
					if f.crowd[dim][v] > 1000 {
						f.crowd[dim][v] += by
					}
				}
			}
		})
		do(t, ctx, chromedp.Sleep(f.tick))
	}
}

// keepPicture keeps how the page looks on a phone in artifacts/; how it looks in
// every window, if WEB_SHOTS names a folder for that.
func keepPicture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	if dir := os.Getenv("WEB_SHOTS"); dir != "" {
		shoot(t, ctx, filepath.Join(dir, name+".png"))
	} else if page, is := strings.CutSuffix(name, "-390x844-light"); is {
		screenshot(t, ctx, "phone-"+page+".png")
	}
}

// shoot keeps a PNG of the whole page. It asks for more than the window only where
// there is more: of a page that is read from right to left, and fits, Chromium then
// takes what is beside it.
func shoot(t *testing.T, ctx context.Context, file string) {
	t.Helper()
	more := eval[bool](t, ctx, `((e) => e.scrollHeight > innerHeight || e.scrollWidth > innerWidth)(document.documentElement)`)
	png, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &more})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755)
	}
	if err == nil {
		err = os.WriteFile(file, png.Data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
