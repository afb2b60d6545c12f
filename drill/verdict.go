package drill

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"grandstand/simulator"
)

// Verdict is what a drill found out.
type Verdict struct {
	Event   string   `json:"event"`
	Targets []string `json:"targets"`
	Base    int      `json:"base"`   // sessions before and after the peak
	Peak    int      `json:"peak"`   // sessions that were to be there at the peak
	Times   float64  `json:"times"`  // the peak in bases
	Others  int      `json:"others"` // sessions that were there before: of Base

	Objectives []Objective       `json:"objectives"`
	Saturation string            `json:"saturation,omitempty"` // what is full first; "": nothing was looked at
	Processes  []Process         `json:"processes"`
	Report     *simulator.Report `json:"report"`
}

// Outcome is what became of an objective.
type Outcome string

// The outcomes. What could not be seen is no failure, and says why.
const (
	Pass   Outcome = "pass"
	Fail   Outcome = "FAIL"
	Unseen Outcome = "unseen"
)

// Objective is one thing that a deployment is to hold.
type Objective struct {
	Name    string  `json:"name"`
	Aim     string  `json:"aim"`
	Found   string  `json:"found"` // or why it could not be seen
	Outcome Outcome `json:"outcome"`
}

// Failed reports whether an objective was missed.
func (v *Verdict) Failed() bool {
	return slices.ContainsFunc(v.Objectives, func(o Objective) bool { return o.Outcome == Fail })
}

// Shares that may go wrong.
const (
	mayBeRefused    = 0.001 // of attempts to join
	mayBeLost       = 0.001 // of the sessions at the peak
	mayBeUnanswered = 0.02  // of beats: the last one of a player may still be under way
)

const (
	fewSightings = 20   // joins seen by probes, from which on quantiles say something
	manySessions = 1000 // from which on some number moves at every tick, so that a frame comes
)

// judge holds what was seen against the objectives.
func judge(v *Verdict) []Objective {
	r := v.Report
	tick := float64(r.TickMS) / 1000
	return []Objective{
		joins(r),
		quantiles("a join is on others' screens", r.JoinSeen, tick/2+0.5, tick+0.6),
		quantiles("a state is on screens", r.Delivery, 0.6, tick),
		gaps(r, tick),
		sums(r),
		truth(v),
		rate("connections that the system ended", total(r.Drops), int64(r.Peak), mayBeLost, list(r.Drops)),
		acks(r),
		blocks(r),
		invariants(v),
	}
}

// of returns an objective with its outcome.
func of(name, aim, found string, holds bool) Objective {
	o := Objective{Name: name, Aim: aim, Found: found, Outcome: Fail}
	if holds {
		o.Outcome = Pass
	}
	return o
}

func unseen(name, why string) Objective { return Objective{Name: name, Found: why, Outcome: Unseen} }

// rate is an objective of which at most a share may go wrong.
func rate(name string, wrong, of int64, most float64, details string) Objective {
	o := Objective{Name: name, Aim: fmt.Sprintf("≤ %.1f %%", 100*most), Outcome: Pass, Found: fmt.Sprintf("%d of %d", wrong, of)}
	if details != "" {
		o.Found += ": " + details
	}
	if float64(wrong) > most*float64(of) {
		o.Outcome = Fail
	}
	return o
}

func joins(r *simulator.Report) Objective {
	failed := map[string]int64{}
	for why, n := range r.Failures {
		if !strings.HasPrefix(why, "message ") { // else the connection had come about
			failed[why] = n
		}
	}
	n := total(failed)
	return rate("joins refused, or failed", n, r.Joins+r.Reconnects+n, mayBeRefused, list(failed))
}

func quantiles(name string, q simulator.Quantiles, p50, p99 float64) Objective {
	if q.N < fewSightings {
		return unseen(name, fmt.Sprintf("only %d were measured", q.N))
	}
	return of(name, fmt.Sprintf("p50 ≤ %.1f s, p99 ≤ %.1f s", p50, p99),
		fmt.Sprintf("p50 %.2f s, p99 %.2f s", q.P50, q.P99), q.P50 <= p50 && q.P99 <= p99)
}

func gaps(r *simulator.Report, tick float64) Objective {
	const name = "from one frame to the next"
	if r.Peak < manySessions {
		return unseen(name, fmt.Sprintf("below %d sessions numbers may stand still, and are not repeated", manySessions))
	}
	if r.FrameGap.N == 0 {
		return unseen(name, "nobody was shown two")
	}
	most := 2*tick + 0.1
	return of(name, fmt.Sprintf("p99 ≤ %.1f s", most), fmt.Sprintf("p99 %.2f s", r.FrameGap.P99), r.FrameGap.P99 <= most)
}

func sums(r *simulator.Report) Objective {
	const name = "the sums of every board"
	if r.FullBoards == 0 {
		return unseen(name, "no full board could be read")
	}
	wrong := r.Violated["sums"]
	return of(name, "exact", fmt.Sprintf("%d of %d wrong", wrong, r.FullBoards), wrong == 0)
}

func truth(v *Verdict) Objective {
	const name = "counts against the truth"
	wrong := map[string]int64{}
	for check, n := range v.Report.Violated {
		if check != "sums" {
			wrong[check] = int64(n)
		}
	}
	found := "none wrong"
	if len(wrong) > 0 {
		found = list(wrong)
	}
	switch {
	case v.Others > 0 && len(wrong) == 0:
		return unseen(name, "others watch too: counts agree with each other, no more is known")
	case v.Report.States == 0 && len(wrong) == 0:
		return unseen(name, "no state could be compared")
	}
	return of(name, "exact", fmt.Sprintf("%s in %d states", found, v.Report.States), len(wrong) == 0)
}

func acks(r *simulator.Report) Objective {
	const name = "beats that are acknowledged"
	if r.Acked == 0 {
		return unseen(name, "nothing is acknowledged: there is no journal")
	}
	return rate("beats without an acknowledgement", max(r.Beats-r.Acked, 0), r.Beats, mayBeUnanswered, "")
}

func blocks(r *simulator.Report) Objective {
	return of("false blocks of devices", "0", fmt.Sprint(r.Blocked), r.Blocked == 0)
}

func invariants(v *Verdict) Objective {
	const name = "violations of invariants"
	n, read := 0.0, false
	for _, p := range v.Processes {
		n, read = n+p.Violations, read || p.Read > 1
	}
	if !read {
		return unseen(name, "no admin address was given, or none answered")
	}
	return of(name, "0", fmt.Sprintf("%.0f", n), n == 0)
}

func total(m map[string]int64) (sum int64) {
	for _, n := range m {
		sum += n
	}
	return sum
}

// list names the most frequent reasons.
func list(m map[string]int64) string {
	type reason struct {
		name string
		n    int64
	}
	var all []reason
	for name, n := range m {
		all = append(all, reason{name, n})
	}
	slices.SortFunc(all, func(a, b reason) int { return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.name, b.name)) })
	var text []string
	for i, r := range all {
		if i == 4 {
			text = append(text, "…")
			break
		}
		text = append(text, fmt.Sprintf("%d × %s", r.n, r.name))
	}
	return strings.Join(text, ", ")
}

// WriteJSON writes the verdict as one JSON object.
func (v *Verdict) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// WriteTable writes the verdict for people: one page.
func (v *Verdict) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "drill of %s: %d sessions, %g times as many, and back; %.0f s; up to %d by the crowd's own count\n\n",
		v.Event, v.Base, v.Times, v.Report.Seconds, v.Report.Peak)
	for _, o := range v.Objectives {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", o.Outcome, o.Name, o.Aim, o.Found)
	}
	fmt.Fprintln(t)
	for _, p := range v.Processes {
		fmt.Fprintf(t, "%s %s\t%s\n", p.Role, p.Address, p.text())
	}
	fmt.Fprintf(t, "\nsaturated first\t%s\n", cmp.Or(v.Saturation, "not known: no admin address was given, or none answered"))
	result := "PASSED"
	if v.Failed() {
		result = "FAILED"
	}
	fmt.Fprintf(t, "verdict\t%s\n", result)
	return t.Flush()
}

func (p *Process) text() string {
	if p.Read == 0 {
		return "did not answer"
	}
	var parts []string
	for _, r := range p.Resources {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", r.Name, 100*r.Most))
	}
	parts = append(parts, fmt.Sprintf("%.0f MB", p.ResidentMB))
	if p.Sessions > 0 {
		parts = append(parts, fmt.Sprintf("%.0f sessions", p.Sessions))
	}
	if p.Level > 0 {
		parts = append(parts, fmt.Sprintf("overload level %.0f, %.0f s in all, %.0f newcomers refused", p.Level, p.Overloaded, p.Shed))
	}
	if p.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%.0f events refused", p.Refused))
	}
	if p.Missed > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d times no answer", p.Missed, p.Missed+p.Read))
	}
	return strings.Join(parts, ", ")
}
