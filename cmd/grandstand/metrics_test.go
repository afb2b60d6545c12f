package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/metrics.md anew")

const metricsDoc = "../../docs/metrics.md"

// described is a metric as its collector describes it.
type described struct {
	name, typ, labels, help string
}

func (d described) row() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s |", d.name, d.typ, d.labels, strings.ReplaceAll(d.help, "|", `\|`))
}

// descForm is how prometheus.Desc prints itself.
var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*)", unit: "[^"]*", constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}\}$`)

// describe returns the metrics of ours that a registry has, by name, and those of
// which nothing is served yet, so that their type is not known.
func describe(t *testing.T, reg *prometheus.Registry) (all map[string]described, unserved []string) {
	t.Helper()
	types := map[string]string{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	all = map[string]described{}
	for d := range descs {
		m := descForm.FindStringSubmatch(d.String())
		if m == nil {
			t.Errorf("%s is not understood", d)
			continue
		}
		name := m[1]
		if !strings.HasPrefix(name, "grandstand_") {
			continue // Go's and the process's
		}
		typ := types[name]
		switch {
		case typ != "":
		case strings.HasSuffix(name, "_total"):
			typ = "counter" // without a series yet
		case strings.HasSuffix(name, "_days_left"):
			typ = "gauge" // without a certificate here
		default:
			unserved = append(unserved, name)
		}
		all[name] = described{name, typ, strings.ReplaceAll(m[3], ",", ", "), m[2]}
	}
	return all, unserved
}

// metricsTables returns the tables of docs/metrics.md: one for each part, which is
// the second word of a name.
func metricsTables(all map[string]described) string {
	var b strings.Builder
	part := ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if p := strings.SplitN(name, "_", 3)[1]; p != part {
			part = p
			fmt.Fprintf(&b, "\n## %s\n\n| name | type | labels | meaning |\n|---|---|---|---|\n", part)
		}
		fmt.Fprintln(&b, all[name].row())
	}
	return b.String()
}

const metricsIntro = `# Metrics

What ` + "`GET /metrics`" + ` on ` + "`--admin`" + ` serves, in the form of Prometheus. Each role has the parts of what it does; ` + "`all`" + ` has everything. Besides these there are
Go's own (` + "`go_`" + `) and the process's (` + "`process_`" + `). No label holds the name of an event, an id or an address of a viewer: the number of series does not
grow with the audience. Series whose labels are known beforehand are there from the start, at 0.

The tables are written by ` + "`go test ./cmd/grandstand -run TestMetricsAreDocumented -update-docs`" + `, and the test fails if they are not what the program serves.
Rules, alerts and boards on top of them are in [deploy/prometheus](../deploy/prometheus) and [deploy/grafana](../deploy/grafana), what to do about an alert in
[runbooks](runbooks).
`

// Every metric is in docs/metrics.md as it is served, and nothing else is; names,
// units and help are as Prometheus wants them.
func TestMetricsAreDocumented(t *testing.T) {
	admin := freeAddr(t)
	var c cli
	f := &file{}
	parser, err := newParser(&c, f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := parser.Parse([]string{"all", "--listen", "127.0.0.1:0", "--admin", admin, "--peer", "127.0.0.1:0", "--archive", "file:" + dir + "/archive",
		"--drain-over", "10ms", "--seal-over", "10ms", "--log-level", "error"}); err != nil {
		t.Fatal(err)
	}
	n, _, err := c.All.start(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	}()
	// What is not there within some ticks wants its labels to have their values
	// from the start: nobody can look at what may be there one day.
	eventually(t, 20*time.Second, "everything is served", func() error {
		if _, unserved := describe(t, n.registry); len(unserved) > 0 {
			return fmt.Errorf("not yet: %v", unserved)
		}
		return nil
	})
	all, _ := describe(t, n.registry)
	want := metricsIntro + metricsTables(all)
	if *updateDocs {
		if err := os.WriteFile(metricsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(text string) map[string]bool {
		set := map[string]bool{}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "| `") {
				set[strings.TrimSpace(line)] = true
			}
		}
		return set
	}
	documented, there := rows(string(got)), rows(want)
	for row := range there {
		if !documented[row] {
			t.Errorf("not in docs/metrics.md: %s", row)
		}
	}
	for row := range documented {
		if !there[row] {
			t.Errorf("in docs/metrics.md, but not served: %s", row)
		}
	}
	if !t.Failed() && string(got) != want {
		t.Error("docs/metrics.md is not as -update-docs would write it")
	}

	served := map[string]string{}
	for line := range strings.Lines(metricsText(t, admin)) {
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" && strings.HasPrefix(words[2], "grandstand_") {
			served[words[2]] = words[3]
		}
	}
	for name, typ := range served {
		if all[name].typ != typ {
			t.Errorf("%s is served as a %s, and described as %q", name, typ, all[name].typ)
		}
	}
	for name, d := range all {
		if served[name] == "" && (d.labels == "" || d.typ != "counter" && !strings.HasSuffix(name, "_days_left")) {
			t.Errorf("%s is described, and not served", name)
		}
	}
	problems, err := testutil.GatherAndLint(n.registry)
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		if p.Metric == "grandstand_compactor_hours_total" {
			continue // it counts hours of events as they are archived, and is no time
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	requireNoViolations(t, admin)
}
