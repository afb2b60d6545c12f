package grandstand

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
)

// A journal is a gateway's write-ahead log of raw events: a directory with a
// random id, made of numbered files. A file is a list of records, each
//
//	length of the payload, 4 bytes little-endian
//	CRC-32C (RFC 3720, B.4) of the length and the payload, 4 bytes little-endian
//	payload: its type, one byte, then its wire form
//
// that begins with a JournalHeader and, once it is sealed, ends with a
// JournalSeal. Records stand for themselves, so that a flipped bit costs one.
// A sealed file never changes.
const (
	MaxJournalFile   = 64 << 20 // bytes at which a file is sealed
	MaxJournalRecord = 64 << 10 // bytes of a payload
	recordHead       = 8
)

// RecordType is the first byte of a record's payload.
type RecordType byte

// The types of records. Readers skip those that they do not know.
const (
	RecordHeader RecordType = 'H' // JournalHeader
	RecordEvent  RecordType = 'E' // RawEvent
	RecordGap    RecordType = 'G' // JournalGap
	RecordSeal   RecordType = 'S' // JournalSeal
)

const journalVersion = 1

// JournalHeader begins a file.
type JournalHeader struct {
	Journal   string // id of the directory, ValidValue
	File      uint64 // number of the file, from 1
	Gateway   string // member id
	CreatedAt int64  // Redis ms
}

// JournalSeal ends a file.
type JournalSeal struct {
	Events   uint64 // RecordEvent in the file
	Gaps     uint64 // RecordGap in the file
	SealedAt int64  // Redis ms
	Adopted  bool   // by somebody else than the gateway that wrote it: it was left behind
}

// JournalGap says that a gateway refused events: their senders have no ack, and
// may have given up.
type JournalGap struct {
	From, To int64  // Redis ms
	Refused  uint64 // events
	Reason   string // a word for metrics: full, io, slow
}

// JournalFile names a sealed file. Its JSON is how GET /v1/journal/files lists
// it, and GET and DELETE /v1/journal/files/{journal}/{number} are about it.
type JournalFile struct {
	Journal string `json:"journal"` // id of the directory it was written in
	Number  uint64 `json:"number"`
	Size    int64  `json:"size"` // bytes

	// Trace is the traceparent of a span that goes on with the file: of the
	// first event in it that is followed. "": none is.
	Trace string `json:"trace,omitempty"`
}

// JournalFiles is the body of GET /v1/journal/files, by number.
type JournalFiles struct {
	Files []JournalFile `json:"files"`
}

// PeerToken is the bearer token by which members know each other on --peer:
// HMAC-SHA256(secret, "peer") in hexadecimal digits.
func PeerToken(secret []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("peer"))
	return hex.EncodeToString(h.Sum(nil))
}

// RawKind is what kind of thing happened.
type RawKind byte

// The kinds of raw events. Numbers are of the wire.
const (
	RawBeat    RawKind = 1 // of a player
	RawEvents  RawKind = 2 // telemetry of a player
	RawJoin    RawKind = 3 // a session opened, moved here, or changed its dimensions
	RawLeave   RawKind = 4 // a session ended here; Data says how, and how much of it was acknowledged
	RawVerdict RawKind = 5 // the blocker decided about a session
)

var rawKindNames = [...]string{"", "beat", "event", "join", "leave", "verdict"}

func (k RawKind) String() string {
	if int(k) < len(rawKindNames) {
		return rawKindNames[k]
	}
	return ""
}

// RawEvent is one event as it is kept for good. After a decode its byte slices
// alias the decoded bytes.
type RawEvent struct {
	Kind                    RawKind
	Event, Session          []byte
	Viewer, Device, Account Key    // never ids
	Segments                []byte // AppendSegments: where the session is counted

	HasSeq bool // the client numbered it
	Seq    uint64
	Name   []byte // of an event
	State  State  // of a beat; StateNone: it named none

	HasPos     bool
	Pos        float64 // seconds
	HasBitrate bool
	Bitrate    int64 // kbit/s

	ClientAt   int64  // the client's clock, Unix ms; 0: not told
	ReceivedAt int64  // Redis ms
	Data       []byte // JSON, of what has no column; nil: nothing

	Trace []byte // traceparent of the span that it is a part of; not written
}

// AppendSegments appends the dimensions of a session and its values in them,
// the same for all sessions of an audience.
func AppendSegments(dst []byte, dims []Dimension, values []string) []byte {
	for i, d := range dims {
		dst = appendString(appendString(dst, d.Name), values[i])
	}
	return dst
}

// DecodeSegments reads what AppendSegments wrote.
func DecodeSegments(b []byte) ([]Segment, error) {
	r := wireReader{what: "segments", rest: b}
	var list []Segment
	for len(r.rest) > 0 && r.err == nil {
		list = append(list, Segment{Dim: r.string(), Value: r.string()})
	}
	return list, r.err
}

// AppendHeaderRecord appends a record.
func AppendHeaderRecord(dst []byte, h *JournalHeader) []byte {
	return appendRecord(dst, RecordHeader, func(b []byte) []byte {
		b = appendString(append(b, journalVersion), h.Journal)
		b = appendNumber(b, h.File)
		return appendTime(appendString(b, h.Gateway), h.CreatedAt)
	})
}

// DecodeHeaderRecord reads the payload of a RecordHeader without its type.
func DecodeHeaderRecord(b []byte) (*JournalHeader, error) {
	r := readWire("journal header", journalVersion, b)
	h := &JournalHeader{Journal: r.string(), File: r.number(), Gateway: r.string(), CreatedAt: r.time()}
	if err := r.done(); err != nil {
		return nil, err
	}
	if !ValidValue(h.Journal) {
		return nil, Errorf(CodeInvalid, "decode journal header: its id is not the name of a journal")
	}
	return h, nil
}

// AppendSealRecord appends a record.
func AppendSealRecord(dst []byte, s *JournalSeal) []byte {
	return appendRecord(dst, RecordSeal, func(b []byte) []byte {
		b = appendNumber(appendNumber(append(b, journalVersion), s.Events), s.Gaps)
		return append(appendTime(b, s.SealedAt), byte(bit(s.Adopted)))
	})
}

// DecodeSealRecord reads the payload of a RecordSeal without its type.
func DecodeSealRecord(b []byte) (*JournalSeal, error) {
	r := readWire("journal seal", journalVersion, b)
	s := &JournalSeal{Events: r.number(), Gaps: r.number(), SealedAt: r.time(), Adopted: r.flag()}
	if err := r.done(); err != nil {
		return nil, err
	}
	return s, nil
}

// AppendGapRecord appends a record.
func AppendGapRecord(dst []byte, g *JournalGap) []byte {
	return appendRecord(dst, RecordGap, func(b []byte) []byte {
		b = appendTime(appendTime(append(b, journalVersion), g.From), g.To)
		return appendString(appendNumber(b, g.Refused), g.Reason)
	})
}

// DecodeGapRecord reads the payload of a RecordGap without its type.
func DecodeGapRecord(b []byte) (*JournalGap, error) {
	r := readWire("journal gap", journalVersion, b)
	g := &JournalGap{From: r.time(), To: r.time(), Refused: r.number(), Reason: r.string()}
	if err := r.done(); err != nil {
		return nil, err
	}
	return g, nil
}

// The optional parts of a raw event.
const (
	rawHasSeq = 1 << iota
	rawHasPos
	rawHasBitrate
	rawHasViewer
	rawHasDevice
	rawHasAccount
	rawFlags // one above all of them
)

// AppendEventRecord appends a record. It does not allocate if dst has room. The
// caller keeps e within MaxJournalRecord. A position that is not finite is left
// out.
func AppendEventRecord(dst []byte, e *RawEvent) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(RecordEvent))
	dst = appendRawEvent(append(dst, journalVersion), e)
	finishRecord(dst[start:])
	return dst
}

func appendRawEvent(dst []byte, e *RawEvent) []byte {
	hasPos := e.HasPos && !math.IsNaN(e.Pos) && !math.IsInf(e.Pos, 0)
	flags := bit(e.HasSeq)*rawHasSeq | bit(hasPos)*rawHasPos | bit(e.HasBitrate)*rawHasBitrate |
		bit(!e.Viewer.IsZero())*rawHasViewer | bit(!e.Device.IsZero())*rawHasDevice | bit(!e.Account.IsZero())*rawHasAccount
	dst = append(dst, byte(e.Kind), byte(flags), byte(e.State))
	dst = appendTime(dst, e.ReceivedAt)
	dst = appendTime(dst, e.ClientAt)
	dst = appendBytes(dst, e.Event)
	dst = appendBytes(dst, e.Session)
	for _, k := range [...]*Key{&e.Viewer, &e.Device, &e.Account} {
		if !k.IsZero() {
			dst = append(dst, k[:]...)
		}
	}
	dst = appendBytes(dst, e.Segments)
	if e.HasSeq {
		dst = appendNumber(dst, e.Seq)
	}
	if hasPos {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(e.Pos))
	}
	if e.HasBitrate {
		dst = appendTime(dst, e.Bitrate)
	}
	return appendBytes(appendBytes(dst, e.Name), e.Data)
}

// DecodeEventRecord reads the payload of a RecordEvent without its type into e.
// It does not allocate.
func DecodeEventRecord(b []byte, e *RawEvent) error {
	r := wireReader{what: "raw event", rest: b}
	if v := r.byte(); r.err == nil && v != journalVersion {
		return Errorf(CodeInvalid, "decode raw event: version %d is not known here", v)
	}
	kind, flags, state := r.byte(), r.byte(), r.byte()
	if flags >= rawFlags || int(state) >= len(stateNames) {
		r.fail("a flag or a state is not known here")
		flags, state = 0, 0
	}
	*e = RawEvent{
		Kind: RawKind(kind), State: State(state), ReceivedAt: r.time(), ClientAt: r.time(), Event: r.bytes(), Session: r.bytes(),
		HasSeq: flags&rawHasSeq != 0, HasPos: flags&rawHasPos != 0, HasBitrate: flags&rawHasBitrate != 0,
	}
	for i, k := range [...]*Key{&e.Viewer, &e.Device, &e.Account} {
		if flags&(rawHasViewer<<i) != 0 {
			r.key(k)
		}
	}
	e.Segments = r.bytes()
	if e.HasSeq {
		e.Seq = r.number()
	}
	if e.HasPos {
		e.Pos = r.float()
	}
	if e.HasBitrate {
		e.Bitrate = r.time()
	}
	if e.Name, e.Data = r.bytes(), r.bytes(); len(e.Data) == 0 {
		e.Data = nil
	}
	return r.done()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendRecord(dst []byte, t RecordType, payload func([]byte) []byte) []byte {
	start := len(dst)
	dst = payload(append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(t)))
	finishRecord(dst[start:])
	return dst
}

// finishRecord fills the head of a record in.
func finishRecord(record []byte) {
	binary.LittleEndian.PutUint32(record, uint32(len(record)-recordHead))
	binary.LittleEndian.PutUint32(record[4:], recordSum(record))
}

func recordSum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[:4], castagnoli), castagnoli, record[recordHead:])
}

// Damage is a part of a file that holds no record.
type Damage struct {
	Offset, Bytes int
}

// JournalScanner reads the records of a file's bytes. It goes on after damage
// with the next record whose checksum holds.
type JournalScanner struct {
	b       []byte
	start   int // of the record that Next returned
	off     int
	damaged []Damage
}

// NewJournalScanner returns a scanner of a whole file.
func NewJournalScanner(b []byte) *JournalScanner { return &JournalScanner{b: b} }

// Next returns the next record's type and its payload without it, which aliases
// the file's bytes; false at the end.
func (s *JournalScanner) Next() (RecordType, []byte, bool) {
	bad := s.off
	for s.off < len(s.b) {
		n := recordAt(s.b[s.off:])
		if n == 0 {
			s.off++
			continue
		}
		if s.off > bad {
			s.damaged = append(s.damaged, Damage{bad, s.off - bad})
		}
		record := s.b[s.off : s.off+n]
		s.start = s.off
		s.off += n
		return RecordType(record[recordHead]), record[recordHead+1:], true
	}
	if s.off > bad {
		s.damaged = append(s.damaged, Damage{bad, s.off - bad})
	}
	return 0, nil, false
}

// Start returns where the record begins that Next returned last.
func (s *JournalScanner) Start() int { return s.start }

// Offset returns where Next looks for the next record: where the last one ends.
func (s *JournalScanner) Offset() int { return s.off }

// Damaged returns the parts read so far that hold no record. One that ends with
// the file is a torn tail if the file has no seal.
func (s *JournalScanner) Damaged() []Damage { return s.damaged }

// recordAt returns the length of the whole record that b begins with, 0 if it
// begins with none.
func recordAt(b []byte) int {
	if len(b) <= recordHead {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > MaxJournalRecord || int(n) > len(b)-recordHead {
		return 0
	}
	record := b[:recordHead+int(n)]
	if recordSum(record) != binary.LittleEndian.Uint32(b[4:]) {
		return 0
	}
	return len(record)
}
