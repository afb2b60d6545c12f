// Package prometheus_test checks what operators watch Grandstand with: the rules,
// the alerts with their runbooks, and the boards.
package prometheus_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const root = "../../"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(root + pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(found), err)
	}
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], root)
	}
	return found
}

// rule is one of a rules file.
type rule struct {
	Record      string
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	for _, path := range glob(t, "deploy/prometheus/rules/*.yml") {
		var file struct{ Groups []struct{ Rules []rule } }
		if err := yaml.Unmarshal([]byte(read(t, path)), &file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

// series are the names that may stand in an expression: what is served, as
// docs/metrics.md says (which a test compares with the program), what is recorded,
// and what Prometheus and its client libraries add.
func series(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{"up": true, "process_cpu_seconds_total": true, "process_resident_memory_bytes": true}
	row := regexp.MustCompile("(?m)^\\| `(grandstand_[a-z_]+)` \\| (\\w+) ")
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			known[m[1]] = false // of itself it has no series
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m[1]+suffix] = true
			}
		}
	}
	for _, r := range rules(t) {
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	return known
}

var seriesName = regexp.MustCompile(`\b(?:grandstand[:_][a-z0-9_:]+|process_[a-z_]+|up\b)`)

func TestEveryMetricInARuleOrABoardIsServed(t *testing.T) {
	known := series(t)
	check := func(where, expr string) {
		for _, name := range seriesName.FindAllString(expr, -1) {
			if !known[name] {
				t.Errorf("%s uses %s, which nothing serves or records", where, name)
			}
		}
	}
	recorded := map[string]bool{}
	for _, r := range rules(t) {
		check(r.Record+r.Alert, r.Expr)
		if recorded[r.Record+r.Alert] {
			t.Errorf("%s is there twice", r.Record+r.Alert)
		}
		recorded[r.Record+r.Alert] = true
	}
	for _, path := range glob(t, "deploy/grafana/dashboards/*.json") {
		for _, p := range panels(t, path) {
			for _, target := range p.Targets {
				check(path+": "+p.Title, target.Expr)
			}
		}
	}
	for _, path := range glob(t, "docs/runbooks/*.md") {
		for _, m := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(read(t, path), -1) {
			for _, name := range seriesName.FindAllString(m[1], -1) {
				if h, there := known[name]; !there && !h {
					t.Errorf("%s names %s, which nothing serves or records", path, name)
				}
			}
		}
	}
}

func TestEveryAlertHasARunbook(t *testing.T) {
	index := read(t, "docs/runbooks/README.md")
	wanted := []string{"README"}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		wanted = append(wanted, r.Alert)
		page := "docs/runbooks/" + r.Alert + ".md"
		if r.Annotations["runbook"] != page || r.Annotations["summary"] == "" {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if !strings.Contains(index, "| ["+r.Alert+"]("+r.Alert+".md) | "+r.Labels["severity"]+" |") {
			t.Errorf("%s is not in docs/runbooks/README.md with its severity", r.Alert)
		}
		text := read(t, page)
		for _, part := range []string{"# " + r.Alert + "\n", "**It means** ", "**Viewers see** ", "**Look**\n", "**Do**\n", "**Stop** "} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q", page, part)
			}
		}
	}
	for _, path := range glob(t, "docs/runbooks/*.md") {
		if name := strings.TrimSuffix(filepath.Base(path), ".md"); !slices.Contains(wanted, name) {
			t.Errorf("%s is of no alert", path)
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ UID string }
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct{ Expr string }
}

// panels returns the panels of a board, without rows.
func panels(t *testing.T, path string) (list []panel) {
	t.Helper()
	var board struct {
		UID, Title string
		Panels     []panel
	}
	if err := json.Unmarshal([]byte(read(t, path)), &board); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if want := "grandstand-" + strings.TrimSuffix(filepath.Base(path), ".json"); board.UID != want || board.Title == "" {
		t.Errorf("%s has the uid %s, want %s", path, board.UID, want)
	}
	for _, p := range board.Panels {
		if p.Type != "row" {
			list = append(list, p)
		}
	}
	return list
}

func TestBoardsAreWhole(t *testing.T) {
	var source struct {
		Datasources []struct{ UID string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/grafana/provisioning/datasources/prometheus.yml")), &source); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"overview", "gateways", "archive", "leases"} {
		path := "deploy/grafana/dashboards/" + name + ".json"
		ids := map[int]bool{}
		list := panels(t, path)
		for i, p := range list {
			where := path + ": " + p.Title
			if ids[p.ID] {
				t.Errorf("%s: id %d is there twice", where, p.ID)
			}
			ids[p.ID] = true
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s lacks a title, a description, a unit or a query", where)
			}
			if p.Datasource.UID != source.Datasources[0].UID {
				t.Errorf("%s asks the data source %q", where, p.Datasource.UID)
			}
			for _, o := range list[:i] {
				a, b := p.GridPos, o.GridPos
				if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("%s lies over %s", where, o.Title)
				}
			}
		}
	}
}

// promtool is Prometheus's own judge; make tools installs it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheusTakesTheRules(t *testing.T) {
	promtool(t, "check", "config", "prometheus.yml")
	promtool(t, append([]string{"check", "rules"}, "rules/recording.yml", "rules/alerts.yml")...)
}

// Debian's promtool knows no kubernetes_sd_configs: it is shown the rest, and
// TestPrometheusFindsThePods (cmd/grandstand) looks at what is left out.
func TestPrometheusTakesTheExampleForKubernetes(t *testing.T) {
	text := read(t, "deploy/prometheus/kubernetes.yml")
	discovery := regexp.MustCompile(`(?m)^    kubernetes_sd_configs:\n(?:      .*\n)+`)
	if len(discovery.FindAllString(text, -1)) != 1 {
		t.Fatal("the example does not discover pods once")
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(discovery.ReplaceAllString(text, ""), "  - rules/", "  - "+here+"/rules/")
	rest := filepath.Join(t.TempDir(), "kubernetes.yml")
	if err := os.WriteFile(rest, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", rest)
}

// Each alert fires when it should, and is silent about what only looks alike.
func TestAlertsFire(t *testing.T) {
	tests := read(t, "deploy/prometheus/tests/alerts_test.yml")
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		for _, name := range []string{"  - name: " + r.Alert + " fires\n", "  - name: " + r.Alert + " is silent\n"} {
			if !strings.Contains(tests, name) {
				t.Errorf("there is no test %q", strings.TrimSpace(name))
			}
		}
	}
	promtool(t, "test", "rules", "tests/alerts_test.yml")
}
