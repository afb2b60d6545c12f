package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/redis/redistest"
)

// Opcodes and bits of a client's frames (RFC 6455, 5.2).
const (
	wsFin          = 0x80
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
)

// wsFrame returns a client's frame, masked with zeros.
func wsFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func wsFrames(first byte, payload []byte, n int) []byte {
	return bytes.Repeat(wsFrame(first, payload), n)
}

// rawSocket is a WebSocket client that may do everything wrong.
type rawSocket struct {
	net.Conn
	br *bufio.Reader
}

// dialRaw upgrades by hand. control may set options of the socket before it
// connects.
func dialRaw(t *testing.T, url, path string, control func(fd int)) *rawSocket {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second}
	if control != nil {
		d.Control = func(_, _ string, c syscall.RawConn) error { return c.Control(func(fd uintptr) { control(int(fd)) }) }
	}
	addr := strings.TrimPrefix(url, "http://")
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: grandstand.v1\r\n\r\n", path, addr)
	s := &rawSocket{c, bufio.NewReaderSize(c, 512)}
	resp, err := http.ReadResponse(s.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade answers %s", resp.Status)
	}
	return s
}

// next returns the next frame of the gateway, within d.
func (s *rawSocket) next(d time.Duration) (first byte, payload []byte, err error) {
	s.SetReadDeadline(time.Now().Add(d))
	var h [2]byte
	if _, err := io.ReadFull(s.br, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(h[1])
	if n == 126 {
		var l [2]byte
		if _, err := io.ReadFull(s.br, l[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(l[:]))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(s.br, payload)
	return h[0], payload, err
}

// closeCode reads until the gateway's close frame.
func (s *rawSocket) closeCode(d time.Duration) (int, error) {
	for end := time.Now().Add(d); ; {
		first, payload, err := s.next(time.Until(end))
		if err != nil {
			return 0, fmt.Errorf("the connection ended without a close frame: %w", err)
		}
		if first == wsFin|wsClose {
			return int(binary.BigEndian.Uint16(payload)), nil
		}
	}
}

// scrape reads /metrics and returns the sum of a counter's series that have all
// of the labels, such as `reason="rate"`.
func scrape(t *testing.T, admin string) func(name string, labels ...string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, labels ...string) (sum float64) {
	series:
		for line := range strings.Lines(string(text)) {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest[0] != '{' && rest[0] != ' ' {
				continue
			}
			for _, l := range labels {
				if !strings.Contains(rest, l) {
					continue series
				}
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			sum += v
		}
		return sum
	}
}

// bystander is an honest viewer of the event that is attacked.
type bystander struct {
	t      *testing.T
	mu     sync.Mutex
	wrong  []string
	shown  int           // frames
	gap    time.Duration // the longest between two
	boards int           // of the stream
}

func (b *bystander) blame(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

// look checks every frame: the honest team has the fans that it has, one more
// while the churning one is there; frames come in order and in time.
func (b *bystander) look(frames <-chan []byte, fans uint64) {
	var lastAt int64
	last, settled := time.Now(), false
	for text := range frames {
		var f struct {
			T, Q    string
			At, Age int64
			N       map[string]*[2]uint64
		}
		if err := json.Unmarshal(text, &f); err != nil || f.T != "counts" {
			continue
		}
		now := time.Now()
		team, world := *f.N["team"], *f.N["world"]
		settled = settled || team[0] >= fans
		if !settled {
			last = now
			continue
		}
		b.mu.Lock()
		b.shown++
		b.gap = max(b.gap, now.Sub(last))
		b.mu.Unlock()
		last = now
		if team[0] < fans || team[0] > fans+1 || team[1] != team[0] || world[0] < team[0] {
			b.blame("the honest team has %d or %d, shown is %s", fans, fans+1, text)
		}
		if f.Q != "" || f.Age > 1500 || f.At <= lastAt {
			b.blame("not live, in order and fresh (last at %d): %s", lastAt, text)
		}
		lastAt = f.At
	}
}

// follow checks a stream, which shows every board: none is missing or late.
func (b *bystander) follow(boards <-chan []byte) {
	var last int64
	for text := range boards {
		c, err := parseCounts(text)
		if err != nil {
			b.blame("%v", err)
			continue
		}
		if last != 0 && c.At != last+1000 || c.AgeMS > 1500 || c.Quality != "live" {
			b.blame("after the board of %d the stream shows that of %d: %s, %d ms old", last, c.At, c.Quality, c.AgeMS)
		}
		b.mu.Lock()
		b.boards++
		b.mu.Unlock()
		last = c.At
	}
}

// churn comes and goes once a tick, so that numbers move, until ctx ends.
func churn(ctx context.Context, url string) {
	for ctx.Err() == nil {
		c, _, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/v1/events/final/live?viewer=churn&team=KC", nil)
		if err == nil {
			watch, cancel := context.WithTimeout(ctx, time.Second)
			go func() { <-watch.Done(); c.Close(websocket.StatusNormalClosure, "") }()
			for err == nil {
				_, _, err = c.Read(context.Background())
			}
			cancel()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Everything of "Answers to bad input" (gateway/doc.go) at once, at one event of
// one gateway: each has its answer and its counter, and an honest viewer sees
// every tick in time with the right numbers.
func TestBadInputDisturbsNobody(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	admin := freeAddr(t)
	g := startGateway(t, "gateway", redis, "--admin", admin, "--no-open-events")
	startAggregator(t, "aggregator", redis)
	const body = `{"dims":["country",{"name":"team","values":["KC","BAD"],"choose":true}],"tick_ms":1000,"beat_ms":5000}`
	putEvent(t, g.url, "final", body)
	putEvent(t, g.url, "over", body)
	if status, text := request(t, http.MethodDelete, g.url+"/v1/events/over", "", nil); status != http.StatusOK {
		t.Fatalf("DELETE answers %d %s", status, text)
	}

	const honest = 3
	for i := range honest - 1 {
		c, _ := watch(t, g.url, "final", fmt.Sprintf("viewer=h%d&team=KC", i))
		keepBeating(t, c)
	}
	c, frames := watch(t, g.url, "final", "viewer=watcher&team=KC")
	keepBeating(t, c)
	b := &bystander{t: t}
	go b.look(frames, honest)
	churning, stop := context.WithCancel(t.Context())
	defer stop()
	go churn(churning, g.url)
	eventually(t, 20*time.Second, "the honest viewer sees its team", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.shown < 2 {
			return errNotYet
		}
		return nil
	})

	go b.follow(sse(t, g.url+"/v1/events/final/counts/stream"))

	begin := time.Now()
	t.Run("attacks", func(t *testing.T) {
		for name, attack := range map[string]func(*testing.T, string){
			"messages": badMessages, "breaches": breaches, "requests": badRequests, "half-open": halfOpen, "abandoned": abandoned,
			"slow reader": func(t *testing.T, url string) { slowReader(t, url, admin) }, "slow stream": slowStream, "slowloris": slowHandshakes, "slow body": slowBody, "beats": tooManyBeats,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); attack(t, g.url) })
		}
	})
	attacked := time.Since(begin)
	stop()

	const open = honest + 1 // the stream is one
	eventually(t, 15*time.Second, "only the honest are connected", func() error {
		if n := scrape(t, admin)("grandstand_gateway_connections"); n != open {
			return fmt.Errorf("%v connections", n)
		}
		return nil
	})
	checkCounters(t, scrape(t, admin))
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Logf("in %v of attacks the honest viewer was shown %d frames, at most %v apart", attacked.Round(time.Millisecond), b.shown, b.gap.Round(time.Millisecond))
	if least := int(attacked.Seconds() * 0.6); b.shown < least || b.boards < least {
		t.Errorf("the honest viewer was shown %d frames, and the stream %d boards, in %v, want %d of each at least", b.shown, b.boards, attacked, least)
	}
	if b.gap > 3500*time.Millisecond {
		t.Errorf("the honest viewer was shown nothing for %v", b.gap)
	}
	if len(b.wrong) > 0 {
		t.Errorf("%d frames were wrong, the first: %s", len(b.wrong), b.wrong[0])
	}
}

// checkCounters expects every attack to be counted by its reason.
func checkCounters(t *testing.T, count func(name string, labels ...string) float64) {
	t.Helper()
	const ns = "grandstand_gateway_"
	for reason, least := range map[string]float64{"not_utf8": 1, "binary": 1, "too_large": 3, "rate": 3, "protocol": 6, "silent": 20,
		"slow_reader": 1, "event_ended": 1} {
		if n := count(ns+"closes_total", `reason="`+reason+`"`); n < least {
			t.Errorf("%v closes are counted as %s, want %v at least", n, reason, least)
		}
	}
	// Those who were gone when their handshake was answered never joined.
	if n := count(ns+"closes_total", `reason="reset"`) + count(ns+"refused_total", `route="live"`, `code="gone"`); n < 20 {
		t.Errorf("%v closes are counted as reset, or refused as gone, want 20 at least", n)
	}
	for _, want := range []struct {
		route, code string
		least       float64
	}{{"live", "invalid", 7}, {"live", "forbidden", 1}, {"live", "not_found", 1}, {"origin", "forbidden", 2}, {"beats", "invalid", 24},
		{"beats", "too_large", 2}, {"beats", "conflict", 1}, {"beats", "rate_limited", 1}, {"events", "too_large", 1}, {"events", "invalid", 2},
		{"counts", "invalid", 2}, {"counts", "not_found", 1}, {"history", "invalid", 1}, {"none", "not_found", 1}, {"none", "method", 1}} {
		if n := count(ns+"refused_total", `route="`+want.route+`"`, `code="`+want.code+`"`); n < want.least {
			t.Errorf("%v requests are counted as %s of %s, want %v at least", n, want.code, want.route, want.least)
		}
	}
	if n := count(ns+"unusable_messages_total", `code="invalid"`); n != float64(len(unusable)-1) {
		t.Errorf("%v messages are counted as invalid, want %d", n, len(unusable)-1)
	}
	if n := count(ns+"unusable_messages_total", `code="forbidden"`); n != 1 {
		t.Errorf("%v messages are counted as forbidden, want 1", n)
	}
}

// request returns the status and the body of one request.
func request(t *testing.T, method, url, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

const badViewer = "/v1/events/final/live?viewer=bad&team=BAD"

// unusable are messages that are answered with an error; the socket stays.
var unusable = []struct{ send, code string }{
	{`{"t":"beat","seq":7`, "invalid"},
	{`nonsense`, "invalid"},
	{``, "invalid"},
	{`[]`, "invalid"},
	{`null`, "invalid"},
	{`"beat"`, "invalid"},
	{strings.Repeat(`{"a":`, 500), "invalid"},
	{`{"t":"dance"}`, "invalid"},
	{`{"t":7}`, "invalid"},
	{`{"seq":7}`, "invalid"},
	{`{"t":"beat","seq":"7"}`, "invalid"},
	{`{"t":"beat","seq":-1}`, "invalid"},
	{`{"t":"beat","seq":1e30}`, "invalid"},
	{`{"t":"beat","seq":1.5}`, "invalid"},
	{`{"t":"beat","state":"dancing"}`, "invalid"},
	{`{"t":"beat","state":["playing"]}`, "invalid"},
	{`{"t":"beat","pos":1e300}`, "invalid"},
	{`{"t":"beat","bitrate":-7}`, "invalid"},
	{`{"t":"beat","interval_ms":"5s"}`, "invalid"},
	{`{"t":"beat","interval_ms":1e999}`, "invalid"},
	{`{"t":"event"}`, "invalid"},
	{`{"t":"event","name":"x","ts":-5}`, "invalid"},
	{`{"t":"join"}`, "invalid"},
	{`{"t":"join","seg":{"team":"K C"}}`, "invalid"},
	{`{"t":"join","seg":{"team":"` + strings.Repeat("x", 65) + `"}}`, "invalid"},
	{`{"t":"join","seg":{"mood":"good"}}`, "invalid"},
	{`{"t":"join","seg":{"world":"mine"}}`, "invalid"},
	{`{"t":"takeover","codes":["x"]}`, "invalid"},
	{`{"t":"join","seg":{"country":"FR"}}`, "forbidden"},
}

func badMessages(t *testing.T, url string) {
	s := dialRaw(t, url, badViewer, nil)
	for _, m := range unusable {
		if _, err := s.Write(wsFrame(wsFin|wsText, []byte(m.send))); err != nil {
			t.Fatal(err)
		}
		for {
			_, payload, err := s.next(10 * time.Second)
			if err != nil {
				t.Fatalf("%.60s: %v", m.send, err)
			}
			var answer struct{ T, Code, Message string }
			if json.Unmarshal(payload, &answer) == nil && answer.T == "error" {
				if answer.Code != m.code || answer.Message == "" {
					t.Errorf("%.60s is answered %s, want %s", m.send, payload, m.code)
				}
				break
			}
		}
	}
	// It is still a viewer like all others.
	s.Write(wsFrame(wsFin|wsText, []byte(`{"t":"join","seg":{"team":"BAD"}}`)))
	for {
		_, payload, err := s.next(10 * time.Second)
		if err != nil {
			t.Fatalf("after the bad messages: %v", err)
		}
		if strings.Contains(string(payload), `"ok"`) {
			return
		}
	}
}

func breaches(t *testing.T, url string) {
	tiny := []byte(`{"t":"beat"}`)
	for name, c := range map[string]struct {
		send []byte
		code int
	}{
		"not UTF-8":               {wsFrame(wsFin|wsText, []byte("{\"t\":\"\xff\"}")), 1007},
		"binary":                  {wsFrame(wsFin|wsBinary, tiny), 1003},
		"4097 bytes":              {wsFrame(wsFin|wsText, make([]byte, 4097)), 1009},
		"64 KiB less one":         {wsFrame(wsFin|wsText, make([]byte, 0xffff)), 1009},
		"5 KiB in fragments":      {append(wsFrame(wsText, tiny), wsFrames(wsContinuation, make([]byte, 100), 50)...), 1009},
		"fragments without end":   {append(wsFrame(wsText, nil), wsFrames(wsContinuation, nil, 60_000)...), 1008},
		"pings without end":       {wsFrames(wsFin|wsPing, make([]byte, 120), 3000), 1008},
		"thousands of beats":      {wsFrames(wsFin|wsText, tiny, 5000), 1008},
		"not masked":              {append([]byte{wsFin | wsText, byte(len(tiny))}, tiny...), 1002},
		"reserved bits":           {wsFrame(wsFin|0x40|wsText, tiny), 1002},
		"unknown opcode":          {wsFrame(wsFin|0x3, tiny), 1002},
		"continuation of nothing": {wsFrame(wsFin|wsContinuation, tiny), 1002},
		"fragmented ping":         {wsFrame(wsPing, nil), 1002},
		"invalid close code":      {wsFrame(wsFin|wsClose, []byte{0, 1}), 1002},
		"endless length":          {[]byte{wsFin | wsText, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := dialRaw(t, url, badViewer, nil)
			go s.Write(c.send) // the gateway closes before it has read all
			if code, err := s.closeCode(15 * time.Second); err != nil || code != c.code {
				t.Errorf("closed with %d (%v), want %d", code, err, c.code)
			}
			s.Write(wsFrame(wsFin|wsClose, nil))
		})
	}
	t.Run("event over", func(t *testing.T) {
		t.Parallel()
		s := dialRaw(t, url, "/v1/events/over/live?viewer=bad", nil)
		if code, err := s.closeCode(10 * time.Second); err != nil || code != 4504 {
			t.Errorf("closed with %d (%v), want 4504", code, err)
		}
	})
}

func badRequests(t *testing.T, url string) {
	upgrade := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	evil := http.Header{"Origin": {"https://evil.example"}}
	live, beats := "/v1/events/final/live?viewer=bad&team=", "/v1/events/final/beats?viewer=bad&team=BAD"
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		want               string
	}{
		{"GET", live + "BAD", "", nil, "400 invalid"},
		{"GET", live + "B%20D", "", upgrade, "400 invalid"},
		{"GET", live + "%ff", "", upgrade, "400 invalid"},
		{"GET", live + strings.Repeat("x", 65), "", upgrade, "400 invalid"},
		{"GET", live + "BAD&team=KC", "", upgrade, "400 invalid"},
		{"GET", live + "BAD&interval_ms=99999999999999999999", "", upgrade, "400 invalid"},
		{"GET", live + "BAD&session=x", "", upgrade, "400 invalid"},
		{"GET", live + "BAD&session=" + strings.Repeat("A", 28), "", upgrade, "403 forbidden"},
		{"GET", "/v1/events/nothing/live?viewer=bad", "", upgrade, "404 not_found"},
		{"GET", live + "BAD", "", merged(upgrade, evil), "403 forbidden"},
		{"GET", "/v1/events/final/counts", "", evil, "403 forbidden"},
		{"GET", "/v1/events/final/counts?dim=mood", "", nil, "400 invalid"},
		{"GET", "/v1/events/final/counts?segment=team", "", nil, "400 invalid"},
		{"GET", "/v1/events/nothing/counts", "", nil, "404 not_found"},
		{"GET", "/v1/events/final/history?step=1", "", nil, "400 invalid"},
		{"POST", beats, `{"state":`, nil, "400 invalid"},
		{"POST", beats, `{"state":7}`, nil, "400 invalid"},
		{"POST", beats, `[]`, nil, "400 invalid"},
		{"POST", beats, "{\"viewer\":\"\xff\"}", nil, "400 invalid"},
		{"POST", beats, strings.Repeat(" ", 257<<10), nil, "413 too_large"},
		{"POST", beats, `[{"state":"playing","x":"` + strings.Repeat("x", 4096) + `"}]`, nil, "413 too_large"},
		{"POST", "/v1/events/over/beats?viewer=bad", `{"state":"playing"}`, nil, "409 conflict"},
		{"PUT", "/v1/events/huge", strings.Repeat(" ", 65<<10), nil, "413 too_large"},
		{"PUT", "/v1/events/new", `{"tick_ms":1}`, nil, "400 invalid"},
		{"PUT", "/v1/events/new", `{"tik_ms":2000}`, nil, "400 invalid"},
		{"GET", "/v1/nothing", "", nil, "404 not_found"},
		{"PATCH", "/v1/events/final", "", nil, "405 invalid"},
	} {
		status, text := request(t, c.method, url+c.path, c.body, c.header)
		var e struct{ Code, Message string }
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.Message == "" || fmt.Sprint(status, " ", e.Code) != c.want {
			t.Errorf("%s %.80s %.40q is answered %d %.200s, want %s", c.method, c.path, c.body, status, text, c.want)
		}
	}
	// What is no HTTP, or has huge headers, does not get as far as the gateway.
	status, _ := request(t, "GET", url+"/v1/events/final/counts", "", http.Header{"X-Huge": {strings.Repeat("x", 40<<10)}})
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("headers of 40 KiB are answered %d, want 431", status)
	}
}

func merged(a, b http.Header) http.Header {
	c := a.Clone()
	for name, values := range b {
		c[name] = values
	}
	return c
}

// halfOpen opens sockets that never say or read anything.
func halfOpen(t *testing.T, url string) {
	var wg sync.WaitGroup
	for range 20 {
		s := dialRaw(t, url, badViewer, nil)
		wg.Go(func() {
			<-time.After(16 * time.Second) // 2.5 beats, never under 15 s
			if code, err := s.closeCode(6 * time.Second); err != nil || code != 4000 {
				t.Errorf("closed with %d (%v), want 4000", code, err)
			}
			s.Close()
		})
	}
	wg.Wait()
}

// abandoned opens sockets whose owners are gone without a word.
func abandoned(t *testing.T, url string) {
	for i := range 20 {
		s := dialRaw(t, url, badViewer, nil)
		if i%2 == 0 {
			s.Conn.(*net.TCPConn).SetLinger(0) // a reset
		}
		s.Close()
	}
}

// slowReader has the gateway answer pings into a tiny window that is never
// emptied.
func slowReader(t *testing.T, url, admin string) {
	s := dialRaw(t, url, badViewer+"&interval_ms=60000", func(fd int) {
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2304)
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
	})
	s.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := s.Write(wsFrames(wsFin|wsPing, make([]byte, 125), 1900)); err != nil { // the burst that is allowed
		t.Fatal(err)
	}
	// It is closed after SlowLimit of 10 s, whether it learns that or not. Until
	// then nothing is read: that would empty the window.
	eventually(t, 30*time.Second, "the slow reader is closed", func() error {
		if scrape(t, admin)("grandstand_gateway_closes_total", `reason="slow_reader"`) == 0 {
			return errNotYet
		}
		return nil
	})
	if code, err := s.closeCode(10 * time.Second); err == nil && code != 4008 {
		t.Errorf("closed with %d, want 4008", code)
	}
}

// slowStream asks for Server-Sent Events and reads none of them for a while.
func slowStream(t *testing.T, url string) {
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET /v1/events/final/counts/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	if status, err := bufio.NewReaderSize(c, 16).ReadString('\n'); err != nil || !strings.Contains(status, " 200 ") {
		t.Fatalf("a stream is answered %q, %v", status, err)
	}
	<-time.After(16 * time.Second) // as long as the others
}

// ended returns nil once the server has closed the connection.
func ended(c net.Conn, within time.Duration) error {
	c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("it is still open after %v", within)
	}
	return nil
}

// slowHandshakes are 200 requests of which a byte comes now and then.
func slowHandshakes(t *testing.T, url string) {
	dribble(t, url, 200, "GET "+badViewer+" HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", 10*time.Second)
}

// slowBody are beats of which a byte comes now and then.
func slowBody(t *testing.T, url string) {
	for _, request := range []string{"POST /v1/events/final/beats?viewer=bad&team=BAD", "POST /v1/events/nothing/beats", "GET /v1/events/final/counts"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			dribble(t, url, 20, request+" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n", 15*time.Second)
		})
	}
}

// dribble opens n connections that begin with head and go on with one byte a
// second, and expects each to be closed within d.
func dribble(t *testing.T, url string, n int, head string, d time.Duration) {
	var wg sync.WaitGroup
	for range n {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		wg.Go(func() {
			_, err := io.WriteString(c, head)
			go func() {
				for tick := time.Tick(time.Second); err == nil; <-tick {
					_, err = io.WriteString(c, "x")
				}
			}()
			if err := ended(c, d); err != nil {
				t.Error(err)
			}
			c.Close()
		})
	}
	wg.Wait()
}

// tooManyBeats sends more beats for one session than it may.
func tooManyBeats(t *testing.T, url string) {
	path := url + "/v1/events/final/beats?viewer=rest&team=BAD"
	status, text := request(t, "POST", path, `{"state":"playing"}`, nil)
	var first struct{ Session string }
	if err := json.Unmarshal([]byte(text), &first); err != nil || status != http.StatusOK {
		t.Fatalf("the first beat is answered %d %s", status, text)
	}
	list := `[{"state":"playing"}` + strings.Repeat(`,{"state":"playing"}`, 99) + `]`
	for range 5 {
		if status, text = request(t, "POST", path+"&session="+first.Session, list, nil); status != http.StatusOK {
			break
		}
	}
	if status != http.StatusTooManyRequests || !strings.Contains(text, `"rate_limited"`) {
		t.Errorf("500 beats at once are answered %d %s, want 429", status, text)
	}
}
