package gateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"grandstand"
)

const (
	hourMS          = 3_600_000
	defaultSpanMS   = hourMS
	maxSpanMS       = 7 * 24 * hourMS
	maxPoints       = 2000
	wantedPoints    = 360    // that a step is chosen for if none is asked for
	lateStartMS     = 60_000 // a series that begins later in its hour may have lost its beginning
	archiveTimeout  = 5 * time.Second
	historyMaxAge   = "max-age=10"
	historyDocument = "from, to and step are in ms: from < to, at most 7 days, step at least 10000 and at most 2000 points"
)

// span is the time of a chart: points at from+step, from+2·step, … up to to.
type span struct {
	from, to, step int64 // ms
}

// spanOf reads ?from=, ?to= and ?step=, in ms. Defaults: the last hour, in steps
// that make some 360 points.
func spanOf(q url.Values, now int64) (span, error) {
	s := span{to: now}
	var err error
	read := func(name string, value int64) int64 {
		text := q.Get(name)
		if text == "" {
			return value
		}
		n, e := strconv.ParseInt(text, 10, 64)
		if e != nil || n <= 0 || n > 1<<53 {
			err = grandstand.Errorf(grandstand.CodeInvalid, historyDocument)
		}
		return n
	}
	s.to = read("to", now)
	s.from = read("from", s.to-defaultSpanMS)
	length := s.to - s.from
	atLeast := max(grandstand.HistoryStepMS, (length/wantedPoints+grandstand.HistoryStepMS-1)/grandstand.HistoryStepMS*grandstand.HistoryStepMS)
	s.step = read("step", atLeast)
	if err == nil && (length <= 0 || length > maxSpanMS || s.step < grandstand.HistoryStepMS || length/s.step > maxPoints) {
		err = grandstand.Errorf(grandstand.CodeInvalid, historyDocument)
	}
	return s, err
}

// series is the answer to GET history. A point is [at, sessions, fans] of the
// last live board in its step, null if there is none or it must not be shown.
type series struct {
	Event   string      `json:"event"`
	Segment string      `json:"segment"`
	From    int64       `json:"from"`
	To      int64       `json:"to"`
	Step    int64       `json:"step"`
	Points  []*[3]int64 `json:"points"`

	shown []sample // of every step, however long a point is
}

// sample is how many there were at a time, in ms.
type sample struct{ at, sessions int64 }

// getHistory answers GET /v1/events/{event}/history.
func (g *Gateway) getHistory(w http.ResponseWriter, r *http.Request) {
	s, err := g.history(r)
	if err != nil {
		g.fail(w, "history", err)
		return
	}
	w.Header().Set("Cache-Control", "private, "+historyMaxAge)
	writeJSON(w, http.StatusOK, s)
}

func (g *Gateway) history(r *http.Request) (*series, error) {
	e, err := g.readable(r)
	if err != nil {
		return nil, err
	}
	sel, err := g.selectionOf(r, e)
	if err != nil {
		return nil, err
	}
	segment := grandstand.WorldSegment
	switch {
	case len(sel.segments) == 1:
		segment = sel.segments[0]
	case len(sel.segments) > 1, sel.dim != "" && sel.dim != grandstand.World:
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "history is of one segment: segment=team:KC")
	}
	sp, err := spanOf(r.URL.Query(), g.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	public := !sel.operator && segment != grandstand.WorldSegment && sel.cohort > 1
	out := &series{Event: e.Name, Segment: segment.String(), From: sp.from, To: sp.to, Step: sp.step}
	out.Points = make([]*[3]int64, (sp.to-sp.from+sp.step-1)/sp.step)
	for hour := grandstand.HourOf(sp.from); hour <= sp.to; hour += hourMS {
		steps, err := g.steps(r.Context(), e.Name, hour)
		if err != nil {
			return nil, err
		}
		out.add(steps, segment, public)
	}
	return out, nil
}

// add puts one hour's steps into the points they fall in. For the public they are
// what its boards were.
func (s *series) add(steps []grandstand.Step, segment grandstand.Segment, public bool) {
	now := shownOf{segment: segment, public: public}
	for i := range steps {
		st := &steps[i]
		now.take(st)
		if !now.known || st.At < s.From || st.At >= s.To {
			continue
		}
		c, ok := now.show()
		if ok {
			s.shown = append(s.shown, sample{st.At, int64(c.Sessions)})
		}
		at := (st.At - s.From) / s.Step
		if i+1 < len(steps) && steps[i+1].At < s.To && (steps[i+1].At-s.From)/s.Step == at {
			continue // the last of a point holds
		}
		s.Points[at] = nil
		if ok {
			s.Points[at] = &[3]int64{st.At, int64(c.Sessions), int64(c.Fans)}
		}
	}
}

// shownOf follows one segment through the steps of an hour. For the public's
// "other" it needs the others of the dimension as well.
type shownOf struct {
	segment grandstand.Segment
	public  bool
	known   bool // there was a full step, or one with the segment
	full    bool // there was a full step
	counts  map[string]grandstand.StepCount
}

func (n *shownOf) take(st *grandstand.Step) {
	if st.Full || n.counts == nil {
		n.counts = map[string]grandstand.StepCount{}
		n.full = n.full || st.Full
		n.known = n.known || st.Full
	}
	// The counts are sorted: those of the dimension stand together.
	from, _ := slices.BinarySearchFunc(st.Counts, grandstand.Segment{Dim: n.segment.Dim}, func(c grandstand.StepCount, first grandstand.Segment) int {
		return grandstand.CompareSegments(c.Segment, first)
	})
	for _, c := range st.Counts[from:] {
		if c.Segment.Dim != n.segment.Dim {
			break
		}
		if n.public || c.Segment == n.segment {
			n.counts[c.Segment.Value] = c
			n.known = n.known || c.Segment == n.segment
		}
	}
}

// show returns what may be shown of the segment: to the public what it was shown
// then. The fans of an "other" that others were folded into are the sum of theirs,
// never above its sessions.
func (n *shownOf) show() (c grandstand.StepCount, ok bool) {
	c = n.counts[n.segment.Value]
	if !n.public {
		return c, true
	}
	if !n.full {
		return c, false // what the others were is not known
	}
	other, folds := n.segment.Value == grandstand.Other, false
	for _, v := range n.counts {
		if folds = folds || v.Folded; v.Folded && other {
			c.Sessions += v.Sessions
			c.Fans = min(c.Fans+v.Fans, c.Sessions)
		}
	}
	// Where others are folded a zero would narrow down where they are.
	return c, other || !c.Folded && (c.Sessions > 0 || !folds)
}

// steps returns one hour of the series, in order: of Redis, and of the archive
// what Redis does not have.
func (g *Gateway) steps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error) {
	var recent []grandstand.Step
	var err error
	if g.cfg.History != nil {
		call, cancel := g.deadline(ctx)
		recent, err = g.cfg.History.Steps(call, event, hour)
		cancel()
		if err != nil {
			recent = nil
		}
	}
	if err == nil && len(recent) > 0 && recent[0].At-hour < lateStartMS || g.cfg.Archive == nil {
		if err != nil {
			return nil, unavailable(err)
		}
		return recent, nil
	}
	if err != nil {
		g.trouble("read history", err)
	}
	call, cancel := context.WithTimeout(ctx, archiveTimeout)
	defer cancel()
	old, aerr := g.cfg.Archive.LoadSteps(call, event, hour)
	if aerr != nil && (err != nil || len(recent) == 0) {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, aerr, "the archive cannot be reached just now")
	}
	// The first step of Redis is a full one: what the archive knows of the time
	// before it joins without a seam.
	if len(recent) > 0 {
		cut, _ := slices.BinarySearchFunc(old, recent[0].At, func(s grandstand.Step, at int64) int { return int(s.At - at) })
		old = old[:cut]
	}
	return append(slices.Clip(old), recent...), nil
}
