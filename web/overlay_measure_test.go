//go:build measure

package web

import (
	"testing"
	"time"
)

// What the cheapest page takes to show one more number, by every way there is: an
// overlay that eases takes this three times a tick, and reads a message besides.
func TestMeasureOneStep(t *testing.T) {
	f := newFakeGatewayAt(t, time.Second)
	const digits = `<div style="font-size:4rem">0</div><script>let n = 4000; const d = document.querySelector("div"), text = d.firstChild; `
	for _, w := range []struct{ what, page string }{
		{"a text", digits + `setInterval(() => { text.data = n += 137 }, 1000)</script>`},
		{"a text in a box of fixed size", digits + `d.style.cssText += ";contain:strict;width:300px;height:70px"; setInterval(() => { text.data = n += 137 }, 1000)</script>`},
		{"a canvas", digits + `const c = document.createElement("canvas").getContext("2d"); d.append(c.canvas); c.font = "700 64px sans-serif"; c.textBaseline = "top";
			setInterval(() => { c.clearRect(0, 0, 300, 150); c.fillText(n += 137, 0, 4) }, 1000)</script>`},
		{"a strip of digits that is moved", digits + `d.style.willChange = "transform"; setInterval(() => { d.style.transform = "translateY(-" + ++n % 3 * 70 + "px)" }, 1000)</script>`},
		{"a text that the compositor moves in", digits + `setInterval(() => { text.data = n += 137; d.animate({transform: ["translateY(.4em)", "none"]}, {duration: 400}) }, 1000)</script>`},
	} {
		mainThread(t, f, w.what, elsewhere(t, w.page), "document.body")
	}
}
