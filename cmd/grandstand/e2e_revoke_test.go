package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/redis/redistest"
)

// What an operator revokes at one gateway ends sockets of all within 10 s, and
// refuses the token wherever it is shown: at handshakes, beats, counts and the
// account's devices; also after a restart, and after Redis lost its data.
func TestRevocations(t *testing.T) {
	beside(t) // it mostly waits
	server, i := redistest.StartServer(t), newIssuer(t)
	believing := []string{"--auth", "jwt", "--jwks-url", i.url, "--jwt-secret", jwtSecret, "--admin-token", adminToken}
	a := startGateway(t, "gateway a", server.URL(), believing...)
	b := startGateway(t, "gateway b", server.URL(), believing...)
	devices := startBlocker(t, "blocker", server.URL(), believing...)
	configure(t, a, "final", fast)

	issued := time.Now().Add(-time.Minute).Unix()
	token := func(viewer string, changes ...any) string {
		return i.hs(append([]any{"sub", viewer, "acc", "account-" + viewer, "dev", "d-" + viewer, "jti", "jti-" + viewer, "iat", issued}, changes...)...)
	}
	revoke := func(g *process, body string) {
		t.Helper()
		if status, text := request(t, http.MethodPut, g.url+"/v1/revocations", body, bearer(adminToken)); status != http.StatusOK {
			t.Fatalf("PUT %s answers %d %s", body, status, text)
		}
	}
	watching := func(g *process, viewer string) <-chan websocket.StatusCode {
		c, status := open(t, g, finalLive+"?interval_ms=30000", token(viewer))
		if status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", status)
		}
		closed := make(chan websocket.StatusCode, 1)
		go func() {
			for {
				if _, _, err := c.Read(context.Background()); err != nil {
					closed <- websocket.CloseStatus(err)
					return
				}
			}
		}()
		return closed
	}
	ended := func(revoked time.Time, closed <-chan websocket.StatusCode) {
		t.Helper()
		select {
		case code := <-closed:
			if code != 4501 {
				t.Errorf("closed with %d, want 4501", code)
			}
			t.Logf("closed within %v", time.Since(revoked).Round(time.Millisecond))
		case <-time.After(time.Until(revoked.Add(10 * time.Second))):
			t.Error("not closed within 10 s")
		}
	}
	refused := func(viewer string, changes ...any) {
		t.Helper()
		h := bearer(token(viewer, changes...))
		for _, c := range []struct{ method, url, body string }{
			{"POST", a.url + "/v1/events/final/beats", `{"state":"playing"}`}, {"POST", b.url + "/v1/events/final/beats", `{"state":"playing"}`},
			{"GET", b.url + "/v1/events/final/counts", ""}, {"GET", b.url + finalLive, ""},
			{"GET", devices.url + "/v1/accounts/account-" + viewer + "/devices", ""},
			{"POST", devices.url + "/v1/accounts/account-" + viewer + "/devices/d-" + viewer + "/heartbeat", `{"event":"final"}`},
		} {
			eventually(t, 10*time.Second, "a revoked token is refused everywhere", func() error {
				if status, text := request(t, c.method, c.url, c.body, h); status != http.StatusUnauthorized {
					return fmt.Errorf("%s %s is answered %d %s", c.method, c.url, status, text)
				}
				return nil
			})
		}
	}

	one, two, three, four := watching(a, "v1"), watching(b, "v2"), watching(b, "v3"), watching(b, "v4")
	req, _ := http.NewRequest(http.MethodGet, devices.url+"/v1/accounts/account-v2/devices/stream", nil)
	req.Header = bearer(token("v2"))
	list, err := http.DefaultClient.Do(req)
	if err != nil || list.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", list, err)
	}
	defer list.Body.Close()
	listed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, list.Body)
		listed <- err
	}()
	began := time.Now()
	revoke(b, `{"sub":"v1"}`)
	revoke(a, `{"acc":"account-v2"}`)
	revoke(a, `{"jti":"jti-v3"}`)
	ended(began, one)
	ended(began, two)
	ended(began, three)
	select {
	case <-listed:
	case <-time.After(time.Until(began.Add(10 * time.Second))):
		t.Error("a stream of the account's devices goes on")
	}
	refused("v1")
	refused("v2", "jti", "another")
	refused("v3", "iat", time.Now().Unix())
	// Whoever signs in again is let in.
	if status, text := request(t, "POST", b.url+"/v1/events/final/beats", `{"state":"playing"}`, bearer(token("v1", "iat", time.Now().Unix()+1))); status != http.StatusOK {
		t.Errorf("a new token is answered %d %s", status, text)
	}

	// A gateway that starts anew knows them, also if Redis has forgotten them
	// meanwhile: the other processes have written them back.
	server.FlushAll()
	eventually(t, 10*time.Second, "the revocations are back", func() error {
		if n := strings.Count(server.Do("HGETALL", "gs:{members}:revoked"), "/"); n != 3 {
			return fmt.Errorf("%d of 3", n)
		}
		return nil
	})
	a.kill()
	addr := strings.TrimPrefix(a.url, "http://")
	again := start(t, "gateway a again", append([]string{"gateway", "--listen", addr, "--admin", "", "--redis", server.URL(), "--secret", testSecret, "--archive", "file:" + archiveOf(t)}, believing...)...).ready(addr)
	again.url = a.url
	refused("v1")

	began = time.Now()
	revoke(again, `{"all":true}`)
	ended(began, four)
	refused("v5")
}
