package fanout

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"grandstand"
)

// connect opens a feed by hand; path and token are what a child would show.
func (n *gatewayNode) connect(t *testing.T, path, token string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: n.c.dial, DisableKeepAlives: true}}
	conn, resp, err := websocket.Dial(t.Context(), "ws://"+n.id+path, &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Authorization": {token}}, Subprotocols: []string{feedProtocol},
	})
	if err == nil {
		conn.SetReadLimit(feedLimit)
	}
	return conn, resp, err
}

func testToken() string { return "Bearer " + grandstand.PeerToken([]byte("secret")) }

func TestRelayRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 2, 2) // so four children at most; there is one
		defer c.stopAll()
		relay, leaf := list[0], list[1]
		refusal := func(n *gatewayNode, path, token string, status int, code grandstand.Code) {
			t.Helper()
			_, resp, err := n.connect(t, path, token)
			if err == nil || resp == nil || resp.StatusCode != status {
				t.Fatalf("%s%s: %v", n.id, path, err)
			}
			var body struct{ Code, Message string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Code != string(code) || body.Message == "" {
				t.Errorf("%s%s is refused with %+v (%v)", n.id, path, body, err)
			}
		}
		for _, token := range []string{"", "Bearer ", testToken() + "x", "Bearer " + grandstand.PeerToken([]byte("other"))} {
			refusal(relay, FeedPath, token, http.StatusUnauthorized, grandstand.CodeUnauthorized)
		}
		refusal(leaf, FeedPath, testToken(), http.StatusConflict, grandstand.CodeConflict)
		for range 3 {
			conn, _, err := relay.connect(t, FeedPath+"?"+feedPinned, testToken())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
		}
		refusal(relay, FeedPath, testToken(), http.StatusServiceUnavailable, grandstand.CodeUnavailable)
		if got := testutil.ToFloat64(relay.relay.metrics.refusals.WithLabelValues(string(refusedFull))); got != 1 {
			t.Errorf("%v refusals are counted", got)
		}
		relay.relay.Close(t.Context())
		refusal(relay, FeedPath, testToken(), http.StatusServiceUnavailable, grandstand.CodeUnavailable)
	})
}

// A child that reads nothing skips boards, holds nobody up, and has the newest
// when it reads again. One that reads nothing for long is sent away.
func TestSlowChildSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 2, 2)
		defer c.stopAll()
		v := list[1].view(t, "final")
		c.tick("final")
		slow, _, err := list[0].connect(t, FeedPath, testToken())
		if err != nil {
			t.Fatal(err)
		}
		defer slow.CloseNow()
		ask(t, slow, grandstand.FeedWatch{Add: []grandstand.FeedEvent{{ID: 9, Event: "final"}}})
		before, _ := v.seen()
		for range 40 {
			c.publish("final", uint64(10+c.boards))
			time.Sleep(200 * time.Millisecond)
		}
		if n, _ := v.seen(); n != before+40 {
			t.Errorf("beside a slow child only %d of 40 boards came", n-before)
		}
		var b *grandstand.Board
		boards := 0
		for b == nil || worldOf(b) != uint64(10+c.boards-1) {
			f := receive(t, slow)
			for _, fb := range f.Boards {
				boards++
				if b, err = grandstand.DecodeBoardDelta(b, "final", fb.Delta); err != nil || fb.ID != 9 {
					t.Fatalf("event %d: %v", fb.ID, err)
				}
			}
		}
		if boards > 2 {
			t.Errorf("the slow child was sent %d boards, not the first and the newest", boards)
		}
		for range 15 {
			c.tick("final")
		}
		if got := testutil.ToFloat64(list[0].relay.metrics.children); got != 1 {
			t.Errorf("a child that reads nothing is still there: %v children", got)
		}
	})
}

// A child that goes, or asks for nonsense, leaves nothing behind.
func TestChildrenLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, list := treeOf(t, 1, 2)
		defer c.stopAll()
		relay := list[0].relay
		for _, end := range []func(conn *websocket.Conn){
			func(conn *websocket.Conn) { conn.CloseNow() },
			func(conn *websocket.Conn) { conn.Close(websocket.StatusNormalClosure, "") },
			func(conn *websocket.Conn) { conn.Write(t.Context(), websocket.MessageBinary, []byte{99}) },
			func(conn *websocket.Conn) {
				ask(t, conn, grandstand.FeedWatch{Add: []grandstand.FeedEvent{{ID: 1, Event: "again"}}})
			},
			func(conn *websocket.Conn) {
				ask(t, conn, grandstand.FeedWatch{Add: []grandstand.FeedEvent{{ID: 7, Event: "not a name"}}})
			},
			func(conn *websocket.Conn) { ask(t, conn, grandstand.FeedWatch{Drop: []uint64{1, 2, 3}}) }, // and then silence
		} {
			conn, _, err := list[0].connect(t, FeedPath, testToken())
			if err != nil {
				t.Fatal(err)
			}
			ask(t, conn, grandstand.FeedWatch{Add: []grandstand.FeedEvent{{ID: 1, Event: "final"}, {ID: 2, Event: "semi"}}})
			if f := receive(t, conn); len(f.Boards) != 0 { // its hello
				t.Errorf("hello has %d boards", len(f.Boards))
			}
			receive(t, conn)
			if events, _ := relay.serves(); events == 0 {
				t.Error("nothing is sent")
			}
			go func() {
				for {
					if _, _, err := conn.Read(context.Background()); err != nil {
						return
					}
				}
			}()
			end(conn)
			time.Sleep(childSilence + time.Second)
			synctest.Wait()
			if events, children := relay.serves(); events+children != 0 {
				t.Errorf("%d events and %d children are left", events, children)
			}
			conn.CloseNow()
		}
	})
}

// serves returns how many events the relay sends, and to how many children.
func (r *Relay) serves() (events, children int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sources), len(r.children)
}

func ask(t *testing.T, conn *websocket.Conn, w grandstand.FeedWatch) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageBinary, grandstand.AppendFeedWatch(nil, &w)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, conn *websocket.Conn) *grandstand.FeedBoards {
	t.Helper()
	_, b, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := grandstand.DecodeFeedBoards(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestUpstreamIsOneOfThree(t *testing.T) {
	for from, ok := range map[string]bool{
		"": true, "auto": true, "redis": true, "ws://host:1": true, "wss://host": true, "ws://host:1/": true,
		"http://host:1": false, "host:1": false, "ws://": false, "ws://host:1/path": false, "Auto": false,
	} {
		_, err := NewUpstream(UpstreamConfig{Hub: New(Config{Clock: bubbleClock{}}), Clock: bubbleClock{}, Redis: &gatewayNode{}, From: from})
		if (err == nil) != ok || err != nil && grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%q: %v", from, err)
		}
	}
}
