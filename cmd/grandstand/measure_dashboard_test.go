//go:build measure

package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"grandstand/redis/redistest"
)

// observer is put into the page before its scripts: tasks of over 50 ms, and
// what the page moved without being asked to.
const observer = `
	window.seen = { long: [], shift: 0 };
	new PerformanceObserver((l) => { for (const e of l.getEntries()) seen.long.push([Math.round(e.startTime), Math.round(e.duration)]) }).observe({ type: "longtask", buffered: true });
	new PerformanceObserver((l) => { for (const e of l.getEntries()) seen.shift += e.value }).observe({ type: "layout-shift", buffered: true });`

// The dashboard of ten thousand viewers in some 280 segments: it paints within a
// second, and no task of its takes over 50 ms in a minute of ticks.
func TestMeasureDashboard(t *testing.T) {
	addr := freeAddr(t)
	url := "http://" + addr
	start(t, "all", "all", "--listen", addr, "--admin", "", "--redis", redistest.StartServer(t).URL(), "--secret", testSecret, "--archive", "file:"+archiveOf(t)).ready(addr)
	putEvent(t, url, "final", `{"tick_ms":2000,"dims":["country","region",{"name":"team","choose":true},"team+region"]}`)
	start(t, "crowd", "simulate", "--event", "final", "--target", url, "--viewers", "10000", "--profile", "flat", "--join-rate", "1000", "--duration", "3m", "--churn", "0.3", "--shared")
	eventually(t, time.Minute, "the crowd is there", func() error {
		c, err := getCounts(url, "final")
		if err == nil && c.World.Sessions < 9000 {
			err = fmt.Errorf("%d are there", c.World.Sessions)
		}
		return err
	})

	tab := chromium(t)
	if err := chromedp.Do(tab, chromedp.EmulateViewport(1440, 900)); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: observer}); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(tab, chromedp.Navigate(url+"/dashboard?event=final")); err != nil {
		t.Fatal(err)
	}
	ask := func(script string) (v []float64) {
		t.Helper()
		v, err := chromedp.Run(tab, chromedp.Evaluate[[]float64](script, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	<-time.After(60 * time.Second) // of ticks, which is what is measured
	screenshot(t, tab, "dashboard-10000.png")
	first := ask(`[performance.getEntriesByName("first-contentful-paint")[0].startTime, document.querySelectorAll("#map path[data-step='6']").length]`)
	long := ask(`seen.long.flat()`)
	segments := ask(`fetch("/v1/events/final/counts").then((r) => r.json()).then((b) => [Object.values(b.dims).flatMap(Object.keys).length])`)
	t.Logf("first paint after %.0f ms; tasks over 50 ms as [at, for]: %v; %v segments; moved by %v", first[0], long, segments, ask(`[seen.shift]`))
	if first[0] > 1000 || first[1] == 0 {
		t.Errorf("the first paint came after %.0f ms; the map has %v places in its darkest colour", first[0], first[1])
	}
	if shown := ask(`[Number(document.querySelector("#now").textContent.replace(/\D/g, ""))]`); shown[0] < 9000 || segments[0] < 280 {
		t.Errorf("it shows %v sessions, there are %v segments", shown, segments)
	}
	if len(long) > 0 {
		t.Errorf("tasks over 50 ms, [at, for]: %v", slices.Collect(slices.Chunk(long, 2)))
	}
}
