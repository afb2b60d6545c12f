package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be the processes that a benchmark starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "bench-floor":
			exitWith(Floor(FloorConfig{Addr: os.Args[3], TickMS: 1000, Payload: 104}))
		case "bench-load":
			exitWith(Load(os.Stdin, os.Stdout))
		}
	}
	goleak.VerifyTestMain(m)
}

func exitWith(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func TestHist(t *testing.T) {
	var a, b Hist
	for ms := range int64(100) {
		a.Add(ms + 1)
	}
	b.Add(-5)
	b.Add(1 << 40)
	if a.Quantile(0.5) != 50 || a.Quantile(0.99) != 99 || a.Quantile(1) != 100 || a.Quantile(0) != 1 {
		t.Errorf("quantiles of 1 to 100 are %d %d %d %d", a.Quantile(0.5), a.Quantile(0.99), a.Quantile(1), a.Quantile(0))
	}
	if b.Quantile(0) != 0 || b.Quantile(1) != histMax {
		t.Errorf("times out of bounds are %d and %d", b.Quantile(0), b.Quantile(1))
	}
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var c Hist
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	a.Merge(&c)
	if a.N() != 102 || a.Quantile(1) != histMax {
		t.Errorf("merged there are %d, the longest is %d", a.N(), a.Quantile(1))
	}
	if new(Hist).Quantile(0.99) != 0 {
		t.Error("no times have a quantile")
	}
}

func TestFramesAreSplit(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 4096} {
		payload := bytes.Repeat([]byte{'x'}, n)
		frame := append(appendServerFrame(nil, payload), 0x89, 0)
		op, got, rest, ok := nextFrame(frame)
		if !ok || op != opText || !bytes.Equal(got, payload) || len(rest) != 2 {
			t.Errorf("%d bytes: op %d, %d bytes, %d left, %v", n, op, len(got), len(rest), ok)
		}
		for cut := range len(frame) - 2 {
			if _, _, _, ok := nextFrame(frame[:cut]); ok {
				t.Fatalf("%d of %d bytes are taken for a frame", cut, n)
			}
		}
	}
	huge := []byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x'}
	if _, _, _, ok := nextFrame(huge); ok {
		t.Error("a frame of 2^64 bytes is complete")
	}
}

func TestCountsAreRead(t *testing.T) {
	c, ok := readCounts([]byte(`{"t":"counts","at":1795299042179,"age":230,"epoch":3,"n":{"world":[3300000,3190211],"team":null}}`))
	if want := (counts{at: 1795299042179, live: true, sessions: 3300000}); !ok || c != want {
		t.Errorf("%+v %v, want %+v", c, ok, want)
	}
	if c, ok = readCounts([]byte(`{"t":"counts","at":17,"q":"partial","n":{}}`)); !ok || c.live || c.at != 17 || c.sessions != 0 {
		t.Errorf("%+v %v", c, ok)
	}
	if _, ok = readCounts([]byte(`{"t":"hello"}`)); ok {
		t.Error("hello is taken for counts")
	}
}

func TestPathsAreExpanded(t *testing.T) {
	c := LoadConfig{Path: "/{e}/v{i}?team=T{a}", Audiences: 4, PerEvent: 2}
	if got := c.expand(7); got != "/3/v7?team=T3" {
		t.Error(got)
	}
}

func TestProcIsRead(t *testing.T) {
	cpu, err := parseStat([]byte("12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100"))
	if err != nil || cpu != 3 {
		t.Errorf("%v s, %v, want 3", cpu, err)
	}
	for _, bad := range []string{"", "12 (a) S 1", "12 (a) S 1 2 3 4 5 6 7 8 9 10 x 50"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	rss, err := parseKB([]byte("00400000-7ffc [rollup]\nRss:                2048 kB\nPss: 1 kB\n"), "Rss")
	if err != nil || rss != 2<<20 {
		t.Errorf("%v bytes, %v", rss, err)
	}
	if _, err := parseKB([]byte("Pss: 1 kB\n"), "Rss"); err == nil {
		t.Error("memory is read from nowhere")
	}
	pages, err := parseSockstat([]byte("sockets: used 7\nTCP: inuse 5 orphan 0 tw 0 alloc 9 mem 33\nUDP: inuse 1 mem 8\n"))
	if err != nil || pages != 33 {
		t.Errorf("%v pages, %v", pages, err)
	}
	// What this very process says. The two ways to read its time agree.
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	rough, err1 := parseStat(b)
	fine, err2 := cpuOf(os.Getpid())
	if err1 != nil || err2 != nil || fine <= 0 || math.Abs(fine-rough) > 0.1 {
		t.Errorf("%v s (%v), %v s (%v)", fine, err2, rough, err1)
	}
	if rss, err := rssOf(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("%v bytes, %v", rss, err)
	}
}

func TestMetricsAreSummed(t *testing.T) {
	m := parseMetrics([]byte("# HELP x y\nx_total{reason=\"slow_reader\"} 3\nx_total{reason=\"reset\"} 4\nx_total_more 9\nup 1\n"))
	if m.sum("x_total", "") != 7 || m.sum("x_total", `"slow_reader"`) != 3 || m.sum("up", "") != 1 || m.sum("down", "") != 0 {
		t.Errorf("%v", m)
	}
}

func TestRedisIsUnderstood(t *testing.T) {
	text := "# Stats\r\ntotal_net_input_bytes:1000\r\nused_cpu_sys:1.5\r\ncmdstat_get:calls=7,usec=9,usec_per_call=1.3\r\ncmdstat_config|get:calls=2,usec=1\r\ncmdstat_info:calls=50,usec=1\r\n"
	answer, err := readBulk(bufio.NewReader(strings.NewReader("$" + "177\r\n" + text)))
	if err == nil {
		t.Fatalf("an answer that is cut short is read: %q", answer)
	}
	i := parseInfo(text)
	if i.commands() != 9 || i.number("total_net_input_bytes") != 1000 || i.number("used_cpu_sys") != 1.5 {
		t.Errorf("%v commands, %v bytes", i.commands(), i.number("total_net_input_bytes"))
	}
	for _, bad := range []string{"", "-ERR no\r\n", "$-1\r\n", "$99999999\r\n", "$x\r\n"} {
		if got, err := readBulk(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q is read as %q", bad, got)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want string
	}{
		{Row{Value: 7, Target: 8}, Pass},
		{Row{Value: 8, Target: 8}, Pass},
		{Row{Value: 9, Target: 8}, Miss},
		{Row{Value: 12, Target: 1.25}.over(10), Pass},
		{Row{Value: 13, Target: 1.25}.over(10), Miss},
		{Row{Value: 4999, Target: 5000, AtLeast: true}, Miss},
		{Row{Value: 5000, Target: 5000, AtLeast: true}, Pass},
		{Row{Value: 5000}, Open},
		{Row{Target: 5000, Missing: "no machine"}, Open},
	} {
		if got := c.row.Verdict(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
}

func TestTableHasEveryRow(t *testing.T) {
	r := Report{Size: Small, Machine: "a machine", Rows: []Row{
		Row{Key: "frame", What: "a frame", Value: 12.34, Unit: "µs", Target: 1.25, Note: "how."}.over(10),
		{Key: "tree", What: "a tree", Missing: "no relays"},
	}}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12.3 µs", "10.0 µs", "1.23 ×", "≤ 1.25 × floor", Pass, "frame: how.", "not measured", "tree: no relays", "a machine"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}

func TestCompare(t *testing.T) {
	row := func(key string, value float64) Row { return Row{Key: key, Value: value, Guarded: true} }
	was := Report{Size: Small, Rows: []Row{row("a", 100), row("b", 100), row("c", 100), {Key: "seconds", Value: 1}}}
	base := was.Baseline()
	if diff := cmp.Diff(map[string]float64{"a": 100, "b": 100, "c": 100}, base.Figures); diff != "" {
		t.Error(diff)
	}
	surge := row("c", 84)
	surge.AtLeast = true
	is := Report{Size: Small, Rows: []Row{row("a", 114), row("b", 116), surge, {Key: "seconds", Value: 9}, row("new", 5)}}
	worse, err := is.Compare(base)
	if want := []Regression{{"b", "116, the baseline is 100"}, {"c", "84.0, the baseline is 100"}}; err != nil || !cmp.Equal(worse, want) {
		t.Errorf("%v %v, want %v", worse, err, want)
	}
	is.Rows = []Row{{Key: "a", Missing: "it fell over"}}
	if worse, err := is.Compare(base); err != nil || len(worse) != 1 {
		t.Errorf("a row that fell over: %v %v", worse, err)
	}
	is.Size = Full
	if _, err := is.Compare(base); err == nil {
		t.Error("sizes that differ are compared")
	}
}

func TestModelIsLinear(t *testing.T) {
	line := through(1000, 3000, 12, 16)
	if line != (Line{Base: 10, PerViewer: 0.002}) || line.At(1, 2000) != 14 {
		t.Errorf("%+v", line)
	}
	u := Units{Cores: Line{Base: 0.1, PerViewer: 1e-5}, Memory: Line{Base: 1 << 20, PerViewer: 8192}, Kernel: 4096, Egress: Line{PerViewer: 50}, Messages: Line{PerViewer: 0.5},
		Commands: Line{Base: 10, PerViewer: 0.01}, RedisCores: Line{PerViewer: 1e-7}, MergeCPU: 0.001, TallyBytes: 100_000}
	a := Assumptions{Viewers: 1e6, ViewersPerGateway: 20_000, Busy: 0.5, Fanout: 16, Overhead: 64, CoreHour: 0.04, GiBHour: 0.005, EgressGB: 0.05}
	p := u.Plan(a)
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"gateways", p.Gateways, 50},
		{"relays", p.Relays, 4},
		{"gateway cores", p.GatewayCores, (50*0.1 + 10) / 0.5},
		{"memory", p.GatewayMemory, 50*(1<<20) + 1e6*(8192+4096)},
		{"aggregator cores", p.AggregatorCores, 0.05},
		{"commands", p.Commands, 10_500},
		{"Redis traffic", p.RedisTraffic, 5e6},
		{"egress", p.Egress, 82e6},
		{"traffic, dollars", p.Network, 82e6 * 3600 / 1e9 * 0.05},
	} {
		if math.Abs(c.got-c.want) > 1e-6*c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	var b bytes.Buffer
	if err := u.WriteModel(&b, Audiences); err != nil || !strings.Contains(b.String(), "| viewers | 3.30 million | 99.0 million |") {
		t.Errorf("%v\n%s", err, b.String())
	}
	r := Report{Checks: []Prediction{{Viewers: 2000, What: "gateway", Unit: "cores", Predicted: 0.11, Measured: 0.1}}}
	b.Reset()
	if err := r.WriteChecks(&b); err != nil || !strings.Contains(b.String(), "| 2000 | gateway | 0.11 cores | 0.1 | +10 % |") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// A tally of n viewers grows with them, and stops to when its sketches are dense.
func TestTallyTraffic(t *testing.T) {
	small, large, huge := tallyTraffic(1_000), tallyTraffic(10_000), tallyTraffic(100_000)
	if small < 4_000 || small > 40_000 || large < 2*small || huge > 8*large {
		t.Errorf("%.0f, %.0f and %.0f bytes a second", small, large, huge)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, bad := range []Config{{}, {Self: "x", Size: "huge"}, {Self: "x", Only: []string{"nothing"}}} {
		if err := bad.validate(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	c := Config{Self: "x", Only: []string{"frame"}}
	if err := c.validate(); err != nil || c.Size != Small || c.Logger == nil {
		t.Errorf("%+v %v", c, err)
	}
	wanted := 0
	for _, m := range measurements {
		if m.wanted(&c) {
			wanted++
		}
	}
	if wanted != 1 {
		t.Errorf("%d measurements have the row frame", wanted)
	}
}
