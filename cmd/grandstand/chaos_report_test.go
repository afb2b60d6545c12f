//go:build chaos

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"grandstand/simulator"
)

// healWindow is how long after a fault strikes, and after it is put right, numbers
// may be old.
const healWindow = 10 * time.Second

// kept is the share of the viewer-seconds that have a fresh number, at least.
const kept = 0.999

// struck is a fault that was carried out.
type struck struct {
	fault
	from, to time.Time // until it was put right
}

// heals reports whether a fault struck, or was put right, within the last heal
// window.
func heals(list []struck, at time.Time) bool {
	return slices.ContainsFunc(list, func(s struck) bool {
		return during(at, s.from, s.from.Add(healWindow)) || during(at, s.to, s.to.Add(healWindow))
	})
}

func during(at, from, to time.Time) bool { return !at.Before(from) && at.Before(to) }

// row is what a fault did, as a line of the report.
type row struct {
	name    string
	struck  time.Duration
	old     int     // seconds, from its begin to the next one's, in which not 99.9 % of the screens were fresh
	lowest  float64 // share of screens that were fresh in the worst of them
	fresh   float64 // share of the viewer-seconds outside of heal windows
	seconds int     // viewer-seconds outside of heal windows
	broken  []string
	known   int // counts that were off while nobody could know better
	kicks   int
}

// book is the report of a run.
type book struct {
	t      *testing.T
	rows   []row
	notes  []string // what holds for a whole part of the run
	calm   tally    // outside of heal windows, all crowds
	all    tally    // from the first fault on, heal windows too
	failed []string

	suspects []string // sessions that may be what a count had too many
}

// tally is how many viewer-seconds there were, and with a fresh number.
type tally struct{ fresh, seconds float64 }

func (t *tally) add(share float64, seconds int) {
	t.fresh += share * float64(seconds)
	t.seconds += float64(seconds)
}

func (t *tally) share() float64 { return t.fresh / max(t.seconds, 1) }

func (b *book) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.t.Log(text)
	b.notes = append(b.notes, text)
}

// promise takes note of a promise, and whether it was kept.
func (b *book) promise(kept bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !kept {
		b.failed = append(b.failed, text)
		b.t.Errorf("broken: %s", text)
	}
	b.notes = append(b.notes, text+map[bool]string{true: "", false: ": **broken**"}[kept])
}

// noticedAfter is how long the crowd takes to judge a state.
const noticedAfter = 2*time.Second + crowdWindow

// judge adds a row for each fault: what a crowd saw from its begin to the next
// one's.
func (b *book) judge(list []struck, r *simulator.Report, kicks []kick) {
	seen, excused := 0, 0
	for i, s := range list {
		end := r.Started.Add(time.Duration(r.Seconds) * time.Second)
		if i+1 < len(list) {
			end = list[i+1].from
		}
		one := row{name: s.name, struck: s.to.Sub(s.from), lowest: 1}
		for _, sec := range r.Screens {
			if sec.Viewers > 0 && during(time.Unix(sec.At, 0), s.from, end) {
				share := float64(sec.Fresh) / float64(sec.Viewers)
				one.lowest = min(one.lowest, share)
				if share < kept {
					one.old++
				}
			}
		}
		one.fresh, one.seconds = freshShare(r.Screens, func(at time.Time) bool { return during(at, s.from, end) && !heals(list[:i+1], at) })
		b.calm.add(one.fresh, one.seconds)
		b.all.add(freshShare(r.Screens, func(at time.Time) bool { return during(at, s.from, end) }))
		for _, v := range r.Violations {
			if !during(v.Time.Add(-noticedAfter), s.from, end) {
				continue
			}
			// Faults of an hour hit while the one before heals.
			if slices.ContainsFunc(list[:i+1], func(s struck) bool { return s.known(v) }) {
				one.known++
				continue
			}
			b.suspects = append(b.suspects, v.Suspects...)
			one.broken = append(one.broken, v.Check+": "+v.Text+v.Time.Format(", seen at 15:04:05"))
		}
		seen += len(one.broken) + one.known
		for _, e := range r.Excused {
			if !during(e.Time.Add(-noticedAfter), s.from, end) {
				continue
			}
			excused++
			if slices.ContainsFunc(list[:i+1], func(s struck) bool { return s.blind(e.Time) }) {
				one.known += e.Counts
			} else {
				one.broken = append(one.broken, fmt.Sprintf("excused: %d counts are off, on a board that says so, at %d", e.Counts, e.At)+e.Time.Format(", seen at 15:04:05"))
			}
		}
		for _, k := range kicks {
			if during(k.at, s.from, end) {
				one.kicks++
			}
		}
		b.rows = append(b.rows, one)
	}
	all := 0
	for _, n := range r.Violated {
		all += n
	}
	lost := all - seen + len(r.Excused) - excused
	b.promise(lost == 0, "%d counts that the crowd saw to be off belong to no fault", lost)
	b.looked(r)
}

// looked promises that enough was seen to judge by.
func (b *book) looked(r *simulator.Report) {
	boards := int(1000 * r.Seconds / float64(r.TickMS))
	b.promise(r.States > boards*8/10, "%s: %d boards of some %d were compared with the truth", r.Event, r.States, boards)
	b.promise(r.Acked > r.Beats*8/10, "%s: %d events acknowledged, of %d beats", r.Event, r.Acked, r.Beats)
}

// promiseFresh promises what viewers saw. Of the faults themselves nothing can be
// promised: while Redis is away for nine seconds, no number is younger.
func (b *book) promiseFresh() {
	b.promise(b.calm.seconds > 0 && b.calm.share() >= kept, "fresh (< 10 s) numbers outside of heal windows of 10 s after a fault begins and after it ends: %.3f %% of %.0f viewer-seconds (promise: 99.9 %%)",
		100*b.calm.share(), b.calm.seconds)
	b.note("fresh numbers with the faults and their heal windows: %.3f %% of %.0f viewer-seconds", 100*b.all.share(), b.all.seconds)
}

// known reports whether a count was off because of the fault while nobody could
// know better.
func (s *struck) known(v simulator.Violation) bool {
	return slices.Contains([]string{"above", "below", "fans", "peak"}, v.Check) && s.blind(v.Time)
}

// blind reports whether nobody could know better at a time because of the fault.
func (s *struck) blind(at time.Time) bool {
	switch {
	case s.forgets:
		return at.Before(s.to.Add(forgottenFor))
	case s.blinds:
		return at.Before(s.to.Add(healWindow + noticedAfter))
	}
	return false
}

// forgottenFor is how long after a loss of its data boards are partial: gateways
// have to agree again on whose a session is. With the time of a verdict.
const forgottenFor = 12*time.Second + healWindow + noticedAfter

// write writes the report as Markdown, into its section of the file REPORT too.
func (b *book) write(section, title string) {
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n\n", title)
	fmt.Fprintf(&out, "%s, %d cores, %s; crowd, servers, Redis and MinIO on the same machine.\n\n", time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version())
	for _, n := range b.notes {
		fmt.Fprintf(&out, "- %s\n", n)
	}
	fmt.Fprintf(&out, "\n| fault | lasted | old numbers for | fresh outside of heal windows | counts off, known | broken promises |\n|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		broken := "none"
		if n := len(r.broken) + r.kicks; n > 0 {
			broken = fmt.Sprintf("**%d** (%d kicks) %s", n, r.kicks, strings.Join(slices.Compact(firstWords(r.broken)), ", "))
		}
		old := "–"
		if r.old > 0 {
			old = fmt.Sprintf("%d s, on %s at most", r.old, percentText(1-r.lowest))
		}
		after := "–"
		if r.seconds > 0 {
			after = percentText(r.fresh)
		}
		fmt.Fprintf(&out, "| %s | %.1f s | %s | %s | %d | %s |\n", r.name, r.struck.Seconds(), old, after, r.known, broken)
	}
	for _, r := range b.rows {
		for _, text := range r.broken {
			b.t.Errorf("%s: %s", r.name, text)
		}
	}
	fmt.Println(out.String())
	if file := os.Getenv("REPORT"); file != "" {
		if err := replaceSection(file, section, out.String()); err != nil {
			b.t.Error(err)
		}
	}
}

// replaceSection replaces what stands in a file between the comments that begin
// and end a section.
func replaceSection(file, section, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+section+" -->\n", "<!-- /"+section+" -->\n"
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no section %s", file, section)
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

// firstWords returns what stands before the colons, sorted.
func firstWords(list []string) (words []string) {
	for _, text := range list {
		word, _, _ := strings.Cut(text, ":")
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

func percentText(share float64) string {
	if share == 1 {
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", 100*share)
}
