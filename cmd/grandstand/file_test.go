package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
	"grandstand/redis/redistest"
)

func TestRulesOfTheFile(t *testing.T) {
	_, f, err := parse(t, `
log_level: warn
rules:
  limit: 1
  plans: {basic: 1, premium: 0x3, 2024: 4}
  on_conflict: evict_oldest
  household: 2
  enforce: false
  on_outage: deny
  events:
    final-2026: &one {limit: 1, on_conflict: reject_newest}
    semi: *one
    opening: {household: 0, enforce: true}
    quarter:
`, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	one := grandstand.EventRules{Limit: 1, OnConflict: grandstand.RejectNewest}
	want := grandstand.Rules{
		Limit: 1, Plans: map[string]int{"basic": 1, "premium": 3, "2024": 4}, OnConflict: grandstand.EvictOldest, Household: 2,
		Enforce: new(false), OnOutage: grandstand.OutageDeny,
		Events: map[string]grandstand.EventRules{"final-2026": one, "semi": one, "opening": {Household: new(0), Enforce: new(true)}, "quarter": {}},
	}
	if diff := cmp.Diff(want, f.rules); diff != "" {
		t.Error(diff)
	}
	for _, empty := range []string{"rules:\n", "# nothing\n", "rules: {}\n", "rules:\n  plans:\n  #  premium: 2\n"} {
		_, f, err := parse(t, empty, "gateway")
		if err != nil {
			t.Errorf("%q: %v", empty, err)
		} else if want := (grandstand.Rules{OnConflict: grandstand.RejectNewest, OnOutage: grandstand.OutageAllow}); !cmp.Equal(want, f.rules) {
			t.Errorf("%q gives %+v", empty, f.rules)
		}
	}
}

// Files that are wrong on one line each, which the error names, with what it
// says besides.
var badFiles = map[string]struct {
	text string
	line int
	want string
}{
	"limit too high":             {"rules:\n  limit: 65\n", 2, "rules.limit: a limit is a whole number from 0 to 64"},
	"limit below zero":           {"listen: 127.0.0.1:1\n\nrules:\n\n  limit: -1\n", 5, "rules.limit: a limit is"},
	"limit as text":              {"rules:\n  limit: \"2\"\n", 2, "rules.limit: a whole number is needed"},
	"limit with a half":          {"rules:\n  limit: 2.5\n", 2, "rules.limit: a whole number is needed"},
	"limit without a value":      {"rules:\n  limit:\n  household: 1\n", 2, "rules.limit: a whole number is needed"},
	"limit beyond numbers":       {"rules:\n  limit: 18446744073709551615\n", 2, "rules.limit: a whole number is needed"},
	"limit beyond all numbers":   {"rules:\n  limit: 99999999999999999999999\n", 2, "rules.limit: "},
	"limit as a list":            {"rules:\n  limit: [1]\n", 2, "rules.limit: a whole number is needed"},
	"unknown rule":               {"rules:\n  limit: 1\n  limits: 2\n", 3, "rules.limits: there is no such setting"},
	"rule in another case":       {"rules:\n  Limit: 1\n", 2, "rules.Limit: there is no such setting"},
	"rule of an event, not here": {"rules:\n  events:\n    final:\n      limit: 1\n      plans: {a: 1}\n", 5, "rules.events.final.plans: there is no such setting"},
	"plan of zero":               {"rules:\n  plans:\n    basic: 1\n    premium: 0\n", 4, "rules.plans.premium: a limit is a whole number from 1 to 64"},
	"plan too high, in one line": {"rules: {limit: 1, plans: {basic: 1,\n  premium: 100}}\n", 2, "rules.plans.premium: a limit is"},
	"plan that is longer":        {"rules:\n  plans:\n    a: 1\n    a.b: 0\n", 4, "rules.plans.a.b: a limit is"},
	"plan's name":                {"rules:\n  plans:\n    basic: 1\n    no plan: 2\n", 4, "plans.no plan: a plan's name"},
	"plan's endless name":        {"rules:\n  plans:\n    " + strings.Repeat("x", 70) + ": 2\n", 2, "a plan's name"},
	"plan as text":               {"rules:\n  plans:\n    basic: one\n", 3, "rules.plans.basic: a whole number is needed"},
	"plan with a percent sign":   {"rules:\n  plans:\n    100%s: one\n", 3, "rules.plans.100%s: a whole number is needed"},
	"plans as a list":            {"rules:\n  plans:\n  - basic\n", 3, "rules.plans: names with values are needed"},
	"rules as text":              {"admin: ''\nrules: none\n", 2, "rules: names with values are needed"},
	"rules as a list":            {"rules:\n- limit: 1\n", 2, "rules: names with values are needed"},
	"on_conflict":                {"rules:\n  on_conflict: evict\n", 2, "rules.on_conflict: say reject_newest or evict_oldest"},
	"on_conflict as a number":    {"rules:\n  on_conflict: 1\n", 2, "rules.on_conflict: text is needed: write 1 in quotes"},
	"on_outage":                  {"rules:\n  limit: 1\n  on_outage: refuse\n", 3, "rules.on_outage: say allow or deny"},
	"enforce":                    {"rules:\n  enforce: yes\n", 2, "rules.enforce: say true or false"},
	"enforce as a number":        {"rules:\n  enforce: 1\n", 2, "rules.enforce: say true or false"},
	"household":                  {"rules:\n  household: 65\n", 2, "rules.household: a whole number from 0 to 64"},
	"event's limit":              {"rules:\n  events:\n    semi: {limit: 2}\n    final:\n      limit: 65\n", 5, "rules.events.final.limit: a limit is"},
	"event's household":          {"rules:\n  events:\n    final:\n      household: -1\n", 4, "rules.events.final.household: "},
	"event's on_conflict":        {"rules:\n  events:\n    final:\n      on_conflict: evict\n", 4, "rules.events.final.on_conflict: "},
	"event's enforce":            {"rules:\n  events:\n    final:\n      enforce: \"false\"\n", 4, "rules.events.final.enforce: say true or false"},
	"event's name":               {"rules:\n  events:\n    the final: {limit: 1}\n", 3, "events.the final: an event's name"},
	"event as a number":          {"rules:\n  events:\n    final: 1\n", 3, "rules.events.final: names with values are needed"},
	"twice":                      {"rules:\n  limit: 1\n  household: 1\n  limit: 2\n", 4, "limit"},
	"rules twice":                {"rules: {limit: 1}\nrules: {limit: 2}\n", 2, "rules"},
	"indented wrongly":           {"rules:\n  limit: 1\n household: 1\n", 3, ""},
	"not closed":                 {"listen: 127.0.0.1:1\nrules: {limit: 1\n", 2, ""},
	"unknown alias":              {"rules:\n  events:\n    final: *one\n", 3, "one"},
	"alias of itself":            {"rules:\n  events: &e\n    final: *e\n", 3, ""},
	"alias of the wrong kind":    {"listen: &l 127.0.0.1:1\nrules:\n  limit: *l\n", 3, "rules.limit: a whole number is needed"},
	"merge":                      {"rules:\n  events:\n    final: &f {limit: 1}\n    semi:\n      <<: *f\n", 5, "merge"},
	"tag":                        {"rules:\n  limit: !!int 1\n", 2, "rules.limit: tags"},
	"second document":            {"rules:\n  limit: 1\n---\nrules:\n  limit: 2\n", 3, "second document"},
	"a list":                     {"# settings\n- rules\n", 2, "names with values"},
	"unknown setting":            {"listen: 127.0.0.1:1\nlisen: 127.0.0.1:1\n", 2, `there is no setting "lisen"`},
	"two unknown settings":       {"a: 1\nb: 2\n", 1, `there is no setting "a"`},
	"unknown key of an event":    {"events:\n- event: semi\n- event: final\n  min_cohrt: 3\n", 4, "events[1].min_cohrt: there is no such setting"},
	"tick of an event":           {"events:\n- event: semi\n- event: final\n  public: true\n  tick_ms: 3\n", 5, "events[1]: tick_ms is 1000 to 10000"},
	"dimension of an event":      {"events:\n- event: final\n  dims:\n  - team\n  - name: team\n    values: [KC]\n", 3, "events[0].dims: "},
	"key of a dimension":         {"events:\n- event: final\n  dims:\n  - team\n  - name: mood\n    vals: [good]\n", 6, "events[0].dims[1].vals: there is no such setting"},
	"value of a dimension":       {"events:\n- event: final\n  dims:\n  - name: mood\n    values:\n    - good\n    - 7\n", 7, "events[0].dims[0].values[1]: text is needed: write 7 in quotes"},
	"rules of an event":          {"events:\n- event: final\n  rules:\n    limit: 65\n", 4, "events[0].rules.limit: a limit is"},
	"name of an event":           {"events:\n- event: 2026\n", 2, "events[0].event: text is needed: write 2026 in quotes"},
	"no name":                    {"events:\n- event: final\n- tick_ms: 2000\n", 3, "events[1]: an event's name is"},
	"no event":                   {"events:\n- event: final\n-\n- event: semi\n", 3, "events[1]: the entry is empty"},
	"events as text":             {"events: final\n", 1, "events: a list is needed"},
	"the same event twice":       {"events:\n- event: final\n- event: semi\n- event: final\n", 4, "events[2]: the event final stands twice"},
}

func TestBadFilesAreBlamedByLine(t *testing.T) {
	_, good, err := parse(t, "listen: 127.0.0.1:1\n", "all")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range badFiles {
		path := configFile(t, c.text)
		_, err := readFile(path, good.known)
		if err == nil {
			t.Errorf("%s: nothing is said of\n%s", name, c.text)
			continue
		}
		if want := fmt.Sprintf("%s:%d: ", path, c.line); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want line %d and %q", name, err, c.line, c.want)
		}
	}
}

// The program says so, too, and does not start.
func TestABadFileIsNoStart(t *testing.T) {
	path := configFile(t, "rules:\n  limit: 65\n")
	p := start(t, "all", "all", "--config", path)
	if code := p.wait(10 * time.Second); code != 2 || !strings.Contains(p.log.String(), path+":2: rules.limit: a limit is") {
		t.Errorf("exit code %d:\n%s", code, p.log)
	}
}

func TestChangesOfRules(t *testing.T) {
	a := grandstand.Rules{Limit: 1, Plans: map[string]int{"basic": 1, "premium": 2}, OnConflict: grandstand.RejectNewest,
		Events: map[string]grandstand.EventRules{"final": {Limit: 1, Household: new(0)}}}
	b := grandstand.Rules{Limit: 2, Plans: map[string]int{"premium": 3, "gold": 4}, OnConflict: grandstand.EvictOldest, Enforce: new(false),
		Events: map[string]grandstand.EventRules{"final": {Limit: 1, Household: new(1)}}}
	want := []string{"enforce: none → false", "events.final.household: 0 → 1", "limit: 1 → 2", "on_conflict: reject_newest → evict_oldest",
		"plans.basic: 1 → none", "plans.gold: none → 4", "plans.premium: 2 → 3"}
	if diff := cmp.Diff(want, changes(&a, &b)); diff != "" {
		t.Error(diff)
	}
	if c := changes(&a, &a); len(c) != 0 {
		t.Errorf("nothing changed: %v", c)
	}
	if l := listed(make([]string, 30)); !strings.HasSuffix(l, " and 10 more") {
		t.Errorf("30 changes are listed as %q", l)
	}
}

// hangup sends SIGHUP and waits until the log has the line.
func (p *process) hangup(want string) {
	p.t.Helper()
	before := strings.Count(p.log.String(), want)
	p.signal(syscall.SIGHUP)
	eventually(p.t, 10*time.Second, "the log says "+want, func() error {
		if strings.Count(p.log.String(), want) == before {
			return fmt.Errorf("the log is\n%s", tail(p.log.String(), 2000))
		}
		return nil
	})
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// SIGHUP applies good rules, refuses bad ones with the line, and drops nobody.
func TestRulesAreReadAgainAtSIGHUP(t *testing.T) {
	beside(t)
	redis := redistest.StartServer(t).URL()
	admin := freeAddr(t)
	config := configFile(t, "rules:\n  limit: 1\n")
	g := startGateway(t, "gateway", redis, "--admin", admin, "--config", config)
	_, messages := watch(t, g.url, "final", "viewer=v1&device=d1")

	rewrite(t, config, "max_conns: 5\nrules:\n  limit: 2\n  plans: {premium: 4}\n")
	g.hangup("new rules hold")
	for _, want := range []string{"limit: 1 → 2, plans.premium: none → 4", "settings=max_conns"} {
		if !strings.Contains(g.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, g.log)
		}
	}
	g.hangup("the rules are as they were")
	rewrite(t, config, "rules:\n  plans:\n    premium: 400\n")
	g.hangup(config + ":3: rules.plans.premium: a limit is")
	rewrite(t, config, "rules: {\n")
	g.hangup(config + ":1: ")
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	g.hangup("no such file")
	rewrite(t, config, "rules:\n  limit: 3\n")
	g.hangup("limit: 2 → 3, plans.premium: 4 → none") // what was refused never held

	count := scrape(t, admin)
	for result, want := range map[string]float64{"changed": 2, "unchanged": 1, "refused": 3} {
		if n := count("grandstand_rules_reloads_total", `result="`+result+`"`); n != want {
			t.Errorf("%v reloads are counted as %s, want %v", n, result, want)
		}
	}
	drained := false
	for !drained {
		select {
		case _, open := <-messages:
			if !open {
				t.Fatal("the viewer was dropped")
			}
		default:
			drained = true
		}
	}
}

// Without a file there is nothing to read again: the signal ends the process,
// as a closed terminal must.
func TestSIGHUPWithoutAFileEndsTheProcess(t *testing.T) {
	beside(t)
	g := startGateway(t, "gateway", redistest.StartServer(t).URL())
	g.signal(syscall.SIGHUP)
	g.wait(5 * time.Second)
	if _, err := http.Get(g.url + "/readyz"); err == nil {
		t.Error("it still answers")
	}
}
