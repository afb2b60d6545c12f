//go:build compose

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/golang-jwt/jwt/v5"
)

// stack is docker-compose.yml, started for one test with its own secrets, ports
// and volumes. `make compose-test` made the bases before. Grafana is left out:
// no package of Debian has it.
type stack struct {
	t    *testing.T
	env  []string
	port string
}

// images are built beforehand: the builders of docker-compose give a build no
// way to the host's network.
func buildImages(t *testing.T) {
	proxy, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatal(err)
	}
	for image, dir := range map[string]string{"grandstand:test": repo, "grandstand-minio:test": filepath.Join(repo, "deploy/minio")} {
		begin := time.Now()
		command(t, nil, "docker", "build", "-q", "--network", "host", "-t", image,
			"--build-arg", "GO_BASE=grandstand-base:go", "--build-arg", "GOPROXY="+strings.TrimSpace(string(proxy)), dir)
		size, _ := strconv.ParseFloat(strings.TrimSpace(command(t, nil, "docker", "image", "inspect", "-f", "{{.Size}}", image)), 64)
		t.Logf("%s: %.1f MB, built in %v", image, size/1e6, time.Since(begin).Round(time.Second))
	}
}

func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, tail(string(out), 4000))
	}
	return string(out)
}

func newStack(t *testing.T, more ...string) *stack {
	t.Helper()
	s := &stack{t: t}
	for _, name := range []string{"PORT", "PROMETHEUS_PORT"} {
		_, port, _ := net.SplitHostPort(freeAddr(t))
		s.env = append(s.env, name+"="+port)
		if name == "PORT" {
			s.port = port
		}
	}
	for name, value := range dotEnv(t) {
		s.env = append(s.env, name+"="+value)
	}
	s.env = append(s.env, "GRANDSTAND_IMAGE=grandstand:test", "MINIO_IMAGE=grandstand-minio:test", "COMPOSE_PROJECT_NAME=grandstand-test",
		"REDIS_IMAGE=grandstand-base:debian", "EDGE_IMAGE=grandstand-base:debian", "PROMETHEUS_IMAGE=grandstand-base:debian")
	s.env = append(s.env, more...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(tail(s.compose("logs", "--no-color", "--tail=15"), 20_000))
		}
		s.compose("--profile", "crowd", "--profile", "cluster", "down", "--volumes", "--timeout", "60")
	})
	return s
}

// compose runs docker compose, whichever of its two forms is there.
func (s *stack) compose(args ...string) string {
	s.t.Helper()
	call := []string{"docker", "compose"}
	if exec.Command("docker", "compose", "version").Run() != nil {
		call = []string{"docker-compose"}
	}
	call = append(call, "-f", filepath.Join(repo, "docker-compose.yml"))
	return command(s.t, s.env, call[0], append(call[1:], args...)...)
}

func (s *stack) url() string { return "http://127.0.0.1:" + s.port }

// container returns the id of a service's container.
func (s *stack) container(service string) string {
	s.t.Helper()
	return strings.TrimSpace(s.compose("ps", "-q", service))
}

// healthy waits until the containers of the services say so.
func (s *stack) healthy(services ...string) {
	s.t.Helper()
	for _, service := range services {
		eventually(s.t, 3*time.Minute, service+" is healthy", func() error {
			state := strings.TrimSpace(command(s.t, nil, "docker", "inspect", "-f", "{{.State.Health.Status}}", s.container(service)))
			if state != "healthy" {
				return fmt.Errorf("it is %s", state)
			}
			return nil
		})
	}
}

var everyService = []string{"redis", "minio", "gateway-1", "gateway-2", "aggregator-1", "aggregator-2", "blocker", "archiver", "web", "edge"}

// world returns what the edge says of the event's world.
func (s *stack) world() (*counts, error) { return getCounts(s.url(), demoEvent) }

// crowded waits until there are at least so many sessions.
func (s *stack) crowded(d time.Duration, sessions uint64) {
	s.t.Helper()
	eventually(s.t, d, fmt.Sprintf("%d sessions", sessions), func() error {
		c, err := s.world()
		if err == nil && c.World.Sessions < sessions {
			err = fmt.Errorf("there are %d (%s)", c.World.Sessions, c.Quality)
		}
		return err
	})
}

// The stack comes up, a browser sees a crowd come, a gateway is killed and the
// number goes on, and nobody did in Redis what the ACL does not allow.
func TestComposeStack(t *testing.T) {
	buildImages(t)
	s := newStack(t, "VIEWERS=400")
	begin := time.Now()
	s.compose(append([]string{"up", "-d", "--no-build", "prometheus"}, everyService...)...)
	s.healthy(everyService...)
	t.Logf("healthy after %v", time.Since(begin).Round(100*time.Millisecond))
	s.healthy("prometheus")

	tab := fan(t, chromium(t), s.url(), "event=demo&team=KC&region=US-CA&country=US&viewer=first")
	shown(t, tab, "world", 1)
	s.compose("--profile", "crowd", "up", "-d", "--no-build", "crowd")
	s.crowded(2*time.Minute, 200)
	script := `document.querySelector('[data-count="world"]').dataset.sessions ?? ""`
	eventually(t, 10*time.Second, "the page shows the crowd", func() error {
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](script))
		if n, _ := strconv.Atoi(got); err == nil && n < 200 {
			err = fmt.Errorf("it shows %q", got)
		}
		return err
	})
	screenshot(t, tab, "compose.png")

	before, err := s.world()
	if err != nil {
		t.Fatal(err)
	}
	command(t, nil, "docker", "kill", s.container("gateway-1"))
	low, answers, polls := before.World.Sessions, 0, 0
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		polls++
		if c, err := s.world(); err == nil {
			low = min(low, c.World.Sessions)
			answers++
		}
	}
	after, err := s.world()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a gateway was killed: %d sessions before, %d at least, %d after 40 s; %d of %d requests were answered", before.World.Sessions, low, after.World.Sessions, answers, polls)
	if float64(low) < 0.9*float64(before.World.Sessions) || 10*answers < 9*polls || after.Quality != "live" || after.At <= before.At {
		t.Errorf("a gateway was killed: before %+v, at least %d, after %+v", before, low, after)
	}
	eventually(t, 10*time.Second, "the page shows what there is now", func() error {
		now, err := s.world()
		if err != nil {
			return err
		}
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](script))
		if n, _ := strconv.Atoi(got); err == nil && math.Abs(float64(n)-float64(now.World.Sessions)) > 0.05*float64(now.World.Sessions) {
			err = fmt.Errorf("it shows %q, there are %d", got, now.World.Sessions)
		}
		return err
	})
	screenshot(t, tab, "compose-gateway-killed.png")
	s.compose("up", "-d", "--no-build", "gateway-1")
	s.healthy("gateway-1")

	s.checkAccounts()
	s.checkTargets()
	s.checkArchive()
	s.checkACL("redis")
	s.compose("restart", "redis") // it reads what it wrote, which its users are not to stop
	s.healthy("redis")
	s.crowded(time.Minute, 200)
	s.checkACL("redis")
	begin = time.Now()
	s.compose("stop", "gateway-2")
	t.Logf("a gateway with viewers stopped within %v", time.Since(begin).Round(100*time.Millisecond))
	if code := strings.TrimSpace(command(t, nil, "docker", "inspect", "-f", "{{.State.ExitCode}}", s.container("gateway-2"))); code != "0" {
		t.Errorf("the gateway that was stopped ended with %s", code)
	}
}

// Profile cluster: the same on three masters and their replicas, of which one
// master is killed.
func TestComposeCluster(t *testing.T) {
	buildImages(t)
	s := newStack(t, "VIEWERS=200", "REDIS_NODES="+redisNodes)
	s.compose(strings.Fields(joinCluster)...)
	s.compose(append([]string{"up", "-d", "--no-build"}, everyService...)...)
	s.healthy(everyService...)
	s.compose("--profile", "crowd", "up", "-d", "--no-build", "crowd")
	s.crowded(2*time.Minute, 100)
	command(t, nil, "docker", "kill", s.container("redis-2"))
	at := time.Now()
	eventually(t, time.Minute, "fresh boards without that master", func() error {
		c, err := s.world()
		if err == nil && (c.At < at.Add(2*time.Second).UnixMilli() || c.World.Sessions < 100) {
			err = fmt.Errorf("%d sessions, %v after it was killed", c.World.Sessions, time.UnixMilli(c.At).Sub(at))
		}
		return err
	})
	s.checkACL("redis-1")
}

// checkAccounts asks the blocker through the edge.
func (s *stack) checkAccounts() {
	s.t.Helper()
	status, body := request(s.t, http.MethodPost, s.url()+"/v1/accounts/acme/devices/tv/heartbeat", `{"event":"demo","name":"TV","limit":1}`, nil)
	if status != http.StatusOK {
		s.t.Errorf("a heartbeat of a device is answered %d %s", status, body)
	}
}

// checkTargets wants every role to be scraped.
func (s *stack) checkTargets() {
	s.t.Helper()
	var port string
	for _, e := range s.env {
		if p, is := strings.CutPrefix(e, "PROMETHEUS_PORT="); is {
			port = p
		}
	}
	eventually(s.t, time.Minute, "every target is up", func() error {
		resp, err := http.Get("http://127.0.0.1:" + port + "/api/v1/targets?state=active")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var answer struct {
			Data struct {
				ActiveTargets []struct{ ScrapeURL, Health, LastError string }
			}
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return err
		}
		targets := answer.Data.ActiveTargets
		for _, target := range targets {
			if target.Health != "up" {
				return fmt.Errorf("%s is %s: %s", target.ScrapeURL, target.Health, target.LastError)
			}
		}
		if len(targets) < 6 {
			return fmt.Errorf("there are %d targets", len(targets))
		}
		return nil
	})
}

// checkArchive waits for the first objects of the event.
func (s *stack) checkArchive() {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, "objects in the archive", func() error {
		out := s.compose("exec", "-T", "archiver", "/grandstand", "archive", "ls", demoEvent)
		if !strings.Contains(out, ".parquet") {
			return fmt.Errorf("archive ls prints %q", out)
		}
		return nil
	})
}

// checkACL wants Redis to have refused nothing.
func (s *stack) checkACL(node string) {
	s.t.Helper()
	denied := s.compose("exec", "-T", node, "sh", "-c", "REDISCLI_AUTH=$REDIS_OPERATOR_PASSWORD redis-cli --user operator acl log")
	if strings.TrimSpace(denied) != "" {
		s.t.Errorf("Redis refused:\n%s", denied)
	}
}

// The stack as an operator would show it to others: it asks for tokens, and starts
// only if nothing is open.
func TestComposeAsksForTokens(t *testing.T) {
	buildImages(t)
	secret := strings.Repeat("a secret of the stack ", 2)
	s := newStack(t, "VIEWERS=100", "AUTH=jwt", "INSECURE=false", "JWT_SECRET="+secret, "ADMIN_TOKEN="+adminToken)
	s.compose(append([]string{"up", "-d", "--no-build"}, everyService...)...)
	s.healthy(everyService...)
	if logs := s.compose("logs", "--no-color"); strings.Contains(logs, "INSECURE") {
		t.Errorf("it was started with something open:\n%s", tail(logs, 4000))
	}
	edge := &process{url: s.url()}
	if _, status := open(t, edge, "/v1/events/demo/live?viewer=eve", ""); status != http.StatusUnauthorized {
		t.Errorf("a viewer without a token is answered %d", status)
	}
	i := &issuer{t: t}
	token := i.sign(jwt.SigningMethodHS256, []byte(secret), "", good("evt", demoEvent, "acc", "acme", "lim", 1))
	if _, status := open(t, edge, "/v1/events/demo/live", token); status != http.StatusSwitchingProtocols {
		t.Errorf("a viewer with a token is answered %d", status)
	}
	for name, c := range map[string]struct {
		method, path, body, token string
		want                      int
	}{
		"an event, by anybody":                  {http.MethodPut, "/v1/events/mine", "{}", "", http.StatusUnauthorized},
		"an event, by a viewer":                 {http.MethodPut, "/v1/events/mine", "{}", token, http.StatusForbidden},
		"an event, by the operator":             {http.MethodPut, "/v1/events/mine", "{}", adminToken, http.StatusOK},
		"a device without a token":              {http.MethodPost, "/v1/accounts/acme/devices/tv/heartbeat", `{"event":"demo"}`, "", http.StatusUnauthorized},
		"a device with its account's token":     {http.MethodPost, "/v1/accounts/acme/devices/d1/heartbeat", `{"event":"demo"}`, token, http.StatusOK},
		"a device with another account's":       {http.MethodPost, "/v1/accounts/other/devices/d1/heartbeat", `{"event":"demo"}`, token, http.StatusForbidden},
		"the cluster, as the dashboard sees it": {http.MethodGet, "/v1/cluster", "", "", http.StatusUnauthorized},
		"metrics":                               {http.MethodGet, "/metrics", "", adminToken, http.StatusNotFound},
	} {
		header := http.Header{}
		if c.token != "" {
			header = bearer(c.token)
		}
		if status, body := request(t, c.method, s.url()+c.path, c.body, header); status != c.want {
			t.Errorf("%s: answered %d %s, want %d", name, status, tail(body, 300), c.want)
		}
	}
	s.compose("--profile", "crowd", "up", "-d", "--no-build", "crowd")
	s.crowded(2*time.Minute, 60) // asked without a token: the event is public
	s.checkACL("redis")

	// Open to anybody, and not told that this is meant.
	out, err := exec.Command("docker", "run", "--rm", "--network", "none", "-e", "GRANDSTAND_SECRET="+secret, "grandstand:test",
		"gateway", "--listen=:8080", "--auth=none").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "lets anybody be anybody") {
		t.Errorf("a gateway that is open to anybody: %v\n%s", err, out)
	}
}
