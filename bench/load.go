package bench

import (
	"bytes"
	"strconv"
	"strings"
)

// LoadConfig is the first line that a load client reads: one line of JSON.
type LoadConfig struct {
	Addr string `json:"addr"` // host:port of an IPv4 server

	// Path is that of the request. {i} is the number of the connection, {a} that
	// number modulo Audiences, {e} that number divided by PerEvent.
	Path      string `json:"path"`
	Audiences int    `json:"audiences"` // default 1
	PerEvent  int    `json:"per_event"` // default 1

	Conns  int `json:"conns"`
	Offset int `json:"offset"` // number of the first connection
	Rate   int `json:"rate"`   // opened per second; 0: as fast as the server answers

	// Protocol is the subprotocol asked for. Default: grandstand.v1.
	Protocol string `json:"protocol,omitempty"`

	// Key is a P-256 key (PKCS 8): every connection then offers a token of its
	// own for the event, signed with it. Default: no tokens.
	Key   []byte `json:"key,omitempty"`
	Event string `json:"event,omitempty"`

	// Retry has those come again that are told 503, as players do.
	Retry bool `json:"retry,omitempty"`

	// Silent is how many of the connections read nothing once they are open.
	Silent int `json:"silent,omitempty"`

	// Expect is the number of sessions of its event that each viewer waits to be
	// shown: LoadStats.Seen. Default: nothing is waited for.
	Expect int `json:"expect,omitempty"`
}

// loadOrder is a further line: what to do from now on.
type loadOrder struct {
	Do string `json:"do"` // mark, beat, grow or stop
	MS int    `json:"ms"` // the interval of beat (per connection) and grow; 0: none
}

// LoadStats is what a load client answers to mark and stop, one line of JSON.
// All but Asked, Open, Failed, Closed, Shown, Seen and Retried counts since the mark
// before.
type LoadStats struct {
	Asked  int `json:"asked"`  // connections that were to be opened so far
	Open   int `json:"open"`   // handshakes done and not closed since
	Failed int `json:"failed"` // connections without a handshake
	Closed int `json:"closed"` // connections that the server closed or lost
	Shown  int `json:"shown"`  // connections that got a counts message

	Retried int `json:"retried"` // handshakes that were told 503 and tried again later

	Protocol string `json:"protocol"` // that the server chose
	Reason   string `json:"reason"`   // of the last failure or close

	Frames  int `json:"frames"`  // data frames received
	Bytes   int `json:"bytes"`   // of their payload
	Counts  int `json:"counts"`  // of them counts
	NotLive int `json:"notlive"` // of those partial or stale
	Beats   int `json:"beats"`   // sent

	OpenMS int64 `json:"open_ms"` // from the first connect to the last handshake
	MaxGap int64 `json:"max_gap"` // ms between two counts of one connection, the longest

	Age    Hist `json:"age"`    // of counts when they arrived, ms after the state was counted
	Screen Hist `json:"screen"` // age of counts when the next ones replaced them
	Seen   Hist `json:"seen"`   // from the last join of an event to Expect sessions being shown
}

// add adds what another process counted at the same time.
func (s *LoadStats) add(o *LoadStats) {
	s.Asked, s.Open, s.Failed, s.Closed, s.Shown = s.Asked+o.Asked, s.Open+o.Open, s.Failed+o.Failed, s.Closed+o.Closed, s.Shown+o.Shown
	s.Frames, s.Bytes, s.Counts = s.Frames+o.Frames, s.Bytes+o.Bytes, s.Counts+o.Counts
	s.NotLive, s.Beats = s.NotLive+o.NotLive, s.Beats+o.Beats
	s.OpenMS, s.MaxGap = max(s.OpenMS, o.OpenMS), max(s.MaxGap, o.MaxGap)
	if o.Protocol != "" {
		s.Protocol = o.Protocol
	}
	if o.Reason != "" {
		s.Reason = o.Reason
	}
	s.Age.Merge(&o.Age)
	s.Screen.Merge(&o.Screen)
	s.Seen.Merge(&o.Seen)
}

func (c *LoadConfig) defaults() {
	c.Audiences, c.PerEvent = max(c.Audiences, 1), max(c.PerEvent, 1)
	if c.Protocol == "" {
		c.Protocol = "grandstand.v1"
	}
}

// expand returns the path of connection i.
func (c *LoadConfig) expand(i int) string {
	return strings.NewReplacer("{i}", strconv.Itoa(i), "{a}", strconv.Itoa(i%c.Audiences), "{e}", strconv.Itoa(i/c.PerEvent)).Replace(c.Path)
}

// wsKey is the nonce of every handshake, wsAccept the answer to it (the example
// of RFC 6455, section 1.3). Nobody caches these answers.
const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
)

// appendClientFrame appends a masked frame. The mask is zero, which is as legal
// as any and costs nothing to apply.
func appendClientFrame(b []byte, op byte, payload []byte) []byte {
	b = append(b, 0x80|op)
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

// nextFrame splits the first frame of a server off b. ok is false if it is not
// complete.
func nextFrame(b []byte) (op byte, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, b, false
	}
	n, head := uint64(b[1]&0x7f), 2
	switch n {
	case 126:
		head += 2
	case 127:
		head += 8
	}
	if len(b) < head {
		return 0, nil, b, false
	}
	if head > 2 {
		n = 0
		for _, d := range b[2:head] {
			n = n<<8 | uint64(d)
		}
	}
	if n > uint64(len(b)-head) {
		return 0, nil, b, false
	}
	end := head + int(n)
	return b[0] & 0xf, b[head:end], b[end:], true
}

// counts is what a load client reads of a counts message.
type counts struct {
	at       int64
	live     bool
	sessions int // of the world
}

// readCounts reports whether a text message is counts, and reads it. It looks
// for the names only: a parser would cost more than all else in the client.
func readCounts(p []byte) (c counts, ok bool) {
	if !bytes.HasPrefix(p, []byte(`{"t":"counts"`)) {
		return c, false
	}
	c.at = numberAfter(p, `"at":`)
	c.live = !bytes.Contains(p, []byte(`"q":`))
	c.sessions = int(numberAfter(p, `"world":[`))
	return c, true
}

// numberAfter returns the number that follows the name, 0 if there is none.
func numberAfter(p []byte, name string) (n int64) {
	i := bytes.Index(p, []byte(name))
	if i < 0 {
		return 0
	}
	for _, d := range p[i+len(name):] {
		if d < '0' || d > '9' {
			break
		}
		n = n*10 + int64(d-'0')
	}
	return n
}
