package blocker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/netip"
	"os"
	"unicode/utf8"

	"grandstand"
)

// The bounds of a heartbeat's body. Intervals are bounded by
// grandstand.MinBeatMS and MaxBeatMS.
const maxBody = 8 << 10 // bytes

// heartbeat is the body of a heartbeat. What was not said, or was null or "",
// is zero.
type heartbeat struct {
	event   string
	session string
	name    string
	hold    string

	intervalMS int64 // clamped; DefaultBeatMS if not said
	ended      bool  // the session leaves

	// The viewer wants to play here, and ends the leases of these codes for it
	// if need be.
	insist    bool
	terminate []string

	// What only a service says, and whether it did.
	limit   int
	plan    string
	address netip.Addr
	served  bool
}

// readHeartbeat reads the body of r, which may be empty.
func readHeartbeat(r *http.Request) (*heartbeat, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, grandstand.Errorf(grandstand.CodeTooLarge, "the body is larger than %d bytes", maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the body does not come")
	case err != nil:
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the body cannot be read")
	}
	return decodeHeartbeat(body)
}

// decodeHeartbeat reads a JSON object. Members that are not known are ignored;
// of one that stands twice the last holds. Its errors have CodeInvalid and name
// the member.
func decodeHeartbeat(body []byte) (*heartbeat, error) {
	h := &heartbeat{intervalMS: grandstand.DefaultBeatMS}
	if !utf8.Valid(body) {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the body is not UTF-8")
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return h, nil
	}
	var m members
	if body[0] != '{' || json.Unmarshal(body, &m.of) != nil {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "the body is not a JSON object")
	}
	h.read(&m)
	if m.err != nil {
		return nil, m.err
	}
	return h, nil
}

func (h *heartbeat) read(m *members) {
	h.event = m.value("event")
	h.session = m.value("session")
	m.take("name", &h.name, "a text")
	m.take("hold", &h.hold, "a text")
	if v, given := m.number("interval_ms"); given && v > 0 {
		h.intervalMS = int64(min(max(v, grandstand.MinBeatMS), grandstand.MaxBeatMS))
	}
	m.take("ended", &h.ended, "true or false")
	var state string
	if m.take("state", &state, "a text"); state != "" {
		s, ok := grandstand.ParseState(state)
		if !ok {
			m.refuse("state", "starting, playing, paused, buffering or ended")
		}
		h.ended = h.ended || s == grandstand.StateEnded
	}
	h.readTerminate(m)
	h.readServed(m)
}

func (h *heartbeat) readTerminate(m *members) {
	const form = "a list of at most 32 termination codes"
	var codes []*string
	h.insist = m.take("terminate", &codes, form)
	if len(codes) > grandstand.MaxTakeover {
		m.refuse("terminate", form)
		return
	}
	for _, c := range codes {
		if c == nil {
			m.refuse("terminate", form)
			return
		}
		h.terminate = append(h.terminate, *c)
	}
}

func (h *heartbeat) readServed(m *members) {
	if v, given := m.number("limit"); given {
		if v != math.Trunc(v) || v < 1 || v > grandstand.MaxStreams {
			m.refuse("limit", "a whole number from 1 to 64")
			return
		}
		h.limit, h.served = int(v), true
	}
	if m.take("plan", &h.plan, "a text"); h.plan != "" {
		if !validID(h.plan) {
			m.refuse("plan", "1 to 256 bytes of text without control characters")
		}
		h.served = true
	}
	var address string
	if m.take("address", &address, "a text"); address != "" {
		a, err := netip.ParseAddr(address)
		if err != nil {
			m.refuse("address", "an IPv4 or IPv6 address")
		}
		h.address, h.served = a, true
	}
}

// members are those of a JSON object. It keeps the first error.
type members struct {
	of  map[string]json.RawMessage
	err error
}

func (m *members) refuse(name, want string) {
	if m.err == nil {
		m.err = grandstand.Errorf(grandstand.CodeInvalid, "%s is not %s", name, want)
	}
}

// take decodes a member into at, and reports whether it is there. One that is
// null is not.
func (m *members) take(name string, at any, want string) bool {
	raw, there := m.of[name]
	if !there || string(raw) == "null" {
		return false
	}
	if json.Unmarshal(raw, at) != nil {
		m.refuse(name, want)
		return false
	}
	return true
}

// value returns a member that is a grandstand.ValidValue, or "".
func (m *members) value(name string) (v string) {
	const form = "1 to 64 characters of A-Z a-z 0-9 . _ -"
	if m.take(name, &v, form); v != "" && !grandstand.ValidValue(v) {
		m.refuse(name, form)
	}
	return v
}

func (m *members) number(name string) (v float64, given bool) {
	given = m.take(name, &v, "a number")
	return v, given
}
