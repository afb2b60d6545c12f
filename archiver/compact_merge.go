package archiver

import (
	"bytes"
	"cmp"
	"context"
	"io"
)

// rowSource gives rows in some order. Each is valid until the next one is asked
// for; io.EOF ends them.
type rowSource interface {
	next() (*Row, error)
	close()
}

// compareRows orders rows by event, session, received time, and where they come
// from.
func compareRows(a, b *Row) int {
	if c := bytes.Compare(a.Event, b.Event); c != 0 {
		return c
	}
	if c := bytes.Compare(a.Session, b.Session); c != 0 {
		return c
	}
	if c := cmp.Compare(a.ReceivedTime, b.ReceivedTime); c != 0 {
		return c
	}
	if c := bytes.Compare(a.Journal, b.Journal); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Number, b.Number))
}

// merger merges sources. Of rows that are equal that of the earlier source comes
// first.
type merger struct {
	compare func(a, b *Row) int
	heap    []head
	all     []rowSource
	used    bool // the first row was given, and its source must move on
}

type head struct {
	row    *Row
	source rowSource
	index  int
}

// merge begins to merge the sources, which are in the order of compare, and
// which it closes.
func merge(sources []rowSource, compare func(a, b *Row) int) (*merger, error) {
	m := &merger{compare: compare, all: sources}
	for i, s := range sources {
		row, err := s.next()
		if err == io.EOF {
			continue
		}
		if err != nil {
			m.close()
			return nil, err
		}
		m.heap = append(m.heap, head{row: row, source: s, index: i})
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.down(i)
	}
	return m, nil
}

func (m *merger) less(a, b *head) bool {
	c := m.compare(a.row, b.row)
	return c < 0 || c == 0 && a.index < b.index
}

func (m *merger) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.heap); c++ {
			if m.less(&m.heap[c], &m.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

// peek returns the row that next will return.
func (m *merger) peek() (*Row, error) {
	if m.used {
		m.used = false
		first := &m.heap[0]
		row, err := first.source.next()
		switch {
		case err == io.EOF:
			last := len(m.heap) - 1
			m.heap[0] = m.heap[last]
			m.heap = m.heap[:last]
		case err != nil:
			return nil, err
		default:
			first.row = row
		}
		m.down(0)
	}
	if len(m.heap) == 0 {
		return nil, io.EOF
	}
	return m.heap[0].row, nil
}

func (m *merger) next() (*Row, error) {
	row, err := m.peek()
	m.used = err == nil
	return row, err
}

// from returns the index of the source of the row that next returned.
func (m *merger) from() int { return m.heap[0].index }

func (m *merger) close() {
	for _, s := range m.all {
		s.close()
	}
	m.all, m.heap, m.used = nil, nil, false
}

// The fan-in of merges, which bounds their memory: a Parquet object takes a page
// and a buffer of each column, up to some 10 MiB; a run takes runBlock twice.
const (
	liveFanIn = 12
	runFanIn  = 256
)

// liveRows are the rows of an object that are of the hour, and of the event
// unless that is nil.
type liveRows struct {
	file     *tempFile
	o        *objectReader
	event    []byte
	from, to int64
	count    *uint64
}

func (l *liveRows) next() (*Row, error) {
	for {
		row, err := l.o.next()
		if err != nil {
			return nil, err
		}
		if row.ReceivedTime < l.from || row.ReceivedTime >= l.to || l.event != nil && !bytes.Equal(l.event, row.Event) {
			continue
		}
		*l.count++
		return row, nil
	}
}

func (l *liveRows) close() {
	l.o.close()
	l.file.close()
}

// liveSource opens a live object for its rows of the hour.
func (c *compaction) liveSource(ctx context.Context, in input) (rowSource, error) {
	f, err := c.s.fetchTemp(ctx, in.key, c.opt.Temp, in.size)
	if err != nil {
		return nil, err
	}
	o, err := openObject(f, f.size)
	if err != nil {
		f.close()
		return nil, err
	}
	l := &liveRows{file: f, o: o, from: c.hour, to: c.hour + hourMS, count: &c.report.RowsRead}
	if c.opt.Event != "" {
		l.event = []byte(c.opt.Event)
	}
	return l, nil
}

// open returns the rows of the hour of the inputs, in order. If there are more
// inputs than liveFanIn they are merged into runs first.
func (c *compaction) open(ctx context.Context, inputs []input) (*merger, error) {
	if len(inputs) <= liveFanIn {
		sources, err := c.liveSources(ctx, inputs)
		if err != nil {
			return nil, err
		}
		return merge(sources, compareRows)
	}
	var runs []rowSource
	for len(inputs) > 0 {
		n := min(liveFanIn, len(inputs))
		sources, err := c.liveSources(ctx, inputs[:n])
		if err == nil {
			sources, err = spill(ctx, c.opt.Temp, sources, compareRows)
		}
		if err != nil {
			closeAll(runs)
			return nil, err
		}
		runs, inputs = append(runs, sources...), inputs[n:]
	}
	for len(runs) > runFanIn {
		var longer []rowSource
		for len(runs) > 0 {
			n := min(runFanIn, len(runs))
			run, err := spill(ctx, c.opt.Temp, runs[:n], compareRows)
			runs = runs[n:]
			if err != nil {
				closeAll(runs)
				closeAll(longer)
				return nil, err
			}
			longer = append(longer, run...)
		}
		runs = longer
	}
	return merge(runs, compareRows)
}

func (c *compaction) liveSources(ctx context.Context, inputs []input) (sources []rowSource, err error) {
	for _, in := range inputs {
		s, err := c.liveSource(ctx, in)
		if err != nil {
			closeAll(sources)
			return nil, wrapKey(in.key, err)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// spill merges sources into one run in the directory, and closes them.
func spill(ctx context.Context, dir string, sources []rowSource, compare func(a, b *Row) int) ([]rowSource, error) {
	m, err := merge(sources, compare)
	if err != nil {
		return nil, err
	}
	defer m.close()
	w, err := newRunWriter(dir)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		row, err := m.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = w.write(row)
		}
		if err == nil && n%contextEvery == 0 {
			err = ctx.Err()
		}
		if err != nil {
			w.file.close()
			return nil, err
		}
	}
	run, err := w.close()
	if err != nil {
		return nil, err
	}
	return []rowSource{run}, nil
}

// contextEvery is after how many rows a loop looks at its context.
const contextEvery = 4096

func closeAll(sources []rowSource) {
	for _, s := range sources {
		s.close()
	}
}
