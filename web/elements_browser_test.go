package web

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
)

// onAPage puts elements into a page of another origin, which may read, as HTML.
func onAPage(t *testing.T, ctx context.Context, f *fakeGateway, lang, dir, style, html string) {
	t.Helper()
	site := elsewhere(t, `<!doctype html><html lang="`+lang+`" dir="`+dir+`"><style>`+style+`</style><script type="module" src="`+f.URL+`/live-counts.js"></script><main>`+html+`</main></html>`)
	f.locked(func() { f.origin = site })
	do(t, ctx, chromedp.Navigate(site))
}

func TestElementsTakeStylesOfThePage(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	onAPage(t, ctx, f, "en", "ltr", `
		live-counts { --live-color: rgb(1, 2, 3); --live-size: 77px; --live-font: monospace }
		live-counts::part(number) { letter-spacing: 3px }
		live-counts::part(peak) { color: rgb(4, 5, 6) }
		live-rivals { --live-mine: rgb(7, 8, 9); --live-rival: rgb(10, 11, 12) }
		live-rivals::part(bar) { height: 33px }`, `
		<live-counts event="final" segment="team:KC" label="KC fans" peak="most so far:"></live-counts>
		<live-rivals event="final" mine="team:KC" theirs="team:SF"></live-rivals>`)
	until(t, ctx, inside("live-counts", "[part=number]")+` === "4,212"`)
	until(t, ctx, inside("live-counts", "[part=peak]")+` === "most so far:\u00a04,212"`)
	for what, want := range map[string]string{
		`live-counts [part=number] color`:           "rgb(1, 2, 3)",
		`live-counts [part=number] fontSize`:        "77px",
		`live-counts [part=number] fontFamily`:      "monospace",
		`live-counts [part=number] letterSpacing`:   "3px",
		`live-counts [part=peak] color`:             "rgb(4, 5, 6)",
		`live-rivals [part=mine] backgroundColor`:   "rgb(7, 8, 9)",
		`live-rivals [part=theirs] backgroundColor`: "rgb(10, 11, 12)",
		`live-rivals [part=bar] height`:             "33px",
	} {
		var element, part, property string
		if _, err := fmt.Sscan(what, &element, &part, &property); err != nil {
			t.Fatal(err)
		}
		if got := eval[string](t, ctx, fmt.Sprintf(`getComputedStyle(document.querySelector(%q).shadowRoot.querySelector(%q)).%s`, element, part, property)); got != want {
			t.Errorf("%s is %s, want %s", what, got, want)
		}
	}
}

// A number and a peak have room for what they say, wherever a page puts them, also
// once there are more digits: nothing is cut, and nothing runs over its neighbours.
func TestNumbersHaveRoom(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.folded = "XX" })
	onAPage(t, ctx, f, "en", "ltr", `
		main > * { margin: 5px; border: 1px solid }
		#padded::part(number) { padding: 20px 30px; line-height: 2; letter-spacing: 4px }
		#middle { display: block; text-align: center }
		#narrow { width: 130px }
		#said::part(number), #said::part(label), #said::part(peak) { display: inline }
		#flex::part(number) { display: flex; justify-content: end; align-items: center; height: 90px }
		#through::part(number) { background: linear-gradient(red, blue); background-clip: text; color: transparent }
		#dotted::part(number)::after { content: " fans" }
		#serif { --live-font: serif; --live-size: 90px }`, `
		<live-counts event="final" segment="team:KC" label="KC fans" peak></live-counts>
		<live-counts id="fans" event="final" value="fans"></live-counts>
		<live-counts id="few" event="final" segment="team:XX" peak></live-counts>
		<live-counts id="padded" event="final"></live-counts>
		<live-counts id="middle" event="final" peak></live-counts>
		<live-counts id="narrow" event="final" peak="the most there were yet, so far:"></live-counts>
		<p>There are <live-counts id="said" event="final" label="people" peak="of at most"></live-counts> with you</p>
		<live-counts id="flex" event="final" label="a long label that is wider"></live-counts>
		<live-counts id="through" event="final"></live-counts>
		<live-counts id="dotted" event="final"></live-counts>
		<live-counts id="serif" lang="ar-EG" event="final" peak></live-counts>`)
	roomy := func(shown string) {
		t.Helper()
		until(t, ctx, inside("live-counts", "[part=number]")+fmt.Sprintf(" === %q && ", shown)+inside("#few", "[part=number]")+` === "<10"`)
		until(t, ctx, `[...document.querySelectorAll("live-counts")].every((e) => e.ease.shown === e.ease.to || Number.isNaN(e.ease.to))`)
		for _, wrong := range eval[[]string](t, ctx, `[...document.querySelectorAll("live-counts")].flatMap((e) => [...e.shadowRoot.querySelectorAll("[part=number], [part=peak]:not([hidden])")].flatMap((box) => {
			const text = document.createRange(), edge = getComputedStyle(box), outer = box.getBoundingClientRect()
			text.selectNodeContents(box.firstChild.firstChild)
			const r = text.getBoundingClientRect(), left = outer.left + parseFloat(edge.paddingLeft), right = outer.right - parseFloat(edge.paddingRight)
			const above = r.top - outer.top - parseFloat(edge.paddingTop), below = outer.bottom - parseFloat(edge.paddingBottom) - r.bottom // alike: in the middle of its lines
			const fits = r.left > left - 2 && r.right < right + 2
			const centred = e.id !== "middle" || Math.abs(r.left - left - (right - r.right)) < 3, snug = e.id !== "fans" || right - left - r.width < 8
			return r.width && (fits || e.id === "narrow" && box.part == "number") && Math.abs(above - below) < 3 && centred && snug && (e.id !== "said" || e.offsetHeight < 60)
				? [] : [(e.id || "first") + " " + box.part + " " + box.textContent + ": " + [left, right, r.left, r.right, above, below].map(Math.round)]
		}))`) {
			t.Errorf("with %s: %s", shown, wrong)
		}
	}
	roomy("4,212")
	if got := eval[string](t, ctx, `[...document.querySelectorAll("live-counts")].filter((e) => e.shadowRoot.querySelector("[part=number] .plain")).map((e) => e.id).join()`); got != "through" {
		t.Errorf("these have no room of their own: %q, want the one that a picture is shown through", got)
	}
	if got := eval[int](t, ctx, `[...document.querySelectorAll("live-counts")].filter((e) => e.shadowRoot.querySelector("[part=peak]").offsetHeight > 9).length`); got != 5 {
		t.Errorf("%d peaks are to be seen, want 5", got)
	}
	screenshot(t, ctx, "numbers-room.png")
	f.locked(func() { f.crowd["team"]["KC"], f.crowd["world"][""] = 1_234_567, 10_234_567 })
	roomy("1,234,567")
	f.locked(func() { f.crowd["team"]["KC"], f.crowd["world"][""] = 7, 12 })
	roomy("7")
}

// In the page's language, with its digits, from right to left.
func TestElementsSpeakThePagesLanguage(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	onAPage(t, ctx, f, "ar-EG", "rtl", "", `
		<live-counts event="final" segment="team:KC" label="يشاهدون" peak="الذروة"></live-counts>
		<live-rivals event="final" mine="team:KC" theirs="team:SF"></live-rivals>
		<live-top event="final" dim="team"></live-top>`)
	until(t, ctx, inside("live-counts", "[part=number]")+` === "٤٬٢١٢"`)
	until(t, ctx, inside("live-counts", "[part=peak]")+` === "الذروة\u00a0٤٬٢١٢"`)
	until(t, ctx, inside("live-rivals", ".row")+`.includes("٤٬٢١٢")`)
	until(t, ctx, `(() => {
		const root = document.querySelector("live-rivals").shadowRoot, box = (e) => e.getBoundingClientRect()
		const bar = box(root.querySelector("[part=bar]")), mine = box(root.querySelector("[part=mine]"))
		const [a, b] = root.querySelectorAll(".row span")
		return Math.abs(mine.right - bar.right) < 1 && mine.left > bar.left + 10 && box(a).left > box(b).left
	})()`) // mine is at the right, where reading begins
	until(t, ctx, `(() => {
		const e = document.querySelector("live-counts"), box = e.shadowRoot.querySelector("[part=label]").getBoundingClientRect()
		return getComputedStyle(e).direction === "rtl" && Math.abs(box.right - e.getBoundingClientRect().right) < 1
	})()`)
	if wide := eval[float64](t, ctx, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		t.Errorf("the page is %v px wider than the window", wide)
	}
	screenshot(t, ctx, "elements-arabic.png")
	at := eval[[]int](t, ctx, `(() => { const b = document.querySelector("live-counts").getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom].map(Math.floor) })()`)
	if !inked(t, "../artifacts/elements-arabic.png", image.Rect(at[0], at[1], at[2], at[3])) {
		t.Errorf("nothing is painted at %v, where the number is", at)
	}
	f.locked(func() { f.quality = "stale" })
	until(t, ctx, `/قبل|منذ/.test(`+inside("live-counts", "[part=note]")+`)`)
}

// inked says whether a picture has something dark in a place.
func inked(t *testing.T, file string, in image.Rectangle) bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	for x := in.Min.X; x < in.Max.X; x++ {
		for y := in.Min.Y; y < in.Max.Y; y++ {
			if r, g, b, a := picture.At(x, y).RGBA(); a > 0 && r+g+b < 3*0x8000 {
				return true
			}
		}
	}
	return false
}

// What lacks a part is about so much, what is old says how old, what is over is
// neither.
func TestElementsAreHonest(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	onAPage(t, ctx, f, "en", "ltr", "", `<live-counts event="final"></live-counts><live-counts id="fans" event="final" value="fans"></live-counts>
		<live-counts id="few" event="final" segment="team:few"></live-counts><live-counts id="none" event="final" segment="team:none"></live-counts>
		<live-rivals id="sides" event="final" mine="team:KC" theirs="team:SF"></live-rivals>
		<live-rivals id="one" event="final" mine="team:KC" theirs="team:few"></live-rivals>
		<live-top event="final" dim="team" most="2"></live-top>`)
	number := inside("live-counts", "[part=number]")
	f.locked(func() { f.folded = "few" })
	until(t, ctx, number+` === "8,200"`)
	until(t, ctx, inside("#fans", "[part=number]")+` === "≈\u00a07,954"`)
	until(t, ctx, inside("#few", "[part=number]")+` === "<10"`)
	until(t, ctx, inside("#none", "[part=number]")+` === "–"`)
	until(t, ctx, inside("#sides", ".row")+` === "KC 4,212 (52%)SF 3,875 (48%)"`)
	until(t, ctx, inside("#one", ".row")+` === "KC 4,212few <10"`) // no share of what is not known
	until(t, ctx, inside("#one", "[aria-live]")+` === "" && document.querySelector("#one").shadowRoot.querySelector("[part=bar]").style.visibility === "hidden"`)
	f.locked(func() { f.quality = "partial" })
	until(t, ctx, number+` === "≈\u00a08,200"`)
	until(t, ctx, inside("#sides", ".row")+` === "KC ≈\u00a04,212 (52%)SF ≈\u00a03,875 (48%)"`)
	until(t, ctx, inside("live-top", "ol")+` === "KC≈\u00a04,212SF≈\u00a03,875"`)
	f.locked(func() { f.quality = "stale" })
	until(t, ctx, number+` === "8,200" && document.querySelector("live-counts").hasAttribute("stale")`)
	until(t, ctx, `/^\d+ seconds? ago$/.test(`+inside("live-counts", "[part=note]")+`)`)
	f.locked(func() { f.quality = "final" })
	until(t, ctx, `!document.querySelector("live-counts").hasAttribute("stale") && `+inside("live-counts", "[part=note]")+` === ""`)
}

// fast makes the clock of a page go 20 times as fast.
const fast = `{
	const now = performance.now.bind(performance), later = setTimeout
	performance.now = () => 20 * now()
	globalThis.setTimeout = (run, ms) => later(run, ms / 20)
}`

// Numbers that nobody renews grow old by the page's own clock, which here goes 20
// times as fast, and say what has become of their event.
func TestElementsGrowOld(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	runFirst(t, ctx, fast)
	onAPage(t, ctx, f, "en", "ltr", "", `<live-counts event="final"></live-counts>`)
	number, note := inside("live-counts", "[part=number]"), inside("live-counts", "[part=note]")
	until(t, ctx, number+` === "8,200" && `+note+` === ""`)
	eval[bool](t, ctx, `(() => {
		window.ages = []
		const note = document.querySelector("live-counts").shadowRoot.querySelector("[part=note]")
		new MutationObserver(() => ages.push(parseInt(note.textContent) || 0)).observe(note, {childList: true, characterData: true, subtree: true})
		return true
	})()`)
	f.locked(func() { f.refuse = 404 })
	f.CloseClientConnections()
	until(t, ctx, `/^\d+ seconds ago · There is no such event\.$/.test(`+note+`)`)
	until(t, ctx, `ages.at(-1) > 120`) // it was asked again meanwhile
	if got := eval[[]int](t, ctx, `ages`); !slices.IsSorted(got) {
		t.Errorf("it grew younger: %v s", got)
	}
	if got := eval[string](t, ctx, number); got != "8,200" {
		t.Errorf("the last good number is %q", got)
	}
	late := eval[string](t, ctx, `(() => {
		const e = document.querySelector("live-counts").cloneNode()
		document.body.append(e)
		return e.shadowRoot.querySelector("[part=note]").textContent
	})()`)
	if age, _, _ := strings.Cut(late, " "); len(age) < 3 || !strings.HasSuffix(late, " seconds ago · There is no such event.") {
		t.Errorf("an element that comes later says %q", late)
	}
	f.locked(func() { f.refuse = 0 })
	until(t, ctx, `[...document.querySelectorAll("live-counts")].every((e) => !e.hasAttribute("stale") && e.shadowRoot.querySelector("[part=note]").textContent === "")`)
}

// A number runs to the next one, unless its reader wants it to hold still; a
// screen reader hears it once in a while.
func TestNumbersEase(t *testing.T) {
	f := newFakeGatewayAt(t, 500*time.Millisecond)
	watch := func(motion string) (seen []string) {
		ctx := browser(t)
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: motion}}}); err != nil {
			t.Fatal(err)
		}
		f.locked(func() { f.crowd["world"][""] = 1000 })
		onAPage(t, ctx, f, "en", "ltr", "", `<live-counts event="final"></live-counts>`)
		until(t, ctx, inside("live-counts", "[part=number]")+` === "1,000"`)
		eval[bool](t, ctx, `(() => {
			window.seen = []
			const root = document.querySelector("live-counts").shadowRoot
			const note = (what) => new MutationObserver(() => seen.push(what + root.querySelector(what).textContent)).observe(root.querySelector(what), {childList: true, characterData: true, subtree: true})
			note("[part=number]")
			note("[aria-live]")
			return true
		})()`)
		f.locked(func() { f.crowd["world"][""] = 2000 })
		until(t, ctx, inside("live-counts", "[part=number]")+` === "2,000"`)
		return eval[[]string](t, ctx, `window.seen`)
	}
	if got := watch("reduce"); len(got) != 1 || got[0] != "[part=number]2,000" {
		t.Errorf("with reduced motion it was %q: want one step, and no word of it", got)
	}
	if got := watch("no-preference"); !slices.Equal(got, []string{"[part=number]1,700", "[part=number]2,000"}) {
		t.Errorf("it moved by %q: want two steps, each costs a layout", got)
	}
}

// What an overlay takes of the main thread in a tick in which all its numbers
// change: scripts, styles and layouts, as Chromium counts them, in the thread's own
// time. The floor is a page that changes one text a tick and does nothing else.
func TestOverlaysCostLittle(t *testing.T) {
	f := newFakeGatewayAt(t, time.Second)
	measureOverlays(t, stopwatch{f: f, warm: 2, ticks: 4}, 3.5)
}

// measureOverlays compares overlays with a page that changes one text a tick and
// does nothing else: they take most times as much at most.
func measureOverlays(t *testing.T, w stopwatch, most float64) {
	t.Helper()
	floor := elsewhere(t, `<div style="font-size:4rem">0</div><script>let n = 4000; setInterval(() => { document.querySelector("div").firstChild.data = n += 137 }, 1000)</script>`)
	least := w.mainThread(t, "a text that changes", floor, "document.body")
	const rivals = "mine=team:KC&theirs=team:SF&theme=card"
	for _, o := range []struct {
		name, query string
		swing       int
	}{
		{"a number with its peak", "segment=team:KC&label=KC+fans&peak=peak", 0},
		{"rivals", rivals, 0},
		{"rivals whose bar swings by 3 %", rivals, 500},
	} {
		w.swing = o.swing
		cost := w.mainThread(t, "overlay of "+o.name, w.f.URL+"/overlay/final?"+o.query, `document.querySelector("main, live-counts, live-rivals").shadowRoot`)
		if cost > most*least {
			t.Errorf("an overlay of %s takes %.2f ms a tick, the floor %.2f ms", o.name, cost, least)
		}
	}
}

// stopwatch measures pages once they have had some ticks: an overlay is open for
// hours, and the first ticks are those in which a browser compiles.
type stopwatch struct {
	f           *fakeGateway
	warm, ticks int
	swing       int // of a team's audience, to and fro
}

// mainThread returns the ms of scripts, layout and style that a page takes of its
// thread in a tick in which all numbers change.
func (w stopwatch) mainThread(t *testing.T, what, url, root string) float64 {
	t.Helper()
	w.f.locked(func() { w.f.crowd["team"]["KC"], w.f.crowd["team"]["SF"] = 4212, 3875 })
	ctx := browser(t)
	do(t, ctx, chromedp.Navigate(url))
	until(t, ctx, `/\d/.test(`+root+`.textContent)`)
	if _, err := chromedp.Call(ctx, performance.Enable, performance.EnableParams{TimeDomain: "threadTicks"}); err != nil {
		t.Fatal(err)
	}
	pass := func(ticks int) {
		for range ticks {
			w.f.locked(func() { w.f.crowd["team"]["KC"] += 137 + w.swing; w.f.crowd["team"]["SF"] += 41 })
			w.swing = -w.swing
			do(t, ctx, chromedp.Sleep(w.f.tick))
		}
	}
	pass(w.warm)
	before := metrics(t, ctx)
	pass(w.ticks)
	after := metrics(t, ctx)
	ms := func(names ...string) (sum float64) {
		for _, n := range names {
			sum += after[n] - before[n]
		}
		return sum * 1000 / float64(w.ticks)
	}
	cost := ms("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
	t.Logf("%s: %.2f ms of main thread a tick (script %.2f, layout %.2f, style %.2f); all tasks %.2f ms",
		what, cost, ms("ScriptDuration"), ms("LayoutDuration"), ms("RecalcStyleDuration"), ms("TaskDuration"))
	return cost
}

func metrics(t *testing.T, ctx context.Context) map[string]float64 {
	t.Helper()
	got, err := chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]float64{}
	for _, v := range got.Metrics {
		m[v.Name] = v.Value
	}
	return m
}
