package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"grandstand"
)

// VerifyOptions say what is verified.
type VerifyOptions struct {
	Event string // "": every event
	Temp  string // directory of objects while they are read; "": the system's

	// Acked, unless nil, is called for every (event, session, seq) that a client
	// was acknowledged, by whoever knows: those must be there.
	Acked func(yield func(event, session string, seq uint64)) error
}

// VerifyReport is what Verify found. The archive is good if Good says so.
type VerifyReport struct {
	Objects int
	Rows    uint64 // in live/
	Closed  uint64 // rows in events/
	Events  map[string]*EventReport

	Damaged  []string // objects that are not what they say they are, with the reason
	Troubled uint64   // parts of journal files that held no record: kept in damaged/
	Refused  uint64   // events that gateways refused and said so
}

// EventReport is what was found of one event. Sequences of numbers are counted,
// and the first few told.
type EventReport struct {
	Event    string
	Sessions int
	Numbered uint64           // different (session, seq)
	Hours    map[int64]uint64 // rows by hour, each (session, seq) once

	// Doubled stand more than once in events/, which must not be.
	Doubled uint64

	// Lost are numbers that a connection must have carried, since it carried
	// higher ones later, and that are in no object, though no gateway says that
	// it refused events then.
	Lost uint64

	// Missing are those that were acknowledged and are nowhere.
	Missing uint64

	// Short counts goodbyes of gateways that say they wrote more events of a
	// session than there are.
	Short uint64

	// Resent stand in live/ more than once: their senders saw no
	// acknowledgement. Unsent were never heard of: the connection was lost.
	Resent, Unsent uint64

	Samples []string // of what is wrong
}

// Good reports whether nothing that was acknowledged is lost or doubled.
func (r *VerifyReport) Good() bool {
	if len(r.Damaged) > 0 {
		return false
	}
	for _, e := range r.Events {
		if e.Doubled+e.Lost+e.Missing+e.Short > 0 {
			return false
		}
	}
	return true
}

// maxSamples bounds EventReport.Samples.
const maxSamples = 20

// Verify reads every object whole: its checksums, statistics, order, counts and
// digest, and then what the rows of each event say of each other. It takes some
// hundred bytes of memory for each session.
func (s *Store) Verify(ctx context.Context, opt VerifyOptions) (*VerifyReport, error) {
	list, err := s.Objects(ctx, opt.Event)
	if err != nil {
		return nil, err
	}
	v := &verifier{opt: opt, report: &VerifyReport{Events: map[string]*EventReport{}}, events: map[string]*eventProof{}}
	slices.SortStableFunc(list, fileOrder)
	for _, o := range list {
		if err := s.verifyObject(ctx, v, o); err != nil {
			return nil, err
		}
	}
	if opt.Acked != nil {
		if err := opt.Acked(v.acked); err != nil {
			return nil, err
		}
	}
	v.conclude()
	return v.report, nil
}

func (s *Store) verifyObject(ctx context.Context, v *verifier, o Object) error {
	v.report.Objects++
	err := s.withObject(ctx, o, v.opt.Temp, func(r io.ReaderAt, size int64) error {
		var meta *Metadata
		var err error
		if o.Live() {
			meta, err = checkObject(r, size)
		} else {
			_, err = checkPart(r, size)
		}
		if grandstand.CodeOf(err) == grandstand.CodeInvalid {
			v.report.Damaged = append(v.report.Damaged, o.Key+": "+err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		if meta != nil {
			v.file(meta)
		}
		reader, err := openObject(r, size)
		if err != nil {
			return err
		}
		defer reader.close()
		for {
			row, err := reader.next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if grandstand.CodeOf(err) == grandstand.CodeInvalid {
				v.report.Damaged = append(v.report.Damaged, o.Key+": "+err.Error())
				return nil
			}
			if err != nil {
				return err
			}
			if v.opt.Event == "" || string(row.Event) == v.opt.Event {
				v.row(&o, row)
			}
		}
	})
	if o.Live() && errors.Is(err, errNoObject) {
		v.report.Objects-- // it was removed meanwhile: its rows are in closed hours
		return nil
	}
	return err
}

// verifier gathers what rows say.
type verifier struct {
	opt    VerifyOptions
	report *VerifyReport
	events map[string]*eventProof
	gaps   []Gap
}

type eventProof struct {
	report   *EventReport
	sessions map[string]*sessionProof
}

// sessionProof is what is known of one session.
type sessionProof struct {
	live   spans // numbers in live/
	closed spans // numbers in events/
	holes  []hole
	runs   map[string]*run // by journal
}

// run is a session on one gateway, in the order of time: that of its journal,
// unless a clock went back.
type run struct {
	last   uint64 // the number of the row before on the same connection
	lastAt int64
	within bool   // last holds
	events uint64 // beats and events since it was opened
	begun  bool   // its rows begin with a join: none of before is missing
	left   bool   // and did not come back

	short uint64 // goodbyes that say there are more events than before them
	all   uint64 // beats and events
	said  uint64 // the most that a goodbye says
	mixed bool   // the order is not that of the journal
}

// missing returns how many goodbyes say that there are more events than there
// are. Where a clock went back those may stand behind the goodbye.
func (r *run) missing() uint64 {
	if r.mixed && r.all >= r.said {
		return 0
	}
	return r.short
}

// hole is numbers that one connection jumped over.
type hole struct {
	from, to     uint64 // the first and the last
	fromAt, toAt int64
}

// file takes what a live object says of its journal file.
func (v *verifier) file(m *Metadata) {
	v.report.Troubled += uint64(m.Damaged + m.Unreadable)
	for _, g := range m.Gaps {
		v.report.Refused += g.Refused
		v.gaps = append(v.gaps, g)
	}
}

func (v *verifier) event(name []byte) *eventProof {
	e := v.events[string(name)]
	if e == nil {
		e = &eventProof{sessions: map[string]*sessionProof{}, report: &EventReport{Event: string(name), Hours: map[int64]uint64{}}}
		v.events[e.report.Event], v.report.Events[e.report.Event] = e, e.report
	}
	return e
}

func (v *verifier) row(o *Object, r *Row) {
	e := v.event(r.Event)
	s := e.sessions[string(r.Session)]
	if s == nil {
		s = &sessionProof{}
		e.sessions[string(r.Session)] = s
	}
	if !o.Live() {
		v.report.Closed++
		if r.HasSeq && !s.closed.add(r.Seq) {
			e.report.Doubled++
			e.report.sample("doubled", r.Session, r.Seq)
		}
		return
	}
	v.report.Rows++
	hour := grandstand.HourOf(r.ReceivedTime)
	if !r.HasSeq || s.live.add(r.Seq) {
		e.report.Hours[hour]++
	} else {
		e.report.Resent++
	}
	s.follow(r)
}

// follow compares a live row with those before it on the same gateway.
func (s *sessionProof) follow(r *Row) {
	if s.runs == nil {
		s.runs = map[string]*run{}
	}
	c := s.runs[string(r.Journal)]
	if c == nil {
		c = &run{begun: r.Kind == grandstand.RawJoin}
		s.runs[string(r.Journal)] = c
	}
	switch r.Kind {
	case grandstand.RawJoin:
		if how := howOf(r.Data); how != "chose" {
			// Another connection: what the one before had on its way was lost
			// with it. Its numbers may begin anywhere.
			c.within, c.left = false, false
			if how == "opened" {
				c.events, c.begun = 0, true
			}
		}
	case grandstand.RawLeave:
		var said struct {
			Events uint64 `json:"events"`
		}
		if json.Unmarshal(r.Data, &said) == nil && c.begun {
			c.said = max(c.said, said.Events)
			if c.events < said.Events {
				c.short++
			}
		}
		c.within, c.left = false, true
	case grandstand.RawBeat, grandstand.RawEvents:
		c.events++
		c.all++
		c.mixed = c.mixed || c.left || r.HasSeq && c.within && r.Seq < c.last
		if !r.HasSeq {
			return
		}
		if c.within && r.Seq > c.last+1 {
			s.holes = append(s.holes, hole{c.last + 1, r.Seq - 1, c.lastAt, r.ReceivedTime})
		}
		c.last, c.lastAt, c.within = r.Seq, r.ReceivedTime, true
	}
}

func howOf(data []byte) string {
	var said struct {
		How string `json:"how"`
	}
	if json.Unmarshal(data, &said) != nil {
		return ""
	}
	return said.How
}

func (e *EventReport) sample(what string, session []byte, seq uint64) {
	if len(e.Samples) < maxSamples {
		e.Samples = append(e.Samples, what+": session "+string(session)+", "+utoa(seq))
	}
}

// acked takes one number that must be there.
func (v *verifier) acked(event, session string, seq uint64) {
	if v.opt.Event != "" && v.opt.Event != event {
		return
	}
	e := v.event([]byte(event))
	if s := e.sessions[session]; s == nil || !s.live.has(seq) && !s.closed.has(seq) {
		e.report.Missing++
		e.report.sample("acknowledged and missing", []byte(session), seq)
	}
}

// conclude judges the holes: one may have been filled by another connection, or
// be of a time in which a gateway refused events.
func (v *verifier) conclude() {
	for _, e := range v.events {
		e.report.Sessions = len(e.sessions)
		for id, s := range e.sessions {
			all := s.live
			all.merge(&s.closed)
			short := uint64(0)
			for _, r := range s.runs {
				short += r.missing()
			}
			if short > 0 && all.count() == s.live.count() { // nothing of it was pruned
				e.report.Short += short
				e.report.sample("a gateway wrote more events than there are", []byte(id), short)
			}
			e.report.Numbered += all.count()
			holes := uint64(0)
			for _, h := range s.holes {
				lost := all.missing(h.from, h.to)
				holes += lost
				if lost > 0 && !v.refused(h) {
					e.report.Lost += lost
					e.report.sample("lost", []byte(id), h.from)
				}
			}
			if first, last, ok := all.bounds(); ok {
				e.report.Unsent += all.missing(first, last) - min(holes, all.missing(first, last))
			}
		}
	}
}

// refusedMS is by how much the time that a gateway tells of a refusal may be
// beside that of the events around it.
const refusedMS = 60_000

// refused reports whether a gateway says that it refused events at the time of a
// hole.
func (v *verifier) refused(h hole) bool {
	return slices.ContainsFunc(v.gaps, func(g Gap) bool {
		return g.From <= h.toAt+refusedMS && g.To >= h.fromAt-refusedMS
	})
}
