package simulator

import (
	"bytes"
	"encoding/json"
	"strconv"

	"grandstand"
)

// counts is a message "counts" in full.
type counts struct {
	At    int64                 `json:"at"`
	Age   int64                 `json:"age"`
	Epoch int64                 `json:"epoch"`
	Q     string                `json:"q"`
	N     map[string]*[2]uint64 `json:"n"` // null: under min_cohort
}

// glance is what a player sees of each frame at a glance.
type glance struct {
	at, age, epoch int64
	live           bool
	quality        byte // the first letter, 'l' for live
}

var countsHead = []byte(`{"t":"counts","at":`)

// isCounts tells the message that comes all the time from the others.
func isCounts(b []byte) bool { return bytes.HasPrefix(b, countsHead) }

// isAck tells the message that is read even while a player leaves.
func isAck(b []byte) bool { return bytes.HasPrefix(b, []byte(`{"t":"ack"`)) }

// look reads the head of a message "counts" without parsing the rest. It
// relies on the order in which DESIGN.md writes the fields; ok is false for any
// other, which is then read in full.
func look(b []byte) (g glance, ok bool) {
	b = b[len(countsHead):]
	if g.at, b, ok = digits(b, `,"age":`); !ok {
		return g, false
	}
	if g.age, b, ok = digits(b, `,"epoch":`); !ok {
		return g, false
	}
	g.epoch, b, ok = digits(b, `,`)
	if !ok {
		return g, false
	}
	g.quality = 'l'
	if rest, found := bytes.CutPrefix(b, []byte(`"q":"`)); found && len(rest) > 0 {
		g.quality = rest[0]
	}
	g.live = g.quality == 'l'
	return g, true
}

func digits(b []byte, then string) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	if i == 0 || len(b) < i+len(then) || string(b[i:i+len(then)]) != then {
		return 0, nil, false
	}
	return n, b[i+len(then):], true
}

func (c *counts) glance() glance {
	g := glance{at: c.At, age: c.Age, epoch: c.Epoch, quality: 'l'}
	if c.Q != "" {
		g.quality = c.Q[0]
	}
	g.live = g.quality == 'l'
	return g
}

// notice is any other message of the server.
type notice struct {
	T       string   `json:"t"`
	Session string   `json:"session"`
	BeatMS  int64    `json:"beat_ms"`
	TickMS  int64    `json:"tick_ms"`
	Dims    []string `json:"dims"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
	RetryMS int64    `json:"retry_ms"`
	Seq     int64    `json:"seq"`
}

// appendBeat writes a beat.
func appendBeat(dst []byte, seq int64, state string, posMS, intervalMS int64) []byte {
	dst = append(dst, `{"t":"beat","seq":`...)
	dst = strconv.AppendInt(dst, seq, 10)
	dst = append(dst, `,"state":"`...)
	dst = append(dst, state...)
	dst = append(dst, `","pos":`...)
	dst = strconv.AppendInt(dst, posMS/1000, 10)
	dst = append(dst, `,"bitrate":4500,"interval_ms":`...)
	dst = strconv.AppendInt(dst, intervalMS, 10)
	return append(dst, '}')
}

// fullCount is one segment of a full board.
type fullCount struct {
	Sessions, Fans, Peak, Reach uint64
}

// fullBoard is a board as GET counts and its stream give it.
type fullBoard struct {
	Event   string
	At      int64
	AgeMS   int64
	Epoch   int64
	Quality string
	Dims    map[string]bool
	Counts  map[grandstand.Segment]fullCount
}

func decodeFullBoard(b []byte) (*fullBoard, error) {
	var raw struct {
		Event   string                     `json:"event"`
		At      int64                      `json:"at"`
		AgeMS   int64                      `json:"age_ms"`
		Epoch   int64                      `json:"epoch"`
		Quality string                     `json:"quality"`
		Dims    map[string]json.RawMessage `json:"dims"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, err
	}
	board := &fullBoard{
		Event: raw.Event, At: raw.At, AgeMS: raw.AgeMS, Epoch: raw.Epoch, Quality: raw.Quality,
		Dims: map[string]bool{}, Counts: map[grandstand.Segment]fullCount{},
	}
	for dim, text := range raw.Dims {
		board.Dims[dim] = true
		if dim == grandstand.World {
			var c fullCount
			if err := json.Unmarshal(text, &c); err != nil {
				return nil, err
			}
			board.Counts[grandstand.WorldSegment] = c
			continue
		}
		var values map[string]*fullCount
		if err := json.Unmarshal(text, &values); err != nil {
			return nil, err
		}
		for v, c := range values {
			if c != nil {
				board.Counts[grandstand.Segment{Dim: dim, Value: v}] = *c
			}
		}
	}
	return board, nil
}
