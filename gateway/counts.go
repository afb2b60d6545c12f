package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"grandstand"
)

// selection is which part of a board is asked for.
type selection struct {
	dim      string               // "": all
	segments []grandstand.Segment // by dimension; none: all of dim
	operator bool                 // sees segments that are folded for the public
	cohort   uint64               // min_cohort of the event
}

// maxSelected is how many segments may be asked for.
const maxSelected = 16

// selectionOf reads ?dim= and ?segment=, which may be a list: team:KC,team:SF.
func (g *Gateway) selectionOf(r *http.Request, e *grandstand.Event) (selection, error) {
	q, err := query(r)
	if err != nil {
		return selection{}, err
	}
	s := selection{dim: q.Get("dim"), operator: g.cfg.Auth.Admin(r) == nil, cohort: g.cohortOf(e)}
	s.dim = strings.ReplaceAll(s.dim, " ", "+") // "+" is a space in a query
	if !hasDim(e, s.dim) {
		return selection{}, grandstand.Errorf(grandstand.CodeInvalid, "the event has no dimension %.64q", s.dim)
	}
	list := strings.Split(q.Get("segment"), ",")
	if len(list) > maxSelected {
		return selection{}, grandstand.Errorf(grandstand.CodeInvalid, "at most %d segments", maxSelected)
	}
	if list[0] == "" {
		return s, nil
	}
	for _, text := range list {
		segment, err := grandstand.ParseSegment(strings.ReplaceAll(text, " ", "+"))
		switch {
		case err != nil:
			return selection{}, err
		case !hasDim(e, segment.Dim):
			return selection{}, grandstand.Errorf(grandstand.CodeInvalid, "the event has no dimension %.64q", segment.Dim)
		case s.dim != "" && s.dim != segment.Dim:
			return selection{}, grandstand.Errorf(grandstand.CodeInvalid, "dim and segment name two dimensions")
		case !slices.Contains(s.segments, segment):
			s.segments = append(s.segments, segment)
		}
	}
	slices.SortStableFunc(s.segments, func(a, b grandstand.Segment) int { return cmp.Compare(a.Dim, b.Dim) })
	return s, nil
}

// cohortOf returns the event's min_cohort.
func (g *Gateway) cohortOf(e *grandstand.Event) uint64 {
	if e.MinCohort != nil {
		return uint64(*e.MinCohort)
	}
	return uint64(g.cfg.MinCohort)
}

// hasDim reports whether an event has the dimension; "" is all that it has.
func hasDim(e *grandstand.Event, dim string) bool {
	return dim == "" || dim == grandstand.World || slices.ContainsFunc(e.Dims, func(d grandstand.Dimension) bool { return d.Name == dim })
}

// counts is a selection of a board as JSON, but for the digits of its age.
type counts struct {
	board      *grandstand.Board
	head, tail []byte
	etag       string
}

// appendJSON appends the object as it is at now.
func (c *counts) appendJSON(dst []byte, now int64) []byte {
	dst = append(dst, c.head...)
	dst = strconv.AppendInt(dst, max(now-c.board.At, 0), 10)
	return append(dst, c.tail...)
}

// AppendCounts appends what GET counts answers the public of a board at now, in
// Unix ms: for whoever shows boards without a gateway.
func AppendCounts(dst []byte, b *grandstand.Board, now int64) []byte {
	return encodeCounts(b, selection{}).appendJSON(dst, now)
}

// encodeCounts encodes a selection of b.
func encodeCounts(b *grandstand.Board, s selection) *counts {
	c := &counts{board: b}
	c.head = append(c.head, `{"event":"`...)
	c.head = append(c.head, b.Event...) // needs no escapes
	c.head = append(c.head, `","at":`...)
	c.head = strconv.AppendInt(c.head, b.At, 10)
	c.head = append(c.head, `,"age_ms":`...)

	t := append(c.tail, `,"epoch":`...)
	t = strconv.AppendInt(t, b.Epoch, 10)
	t = append(t, `,"quality":"`...)
	t = append(t, b.Quality.String()...)
	t = append(t, '"')
	if b.Quality == grandstand.Partial {
		t = append(t, `,"coverage":`...)
		t = strconv.AppendFloat(t, b.Coverage, 'f', 4, 64)
	}
	t = append(t, `,"dims":{`...)
	t = appendSelection(t, b, s)
	t = append(t, '}')
	if s.cohort > 1 && !s.operator {
		t = append(t, `,"min_cohort":`...) // what null is less than
		t = strconv.AppendUint(t, s.cohort, 10)
	}
	t = append(t, `,"error":`...)
	t = strconv.AppendFloat(t, grandstand.FanError, 'f', 4, 64)
	c.tail = append(t, '}')

	// Weak: the age differs from one answer to the next.
	c.etag = `W/"` + strconv.FormatInt(b.Epoch, 36) + "-" + strconv.FormatInt(b.At, 36) + "-" + b.Quality.String()
	if s.operator {
		c.etag += "-all"
	}
	c.etag += `"`
	return c
}

func appendSelection(t []byte, b *grandstand.Board, s selection) []byte {
	for i, seg := range s.segments {
		first := i == 0 || s.segments[i-1].Dim != seg.Dim
		last := i == len(s.segments)-1 || s.segments[i+1].Dim != seg.Dim
		if i > 0 {
			t = append(t, ',')
		}
		if first {
			t = appendDim(t, seg.Dim)
		}
		if seg.Dim != grandstand.World {
			if first {
				t = append(t, '{')
			}
			t = appendValue(t, seg.Value)
		}
		t = s.appendCount(t, s.find(b, seg))
		if last && seg.Dim != grandstand.World {
			t = append(t, '}')
		}
	}
	if len(s.segments) > 0 {
		return t
	}
	list := b.Segments
	if !s.operator && len(b.Public) > 0 {
		list = b.PublicView()
	}
	dim := ""
	for i := range list {
		c := &list[i]
		if s.dim != "" && c.Segment.Dim != s.dim {
			continue
		}
		if c.Segment.Dim == grandstand.World {
			t = s.appendCount(appendDim(t, grandstand.World), c)
			dim = grandstand.World
			continue
		}
		if c.Segment.Dim != dim {
			if dim != "" && dim != grandstand.World {
				t = append(t, '}')
			}
			if dim != "" {
				t = append(t, ',')
			}
			dim = c.Segment.Dim
			t = append(appendDim(t, dim), '{')
		} else {
			t = append(t, ',')
		}
		t = s.appendCount(appendValue(t, c.Segment.Value), c)
	}
	if dim != "" && dim != grandstand.World {
		t = append(t, '}')
	}
	return t
}

// find returns what a reader may know of a segment: zeros if nobody is in it, nil
// if it is folded for them or not counted.
func (s selection) find(b *grandstand.Board, seg grandstand.Segment) *grandstand.SegmentCount {
	if !s.operator {
		return b.FindPublic(seg)
	}
	if c := b.Find(seg); c != nil || !b.Counts(seg.Dim) {
		return c
	}
	return &grandstand.SegmentCount{}
}

// Dimensions and values are [A-Za-z0-9._+-] and need no escapes.
func appendDim(t []byte, dim string) []byte { return appendValue(t, dim) }

func appendValue(t []byte, value string) []byte {
	t = append(t, '"')
	t = append(t, value...)
	return append(t, '"', ':')
}

// appendCount appends what is shown of a segment. Peak and reach are of another
// time than the sessions, at which other segments were folded, so the public is
// shown those of segments in whole cohorts: else a difference of two would be that
// of a single small one.
func (s selection) appendCount(t []byte, c *grandstand.SegmentCount) []byte {
	if c == nil {
		return append(t, "null"...)
	}
	peak, reach := c.Peak, c.Reach
	if s.cohort > 1 && !s.operator && c.Segment.Dim != grandstand.World {
		peak, reach = wholeOf(peak, s.cohort), wholeOf(reach, s.cohort)
	}
	t = strconv.AppendUint(append(t, `{"sessions":`...), c.Sessions, 10)
	t = strconv.AppendUint(append(t, `,"fans":`...), c.Fans, 10)
	t = strconv.AppendUint(append(t, `,"peak":`...), peak, 10)
	t = strconv.AppendUint(append(t, `,"reach":`...), reach, 10)
	return append(t, '}')
}

// wholeOf returns the next multiple of k that is not less than n.
func wholeOf(n, k uint64) uint64 { return (n + k - 1) / k * k }

// maxCounts bounds the encoded selections that are kept. There is one per
// board, dimension and kind of reader.
const maxCounts = 4096

// countsCache keeps the newest encoded selections: however often they are read,
// a board is encoded once. Single segments are cheaper to encode than to keep.
type countsCache struct {
	mu sync.RWMutex
	of map[countsKey]*counts
}

type countsKey struct {
	event, dim string
	operator   bool
}

// get returns the selection of b.
func (cc *countsCache) get(b *grandstand.Board, s selection) *counts {
	if len(s.segments) > 0 {
		return encodeCounts(b, s)
	}
	key := countsKey{b.Event, s.dim, s.operator}
	cc.mu.RLock()
	c := cc.of[key]
	cc.mu.RUnlock()
	if c != nil && c.board == b {
		return c
	}
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if c = cc.of[key]; c != nil && c.board == b {
		return c // somebody else has just encoded it
	}
	if len(cc.of) >= maxCounts || cc.of == nil {
		cc.of = map[countsKey]*counts{}
	}
	c = encodeCounts(b, s)
	cc.of[key] = c
	return c
}

// getCounts answers GET /v1/events/{event}/counts.
func (g *Gateway) getCounts(w http.ResponseWriter, r *http.Request) {
	e, err := g.readable(r)
	var s selection
	if err == nil {
		s, err = g.selectionOf(r, e)
	}
	var b *grandstand.Board
	if err == nil {
		b, err = g.board(r.Context(), e)
	}
	if err != nil {
		g.fail(w, "counts", err)
		return
	}
	c := g.counts.get(b, s)
	h := w.Header()
	h.Set("ETag", c.etag)
	h.Set("Cache-Control", cacheControl(e, s.operator))
	if strings.Contains(r.Header.Get("If-None-Match"), c.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	body := c.appendJSON(make([]byte, 0, len(c.head)+len(c.tail)+20), g.cfg.Clock.Now())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// cacheControl lets caches share what the public sees, for a tick.
func cacheControl(e *grandstand.Event, operator bool) string {
	kind := "private"
	if !operator && e.Public {
		kind = "public"
	}
	return kind + ", max-age=" + strconv.FormatInt(e.TickMS/1000, 10)
}

// board returns the newest board of an event, the last one if it is over.
func (g *Gateway) board(ctx context.Context, e *grandstand.Event) (*grandstand.Board, error) {
	if e.State == grandstand.EventEnded {
		return g.finals.get(ctx, g, e)
	}
	if b := g.cfg.Hub.Latest(e.Name); b != nil {
		return b, nil
	}
	if e.State == grandstand.EventScheduled {
		return emptyBoard(e, g.cfg.Clock.Now(), grandstand.Live), nil
	}
	return nil, grandstand.Errorf(grandstand.CodeUnavailable, "there are no counts yet")
}

func emptyBoard(e *grandstand.Event, at int64, q grandstand.Quality) *grandstand.Board {
	return &grandstand.Board{Event: e.Name, At: at, TickMS: e.TickMS, Quality: q, Coverage: 1,
		Segments: []grandstand.SegmentCount{{Segment: grandstand.WorldSegment}}}
}
