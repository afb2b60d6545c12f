package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
	"grandstand/archiver"
	"grandstand/redis/redistest"
)

// canaries are texts that stand nowhere but where a client put them, by what
// they are.
type canaries map[string]string

// search fails the test for each canary that is in b.
func (c canaries) search(t *testing.T, where string, b []byte) {
	t.Helper()
	for what, text := range c {
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("%s has %s: …%s…", where, what, around(b, text))
		}
	}
}

func around(b []byte, text string) []byte {
	i := bytes.Index(b, []byte(text))
	return b[max(0, i-60):min(len(b), i+len(text)+20)]
}

// Viewer, account and device ids, addresses and tokens stay at the edge: they
// are in nothing that is sent to Redis or kept by it, in no file of a journal, no
// row and no check-point of the archive, no span of a trace, and no log, whatever its
// level.
func TestIdsStayAtTheEdge(t *testing.T) {
	beside(t) // it mostly waits
	server := redistest.StartServer(t)
	sent := monitor(t, server)
	tokens := newIssuer(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: {household: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loud := []string{"--log-level", "debug"}
	believing := slices.Concat([]string{"--config", rules, "--auth", "jwt", "--jwt-secret", jwtSecret, "--admin-token", adminToken, "--trusted-proxies", "127.0.0.0/8"}, loud)
	archive, journals := "file:"+archiveOf(t), t.TempDir()
	spans, traces := startCollector(t)
	a := startAggregator(t, "aggregator", server.URL(), loud...)
	g := startGateway(t, "gateway", server.URL(), append(believing, "--journal", filepath.Join(journals, "gateway"), "--peer", freeAddr(t), "--drain-over", "1s", "--trace", traces)...)
	b := startBlocker(t, "blocker", server.URL(), append(believing, "--journal", filepath.Join(journals, "blocker"), "--peer", freeAddr(t))...)
	pages := freeAddr(t)
	w := start(t, "web", append([]string{"web", "--listen", pages, "--admin", "", "--gateway", g.url}, loud...)...).ready(pages)
	w.url = "http://" + pages
	configure(t, g, "final", fast)

	secret := canaries{"an address": "203.0.113.77", "an address in bytes": "\xcb\x00\x71\x4d", "another address": "2001:db8:77::", "a name": "canary-name"}
	client := func(n int) (http.Header, string) {
		id := func(what string) string {
			text := fmt.Sprintf("canary-%s-%d", what, n)
			secret["a "+what] = "canary-" + what
			return text
		}
		token := tokens.hs("sub", id("viewer"), "dev", id("device"), "acc", "canary-account", "lim", 1)
		secret["an account"] = "canary-account"
		secret[fmt.Sprint("token ", n)] = token[strings.LastIndexByte(token, '.')+1:]
		h := bearer(token)
		h.Set("X-Forwarded-For", []string{"203.0.113.77", "2001:db8:77::1"}[n%2])
		return h, "/v1/accounts/canary-account/devices/" + id("device")
	}
	// Three devices of one household and another: they play, are blocked, take
	// over, and are refused in every way.
	var last *device
	var first http.Header
	var its string
	for n := range 4 {
		h, path := client(n)
		d := play(t, g, "interval_ms=5000&name=canary-name", h)
		d.send(`{"t":"beat","seq":1,"state":"playing","interval_ms":5000}`)
		d.send(`{"t":"event","seq":2,"name":"startup","data":{"ms":812},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`)
		d.send(`{"t":"event","seq":3,"name":4}`)
		if last = d; n == 0 {
			first, its = h, path
		}
		for path, body := range map[string]string{
			g.url + "/v1/events/final/beats": `{"seq":9,"state":"playing"}`,
			g.url + "/v1/events/other/beats": `{"seq":9,"state":"playing"}`,
			b.url + path + "/heartbeat":      `{"event":"final","name":"canary-name","interval_ms":5000}`,
			b.url + path + "x/heartbeat":     `{"event":"final"}`,
			b.url + path + "/heartbeats":     `{`,
		} {
			request(t, "POST", path, body, h)
		}
		request(t, "GET", b.url+path, "", h)
		request(t, "GET", b.url+"/v1/accounts/canary-account/decisions", "", h)
		for _, page := range []string{"/", "/overlay/final", "/badge/final.svg", "/badge/%ff", "/no-such-page"} {
			request(t, "GET", w.url+page+"?viewer=canary-viewer-1&device=canary-device-1&account=canary-account&key="+strings.TrimPrefix(h.Get("Authorization"), "Bearer "), "", h)
		}
	}
	r := last.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
	mark := last.mark()
	var codes []string
	for _, c := range r.Conflicts {
		codes = append(codes, c.TerminationCode)
	}
	last.takeover(codes...)
	last.unblocked(mark, 5*time.Second)
	bad, path := client(9)
	bad.Set("Authorization", bad.Get("Authorization")+"x")
	request(t, "POST", g.url+"/v1/events/final/beats", `{"state":"playing"}`, bad)
	request(t, "POST", b.url+path+"/heartbeat", `{"event":"final"}`, bad)
	refusedTokens(t, tokens, secret, g, b)
	// What goes wrong is where an id would slip into a log.
	server.Stop()
	request(t, "GET", b.url+its, "", first)
	request(t, "POST", b.url+its+"/heartbeat", `{"event":"final"}`, first)
	request(t, "POST", g.url+"/v1/events/new/beats", `{"state":"playing"}`, bearer(adminToken))
	server.Cont()
	back := time.Now().UnixMilli()
	eventually(t, 20*time.Second, "the aggregator counts again: only then it has a check-point to write", func() error {
		_, text := request(t, "GET", g.url+"/v1/events/final/counts", "", bearer(adminToken))
		c, err := parseCounts([]byte(text))
		if err == nil && (c.At < back || c.Quality != "live") {
			err = fmt.Errorf("the counts are %s, of %d ms before", c.Quality, back-c.At)
		}
		return err
	})

	// What is in Redis and in the journal, then what comes into the archive.
	server.Do("CONFIG", "SET", "rdbcompression", "no")
	if r := server.Do("SAVE"); r != "OK" {
		t.Fatal(r)
	}
	_, dir, _ := strings.Cut(server.Do("CONFIG", "GET", "dir"), "\n")
	dump, err := os.ReadFile(filepath.Join(dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	// A lease has the name of its device, which the account's owner must be shown.
	inRedis := canaries{}
	for what, text := range secret {
		if what != "a name" {
			inRedis[what] = text
		}
	}
	inRedis.search(t, "Redis", dump)
	inRedis.search(t, "what was sent to Redis", []byte(sent()))
	if !bytes.Contains(dump, []byte("canary-name")) || !strings.Contains(sent(), "canary-name") {
		t.Error("the name of a device is not in what is searched: nothing else would be found")
	}
	files := readAll(t, journals)
	if !bytes.Contains(files, []byte("startup")) {
		t.Error("the event is not in what is searched of the journal")
	}
	secret.search(t, "the journal", files)

	archiving := start(t, "archiver", append([]string{"archiver", "--admin", "", "--redis", server.URL(), "--secret", testSecret, "--archive", archive, "--trace", traces}, loud...)...)
	for _, p := range []*process{g, a, b} {
		p.signal(syscall.SIGTERM)
		p.wait(40 * time.Second)
	}
	rows := rowsOf(t, archive, "final")
	if !bytes.Contains(rows, []byte("startup")) || !bytes.Contains(rows, []byte("verdict")) {
		t.Error("the event, or the verdict, is not in what is searched of the archive")
	}
	secret.search(t, "a row", rows)
	kept := readAll(t, archiveOf(t))
	if !bytes.Contains(kept, []byte("checkpoints/event=final/checkpoint")) {
		t.Error("there is no check-point in what is searched of the archive")
	}
	secret.search(t, "the archive", kept)
	keys := canaries{"the admin token": adminToken, "the secret of tokens": jwtSecret, "the cluster's secret": testSecret}
	archiving.signal(syscall.SIGTERM)
	archiving.wait(40 * time.Second)
	traced := spans.bytes(t)
	for _, stage := range []string{"gateway.event", "archiver.file"} {
		if !bytes.Contains(traced, []byte(stage)) {
			t.Errorf("there is no span of %s in what is searched of the traces", stage)
		}
	}
	secret.search(t, "a span", traced)
	for _, p := range []*process{g, a, b, w, archiving} {
		keys.search(t, "the log of "+p.name, []byte(p.log.String()))
		secret.search(t, "the log of "+p.name, []byte(p.log.String()))
	}
	if !strings.Contains(b.log.String(), "level=DEBUG") {
		t.Error("the log of the blocker is not that of debugging")
	}
}

// refusedTokens shows tokens that are refused, for reasons of every kind, wherever
// one is read, and revokes ids that are secret too.
func refusedTokens(t *testing.T, tokens *issuer, secret canaries, g, b *process) {
	t.Helper()
	claims := func(changes ...any) jwt.MapClaims {
		return good(append([]any{"sub", "canary-viewer-7", "acc", "canary-account", "dev", "canary-device-7", "jti", "canary-jti-7"}, changes...)...)
	}
	hs := func(changes ...any) string {
		return tokens.sign(jwt.SigningMethodHS256, []byte(jwtSecret), "canary-kid", claims(changes...))
	}
	secret["the id of a token"], secret["the name of a key"] = "canary-jti", "canary-kid"
	for name, token := range map[string]string{
		"none": tokens.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "canary-kid", claims()) + "canary-signature", "expired": hs("exp", 1),
		"text": "canary-token", "an unknown key": tokens.sign(jwt.SigningMethodES256, tokens.ec, "canary-kid", claims()), "another event": hs("evt", "canary-event", "acc", nil),
		"a bad segment": hs("seg", map[string]string{"team": "canary team"}), "a bad id": hs("sub", "canary-viewer-7\n"), "long": hs("pad", strings.Repeat("canary-pad", 1000)),
	} {
		secret["a refused token: "+name] = token[max(0, len(token)-24):]
		secret["claims of a refused token: "+name] = token[:min(len(token), 40)]
		h := bearer(token)
		for _, c := range []struct{ method, url, body string }{
			{"GET", g.url + finalLive, ""}, {"POST", g.url + "/v1/events/final/beats", `{"state":"playing"}`}, {"GET", g.url + "/v1/events/final/counts", ""},
			{"PUT", g.url + "/v1/events/final", "{}"}, {"PUT", g.url + "/v1/revocations", `{"sub":"canary-viewer-7"}`},
			{"GET", b.url + "/v1/accounts/canary-account/devices", ""}, {"GET", b.url + "/v1/accounts/canary-account/devices/stream", ""},
		} {
			if status, text := request(t, c.method, c.url, c.body, h); status/100 == 2 {
				t.Errorf("%s %s with %s is answered %d %s", c.method, c.url, name, status, text)
			}
		}
	}
	for body, want := range map[string]int{
		`{"sub":"canary-viewer-7"}`: 200, `{"acc":"canary-account-7"}`: 200, `{"jti":"canary-jti-7"}`: 200,
		`{"sub":"canary-viewer-7"`: 400, `{"sub":"canary-viewer\u0000"}`: 400, `{"canary-viewer":1}`: 400,
	} {
		if status, text := request(t, "PUT", g.url+"/v1/revocations", body, bearer(adminToken)); status != want || strings.Contains(text, "canary") {
			t.Errorf("PUT %s is answered %d %s", body, status, text)
		}
	}
	request(t, "POST", g.url+"/v1/events/final/beats", `{"state":"playing"}`, bearer(hs("iat", 1)))
	request(t, "GET", g.url+finalLive+"?viewer=canary-viewer-7&session=canary-session&key=canary-key", "", nil)
	secret["a session that is none"], secret["a key"] = "canary-session", "canary-key"
}

// monitor returns what is sent to a Redis from now on.
func monitor(t *testing.T, server *redistest.Server) func() string {
	t.Helper()
	c, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	heard, ended := &lockedBuffer{}, make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(heard, c)
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return heard.String
}

// readAll returns what stands in the files of a directory.
func readAll(t *testing.T, dir string) (all []byte) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(append(all, path...), b...)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// rowsOf returns an event's rows as text, every column of them.
func rowsOf(t *testing.T, archive, event string) []byte {
	t.Helper()
	s, err := archiver.OpenStore(t.Context(), archive)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all bytes.Buffer
	if err := s.Rows(t.Context(), archiver.RowsOptions{Event: event}, func(r *archiver.Row) error {
		line, err := printable(r)
		if err == nil {
			err = json.NewEncoder(&all).Encode(line)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all.Bytes()
}
