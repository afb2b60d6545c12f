package archiver

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"

	"grandstand"
)

// objectReader reads the rows of an object of ours. It belongs to one goroutine,
// and its memory is that of a page of each column.
type objectReader struct {
	file *parquet.File
	Meta *Metadata

	group   int // the row group that is read; -1 before the first
	left    int64
	columns [numColumns]cursor
	row     Row
	keys    [colDevice + 1]key
	kind    struct {
		text []byte
		kind grandstand.RawKind
	}
}

var errForeign = grandstand.Errorf(grandstand.CodeInvalid, "the object is not one of ours")

// openObject reads an object's footer. Errors in its bytes have CodeInvalid.
func openObject(r io.ReaderAt, size int64) (o *objectReader, err error) {
	defer recoverInvalid(&err)
	f, err := parquet.OpenFile(r, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true),
		parquet.OptimisticRead(false), parquet.ReadBufferSize(pageBytes))
	if err != nil {
		return nil, invalid(err)
	}
	text, ok := f.Lookup(metadataKey)
	if !ok {
		return nil, errForeign
	}
	meta, err := decodeMetadata(text)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(f.Schema().Columns(), schema.Columns(), slices.Equal) {
		return nil, errForeign
	}
	return &objectReader{file: f, Meta: meta, group: -1}, nil
}

// invalid says that an object's bytes are not what they should be, unless it was
// the reading that did not succeed.
func invalid(err error) error {
	if grandstand.CodeOf(err) != grandstand.CodeInternal || errors.Is(err, errRead) {
		return err
	}
	return grandstand.WrapError(grandstand.CodeInvalid, err, "the object is damaged")
}

// errRead marks errors of reading, which say nothing about the object.
var errRead = errors.New("read object")

// recoverInvalid makes an error of a panic: the library panics on some files
// that are damaged.
func recoverInvalid(err *error) {
	if p := recover(); p != nil {
		*err = grandstand.Errorf(grandstand.CodeInvalid, "the object is damaged: %v", p)
	}
}

// next returns the next row, which is valid until the call after; io.EOF at the
// end.
func (o *objectReader) next() (r *Row, err error) {
	defer recoverInvalid(&err)
	for o.left == 0 {
		if err := o.nextGroup(); err != nil {
			return nil, err
		}
	}
	for i := range o.columns {
		if c := &o.columns[i]; c.at == c.rows {
			if err := c.nextPage(); err != nil {
				return nil, invalid(fmt.Errorf("column %s: %w", schema.Columns()[i][0], err))
			}
		}
	}
	o.left--
	return &o.row, o.fill()
}

// nextGroup begins with the next row group that has rows.
func (o *objectReader) nextGroup() error {
	o.closePages()
	o.group++
	groups := o.file.RowGroups()
	if o.group >= len(groups) {
		return io.EOF
	}
	o.left = groups[o.group].NumRows()
	for i, chunk := range groups[o.group].ColumnChunks() {
		if chunk.NumValues() != o.left {
			return grandstand.Errorf(grandstand.CodeInvalid, "the object is damaged: a column has %d values of %d", chunk.NumValues(), o.left)
		}
		o.columns[i] = cursor{pages: chunk.Pages()}
	}
	return nil
}

// close lets go of what is being read.
func (o *objectReader) close() { o.closePages() }

func (o *objectReader) closePages() {
	for i := range o.columns {
		if c := &o.columns[i]; c.pages != nil {
			parquet.Release(c.page)
			c.pages.Close()
			*c = cursor{}
		}
	}
}

// fill makes a row of where the columns stand, and moves them on.
func (o *objectReader) fill() error {
	r, c := &o.row, &o.columns
	r.Event, r.Session = c[colEvent].text(), c[colSession].text()
	var bad bool
	for _, k := range [...]struct {
		col int
		to  *grandstand.Key
	}{{colViewer, &r.Viewer}, {colAccount, &r.Account}, {colDevice, &r.Device}} {
		bad = !o.key(k.col, k.to) || bad
	}
	seq, given := c[colSeq].number()
	r.Seq, r.HasSeq = uint64(seq), given
	if text := c[colKind].text(); string(text) != string(o.kind.text) {
		kind, ok := kindOf(string(text))
		bad = bad || !ok
		o.kind.text, o.kind.kind = append(o.kind.text[:0], text...), kind
	}
	r.Kind, r.Name = o.kind.kind, c[colName].text()
	r.State = grandstand.StateNone
	if text := c[colState].text(); text != nil {
		var ok bool
		r.State, ok = grandstand.ParseState(string(text))
		bad = bad || !ok
	}
	r.Position, r.HasPosition = c[colPosition].double()
	r.Bitrate, r.HasBitrate = c[colBitrate].number()
	r.Country, r.Region, r.Team, r.Segments = c[colCountry].text(), c[colRegion].text(), c[colTeam].text(), c[colSegments].text()
	r.Gateway = c[colGateway].text()
	r.ClientTime, _ = c[colClientTime].number()
	r.ReceivedTime, _ = c[colReceivedTime].number()
	r.Data = c[colData].text()
	r.Journal = c[colJournal].text()
	file, _ := c[colFile].number()
	number, _ := c[colRow].number()
	r.File, r.Number = uint64(file), uint64(number)
	if bad {
		return grandstand.Errorf(grandstand.CodeInvalid, "the object is damaged: a key, kind or state of row %d is none", number)
	}
	return nil
}

// key reads the next key. Rows of a session follow each other, and have the same.
func (o *objectReader) key(col int, to *grandstand.Key) bool {
	text := o.columns[col].text()
	if text == nil {
		*to = grandstand.Key{}
		return true
	}
	last := &o.keys[col]
	if string(text) == string(last.text[:]) {
		*to = last.key
		return true
	}
	k, ok := keyOf(text)
	if ok {
		last.key = k
		copy(last.text[:], text)
	}
	*to = k
	return ok
}

// cursor reads the values of one column one after the other.
type cursor struct {
	pages parquet.Pages
	page  parquet.Page

	at, rows int     // of the page
	levels   []byte  // of optional columns: 1 where there is a value
	value    int     // index of the next value among those that are there
	indexes  []int32 // of a dictionary's page

	offsets []uint32
	texts   []byte
	numbers []int64
	doubles []float64
}

// nextPage begins with the next page that has rows.
func (c *cursor) nextPage() error {
	parquet.Release(c.page)
	c.page = nil
	page, err := c.pages.ReadPage()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	c.page, c.at, c.rows, c.value = page, 0, int(page.NumRows()), 0
	c.levels, c.indexes = page.DefinitionLevels(), nil
	data, kind := page.Data(), page.Type().Kind()
	if dict := page.Dictionary(); dict != nil {
		c.indexes = data.Int32()
		data = dict.Page().Data()
	}
	switch kind {
	case parquet.ByteArray:
		c.texts, c.offsets = data.ByteArray()
	case parquet.Int64:
		c.numbers = data.Int64()
	case parquet.Double:
		c.doubles = data.Double()
	default:
		return errForeign
	}
	return nil
}

// advance returns the index of the next value, or false if it is null.
func (c *cursor) advance() (int, bool) {
	i := c.at
	c.at++
	if c.levels != nil && c.levels[i] == 0 {
		return 0, false
	}
	v := c.value
	c.value++
	if c.indexes != nil {
		v = int(c.indexes[v])
	}
	return v, true
}

// text returns the next value, nil for null.
func (c *cursor) text() []byte {
	v, ok := c.advance()
	if !ok {
		return nil
	}
	return c.texts[c.offsets[v]:c.offsets[v+1]:c.offsets[v+1]]
}

func (c *cursor) number() (int64, bool) {
	v, ok := c.advance()
	if !ok {
		return 0, false
	}
	return c.numbers[v], true
}

func (c *cursor) double() (float64, bool) {
	v, ok := c.advance()
	if !ok {
		return 0, false
	}
	return c.doubles[v], true
}
