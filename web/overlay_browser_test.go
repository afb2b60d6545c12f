package web

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// inside returns an expression for the text of a part of the page's one element.
func inside(element, part string) string {
	return fmt.Sprintf(`document.querySelector(%q)?.shadowRoot.querySelector(%q)?.textContent`, element, part)
}

func TestOverlayShowsANumber(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?segment=team:KC&label=KC+fans&lang=de"))
	until(t, ctx, inside("live-counts", "[part=number]")+` === "4.212"`)
	f.locked(func() { f.crowd["team"]["KC"] = 5212 })
	until(t, ctx, inside("live-counts", "[part=number]")+` === "5.212"`)
	if got := eval[string](t, ctx, inside("live-counts", "[part=label]")); got != "KC fans" {
		t.Errorf("the label is %q", got)
	}
	if got := eval[string](t, ctx, inside("live-counts", "[aria-live]")); got != "4.212 KC fans" {
		t.Errorf("a screen reader heard %q: the first number, and no other for a while", got)
	}
	// Nothing is painted behind it.
	if got := eval[string](t, ctx, `getComputedStyle(document.body).backgroundColor`); got != "rgba(0, 0, 0, 0)" {
		t.Errorf("the page is not transparent: %s", got)
	}
	f.locked(func() { f.quality = "stale" })
	until(t, ctx, `document.querySelector("live-counts").hasAttribute("stale") && /vor \d+ Sekunde/.test(`+inside("live-counts", "[part=note]")+`)`)
}

// A language that is none is the page's, and not the end of it.
func TestOverlayInNoLanguage(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	for _, lang := range []string{"en-", "en_US", "", "-"} {
		do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?lang="+lang))
		until(t, ctx, inside("live-counts", "[part=number]")+` === "8,200" && document.documentElement.lang === "en"`)
	}
}

func TestOverlayShowsRivalsAndTheTop(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?mine=team:KC&theirs=team:SF&theme=card&lang=en"))
	until(t, ctx, inside("live-rivals", ".row")+` === "KC 4,212 (52%)SF 3,875 (48%)"`)
	until(t, ctx, `document.querySelector("live-rivals").shadowRoot.querySelector("[part=mine]").style.transform === "scaleX(0.5208)"`)
	screenshot(t, ctx, "overlay-rivals.png")
	do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?dim=region&most=2&theme=light&lang=en"))
	until(t, ctx, inside("live-top", "ol")+` === "US-CA2,250US-MO1,890"`)
	screenshot(t, ctx, "overlay-top.png")
	do(t, ctx, chromedp.Navigate(f.URL+"/overlay/final?trend&minutes=5&theme=card&lang=en"))
	until(t, ctx, `document.querySelector("live-trend").shadowRoot.querySelector("canvas").getAttribute("aria-label") === "watching: 8,200, at most 9,100"`)
	screenshot(t, ctx, "overlay-trend.png")
}

// Elements of one event share a stream, on the page of another origin; hostile
// names of segments stay text.
func TestElementsOnAnotherPage(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.crowd["team"][`<img src=x onerror=alert(1)>`] = 99999 })
	onAPage(t, ctx, f, "en", "ltr", "", `
		<live-counts event="final" segment="team:KC"></live-counts>
		<live-counts event="final" segment="world" value="fans"></live-counts>
		<live-rivals event="final" mine="team:KC" theirs="team:SF"></live-rivals>
		<live-top event="final" dim="team"></live-top>
		<live-counts></live-counts>`)
	if own := eval[string](t, ctx, `location.origin`); own == f.URL {
		t.Errorf("the page is of %s, the gateway's own", own)
	}
	until(t, ctx, `document.querySelector("live-top").shadowRoot.querySelector("b")?.textContent === "<img src=x onerror=alert(1)>"`)
	until(t, ctx, `document.querySelectorAll("live-counts")[1].shadowRoot.querySelector("[part=number]").textContent.startsWith("≈")`)
	if got := eval[string](t, ctx, `document.querySelectorAll("live-counts")[2].shadowRoot.querySelector("[part=note]").textContent`); got != `Say which event: <live-counts event="…">` {
		t.Errorf("without an event: %q", got)
	}
	f.locked(func() {
		if len(f.streams) != 2 {
			t.Errorf("%d streams were opened for four elements: %q", len(f.streams), f.streams)
		}
	})
}

// screenshot keeps a picture of the page in artifacts/, as make test leaves them.
func screenshot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	shoot(t, ctx, filepath.Join("../artifacts", name))
}
