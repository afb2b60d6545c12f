package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// A timeline lays the live audience under a recording: the series of a segment as
// cues in the time of the recording, which begins at from, and what was remarkable
// about it. A change is looked for in every step that is kept, so that it is one
// within a minute however long the cues are. As WebVTT it is a track of kind
// "metadata" of a <video>.

const (
	momentMS     = 60_000 // over which a change is remarkable
	momentChange = 0.12   // as a share of what was before
	momentLeast  = 10     // sessions: smaller changes are noise
)

// timeline is the answer to GET timeline.json.
type timeline struct {
	Event   string `json:"event"`
	Segment string `json:"segment"`
	From    int64  `json:"from"` // ms: the recording's beginning
	To      int64  `json:"to"`   // ms
	Cues    []cue  `json:"cues"`
}

// cue is what was so for one step of a series.
type cue struct {
	Start    int64    `json:"start"` // ms since the beginning
	End      int64    `json:"end"`
	Sessions int64    `json:"sessions"`
	Fans     int64    `json:"fans"`
	Moments  []moment `json:"moments,omitempty"`
}

// moment is one remarkable thing. A cue has one of a kind: the greatest.
type moment struct {
	Kind     string  `json:"kind"`               // "surge", "drop" or "peak"
	Change   float64 `json:"change,omitempty"`   // within a minute: 0.12 is 12 % more
	Sessions int64   `json:"sessions,omitempty"` // of the peak, which a longer cue need not end with
}

// getTimeline answers GET /v1/events/{event}/timeline.json and .vtt. Its query is
// that of history.
func (g *Gateway) getTimeline(w http.ResponseWriter, r *http.Request) {
	s, err := g.history(r)
	if err != nil {
		g.fail(w, "timeline", err)
		return
	}
	t := timelineOf(s)
	w.Header().Set("Cache-Control", "private, "+historyMaxAge)
	if strings.HasSuffix(r.URL.Path, ".json") {
		writeJSON(w, http.StatusOK, t)
		return
	}
	w.Header().Set("Content-Type", "text/vtt; charset=utf-8")
	w.Write(t.appendVTT(nil))
}

// timelineOf returns a cue for each point that there is.
func timelineOf(s *series) *timeline {
	t := &timeline{Event: s.Event, Segment: s.Segment, From: s.From, To: s.To, Cues: []cue{}}
	changes, peak := changesOf(s.shown), s.peak()
	for i, p := range s.Points {
		c := cue{Start: int64(i) * s.Step, End: min(int64(i+1)*s.Step, s.To-s.From)}
		for ; len(changes) > 0 && changes[0].at < s.From+c.End; changes = changes[1:] {
			c.add(changes[0].moment)
		}
		if at := peak.at - s.From; peak.sessions > 0 && at >= c.Start && at < c.End {
			c.add(moment{Kind: "peak", Sessions: peak.sessions})
		}
		if p != nil {
			c.Sessions, c.Fans = p[1], p[2]
			t.Cues = append(t.Cues, c)
		}
	}
	return t
}

// peak returns the first of the highest samples of points that there are; none is
// 0 at 0.
func (s *series) peak() (peak sample) {
	for _, x := range s.shown {
		if x.sessions > peak.sessions && s.Points[(x.at-s.From)/s.Step] != nil {
			peak = x
		}
	}
	return peak
}

// add adds a moment, unless there is a greater one of its kind.
func (c *cue) add(m moment) {
	for i := range c.Moments {
		if is := &c.Moments[i]; is.Kind == m.Kind {
			if math.Abs(m.Change) > math.Abs(is.Change) {
				*is = m
			}
			return
		}
	}
	c.Moments = append(c.Moments, m)
}

// dated is a moment and when it was, in ms.
type dated struct {
	at int64
	moment
}

// changesOf returns the surges and drops of a series: each sample is compared
// with the oldest of the minute before it. A minute has one change.
func changesOf(all []sample) (found []dated) {
	old, quiet := 0, int64(0)
	for _, now := range all {
		for all[old].at < now.at-momentMS {
			old++
		}
		if m, is := change(all[old].sessions, now.sessions); is && now.at >= quiet {
			found = append(found, dated{now.at, m})
			quiet = now.at + momentMS
		}
	}
	return found
}

// change returns what became of before within a minute, if that is remarkable.
func change(before, now int64) (m moment, is bool) {
	diff := now - before
	share := float64(diff) / float64(max(before, 1))
	m = moment{Kind: "surge", Change: float64(int64(share*1000)) / 1000}
	if diff < 0 {
		m.Kind, diff, share = "drop", -diff, -share
	}
	return m, diff >= momentLeast && share >= momentChange
}

// appendVTT appends the timeline as WebVTT (W3C). The text of a cue is JSON.
func (t *timeline) appendVTT(b []byte) []byte {
	b = fmt.Appendf(b, "WEBVTT\n\nNOTE %s, %s, from %s\n", t.Event, t.Segment, time.UnixMilli(t.From).UTC().Format(time.RFC3339Nano))
	for i := range t.Cues {
		c := &t.Cues[i]
		text, err := json.Marshal(struct {
			Sessions int64    `json:"sessions"`
			Fans     int64    `json:"fans"`
			Moments  []moment `json:"moments,omitempty"`
		}{c.Sessions, c.Fans, c.Moments})
		if err != nil {
			continue // such a struct can be encoded
		}
		b = fmt.Appendf(b, "\n%s --> %s\n%s\n", vttTime(c.Start), vttTime(c.End), text)
	}
	return b
}

// vttTime returns hh:mm:ss.mmm.
func vttTime(ms int64) string {
	s := ms / 1000
	return fmt.Sprintf("%02d:%02d:%02d.%03d", s/3600, s/60%60, s%60, ms%1000)
}
