package grandstand

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Decisions that change nothing are not counted; parts of one process add up.
func TestRuleTally(t *testing.T) {
	var gateway, blocker RuleTally
	for _, o := range []Outcome{OutcomeAcquired, OutcomeRenewed, OutcomeRenewed, OutcomeBlocked, OutcomeWaiting, OutcomeWaiting, OutcomeTookOver} {
		gateway.Count("plan", o)
	}
	gateway.Count("none", OutcomeBlocked)
	blocker.Count("plan", OutcomeBlocked)
	blocker.Count("event", OutcomeWouldBlock)
	var s Status
	s.Rule("plan").Waiting = 7
	gateway.Describe(&s)
	blocker.Describe(&s)
	want := []RuleStatus{{Rule: "event", WouldBlock: 1}, {Rule: "none", Blocked: 1}, {Rule: "plan", Waiting: 7, Granted: 2, Blocked: 2}}
	if diff := cmp.Diff(want, s.Rules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
