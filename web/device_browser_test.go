package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func openDevice(t *testing.T, ctx context.Context, f *fakeGateway, query string) {
	t.Helper()
	do(t, ctx, chromedp.Navigate(f.URL+"/device"+query))
}

// verdict is true once the page of a device says so.
func verdict(state string) string {
	return fmt.Sprintf(`!document.querySelector("#verdict").hidden && document.querySelector("#verdict").dataset.state === %q`, state)
}

func TestDeviceStates(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	openDevice(t, ctx, f, "?account=family&device=tv&limit=2")
	until(t, ctx, verdict("idle"))
	until(t, ctx, says("#verdict", "Yes, whenever it likes"))
	f.accounts.play("family", "tv", "Living room TV", 2) // the page hears of it
	until(t, ctx, verdict("allowed"))
	until(t, ctx, says("#verdict-text", "Living room TV is playing demo since "))
	until(t, ctx, says("#verdict-text", "1 of 2 streams of the account in use."))
	until(t, ctx, `document.title === "Yes, it is playing – Grandstand"`)
	until(t, ctx, `!document.querySelector("#account .badge").hidden`)

	openDevice(t, ctx, f, "?account=family&device=tablet&limit=2")
	until(t, ctx, verdict("idle"))
	f.accounts.play("family", "phone", "Phone", 2)
	until(t, ctx, verdict("full"))
	until(t, ctx, says("#verdict-text", "taken by Living room TV and Phone."))
	f.accounts.wait("family", "tablet", "Kitchen tablet")
	until(t, ctx, isBlocked)
	until(t, ctx, says("#blocked .message", "Playing now: Living room TV and Phone."))
	until(t, ctx, `document.querySelector("#verdict").hidden && document.title.startsWith("Not playing")`)
	f.accounts.leave("family", "phone")
	until(t, ctx, verdict("allowed"))

	f.accounts.signOut("family", "tablet")
	until(t, ctx, says("#blocked h2", "Signed out"))
	until(t, ctx, says("#blocked .hint", "Press “Play here again” on the device itself"))
	until(t, ctx, `document.querySelector("#blocked .main").hidden`)
}

// TestDeviceTakesOver: what this browser plays on the device is asked for with
// its session, by a heartbeat.
func TestDeviceTakesOver(t *testing.T) {
	t.Parallel()
	f, player := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 2)
	f.accounts.play("family", "phone", "Phone", 2)
	open(t, player, f, "?viewer=v1&account=family&name=Laptop")
	until(t, player, isBlocked)
	page := tab(t, player)
	do(t, page, chromedp.Navigate(eval[string](t, player, `document.querySelector("#check-device").href`)))
	until(t, page, isBlocked)
	click(t, page, "#blocked li:nth-child(1) button")
	until(t, page, verdict("allowed"))
	until(t, player, notBlocked)
	until(t, player, status("live"))
	f.mustPlay(t, "family", "Phone", "Laptop")
	f.locked(func() {
		if len(f.accounts.beats) != 1 || f.accounts.beats[0]["session"] != "s1" || f.accounts.beats[0]["event"] != "demo" || len(f.accounts.beats[0]["terminate"].([]any)) != 1 {
			t.Errorf("heartbeats %v, want one with the session of the player", f.accounts.beats)
		}
	})
}

// TestDeviceElsewhereTakesOver: which session waits on a device elsewhere is
// not known. A place is made for it, and it comes by itself.
func TestDeviceElsewhereTakesOver(t *testing.T) {
	t.Parallel()
	f, player, phone := newFakeGateway(t), browser(t), browser(t)
	f.accounts.play("family", "tv", "TV", 2)
	f.accounts.play("family", "tablet", "Tablet", 2)
	open(t, player, f, "?viewer=v1&account=family&device=d1&name=Laptop")
	until(t, player, isBlocked)
	openDevice(t, phone, f, "?account=family&device=d1&limit=2")
	until(t, phone, says("#blocked .message", "TV and Tablet"))
	f.accounts.fail(http.StatusServiceUnavailable)
	click(t, phone, "#blocked .main")
	until(t, phone, says("#blocked .hint", "That did not work. The account's devices cannot be looked up just now. Try again in a moment."))
	f.accounts.fail(0)
	click(t, phone, "#blocked .main")
	until(t, phone, verdict("allowed"))
	until(t, player, notBlocked)
	f.mustPlay(t, "family", "TV", "Laptop")
	f.locked(func() {
		if len(f.accounts.beats) != 0 {
			t.Errorf("heartbeats %v: one without a session would supersede the player", f.accounts.beats)
		}
	})
}

func TestDeviceSignsOthersOut(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 1)
	openDevice(t, ctx, f, "?account=family&device=phone&limit=1")
	until(t, ctx, verdict("full"))
	click(t, ctx, "#account .row button")
	until(t, ctx, verdict("idle"))
	f.mustPlay(t, "family")
}

func TestDeviceForm(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("a/b ü?#%", "stream", "TV", 2)
	openDevice(t, ctx, f, "") // this browser
	until(t, ctx, verdict("idle"))
	until(t, ctx, `document.querySelector("[name=account]").value.startsWith("acct-fan-") && document.querySelector("[name=device]").value.startsWith("dev-fan-")`)
	fillForm := func(account, device string) {
		t.Helper()
		eval[bool](t, ctx, fmt.Sprintf(`(() => { const f = document.querySelector("#which"); f.elements.account.value = %q; f.elements.device.value = %q; return true; })()`, account, device))
		click(t, ctx, "#which button")
	}
	fillForm("a/b ü?#%", "stream") // signs that a path has to hide, and a name of a route
	until(t, ctx, verdict("allowed"))
	until(t, ctx, says("#verdict-text", "TV is playing"))
	openDevice(t, ctx, f, "") // remembered
	until(t, ctx, verdict("allowed"))
	fillForm("..", "tv")
	until(t, ctx, `!document.querySelector("#wrong").hidden && document.querySelector("[name=account]").hasAttribute("aria-invalid") && !document.querySelector("[name=device]").hasAttribute("aria-invalid")`)
	until(t, ctx, verdict("allowed")) // of the device before
	fillForm("family", strings.Repeat("ü", 129))
	until(t, ctx, says("#wrong", "The id of the device"))
	fillForm("family", "tv")
	until(t, ctx, verdict("idle"))
	until(t, ctx, `document.querySelector("#wrong").hidden && location.search === "?account=family&device=tv"`)
}

func TestDeviceInTrouble(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	f.accounts.play("family", "tv", "TV", 2)
	for code, text := range map[int]string{
		http.StatusServiceUnavailable: "The account's devices cannot be looked up just now. This page goes on trying.",
		http.StatusNotFound:           "This server does not know about accounts and devices.",
		http.StatusForbidden:          "asks for a token",
		http.StatusBadRequest:         "The account's devices cannot be looked up just now.",
	} {
		f.accounts.fail(code)
		openDevice(t, ctx, f, "?account=family&device=tv&limit=2")
		until(t, ctx, verdict("trouble"))
		until(t, ctx, says("#verdict-text", text))
		f.accounts.fail(0)
		until(t, ctx, verdict("allowed")) // it goes on asking
	}
	f.accounts.fail(http.StatusServiceUnavailable)
	until(t, ctx, says("#account .note", "this is the last one"))
	until(t, ctx, verdict("allowed")) // the last answer stays
}

func TestParts(t *testing.T) {
	t.Parallel()
	f, ctx := newFakeGateway(t), browser(t)
	openDevice(t, ctx, f, "")
	wrong := eval[[]string](t, ctx, `Promise.all(["/sdk.js", "/static/blocked.js", "/static/who.js", "/static/dom.js"].map((m) => import(m))).then(([live, blocked, who, dom]) => {
		const wrong = [];
		const expect = (got, want, what) => { if (JSON.stringify(got) !== JSON.stringify(want)) wrong.push(what + ": " + JSON.stringify(got) + ", want " + JSON.stringify(want)); };

		const odd = live.refusal({ code: 7, limit: "x", current: -1, by: null, conflicts: [null, 3, { name: 5, since: 9 }, { name: "A", since: 2, termination_code: "a" }] });
		expect(odd.conflicts.map(dom.named), ["A", "a device without a name"], "conflicts, oldest first");
		expect([odd.code, odd.limit, odd.current, odd.by, odd.final], ["", 0, 0, "", false], "an odd refusal");
		expect(live.refusal({}).conflicts, [], "an empty refusal");
		for (const [code, final] of Object.entries({ device_limit: false, unavailable: false, too_many_devices: false, taken_over: true, superseded: true, signed_out: true })) expect(live.refusal({ code }).final, final, code);

		const of = (limit, current, n, code = "device_limit") => live.refusal({ code, limit, current, conflicts: Array.from({ length: n }, (_, i) => ({ name: "d" + i, since: i + 1, termination_code: "c" + i })) });
		for (const [r, more, want] of [[of(2, 2, 2), 0, 1], [of(2, 3, 3), 0, 2], [of(2, 2, 2), 1, 2], [of(2, 2, 2), 5, 2], [of(2, 1, 2), 0, 1], [of(0, 0, 2), 0, 1], [of(2, 2, 0), 0, 0],
			[of(2, 1, 1, "taken_over"), 0, 0], [of(2, 2, 2, "taken_over"), 0, 1], [of(0, 2, 2, "signed_out"), 0, 0]]) expect(blocked.needed(r, more), want, "needed " + [r.code, r.limit, r.current, r.conflicts.length, more]);
		expect(blocked.chosen(of(2, 3, 3), 2).map((c) => c.code), ["c2", "c1"], "the youngest first");
		expect(blocked.chosen(of(2, 3, 3), 0), [], "nobody");

		for (const [text, want] of [["2", 2], ["64", 64], ["65", null], ["0", null], ["none", 0], ["", null], [null, null], ["1e1", null], ["-1", null]]) expect(who.parseLimit(text), want, "limit " + text);
		for (const [agent, want] of [
			["Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36", "Chrome on Linux"],
			["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", "Safari on Mac"],
			["Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0 Mobile/15E148 Safari/604.1", "Chrome on iPhone"],
			["Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0", "Firefox on Windows"],
			["Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0", "Edge on Windows"],
			["", "This browser"],
		]) expect(who.deviceName(agent), want, agent);
		expect(who.cleanName("  a\n\u202eb \u0000 c "), "a b c", "a name");
		expect(who.cleanName("x".repeat(100)).length, 64, "a long name");

		for (const [names, want] of [[[], ""], [["A"], "A"], [["A", "B"], "A and B"], [["A", "B", "C"], "A, B and C"]]) expect(dom.listed(names), want, names);
		for (const [text, want] of [["", ""], ["no", "No."], ["No!", "No!"]]) expect(dom.sentence(text), want, text);
		for (const ms of [0, -1, NaN, undefined, 1e300, Infinity, "x"]) expect(dom.at(ms), "", "the time " + ms);
		expect(dom.at(Date.now()).length > 3, true, "now");
		return wrong;
	})`)
	for _, w := range wrong {
		t.Error(w)
	}
}
