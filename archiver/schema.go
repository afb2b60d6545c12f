package archiver

import (
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// columns gives the schema of the objects: its fields are the columns, in the
// order of their numbers below. How encodings were chosen is told in
// docs/decisions.
//
// The dimensions that most events have are columns. Others stand in segments, so
// that a new dimension is a new value and not a new schema: objects of all
// events and times have the same columns, and can be read and compacted together.
type columns struct {
	Event        string  `parquet:"event,dict"`
	Session      string  `parquet:"session,delta"`
	Viewer       string  `parquet:"viewer,optional,delta"`
	Account      string  `parquet:"account,optional,delta"`
	Device       string  `parquet:"device,optional,delta"`
	Seq          int64   `parquet:"seq,optional,delta"`
	Kind         string  `parquet:"kind,dict"`
	Name         string  `parquet:"name,optional,dict"`
	State        string  `parquet:"state,optional,dict"`
	Position     float64 `parquet:"position,optional"`
	Bitrate      int64   `parquet:"bitrate,optional,dict"`
	Country      string  `parquet:"country,optional,dict"`
	Region       string  `parquet:"region,optional,dict"`
	Team         string  `parquet:"team,optional,dict"`
	Segments     string  `parquet:"segments,optional,json,dict"`
	Gateway      string  `parquet:"gateway,dict"`
	ClientTime   int64   `parquet:"client_time,optional,timestamp(millisecond),delta"`
	ReceivedTime int64   `parquet:"received_time,timestamp(millisecond),delta"`
	Data         string  `parquet:"data,optional,json,dict"`
	Journal      string  `parquet:"journal,dict"`
	File         int64   `parquet:"file,delta"`
	Row          int64   `parquet:"row,delta"`
}

// The numbers of the columns.
const (
	colEvent = iota
	colSession
	colViewer
	colAccount
	colDevice
	colSeq
	colKind
	colName
	colState
	colPosition
	colBitrate
	colCountry
	colRegion
	colTeam
	colSegments
	colGateway
	colClientTime
	colReceivedTime
	colData
	colJournal
	colFile
	colRow
	numColumns
)

var schema = parquet.SchemaOf(columns{})

// Writers of objects. Everything that decides on their bytes stands here.
const (
	rowGroupRows = 1 << 17 // rows of a row group
	pageBytes    = 256 << 10
	dictBytes    = 1 << 20 // of a column's dictionary, past which the column goes on without
	batchRows    = 512     // rows handed to a column at once: they stay in the cache
)

// zstdCodec is used by all objects.
var zstdCodec = &codec{level: zstd.SpeedDefault}

// newParquetWriter returns a writer of columns, whose options may be overruled.
func newParquetWriter(w io.Writer, options ...parquet.WriterOption) *parquet.GenericWriter[any] {
	return parquet.NewGenericWriter[any](w, append([]parquet.WriterOption{
		parquet.CreatedBy("grandstand", "1", "archiver"),
		parquet.Compression(zstdCodec),
		parquet.PageBufferSize(pageBytes),
		parquet.DictionaryMaxBytes(dictBytes),
		parquet.DataPageStatistics(false), // the page index has them
		parquet.MaxRowsPerRowGroup(rowGroupRows),
		parquet.SortingWriterConfig(parquet.SortingColumns(
			parquet.Ascending("event"), parquet.Ascending("session"), parquet.Ascending("received_time"))),
	}, options...)...)
}
