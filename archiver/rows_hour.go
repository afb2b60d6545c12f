package archiver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"grandstand"
)

// hourRows calls each with the event's rows of an hour, by time. Objects are in
// the order of sessions, in which doubles are found; so they are merged by it,
// and then sorted by time, in memory or in runs.
func (s *Store) hourRows(ctx context.Context, hour int64, live []Object, opt RowsOptions, each func(*Row) error) (err error) {
	for range compactTries {
		sorter := &timeSorter{temp: opt.Temp, limit: opt.sortBytes}
		if err = s.collect(ctx, sorter, hour, live, opt); err == nil {
			err = sorter.each(ctx, each)
			sorter.close()
			return err
		}
		sorter.close()
		if grandstand.CodeOf(err) != grandstand.CodeConflict && !errors.Is(err, errNoObject) {
			return err
		}
		// The hour was compacted meanwhile, or what was compacted is removed. Nobody
		// has seen a row yet.
		list, err := s.Objects(ctx, opt.Event)
		if err != nil {
			return err
		}
		live = liveOf(list, hour)
	}
	return err
}

// collect reads all of an hour into the sorter.
func (s *Store) collect(ctx context.Context, sorter *timeSorter, hour int64, live []Object, opt RowsOptions) error {
	rows, err := s.sessionRows(ctx, hour, live, opt)
	if err != nil {
		return err
	}
	defer rows.close()
	var once doubles
	for n := 0; ; n++ {
		row, err := rows.next()
		if err == io.EOF {
			return nil
		}
		if err == nil && n%contextEvery == 0 {
			err = ctx.Err()
		}
		if err == nil && row.ReceivedTime >= opt.From && (opt.To == 0 || row.ReceivedTime < opt.To) && once.first(row) {
			err = sorter.add(ctx, row)
		}
		if err != nil {
			return err
		}
	}
}

// sessionRows returns the rows of an hour in the order of sessions: if it is
// compacted, those of its objects and of the live ones that came later, else of
// all live ones.
func (s *Store) sessionRows(ctx context.Context, hour int64, live []Object, opt RowsOptions) (*merger, error) {
	parts, err := s.parts(ctx, opt.Event, hour)
	if err != nil {
		return nil, err
	}
	if len(parts) > 0 {
		m, err := s.loadManifest(ctx, hour)
		if err != nil {
			return nil, err
		}
		live = slices.DeleteFunc(live, func(o Object) bool { return m.has(strings.TrimPrefix(o.Key, livePrefix)) })
	}
	inputs := make([]input, len(live))
	for i, o := range live {
		inputs[i] = input{key: o.Key, size: o.Size}
	}
	reading := compaction{s: s, hour: hour, opt: &CompactOptions{Event: opt.Event, Temp: opt.Temp}, report: &CompactReport{}}
	late, err := reading.open(ctx, inputs)
	if err != nil {
		return nil, err
	}
	return merge([]rowSource{&partRows{ctx: ctx, s: s, temp: opt.Temp, parts: parts}, late}, compareRows)
}

// doubles tells which rows, in the order of sessions, were there before.
type doubles struct {
	session, journal []byte
	last             Row // its place; what it points to is above
	any              bool
	seen             spans
}

// first reports whether a row was not there before: the same number of its
// session, or the very same row.
func (d *doubles) first(r *Row) bool {
	if !d.any || !bytes.Equal(d.session, r.Session) {
		d.seen.list = d.seen.list[:0]
	}
	same := d.any && bytes.Equal(d.session, r.Session) && bytes.Equal(d.journal, r.Journal) &&
		d.last.ReceivedTime == r.ReceivedTime && d.last.File == r.File && d.last.Number == r.Number
	d.any, d.session, d.journal = true, append(d.session[:0], r.Session...), append(d.journal[:0], r.Journal...)
	d.last = Row{ReceivedTime: r.ReceivedTime, File: r.File, Number: r.Number}
	if r.HasSeq {
		return d.seen.add(r.Seq)
	}
	return !same
}

// sortBytes bounds the rows that are sorted in memory: some four hundred thousand.
const sortBytes = 64 << 20

// timeSorter sorts rows by time. What does not fit in memory is in runs.
type timeSorter struct {
	temp  string
	limit int

	rows  []byte // as appendRow writes them, one after the other
	order []place
	runs  []rowSource
}

// place is where a row stands in memory.
type place struct {
	at       int64 // ReceivedTime
	from, to int
}

// compareTimes orders rows by time, and those of the same millisecond by where
// they come from.
func compareTimes(a, b *Row) int {
	return cmp.Or(cmp.Compare(a.ReceivedTime, b.ReceivedTime), bytes.Compare(a.Journal, b.Journal),
		cmp.Compare(a.File, b.File), bytes.Compare(a.Session, b.Session), cmp.Compare(a.Number, b.Number))
}

func (t *timeSorter) add(ctx context.Context, r *Row) error {
	from := len(t.rows)
	t.rows = appendRow(t.rows, r)
	t.order = append(t.order, place{r.ReceivedTime, from, len(t.rows)})
	if len(t.rows) < t.limit {
		return nil
	}
	return t.spill(ctx)
}

func (t *timeSorter) sort() {
	var x, y Row
	slices.SortFunc(t.order, func(a, b place) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		readRow(t.rows[a.from:a.to], &x)
		readRow(t.rows[b.from:b.to], &y)
		return compareTimes(&x, &y)
	})
}

// spill writes what is in memory into a run.
func (t *timeSorter) spill(ctx context.Context) error {
	if len(t.runs) == runFanIn {
		one, err := spill(ctx, t.temp, t.runs, compareTimes)
		t.runs = one
		if err != nil {
			return err
		}
	}
	t.sort()
	w, err := newRunWriter(t.temp)
	if err != nil {
		return err
	}
	for _, p := range t.order {
		if err := w.append(t.rows[p.from:p.to]); err != nil {
			w.file.close()
			return err
		}
	}
	run, err := w.close()
	if err != nil {
		return err
	}
	t.runs = append(t.runs, run)
	t.rows, t.order = t.rows[:0], t.order[:0]
	return nil
}

// each calls do with all rows.
func (t *timeSorter) each(ctx context.Context, do func(*Row) error) error {
	if len(t.runs) == 0 {
		t.sort()
		var r Row
		for _, p := range t.order {
			readRow(t.rows[p.from:p.to], &r)
			if err := do(&r); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if len(t.order) > 0 {
		if err := t.spill(ctx); err != nil {
			return err
		}
	}
	t.rows, t.order = nil, nil
	all, err := merge(t.runs, compareTimes)
	t.runs = nil
	if err != nil {
		return err
	}
	defer all.close()
	for n := 0; ; n++ {
		row, err := all.next()
		if err == io.EOF {
			return nil
		}
		if err == nil && n%contextEvery == 0 {
			err = ctx.Err()
		}
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return err
		}
	}
}

func (t *timeSorter) close() { closeAll(t.runs) }
