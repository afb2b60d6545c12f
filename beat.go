package grandstand

import "strconv"

// The limits of what clients send, in bytes and in messages.
const (
	MaxMessageBytes = 4096       // of one WebSocket message, or of one in a REST body
	MaxBodyBytes    = 256 * 1024 // of a REST body of beats
	MaxBodyMessages = 100        // in a REST body
	MaxIDBytes      = 256        // of a viewer's, device's, account's or session's id
	MaxTokenBytes   = 4096
	MaxTakeover     = 32 // codes in a takeover
)

// MsgType is what kind of message a client sent.
type MsgType uint8

// The types of a client's messages.
const (
	MsgNone     MsgType = iota
	MsgBeat             // a heartbeat; without a state it only renews the session
	MsgEvent            // telemetry, archived as it is
	MsgJoin             // change the dimensions that viewers may choose
	MsgTakeover         // play here; end the sessions of these termination codes if need be
	MsgAuth             // a new token
)

var msgTypeNames = [...]string{"", "beat", "event", "join", "takeover", "auth"}

func (t MsgType) String() string { return msgTypeNames[t] }

// Message is one message of a client (DESIGN.md, "The viewer's WebSocket").
// Its byte slices alias the decoded bytes, but for strings with escapes. A
// member that is null counts as not given; of a member that stands twice the
// last one holds; members that are not known are ignored.
type Message struct {
	Type   MsgType
	HasSeq bool
	Seq    uint64 // 0 to 2^53-1

	// Of a beat.
	State      State
	Pos        float64 // seconds, -1 to 1e9; -1: unknown or not given
	Bitrate    int64   // kbit/s, 0 to 1e9, fractions cut off; -1: not given
	IntervalMS int64   // as declared (see ClampInterval), fractions cut off; 0: not given

	// Of an event.
	Name []byte // ValidValue
	TS   int64  // the client's clock, Unix ms, 0 to 2^53-1, fractions cut off; 0: not given
	Data []byte // JSON

	Seg   []SegPair // of a join; at most MaxDimensions, each dimension once
	Codes [][]byte  // of a takeover; none: play here if there is a place
	Token []byte    // of an auth
	Trace []byte    // of a beat or an event: a traceparent (W3C Trace Context), unchecked

	// Of REST: the session that a beat belongs to, and with --auth none whose
	// it is (with Seg).
	Session, Viewer, Device, Account []byte
}

// SegPair is a dimension and a value as a client declared them: unchecked (see
// Fold). An empty value declares none.
type SegPair struct {
	Dim, Value []byte
}

// Declared returns Seg as Fold takes it.
func (m *Message) Declared() map[string]string {
	declared := make(map[string]string, len(m.Seg))
	for _, p := range m.Seg {
		declared[string(p.Dim)] = string(p.Value)
	}
	return declared
}

// DecodeMessage reads one WebSocket message into m. It does not allocate for a
// beat. Errors have CodeInvalid and say what is wrong; whatever could be read,
// such as Seq, is in m nevertheless. b must not be changed as long as m is used.
func DecodeMessage(b []byte, m *Message) error { return decodeMessage(b, m, MsgNone) }

// DecodeBeats reads the body of POST …/beats: a message or a list of 1 to
// MaxBodyMessages, each a beat (which "t" may leave out) or an event. It calls
// each for one after the other until that returns an error, which it returns.
// It calls nothing unless all of the body can be used. Errors of its own have
// CodeInvalid, or CodeTooLarge past MaxBodyBytes or MaxMessageBytes. The
// Message is valid during the call only.
func DecodeBeats(b []byte, each func(*Message) error) error {
	if len(b) > MaxBodyBytes {
		return Errorf(CodeTooLarge, "the body is larger than %d bytes", MaxBodyBytes)
	}
	list, isList, err := splitList(b)
	if err != nil {
		return err
	}
	var m Message
	for i, one := range list {
		err := decodeMessage(one, &m, MsgBeat)
		switch {
		case len(one) > MaxMessageBytes:
			err = Errorf(CodeTooLarge, "the message is larger than %d bytes", MaxMessageBytes)
		case err == nil && m.Type != MsgBeat && m.Type != MsgEvent:
			err = Errorf(CodeInvalid, "a message here is a beat or an event")
		}
		if err != nil && isList {
			return WrapError(CodeOf(err), nil, "message "+strconv.Itoa(i+1)+" of the list: "+MessageOf(err))
		}
		if err != nil {
			return err
		}
	}
	for _, one := range list {
		if err := decodeMessage(one, &m, MsgBeat); err != nil {
			return err
		}
		if err := each(&m); err != nil {
			return err
		}
	}
	return nil
}

// splitList returns the texts of a list's items, or b itself if it is none.
func splitList(b []byte) (list [][]byte, isList bool, err error) {
	s := scanner{b: b}
	if s.peek() != '[' {
		return [][]byte{b}, false, nil
	}
	s.i++
	for first := true; s.more(']', first); first = false {
		s.peek()
		start := s.i
		s.skip(1)
		if len(list) == MaxBodyMessages {
			return nil, true, Errorf(CodeInvalid, "the list has more than %d messages", MaxBodyMessages)
		}
		list = append(list, b[start:s.i:s.i])
	}
	s.end()
	if err := s.err(); err != nil {
		return nil, true, err
	}
	if len(list) == 0 {
		return nil, true, Errorf(CodeInvalid, "the list is empty")
	}
	return list, true, nil
}

// messageReader reads one message. It goes on after a value that cannot be
// used, to the end of the text, so that form comes first among the errors.
type messageReader struct {
	scanner
	m       *Message
	refused error // the first value that cannot be used
}

func decodeMessage(b []byte, m *Message, t MsgType) error {
	*m = Message{Type: t, Pos: -1, Bitrate: -1, Seg: m.Seg[:0], Codes: m.Codes[:0]}
	r := messageReader{scanner: scanner{b: b}, m: m}
	if r.peek() != '{' {
		r.skip(1)
		r.refuse("the message is not a JSON object")
	} else {
		r.i++
		var short [len("interval_ms")]byte
		for first := true; r.more('}', first); first = false {
			key, escaped := r.key()
			if escaped && len(key) <= len(short)*len(`\u0000`) {
				key = unescape(short[:0], key)
			}
			r.member(key)
		}
	}
	r.end()
	if err := r.err(); err != nil {
		return err
	}
	if r.refused != nil {
		return r.refused
	}
	return m.complete()
}

// complete checks that a message has what its type needs.
func (m *Message) complete() error {
	switch {
	case m.Type == MsgNone:
		return Errorf(CodeInvalid, "the message has no type: t is missing")
	case m.Type == MsgEvent && len(m.Name) == 0:
		return Errorf(CodeInvalid, "an event needs a name")
	case m.Type == MsgJoin && len(m.Seg) == 0:
		return Errorf(CodeInvalid, "a join needs seg, an object of dimensions and values")
	case m.Type == MsgAuth && len(m.Token) == 0:
		return Errorf(CodeInvalid, "an auth needs a token")
	}
	return nil
}

func (r *messageReader) refuse(format string, args ...any) {
	if r.refused == nil {
		r.refused = Errorf(CodeInvalid, format, args...)
	}
}

// member reads the value of one member.
func (r *messageReader) member(key []byte) {
	m := r.m
	switch string(key) {
	case "t":
		r.msgType()
	case "seq":
		v, given := r.number("seq", 0, maxWireNumber, true)
		m.Seq, m.HasSeq = uint64(v), given
	case "state":
		r.state()
	case "pos":
		m.Pos = -1
		if v, given := r.number("pos", -1, 1e9, false); given {
			m.Pos = v
		}
	case "bitrate":
		m.Bitrate = -1
		if v, given := r.number("bitrate", 0, 1e9, false); given {
			m.Bitrate = int64(v)
		}
	case "interval_ms":
		v, _ := r.number("interval_ms", -maxWireNumber, maxWireNumber, false)
		m.IntervalMS = int64(v)
	case "name":
		if m.Name = r.text("name", MaxValueLen); len(m.Name) > 0 && !ValidValue(string(m.Name)) {
			r.refuse("name is not 1 to %d characters of A-Z a-z 0-9 . _ -", MaxValueLen)
		}
	case "ts":
		v, _ := r.number("ts", 0, maxWireNumber, false)
		m.TS = int64(v)
	case "data":
		r.data()
	case "seg":
		r.seg()
	case "codes":
		r.codes()
	case "traceparent":
		m.Trace = r.text("traceparent", 0)
	case "token":
		m.Token = r.text("token", MaxTokenBytes)
	case "session":
		m.Session = r.text("session", MaxIDBytes)
	case "viewer":
		m.Viewer = r.text("viewer", MaxIDBytes)
	case "device":
		m.Device = r.text("device", MaxIDBytes)
	case "account":
		m.Account = r.text("account", MaxIDBytes)
	default:
		r.skip(2)
	}
}

func (r *messageReader) msgType() {
	switch t := r.text("t", 0); string(t) {
	case "beat":
		r.m.Type = MsgBeat
	case "event":
		r.m.Type = MsgEvent
	case "join":
		r.m.Type = MsgJoin
	case "takeover":
		r.m.Type = MsgTakeover
	case "auth":
		r.m.Type = MsgAuth
	default:
		r.m.Type = MsgNone
		if t != nil {
			r.refuse("unknown message type")
		}
	}
}

func (r *messageReader) state() {
	switch s := r.text("state", 0); string(s) {
	case "playing":
		r.m.State = StatePlaying
	case "paused":
		r.m.State = StatePaused
	case "buffering":
		r.m.State = StateBuffering
	case "starting":
		r.m.State = StateStarting
	case "ended":
		r.m.State = StateEnded
	default:
		r.m.State = StateNone
		if s != nil {
			r.refuse("state is starting, playing, paused, buffering or ended")
		}
	}
}

// null goes past a value that is null, and reports whether it was.
func (r *messageReader) null() bool {
	if r.peek() != 'n' {
		return false
	}
	r.literal("null")
	return true
}

// text reads a string of at most limit bytes (0: any number). It returns nil
// for null and for what cannot be used, and never nil for "".
func (r *messageReader) text(field string, limit int) []byte {
	if r.peek() != '"' {
		if !r.null() {
			r.skip(2)
			r.refuse("%s is not a string", field)
		}
		return nil
	}
	text, escaped := r.str()
	if r.failed {
		return nil
	}
	if escaped {
		text = unescape(make([]byte, 0, len(text)), text)
	}
	if limit > 0 && len(text) > limit {
		r.refuse("%s is longer than %d bytes", field, limit)
		return nil
	}
	return text
}

// number reads a number of least (0 or less) to most; whole ones are written
// without fraction and exponent. given is false, and v is 0, for null and for
// what cannot be used.
func (r *messageReader) number(field string, least, most float64, whole bool) (v float64, given bool) {
	c := r.peek()
	n, isWhole := r.short()
	v, ok := float64(n), true
	if !isWhole {
		if c != '-' && (c < '0' || c > '9') {
			if !r.null() {
				r.skip(2)
				r.refuse("%s is not a number", field)
			}
			return 0, false
		}
		text := r.num()
		if text == nil {
			return 0, false
		}
		v, isWhole, ok = parseNumber(text)
	}
	switch {
	case !ok || v < least || v > most:
		r.refuse("%s is out of range: it is %.0f to %.0f", field, least, most)
		return 0, false
	case whole && !isWhole:
		r.refuse("%s is not a whole number", field)
		return 0, false
	}
	return v, true
}

// data keeps the value as it is written.
func (r *messageReader) data() {
	r.m.Data = nil
	if r.null() {
		return
	}
	r.peek()
	start := r.i
	if r.skip(2); !r.failed {
		r.m.Data = r.b[start:r.i:r.i]
	}
}

func (r *messageReader) seg() {
	r.m.Seg = r.m.Seg[:0]
	if r.null() {
		return
	}
	if r.peek() != '{' {
		r.skip(2)
		r.refuse("seg is not an object")
		return
	}
	r.i++
	for first := true; r.more('}', first); first = false {
		dim, escaped := r.key()
		if escaped {
			dim = unescape(make([]byte, 0, len(dim)), dim)
		}
		r.pair(dim)
	}
}

func (r *messageReader) pair(dim []byte) {
	var value []byte
	if !r.null() {
		if r.peek() != '"' {
			r.skip(3)
			r.refuse("a value in seg is not a string")
			return
		}
		var escaped bool
		if value, escaped = r.str(); escaped {
			value = unescape(make([]byte, 0, len(value)), value)
		}
	}
	for i := range r.m.Seg {
		if string(r.m.Seg[i].Dim) == string(dim) {
			r.m.Seg[i].Value = value
			return
		}
	}
	if len(r.m.Seg) == MaxDimensions {
		r.refuse("seg has more than %d dimensions", MaxDimensions)
		return
	}
	r.m.Seg = append(r.m.Seg, SegPair{Dim: dim, Value: value})
}

func (r *messageReader) codes() {
	r.m.Codes = r.m.Codes[:0]
	if r.null() {
		return
	}
	if r.peek() != '[' {
		r.skip(2)
		r.refuse("codes is not a list")
		return
	}
	r.i++
	for first := true; r.more(']', first); first = false {
		if r.peek() != '"' {
			r.skip(3)
			r.refuse("a code is not a string")
			continue
		}
		code, escaped := r.str()
		if escaped {
			code = unescape(make([]byte, 0, len(code)), code)
		}
		if len(r.m.Codes) == MaxTakeover {
			r.refuse("codes has more than %d", MaxTakeover)
			continue
		}
		r.m.Codes = append(r.m.Codes, code)
	}
}
