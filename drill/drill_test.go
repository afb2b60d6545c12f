package drill

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"grandstand"
	"grandstand/simulator"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
	}))
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Targets: []string{"http://127.0.0.1:8080"}, Event: "drill", Base: 100}
	for name, c := range map[string]struct {
		change func(*Config)
		want   grandstand.Code
	}{
		"good":                      {func(*Config) {}, ""},
		"no target":                 {func(c *Config) { c.Targets = nil }, grandstand.CodeInvalid},
		"no peak at all":            {func(c *Config) { c.Peak = 1 }, grandstand.CodeInvalid},
		"not a number":              {func(c *Config) { c.Peak = math.NaN() }, grandstand.CodeInvalid},
		"a peak beyond reason":      {func(c *Config) { c.Peak = 21 }, grandstand.CodeInvalid},
		"a wall":                    {func(c *Config) { c.Ramp = time.Second }, grandstand.CodeInvalid},
		"a blink":                   {func(c *Config) { c.Hold = time.Second }, grandstand.CodeInvalid},
		"a negative base":           {func(c *Config) { c.Base = -1 }, grandstand.CodeInvalid},
		"a private target":          {func(c *Config) { c.Targets = []string{"10.1.2.3:80", "[fd00::1]:80", "192.168.1.1:80"} }, ""},
		"a public target":           {func(c *Config) { c.Targets = []string{"http://192.0.2.1:80"} }, grandstand.CodeForbidden},
		"a public one among others": {func(c *Config) { c.Targets = []string{"127.0.0.1:80", "[2001:db8::1]:80"} }, grandstand.CodeForbidden},
		"a public target, allowed":  {func(c *Config) { c.Targets, c.AllowPublic = []string{"192.0.2.1:80"}, true }, ""},
		"every address":             {func(c *Config) { c.Targets = []string{"0.0.0.0:80"} }, grandstand.CodeForbidden},
		"TLS":                       {func(c *Config) { c.Targets = []string{"https://127.0.0.1"} }, grandstand.CodeInvalid},
		"a path":                    {func(c *Config) { c.Targets = []string{"http://127.0.0.1:80/v1"} }, grandstand.CodeInvalid},
		"no port":                   {func(c *Config) { c.Targets = []string{"127.0.0.1"} }, grandstand.CodeInvalid},
	} {
		cfg := good
		c.change(&cfg)
		err := cfg.validate()
		if err == nil {
			_, err = cfg.resolve(cfg.Targets)
		}
		if got := grandstand.CodeOf(err); (err != nil || c.want != "") && got != c.want {
			t.Errorf("%s: %v (%q), want %q", name, err, got, c.want)
		}
	}
}

// The crowd is the base and what comes on top of it; where others are the base it
// is only the latter.
func TestTheCrowd(t *testing.T) {
	for name, c := range map[string]struct {
		base, others int
		peak         float64
		viewers      int
		low          float64
		shared       bool
	}{
		"the crowd alone":          {1000, 0, 5, 5000, 0.2, false},
		"on top of others":         {0, 400, 2.5, 600, 0, true},
		"a crowd beside others":    {1000, 10, 2, 2000, 0.5, true},
		"half as many once more":   {10, 0, 1.5, 15, 10.0 / 15, false},
		"a peak of a hundred more": {0, 50, 3, 100, 0, true},
	} {
		cfg := Config{Targets: []string{"127.0.0.1:1"}, Event: "drill", Base: c.base, Peak: c.peak}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		s, err := cfg.crowd(c.others)
		if err != nil {
			t.Fatal(err)
		}
		if s.Viewers != c.viewers || s.Curve[0].Share != c.low || s.Shared != c.shared || s.Curve[4].Share != c.low {
			t.Errorf("%s: %d viewers, shared: %v, curve %v", name, s.Viewers, s.Shared, s.Curve)
		}
		for i := 1; i < len(s.Curve); i++ {
			if s.Curve[i].At <= s.Curve[i-1].At {
				t.Errorf("%s: the curve is %v", name, s.Curve)
			}
		}
		if ramp := s.Curve[2].At - s.Curve[1].At; s.JoinRate*ramp.Seconds() < float64(s.Viewers)*(1-c.low) {
			t.Errorf("%s: %v joins a second do not make it in %v", name, s.JoinRate, ramp)
		}
		if last := s.Curve[4].At; s.Duration < last {
			t.Errorf("%s: it ends after %v, the curve after %v", name, s.Duration, last)
		}
	}
	cfg := Config{Targets: []string{"127.0.0.1:1"}, Event: "drill"}
	if _, err := cfg.crowd(0); grandstand.CodeOf(err) != grandstand.CodeInvalid {
		t.Errorf("a multiple of nobody: %v", err)
	}
}

func TestMetricsAreRead(t *testing.T) {
	r := parse(strings.Join([]string{
		"# HELP process_cpu_seconds_total Time.", "# TYPE process_cpu_seconds_total counter",
		"process_cpu_seconds_total 12.5", "", "go_gc_gomemlimit_bytes 9.223372036854775807e+18",
		`grandstand_gateway_refused_total{code="un } available",route="live"} 3`,
		`grandstand_gateway_refused_total{code="b",route="c d"} 4 1395066363000`,
		`grandstand_gateway_refused_totals 100`, "grandstand_gateway_connections 7",
		`grandstand_aggregator_violations_total{kind="move"} 2`, "odd NaN", "nothing", "{} 1",
	}, "\r\n"))
	for name, want := range map[string]float64{
		"process_cpu_seconds_total": 12.5, "grandstand_gateway_refused_total": 7, "go_gc_gomemlimit_bytes": math.MaxInt64, "missing": 0, "odd": 0,
	} {
		if got := r.sum(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if r.violations() != 2 || r.role() != "gateway" {
		t.Errorf("%v violations, role %s", r.violations(), r.role())
	}
	r["grandstand_aggregator_shards"] = 64
	if r.role() != "all" || (reading{"grandstand_aggregator_shards": 1}).role() != "aggregator" || (reading{}).role() != "process" {
		t.Error("roles are not told apart")
	}
	if grown(5, 7) != 2 || grown(5, 3) != 3 {
		t.Error("a counter that began anew")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a{b=\"c\"} 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for k, v := range parse(text) {
			if k == "" || math.IsNaN(v) {
				t.Fatalf("%q is %v", k, v)
			}
		}
	})
}

// A process is summed up as it is read, also over a restart.
func TestProcesses(t *testing.T) {
	began := time.Unix(1000, 0)
	o := &observed{}
	at := func(s float64, r reading) {
		r["go_sched_gomaxprocs_threads"] = 2
		r["go_gc_gomemlimit_bytes"] = 100e6
		o.take(r, began.Add(time.Duration(s*float64(time.Second))), began)
	}
	at(0, reading{"process_cpu_seconds_total": 100, "process_resident_memory_bytes": 30e6, "grandstand_gateway_sessions": 10, `x_violations_total{kind="a"}`: 5})
	at(2, reading{"process_cpu_seconds_total": 102, "process_resident_memory_bytes": 50e6, "grandstand_gateway_sessions": 90, "grandstand_gateway_overload_level": 2,
		`grandstand_gateway_overload_seconds_total{level="1"}`: 1, `grandstand_gateway_overload_seconds_total{level="2"}`: 1, "grandstand_gateway_shed_joins_total": 4, `x_violations_total{kind="a"}`: 6})
	at(4, reading{"process_cpu_seconds_total": 105.6, "process_resident_memory_bytes": 40e6, "grandstand_gateway_sessions": 20, `x_violations_total{kind="a"}`: 6,
		`grandstand_redis_call_seconds_sum{op="x"}`: 0.01, `grandstand_redis_call_seconds_count{op="x"}`: 10})
	at(6, reading{"process_cpu_seconds_total": 1, `x_violations_total{kind="a"}`: 1}) // it was started again
	p := o.Process
	if p.Read != 4 || p.ResidentMB != 50 || p.Sessions != 90 || p.Level != 2 || p.Overloaded != 2 || p.Shed != 4 || p.Violations != 2 {
		t.Errorf("%+v", p)
	}
	want := map[string]Resource{
		"processor":             {Most: 0.9, Limit: "2 cores", FullAt: 4},
		"memory":                {Most: 0.5, Limit: "100 MB (GOMEMLIMIT)"},
		"Redis, mean of a call": {Most: 0.02, Limit: "50ms"},
	}
	for _, r := range p.Resources {
		w := want[r.Name]
		if math.Abs(r.Most-w.Most) > 1e-9 || r.Limit != w.Limit || r.FullAt != w.FullAt {
			t.Errorf("%+v, want %+v", r, w)
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("%v were not metered", want)
	}
	p.Role, p.Address = "gateway", "g1"
	if s := saturation([]Process{p}); !strings.HasPrefix(s, "processor of gateway g1: above 80 % of 2 cores after 4 s") {
		t.Error(s)
	}
	p.Resources = p.Resources[1:]
	if s := saturation([]Process{{}, p}); !strings.HasPrefix(s, "nothing; nearest is the memory of gateway g1: 50 %") {
		t.Error(s)
	}
	if s := saturation(nil); s != "" {
		t.Error(s)
	}
}

// Metrics come over HTTP; who does not answer is told of.
func TestTheWatchReads(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write([]byte("grandstand_gateway_connections 3\n"))
	}))
	defer s.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	host := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	w := newWatch([]string{"one", "two"}, []string{host(s), host(gone)})
	w.read(context.Background())
	w.read(context.Background())
	list := w.processes()
	if list[0].Read != 2 || list[0].Role != "gateway" || list[0].Address != "one" || list[1].Read != 0 || list[1].Missed != 2 {
		t.Errorf("%+v", list)
	}
}

// good is what a deployment that holds everything looks like.
func good() *Verdict {
	fast := simulator.Quantiles{N: 100, P50: 1.2, P99: 2.2}
	return &Verdict{
		Event: "drill", Base: 1000, Peak: 2000, Times: 2,
		Processes: []Process{{Address: "g1", Role: "gateway", Read: 10}},
		Report: &simulator.Report{
			TickMS: 2000, Peak: 2000, Joins: 3000, Reconnects: 2, Beats: 10_000, Acked: 9990, FullBoards: 50, States: 50,
			JoinSeen: fast, Delivery: simulator.Quantiles{N: 1000, P50: 0.3, P99: 0.4}, FrameGap: simulator.Quantiles{N: 1000, P99: 2.1},
			Failures: map[string]int64{"message unavailable": 100, "status 503": 3}, Drops: map[string]int64{"1012": 1},
		},
	}
}

func TestVerdicts(t *testing.T) {
	outcomes := func(v *Verdict) string {
		var b strings.Builder
		for _, o := range judge(v) {
			b.WriteByte(o.Outcome[0])
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		change func(*Verdict)
		want   string // of joins, joins seen, states seen, gaps, sums, truth, drops, acks, blocks, invariants
	}{
		"all is well":                  {func(*Verdict) {}, "pppppppppp"},
		"newcomers are refused":        {func(v *Verdict) { v.Report.Failures["status 503"] = 30 }, "Fppppppppp"},
		"nobody can connect":           {func(v *Verdict) { v.Report.Failures["dial"] = 30 }, "Fppppppppp"},
		"a slow median":                {func(v *Verdict) { v.Report.JoinSeen.P50 = 1.6 }, "pFpppppppp"},
		"a slow tail":                  {func(v *Verdict) { v.Report.JoinSeen.P99 = 2.7 }, "pFpppppppp"},
		"the same with a longer tick":  {func(v *Verdict) { v.Report.JoinSeen.P99, v.Report.TickMS = 4.5, 4000 }, "pppppppppp"},
		"no probes":                    {func(v *Verdict) { v.Report.JoinSeen.N = 3 }, "pupppppppp"},
		"late frames":                  {func(v *Verdict) { v.Report.Delivery.P99 = 2.5 }, "ppFppppppp"},
		"frames left out":              {func(v *Verdict) { v.Report.FrameGap.P99 = 4.2 }, "pppFpppppp"},
		"no frames at all":             {func(v *Verdict) { v.Report.FrameGap = simulator.Quantiles{} }, "pppupppppp"},
		"too few for frames each tick": {func(v *Verdict) { v.Report.Peak, v.Report.FrameGap.P99, v.Report.Drops = 900, 9, nil }, "pppupppppp"},
		"a wrong sum":                  {func(v *Verdict) { v.Report.Violated = map[string]int{"sums": 1} }, "ppppFppppp"},
		"no board":                     {func(v *Verdict) { v.Report.FullBoards = 0 }, "ppppuppppp"},
		"a count above the truth":      {func(v *Verdict) { v.Report.Violated = map[string]int{"above": 2} }, "pppppFpppp"},
		"others watch":                 {func(v *Verdict) { v.Others = 5 }, "pppppupppp"},
		"others watch, time goes back": {func(v *Verdict) { v.Others, v.Report.Violated = 5, map[string]int{"order": 1} }, "pppppFpppp"},
		"viewers are dropped":          {func(v *Verdict) { v.Report.Drops["reset"] = 5 }, "ppppppFppp"},
		"no journal":                   {func(v *Verdict) { v.Report.Acked = 0 }, "pppppppupp"},
		"acks are missing":             {func(v *Verdict) { v.Report.Acked = 9000 }, "pppppppFpp"},
		"a device is blocked":          {func(v *Verdict) { v.Report.Blocked = 1 }, "ppppppppFp"},
		"an invariant is violated":     {func(v *Verdict) { v.Processes[0].Violations = 1 }, "pppppppppF"},
		"no admin address":             {func(v *Verdict) { v.Processes = nil }, "pppppppppu"},
	} {
		v := good()
		c.change(v)
		if got := outcomes(v); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		v.Objectives = judge(v)
		if v.Failed() != strings.Contains(c.want, "F") {
			t.Errorf("%s: failed is %v", name, v.Failed())
		}
	}
}

// The verdict fits on a page.
func TestTheVerdictIsAPage(t *testing.T) {
	v := good()
	v.Objectives, v.Saturation = judge(v), "nothing"
	var text, object bytes.Buffer
	if err := v.WriteTable(&text); err != nil {
		t.Fatal(err)
	}
	if err := v.WriteJSON(&object); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "\n"); n > 40 || !strings.HasSuffix(text.String(), "PASSED\n") {
		t.Errorf("%d lines:\n%s", n, &text)
	}
	if !strings.Contains(object.String(), `"outcome": "pass"`) {
		t.Error(object.String())
	}
}
