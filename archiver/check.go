package archiver

import (
	"bytes"
	"io"

	"grandstand"
)

// checkObject reads all of an object: every page against its checksum, the rows
// against their order, the row groups against their statistics, and all of it
// against the counts and the digest in the metadata. Errors in the bytes have
// CodeInvalid.
func checkObject(r io.ReaderAt, size int64) (*Metadata, error) {
	o, err := openObject(r, size)
	if err != nil {
		return nil, err
	}
	defer o.close()
	var (
		digest rowDigest
		stats  groupStats
		last   struct {
			event, session []byte
			received       int64
		}
	)
	damaged := func(format string, args ...any) error {
		return grandstand.Errorf(grandstand.CodeInvalid, "the object is damaged: "+format, args...)
	}
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
		order := bytes.Compare(last.event, row.Event)
		if order == 0 {
			order = bytes.Compare(last.session, row.Session)
		}
		if order > 0 || order == 0 && digest.rows > 0 && row.ReceivedTime < last.received {
			return nil, damaged("row %d is out of order", digest.rows)
		}
		if row.Number != digest.rows {
			return nil, damaged("row %d says that it is row %d", digest.rows, row.Number)
		}
		if order < 0 {
			last.event, last.session = append(last.event[:0], row.Event...), append(last.session[:0], row.Session...)
		}
		last.received = row.ReceivedTime
		digest.add(row)
		stats.add(row)
	}
	if m := o.Meta; digest.rows != m.Rows || digest.String() != m.Digest || o.file.NumRows() != int64(m.Rows) {
		return nil, damaged("it has %d rows of digest %s, and says %d of %s", digest.rows, digest.String(), m.Rows, m.Digest)
	}
	return o.Meta, nil
}

// checkBytes is checkObject of an object in memory.
func checkBytes(b []byte) (*Metadata, error) {
	return checkObject(bytes.NewReader(b), int64(len(b)))
}

// groupStats are what readers prune row groups by.
type groupStats struct {
	rows                     int64
	minEvent, maxEvent       []byte
	minSession, maxSession   []byte
	minReceived, maxReceived int64
}

func (g *groupStats) add(r *Row) {
	if g.rows++; g.rows == 1 {
		g.minEvent, g.maxEvent = bytes.Clone(r.Event), bytes.Clone(r.Event)
		g.minSession, g.maxSession = bytes.Clone(r.Session), bytes.Clone(r.Session)
		g.minReceived, g.maxReceived = r.ReceivedTime, r.ReceivedTime
		return
	}
	widen(&g.minEvent, &g.maxEvent, r.Event)
	widen(&g.minSession, &g.maxSession, r.Session)
	g.minReceived, g.maxReceived = min(g.minReceived, r.ReceivedTime), max(g.maxReceived, r.ReceivedTime)
}

func widen(least, most *[]byte, text []byte) {
	if bytes.Compare(text, *least) < 0 {
		*least = append((*least)[:0], text...)
	} else if bytes.Compare(text, *most) > 0 {
		*most = append((*most)[:0], text...)
	}
}

// match compares the statistics of a row group's footer.
func (g *groupStats) match(o *objectReader, group int) bool {
	columns := o.file.Metadata().RowGroups[group].Columns
	texts := func(col int, least, most []byte) bool {
		s := &columns[col].MetaData.Statistics
		return bytes.Equal(s.MinValue, least) && bytes.Equal(s.MaxValue, most)
	}
	s := &columns[colReceivedTime].MetaData.Statistics
	return o.file.Metadata().RowGroups[group].NumRows == g.rows &&
		texts(colEvent, g.minEvent, g.maxEvent) && texts(colSession, g.minSession, g.maxSession) &&
		number(s.MinValue) == g.minReceived && number(s.MaxValue) == g.maxReceived
}

// number reads a statistic of a column of numbers.
func number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	var v uint64
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return int64(v)
}
