package archiver

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"grandstand"
)

// MaxFile bounds a journal file, in bytes: MaxJournalFile, where gateways seal
// it, and what may follow in the same moment.
const MaxFile = grandstand.MaxJournalFile + 8<<20

// converter turns the bytes of a journal file into a Parquet object. Both it and
// what it writes are functions of these bytes (and of the name of the file, if
// its header is damaged).
type converter struct {
	body []byte
	meta Metadata

	refs     []ref
	sessions []sessionName
	bySeen   map[string]map[string]uint32 // index in sessions, by event and session
	current  map[string]uint32            // that of the event before

	segments map[string]*segmentColumns
	touched  byte // so that the compiler keeps touch
	repaired int  // texts, each time that a row is made of an event
	digest   rowDigest
	gateway  []byte
	journal  []byte
}

// ref is where an event's payload is in the file.
type ref struct {
	offset, session uint32
	received        int64
}

type sessionName struct {
	event, session []byte // in the file
	rows           uint32
	rank           uint32
}

// segmentColumns are the dimensions of a session as columns.
type segmentColumns struct {
	country, region, team, others []byte
	repaired                      int
}

// convert writes the object of a journal file to w.
func convert(w io.Writer, file JournalFile, body []byte) (*Metadata, error) {
	if len(body) > MaxFile {
		return nil, grandstand.Errorf(grandstand.CodeTooLarge, "the journal file has %d bytes, the limit is %d", len(body), MaxFile)
	}
	c := &converter{body: body, bySeen: map[string]map[string]uint32{}, segments: map[string]*segmentColumns{}}
	if err := c.scan(file); err != nil {
		return nil, err
	}
	return &c.meta, c.writeRows(w)
}

// scan reads every record once: it finds out what there is, and takes the digest.
func (c *converter) scan(file JournalFile) error {
	sum := sha256.Sum256(c.body)
	c.meta = Metadata{
		Version: metadataVersion, Journal: file.Journal, File: file.Number,
		Bytes: len(c.body), SHA256: hex.EncodeToString(sum[:]),
	}
	if err := c.header(); err != nil {
		return err
	}
	c.journal, c.gateway = []byte(c.meta.Journal), []byte(c.meta.Gateway)
	s := grandstand.NewJournalScanner(c.body)
	var (
		e   grandstand.RawEvent
		row Row
	)
	for {
		t, payload, ok := s.Next()
		if !ok {
			break
		}
		offset := s.Offset() - len(payload)
		var err error
		switch t {
		case grandstand.RecordEvent:
			if err = grandstand.DecodeEventRecord(payload, &e); err == nil {
				c.event(&e, offset)
				c.row(&e, &row)
				c.digest.add(&row)
			}
		case grandstand.RecordGap:
			var g *grandstand.JournalGap
			if g, err = grandstand.DecodeGapRecord(payload); err == nil {
				c.meta.Gaps = append(c.meta.Gaps, Gap{From: g.From, To: g.To, Refused: g.Refused, Reason: g.Reason})
			}
		case grandstand.RecordSeal:
			err = c.seal(payload)
		case grandstand.RecordHeader:
		default:
			err = grandstand.Errorf(grandstand.CodeInvalid, "a type that is not known here")
		}
		if err != nil {
			c.meta.unreadable(offset, t, err)
		}
	}
	c.meta.damage(s.Damaged())
	c.meta.Digest, c.meta.Repaired = c.digest.String(), c.repaired
	return nil
}

// header reads the header, which gives all rows their gateway, wherever it is.
func (c *converter) header() error {
	s := grandstand.NewJournalScanner(c.body)
	t, payload, ok := s.Next()
	if !ok || t != grandstand.RecordHeader {
		return nil // damaged
	}
	h, err := grandstand.DecodeHeaderRecord(payload)
	if err != nil {
		c.meta.unreadable(s.Offset()-len(payload), t, err)
		return nil
	}
	if h.Journal != c.meta.Journal || h.File != c.meta.File {
		return grandstand.Errorf(grandstand.CodeConflict, "the file says that it is number %d of journal %s", h.File, h.Journal)
	}
	c.meta.Gateway, c.meta.CreatedAt = strings.ToValidUTF8(h.Gateway, "\uFFFD"), h.CreatedAt
	return nil
}

func (c *converter) seal(payload []byte) error {
	seal, err := grandstand.DecodeSealRecord(payload)
	if err == nil {
		c.meta.Sealed, c.meta.Expected, c.meta.Adopted = true, seal.Events, seal.Adopted
	}
	return err
}

// event notes an event.
func (c *converter) event(e *grandstand.RawEvent, offset int) {
	if c.meta.Rows++; c.meta.Rows == 1 {
		c.meta.FirstReceived, c.meta.MinReceived, c.meta.MaxReceived = e.ReceivedAt, e.ReceivedAt, e.ReceivedAt
	}
	c.meta.MinReceived = min(c.meta.MinReceived, e.ReceivedAt)
	c.meta.MaxReceived = max(c.meta.MaxReceived, e.ReceivedAt)
	if n := len(c.refs); n == 0 || !bytes.Equal(c.sessions[c.refs[n-1].session].event, e.Event) {
		if c.current = c.bySeen[string(e.Event)]; c.current == nil {
			c.current = map[string]uint32{}
			c.bySeen[string(e.Event)] = c.current
		}
	}
	i, seen := c.current[string(e.Session)]
	if !seen {
		i = uint32(len(c.sessions))
		c.current[string(e.Session)] = i
		c.sessions = append(c.sessions, sessionName{event: e.Event, session: e.Session})
	}
	c.sessions[i].rows++
	c.refs = append(c.refs, ref{offset: uint32(offset), session: i, received: e.ReceivedAt})
}

// sort brings the refs into the order of the object: event, session, received
// time, and as they came. It counts, since sessions are few beside events.
func (c *converter) sort() {
	order := make([]uint32, len(c.sessions))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		x, y := &c.sessions[a], &c.sessions[b]
		return cmp.Or(bytes.Compare(x.event, y.event), bytes.Compare(x.session, y.session))
	})
	next := uint32(0)
	for _, i := range order {
		c.sessions[i].rank = next
		next += c.sessions[i].rows
	}
	sorted := make([]ref, len(c.refs))
	for _, r := range c.refs {
		s := &c.sessions[r.session]
		sorted[s.rank] = r
		s.rank++
	}
	c.refs = sorted
	for len(sorted) > 0 {
		n := int(c.sessions[sorted[0].session].rows)
		byTime := func(a, b ref) int { return cmp.Compare(a.received, b.received) }
		if one := sorted[:n]; !slices.IsSortedFunc(one, byTime) { // a clock went back
			slices.SortStableFunc(one, byTime)
		}
		sorted = sorted[n:]
	}
}

func (c *converter) writeRows(w io.Writer) error {
	c.sort()
	o := newObjectWriter(w)
	var (
		e   grandstand.RawEvent
		row Row
	)
	for i, r := range c.refs {
		if i%prefetch == 0 {
			c.touch(c.refs[i:min(i+prefetch, len(c.refs))])
		}
		if err := grandstand.DecodeEventRecord(c.payload(r.offset), &e); err != nil {
			return err // it could be read before
		}
		c.row(&e, &row)
		row.Number = uint64(i)
		if err := o.write(&row); err != nil {
			return err
		}
	}
	return o.close(c.meta.encode())
}

// prefetch is how many records are brought into the cache at once.
const prefetch = 32

// touch reads a byte of each cache line of the records to come, which lie all
// over the file: side by side the processor waits for them once, and not for one
// after the other (a tenth of all the time, measured).
func (c *converter) touch(refs []ref) {
	for _, r := range refs {
		c.touched += c.body[r.offset] + c.body[min(int(r.offset)+64, len(c.body)-1)] + c.body[min(int(r.offset)+128, len(c.body)-1)]
	}
}

// payload returns the payload of the record whose payload begins there.
func (c *converter) payload(offset uint32) []byte {
	// Length, checksum and type stand before it; the length counts the type.
	n := binary.LittleEndian.Uint32(c.body[offset-9:])
	return c.body[offset : offset+n-1]
}

// row makes a row of an event, all but its number.
func (c *converter) row(e *grandstand.RawEvent, r *Row) {
	segs := c.segmentsOf(e.Segments)
	c.repaired += segs.repaired
	*r = Row{
		Event: c.text(e.Event), Session: c.text(e.Session), Viewer: e.Viewer, Account: e.Account, Device: e.Device,
		HasSeq: e.HasSeq, Seq: e.Seq, Kind: e.Kind, Name: optional(c.text(e.Name)), State: e.State,
		HasPosition: e.HasPos, Position: e.Pos, HasBitrate: e.HasBitrate, Bitrate: e.Bitrate,
		Country: segs.country, Region: segs.region, Team: segs.team, Segments: segs.others,
		Gateway: c.gateway, ClientTime: e.ClientAt, ReceivedTime: e.ReceivedAt, Data: optional(c.text(e.Data)),
		Journal: c.journal, File: c.meta.File,
	}
}

// optional returns nil for an empty text.
func optional(text []byte) []byte {
	if len(text) == 0 {
		return nil
	}
	return text
}

// text returns the text as UTF-8.
func (c *converter) text(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	c.repaired++
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// segmentsOf splits the dimensions of a session into columns. Many sessions
// have the same.
func (c *converter) segmentsOf(b []byte) *segmentColumns {
	if s, ok := c.segments[string(b)]; ok {
		return s
	}
	s := splitSegments(b)
	c.segments[string(b)] = s
	return s
}

func splitSegments(b []byte) *segmentColumns {
	s := &segmentColumns{}
	list, err := grandstand.DecodeSegments(b)
	if err != nil {
		s.repaired++ // and nothing of it is used
		return s
	}
	others := map[string]string{}
	for _, seg := range list {
		dim, value := strings.ToValidUTF8(seg.Dim, "\uFFFD"), strings.ToValidUTF8(seg.Value, "\uFFFD")
		if dim != seg.Dim || value != seg.Value {
			s.repaired++
		}
		switch dim {
		case grandstand.World:
		case "country":
			s.country = optional([]byte(value))
		case "region":
			s.region = optional([]byte(value))
		case "team":
			s.team = optional([]byte(value))
		default:
			others[dim] = value
		}
	}
	if len(others) > 0 {
		s.others, _ = json.Marshal(others) // sorted by key; nothing in it could fail
	}
	return s
}
