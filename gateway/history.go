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
}

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
	if sel.segment != nil {
		segment = *sel.segment
	} else if sel.dim != "" && sel.dim != grandstand.World {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "history is of one segment: segment=team:KC")
	}
	sp, err := spanOf(r.URL.Query(), g.cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	least := uint64(0)
	if !sel.operator && e.MinCohort != nil && segment != grandstand.WorldSegment {
		least = uint64(*e.MinCohort)
	}
	out := &series{Event: e.Name, Segment: segment.String(), From: sp.from, To: sp.to, Step: sp.step}
	out.Points = make([]*[3]int64, (sp.to-sp.from+sp.step-1)/sp.step)
	for hour := grandstand.HourOf(sp.from); hour <= sp.to; hour += hourMS {
		steps, err := g.steps(r.Context(), e.Name, hour)
		if err != nil {
			return nil, err
		}
		out.add(steps, segment, least)
	}
	return out, nil
}

// add puts one hour's steps into the points they fall in. Counts under least
// are not shown.
func (s *series) add(steps []grandstand.Step, segment grandstand.Segment, least uint64) {
	var now *grandstand.StepCount // nil: not known yet
	for i := range steps {
		st := &steps[i]
		at, found := slices.BinarySearchFunc(st.Counts, segment, func(c grandstand.StepCount, seg grandstand.Segment) int {
			return grandstand.CompareSegments(c.Segment, seg)
		})
		switch {
		case found:
			now = &st.Counts[at]
		case st.Full:
			now = &grandstand.StepCount{}
		}
		if now == nil || st.At < s.From || st.At >= s.To {
			continue
		}
		var point *[3]int64
		if now.Sessions == 0 || now.Sessions >= least {
			point = &[3]int64{st.At, int64(now.Sessions), int64(now.Fans)}
		}
		s.Points[(st.At-s.From)/s.Step] = point
	}
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
