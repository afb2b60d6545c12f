package grandstand

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func rulesOf(t *testing.T, text string) *Rules {
	t.Helper()
	r := new(Rules)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		t.Fatal(err)
	}
	if err := r.Normalize(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheZeroRulesLimitNobodyButByToken(t *testing.T) {
	r := rulesOf(t, `{}`)
	if diff := cmp.Diff(&Rules{OnConflict: RejectNewest, OnOutage: OutageAllow}, r); diff != "" {
		t.Error(diff)
	}
	if got := r.Terms(0, "", "final", nil); got.Limited() {
		t.Errorf("terms without a limit are %+v", got)
	}
	if got := r.Terms(3, "", "final", nil); !got.Limited() || got.Limit != 3 {
		t.Errorf("terms of a token with 3 streams are %+v", got)
	}
}

// Each of these is refused, with the path of what is wrong in front.
func TestRulesThatAreRefused(t *testing.T) {
	for _, c := range []struct{ rules, path string }{
		{`{"limit":-1}`, "limit: "},
		{`{"limit":65}`, "limit: "},
		{`{"plans":{"basic":0}}`, "plans.basic: "},
		{`{"plans":{"basic":1,"premium":65}}`, "plans.premium: "},
		{`{"plans":{"no plan":2}}`, "plans.no plan: "},
		{`{"plans":{"":2}}`, "plans.: "},
		{`{"household":-1}`, "household: "},
		{`{"household":65}`, "household: "},
		{`{"on_conflict":"evict"}`, "on_conflict: "},
		{`{"on_outage":"block"}`, "on_outage: "},
		{`{"events":{"final 2026":{}}}`, "events.final 2026: "},
		{`{"events":{"final":{"limit":-2}}}`, "events.final.limit: "},
		{`{"events":{"final":{"limit":65}}}`, "events.final.limit: "},
		{`{"events":{"final":{"on_conflict":"reject"}}}`, "events.final.on_conflict: "},
		{`{"events":{"final":{"household":65}}}`, "events.final.household: "},
		{`{"events":{"a":{},"final":{"household":-1}}}`, "events.final.household: "},
	} {
		var r Rules
		if err := json.Unmarshal([]byte(c.rules), &r); err != nil {
			t.Fatal(err)
		}
		err := r.Normalize()
		if CodeOf(err) != CodeInvalid || !strings.HasPrefix(MessageOf(err), c.path) || len(MessageOf(err)) <= len(c.path) {
			t.Errorf("%s is answered %v, want invalid and %q", c.rules, err, c.path)
		}
	}
	e := Event{Name: "final", Rules: &EventRules{Limit: 65}}
	if err := e.Normalize(); CodeOf(err) != CodeInvalid || !strings.HasPrefix(MessageOf(err), "rules.limit: ") {
		t.Errorf("an event with a limit of 65 is answered %v", err)
	}
}

// The most that is allowed, and rules that are normal already.
func TestRulesThatAreAccepted(t *testing.T) {
	const text = `{"limit":64,"plans":{"basic":1,"4K-plus_2.0":64},"on_conflict":"evict_oldest","household":64,"enforce":false,"on_outage":"deny",
		"events":{"final":{"limit":64,"on_conflict":"reject_newest","household":0,"enforce":true},"semi":{}}}`
	r := rulesOf(t, text)
	var want Rules
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, r); diff != "" {
		t.Error(diff)
	}
	if err := r.Normalize(); err != nil {
		t.Error(err)
	}
}

func TestTerms(t *testing.T) {
	const plans = `"limit":1,"plans":{"basic":1,"premium":3}`
	for name, c := range map[string]struct {
		rules string
		limit int
		plan  string
		own   *EventRules
		want  Terms
	}{
		"nothing is said":                  {`{}`, 0, "", nil, Terms{Rule: "default"}},
		"the token before all":             {`{` + plans + `}`, 5, "premium", nil, Terms{Limit: 5, Rule: "token"}},
		"then the plan":                    {`{` + plans + `}`, 0, "premium", nil, Terms{Limit: 3, Rule: "plan:premium"}},
		"then the default":                 {`{` + plans + `}`, 0, "", nil, Terms{Limit: 1, Rule: "default"}},
		"a plan that is not known":         {`{` + plans + `}`, 0, "gold", nil, Terms{Limit: 1, Rule: "default"}},
		"a plan without plans":             {`{}`, 0, "premium", nil, Terms{Rule: "default"}},
		"plans without a default":          {`{"plans":{"basic":1}}`, 0, "", nil, Terms{Rule: "default"}},
		"household":                        {`{"limit":2,"household":1}`, 0, "", nil, Terms{Limit: 2, Rule: "default", Household: 1}},
		"evict":                            {`{"on_conflict":"evict_oldest"}`, 2, "", nil, Terms{Limit: 2, Rule: "token", Evict: true}},
		"shadow":                           {`{"enforce":false}`, 2, "", nil, Terms{Limit: 2, Rule: "token", Shadow: true}},
		"enforced as said":                 {`{"enforce":true}`, 2, "", nil, Terms{Limit: 2, Rule: "token"}},
		"another event's rules":            {`{"events":{"semi":{"limit":1,"enforce":false}}}`, 2, "", nil, Terms{Limit: 2, Rule: "token"}},
		"an event's limit besides":         {`{"events":{"final":{"limit":1}}}`, 2, "", nil, Terms{Limit: 2, Rule: "token", EventLimit: 1}},
		"an event's limit alone":           {`{"events":{"final":{"limit":1}}}`, 0, "", nil, Terms{Rule: "default", EventLimit: 1}},
		"an event that says all":           {`{"events":{"final":{"limit":1,"on_conflict":"evict_oldest","household":2,"enforce":false}}}`, 2, "", nil, Terms{Limit: 2, Rule: "token", EventLimit: 1, Evict: true, Household: 2, Shadow: true}},
		"an event that takes back":         {`{"on_conflict":"evict_oldest","household":2,"enforce":false,"events":{"final":{"on_conflict":"reject_newest","household":0,"enforce":true}}}`, 2, "", nil, Terms{Limit: 2, Rule: "token"}},
		"own rules":                        {`{}`, 2, "", &EventRules{Limit: 1, OnConflict: EvictOldest, Household: new(1), Enforce: new(false)}, Terms{Limit: 2, Rule: "token", EventLimit: 1, Evict: true, Household: 1, Shadow: true}},
		"own rules before the event's":     {`{"events":{"final":{"limit":4,"on_conflict":"evict_oldest","household":3,"enforce":false}}}`, 2, "", &EventRules{Limit: 1, OnConflict: RejectNewest, Household: new(0), Enforce: new(true)}, Terms{Limit: 2, Rule: "token", EventLimit: 1}},
		"own rules that say nothing":       {`{"events":{"final":{"limit":4,"enforce":false}}}`, 2, "", &EventRules{}, Terms{Limit: 2, Rule: "token", EventLimit: 4, Shadow: true}},
		"own rules and nothing else":       {`{"limit":2}`, 0, "", &EventRules{Household: new(1)}, Terms{Limit: 2, Rule: "default", Household: 1}},
		"the rules' shadow, own household": {`{"limit":2,"enforce":false}`, 0, "", &EventRules{Household: new(1)}, Terms{Limit: 2, Rule: "default", Household: 1, Shadow: true}},
	} {
		r := rulesOf(t, c.rules)
		if diff := cmp.Diff(c.want, r.Terms(c.limit, c.plan, "final", c.own)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTermsAreLimited(t *testing.T) {
	for terms, want := range map[Terms]bool{
		{}:                                      false,
		{Household: 1, Evict: true}:             false,
		{Limit: 1}:                              true,
		{EventLimit: 1}:                         true,
		{Limit: 1, EventLimit: 1, Shadow: true}: true, // a lease counts who would be blocked
	} {
		if got := terms.Limited(); got != want {
			t.Errorf("%+v limited: %t", terms, got)
		}
	}
}

func TestRuleKindsAreFew(t *testing.T) {
	for rule, want := range map[string]string{
		"token": "token", "default": "default", "plan:premium": "plan", EventRule("final"): "event", EventRule("a:b"): "event", "": "",
	} {
		if got := RuleKind(rule); got != want {
			t.Errorf("the kind of %q is %q, want %q", rule, got, want)
		}
	}
}
