package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"grandstand"
)

// Report is what a run saw. Times are in seconds, errors are shares of the
// truth.
type Report struct {
	Event    string    `json:"event"`
	Profile  Profile   `json:"profile"`
	Seed     uint64    `json:"seed"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Peak     int       `json:"peak"`       // sessions at the fullest, by the truth
	TickMS   int64     `json:"tick_ms"`    // as gateways say
	AtTheEnd int       `json:"at_the_end"` // sessions before the final leave, probes not among them

	Joins          int64 `json:"joins"`
	Leaves         int64 `json:"leaves"`
	SilentLeaves   int64 `json:"silent_leaves"`
	NetworkChanges int64 `json:"network_changes"`
	Reconnects     int64 `json:"reconnects"`  // sessions resumed, after whatever cause
	NotResumed     int64 `json:"not_resumed"` // of a reconnect, answered with another session
	Blocked        int64 `json:"blocked"`
	Beats          int64 `json:"beats"`
	Resent         int64 `json:"resent"` // beats sent again, which no gateway had acknowledged
	Acked          int64 `json:"acked"`  // numbers that are durable, by a gateway's word
	Frames         int64 `json:"frames"`
	StaleFrames    int64 `json:"stale_frames"`
	PartialFrames  int64 `json:"partial_frames"`
	WentBack       int64 `json:"went_back"` // reconnects to a gateway a moment behind the one before

	Drops    map[string]int64 `json:"drops"`    // connections ended by the system, by close code or reason
	Failures map[string]int64 `json:"failures"` // connections that did not come about, and messages "error"

	JoinSeen  Quantiles `json:"join_seen"`  // asking to join → seen by another viewer of the segment (probes)
	LeaveSeen Quantiles `json:"leave_seen"` // goodbye → seen gone (probes)
	SilentGap Quantiles `json:"silent_gap"` // last beat → seen gone (probes)
	JoinBoard Quantiles `json:"join_board"` // asking to join → the first frame that counts it, on any screen
	Delivery  Quantiles `json:"delivery"`   // state counted → frame at a viewer
	FrameGap  Quantiles `json:"frame_gap"`  // frame → the next on a connection; numbers that do not change are not repeated
	Away      Quantiles `json:"away"`       // connection lost → hello again

	WorldError   Quantiles `json:"world_error"`   // of sessions
	SegmentError Quantiles `json:"segment_error"` // of sessions, segments of 100 and more
	FansError    Quantiles `json:"fans_error"`    // of estimates over 2,000

	States     int    `json:"states"`      // compared with the truth
	FullBoards int    `json:"full_boards"` // whose sums were checked
	Final      string `json:"final"`       // the verdict after the quiet

	CPUSeconds float64 `json:"cpu_seconds"` // of this process

	Screens []Second `json:"screens"` // how fresh the numbers on them were

	Violations []Violation    `json:"violations"` // at most 1000 of each check
	Violated   map[string]int `json:"violated"`   // how many there were, by check
	Excused    []Excused      `json:"excused"`    // boards with counts that are no violations only by Config.Late
}

// Failed reports whether any check failed.
func (r *Report) Failed() bool { return len(r.Violated) > 0 }

// report sums the run up.
func (c *crowd) report(started time.Time) *Report {
	s, a := &c.stats, c.audit
	r := &Report{
		Event: c.cfg.Event, Profile: c.cfg.Profile, Seed: c.cfg.Seed,
		Started: started, Seconds: time.Since(started).Seconds(),
		Joins: s.joins.Load(), Leaves: s.leaves.Load(), SilentLeaves: s.silent.Load(),
		NetworkChanges: s.changes.Load(), Reconnects: s.reconnects.Load(), NotResumed: s.notResumed.Load(),
		Blocked: s.blocked.Load(), Beats: s.beats.Load(), Resent: s.resent.Load(), Acked: s.acked.Load(), Frames: s.frames.Load(),
		StaleFrames: s.stale.Load(), PartialFrames: s.partial.Load(), WentBack: s.wentBack.Load(),
		JoinSeen: s.joinSeen.quantiles(), LeaveSeen: s.leaveSeen.quantiles(), SilentGap: s.silentGap.quantiles(),
		JoinBoard: s.joinBoard.quantiles(), Delivery: s.delivery.quantiles(),
		FrameGap: s.frameGap.quantiles(), Away: s.away.quantiles(), TickMS: c.tick().Milliseconds(),
	}
	s.mu.Lock()
	r.Drops, r.Failures, r.Screens = s.drops, s.failures, s.screens
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	r.States, r.FullBoards, r.Final = a.judged, a.boards, a.finalText
	r.Excused = a.excused
	r.WorldError, r.SegmentError, r.FansError = a.worldError.quantiles(), a.segmentError.quantiles(), a.fansError.quantiles()
	r.Violations, r.Violated = a.violations, a.violated
	c.truth.mu.Lock()
	defer c.truth.mu.Unlock()
	if id, ok := c.truth.ids[grandstand.WorldSegment]; ok {
		r.Peak = c.truth.counts[id].Peak
	}
	return r
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s, seed %d, %.0f s, up to %d sessions\n", r.Event, r.Profile, r.Seed, r.Seconds, r.Peak)
	fmt.Fprintf(t, "crowd\t%d joins, %d leaves, %d silent, %d network changes, %d reconnects\n",
		r.Joins, r.Leaves, r.SilentLeaves, r.NetworkChanges, r.Reconnects)
	fmt.Fprintf(t, "traffic\t%d beats sent, %d again, %d acknowledged; %d frames received, %s stale, %s partial\n",
		r.Beats, r.Resent, r.Acked, r.Frames, share(r.StaleFrames, r.Frames), share(r.PartialFrames, r.Frames))
	fresh, seconds := freshShare(r.Screens)
	fmt.Fprintf(t, "screens\t%.3f %% of %d viewer-seconds with a number younger than 10 s\n", 100*fresh, seconds)
	fmt.Fprintf(t, "drops\t%s\n", reasons(r.Drops))
	fmt.Fprintf(t, "failures\t%s\n", reasons(r.Failures))
	fmt.Fprintf(t, "cpu\t%.1f s, %.1f ms a second for 1,000 sessions\n", r.CPUSeconds,
		1000*r.CPUSeconds/max(r.Seconds, 1)/max(float64(r.Peak)/1000, 0.001))
	fmt.Fprintf(t, "\np50\tp90\tp99\tmax\tn\t\n")
	for _, q := range []struct {
		name string
		q    Quantiles
	}{
		{"s  join → seen by another", r.JoinSeen}, {"s  goodbye → seen gone", r.LeaveSeen},
		{"s  last beat → seen gone", r.SilentGap}, {"s  join → on a first screen", r.JoinBoard},
		{"s  counted → at a viewer", r.Delivery}, {"s  frame → the next", r.FrameGap}, {"s  connection lost → back", r.Away},
		{"%  error of the world", percent(r.WorldError)}, {"%  error of segments ≥ 100", percent(r.SegmentError)},
		{"%  error of fans > 2000", percent(r.FansError)},
	} {
		if q.q.N > 0 {
			fmt.Fprintf(t, "%.3f\t%.3f\t%.3f\t%.3f\t%d\t%s\n", q.q.P50, q.q.P90, q.q.P99, q.q.Max, q.q.N, q.name)
		}
	}
	fmt.Fprintf(t, "\nchecked\t%d states against the truth, the sums of %d boards\n", r.States, r.FullBoards)
	if len(r.Excused) > 0 {
		fmt.Fprintf(t, "excused\t%d boards have counts that are off, and say so\n", len(r.Excused))
	}
	if r.Final != "" {
		fmt.Fprintf(t, "in the end\t%s\n", r.Final)
	}
	if !r.Failed() {
		fmt.Fprintf(t, "verdict\tgood: sums, order, counts, peaks and final truth hold\n")
		return t.Flush()
	}
	told := map[string]int{}
	for _, v := range r.Violations {
		if told[v.Check]++; told[v.Check] > toldPerCheck {
			continue
		}
		fmt.Fprintf(t, "%s\t%s (seen at %.1f s)\n", strings.ToUpper(v.Check), v.Text, v.Time.Sub(r.Started).Seconds())
	}
	fmt.Fprintf(t, "verdict\tFAILED: %s\n", reasons(r.Violated))
	return t.Flush()
}

// toldPerCheck is how many violations of a check are written for people.
const toldPerCheck = 20

func percent(q Quantiles) Quantiles {
	return Quantiles{N: q.N, P50: 100 * q.P50, P90: 100 * q.P90, P95: 100 * q.P95, P99: 100 * q.P99, Max: 100 * q.Max}
}

func share(n, of int64) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}

// reasons lists counts by reason, the most frequent first.
func reasons[N int | int64](m map[string]N) string {
	if len(m) == 0 {
		return "none"
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if m[a] != m[b] {
			return int(m[b] - m[a])
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%d × %s", m[k], k)
	}
	return strings.Join(keys, ", ")
}
