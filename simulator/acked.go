package simulator

import (
	"bufio"
	"io"
	"strconv"
	"sync"
	"time"

	"grandstand"
)

// acked writes down what gateways acknowledged. Its methods may be called at the
// same time.
type acked struct {
	mu    sync.Mutex
	out   *bufio.Writer // nil: nobody wants to know
	event string
	line  []byte
}

func newAcked(out io.Writer, event string) *acked {
	a := &acked{event: event}
	if out != nil {
		a.out = bufio.NewWriter(out)
	}
	return a
}

// note takes the numbers from..to of a session. An error comes again at close.
func (a *acked) note(session string, from, to int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		return
	}
	for n := from; n <= to; n++ {
		a.line = append(append(append(append(a.line[:0], a.event...), ' '), session...), ' ')
		a.out.Write(append(strconv.AppendInt(a.line, n, 10), '\n'))
	}
}

func (a *acked) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		return nil
	}
	return a.out.Flush()
}

// againAtMost is how many numbers a player sends again at once: within the burst
// of a gateway's message rate. It gives older ones up.
const againAtMost = 16

// acknowledged takes an ack: all numbers up to seq that this connection carried
// are durable.
func (p *player) acknowledged(seq int64) {
	c := p.crowd
	if seq > p.seq {
		c.audit.violate(checkProtocol, 0, "%d is acknowledged, %d was the last", seq, p.seq)
		return
	}
	if seq <= p.acked {
		return
	}
	c.stats.acked.Add(seq - p.acked)
	c.acked.note(p.session, p.acked+1, seq)
	c.kept.Store(true)
	p.acked = seq
}

// sendAgain sends what no gateway has acknowledged, if there is a reason to: a
// new connection, or a refusal. Where nothing is kept nothing is acknowledged,
// and nothing sent again.
func (p *player) sendAgain(w *wire) {
	if !p.again {
		return
	}
	p.again = false
	if !p.crowd.kept.Load() {
		p.acked = p.seq
		return
	}
	p.acked = max(p.acked, p.seq-againAtMost)
	for n := p.acked + 1; n <= p.seq; n++ {
		if p.write(w, n) != nil {
			return // the connection is at its end, which the reader finds
		}
		p.crowd.stats.resent.Add(1)
	}
}

// write sends the beat of a number.
func (p *player) write(w *wire, seq int64) error {
	state := "playing"
	if seq%50 == 13 {
		state = "buffering"
	}
	var buf [128]byte
	ms := p.interval.Milliseconds()
	return w.write(opText, appendBeat(buf[:0], seq, state, seq*ms, ms))
}

// beat sends a beat and returns when the next is due.
func (p *player) beat(w *wire, now time.Time) time.Time {
	p.doubt(now)
	p.sendAgain(w)
	p.seq++
	if p.write(w, p.seq) == nil {
		p.beats[0], p.beats[1] = p.beats[1], beatSent{now, time.Duration(grandstand.LingerMS(p.interval.Milliseconds())) * time.Millisecond}
		p.crowd.stats.beats.Add(1)
	}
	return now.Add(p.interval)
}
