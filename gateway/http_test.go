package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v in %s", err, text)
	}
	return v
}

type beatAnswer struct {
	Session    string
	Verdict    struct{ Status string }
	IntervalMS int64 `json:"interval_ms"`
	Frame      *struct {
		T string
		N map[string][]int
	}
}

func TestPlayersWithoutASocket(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		post := func(query, body string, want int) beatAnswer {
			t.Helper()
			status, text, _ := rg.do(http.MethodPost, "/v1/events/final/beats?"+query, body)
			if status != want {
				t.Fatalf("%s is answered %d %s, want %d", body, status, text, want)
			}
			return parse[beatAnswer](t, text)
		}
		a := post("viewer=v1&device=d1&team=KC", `{"state":"playing","interval_ms":20000}`, 200)
		if len(a.Session) != 28 || a.Verdict.Status != "allowed" || a.IntervalMS != 20000 || a.Frame != nil {
			t.Errorf("first answer %+v", a)
		}
		ticked()
		if n := rg.redis.count("final", "team:KC"); n != 1 {
			t.Errorf("team:KC counts %d", n)
		}
		rg.hub.show(board("final", time.Now().UnixMilli(), 1, "team:KC", 1))
		body := fmt.Sprintf(`[{"t":"beat","state":"playing","session":%q},{"t":"event","name":"stall","session":%[1]q}]`, a.Session)
		for range 4 {
			time.Sleep(15 * time.Second)
			b := post("viewer=v1&device=d1", body, 200)
			if b.Session != a.Session || b.Frame == nil || b.Frame.T != "counts" || b.Frame.N["team"][0] != 1 {
				t.Errorf("next answer %+v", b)
			}
		}
		ticked()
		if n := rg.redis.count("final", "team:KC"); n != 1 {
			t.Errorf("team:KC counts %d a minute later", n)
		}
		// The SDK asks for the event's own interval, whatever a tab said before it.
		if b := post("viewer=v1&device=d1", fmt.Sprintf(`{"state":"playing","interval_ms":-1,"session":%q}`, a.Session), 200); b.IntervalMS != 10000 {
			t.Errorf("the event's own interval is %d ms", b.IntervalMS)
		}
		// Somebody else cannot use the session; nonsense is refused as a whole.
		post("viewer=v2&device=d1", body, 403)
		post("viewer=v1&device=d1", `{"session":"x"}`, 400)
		post("viewer=v1&device=d1", `[{"state":"playing"},{"state":"dancing"}]`, 400)
		post("viewer=v1&device=d1", ``, 400)
		post("viewer=v1&device=d1", `{"t":"join","seg":{"team":"KC"}}`, 400)
		post("viewer=v1&device=d1", `"`+strings.Repeat("x", 300<<10)+`"`, 413)
		if n := rg.g.sessions.Load(); n != 1 {
			t.Errorf("%d sessions are open", n)
		}
		post("viewer=v1&device=d1", fmt.Sprintf(`{"state":"ended","session":%q}`, a.Session), 200)
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after ended", n)
		}
		// Too many.
		var status int
		var header http.Header
		for range 20 {
			list := "[" + strings.Repeat(`{"state":"playing"},`, 49) + fmt.Sprintf(`{"state":"playing","session":%q}]`, a.Session)
			list = strings.ReplaceAll(list, `{"state":"playing"}`, fmt.Sprintf(`{"state":"playing","session":%q}`, a.Session))
			if status, _, header = rg.do(http.MethodPost, "/v1/events/final/beats?viewer=v1&device=d1", list); status != 200 {
				break
			}
		}
		if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
			t.Errorf("a flood of beats is answered %d", status)
		}
	})
}

func TestBeatsMoveBetweenGateways(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		_, text, _ := a.do(http.MethodPost, "/v1/events/final/beats?viewer=v1&device=d1&team=KC", `{"state":"playing"}`)
		s := parse[beatAnswer](t, text).Session
		time.Sleep(1500 * time.Millisecond)
		for i := range 10 { // a load balancer that sends every beat elsewhere
			rg := []*rig{b, a}[i%2]
			status, text, _ := rg.do(http.MethodPost, "/v1/events/final/beats?viewer=v1&device=d1", fmt.Sprintf(`{"state":"playing","session":%q}`, s))
			if status != 200 {
				t.Fatal(text)
			}
			ticked()
			for _, segment := range []string{"world", "team:KC"} {
				if n := redis.count("final", segment); n != 1 {
					t.Errorf("%s counts %d after %d beats", segment, n, i+1)
				}
			}
		}
		// Its end comes to a gateway that does not have it.
		b.do(http.MethodPost, "/v1/events/final/beats?viewer=v1&device=d1", fmt.Sprintf(`{"state":"ended","session":%q}`, s))
		ticked()
		ticked()
		if n := redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after ended", n)
		}
	})
}

func TestCounts(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{"public":true,"dims":["country","team","country+team"]}`)
		b := board("final", time.Now().UnixMilli(), 20, "country:US", 20, "team:KC", 12, "team:SF", 5, "team:other", 3, "country+team:US+KC", 20)
		b.Segments[4].Folded = true // team:SF
		b.Public = []grandstand.SegmentCount{{Segment: grandstand.Segment{Dim: "team", Value: "other"}, Sessions: 8, Fans: 8, Peak: 9, Reach: 9}}
		b.Quality, b.Coverage = grandstand.Partial, 0.5
		if b.Segments[4].Segment.Value != "SF" {
			t.Fatal(b.Segments)
		}
		rg.hub.show(b)
		time.Sleep(1234 * time.Millisecond)
		get := func(query string) string {
			t.Helper()
			status, text, _ := rg.do(http.MethodGet, "/v1/events/final/counts?"+query, "")
			if status != 200 {
				t.Errorf("%s: %d %s", query, status, text)
			}
			return text
		}
		c := func(n, peak int) string {
			return fmt.Sprintf(`{"sessions":%d,"fans":%d,"peak":%d,"reach":%d}`, n, n, peak, peak)
		}
		form := func(dims string) string {
			return fmt.Sprintf(`{"event":"final","at":%d,"age_ms":1234,"epoch":1,"quality":"partial","coverage":0.5000,"dims":{%s},"error":0.0081}`, b.At, dims)
		}
		all := `"world":` + c(20, 20) + `,"country":{"US":` + c(20, 20) + `},"country+team":{"US+KC":` + c(20, 20) + `},"team":{"KC":` + c(12, 12)
		rg.auth.admin = nil
		for query, want := range map[string]string{
			"":                                      all + `,"SF":` + c(5, 5) + `,"other":` + c(3, 3) + `}`,
			"dim=country":                           `"country":{"US":` + c(20, 20) + `}`,
			"dim=world":                             `"world":` + c(20, 20),
			"segment=team:SF":                       `"team":{"SF":` + c(5, 5) + `}`,
			"segment=world":                         `"world":` + c(20, 20),
			"segment=team:SF,world,team:XX,team:SF": `"team":{"SF":` + c(5, 5) + `,"XX":` + c(0, 0) + `},"world":` + c(20, 20),
			"segment=team:XX":                       `"team":{"XX":` + c(0, 0) + `}`,
			"segment=country%2Bteam:US%2BKC":        `"country+team":{"US+KC":` + c(20, 20) + `}`,
			"segment=country+team:US+KC":            `"country+team":{"US+KC":` + c(20, 20) + `}`,
		} {
			if diff := cmp.Diff(form(want), get(query)); diff != "" {
				t.Errorf("operator, %s: %s", query, diff)
			}
		}
		rg.auth.admin = grandstand.Errorf(grandstand.CodeForbidden, "no")
		for query, want := range map[string]string{
			"":                   all + `,"other":` + c(8, 9) + `}`,
			"dim=team":           `"team":{"KC":` + c(12, 12) + `,"other":` + c(8, 9) + `}`,
			"segment=team:SF":    `"team":{"SF":null}`,
			"segment=team:other": `"team":{"other":` + c(8, 9) + `}`,
		} {
			if diff := cmp.Diff(form(want), get(query)); diff != "" {
				t.Errorf("public, %s: %s", query, diff)
			}
		}

		status, _, header := rg.do(http.MethodGet, "/v1/events/final/counts", "")
		if cc := header.Get("Cache-Control"); status != 200 || cc != "public, max-age=2" {
			t.Errorf("%d Cache-Control %q", status, cc)
		}
		req, _ := http.NewRequest(http.MethodGet, rg.url+"/v1/events/final/counts", nil)
		req.Header.Set("If-None-Match", header.Get("ETag"))
		resp, err := rg.client.Do(req)
		if err != nil || resp.StatusCode != http.StatusNotModified {
			t.Errorf("If-None-Match is answered %v %v", resp.Status, err)
		}
		for path, want := range map[string]int{
			"final/counts?dim=mood":                                               400,
			"final/counts?segment=mood:x":                                         400,
			"final/counts?segment=team":                                           400,
			"final/counts?dim=team&segment=country:US":                            400,
			"final/counts?segment=world,":                                         400,
			"final/counts?" + "segment=" + strings.Repeat("world,", 16) + "world": 400,
			"final/counts?dim=team&dim=world":                                     400,
			"nothing/counts":                                                      404,
			"a%20b/counts":                                                        400,
		} {
			if status, text, _ := rg.do(http.MethodGet, "/v1/events/"+path, ""); status != want || !strings.HasPrefix(text, `{"code":"`) {
				t.Errorf("%s: %d %s", path, status, text)
			}
		}
		rg.auth.reader = grandstand.Errorf(grandstand.CodeUnauthorized, "a token or a key")
		for _, path := range []string{"", "/counts", "/counts/stream", "/history"} {
			if status, _, _ := rg.do(http.MethodGet, "/v1/events/final"+path, ""); status != 401 {
				t.Errorf("GET %s without a token: %d", path, status)
			}
		}
		if _, text, _ := rg.do(http.MethodGet, "/v1/events", ""); text != "[]\n" {
			t.Errorf("the list without a token: %s", text)
		}
	})
}

// sseReader reads Server-Sent Events.
type sseReader struct {
	id, data string
	comments int
}

func (s *sseReader) next(br *bufio.Reader) error {
	s.id, s.data = "", ""
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" && s.data != "":
			return nil
		case strings.HasPrefix(line, "id: "):
			s.id = line[4:]
		case strings.HasPrefix(line, "data: "):
			s.data = line[6:]
		case strings.HasPrefix(line, ":"):
			s.comments++
		}
	}
}

func TestStream(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		at := time.Now().UnixMilli()
		rg.hub.show(board("final", at, 1, "team:KC", 1))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, rg.url+"/v1/events/final/counts/stream?segment=team:KC", nil)
		resp, err := rg.client.Do(req)
		if err != nil || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp, err)
		}
		events := make(chan sseReader)
		go func() {
			defer close(events)
			br, s := bufio.NewReader(resp.Body), sseReader{}
			for s.next(br) == nil {
				select {
				case events <- s:
				case <-ctx.Done():
				}
			}
		}()
		var s sseReader
		want := func(id int64, n int) {
			t.Helper()
			s = <-events
			if s.id != fmt.Sprint(id) || !strings.Contains(s.data, fmt.Sprintf(`"dims":{"team":{"KC":{"sessions":%d,`, n)) {
				t.Errorf("event %s %s, want %d at %d", s.id, s.data, n, id)
			}
		}
		want(at, 1)
		time.Sleep(31 * time.Second)
		rg.hub.show(board("final", at+2000, 2, "team:KC", 2))
		want(at+2000, 2)
		if s.comments != 2 {
			t.Errorf("%d heartbeats in 31 s", s.comments)
		}
		for i := range 5 { // the reader is slow
			rg.hub.show(board("final", at+4000+int64(i), 10, "team:KC", 10+i))
			synctest.Wait()
		}
		want(at+4000, 10)
		want(at+4001, 11) // was on its way
		want(at+4004, 14)
		if n := rg.metric("connections", ""); n != 1 {
			t.Errorf("%v connections", n)
		}
		cancel()
		synctest.Wait()
		if n := rg.metric("connections", ""); n != 0 {
			t.Errorf("%v connections after the reader left", n)
		}
		rg.hub.mu.Lock()
		if n := len(rg.hub.subs); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
		rg.hub.mu.Unlock()

		final := board("final", at+9000, 0)
		final.Quality = grandstand.Final
		rg.hub.show(final)
		rg.do(http.MethodDelete, "/v1/events/final", "")
		_, text, _ := rg.do(http.MethodGet, "/v1/events/final/counts/stream", "")
		if !strings.Contains(text, `"quality":"final"`) {
			t.Errorf("the stream of an event that is over: %s", text)
		}
		req, _ = http.NewRequest(http.MethodGet, rg.url+"/v1/events/final/counts/stream", nil)
		req.Header.Set("Last-Event-ID", "1")
		if resp, err := rg.client.Do(req); err != nil || resp.StatusCode != http.StatusNoContent {
			t.Errorf("a browser that comes back is answered %v %v", resp, err)
		}
	})
}

// A silent stream ends with the gateway.
func TestStreamsEndWithTheGateway(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		resp, err := rg.client.Get(rg.url + "/v1/events/final/counts/stream")
		if err != nil {
			t.Fatal(err)
		}
		if err := rg.g.Close(t.Context()); err != nil {
			t.Error(err)
		}
		br := bufio.NewReader(resp.Body)
		if err := (&sseReader{}).next(br); err == nil {
			t.Error("the stream goes on")
		}
	})
}

func TestEvents(t *testing.T) {
	inBubble(t, rigConfig{set: func(c *Config) { c.OpenEvents = false; c.MinCohort = 10 }}, func(t *testing.T, rg *rig) {
		rg.put("final", `{"dims":["team",{"name":"country","values":["US","FR"]}],"tick_ms":1000}`)
		_, text, _ := rg.do(http.MethodGet, "/v1/events/final", "")
		e := parse[grandstand.Event](t, text)
		if e.State != grandstand.EventScheduled || e.TickMS != 1000 || e.BeatMS != 10_000 || e.MinCohort == nil || *e.MinCohort != 10 || len(e.Dims) != 2 {
			t.Errorf("event %s", text)
		}
		rg.put("semi", `{"min_cohort":0}`)
		_, text, _ = rg.do(http.MethodGet, "/v1/events", "")
		list := parse[[]grandstand.Event](t, text)
		if len(list) != 2 || list[0].Name != "final" || list[1].Name != "semi" || *list[1].MinCohort != 0 {
			t.Errorf("list %s", text)
		}
		for body, want := range map[string]int{
			`{"tick_ms":1500}`:   400,
			`{"colour":"red"}`:   400,
			`{"event":"semi"}`:   400,
			`{} {}`:              400,
			`[]`:                 400,
			`{"dims":["world"]}`: 400,
			`{"dims":["` + strings.Repeat("x", 70<<10) + `"]}`: 413,
		} {
			if status, text, _ := rg.do(http.MethodPut, "/v1/events/final", body); status != want {
				t.Errorf("PUT %.40s: %d %s, want %d", body, status, text, want)
			}
		}
		// Scheduled: dims may change. Live: not.
		rg.put("final", `{"dims":["team"]}`)
		v, err := rg.try("final", "viewer=v1&team=KC", nil)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, text, _ = rg.do(http.MethodGet, "/v1/events/final", "")
		if e := parse[grandstand.Event](t, text); e.State != grandstand.EventLive || e.StartedAt == 0 {
			t.Errorf("with its first viewer: %s", text)
		}
		if status, _, _ := rg.do(http.MethodPut, "/v1/events/final", `{"dims":["country"]}`); status != 409 {
			t.Errorf("dims of a live event: %d", status)
		}
		if status, _, _ := rg.do(http.MethodDelete, "/v1/events/nothing", ""); status != 404 {
			t.Errorf("ending an unknown event: %d", status)
		}
		rg.do(http.MethodDelete, "/v1/events/final", "")
		v.wantClose(4504, time.Second)
		rg.put("final", `{"dims":["country"]}`) // anew
		ticked()
		w, err := rg.try("final", "viewer=v1&country=US", nil)
		if err != nil {
			t.Fatal(err)
		}
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions of the event that starts anew", n)
		}
		w.leave()
		rg.auth.admin = grandstand.Errorf(grandstand.CodeForbidden, "no")
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			if status, _, _ := rg.do(method, "/v1/events/final", "{}"); status != 403 {
				t.Errorf("%s without the right: %d", method, status)
			}
		}
		if status, text, _ := rg.do(http.MethodPatch, "/v1/events/final", "{}"); status != 405 || !strings.Contains(text, `"code":"invalid"`) {
			t.Errorf("PATCH: %d %s", status, text)
		}
		if status, text, _ := rg.do(http.MethodGet, "/v2/events", ""); status != 404 || !strings.Contains(text, `"code":"not_found"`) {
			t.Errorf("another path: %d %s", status, text)
		}
	})
}

// An event that another gateway configures or ends is noticed.
func TestEventsAreNoticedElsewhere(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		v := a.watch("viewer=v1")
		time.Sleep(20 * time.Millisecond)
		b.put("final", `{"beat_ms":20000}`)
		if m := v.nextWithin("pace", 3*time.Second); m["beat_ms"] != 20000.0 {
			t.Errorf("pace %v", m)
		}
		b.do(http.MethodDelete, "/v1/events/final", "")
		v.wantClose(4504, 3*time.Second)
	})
}
