package archiver

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"

	"github.com/klauspost/compress/s2"

	"grandstand"
)

// A run is a sorted part of an hour's rows in a temporary file: what is merged
// when there are more live objects than can be read at once. It lives for a
// moment only, so it has no version. A row is its length and its fields.

// runBlock is the block of the compression of runs: with two of them a run that
// is read takes 128 KiB.
const runBlock = 64 << 10

type runWriter struct {
	file *tempFile
	s2   *s2.Writer
	buf  []byte
	head [binary.MaxVarintLen64]byte
}

func newRunWriter(dir string) (*runWriter, error) {
	f, err := newTemp(dir)
	if err != nil {
		return nil, err
	}
	return &runWriter{file: f, s2: s2.NewWriter(f, s2.WriterConcurrency(1), s2.WriterBlockSize(runBlock))}, nil
}

func (w *runWriter) write(r *Row) error {
	w.buf = appendRow(w.buf[:0], r)
	return w.append(w.buf)
}

// append writes a row as appendRow writes it.
func (w *runWriter) append(row []byte) error {
	n := binary.PutUvarint(w.head[:], uint64(len(row)))
	if _, err := w.s2.Write(w.head[:n]); err != nil {
		return err
	}
	_, err := w.s2.Write(row)
	return err
}

// close ends the run, which is then read.
func (w *runWriter) close() (rowSource, error) {
	err := w.s2.Close()
	if err == nil {
		_, err = w.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		w.file.close()
		return nil, err
	}
	return &runReader{file: w.file, r: bufio.NewReaderSize(s2.NewReader(w.file, s2.ReaderMaxBlockSize(runBlock), s2.ReaderAllocBlock(runBlock)), 4<<10)}, nil
}

type runReader struct {
	file *tempFile
	r    *bufio.Reader
	buf  []byte
	row  Row
}

func (r *runReader) next() (*Row, error) {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return nil, err // io.EOF between two rows
	}
	if uint64(cap(r.buf)) < n {
		r.buf = make([]byte, n+n/2)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	readRow(r.buf, &r.row)
	return &r.row, nil
}

func (r *runReader) close() { r.file.close() }

// The bits of a row's flags.
const (
	hasSeq = 1 << iota
	hasPosition
	hasBitrate
	hasViewer
	hasAccount
	hasDevice
)

func appendRow(b []byte, r *Row) []byte {
	flags := byte(0)
	for _, f := range [...]struct {
		given bool
		bit   byte
	}{
		{r.HasSeq, hasSeq}, {r.HasPosition, hasPosition}, {r.HasBitrate, hasBitrate},
		{!r.Viewer.IsZero(), hasViewer}, {!r.Account.IsZero(), hasAccount}, {!r.Device.IsZero(), hasDevice},
	} {
		if f.given {
			flags |= f.bit
		}
	}
	b = append(b, flags, byte(r.Kind), byte(r.State))
	for _, k := range [...]*grandstand.Key{&r.Viewer, &r.Account, &r.Device} {
		if !k.IsZero() {
			b = append(b, k[:]...)
		}
	}
	if r.HasPosition {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.Position))
	}
	for _, v := range [...]uint64{r.Seq, uint64(r.Bitrate), uint64(r.ClientTime), uint64(r.ReceivedTime), r.File, r.Number} {
		b = binary.AppendUvarint(b, v)
	}
	for _, text := range [...][]byte{r.Event, r.Session, r.Name, r.Country, r.Region, r.Team, r.Segments, r.Gateway, r.Data, r.Journal} {
		if text == nil {
			b = append(b, 0)
		} else {
			b = append(binary.AppendUvarint(b, uint64(len(text))+1), text...)
		}
	}
	return b
}

// readRow reads what appendRow wrote, whose bytes it goes on pointing to. The
// compression has its own checksum.
func readRow(b []byte, r *Row) {
	flags := b[0]
	*r = Row{HasSeq: flags&hasSeq != 0, HasPosition: flags&hasPosition != 0, HasBitrate: flags&hasBitrate != 0}
	r.Kind, r.State = grandstand.RawKind(b[1]), grandstand.State(b[2])
	b = b[3:]
	for _, k := range [...]struct {
		bit byte
		to  *grandstand.Key
	}{{hasViewer, &r.Viewer}, {hasAccount, &r.Account}, {hasDevice, &r.Device}} {
		if flags&k.bit != 0 {
			b = b[copy(k.to[:], b):]
		}
	}
	if r.HasPosition {
		r.Position = math.Float64frombits(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	r.Seq, r.Bitrate, r.ClientTime, r.ReceivedTime = number(), int64(number()), int64(number()), int64(number())
	r.File, r.Number = number(), number()
	for _, to := range [...]*[]byte{&r.Event, &r.Session, &r.Name, &r.Country, &r.Region, &r.Team, &r.Segments, &r.Gateway, &r.Data, &r.Journal} {
		if n := number(); n > 0 {
			*to = b[: n-1 : n-1]
			b = b[n-1:]
		}
	}
}
