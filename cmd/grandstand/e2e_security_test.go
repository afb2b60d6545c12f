package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand/redis/redistest"
)

// startAll starts every role in one process, on embedded parts.
func startAll(t *testing.T, name string, more ...string) (p *process, admin string) {
	t.Helper()
	addr, admin := freeAddr(t), freeAddr(t)
	args := append([]string{"all", "--listen", addr, "--admin", admin, "--archive", "file:" + archiveOf(t)}, more...)
	p = start(t, name, args...).ready(admin)
	p.url = "http://" + addr
	return p, admin
}

// over returns a client that believes the authority.
func over(pool *x509.CertPool) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// Players connect over TLS: sockets, REST and streams. The certificate is renewed
// while they watch.
func TestPlayersConnectOverTLS(t *testing.T) {
	beside(t)
	ca, dir := newAuthority(t), t.TempDir()
	files := ca.player(dir)
	p, admin := startAll(t, "all", "--tls-cert", files.cert, "--tls-key", files.key)
	url := strings.Replace(p.url, "http", "https", 1)
	client := over(ca.pool())

	dial := func(query string) (c *websocket.Conn) {
		t.Helper()
		eventually(t, 20*time.Second, "a socket over TLS", func() (err error) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			c, _, err = websocket.Dial(ctx, url+"/v1/events/final/live?"+query, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"grandstand.v1"}})
			return err
		})
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	sessions := func(c *websocket.Conn, want float64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Fatalf("until %v sessions are shown: %v", want, err)
			}
			var m struct {
				T string
				N map[string][]float64
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if m.T == "counts" && m.N["world"][0] == want {
				return
			}
		}
	}
	first := dial("viewer=v1")
	sessions(first, 1)
	second := dial("viewer=v2")
	sessions(first, 2)
	if err := second.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("a goodbye over TLS: %v", err)
	}
	sessions(first, 1)

	resp, err := client.Get(url + "/v1/events/final/counts")
	if err != nil || resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/1.1" || resp.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("counts over TLS: %v (%v)", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp, err = client.Get(url + "/v1/events/final/counts/stream"); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 6); true {
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "retry:" {
			t.Errorf("a stream over TLS begins with %q (%v)", b, err)
		}
	}
	resp.Body.Close()
	if resp, err := http.Get(p.url + "/healthz"); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP at the TLS port is answered %v (%v), want 400", resp, err)
	}
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("a client that does not know the authority was content")
	}

	was := resp.TLS.PeerCertificates[0].SerialNumber
	ca.player(dir)
	eventually(t, certEvery+10*time.Second, "the new certificate is used", func() error {
		c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: ca.pool()})
		if err != nil {
			return err
		}
		defer c.Close()
		if c.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(was) == 0 {
			return errNotYet
		}
		return nil
	})
	third := dial("viewer=v3")
	sessions(third, 2)
	sessions(first, 2) // goes on as if nothing had been
	get := scrape(t, admin)
	if days := get("grandstand_tls_certificate_days_left", `endpoint="players"`); days < 29 || days > 30 {
		t.Errorf("the metric says %v days, want 30", days)
	}
	if n := get("grandstand_tls_reloads_total", `result="changed"`); n != 1 {
		t.Errorf("%v renewals are counted, want 1", n)
	}
}

// Members with certificates feed each other boards and raw events; nobody else is
// let in, with the cluster's secret or without.
func TestMembersKnowEachOtherByCertificates(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	ca := newAuthority(t)
	member := func() []string {
		f := ca.peer(t.TempDir())
		return []string{"--peer-cert", f.cert, "--peer-key", f.key, "--peer-ca", f.ca}
	}
	peer := freeAddr(t)
	g1 := startGateway(t, "gateway-1", redis, append(member(), "--peer", peer, "--journal", t.TempDir(), "--journal-age", "1s", "--seal-over", "1s")...)
	g2 := startGateway(t, "gateway-2", redis, append(member(), "--upstream", "wss://"+peer)...)
	startAggregator(t, "aggregator", redis)
	putEvent(t, g1.url, "final", fast)
	archive := "file:" + archiveOf(t)
	admin := freeAddr(t)
	start(t, "archiver", append([]string{"archiver", "--admin", admin, "--redis", redis, "--secret", testSecret, "--archive", archive}, member()...)...).ready(admin)

	c, _ := watch(t, g1.url, "final", "viewer=v1")
	if err := beat(t.Context(), c, 1); err != nil {
		t.Fatal(err)
	}
	_, frames := watch(t, g2.url, "final", "viewer=v2") // boards come from the other gateway only
	deadline := time.After(20 * time.Second)
	for shown := false; !shown; {
		select {
		case b := <-frames:
			shown = strings.Contains(string(b), `"world":[2,2]`)
		case <-deadline:
			t.Fatal("the board did not come over --peer")
		}
	}
	dir := archiveOf(t)
	eventually(t, 30*time.Second, "the beat is archived", func() error {
		objects, err := filepath.Glob(filepath.Join(dir, "live", "*", "*", "*.parquet"))
		if len(objects) == 0 {
			return fmt.Errorf("no object (%v)", err)
		}
		return nil
	})
	stranger := newAuthority(t).peer(t.TempDir())
	pair, err := tls.LoadX509KeyPair(stranger.cert, stranger.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tls.Config{
		"without a certificate":       {RootCAs: ca.pool(), ServerName: peerName},
		"with a stranger's":           {RootCAs: ca.pool(), ServerName: peerName, Certificates: []tls.Certificate{pair}},
		"that does not look at names": {InsecureSkipVerify: true},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: 10 * time.Second}
		if resp, err := client.Get("https://" + peer + "/v1/journal/files"); err == nil {
			t.Errorf("a client %s is answered %s", name, resp.Status)
		}
	}
	if resp, err := http.Get("http://" + peer + "/v1/journal/files"); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP on --peer is answered %v (%v), want 400", resp, err)
	}
}

// What each port serves, and nothing else. Metrics, profiles and the feed between
// members are never on the public port.
func TestEveryPortHasItsOwnPaths(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	const admin, public, peer = "admin", "public", "peer"
	paths := map[string][]string{
		admin: {"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/profile?seconds=1",
			"/debug/pprof/trace?seconds=1", "/debug/pprof/symbol"},
		public: {"/v1/events", "/v1/cluster"},
		peer:   {"/v1/journal/files", "/v1/feed"},
	}
	nowhere := []string{"/debug/pprof/cmdline", "/debug/vars", "/debug/", "/debug/requests", "/admin", "/config", "/.env"}
	disguised := []string{"//metrics", "/./metrics", "/v1/../metrics", "/%6detrics", "/metrics/", "/METRICS", "/v1/events/../../metrics",
		"/v1/metrics", "/v1//journal/files", "/sdk.js/../metrics", "/debug%2fpprof/"}
	ask := func(t *testing.T, addr, path string) int {
		t.Helper()
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, addr) // as it is: a client would clean it
		text, err := io.ReadAll(io.LimitReader(c, 1<<20))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var status int
		if _, err := fmt.Sscanf(string(text), "HTTP/1.1 %d", &status); err != nil {
			t.Fatalf("%s is answered %.100q", path, text)
		}
		if location := textBetween(string(text), "\r\nLocation: ", "\r\n"); status/100 == 3 && location != path {
			resp, err := http.Get("http://" + addr + location)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode
		}
		return status
	}
	for name, more := range map[string][]string{
		"all":     {"all", "--journal", t.TempDir()},
		"demo":    {"demo", "--viewers", "0"},
		"gateway": {"gateway", "--redis", redis, "--journal", t.TempDir()},
		"blocker": {"blocker", "--redis", redis, "--journal", t.TempDir()},
		"web":     {"web"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ports := map[string]string{public: freeAddr(t)}
			args := append(more, "--listen", ports[public])
			if name != "web" {
				ports[admin] = freeAddr(t)
				args = append(args, "--admin", ports[admin], "--secret", testSecret, "--archive", "file:"+archiveOf(t))
			}
			if name != "web" && name != "demo" {
				ports[peer] = freeAddr(t)
				args = append(args, "--peer", ports[peer])
			}
			start(t, name, args...).ready(ports[public])
			for port, addr := range ports {
				var wrong []string
				for of, list := range paths {
					if of != port {
						wrong = append(wrong, list...)
					}
				}
				wrong = append(wrong, nowhere...)
				if port == public {
					wrong = append(wrong, disguised...)
				}
				for _, path := range wrong {
					if status := ask(t, addr, path); status != http.StatusNotFound {
						t.Errorf("%s on --%s of %s is answered %d, want 404", path, port, name, status)
					}
				}
			}
			if addr := ports[admin]; addr != "" {
				if status := ask(t, addr, "/metrics"); status != http.StatusOK {
					t.Errorf("metrics on --admin of %s: %d", name, status)
				}
			}
			if addr := ports[peer]; addr != "" {
				if status := ask(t, addr, "/v1/journal/files"); status != http.StatusUnauthorized && status != http.StatusForbidden {
					t.Errorf("the journal on --peer of %s, without the secret: %d", name, status)
				}
			}
		})
	}
}

func textBetween(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// One address that asks too much is told so by every role, and others are not.
func TestLimitsHoldInEveryRole(t *testing.T) {
	beside(t)
	redis := []string{"--redis", redistest.StartServer(t).URL(), "--secret", testSecret}
	of := map[string][][2]string{ // what each role is asked for
		"gateway": {{"GET", "/v1/events"}, {"POST", "/v1/events/final/beats?viewer=v1"}},
		"blocker": {{"POST", "/v1/accounts/acme/devices/tv/heartbeat"}},
		"web":     {{"GET", "/"}, {"GET", "/badge/final.svg"}},
	}
	of["all"] = slices.Concat(of["gateway"], of["blocker"], of["web"])
	for role, paths := range of {
		t.Run(role, func(t *testing.T) {
			addr, admin := freeAddr(t), freeAddr(t)
			args := []string{role, "--listen", addr, "--admin", admin, "--trusted-proxies", "127.0.0.1", "--address-rate", "2"}
			if role != "web" { // which knows no tokens and has no streams
				args = append(args, "--address-conns", "1", "--origins", "https://tv.example.com", "--admin-token", adminToken, "--archive", "file:"+archiveOf(t))
			}
			if role == "gateway" || role == "blocker" {
				args = append(args, redis...)
			}
			start(t, role, args...).ready(admin)
			limitsHold(t, role, "http://"+addr, paths)
			get := scrape(t, admin)
			if get("grandstand_limits_refused_total", `what="request"`) < float64(len(paths)) {
				t.Error("the metrics do not say what was refused")
			}
			streams := streamsOf[role]
			if get("grandstand_limits_refused_total", `what="connection"`) != float64(len(streams)) || get("grandstand_limits_remembered", `party="address"`) != float64(len(paths)+1+len(streams)) {
				t.Error("the metrics do not say who was refused")
			}
		})
	}
}

const countsStream, devicesStream = "/v1/events/final/counts/stream", "/v1/accounts/acme/devices/stream"

var streamsOf = map[string][]string{"all": {countsStream, devicesStream}, "gateway": {countsStream}, "blocker": {devicesStream}}

// limitsHold asks a role, which believes the address that this machine says it
// asks for, more often than one may.
func limitsHold(t *testing.T, role, url string, paths [][2]string) {
	do := func(from, method, path, token string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, url+path, strings.NewReader(`{"state":"playing","event":"final"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", from)
		req.Header.Set("Origin", "https://tv.example.com")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for i, at := range paths {
		from := fmt.Sprintf("2001:db8::%d:0:0:0:%%d", i+1)
		refused := 0
		for n := range 4 { // a burst of two
			resp := do(fmt.Sprintf(from, n+1), at[0], at[1], "") // another address, the same /64
			if resp.StatusCode != http.StatusTooManyRequests {
				continue
			}
			refused++
			if resp.Header.Get("Retry-After") == "" || strings.HasPrefix(at[1], "/v1/") && resp.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Errorf("%s: 429 with %v, want Retry-After that the page may read", at[1], resp.Header)
			}
		}
		if refused == 0 {
			t.Errorf("%s is answered as often as one likes", at[1])
		}
		if role == "web" {
			continue // it knows no backends
		}
		if resp := do(fmt.Sprintf(from, 1), at[0], at[1], adminToken); resp.StatusCode == http.StatusTooManyRequests {
			t.Errorf("%s: a backend is limited", at[1])
		}
	}
	if resp := do("203.0.113.9", paths[0][0], paths[0][1], ""); resp.StatusCode == http.StatusTooManyRequests {
		t.Errorf("another address is answered %s", resp.Status)
	}
	if paths[0][1] == "/v1/events" {
		if resp := do("203.0.113.9", "GET", "/v1/events", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("another address is answered %s", resp.Status)
		}
	}
	for i, path := range streamsOf[role] { // one stream, and no second
		from := fmt.Sprintf("203.0.113.%d", 10+i)
		first := do(from, "GET", path, "")
		if first.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %s", path, first.Status)
		}
		if resp := do(from, "GET", path, ""); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s is answered %s with %v for a second time, want 429 with Retry-After", path, resp.Status, resp.Header)
		}
	}
}

// Starts that need more than the settings to be refused, and one that is not.
func TestUnsafeStartsSaySo(t *testing.T) {
	beside(t)
	ca := newAuthority(t)
	good, open := ca.player(t.TempDir()), ca.player(t.TempDir())
	if err := os.Chmod(open.key, 0o644); err != nil {
		t.Fatal(err)
	}
	archive := "file:" + t.TempDir() + "/archive"
	var wg sync.WaitGroup
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a certificate without a key":       {[]string{"all", "--tls-cert", good.cert}, "--tls-cert and --tls-key are needed together"},
		"a key that everybody may read":     {[]string{"all", "--tls-cert", open.cert, "--tls-key", open.key}, "chmod 640"},
		"the same, of pages":                {[]string{"web", "--tls-cert", open.cert, "--tls-key", open.key}, "chmod 640"},
		"another certificate's key":         {[]string{"all", "--tls-cert", good.cert, "--tls-key", ca.player(t.TempDir()).key}, "does not match"},
		"a peer without its authority":      {[]string{"all", "--peer-cert", good.cert, "--peer-key", good.key}, "--peer-ca are needed together"},
		"a player's certificate for a peer": {[]string{"all", "--peer-cert", good.cert, "--peer-key", good.key, "--peer-ca", ca.path}, "DNS name peer.grandstand"},
		"anybody from anywhere":             {[]string{"all", "--listen", "0.0.0.0:0"}, "use --auth jwt, or listen on 127.0.0.1"},
	} {
		args := append(slices.Clone(c.args), "--listen", "127.0.0.1:0")
		if slices.Contains(c.args, "--listen") {
			args = c.args
		}
		if c.args[0] != "web" {
			args = append(args, "--admin", "", "--archive", archive, "--journal", "off")
		}
		p := start(t, name, args...)
		wg.Go(func() {
			if code := p.wait(30 * time.Second); code != 2 || !strings.Contains(p.log.String(), c.want) {
				t.Errorf("%s: exit code %d, want 2 with %q:\n%s", name, code, c.want, p.log)
			}
		})
	}
	wg.Wait()
	port := strings.TrimPrefix(freeAddr(t), "127.0.0.1:")
	p := start(t, "insecure", "all", "--listen", "0.0.0.0:"+port, "--admin", "", "--insecure", "--tls-cert", open.cert, "--tls-key", open.key, "--archive", archive)
	eventually(t, 20*time.Second, "it says what is unsafe", func() error {
		for _, want := range []string{"INSECURE: --auth none on 0.0.0.0:" + port, "INSECURE: every user of this machine may read the key", "for=players"} {
			if !strings.Contains(p.log.String(), want) {
				return fmt.Errorf("no %q in the log", want)
			}
		}
		return nil
	})
}
