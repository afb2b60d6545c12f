package archiver

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"

	"grandstand"
)

// partBytes is how large an object of a closed hour may become before the next
// session begins another: 256 MiB, and as much as late files add.
const partBytes = 256 << 20

// eventWriter makes the objects of an event's hour.
type eventWriter struct {
	c             *compaction
	event         string
	old           []part
	before, after partSeqs

	done []*partWriter
	part *partWriter

	session  []byte
	any      bool // there was a session
	earlier  spans
	later    spans
	seen     spans
	origin   Row // of the last row without seq
	journal  []byte
	contents []uint64 // of the rows of this origin
	digest   rowDigest
}

// event merges rows, of which it takes those of one event, with what there is of
// the event's hour, and publishes it.
func (c *compaction) event(ctx context.Context, event string, rows *merger) (_ *manifestEvent, err error) {
	w := &eventWriter{c: c, event: event}
	defer w.close()
	var around [3][]part // of the hour before, this one, and the one after
	var failed [3]error
	var asking sync.WaitGroup
	for i := range around {
		asking.Go(func() { around[i], failed[i] = c.s.parts(ctx, event, c.hour+int64(i-1)*hourMS) })
	}
	asking.Wait()
	if err := cmp.Or(failed[:]...); err != nil {
		return nil, err
	}
	w.before.parts, w.old, w.after.parts = around[0], around[1], around[2]
	m, err := merge([]rowSource{
		&partRows{ctx: ctx, s: c.s, temp: c.opt.Temp, parts: w.old},
		&eventRows{rows: rows, event: []byte(event)},
	}, compareRows)
	if err != nil {
		return nil, err
	}
	defer m.close()
	for n := 0; ; n++ {
		row, err := m.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = w.add(row, m.from() == 0)
		}
		if err == nil && n%contextEvery == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	entry := &manifestEvent{Event: event, Before: contentOf(manifestParts(around[0]))}
	for i, p := range w.done {
		tag := ""
		if i < len(w.old) {
			tag = w.old[i].tag
		}
		if err := c.publish(ctx, partKey(event, c.hour, i), tag, p.file); err != nil {
			return nil, err
		}
		entry.Parts = append(entry.Parts, manifestPart{Rows: p.meta.Rows, Digest: p.meta.Digest, Bytes: p.file.size})
		c.report.Rows += p.meta.Rows
		c.report.Bytes += p.file.size
	}
	return entry, nil
}

func manifestParts(parts []part) (list []manifestPart) {
	for _, p := range parts {
		list = append(list, manifestPart{Rows: p.meta.Rows, Digest: p.meta.Digest, Bytes: p.file.size})
	}
	return list
}

// eventRows are the rows of one event that stand next in a merger.
type eventRows struct {
	rows  *merger
	event []byte
}

func (e *eventRows) next() (*Row, error) {
	row, err := e.rows.peek()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(row.Event, e.event) {
		return nil, io.EOF
	}
	return e.rows.next()
}

func (e *eventRows) close() {}

// add takes a row unless it is there already: in this hour, or in the hour
// before. A row that is new here also gives way to one in the hour after: what
// was published once stays where it is.
func (w *eventWriter) add(row *Row, old bool) error {
	if !w.any || !bytes.Equal(w.session, row.Session) {
		if err := w.begin(row.Session); err != nil {
			return err
		}
	}
	var double bool
	if row.HasSeq {
		double = w.earlier.has(row.Seq) || !old && w.later.has(row.Seq) || !w.seen.add(row.Seq)
	} else {
		double = w.again(row)
	}
	if double {
		w.c.report.Doubles++
		return nil
	}
	return w.part.write(row)
}

// again reports whether a row without seq was there before. Such rows follow
// each other. To be of the same place is not enough: a journal may have been
// copied, so that there are two.
func (w *eventWriter) again(row *Row) bool {
	was := w.digest.sum
	w.digest.add(row)
	content := w.digest.sum - was
	w.origin.Event, w.origin.Session = row.Event, row.Session
	if len(w.contents) == 0 || compareRows(&w.origin, row) != 0 {
		w.journal = append(w.journal[:0], row.Journal...)
		w.origin = Row{ReceivedTime: row.ReceivedTime, Journal: w.journal, File: row.File, Number: row.Number}
		w.contents = append(w.contents[:0], content)
		return false
	}
	for _, c := range w.contents {
		if c == content {
			return true
		}
	}
	w.contents = append(w.contents, content)
	return false
}

// begin begins with a session, and with another part if it belongs there.
func (w *eventWriter) begin(session []byte) error {
	w.session, w.any = append(w.session[:0], session...), true
	w.seen.list, w.earlier.list, w.later.list = w.seen.list[:0], w.earlier.list[:0], w.later.list[:0]
	w.contents = w.contents[:0]
	if err := w.before.into(session, &w.earlier); err != nil {
		return err
	}
	if err := w.after.into(session, &w.later); err != nil {
		return err
	}
	for w.part == nil || w.beyond(string(session)) {
		if err := w.roll(string(session)); err != nil {
			return err
		}
	}
	return nil
}

// beyond reports whether a session belongs into a later part than the one that
// is written: by what there is, else by size.
func (w *eventWriter) beyond(session string) bool {
	if i := len(w.done); i < len(w.old) {
		return !w.old[i].meta.Last && session >= w.old[i].meta.To
	}
	return w.part.digest.rows > 0 && w.c.opt.full(w.part.count.n, w.part.digest.rows)
}

// roll ends the part that is written, and begins the next. If it is the first to
// end there, it is the session that divides them.
func (w *eventWriter) roll(session string) error {
	meta := partMeta{Event: w.event, Hour: w.c.hour}
	if w.part != nil {
		if i := len(w.done); i < len(w.old) {
			session = w.old[i].meta.To
		}
		w.part.meta.To = session
		if err := w.end(); err != nil {
			return err
		}
		meta.Part, meta.From = len(w.done), session
	}
	var err error
	w.part, err = newPartWriter(w.c.opt.Temp, meta)
	return err
}

func (w *eventWriter) end() error {
	p := w.part
	w.done, w.part = append(w.done, p), nil
	return p.finish()
}

// finish ends the last part, and those that there are after it, which are empty
// then.
func (w *eventWriter) finish() error {
	if w.part == nil && len(w.old) == 0 {
		return nil
	}
	for w.part == nil || len(w.done) < len(w.old) && !w.old[len(w.done)].meta.Last {
		if err := w.roll(""); err != nil {
			return err
		}
	}
	w.part.meta.Last = true
	return w.end()
}

func (w *eventWriter) close() {
	w.before.close()
	w.after.close()
	if w.part != nil {
		w.part.file.close()
	}
	for _, p := range w.done {
		p.file.close()
	}
}

// publish replaces an object by a file, which is atomic, and reads it back.
func (c *compaction) publish(ctx context.Context, key, tag string, f *tempFile) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*stepTimeout(f.size))
	defer cancel()
	defer func() { err = wrapKey(key, err) }()
	c.opt.hook("before-put")
	if tag != "" {
		if same, err := c.s.same(ctx, key, f); same || err != nil {
			return err
		}
	}
	body := &hookedReader{r: f, at: f.size / 2, hook: func() { c.opt.hook("during-put") }}
	if _, err := c.sw.replace(ctx, key, tag, io.NewSectionReader(body, 0, f.size)); err != nil {
		return err
	}
	c.opt.hook("after-put")
	// Whoever wrote it: another compactor may have been there with the same bytes,
	// or ours have come there though the answer was lost.
	same, err := c.s.same(ctx, key, f)
	if err == nil && !same {
		err = errMoved
	}
	if err == nil {
		c.report.Objects++
		c.opt.hook("after-readback")
	}
	return err
}

// wrapKey says which object an error is about.
func wrapKey(key string, err error) error {
	if err == nil {
		return nil
	}
	if grandstand.CodeOf(err) == grandstand.CodeInternal {
		return unavailable(err, key)
	}
	return fmt.Errorf("%s: %w", key, err)
}
