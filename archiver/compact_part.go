package archiver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"grandstand"
)

// part is an object of a closed hour that is in the store.
type part struct {
	key, tag string
	meta     *partMeta
	file     *remoteFile
}

// parts returns the objects that there are of an event's hour, in order. Without
// the last one somebody stopped on the way.
func (s *Store) parts(ctx context.Context, event string, hour int64) ([]part, error) {
	sw, err := s.switcher()
	if err != nil {
		return nil, err
	}
	var list []part
	for i := 0; i == 0 || !list[i-1].meta.Last; i++ {
		p, err := s.part(ctx, sw, partKey(event, hour, i))
		if err != nil {
			return nil, wrapKey(partKey(event, hour, i), err)
		}
		if p == nil {
			break
		}
		// JSON has no bytes that are not UTF-8, and no row has.
		if p.meta.Event != event || p.meta.Hour != hour || p.meta.Part != i || i > 0 && p.meta.From != list[i-1].meta.To {
			return nil, grandstand.Errorf(grandstand.CodeInvalid, "%s: the object is of another hour or part", p.key)
		}
		list = append(list, *p)
	}
	return list, nil
}

// part returns nil without error if there is none.
func (s *Store) part(ctx context.Context, sw switcher, key string) (*part, error) {
	call, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	tag, size, err := sw.tag(call, key)
	if tag == "" || err != nil {
		return nil, err
	}
	file := s.remote(ctx, key, size)
	file.tag = tag
	o, err := openObject(file, size)
	if err != nil {
		return nil, file.moved(err)
	}
	defer o.close()
	meta, err := partMetaOf(o)
	return &part{key: key, tag: tag, meta: meta, file: file}, err
}

// partRows are the rows of the parts of an hour, one part after the other.
type partRows struct {
	ctx   context.Context
	s     *Store
	temp  string
	parts []part

	file *tempFile
	o    *objectReader
	left uint64
}

func (p *partRows) next() (*Row, error) {
	for {
		if p.o == nil {
			if len(p.parts) == 0 {
				return nil, io.EOF
			}
			if err := p.open(&p.parts[0]); err != nil {
				return nil, wrapKey(p.parts[0].key, err)
			}
			p.parts = p.parts[1:]
		}
		row, err := p.o.next()
		if err == nil {
			p.left--
		}
		if err != io.EOF {
			return row, err
		}
		if p.left != 0 {
			return nil, errMoved
		}
		p.close()
	}
}

func (p *partRows) open(from *part) (err error) {
	if p.file, err = p.s.fetchTemp(p.ctx, from.key, p.temp, from.file.size); err != nil {
		return err
	}
	if p.o, err = openObject(p.file, p.file.size); err != nil {
		return err
	}
	now, err := partMetaOf(p.o)
	if err == nil && *now != *from.meta {
		err = errMoved
	}
	p.left = from.meta.Rows
	return err
}

func (p *partRows) close() {
	if p.o != nil {
		p.o.close()
		p.o = nil
	}
	p.file.close()
	p.file = nil
}

// errMoved says that somebody else replaced an object meanwhile.
var errMoved = grandstand.Errorf(grandstand.CodeConflict, "another compactor was there first")

// partSeqs gives the seqs of the sessions of an hour, of which it reads no other
// columns.
type partSeqs struct {
	parts []part

	file    *remoteFile
	o       *objectReader
	session []byte
	seq     uint64
	numbers bool // the row has a seq
	ended   bool
	begun   bool
}

// keyColumns are those that tell doubles.
var keyColumns = [...]int{colSession, colSeq}

// into adds the seqs of a session to a set. Sessions are asked for in order.
func (p *partSeqs) into(session []byte, set *spans) error {
	if !p.begun {
		p.begun = true
		if err := p.advance(); err != nil {
			return err
		}
	}
	for !p.ended {
		c := bytes.Compare(p.session, session)
		if c > 0 {
			return nil
		}
		if c == 0 && p.numbers {
			set.add(p.seq)
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

func (p *partSeqs) advance() error {
	for {
		if p.o == nil {
			if len(p.parts) == 0 {
				p.ended = true
				return nil
			}
			from := &p.parts[0]
			o, err := openObject(from.file, from.file.size)
			if err != nil {
				return wrapKey(from.key, from.file.moved(err))
			}
			p.file, p.o, p.parts = from.file, o, p.parts[1:]
		}
		err := p.o.step(keyColumns[:])
		if err == io.EOF {
			p.close()
			continue
		}
		if err != nil {
			return wrapKey(p.file.key, p.file.moved(err))
		}
		p.session = append(p.session[:0], p.o.columns[colSession].text()...)
		seq, given := p.o.columns[colSeq].number()
		p.seq, p.numbers = uint64(seq), given
		return nil
	}
}

func (p *partSeqs) close() {
	if p.o != nil {
		p.o.close()
		p.o = nil
	}
}

// step stands on the next row, of which only some columns are read then: all of
// them, and each once.
func (o *objectReader) step(columns []int) (err error) {
	defer recoverInvalid(&err)
	for o.left == 0 {
		o.closePages()
		o.group++
		groups := o.file.RowGroups()
		if o.group >= len(groups) {
			return io.EOF
		}
		o.left = groups[o.group].NumRows()
		for _, i := range columns {
			o.columns[i] = cursor{pages: groups[o.group].ColumnChunks()[i].Pages()}
		}
	}
	for _, i := range columns {
		if c := &o.columns[i]; c.at == c.rows {
			if err := c.nextPage(); err != nil {
				return invalid(err)
			}
		}
	}
	o.left--
	return nil
}

// partWriter writes a part into a temporary file.
type partWriter struct {
	file   *tempFile
	buf    *bufio.Writer
	count  *countingWriter
	object *objectWriter
	digest rowDigest
	meta   partMeta
}

// countingWriter counts what goes through.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func newPartWriter(dir string, meta partMeta) (*partWriter, error) {
	f, err := newTemp(dir)
	if err != nil {
		return nil, err
	}
	meta.Version = metadataVersion
	p := &partWriter{file: f, meta: meta, buf: bufio.NewWriterSize(f, 256<<10)}
	p.count = &countingWriter{w: p.buf}
	p.object = newObjectWriter(p.count)
	return p, nil
}

func (p *partWriter) write(r *Row) error {
	if p.digest.rows == 0 {
		p.meta.MinReceived, p.meta.MaxReceived = r.ReceivedTime, r.ReceivedTime
	}
	p.meta.MinReceived, p.meta.MaxReceived = min(p.meta.MinReceived, r.ReceivedTime), max(p.meta.MaxReceived, r.ReceivedTime)
	p.digest.add(r)
	return p.object.write(r)
}

// finish ends the object and reads it once more from beginning to end.
func (p *partWriter) finish() error {
	p.meta.Rows, p.meta.Digest = p.digest.rows, p.digest.String()
	err := errors.Join(p.object.close(p.meta.encode()), p.buf.Flush())
	if err != nil {
		return err
	}
	p.file.size = p.count.n
	p.object, p.buf, p.count = nil, nil, nil // their memory
	found, err := checkPart(p.file, p.file.size)
	if err == nil && *found != p.meta {
		err = grandstand.Errorf(grandstand.CodeInternal, "the object is not what was written")
	}
	return err
}

// checkPart reads all of an object of a closed hour: its pages against their
// checksums, its rows against their order, event, hour, sessions, the statistics
// and the digest, and that no (session, seq) is there twice. Errors in the bytes
// have CodeInvalid.
func checkPart(r io.ReaderAt, size int64) (*partMeta, error) {
	o, err := openObject(r, size)
	if err != nil {
		return nil, err
	}
	defer o.close()
	m, err := partMetaOf(o)
	if err != nil {
		return nil, err
	}
	damaged := func(format string, args ...any) error {
		return grandstand.Errorf(grandstand.CodeInvalid, "the object is damaged: "+format, args...)
	}
	var (
		digest rowDigest
		stats  groupStats
		seen   spans
		last   Row // its session and where it is from
		prev   struct{ session, journal []byte }
	)
	for group := -1; ; {
		row, err := o.next()
		if err != nil && err != io.EOF {
			return nil, err
		}
		if o.group != group {
			if group >= 0 && !stats.match(o, group) {
				return nil, damaged("the statistics of row group %d are not of its rows", group)
			}
			group, stats = o.group, groupStats{}
		}
		if err == io.EOF {
			break
		}
		if string(row.Event) != m.Event || floorHour(row.ReceivedTime) != m.Hour ||
			string(row.Session) < m.From || !m.Last && string(row.Session) >= m.To {
			return nil, damaged("row %d is of another event, hour or part", digest.rows)
		}
		last.Event = row.Event
		if digest.rows > 0 && compareRows(&last, row) > 0 {
			return nil, damaged("row %d is out of order", digest.rows)
		}
		if digest.rows == 0 || !bytes.Equal(prev.session, row.Session) {
			seen.list = seen.list[:0]
		}
		if row.HasSeq && !seen.add(row.Seq) {
			return nil, damaged("row %d is there twice", digest.rows)
		}
		prev.session, prev.journal = append(prev.session[:0], row.Session...), append(prev.journal[:0], row.Journal...)
		last = Row{Session: prev.session, Journal: prev.journal, File: row.File, Number: row.Number, ReceivedTime: row.ReceivedTime}
		digest.add(row)
		stats.add(row)
	}
	if digest.rows != m.Rows || digest.String() != m.Digest || o.file.NumRows() != int64(m.Rows) {
		return nil, damaged("it has %d rows of digest %s, and says %d of %s", digest.rows, digest.String(), m.Rows, m.Digest)
	}
	return m, nil
}
