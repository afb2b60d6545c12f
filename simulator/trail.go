package simulator

import (
	"fmt"
	"slices"
	"strings"

	"grandstand"
)

// trail is what became of a session lately: who looks into a count that was higher
// than the truth needs to know whose it may be.
type trail struct {
	session string
	steps   [8]footstep // a ring
	n       int         // steps ever
}

// footstep is one transition that the truth was told of.
type footstep struct {
	what    string
	at      int64 // local ms
	gateway int
}

func (t *trail) add(what string, at int64, gateway int) {
	t.steps[t.n%len(t.steps)] = footstep{what, at, gateway}
	t.n++
}

// tell returns the steps in their order, with their times in seconds from at on.
func (t *trail) tell(at int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", t.session)
	for i := max(t.n-len(t.steps), 0); i < t.n; i++ {
		s := t.steps[i%len(t.steps)]
		fmt.Fprintf(&b, " %s g%d %+.2f", s.what, s.gateway, float64(s.at-at)/1000)
	}
	return b.String()
}

const (
	suspectsFor = 30_000 // ms for which those who went are remembered
	maxSuspects = 8      // that are told of one count
)

// wentLocked remembers who is watching no more, for all that is known.
func (t *truth) wentLocked(p *presence, at int64) {
	if len(t.gone) >= 1000 && t.gone[0].at < at-suspectsFor {
		t.gone = slices.DeleteFunc(t.gone, func(f farewell) bool { return f.at < at-suspectsFor })
	}
	t.gone = append(t.gone, farewell{p, at})
}

// suspects returns who may be counted in a segment though the truth says that they
// went, the latest first.
func (t *truth) suspects(seg grandstand.Segment, at int64) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, known := t.ids[seg]
	for i := len(t.gone) - 1; known && i >= 0 && len(out) < maxSuspects; i-- {
		if f := t.gone[i]; f.at > at-suspectsFor && f.p.hi.off <= at && slices.Contains(f.p.segs, id) {
			out = append(out, f.p.trail.tell(at))
		}
	}
	return out
}

// name tells whose the trail is.
func (t *truth) name(p *presence, session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.trail.session = session
}
