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
// row and no check-point of the archive, and no log, whatever its level.
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
	a := startAggregator(t, "aggregator", server.URL(), loud...)
	g := startGateway(t, "gateway", server.URL(), append(believing, "--journal", filepath.Join(journals, "gateway"), "--peer", freeAddr(t), "--drain-over", "1s")...)
	b := startBlocker(t, "blocker", server.URL(), append(believing, "--journal", filepath.Join(journals, "blocker"), "--peer", freeAddr(t))...)
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
		d.send(`{"t":"event","seq":2,"name":"startup","data":{"ms":812}}`)
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
	// What goes wrong is where an id would slip into a log.
	server.Stop()
	request(t, "GET", b.url+its, "", first)
	request(t, "POST", b.url+its+"/heartbeat", `{"event":"final"}`, first)
	request(t, "POST", g.url+"/v1/events/new/beats", `{"state":"playing"}`, bearer(adminToken))
	server.Cont()

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

	archiving := start(t, "archiver", append([]string{"archiver", "--admin", "", "--redis", server.URL(), "--secret", testSecret, "--archive", archive}, loud...)...)
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
	for _, p := range []*process{g, a, b, archiving} {
		secret.search(t, "the log of "+p.name, []byte(p.log.String()))
	}
	if !strings.Contains(b.log.String(), "level=DEBUG") {
		t.Error("the log of the blocker is not that of debugging")
	}
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
