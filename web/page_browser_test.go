package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// playing is true while the page's video does.
const playing = `(() => { const v = document.querySelector("#video"); return v.readyState >= 3 && !v.paused && v.currentTime > 0; })()`

func TestTheClipPlaysAndTheBeatsSaySo(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, playing)
	until(t, ctx, says("#what-video", "A clip in a loop: the server has no ffmpeg"))
	if !eventually(func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, b := range f.beats {
			if pos, ok := b["pos"].(float64); ok && pos > 0 && b["state"] == "playing" {
				return len(f.events) > 0 && f.events[0]["name"] == "startup"
			}
		}
		return false
	}) {
		t.Errorf("no beat tells of the video: %v, %v", f.beats, f.events)
	}
	eval[bool](t, ctx, `document.querySelector("#video").pause(), true`)
	if !eventually(func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.beats[len(f.beats)-1]["state"] == "paused"
	}) {
		t.Error("that it is paused is not told")
	}
}

// A blocked device plays nothing.
func TestTheVideoStopsWhenBlocked(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	open(t, ctx, f, "?viewer=v1&account=family&limit=1")
	until(t, ctx, isBlocked)
	until(t, ctx, `document.querySelector("#video").paused`)
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	until(t, ctx, playing)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, playing)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "4,213"`)
	click(t, ctx, "#replay")
	until(t, ctx, says("#mode", "Replay"))
	until(t, ctx, says("#what-video", "The last 120 seconds"))
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "5,000"`) // of then
	until(t, ctx, sessions("team", 4213))                               // of now
	until(t, ctx, `[...document.querySelectorAll("#moments button")].map((b) => b.textContent).join() === "0:40 +20% in a minute,0:40 The peak: 6,100"`)
	screenshot(t, ctx, "replay.png")
	click(t, ctx, "#moments li:nth-child(2) button")
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "6,000"`)
	until(t, ctx, inside("#over-mine", "[part=peak]")+` === "peak\u00a06,100"`)
	until(t, ctx, `!document.querySelector("#moment").hidden && document.querySelector("#moment").textContent === "+20% in a minute · The peak: 6,100"`)
	eval[bool](t, ctx, `(document.querySelector("#video").currentTime = 85), true`)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "5,500"`)
	until(t, ctx, `document.querySelector("#moment").hidden`)
	eval[bool](t, ctx, `(document.querySelector("#video").currentTime = 112), true`) // what a cue says is not trusted
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "0"`)
	until(t, ctx, status("live")) // it is watched all the while
	click(t, ctx, "#replay")
	until(t, ctx, says("#mode", "Live"))
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "4,213"`)
	until(t, ctx, `document.querySelectorAll("track").length === 0`)
	f.locked(func() {
		var asked []string
		for _, q := range f.timelines {
			asked = append(asked, q.Get("segment"))
		}
		if slices.Sort(asked); !slices.Equal(asked, []string{"team:KC", "team:SF"}) { // both at once
			t.Errorf("the timelines asked for are of %v", asked)
		}
		for _, b := range f.beats {
			if b["state"] == "ended" {
				t.Error("a replay ended the play")
			}
		}
	})
}

func TestReplayWithoutATimeline(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.forgets = "team:" })
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, playing)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "4,213"`)
	click(t, ctx, "#replay")
	until(t, ctx, says("#moment", "The audience at that time could not be loaded.")+` && !document.querySelector("#moment").hidden`)
	click(t, ctx, "#replay")
	until(t, ctx, says("#mode", "Live")+` && document.querySelector("#moment").hidden`)

	// The rival's alone is missing: mine goes on, and so does what is said of it.
	f.locked(func() { f.forgets = "team:SF" })
	click(t, ctx, "#replay")
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "5,000"`)
	until(t, ctx, says("#moment", "The audience of SF at that time could not be loaded."))
	click(t, ctx, "#moments li:nth-child(2) button")
	until(t, ctx, says("#moment", "The peak: 6,100 · The audience of SF"))
	click(t, ctx, "#replay")
	until(t, ctx, says("#mode", "Live")+` && document.querySelector("#moment").hidden`)

	f.locked(func() { f.forgets = "" })
	click(t, ctx, "#replay")
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "5,000"`)
	until(t, ctx, `document.querySelector("#moment").hidden`)
}

// In a gap of the timeline nothing is known, and no number stands there as if it
// were of then.
func TestReplayOfAGap(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() {
		f.vtt = "WEBVTT\n\n00:00:00.000 --> 00:00:20.000\n{\"sessions\":5000,\"fans\":4900}\n\n00:00:40.000 --> 00:02:00.000\n{\"sessions\":6000,\"fans\":5900}\n"
	})
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, playing)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "4,213"`)
	click(t, ctx, "#replay")
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "5,000"`)
	seek := func(s int) {
		eval[bool](t, ctx, fmt.Sprintf(`(document.querySelector("#video").currentTime = %d), true`, s))
	}
	seek(25)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "–" && `+inside("#over-mine", "[part=peak]")+` === ""`)
	until(t, ctx, inside("#over-rivals", ".row")+` === "KC –SF –"`)
	seek(60)
	until(t, ctx, inside("#over-mine", "[part=number]")+` === "6,000" && `+inside("#over-mine", "[part=peak]")+` === "peak\u00a06,000"`)
	until(t, ctx, inside("#over-rivals", ".row")+`.startsWith("KC 6,000 (50%)")`)
}

func TestMessagesForDevelopers(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1")
	until(t, ctx, status("live"))
	const lines = `document.querySelectorAll("#message-list li")`
	if n := eval[int](t, ctx, lines+".length"); n != 0 {
		t.Errorf("%d messages are painted while nobody looks", n)
	}
	click(t, ctx, "#messages summary")
	until(t, ctx, `[...document.querySelectorAll("#message-list .server code")].some((e) => e.textContent.startsWith('{"t":"hello"'))`)
	until(t, ctx, `[...document.querySelectorAll("#message-list .player code")].some((e) => e.textContent.startsWith('{"t":"beat"'))`)
	f.say(`{"t":"error","code":"invalid","message":"` + markup + `"}`)
	until(t, ctx, `[...document.querySelectorAll("#message-list code")].some((e) => e.textContent.includes("<img src=x"))`)
	until(t, ctx, `document.querySelectorAll("#messages img").length === 0`)
	click(t, ctx, "#pause-messages")
	before := eval[string](t, ctx, `document.querySelector("#message-list").textContent`)
	opened := len(f.openings())
	f.say(`{"t":"ok","re":"nothing"}`)
	until(t, ctx, `performance.now() > `+fmt.Sprint(eval[float64](t, ctx, `performance.now()`)+500))
	if after := eval[string](t, ctx, `document.querySelector("#message-list").textContent`); after != before || len(f.openings()) != opened {
		t.Error("the list goes on while it is paused")
	}
	click(t, ctx, "#pause-messages")
	until(t, ctx, says("#message-list", `"re":"nothing"`))
	for range 5 {
		for range 50 {
			f.say(`{"t":"ok","re":"flood"}`)
		}
		until(t, ctx, says("#message-list", "flood"))
	}
	until(t, ctx, lines+`.length === 200 && document.querySelector("#message-count").textContent === "200"`)
	screenshot(t, ctx, "messages.png")
	click(t, ctx, "#clear-messages")
	until(t, ctx, lines+`.length < 20`)
}

// setClock sets the clock of the pages of ctx off by a time.
func setClock(t *testing.T, ctx context.Context, off time.Duration) {
	t.Helper()
	runFirst(t, ctx, fmt.Sprintf(wrongClock, off.Milliseconds()))
}

const wrongClock = `{
	const Real = Date, off = %d
	globalThis.Date = class extends Real {
		constructor(...a) { a.length ? super(...a) : super(Real.now() + off) }
		static now() { return Real.now() + off }
	}
}`

// Whatever is wrong, a sentence says what to do.
func TestEachTroubleHasASentence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrong  func(f *fakeGateway, ctx context.Context)
		state  string
		notice string
		says   string
	}{
		"no such event":   {func(f *fakeGateway, _ context.Context) { f.refuse = http.StatusNotFound }, "error", "#notice", "There is no event “final”. Check its name above"},
		"a wrong token":   {func(f *fakeGateway, _ context.Context) { f.refuse = http.StatusUnauthorized }, "error", "#notice", "asks for a token"},
		"another version": {func(f *fakeGateway, _ context.Context) { f.other = true }, "error", "#notice", "This is no gateway of grandstand.v1: check the address, and its release. Reload the page"},
		"a fast clock":    {func(_ *fakeGateway, ctx context.Context) { setClock(t, ctx, 24*time.Hour) }, "live", "#clock", "The clock of this device is 24 hours fast. The counts do not depend on it"},
		"a slow clock":    {func(_ *fakeGateway, ctx context.Context) { setClock(t, ctx, -24*time.Hour) }, "live", "#clock", "The clock of this device is 24 hours slow. The counts do not depend on it"},
	} {
		t.Run(name, func(t *testing.T) {
			f, ctx := newFakeGateway(t), browser(t)
			do(t, ctx) // there is a tab
			f.locked(func() { c.wrong(f, ctx) })
			open(t, ctx, f, "?viewer=v1&event=final")
			until(t, ctx, status(c.state))
			until(t, ctx, says(c.notice, c.says)+` && !document.querySelector("`+c.notice+`").hidden`)
			screenshot(t, ctx, "trouble-"+strings.ReplaceAll(name, " ", "-")+".png")
			if c.state == "live" {
				until(t, ctx, sessions("world", 8201))
				until(t, ctx, `document.querySelector('[data-count=world] live-trend').shadowRoot.querySelector("canvas").getAttribute("aria-label") === "watching: 8,201, at most 9,100"`)
			}
		})
	}
	t.Run("no server", func(t *testing.T) {
		f, ctx := newFakeGateway(t), browser(t)
		open(t, ctx, f, "?viewer=v1")
		until(t, ctx, sessions("world", 8201))
		f.Config.Close() // nobody listens any more
		f.closeAll(1012, "")
		until(t, ctx, says("#notice", "The connection to the server is lost; the numbers are the last good ones. This page goes on trying by itself."))
		until(t, ctx, status("reconnecting"))
	})
}

// elsewhere is a page of another origin: with elements that read from a gateway,
// and with its SDK.
func elsewhere(t *testing.T, html string) string {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, html)
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// An element that gets no numbers says why: on the pages of others nobody else would.
func TestElementsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	other := newFakeGateway(t)
	other.locked(func() { other.other = true })
	missing := newFakeGateway(t)
	missing.locked(func() { missing.refuse = http.StatusNotFound })
	foreign := `<script type="module" src="` + f.URL + `/live-counts.js"></script>
		<live-counts id="origin" event="final"></live-counts>
		<live-counts id="down" event="final" src="` + gone.URL + `"></live-counts>
		<live-rivals id="rivals" event="final" mine="team:KC" theirs="team:SF" src="` + gone.URL + `"></live-rivals>
		<live-top id="top" event="final" dim="team" src="` + gone.URL + `"></live-top>
		<live-counts id="name"></live-counts>`
	site := elsewhere(t, foreign)
	host := func(url string) string { return strings.TrimPrefix(url, "http://") }
	note := func(id, want string) {
		t.Helper()
		until(t, ctx, inside("#"+id, "[part=note]")+` === `+fmt.Sprintf("%q", want))
	}
	do(t, ctx, chromedp.Navigate(site))
	note("origin", host(f.URL)+" serves no pages of "+site+": its operator lists that in --origins.")
	note("down", "No answer from "+host(gone.URL)+": check the address, and that it runs.")
	for _, id := range []string{"rivals", "top"} {
		note(id, "No answer from "+host(gone.URL)+": check the address, and that it runs.")
		until(t, ctx, inside("#"+id, "[aria-live]")+` === ""`)
	}
	until(t, ctx, inside("#rivals", ".row")+` === "KC –SF –" && document.querySelector("#rivals").shadowRoot.querySelector("[part=bar]").style.visibility === "hidden"`)
	until(t, ctx, inside("#top", "ol")+` === ""`)
	note("name", `Say which event: <live-counts event="…">`)
	screenshot(t, ctx, "trouble-elements.png")
	do(t, ctx, chromedp.Navigate(other.URL+"/overlay/final"))
	until(t, ctx, inside("live-counts", "[part=note]")+` === "This is no gateway of grandstand.v1: check the address, and its release."`)
	for _, event := range []string{"nowhere", "%ff"} { // the second is no text
		do(t, ctx, chromedp.Navigate(missing.URL+"/overlay/"+event))
		until(t, ctx, inside("live-counts", "[part=note]")+` === "There is no such event."`)
	}

	var many strings.Builder
	for i := range 17 {
		fmt.Fprintf(&many, `<live-counts id="t%02d" event="final" segment="team:t%02d"></live-counts>`, i, i)
	}
	f.locked(func() { f.crowd["team"]["t15"], f.crowd["team"]["t16"] = 7, 8 })
	onAPage(t, ctx, f, "en", "ltr", "", many.String())
	until(t, ctx, inside("#t15", "[part=number]")+` === "7"`)
	note("t16", "A page shows at most 16 segments of an event, and this is one more.")
	until(t, ctx, inside("#t16", "[part=number]")+` === "–"`)
}

// A segment, a label, an event or a device with markup in its name stays text on
// every page that shows it: whatever would load, or run, is not there.
func TestHostileNamesStayTextEverywhere(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	const odd = "ü\"'&<>\\ \u202e 𝟜"
	for _, name := range []string{markup, `javascript:</script>` + odd} {
		f.locked(func() {
			f.crowd["team"] = map[string]int{name: 7000, "KC": 10, "SF": 5}
			f.config = fmt.Sprintf(`{"event":"demo","dims":[{"name":"team","values":[%q,"KC"],"choose":true},{"name":"region","values":[%q]}]}`, name, name)
		})
		esc := url.QueryEscape(name)
		for at, shows := range map[string]string{
			"/?viewer=v1": inside("#over-rivals", ".row") + `?.includes(NAME)`,
			"/?event=" + esc + "&team=" + esc + "&name=" + esc:     status("live"),
			"/overlay/final?label=" + esc + "&segment=team:" + esc: inside("live-counts", "[part=label]") + ` === NAME`,
			"/overlay/final?dim=team&most=9":                       inside("live-top", "ol") + `?.includes(NAME)`,
			"/overlay/final?mine=team:KC&theirs=team:" + esc:       inside("live-rivals", ".row") + `?.includes(NAME)`,
		} {
			do(t, ctx, chromedp.Navigate(f.URL+at))
			until(t, ctx, strings.ReplaceAll(shows, "NAME", fmt.Sprintf("%q", name)))
			until(t, ctx, `(function clean(root) {
				return [...root.querySelectorAll("*")].every((e) => !/^(IMG|B|IFRAME)$/.test(e.tagName) || e.src?.startsWith(location.origin) || (e.tagName === "B" && !e.children.length)) &&
					[...root.querySelectorAll("script, img")].every((e) => e.src.startsWith(location.origin)) && [...root.querySelectorAll("*")].every((e) => !e.shadowRoot || clean(e.shadowRoot))
			})(document)`)
		}
	}
}
