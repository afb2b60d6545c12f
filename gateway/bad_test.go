package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// What can be known before the upgrade is an HTTP status with a JSON body.
func TestBadRequestsAreRefusedBeforeTheUpgrade(t *testing.T) {
	key := grandstand.NewEventKey([]byte("0123456789abcdef"), "final")
	foreign := grandstand.NewSessionID(key, key.Viewer("somebody"), key.Device("else"))
	own := grandstand.NewSessionID(key, key.Viewer("v1"), key.Device("d1"))
	cases := []struct {
		name, event, query string
		header             http.Header
		auth               error
		want               string // "": accepted
	}{
		{name: "own session", query: "viewer=v1&device=d1&session=" + own},
		{name: "foreign session", query: "viewer=v1&device=d1&session=" + foreign, want: `403 {"code":"forbidden"`},
		{name: "own session, other device", query: "viewer=v1&device=d2&session=" + own, want: `403 {"code":"forbidden"`},
		{name: "no session id", query: "viewer=v1&session=../../etc", want: `400 {"code":"invalid"`},
		{name: "unknown event", event: "nothing", query: "viewer=v1", want: `404 {"code":"not_found"`},
		{name: "event's name", event: "a%20b", query: "viewer=v1", want: `400 {"code":"invalid"`},
		{name: "segment's value", query: "viewer=v1&team=K%00C", want: `400 {"code":"invalid"`},
		{name: "long value", query: "viewer=v1&team=" + strings.Repeat("x", 65), want: `400 {"code":"invalid"`},
		{name: "interval", query: "viewer=v1&interval_ms=soon", want: `400 {"code":"invalid"`},
		{name: "parameter twice", query: "viewer=v1&viewer=v2", want: `400 {"code":"invalid"`},
		{name: "foreign origin", query: "viewer=v1", header: http.Header{"Origin": {"https://evil.test"}}, want: `403 {"code":"forbidden"`},
		{name: "own origin", query: "viewer=v1", header: http.Header{"Origin": {"http://gateway.test"}}},
		{name: "expired token", query: "viewer=v1", auth: grandstand.Errorf(grandstand.CodeUnauthorized, "the token has expired"), want: `401 {"code":"unauthorized"`},
		{name: "token for another event", query: "viewer=v1", auth: grandstand.Errorf(grandstand.CodeForbidden, "the token is not for this event"), want: `403 {"code":"forbidden"`},
		{name: "no keys to check with", query: "viewer=v1", auth: grandstand.Errorf(grandstand.CodeUnavailable, "later"), want: `503 {"code":"unavailable"`},
	}
	inBubble(t, rigConfig{set: func(c *Config) { c.OpenEvents = false }}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		for _, c := range cases {
			rg.auth.identify = func(*Identity) error { return c.auth }
			if c.event == "" {
				c.event = "final"
			}
			v, err := rg.try(c.event, c.query, c.header)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.want == "":
				v.leave()
			case err == nil:
				t.Errorf("%s: accepted, want %s", c.name, c.want)
			case !strings.HasPrefix(err.Error(), c.want):
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
		}
		if n := rg.metric("refused_total", "forbidden"); n != 4 {
			t.Errorf("%v refusals are counted as forbidden, want 4", n)
		}
	})
}

// put configures an event.
func (rg *rig) put(event, body string) {
	rg.t.Helper()
	if status, text, _ := rg.do(http.MethodPut, "/v1/events/"+event, body); status != http.StatusOK {
		rg.t.Fatalf("PUT %s answers %d %s", event, status, text)
	}
	time.Sleep(10 * time.Millisecond) // rooms take it over in the background
}

func TestHandshakesThatAreNone(t *testing.T) {
	good := http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	cases := map[string]func(h http.Header){
		"no upgrade":        func(h http.Header) { h.Del("Upgrade") },
		"no connection":     func(h http.Header) { h.Del("Connection") },
		"version":           func(h http.Header) { h.Set("Sec-Websocket-Version", "8") },
		"no key":            func(h http.Header) { h.Del("Sec-Websocket-Key") },
		"short key":         func(h http.Header) { h.Set("Sec-Websocket-Key", "AAAA") },
		"other subprotocol": func(h http.Header) { h.Set("Sec-Websocket-Protocol", "chat, bearer.abc") },
	}
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		for name, break_ := range cases {
			req, _ := http.NewRequest(http.MethodGet, rg.url+"/v1/events/final/live?viewer=v1", nil)
			req.Header = good.Clone()
			break_(req.Header)
			resp, err := rg.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s %s", name, resp.Status, resp.Header.Get("Content-Type"))
			}
		}
		if n := rg.metric("connections", ""); n != 0 {
			t.Errorf("%v connections are counted", n)
		}
	})
}

// A message that cannot be used is answered; the socket stays.
func TestBadMessagesAreAnswered(t *testing.T) {
	cases := []struct{ send, code string }{
		{`{"t":"beat","seq":7`, "invalid"},
		{`not json`, "invalid"},
		{``, "invalid"},
		{`[]`, "invalid"},
		{`{"t":"dance","seq":7}`, "invalid"},
		{`{"seq":7}`, "invalid"},
		{`{"t":"beat","seq":"7"}`, "invalid"},
		{`{"t":"beat","seq":7,"state":"dancing"}`, "invalid"},
		{`{"t":"beat","seq":7,"pos":1e300}`, "invalid"},
		{`{"t":"beat","seq":7,"interval_ms":"x"}`, "invalid"},
		{`{"t":"event","seq":7}`, "invalid"},
		{`{"t":"join","seq":7,"seg":{"team":"K C"}}`, "invalid"},
		{`{"t":"join","seq":7,"seg":{"mood":"good"}}`, "invalid"},
		{`{"t":"join","seq":7,"seg":{"country":"FR"}}`, "forbidden"},
		{`{"t":"takeover","seq":7,"codes":["abc"]}`, "invalid"},
	}
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&country=US&team=KC")
		for _, c := range cases {
			time.Sleep(200 * time.Millisecond) // within the rate
			v.send(c.send)
			m := v.next("error")
			if m["code"] != c.code || m["message"] == "" {
				t.Errorf("%s is answered %v, want %s", c.send, m, c.code)
			}
			if strings.HasSuffix(c.send, "}") && strings.Contains(c.send, `"seq":7`) && m["seq"] != 7.0 {
				t.Errorf("%s: seq is %v", c.send, m["seq"])
			}
		}
		v.send(`{"t":"event","seq":8,"name":"startup","data":{"x":[1,2]}}`)
		v.send(`{"t":"join","seg":{"team":"SF"}}`)
		if m := v.next("ok"); m["re"] != "join" {
			t.Errorf("join is answered %v", m)
		}
		ticked()
		if kc, sf := rg.redis.count("final", "team:KC"), rg.redis.count("final", "team:SF"); kc != 0 || sf != 1 {
			t.Errorf("after the join KC counts %d, SF %d", kc, sf)
		}
		if n := rg.metric("unusable_messages_total", ""); n != float64(len(cases)) {
			t.Errorf("%v unusable messages are counted, want %d", n, len(cases))
		}
	})
}

// What breaks the protocol ends the connection with its code, and disturbs
// nobody else.
func TestBreachesCloseTheConnection(t *testing.T) {
	const text, continuation, ping = 0x1, 0x0, 0x9
	const fin = 0x80
	beat := []byte(`{"t":"beat"}`)
	cases := []struct {
		name  string
		send  func() []byte
		code  int
		label string
	}{
		{"not UTF-8", func() []byte { return frame(fin|text, []byte("{\"t\":\"\xff\"}")) }, 1007, "not_utf8"},
		{"binary", func() []byte { return frame(fin|2, beat) }, 1003, "binary"},
		{"5 KiB in one frame", func() []byte { return frame(fin|text, make([]byte, 5<<10)) }, 1009, "too_large"},
		{"4097 bytes", func() []byte { return frame(fin|text, make([]byte, 4097)) }, 1009, "too_large"},
		{"5 KiB in fragments", func() []byte {
			b := frame(text, make([]byte, 100))
			for range 50 {
				b = append(b, frame(continuation, make([]byte, 100))...)
			}
			return b
		}, 1009, "too_large"},
		{"empty fragments without end", func() []byte {
			b := frame(text, nil)
			for range 60_000 {
				b = append(b, frame(continuation, nil)...)
			}
			return b
		}, 1008, "rate"},
		{"pings without end", func() []byte {
			var b []byte
			for range 3000 {
				b = append(b, frame(fin|ping, make([]byte, 120))...)
			}
			return b
		}, 1008, "rate"},
		{"beats without end", func() []byte {
			var b []byte
			for range 200 {
				b = append(b, frame(fin|text, beat)...)
			}
			return b
		}, 1008, "rate"},
		{"not masked", func() []byte { return append([]byte{fin | text, byte(len(beat))}, beat...) }, 1002, "protocol"},
		{"reserved bits", func() []byte { return frame(fin|0x40|text, beat) }, 1002, "protocol"},
		{"unknown opcode", func() []byte { return frame(fin|0x3, beat) }, 1002, "protocol"},
		{"continuation of nothing", func() []byte { return frame(fin|continuation, beat) }, 1002, "protocol"},
		{"fragmented ping", func() []byte { return frame(ping, nil) }, 1002, "protocol"},
		{"invalid close code", func() []byte { return frame(fin|8, []byte{0, 1}) }, 1002, "protocol"},
		{"negative length", func() []byte { return []byte{fin | text, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} }, 1002, "protocol"},
	}
	for _, tcp := range []bool{false, true} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s/tcp=%v", c.name, tcp), func(t *testing.T) {
				run := func(t *testing.T, rg *rig) {
					other := rg.watch("viewer=other&team=KC")
					rc := rg.raw("viewer=v1&team=KC")
					rc.write(c.send())
					rc.wantClose(c.code)
					if !tcp {
						synctest.Wait()
						if n := rg.metric("closes_total", c.label); n != 1 {
							t.Errorf("%v closes are counted as %s, want 1", n, c.label)
						}
					}
					rg.hub.show(board("final", time.Now().UnixMilli(), 2, "team:KC", 2))
					if m := other.next("counts"); world(m) != 2 {
						t.Errorf("another viewer is shown %v", m)
					}
					other.leave()
				}
				if tcp {
					rg := newRig(t, rigConfig{tcp: true})
					waitReady(rg)
					run(t, rg)
					rg.stop()
					return
				}
				inBubble(t, rigConfig{}, run)
			})
		}
	}
}

func waitReady(rg *rig) { rg.until("ready", rg.g.Ready) }

// until waits for what other goroutines do.
func (rg *rig) until(what string, is func() bool) {
	rg.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			rg.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestAMessageOfExactly4096BytesIsTaken(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1")
		head, tail := `{"t":"event","name":"x","data":"`, `"}`
		v.send(head + strings.Repeat("x", 4096-len(head)-len(tail)) + tail)
		v.send(`{"t":"join","seg":{"team":"KC"}}`)
		v.next("ok")
		if n := rg.metric("messages_total", "event"); n != 1 {
			t.Errorf("%v events are counted", n)
		}
	})
}

func TestAnEventThatIsOverClosesFor(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&team=KC")
		ticked()
		if status, text, _ := rg.do(http.MethodDelete, "/v1/events/final", ""); status != http.StatusOK {
			t.Fatalf("DELETE answers %d %s", status, text)
		}
		v.wantClose(4504, time.Second)
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions are counted of an event that is over", n)
		}
		// A browser learns it from the close code only.
		_, err := rg.try("final", "viewer=v2", nil)
		if websocket.CloseStatus(err) != 4504 {
			t.Errorf("joining an event that is over: %v", err)
		}
		status, text, _ := rg.do(http.MethodPost, "/v1/events/final/beats?viewer=v2", `{"state":"playing"}`)
		if status != http.StatusConflict || !strings.Contains(text, `"conflict"`) {
			t.Errorf("a beat for an event that is over is answered %d %s", status, text)
		}
	})
}

func TestTheConnectionCap(t *testing.T) {
	inBubble(t, rigConfig{set: func(c *Config) { c.MaxConns = 2 }}, func(t *testing.T, rg *rig) {
		a, b := rg.watch("viewer=a"), rg.watch("viewer=b")
		resp, err := rg.client.Get(rg.url + "/v1/events/final/live?viewer=c")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("over the cap: %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
		a.leave()
		synctest.Wait()
		rg.watch("viewer=c").leave()
		b.leave()
	})
}
