package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"grandstand"
	"grandstand/redis/redistest"
)

// membersOf reads GET /v1/cluster.
func membersOf(t *testing.T, url string) (list []grandstand.Member) {
	t.Helper()
	status, body := request(t, http.MethodGet, url+"/v1/cluster", "", nil)
	var v struct{ Members []grandstand.Member }
	if err := json.Unmarshal([]byte(body), &v); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return v.Members
}

// Every process says of itself what the dashboard shows: who watches, where boards
// come from, who is blocked, what waits to be archived. Nobody who watches is named.
func TestMembersSayHowTheyAre(t *testing.T) {
	beside(t) // it mostly waits
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	relay := startTreeGateway(t, "relay", redis, "--journal", t.TempDir())
	child := startTreeGateway(t, "child", redis, "--journal", t.TempDir())
	startBlocker(t, "blocker", redis)
	start(t, "archiver", "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", "file:"+archiveOf(t))
	putEvent(t, relay.url, "final", fast)
	for _, device := range []string{"one", "two", "three"} {
		c, _ := watch(t, child.url, "final", "viewer=secretviewer&account=secretaccount&limit=2&team=KC&device=secret"+device)
		keepBeating(t, c)
	}
	c, _ := watch(t, relay.url, "final", "viewer=secretother&team=SF")
	keepBeating(t, c)

	eventually(t, 20*time.Second, "the members say how they are", func() error {
		by := map[string]*grandstand.Member{}
		for _, m := range membersOf(t, child.url) {
			by[string(m.Role)+m.Peer] = &m
			if m.Status == nil && m.Role != grandstand.RoleAggregator || !m.Alive {
				return fmt.Errorf("%s %s says nothing, alive %t", m.Role, m.ID, m.Alive)
			}
		}
		if len(by) != 5 {
			return fmt.Errorf("%d members", len(by))
		}
		first, second, archiver := by["gateway"+relay.peer].Status, by["gateway"+child.peer].Status, by["archiver"].Status
		if s := first; !s.Tree.Relay || s.Tree.Parent != "" || s.Viewers.Sessions != 1 || s.Journal == nil || s.Journal.Bytes == 0 {
			return fmt.Errorf("the relay says %+v %+v %+v", s.Tree, s.Viewers, s.Journal)
		}
		if s := second; s.Tree.Relay || s.Tree.Parent != relay.peer || s.Tree.Depth != 1 || s.Viewers.Sessions != 2 || s.Viewers.Connections < 3 || s.Journal == nil {
			return fmt.Errorf("the child says %+v %+v %+v", s.Tree, s.Viewers, s.Journal)
		}
		if r := *second.Rule("token"); r.Waiting != 1 || r.Granted != 2 || r.Blocked != 1 {
			return fmt.Errorf("the child decided %+v", second.Rules)
		}
		if archiver.Archive == nil {
			return fmt.Errorf("the archiver says %+v", archiver)
		}
		return nil
	})
	_, body := request(t, http.MethodGet, relay.url+"/v1/cluster", "", nil)
	if strings.Contains(body, "secret") {
		t.Errorf("it names who watches: %s", body)
	}
}

// The dashboard over a real process: what people do shows, and goes.
func TestDashboardOfOneProcess(t *testing.T) {
	beside(t) // it mostly waits
	addr := freeAddr(t)
	start(t, "all", "all", "--listen", addr, "--admin", "", "--archive", "file:"+archiveOf(t)).ready(addr)
	url := "http://" + addr
	putEvent(t, url, "final", `{"tick_ms":1000,"dims":["country","region","team"]}`)
	tab := chromium(t)
	if err := chromedp.Do(tab, chromedp.Navigate(url+"/dashboard?event=final")); err != nil {
		t.Fatal(err)
	}
	shows := func(what, script string) {
		t.Helper()
		eventually(t, 20*time.Second, what, func() error {
			if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](script)); err != nil || !ok {
				return fmt.Errorf("%s: %t, %w", script, ok, err)
			}
			return nil
		})
	}
	c, _ := watch(t, url, "final", "viewer=v1&device=d1&country=US&region=US-MO&team=KC")
	keepBeating(t, c)
	shows("the number", `document.querySelector("#now").textContent === "1"`)
	shows("the map", `document.querySelector("#map path[data-value=US-MO]")?.dataset.step === "6"`)
	shows("the chart", `document.querySelector("#chart-summary").textContent.startsWith("Everybody: at most 1 at")`)
	shows("the gateway", `document.querySelectorAll("#members tr").length === 1 && document.querySelector("#members td").textContent === "1"`)
	shows("the journal", `document.querySelector("#journal-size").textContent !== "0 B" && document.querySelector("#lag").textContent !== "–"`)
	c.CloseNow()
}
