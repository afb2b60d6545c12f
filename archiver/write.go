package archiver

import (
	"bytes"
	"io"

	"github.com/parquet-go/parquet-go"

	"grandstand"
)

// objectWriter writes rows, which are sorted by event, session and received
// time, as one Parquet object. It gathers a batch of each column and hands it to
// the library at once, which is several times as fast as row by row.
type objectWriter struct {
	w    *parquet.GenericWriter[any]
	rows uint64

	batch  [numColumns][]parquet.Value
	texts  []byte             // what the batch's values point into
	keys   [colDevice + 1]key // the texts of the last row's keys
	filled int                // rows in the batch
	group  int                // rows in the row group

	// Columns that hardly ever change: the whole batch has the last value.
	event, gateway, journal []byte
	file                    uint64
	changed                 bool // some of them, in the middle of the batch
}

// key is one and its text. Rows of a session follow each other, and have the same.
type key struct {
	key  grandstand.Key
	text keyText
	at   []byte // where the text stands in the batch; nil: nowhere
}

func newObjectWriter(w io.Writer) *objectWriter {
	return newObjectWriterOn(newParquetWriter(w, schema))
}

func newObjectWriterOn(w *parquet.GenericWriter[any]) *objectWriter {
	o := &objectWriter{w: w, texts: make([]byte, 0, 512<<10)}
	for i := range o.batch {
		o.batch[i] = make([]parquet.Value, batchRows)
	}
	return o
}

// write adds a row. It copies what is in it.
func (o *objectWriter) write(r *Row) error {
	i := o.filled
	o.lasting(colEvent, &o.event, r.Event)
	o.session(i, r.Session)
	o.key(colViewer, i, &r.Viewer)
	o.key(colAccount, i, &r.Account)
	o.key(colDevice, i, &r.Device)
	o.number(colSeq, i, int64(r.Seq), r.HasSeq)
	o.batch[colKind][i] = parquet.ByteArrayValue(kindTexts[r.Kind])
	o.optional(colName, i, r.Name)
	if r.State == grandstand.StateNone {
		o.batch[colState][i] = parquet.Value{}
	} else {
		o.batch[colState][i] = parquet.ByteArrayValue(stateTexts[r.State]).Level(0, 1, colState)
	}
	if r.HasPosition {
		o.batch[colPosition][i] = parquet.DoubleValue(r.Position).Level(0, 1, colPosition)
	} else {
		o.batch[colPosition][i] = parquet.Value{}
	}
	o.number(colBitrate, i, r.Bitrate, r.HasBitrate)
	o.optional(colCountry, i, r.Country)
	o.optional(colRegion, i, r.Region)
	o.optional(colTeam, i, r.Team)
	o.optional(colSegments, i, r.Segments)
	o.lasting(colGateway, &o.gateway, r.Gateway)
	o.number(colClientTime, i, r.ClientTime, r.ClientTime != 0)
	o.batch[colReceivedTime][i] = parquet.Int64Value(r.ReceivedTime)
	o.optional(colData, i, r.Data)
	o.lasting(colJournal, &o.journal, r.Journal)
	if r.File != o.file {
		o.file, o.changed = r.File, true
		fill(o.batch[colFile][i:], parquet.Int64Value(int64(r.File)))
	}
	o.batch[colRow][i] = parquet.Int64Value(int64(r.Number))
	o.filled++
	o.rows++
	if o.filled == batchRows {
		return o.flushBatch()
	}
	return nil
}

// keep copies a text to where it stays until the batch is written. What was
// kept before keeps its place when texts grows: the old memory lives on.
func (o *objectWriter) keep(text []byte) []byte {
	start := len(o.texts)
	o.texts = append(o.texts, text...)
	return o.texts[start:len(o.texts):len(o.texts)]
}

// lasting sets a value in this row and all that follow, unless it is there.
func (o *objectWriter) lasting(col int, last *[]byte, text []byte) {
	if *last != nil && string(*last) == string(text) {
		return
	}
	*last = append(make([]byte, 0, len(text)+1), text...) // not nil; what stood there may be in the batch
	o.changed = true
	fill(o.batch[col][o.filled:], parquet.ByteArrayValue(*last))
}

func fill(values []parquet.Value, v parquet.Value) {
	for i := range values {
		values[i] = v
	}
}

// session sets the session; the same as in the row before is kept once.
func (o *objectWriter) session(i int, text []byte) {
	values := o.batch[colSession]
	if i > 0 && bytes.Equal(values[i-1].ByteArray(), text) {
		values[i] = values[i-1]
		return
	}
	values[i] = parquet.ByteArrayValue(o.keep(text))
}

// Values of optional columns have a definition level, 1 where they are not null.

func (o *objectWriter) optional(col, i int, text []byte) {
	if text == nil {
		o.batch[col][i] = parquet.Value{}
		return
	}
	if i > 0 {
		if last := &o.batch[col][i-1]; !last.IsNull() && bytes.Equal(last.ByteArray(), text) {
			o.batch[col][i] = *last
			return
		}
	}
	o.batch[col][i] = parquet.ByteArrayValue(o.keep(text)).Level(0, 1, col)
}

func (o *objectWriter) key(col, i int, k *grandstand.Key) {
	if k.IsZero() {
		o.batch[col][i] = parquet.Value{}
		return
	}
	last := &o.keys[col]
	if last.key != *k {
		last.key, last.at = *k, nil
		appendKey(last.text[:0], k)
	}
	if last.at == nil {
		last.at = o.keep(last.text[:])
	}
	o.batch[col][i] = parquet.ByteArrayValue(last.at).Level(0, 1, col)
}

func (o *objectWriter) number(col, i int, v int64, given bool) {
	if given {
		o.batch[col][i] = parquet.Int64Value(v).Level(0, 1, col)
	} else {
		o.batch[col][i] = parquet.Value{}
	}
}

func (o *objectWriter) flushBatch() error {
	for i, c := range o.w.ColumnWriters() {
		if _, err := c.WriteRowValues(o.batch[i][:o.filled]); err != nil {
			return err
		}
	}
	o.group += o.filled
	if o.changed {
		o.changed = false
		for _, col := range [...]int{colEvent, colGateway, colJournal, colFile} {
			fill(o.batch[col], o.batch[col][batchRows-1])
		}
	}
	o.filled, o.texts = 0, o.texts[:0]
	for i := range o.keys {
		o.keys[i].at = nil
	}
	if o.group < rowGroupRows {
		return nil
	}
	o.group = 0
	return o.w.Flush()
}

// close writes what is left, and the footer with the metadata.
func (o *objectWriter) close(metadata string) error {
	if o.filled > 0 {
		if err := o.flushBatch(); err != nil {
			return err
		}
	}
	o.w.SetKeyValueMetadata(metadataKey, metadata)
	return o.w.Close()
}

// The texts of kinds and states, as values need them.
var (
	kindTexts  [256][]byte
	stateTexts [grandstand.StateEnded + 1][]byte
)

func init() {
	for i := range kindTexts {
		kindTexts[i] = []byte(kindText(grandstand.RawKind(i)))
	}
	for i := range stateTexts {
		stateTexts[i] = []byte(grandstand.State(i).String())
	}
}
