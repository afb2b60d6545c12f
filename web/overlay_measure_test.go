//go:build measure

package web

import (
	"testing"
	"time"
)

// What overlays take of a page's thread once they have been open for a while.
func TestMeasureOverlays(t *testing.T) {
	measureOverlays(t, stopwatch{f: newFakeGatewayAt(t, time.Second), warm: 30, ticks: 30}, 3)
}

// What the cheapest page takes to show one more number, by every way there is
// (docs/decisions/0024): an overlay that eases reads a message besides.
func TestMeasureOneStep(t *testing.T) {
	watch := stopwatch{f: newFakeGatewayAt(t, time.Second), warm: 10, ticks: 20}
	const digits = `<div style="font-size:4rem">0</div><script>let n = 4000; const d = document.querySelector("div"), text = d.firstChild; `
	for _, w := range []struct{ what, page string }{
		{"a text", digits + `setInterval(() => { text.data = n += 137 }, 1000)</script>`},
		{"a text in a box of fixed size", digits + `d.style.cssText += ";contain:strict;width:300px;height:70px"; setInterval(() => { text.data = n += 137 }, 1000)</script>`},
		{"a canvas", digits + `const c = document.createElement("canvas").getContext("2d"); d.append(c.canvas); c.font = "700 64px sans-serif"; c.textBaseline = "top";
			setInterval(() => { c.clearRect(0, 0, 300, 150); c.fillText(n += 137, 0, 4) }, 1000)</script>`},
		{"a strip of digits that is moved", digits + `d.style.willChange = "transform"; setInterval(() => { d.style.transform = "translateY(-" + ++n % 3 * 70 + "px)" }, 1000)</script>`},
		{"a text that the compositor moves in", digits + `setInterval(() => { text.data = n += 137; d.animate({transform: ["translateY(.4em)", "none"]}, {duration: 400}) }, 1000)</script>`},
		{"a strip with a transition of 0.4 s", digits + `d.style.willChange = "transform"; d.style.transition = "transform .4s"; setInterval(() => { d.style.transform = "translateY(-" + ++n % 3 * 70 + "px)" }, 1000)</script>`},
		{"a strip with a transition that never ends", digits + `d.style.willChange = "transform"; d.style.transition = "transform 1.5s linear"; setInterval(() => { d.style.transform = "translateY(-" + ++n % 3 * 70 + "px)" }, 1000)</script>`},
		{"five strips with transitions that never end", `<div style="font-size:4rem;display:flex"><b>0</b><b>1</b><b>2</b><b>3</b><b>4</b></div><style>b{will-change:transform;transition:transform 1.5s linear}</style><script>let n=0; const bs=[...document.querySelectorAll("b")]; setInterval(() => { n++; for (const b of bs) b.style.transform = "translateY(-" + n % 3 * 70 + "px)" }, 1000)</script>`},
		{"a canvas drawn by a worker, three times", `<div>0</div><canvas width=300 height=80></canvas><script>const w = new Worker(URL.createObjectURL(new Blob(["onmessage = (e) => { if (e.data.c) { g = e.data.c.getContext('2d'); g.font='700 64px sans-serif'; g.textBaseline='top'; return } const n = e.data; for (const i of [0,1,2]) setTimeout(() => { g.clearRect(0,0,300,80); g.fillText(n+i,0,4) }, 300*i) }"]))); const o = document.querySelector("canvas").transferControlToOffscreen(); w.postMessage({c:o},[o]); let n=4000; setInterval(() => w.postMessage(n += 137), 1000)</script>`},
		{"three lines of one text that an animation without end shows one after the other", `<div style="font-size:4rem;line-height:70px;height:70px;overflow:hidden"><div style="white-space:pre;will-change:transform">0</div></div><script>let n = 4000; const d = document.querySelector("div div"), text = d.firstChild, line = (i, offset) => ({transform: "translateY(-" + 70*i + "px)", offset, easing: "step-end"}); const a = d.animate([line(0, 0), line(1, .000003), line(2, .000006), line(2, 1)], {duration: 1e8}); setInterval(() => { n += 137; text.data = [n-80, n-30, n].join("\n"); a.currentTime = 0 }, 1000)</script>`},
		{"three texts", digits + `setInterval(() => { for (const i of [0,1,2]) setTimeout(() => { text.data = n += 137 }, 300*i) }, 1000)</script>`},
		{"three texts, 50 ms apart", digits + `setInterval(() => { for (const i of [0,1,2]) setTimeout(() => { text.data = n += 137 }, 50*i) }, 1000)</script>`},
		{"two texts", digits + `setInterval(() => { for (const i of [0,1]) setTimeout(() => { text.data = n += 137 }, 300*i) }, 1000)</script>`},
	} {
		watch.mainThread(t, w.what, elsewhere(t, w.page), "document.body")
	}
}
