package simulator

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

func TestConfigIsChecked(t *testing.T) {
	good := Config{Addresses: []string{"127.0.0.1:8080", "http://localhost:8081", "ws://127.0.0.2:80/"}, Event: "final"}
	for name, c := range map[string]struct {
		change func(*Config)
		want   grandstand.Code
	}{
		"good":                  {func(*Config) {}, ""},
		"no address":            {func(c *Config) { c.Addresses = nil }, grandstand.CodeInvalid},
		"no event":              {func(c *Config) { c.Event = "" }, grandstand.CodeInvalid},
		"impossible event":      {func(c *Config) { c.Event = "a/b" }, grandstand.CodeInvalid},
		"another machine":       {func(c *Config) { c.Addresses = []string{"192.0.2.1:80"} }, grandstand.CodeForbidden},
		"all interfaces":        {func(c *Config) { c.Addresses = []string{"0.0.0.0:80"} }, grandstand.CodeForbidden},
		"one of three":          {func(c *Config) { c.Addresses[1] = "http://192.0.2.1:80" }, grandstand.CodeForbidden},
		"allowed":               {func(c *Config) { c.Addresses, c.AllowRemote = []string{"192.0.2.1:80"}, true }, ""},
		"https":                 {func(c *Config) { c.Addresses = []string{"https://127.0.0.1:80"} }, grandstand.CodeInvalid},
		"no port":               {func(c *Config) { c.Addresses = []string{"127.0.0.1"} }, grandstand.CodeInvalid},
		"a path":                {func(c *Config) { c.Addresses = []string{"http://127.0.0.1:80/x"} }, grandstand.CodeInvalid},
		"a profile of its own":  {func(c *Config) { c.Profile = "storm" }, grandstand.CodeInvalid},
		"too many":              {func(c *Config) { c.Viewers = maxViewers + 1 }, grandstand.CodeInvalid},
		"more than the sockets": {func(c *Config) { c.Viewers = maxViewers }, grandstand.CodeInvalid},
		"negative":              {func(c *Config) { c.Viewers = -1 }, grandstand.CodeInvalid},
		"too long":              {func(c *Config) { c.Duration = 25 * time.Hour }, grandstand.CodeInvalid},
		"too fast":              {func(c *Config) { c.JoinRate = maxJoinRate + 1 }, grandstand.CodeInvalid},
		"not a number":          {func(c *Config) { c.SilentLeaveShare = math.NaN() }, grandstand.CodeInvalid},
		"a share over one":      {func(c *Config) { c.TwoDeviceShare = 1.1 }, grandstand.CodeInvalid},
		"a beat too fast":       {func(c *Config) { c.Interval = time.Second }, grandstand.CodeInvalid},
		"an impossible team":    {func(c *Config) { c.TeamMix = []Share{{"K C", 1}} }, grandstand.CodeInvalid},
		"a mix of nobody":       {func(c *Config) { c.RegionMix = []Share{{"US-CA", 0}} }, grandstand.CodeInvalid},
		"a curve over one":      {func(c *Config) { c.Curve = []Level{{0, 0.5}, {time.Second, 1.1}} }, grandstand.CodeInvalid},
		"a curve back in time":  {func(c *Config) { c.Curve = []Level{{0, 0}, {2 * time.Second, 1}, {time.Second, 0}} }, grandstand.CodeInvalid},
		"a curve that is late":  {func(c *Config) { c.Curve = []Level{{time.Second, 0}} }, grandstand.CodeInvalid},
		"a short secret":        {func(c *Config) { c.Secret = []byte("secret") }, grandstand.CodeInvalid},
		"too many probes":       {func(c *Config) { c.Probes = 65 }, grandstand.CodeInvalid},
	} {
		cfg := good
		cfg.Addresses = append([]string(nil), good.Addresses...)
		c.change(&cfg)
		err := cfg.validate()
		if err == nil {
			_, err = cfg.targets()
		}
		if name == "more than the sockets" && err == nil {
			continue // a machine that lets one process have so many
		}
		if got := grandstand.CodeOf(err); got != c.want {
			t.Errorf("%s: %v (%q), want %q", name, err, got, c.want)
		}
	}
}

func TestCurve(t *testing.T) {
	curve := []Level{{0, 0.2}, {10 * time.Second, 0.2}, {20 * time.Second, 1}, {20 * time.Second, 0.5}, {30 * time.Second, 0}}
	for at, want := range map[time.Duration]float64{
		0: 0.2, 5 * time.Second: 0.2, 15 * time.Second: 0.6, 20 * time.Second: 0.5, 25 * time.Second: 0.25, time.Hour: 0,
	} {
		if got := levelAt(curve, at); math.Abs(got-want) > 1e-9 {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
}

func TestDefaultMixes(t *testing.T) {
	if len(regions) < 60 || validateMix("region", regions) != nil {
		t.Errorf("%d regions", len(regions))
	}
	cfg := Config{Addresses: []string{"127.0.0.1:1"}, Event: "final"}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	c := newCrowd(t.Context(), cfg, nil)
	count := map[string]int{}
	for range 20_000 {
		w := c.plan.people.make("")
		for _, s := range w.segments() {
			count[s.String()]++
		}
		if w.region != "" && !strings.HasPrefix(w.region, w.country) {
			t.Fatalf("%s is not in %s", w.region, w.country)
		}
	}
	if us := float64(count["country:US"]) / 20_000; math.Abs(us-.84) > .02 {
		t.Errorf("%.3f of the crowd is in the US", us)
	}
	if count["region:US-CA"] < 30*count["region:US-WY"] || count["region:US-WY"] == 0 {
		t.Errorf("%d are in California, %d in Wyoming", count["region:US-CA"], count["region:US-WY"])
	}
}

func TestMatchProfile(t *testing.T) {
	for _, c := range []struct {
		share  float64
		lo, hi float64
		goal   bool
	}{{0, .02, .05, false}, {.3, .85, .95, false}, {.5, .65, .75, false}, {.64, .9, 1, true}, {.7, .9, .96, false}, {.99, .1, .2, false}, {1.3, .85, .95, false}} {
		level, goal := Match.level(time.Duration(c.share*float64(10*time.Minute)), 10*time.Minute)
		if level < c.lo || level > c.hi || goal != c.goal {
			t.Errorf("at %v: %v, goal %v", c.share, level, goal)
		}
	}
	for f := 0.0; f < 1; f += .001 {
		if level, _ := Match.level(time.Duration(f*float64(time.Minute)), time.Minute); level < 0 || level > 1 {
			t.Errorf("at %v: %v", f, level)
		}
	}
}

// A gateway without the stream is asked for its counts each tick.
func TestOperatorPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 1)
		defer stop()
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /v1/events/final/live", func(w http.ResponseWriter, r *http.Request) { f.live(w, r, 0) })
		mux.HandleFunc("GET /v1/events/final/counts", func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			w.Write(f.newest.json())
		})
		s := &http.Server{Handler: mux}
		var wg sync.WaitGroup
		wg.Go(func() { s.Serve(l) })
		defer wg.Wait()
		defer s.Close()
		cfg.dial = pipeDial([]*pipeListener{l})
		cfg.Viewers, cfg.Duration, cfg.Profile = 20, 30*time.Second, Flat
		r := run(t, f, cfg)
		if r.Failed() || r.FullBoards < 10 {
			t.Errorf("%s", table(r))
		}
	})
}

func TestReportIsWritten(t *testing.T) {
	r := &Report{Event: "final", Violated: map[string]int{checkAbove: 3}, Violations: []Violation{{Check: checkAbove, Text: "world counts 5"}},
		Drops: map[string]int64{"1012": 7, "reset": 9}, JoinSeen: Quantiles{N: 1, P50: .9}}
	text := table(r)
	for _, want := range []string{"ABOVE", "world counts 5", "FAILED: 3 × above", "9 × reset, 7 × 1012", "0.900"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back["violated"].(map[string]any)["above"] != 3. {
		t.Errorf("%v: %s", err, b.Bytes())
	}
	if good := table(&Report{}); !strings.Contains(good, "verdict  good") {
		t.Errorf("a good report says\n%s", good)
	}
}

func TestSamples(t *testing.T) {
	var s samples
	if q := s.quantiles(); q != (Quantiles{}) {
		t.Errorf("of nothing: %+v", q)
	}
	for i := range 100 {
		s.add(float64(i + 1))
	}
	if q := s.quantiles(); q != (Quantiles{N: 100, P50: 50, P90: 90, P95: 95, P99: 99, Max: 100}) {
		t.Errorf("of 1 to 100: %+v", q)
	}
	for range 3 * maxSamples {
		s.add(1000)
	}
	if q := s.quantiles(); len(s.kept) != maxSamples || q.P50 != 1000 || q.N != 100+3*maxSamples {
		t.Errorf("%d kept, %+v", len(s.kept), q)
	}
}
