package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

const (
	isBlocked  = `!document.querySelector("#blocked").hidden`
	notBlocked = `document.querySelector("#blocked").hidden`
)

// says is true once an element has the text in it.
func says(selector, text string) string {
	return fmt.Sprintf(`document.querySelector(%q).textContent.includes(%q)`, selector, text)
}

// rows is true once the list of devices has these, by name, in this order.
func rows(names ...string) string {
	return fmt.Sprintf(`JSON.stringify([...document.querySelectorAll("#account .row-name")].map((e) => e.textContent)) === JSON.stringify(%s)`, quoted(names))
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(out, ",") + "]"
}

func click(t *testing.T, ctx context.Context, selector string) {
	t.Helper()
	do(t, ctx, chromedp.Click(chromedp.CSS(selector)))
}

// opens clicks what opens a window, and opens what that would be as a tab of the
// same profile. (TestSecondWindowIsAnotherFan has a real one opened; to attach to
// a window while it loads is a data race within chromedp 0.23.)
func opens(t *testing.T, ctx context.Context, selector string) context.Context {
	t.Helper()
	eval[bool](t, ctx, `window.open = (url, name, features) => { window.wanted = [String(url), features]; }, true`)
	click(t, ctx, selector)
	wanted := eval[[]string](t, ctx, `window.wanted`)
	if !strings.Contains(wanted[1], "noopener") {
		t.Errorf("it opens a window with %q, which can reach into this one", wanted[1])
	}
	ctx = tab(t, ctx)
	do(t, ctx, chromedp.Navigate(wanted[0]))
	return ctx
}

// playing counts what the fake knows to play of an account.
func (f *fakeGateway) playing(account string) (names []string) {
	f.locked(func() {
		for _, l := range f.accounts.accountLocked(f.accounts.keys.Account(account)).leases {
			names = append(names, l.Name)
		}
	})
	return names
}

func (f *fakeGateway) mustPlay(t *testing.T, account string, want ...string) {
	t.Helper()
	if !eventually(func() bool { return slices.Equal(f.playing(account), want) }) {
		t.Fatalf("%v play, want %v", f.playing(account), want)
	}
}

func TestThirdDeviceTakesOver(t *testing.T) {
	t.Parallel()
	f, first := newFakeGateway(t), browser(t)
	open(t, first, f, "")
	until(t, first, status("live"))
	until(t, first, rows("Chrome on Linux"))
	second := opens(t, first, "#open-device")
	until(t, second, status("live"))
	until(t, first, rows("Chrome on Linux", "Window 2"))
	until(t, first, sessions("world", 8202))
	third := opens(t, first, "#open-device")
	until(t, third, isBlocked)
	until(t, third, says("#blocked .message", "This account may play 2 streams at a time. Playing now: Chrome on Linux and Window 2."))
	until(t, third, says("#blocked + [aria-live=polite]", "Playing now: Chrome on Linux and Window 2."))
	until(t, third, status("blocked"))
	until(t, third, sessions("world", 8202)) // there, but not counted
	until(t, third, rows("Chrome on Linux", "Window 2", "Window 3"))
	until(t, third, `document.querySelector('#account [data-status=waiting] .badge').hidden === false && document.querySelectorAll("#account .badge:not([hidden])").length === 1`)
	if all := f.openings(); all[0].Get("viewer") != all[2].Get("viewer") || all[0].Get("account") != all[2].Get("account") || all[0].Get("device") == all[2].Get("device") {
		t.Errorf("the windows are %v: want one fan, one account, three devices", all)
	}

	until(t, third, says("#blocked .small", "Window 2 stops, since it was the last to start."))
	click(t, third, "#blocked .main")
	until(t, third, notBlocked)
	until(t, third, status("live"))
	until(t, third, says("#blocked + [aria-live=polite]", "Playing here."))
	until(t, third, `document.activeElement === document.querySelector("h1")`)
	until(t, second, isBlocked)
	until(t, second, says("#blocked h2", "Window 3 is playing instead"))
	until(t, second, says("#blocked .message", "Playing stopped here: Window 3 took over."))
	until(t, first, rows("Chrome on Linux", "Window 3"))
	until(t, second, `[...document.querySelectorAll("[data-count] .number")].every((e) => e.shadowRoot.querySelector("[part=number]").textContent !== "–")`) // the numbers stay
	if name := "acct-" + f.openings()[0].Get("viewer"); !slices.Equal(f.playing(name), []string{"Chrome on Linux", "Window 3"}) {
		t.Errorf("%v play", f.playing(name))
	}

	until(t, second, says("#blocked .main", "Play here again"))
	until(t, second, says("#blocked .small", "Window 3 stops if there is no other place."))
	do(t, second, chromedp.Focus(chromedp.CSS("#blocked .main")), chromedp.KeyEvent("\r")) // by keyboard
	until(t, second, notBlocked)
	until(t, third, says("#blocked .message", "Playing stopped here: Window 2 took over."))
	until(t, first, notBlocked)
}

func TestChooseWhoStops(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 3)
	f.accounts.play("family", "phone", "Phone", 3)
	f.accounts.play("family", "tablet", "Tablet", 3)
	open(t, ctx, f, "?viewer=v1&account=family&limit=3&name=Laptop")
	until(t, ctx, says("#blocked .message", "Playing now: TV, Phone and Tablet."))
	if got := eval[[]string](t, ctx, `[...document.querySelectorAll("#blocked .choice b")].map((e) => e.textContent)`); !slices.Equal(got, []string{"Play here instead of TV", "Play here instead of Phone", "Play here instead of Tablet"}) {
		t.Errorf("the choices are %q", got)
	}
	do(t, ctx, chromedp.Focus(chromedp.CSS("#blocked li:nth-child(2) button")))
	f.accounts.leave("family", "tablet")
	until(t, ctx, notBlocked)
	f.mustPlay(t, "family", "TV", "Phone", "Laptop")
	open(t, ctx, f, "?viewer=v2&account=family&limit=3&name=Desktop")
	f.mustPlay(t, "family", "TV", "Phone", "Desktop") // the page before said goodbye
	f.accounts.play("family", "tv2", "Second TV", 4)
	f.accounts.signOut("family", "dev-v2")
	until(t, ctx, says("#blocked .message", "This device was signed out from the list of devices."))
	f.mustPlay(t, "family", "TV", "Phone", "Second TV")
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	f.locked(func() {
		if last := f.accounts.takeovers[len(f.accounts.takeovers)-1]; len(last) != 0 {
			t.Errorf("took over %v where there was a place", last)
		}
	})
}

// TestListChangesUnderTheFinger: what is blocked is told again while the viewer
// is about to choose; the button stays the same one.
func TestListChangesUnderTheFinger(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 2)
	f.accounts.play("family", "phone", "Phone", 2)
	open(t, ctx, f, "?viewer=v1&account=family&name=Laptop")
	until(t, ctx, isBlocked)
	const second = "#blocked li:nth-child(2) button"
	do(t, ctx, chromedp.Focus(chromedp.CSS(second)))
	f.locked(func() {
		key := f.accounts.keys.Account("family")
		f.accounts.of[key].leases[0].Name = "Television"
		f.accounts.settleLocked(key, nil)
	})
	until(t, ctx, says("#blocked .message", "Television and Phone"))
	until(t, ctx, fmt.Sprintf(`document.activeElement === document.querySelector(%q)`, second))
	click(t, ctx, second)
	until(t, ctx, notBlocked)
	f.mustPlay(t, "family", "Television", "Laptop")
}

func TestUnblockedByItself(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	open(t, ctx, f, "?viewer=v1&account=family&limit=1&name=Laptop")
	until(t, ctx, isBlocked)
	until(t, ctx, says("#blocked h2", "Your stream is playing on another device"))
	until(t, ctx, says("#blocked .main", "Play here instead of TV"))
	until(t, ctx, `document.querySelector(".blocked-choice").hidden`) // the one button says it all
	until(t, ctx, sessions("world", 8200))
	f.accounts.leave("family", "tv")
	until(t, ctx, notBlocked)
	until(t, ctx, status("live"))
	until(t, ctx, sessions("world", 8201))
	var states []any
	if !eventually(func() bool {
		states = nil
		f.locked(func() {
			for _, b := range f.beats {
				states = append(states, b["state"])
			}
		})
		n := len(states)
		return n >= 3 && slices.Contains(states, any("starting")) && states[n-1] == "playing"
	}) {
		t.Errorf("it said %v: want starting while it was blocked, and playing after", states)
	}
}

// TestLimitWasLowered: one more has to end than it takes otherwise.
func TestLimitWasLowered(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	for _, name := range []string{"TV", "Phone", "Tablet"} {
		f.accounts.play("family", name, name, 3)
	}
	open(t, ctx, f, "?viewer=v1&account=family&limit=2&name=Laptop")
	until(t, ctx, says("#blocked .small", "Tablet and Phone stop, since they were the last to start."))
	until(t, ctx, `document.querySelectorAll("#blocked .rows button").length === 0`)
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	f.mustPlay(t, "family", "TV", "Laptop")
}

func TestSuperseded(t *testing.T) {
	t.Parallel()
	f, one, other := newFakeGateway(t), browser(t), browser(t) // two profiles with one device's id
	const query = "?viewer=v1&account=family&device=d1&name=Laptop"
	open(t, one, f, query)
	until(t, one, status("live"))
	open(t, other, f, query)
	until(t, other, status("live"))
	until(t, one, isBlocked)
	until(t, one, says("#blocked .message", "the same device plays in a newer window"))
	until(t, one, `document.querySelector(".blocked-choice").hidden`)
	until(t, one, sessions("world", 8201))
	click(t, one, "#blocked .main")
	until(t, one, notBlocked)
	until(t, other, isBlocked)
}

func TestReloadKeepsTheSession(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "")
	until(t, ctx, sessions("world", 8201))
	first := lastSeq(f)
	for range 2 {
		do(t, ctx, chromedp.Reload())
		until(t, ctx, status("live"))
		until(t, ctx, sessions("world", 8201))
	}
	all := f.openings()
	if len(all) != 3 || all[1].Get("session") != "s1" || all[2].Get("session") != "s1" || all[2].Get("viewer") != all[0].Get("viewer") || all[2].Get("device") != all[0].Get("device") {
		t.Errorf("openings %v, want the session s1 again", all)
	}
	if lastSeq(f) <= first {
		t.Errorf("after a reload the beats begin at %v, they were at %v", lastSeq(f), first)
	}
	// Long ago is another play.
	eval[bool](t, ctx, `(() => {
		const name = Object.keys(localStorage).find((k) => k.startsWith("grandstand.session."));
		const then = localStorage.getItem(name).split(" ")[0] + " " + (Date.now() - 200000);
		addEventListener("pagehide", () => localStorage.setItem(name, then));
		return true;
	})()`)
	do(t, ctx, chromedp.Reload())
	until(t, ctx, status("live"))
	if all := f.openings(); all[len(all)-1].Get("session") != "" {
		t.Errorf("came back after minutes with the session %v", all[len(all)-1])
	}
	// So is a choice that cannot be changed in place.
	change(t, ctx, "region", "US-MO")
	until(t, ctx, sessions("region", 1891))
	if all := f.openings(); all[len(all)-1].Get("session") != "" {
		t.Errorf("another play began with the session %v", all[len(all)-1])
	}
}

func lastSeq(f *fakeGateway) (seq float64) {
	f.locked(func() {
		for _, b := range f.beats {
			seq = max(seq, b["seq"].(float64))
		}
	})
	return seq
}

func TestTwoTabsAreOneSession(t *testing.T) {
	t.Parallel()
	f, one := newFakeGateway(t), browser(t)
	open(t, one, f, "")
	until(t, one, status("live"))
	other := tab(t, one)
	open(t, other, f, "")
	until(t, other, status("live"))
	until(t, one, sessions("world", 8201))
	until(t, other, sessions("world", 8201))
	until(t, other, rows("Chrome on Linux"))
	until(t, one, notBlocked)
	if all := f.openings(); len(all) != 2 || all[1].Get("session") != "s1" {
		t.Errorf("openings %v, want the second with the session of the first", all)
	}
	f.locked(func() {
		seen := map[any]bool{}
		for _, b := range f.beats {
			if seen[b["seq"]] {
				t.Errorf("the beat %v came twice", b["seq"])
			}
			seen[b["seq"]] = true
		}
	})
	chromedp.Cancel(other)
	until(t, one, rows("Chrome on Linux"))
	until(t, one, status("live"))
	if got := f.playing("acct-" + f.openings()[0].Get("viewer")); len(got) != 1 {
		t.Errorf("%v play after one of two tabs was closed", got)
	}
}

// TestTabsThatOpenTogether: a browser that brings its windows back opens tabs
// of one device at once.
func TestTabsThatOpenTogether(t *testing.T) {
	t.Parallel()
	f, one := newFakeGateway(t), browser(t)
	tabs := []context.Context{one, tab(t, one), tab(t, one)}
	for _, ctx := range tabs {
		do(t, ctx, chromedp.Navigate(f.URL+"/device"))
	}
	for _, ctx := range tabs {
		eval[bool](t, ctx, `setTimeout(() => location.assign("/"), 300), true`)
	}
	for _, ctx := range tabs {
		until(t, ctx, `document.querySelector("#status")?.dataset.state === "live"`)
		until(t, ctx, notBlocked)
	}
	fresh := 0
	for _, q := range f.openings() {
		if q.Get("session") == "" {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d of %d tabs began a session of their own", fresh, len(f.openings()))
	}
}

func TestListOfDevices(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	open(t, ctx, f, "?viewer=v1&account=family&name=Laptop")
	until(t, ctx, rows("Laptop"))
	until(t, ctx, says("#account .use", "1 of 2 streams in use"))
	until(t, ctx, `/^playing since /.test(document.querySelector("#account .row-since").textContent)`)
	until(t, ctx, `!document.querySelector("#account .badge").hidden`)
	asked := func() (lists, streams int) {
		f.locked(func() { lists, streams = f.accounts.listed, f.accounts.streams })
		return lists, streams
	}
	eventually(func() bool { _, streams := asked(); return streams == 1 })
	before, _ := asked()
	f.accounts.play("family", "tv", "TV", 2)
	until(t, ctx, rows("Laptop", "TV"))
	until(t, ctx, `document.querySelectorAll("#account .badge:not([hidden])").length === 1 && document.querySelectorAll("#account .pip.in-use").length === 2`)
	f.accounts.leave("family", "tv")
	until(t, ctx, rows("Laptop"))
	if lists, streams := asked(); lists != before || streams != 1 {
		t.Errorf("asked %d times, %d of them beside %d streams: want no list beside one stream", lists, lists-before, streams)
	}
	f.accounts.play("family", "tv", "TV", 2)
	until(t, ctx, rows("Laptop", "TV"))
	if name := eval[string](t, ctx, `document.querySelectorAll("#account .row button")[1].getAttribute("aria-label")`); name != "Sign out TV" {
		t.Errorf("the button is called %q", name)
	}
	click(t, ctx, "#account .row:nth-child(2) button")
	until(t, ctx, rows("Laptop"))
	f.mustPlay(t, "family", "Laptop")
	click(t, ctx, "#account .row button")
	until(t, ctx, says("#blocked h2", "Signed out"))
	until(t, ctx, says("#account .note", "No device is playing."))
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	until(t, ctx, rows("Laptop"))

	// A tab that nobody looks at needs no list.
	hide(t, ctx, true)
	if !eventually(func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.accounts.streams == 0
	}) {
		t.Error("a hidden tab keeps its stream")
	}
	f.accounts.play("family", "tv", "TV", 2)
	hide(t, ctx, false)
	until(t, ctx, rows("Laptop", "TV"))
}

func hide(t *testing.T, ctx context.Context, hidden bool) {
	t.Helper()
	eval[bool](t, ctx, fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true}); document.dispatchEvent(new Event("visibilitychange"))`, hidden))
}

func TestListWithoutStreams(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.locked(func() { f.accounts.noStream = true })
	open(t, ctx, f, "?viewer=v1&account=family&name=Laptop")
	until(t, ctx, rows("Laptop"))
	f.accounts.play("family", "tv", "TV", 2)
	until(t, ctx, rows("Laptop", "TV")) // asked again and again
	f.locked(func() { f.accounts.noStream = false })
	if !eventually(func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.accounts.streams == 1
	}) {
		t.Error("the page does not try the stream again")
	}
}

// TestManyWindows: a browser opens six connections to one server, and the
// streams of the windows must leave some.
func TestManyWindows(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	for i := range 8 {
		if i > 0 {
			ctx = tab(t, ctx)
		}
		open(t, ctx, f, fmt.Sprintf("?viewer=v%d&account=family&limit=8&name=Window+%d", i, i))
		until(t, ctx, status("live"))
		until(t, ctx, fmt.Sprintf(`document.querySelectorAll("#account .row").length === %d`, i+1))
	}
	f.locked(func() {
		if f.accounts.streams != 3 {
			t.Errorf("%d streams, want 3", f.accounts.streams)
		}
	})
}

func TestAccountsAway(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	f.accounts.fail(http.StatusServiceUnavailable)
	open(t, ctx, f, "?viewer=v1&account=family&limit=1&name=Laptop")
	until(t, ctx, isBlocked)
	until(t, ctx, says("#account .note", "The list of devices cannot be read right now. Playing goes on"))
	click(t, ctx, "#blocked .main")
	until(t, ctx, says("#blocked .hint", "That did not work. We cannot check right now. Try again in a moment."))
	until(t, ctx, `!document.querySelector("#blocked").hasAttribute("aria-busy") && document.querySelector("#notice").hidden`)
	f.accounts.fail(0)
	until(t, ctx, rows("TV", "Laptop"))
	until(t, ctx, `document.querySelector("#account .note").hidden`)
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	until(t, ctx, rows("Laptop"))
	f.accounts.fail(http.StatusServiceUnavailable)
	until(t, ctx, says("#account .note", "this is the last one"))
	until(t, ctx, rows("Laptop"))
	until(t, ctx, status("live")) // playing goes on
	click(t, ctx, "#account .row button")
	until(t, ctx, says("#account .note", "Laptop could not be signed out."))

	for code, text := range map[int]string{
		http.StatusNotFound:     "This server does not keep a list of devices.",
		http.StatusUnauthorized: "asks for a token",
	} {
		f.accounts.fail(code)
		do(t, ctx, chromedp.Reload())
		until(t, ctx, says("#account .note", text))
		until(t, ctx, `document.querySelectorAll("#account .row").length === 0`)
		until(t, ctx, status("live"))
	}
}

func TestTakeoverWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	f.locked(func() { f.accounts.mute = true })
	open(t, ctx, f, "?viewer=v1&account=family&limit=1&name=Laptop")
	until(t, ctx, isBlocked)
	for range 3 { // a viewer who is in a hurry asks once
		eval[bool](t, ctx, `document.querySelector("#blocked .main").click(), true`)
	}
	until(t, ctx, `document.querySelector("#blocked").getAttribute("aria-busy") === "true"`)
	until(t, ctx, says("#blocked .hint", "There was no answer. Try again."))
	f.locked(func() {
		f.accounts.mute = false
		if n := len(f.accounts.takeovers); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
}

// TestBlockedSurvivesAReconnect: what was decided meanwhile holds, whether a
// server says so or not.
func TestBlockedSurvivesAReconnect(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	open(t, ctx, f, "?viewer=v1&account=family&limit=1&name=Laptop")
	until(t, ctx, isBlocked)
	f.closeAll(1012, "drain")
	if !eventually(func() bool { return len(f.openings()) == 2 }) {
		t.Fatal("it does not come back")
	}
	until(t, ctx, status("blocked"))
	until(t, ctx, isBlocked)
	f.locked(func() { f.refuse = 503 })
	f.closeAll(1012, "drain")
	f.accounts.leave("family", "tv") // the session has no socket: nobody tells it
	f.locked(func() {
		f.refuse = 0
		f.accounts.sessions["s1"].refusal = nil
	})
	eval[bool](t, ctx, `dispatchEvent(new Event("online"))`)
	until(t, ctx, notBlocked)
	until(t, ctx, status("live"))
}

func TestLimitOfTheAccount(t *testing.T) {
	t.Parallel()
	f, one := newFakeGateway(t), browser(t)
	open(t, one, f, "?viewer=v1&account=family&name=Laptop")
	until(t, one, rows("Laptop"))
	other := opens(t, one, "#open-device")
	until(t, one, rows("Laptop", "Window 2"))
	change(t, one, "limit", "1")
	until(t, other, isBlocked) // heard from the other window, and the younger
	until(t, one, notBlocked)
	until(t, other, `document.querySelector("#limit").value === "1" && location.search.includes("limit=1")`)
	change(t, other, "limit", "5")
	until(t, other, notBlocked)
	until(t, one, says("#account .use", "2 of 5 streams in use"))
	change(t, one, "limit", "none")
	until(t, one, says("#account .note", "Without a limit nobody has to ask for a place"))
	var last url.Values
	if !eventually(func() bool {
		all := f.openings()
		last = all[len(all)-1]
		return last.Get("limit") == "" && last.Get("account") == "" && last.Get("viewer") == "v1"
	}) {
		t.Errorf("without a limit it came as %v", last)
	}
	until(t, other, status("live"))
	until(t, one, status("live"))
	do(t, one, chromedp.Reload())
	until(t, one, says("#account .note", "Without a limit"))
}

const markup = `<img src=x onerror=alert(1)>`

func TestNamesStayText(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", markup, 2)
	f.accounts.play("family", "phone", `"><script>alert(1)</script>`, 2)
	open(t, ctx, f, "?viewer=v1&account=family&name=%3Cb%3EMe%3C/b%3E")
	until(t, ctx, says("#blocked .message", markup))
	until(t, ctx, says("#blocked .rows", "Play here instead of "+markup))
	until(t, ctx, rows(markup, `"><script>alert(1)</script>`, "<b>Me</b>"))
	const clean = `document.querySelectorAll("main img, main script, #blocked b *, #account b *, #verdict img").length === 0`
	until(t, ctx, clean)
	click(t, ctx, "#blocked .main")
	until(t, ctx, notBlocked)
	f.locked(func() {
		key := f.accounts.keys.Account("family")
		f.accounts.endDeviceLocked(key, f.accounts.keys.Device(key, "dev-v1"))
	})
	f.accounts.play("family", "phone", markup, 2)
	do(t, ctx, chromedp.Navigate(f.URL+"/device?account=family&device=tv"))
	until(t, ctx, says("#verdict-text", markup+" is playing demo since"))
	until(t, ctx, clean)
}

// TestLayoutHoldsStill: nothing that is on the screen jumps while a page loads
// and its numbers and lists come (CLS, web.dev: good is under 0.1).
func TestLayoutHoldsStill(t *testing.T) {
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 3)
	f.accounts.play("home", "tv", "TV", 3)
	for _, at := range []string{"/?viewer=v1&account=family&limit=3", "/device?account=home&device=tv&limit=3"} {
		for _, w := range phoneAndDesk {
			emulate(t, ctx, w.size, w.scheme)
			do(t, ctx, chromedp.Navigate(f.URL+at))
			until(t, ctx, `document.querySelectorAll("#account .row").length > 0`)
			until(t, ctx, `!document.querySelector("#status") || document.querySelector("#status").dataset.state === "live"`)
			shift := eval[float64](t, ctx, `new Promise((resolve) => {
				let sum = 0;
				new PerformanceObserver((list) => list.getEntries().forEach((e) => (sum += e.value))).observe({ type: "layout-shift", buffered: true });
				setTimeout(() => resolve(sum), 300);
			})`)
			if shift >= 0.1 {
				t.Errorf("%s at %v shifts by %.3f", at, w.size, shift)
			}
		}
	}
}
