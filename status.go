package grandstand

import (
	"cmp"
	"slices"
	"sync"
)

// Status is what a process says of itself when it renews a member's lease, for
// operators: GET /v1/cluster shows it. It names no viewer, account or device.
// The parts that a process does not run are nil.
type Status struct {
	Viewers *ViewersStatus `json:"viewers,omitempty"`
	Tree    *TreeStatus    `json:"tree,omitempty"`
	Rules   []RuleStatus   `json:"rules,omitempty"` // by name
	Journal *JournalStatus `json:"journal,omitempty"`
	Archive *ArchiveStatus `json:"archive,omitempty"`
}

// ViewersStatus is what a gateway serves.
type ViewersStatus struct {
	Connections uint64 `json:"connections"` // sockets and streams that are open
	Sessions    uint64 `json:"sessions"`    // watching, as of its last tick
}

// TreeStatus is where a gateway has its boards from.
type TreeStatus struct {
	Relay  bool   `json:"relay"`            // other gateways may read from it
	Depth  uint64 `json:"depth"`            // gateways between Redis and this one
	Parent string `json:"parent,omitempty"` // the address of its relay (Member.Peer, or a URL); "": Redis
	HopMS  uint64 `json:"hop_ms"`           // from the relay's sending of its last boards to their arrival, by Redis time
}

// RuleStatus is what became of asks for leases by one kind of rule (RuleKind;
// "none" for no rule of an account's), since the process began.
type RuleStatus struct {
	Rule       string `json:"rule"`
	Waiting    uint64 `json:"waiting"`     // sessions of its gateway that are blocked now, as of the last ticks
	Granted    uint64 `json:"granted"`     // new leases; renewals are not counted
	Blocked    uint64 `json:"blocked"`     // devices that were told so; asking again is not counted
	WouldBlock uint64 `json:"would_block"` // asks beyond a limit that is not enforced
}

// JournalStatus is what no archiver has had deleted yet.
type JournalStatus struct {
	Bytes uint64 `json:"bytes"`
	Files uint64 `json:"files"` // sealed
}

// ArchiveStatus is how far an archiver is behind.
type ArchiveStatus struct {
	LagMS   uint64 `json:"lag_ms"` // for how long the oldest file that waits has been known
	Pending uint64 `json:"pending"`
}

// Rule returns the entry of a kind of rule, a new one if need be. It is good
// until the next call.
func (s *Status) Rule(kind string) *RuleStatus {
	i, found := slices.BinarySearchFunc(s.Rules, kind, func(r RuleStatus, kind string) int { return cmp.Compare(r.Rule, kind) })
	if !found {
		s.Rules = slices.Insert(s.Rules, i, RuleStatus{Rule: kind})
	}
	return &s.Rules[i]
}

// RuleTally counts decisions by the kind of rule. The zero value is ready; its
// methods may be called at the same time.
type RuleTally struct {
	mu sync.Mutex
	of Status // guarded by mu; its Rules
}

// Count counts a decision.
func (t *RuleTally) Count(kind string, o Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch o {
	case OutcomeAcquired, OutcomeRestored, OutcomeSuperseded, OutcomeTookOver, OutcomeEvicted:
		t.of.Rule(kind).Granted++
	case OutcomeBlocked:
		t.of.Rule(kind).Blocked++
	case OutcomeWouldBlock:
		t.of.Rule(kind).WouldBlock++
	}
}

// Describe adds what was counted to s.
func (t *RuleTally) Describe(s *Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.of.Rules {
		to := s.Rule(r.Rule)
		to.Granted += r.Granted
		to.Blocked += r.Blocked
		to.WouldBlock += r.WouldBlock
	}
}
