package grandstand

import (
	"slices"
	"strings"
)

// What Rules.OnConflict and Rules.OnOutage may say.
const (
	RejectNewest = "reject_newest"
	EvictOldest  = "evict_oldest"

	OutageAllow = "allow"
	OutageDeny  = "deny"
)

// Rules say how many streams accounts may play at a time. The zero Rules limit
// only accounts whose token does. Rules are immutable once they are in use.
type Rules struct {
	// Limit is for accounts whose token names neither a limit nor a plan that
	// is known. Default 0: not limited.
	Limit int `json:"limit"`

	// Plans are the limits by the plan that the token names.
	Plans map[string]int `json:"plans"`

	// Events are the rules of single events, such as a rights contract asks
	// for. What an event's own configuration says comes before.
	Events map[string]EventRules `json:"events"`

	// OnConflict is RejectNewest (default) or EvictOldest.
	OnConflict string `json:"on_conflict"`

	// Household is how many devices beyond the limit may play behind one
	// network address with another device of the account. Default 0.
	Household int `json:"household"`

	// Enforce false is shadow mode: nobody is blocked, but who would be is
	// counted. Default true.
	Enforce *bool `json:"enforce"`

	// OnOutage is what holds for newcomers when leases cannot be asked for
	// within 250 ms: OutageAllow (default) or OutageDeny.
	OnOutage string `json:"on_outage"`
}

// EventRules are the rules of one event. What is not given is as the Rules say.
type EventRules struct {
	Limit      int    `json:"limit,omitempty"` // streams of one account in this event; 0: only its own limit counts
	OnConflict string `json:"on_conflict,omitempty"`
	Household  *int   `json:"household,omitempty"`
	Enforce    *bool  `json:"enforce,omitempty"`
}

// Normalize fills the defaults in and checks the rest. Its errors have
// CodeInvalid and begin with the path of what is wrong, such as
// "plans.premium: ".
func (r *Rules) Normalize() error {
	if r.OnConflict == "" {
		r.OnConflict = RejectNewest
	}
	if r.OnOutage == "" {
		r.OnOutage = OutageAllow
	}
	if err := checkLimit("limit", r.Limit, 0); err != nil {
		return err
	}
	for _, plan := range sortedKeys(r.Plans) {
		if !ValidValue(plan) {
			return Errorf(CodeInvalid, "plans.%.64s: a plan's name is 1 to %d characters of A-Z a-z 0-9 . _ -", plan, MaxValueLen)
		}
		if err := checkLimit("plans."+plan, r.Plans[plan], 1); err != nil {
			return err
		}
	}
	if err := checkRules("", r.OnConflict, r.Household); err != nil {
		return err
	}
	if r.OnOutage != OutageAllow && r.OnOutage != OutageDeny {
		return Errorf(CodeInvalid, "on_outage: say allow or deny")
	}
	for _, name := range sortedKeys(r.Events) {
		e := r.Events[name]
		if !ValidValue(name) {
			return Errorf(CodeInvalid, "events.%.64s: an event's name is 1 to %d characters of A-Z a-z 0-9 . _ -", name, MaxValueLen)
		}
		if err := e.check("events." + name + "."); err != nil {
			return err
		}
	}
	return nil
}

// check returns an error that begins with prefix and the path of what is wrong.
func (e *EventRules) check(prefix string) error {
	if err := checkLimit(prefix+"limit", e.Limit, 0); err != nil {
		return err
	}
	household := 0
	if e.Household != nil {
		household = *e.Household
	}
	return checkRules(prefix, e.OnConflict, household)
}

func checkLimit(path string, limit, least int) error {
	if limit < least || limit > MaxStreams {
		return Errorf(CodeInvalid, "%s: a limit is a whole number from %d to %d", path, least, MaxStreams)
	}
	return nil
}

func checkRules(prefix, onConflict string, household int) error {
	if onConflict != "" && onConflict != RejectNewest && onConflict != EvictOldest {
		return Errorf(CodeInvalid, "%son_conflict: say reject_newest or evict_oldest", prefix)
	}
	if household < 0 || household > MaxStreams {
		return Errorf(CodeInvalid, "%shousehold: a whole number from 0 to %d", prefix, MaxStreams)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Terms returns what holds for a session of the event. limit and plan are what
// its token says, 0 and "" if it does not; own are the event's own rules, nil
// if it has none.
func (r *Rules) Terms(limit int, plan, event string, own *EventRules) Terms {
	t := Terms{Limit: limit, Rule: "token", Household: r.Household, Evict: r.OnConflict == EvictOldest}
	if limit == 0 {
		t.Limit, t.Rule = r.Limit, "default"
		if n, ok := r.Plans[plan]; ok {
			t.Limit, t.Rule = n, "plan:"+plan
		}
	}
	enforce := r.Enforce
	rules := []EventRules{r.Events[event]}
	if own != nil {
		rules = append(rules, *own)
	}
	for _, e := range rules {
		if e.Limit > 0 {
			t.EventLimit = e.Limit
		}
		if e.OnConflict != "" {
			t.Evict = e.OnConflict == EvictOldest
		}
		if e.Household != nil {
			t.Household = *e.Household
		}
		if e.Enforce != nil {
			enforce = e.Enforce
		}
	}
	t.Shadow = enforce != nil && !*enforce
	return t
}

// EventRule is the Rule of a verdict that an event's limit decided.
func EventRule(event string) string { return "event:" + event }

// RuleKind returns the part of a rule's name that is one of few, for metrics:
// "token", "plan", "default" or "event".
func RuleKind(rule string) string {
	kind, _, _ := strings.Cut(rule, ":")
	return kind
}
