package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// parse returns the settings of a command line, with a YAML file if text is not
// empty.
func parse(t *testing.T, text string, args ...string) (*cli, *file, error) {
	t.Helper()
	if text != "" {
		args = append(args, "--config", configFile(t, text))
	}
	c, events := &cli{}, &file{}
	p, err := newParser(c, events)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return c, events, err
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grandstand.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsComeBeforeVariablesBeforeTheFile(t *testing.T) {
	t.Setenv("GRANDSTAND_LISTEN", "127.0.0.1:2")
	t.Setenv("GRANDSTAND_MAX_CONNS", "2")
	t.Setenv("GRANDSTAND_OPEN_EVENTS", "true")
	const file = "listen: 127.0.0.1:3\nmax_conns: 3\ndrain-over: 3s\nopen_events: false\norigins: [https://a.example, https://b.example]\nviewers: 3\n"
	c, _, err := parse(t, file, "all", "--listen", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if a := &c.All; a.Listen != "127.0.0.1:1" || a.MaxConns != 2 || a.DrainOver != 3*time.Second || a.Auth != "none" || !a.openEvents(true) ||
		strings.Join(a.Origins, " ") != "https://a.example https://b.example" {
		t.Errorf("settings are %+v", a)
	}
	os.Unsetenv("GRANDSTAND_OPEN_EVENTS")
	if c, _, err = parse(t, file, "all"); err != nil || c.All.openEvents(true) {
		t.Errorf("open_events: false of the file does not hold (%v)", err)
	}
	t.Setenv("GRANDSTAND_CONFIG", configFile(t, "drain_over: 7s\n"))
	if c, _, err = parse(t, "", "gateway"); err != nil || c.Gateway.DrainOver != 7*time.Second {
		t.Errorf("the file of GRANDSTAND_CONFIG does not hold: %v, %v", c.Gateway.DrainOver, err)
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		args []string
		want string
	}{
		"unknown flag": {"", []string{"all", "--lisen", "x"}, "--lisen"},
		"unknown key":  {"lisen: x\n", []string{"all"}, `"lisen"`},
		"no YAML":      {"listen: [x\n", []string{"all"}, "config"},
		"not a number": {"max_conns: many\n", []string{"all"}, "many"},
		"not an auth":  {"", []string{"all", "--auth", "maybe"}, "--auth"},
		"no such file": {"", []string{"all", "--config", "/does/not/exist.yaml"}, "exist.yaml"},
	} {
		_, _, err := parse(t, c.file, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want something about %q", name, err, c.want)
		}
	}
}

func TestEventsOfTheFile(t *testing.T) {
	_, events, err := parse(t, "events:\n- event: final\n  dims: [country, {name: team, values: [KC, SF], choose: true}, country+team]\n  public: true\n- event: semi\n", "gateway")
	if err != nil {
		t.Fatal(err)
	}
	if l := events.events; len(l) != 2 || l[0].Name != "final" || !l[0].Public || len(l[0].Dims) != 3 || !l[0].Dims[1].Choose || l[1].TickMS != 2000 {
		t.Errorf("events are %+v", l)
	}
}

func TestEveryRoleHelps(t *testing.T) {
	for _, role := range []string{"", "demo", "all", "gateway", "aggregator", "blocker", "web", "simulate", "version"} {
		var out strings.Builder
		p, err := newParser(&cli{}, &file{})
		if err != nil {
			t.Fatal(err)
		}
		p.Stdout, p.Exit = &out, func(code int) { panic(code) }
		func() {
			defer func() {
				if code := recover(); code != 0 {
					t.Errorf("%s --help exits with %v", role, code)
				}
			}()
			_, _ = p.Parse(strings.Fields(role + " --help"))
		}()
		if !strings.Contains(out.String(), "Usage: grandstand "+role) {
			t.Errorf("%s --help prints %s", role, out.String())
		}
	}
}

// Starts that are refused, with the exit code and a word of what is said.
func TestStartsThatAreRefused(t *testing.T) {
	const redis = "redis://127.0.0.1:1"
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no role":                   {nil, 2, "demo"},
		"wrong flag":                {[]string{"gateway", "--nonsense"}, 2, "--nonsense"},
		"gateway without Redis":     {[]string{"gateway"}, 2, "--redis"},
		"blocker without Redis":     {[]string{"blocker"}, 2, "--redis"},
		"blocker for anybody":       {[]string{"blocker", "--listen", ":0", "--redis", redis}, 2, "--insecure"},
		"aggregator without Redis":  {[]string{"aggregator"}, 2, "--redis"},
		"no secret":                 {[]string{"gateway", "--redis", redis, "--admin", ""}, 2, "--secret is missing"},
		"short secret":              {[]string{"gateway", "--redis", redis, "--admin", "", "--secret", "short"}, 2, "--secret is too short"},
		"anybody from anywhere":     {[]string{"all", "--listen", "0.0.0.0:0"}, 2, "--insecure"},
		"anybody from any address":  {[]string{"gateway", "--listen", ":0"}, 2, "--insecure"},
		"demo for everybody":        {[]string{"demo", "--listen", "0.0.0.0:0"}, 2, "--insecure"},
		"jwt without keys":          {[]string{"all", "--auth", "jwt", "--listen", "0.0.0.0:0", "--admin", ""}, 1, "key set"},
		"Redis is not there":        {[]string{"gateway", "--redis", redis, "--admin", "", "--secret", testSecret}, 1, "redis"},
		"crowd without a target":    {[]string{"simulate"}, 2, "--target"},
		"crowd at somebody's house": {[]string{"simulate", "--target", "http://192.0.2.1:80"}, 1, "machine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, name, c.args...)
			if code := p.wait(30 * time.Second); code != c.code || !strings.Contains(p.log.String(), c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, c.code, c.want, p.log)
			}
		})
	}
}

func TestStoppingWithoutViewersIsQuick(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	g, a := startGateway(t, "gateway", redis), startAggregator(t, "aggregator", redis)
	begin := time.Now()
	for _, p := range []*process{g, a} {
		p.signal(syscall.SIGTERM)
		if code := p.wait(10 * time.Second); code != 0 {
			t.Errorf("%s ends with code %d", p.name, code)
		}
	}
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestASecondSignalEndsTheDrain(t *testing.T) {
	g := startGateway(t, "gateway", redistest.StartServer(t).URL(), "--drain-over", "60s")
	watch(t, g.url, "final", "viewer=v1")
	g.signal(syscall.SIGTERM)
	eventually(t, 10*time.Second, "the gateway drains", func() error {
		if resp, err := http.Get(g.url + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return errNotYet
			}
		}
		return nil
	})
	select {
	case <-g.done:
		t.Fatal("the gateway did not drain at all")
	case <-time.After(500 * time.Millisecond):
	}
	g.signal(syscall.SIGTERM)
	g.wait(3 * time.Second) // by the signal: there is no exit code to speak of
}

// A gateway that starts again must not put back what its file says of an event
// that has been live, is over, or was put since.
func TestTheFileDoesNotUndoWhatHappened(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	config := configFile(t, "events:\n- {event: live, tick_ms: 1000}\n- {event: over, tick_ms: 1000}\n- {event: put, tick_ms: 1000}\n")
	events := func(g *process) map[string]string {
		_, text := request(t, "GET", g.url+"/v1/events", "", nil)
		var list []struct {
			Event, State string
			TickMS       int64 `json:"tick_ms"`
		}
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		m := map[string]string{}
		for _, e := range list {
			m[e.Event] = e.State + " " + (time.Duration(e.TickMS) * time.Millisecond).String()
		}
		return m
	}
	want := map[string]string{"live": "live 1s", "over": "ended 1s", "put": "scheduled 3s"}
	g := startGateway(t, "gateway", redis, "--config", config)
	watch(t, g.url, "live", "viewer=v1")
	putEvent(t, g.url, "put", `{"tick_ms":3000}`)
	if status, text := request(t, "DELETE", g.url+"/v1/events/over", "", nil); status != http.StatusOK {
		t.Fatalf("DELETE answers %d %s", status, text)
	}
	check := func(g *process) {
		t.Helper()
		eventually(t, 10*time.Second, "the events are as they were", func() error {
			got := events(g)
			for name, w := range want {
				if got[name] != w {
					t.Logf("%v", got)
					return errNotYet
				}
			}
			return nil
		})
	}
	check(g)
	check(startGateway(t, "gateway-2", redis, "--config", config))
}

// Without --secret the one of the first start is used at every start.
func TestTheSecretIsKept(t *testing.T) {
	dir := t.TempDir()
	c := common{Archive: "file:" + filepath.Join(dir, "data", "archive")}
	log := slog.New(slog.DiscardHandler)
	first, err := c.secret(log)
	if err != nil || len(first) < 32 {
		t.Fatalf("%q, %v", first, err)
	}
	again, err := c.secret(log)
	if err != nil || string(again) != string(first) {
		t.Errorf("%q, then %q, %v", first, again, err)
	}
	path := filepath.Join(dir, "data", "secret")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := c.secret(log); err == nil {
		t.Errorf("an empty file gives %q", s)
	}
	c.Archive = "s3://bucket/prefix"
	if s, err := c.secret(log); err == nil {
		t.Errorf("a bucket without --secret gives %q", s)
	}
}
