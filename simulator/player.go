package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"grandstand"
)

// command is what the plan tells a player to do.
type command int32

const (
	goOn   command = iota
	leave          // say goodbye and go
	vanish         // go without a word
	change         // lose the connection and resume elsewhere
	reload         // leave, and come back at once as a new session
)

// player is one session: a goroutine that beats and reads. The plan steers it
// with tell.
type player struct {
	crowd   *crowd // static after newPlayer
	who     *person
	device  string
	number  int
	polite  bool // leaves with a beat; breaks down with an open socket; changes networks slowly
	pres    *presence
	observe func(*counts, time.Time) // of a probe lane: sees every frame in full
	screen  screen

	cmd    atomic.Int32
	wake   chan struct{}          // ends a pause between two connections
	conn   atomic.Pointer[wire]   // for tell, which ends a read by its deadline
	joined atomic.Pointer[moment] // when the first hello came; nil before
	silent atomic.Pointer[moment] // since when it has been silent: its last beat
	index  int                    // in crowd.active, guarded by crowd.mu; -1: not there

	// Owned by the player's goroutine.
	rng      *rand.Rand
	gateway  int
	session  string
	seq      int64         // of the last beat
	acked    int64         // all up to here are durable, or given up
	again    bool          // what is above acked is to be sent again
	interval time.Duration // of beats
	tick     time.Duration // as the gateway says
	beats    [2]beatSent   // the last two
	heard    time.Time     // when the gateway said something last
	doubted  int64         // ms after which it may have given the session up, having read nothing; 0: it reads
	opened   bool          // has said hello once
	rest     time.Duration // without a network, before it reconnects
	dropped  time.Time     // when the connection was lost; zero while there is one
	lapse    int64         // ms after which the truth does not count the session any more
	seen     glance        // the newest frame of this connection
	seenAt   time.Time     // when it came
	before   glance        // the newest frame of all connections before
	frames   int
}

// moment is a join as freshness is measured from it.
type moment struct{ asked, hello time.Time }

// beatSent is a beat and how long it keeps the session.
type beatSent struct {
	at     time.Time
	linger time.Duration
}

const (
	dialTimeout  = 5 * time.Second
	closeTimeout = 2 * time.Second
	deadAfter    = 20 * time.Second // and three ticks without a word: so says the SDK, too
	longestGap   = 3 * time.Second  // between two networks
)

// tell gives the player an order. Of two orders the later holds.
func (p *player) tell(c command) {
	p.cmd.Store(int32(c))
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if w := p.conn.Load(); w != nil {
		w.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// ending is how a connection came to its end.
type ending int

const (
	ended     ending = iota // the session is over
	reconnect               // it goes on elsewhere
)

// fate is what the end of a connection says about its gateway.
type fate int

const (
	staysUp  fate = iota
	wentDown      // on purpose: it has said its last word
	crashed       // or so it seems
)

// run plays until the session is over.
func (p *player) run(ctx context.Context) {
	p.screen.on(time.Now())
	defer p.screen.off()
	for try := 0; ; {
		w, err := p.open(ctx)
		if err != nil {
			try++
			if !p.pause(ctx, retryIn(err, try, p.rng)) {
				p.truthOver()
				return
			}
			p.gateway++
			continue
		}
		try = 0
		p.conn.Store(w)
		end := p.watch(w)
		p.conn.Store(nil)
		w.conn.Close()
		if end == ended {
			return
		}
		if p.rest > 0 && !p.pause(ctx, p.rest) {
			p.truthOver()
			return
		}
		p.rest = 0
		p.gateway++
	}
}

// retryIn returns how long to wait after a failed attempt.
func retryIn(err error, try int, rng *rand.Rand) time.Duration {
	var se *statusError
	if errors.As(err, &se) && se.retry > 0 {
		return se.retry + time.Duration(rng.Int64N(int64(time.Second)))
	}
	d := min(100*time.Millisecond<<min(try, 6), 4*time.Second)
	return d/2 + time.Duration(rng.Int64N(int64(d)))
}

// pause waits between two connections. It reports whether the player goes on.
func (p *player) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if c := command(p.cmd.Load()); c == leave || c == vanish || c == reload {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-p.wake:
		}
	}
}

// truthOver tells the truth that the player gave up while it was not connected:
// what it left behind lingers.
func (p *player) truthOver() {
	p.crowd.stats.silent.Add(1)
	p.crowd.truth.abandon(p.pres, ms(time.Now()))
}

func ms(t time.Time) int64 { return t.UnixMilli() }

// watch beats and reads on one connection until it ends.
func (p *player) watch(w *wire) ending {
	next := p.beat(w, time.Now())
	next = next.Add(-time.Duration(p.rng.Int64N(int64(p.interval / 2)))) // spread the crowd's beats
	var away time.Time                                                   // when to reconnect after a drain; zero: not asked to
	for {
		due := next
		if dead := p.dead(); dead.Before(due) {
			due = dead
		}
		if !away.IsZero() && away.Before(due) {
			due = away
		}
		w.conn.SetReadDeadline(due)
		for {
			if c := command(p.cmd.Swap(int32(goOn))); c != goOn {
				return p.obey(w, c)
			}
			op, b, err := w.next()
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					break
				}
				return p.lost(w, "reset", crashed)
			}
			p.hear(time.Now())
			switch op {
			case opText:
				switch n := p.read(b); n.T {
				case "ack":
					p.acknowledged(n.Seq)
				case "drain":
					away = time.Now().Add(time.Duration(min(max(n.RetryMS, 0), 60_000)) * time.Millisecond)
				case "pace":
					p.interval = time.Duration(grandstand.ClampInterval(n.BeatMS, &grandstand.Event{BeatMS: grandstand.DefaultBeatMS})) * time.Millisecond
				case "blocked":
					p.crowd.stats.blocked.Add(1)
					return p.obey(w, leave)
				}
			case opPing:
				w.write(opPong, b)
			case opClose:
				return p.closed(w, closeCode(b))
			}
			if !away.IsZero() && away.Before(due) {
				break
			}
		}
		if command(p.cmd.Load()) != goOn {
			continue
		}
		now := time.Now()
		switch {
		case !away.IsZero() && !now.Before(away):
			return p.lost(w, "drain", wentDown)
		case !now.Before(p.dead()):
			return p.lost(w, "silent", crashed)
		case !now.Before(next):
			p.beat(w, now)
			if next = next.Add(p.interval); next.Before(now) {
				next = now.Add(p.interval)
			}
		}
	}
}

// dead returns when the connection is given up unless something is heard.
func (p *player) dead() time.Time { return p.heard.Add(deadAfter + 3*p.tick) }

// hear takes note that the gateway said something.
func (p *player) hear(now time.Time) {
	p.heard = now
	if p.doubted != 0 { // what it missed is made up for by the next beat
		p.doubted = 0
		p.crowd.truth.believe(p.pres, ms(now.Add(p.interval))+p.crowd.cfg.Window.Milliseconds())
	}
}

// doubt takes note that the gateway may not have read a beat since it said
// something: the session lapses, for all that is known.
func (p *player) doubt(now time.Time) {
	if p.doubted == 0 && now.Sub(p.heard) > p.interval+2*p.tick {
		p.doubted = ms(p.heard.Add(-p.interval)) + grandstand.LingerMS(p.interval.Milliseconds())
		p.crowd.truth.disbelieve(p.pres, p.doubted)
	}
}

// unread reports whether the gateway may not have read the last beat. One that is
// stopped reads what came meanwhile when it goes on, and the beat counts from then.
func (p *player) unread() bool { return p.crowd.kept.Load() && p.acked < p.seq }

// deadline returns between which two instants, in ms, the session lapses if
// nothing more is heard of it. The last beat counts as heard if the gateway had
// Config.Window to read it.
func (p *player) deadline(now time.Time) (lo, hi int64) {
	first, last := p.beats[0], p.beats[1]
	lo = ms(last.at.Add(last.linger))
	hi = lo
	if now.Sub(last.at) < p.crowd.cfg.Window {
		other := ms(first.at.Add(first.linger))
		lo, hi = min(lo, other), max(hi, other)
	}
	if p.doubted != 0 {
		lo = min(lo, p.doubted)
	}
	return lo, hi
}

// asTally returns until when, in ms, the last tally of a gateway that is gone
// since now is counted.
func (p *player) asTally(now time.Time) int64 {
	return ms(now.Add(p.tick)) + p.crowd.linger()
}

// bury tells the truth that the player's gateway is gone.
func (p *player) bury(now time.Time, crashed bool) {
	c := p.crowd
	c.truth.died(p.gateway%len(c.targets), ms(now), p.tick.Milliseconds(), c.linger(), crashed)
}

// obey carries an order out.
func (p *player) obey(w *wire, c command) ending {
	now := time.Now()
	stats, truth := &p.crowd.stats, p.crowd.truth
	if c != change {
		p.screen.off()
	}
	switch c {
	case change:
		stats.changes.Add(1)
		if p.polite { // the others had the new network before they lost the old one
			p.rest = time.Duration(p.rng.Int64N(int64(longestGap)))
		}
		return p.lost(w, "", staysUp)
	case vanish:
		stats.silent.Add(1)
		lo, hi := p.deadline(now)
		if p.unread() {
			hi = max(hi, ms(p.dead().Add(p.beats[1].linger)))
		}
		truth.drop(p.pres, ms(now), lo, hi, false)
		p.silent.Store(&moment{asked: p.beats[1].at})
		if p.polite {
			p.linger(w, time.UnixMilli(hi).Add(p.tick))
		}
		w.reset()
		return ended
	}
	stats.leaves.Add(1)
	truth.leave(p.pres, ms(now))
	if p.polite {
		var buf [128]byte
		p.seq++
		w.write(opText, appendBeat(buf[:0], p.seq, "ended", p.seq*p.interval.Milliseconds(), p.interval.Milliseconds()))
	}
	code := 1000 + uint16(p.seq%2)
	w.writeClose(code)
	w.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	for {
		op, b, err := w.next()
		if err != nil {
			truth.doubt(p.pres, p.asTally(time.Now()))
			break
		}
		if op == opClose {
			heard := ms(time.Now())
			if closeCode(b) != int(code) {
				heard = p.asTally(time.Now()) // the gateway closed by itself, and may not have read on
			}
			truth.doubt(p.pres, heard)
			break
		}
		if op == opText && isAck(b) {
			p.acknowledged(p.read(b).Seq)
		}
	}
	if c == reload {
		p.crowd.comeBack(p)
	}
	return ended
}

// linger keeps the socket open without a beat, as a device does that went out
// of reach.
func (p *player) linger(w *wire, until time.Time) {
	w.conn.SetReadDeadline(until)
	for command(p.cmd.Load()) == goOn {
		if _, _, err := w.next(); err != nil {
			if now := time.Now(); !errors.Is(err, os.ErrDeadlineExceeded) {
				// A gateway that goes down closes even such sockets, and writes its
				// last tally then.
				p.bury(now, false)
			}
			return
		}
	}
}

// lost ends a connection that the session outlives. cause, unless it is empty,
// is counted as a drop.
func (p *player) lost(w *wire, cause string, gateway fate) ending {
	now := time.Now()
	w.reset()
	if cause != "" {
		p.crowd.stats.drop(cause)
	}
	p.dropped = now
	lo, hi := p.deadline(now)
	if gateway != staysUp {
		hi = max(hi, p.asTally(now)) // its last tally may be newer than the last beat
	}
	p.lapse = hi + p.crowd.cfg.Window.Milliseconds()
	truth := p.crowd.truth
	truth.drop(p.pres, ms(now), lo, hi, true)
	if gateway != staysUp {
		p.bury(now, gateway == crashed)
	}
	return reconnect
}

// closed takes the close frame of the server.
func (p *player) closed(w *wire, code int) ending {
	if code < 4500 || code > 4999 {
		end := staysUp
		if code == 1012 {
			end = wentDown
		}
		return p.lost(w, strconv.Itoa(code), end)
	}
	p.crowd.stats.drop(strconv.Itoa(code))
	p.crowd.truth.leave(p.pres, ms(time.Now()))
	return ended
}

// read takes a message. It returns what is not "counts".
func (p *player) read(b []byte) (n notice) {
	if !isCounts(b) {
		if err := json.Unmarshal(b, &n); err != nil {
			p.crowd.audit.violate(checkProtocol, 0, "a message that is not JSON: %.80q", b)
		} else if n.T == "error" {
			p.crowd.stats.failed("message " + n.Code)
			p.again = p.again || n.Code == string(grandstand.CodeUnavailable)
		}
		return n
	}
	now := time.Now()
	p.frames++
	stats := &p.crowd.stats
	stats.frames.Add(1)
	g, ok := look(b)
	sample := !ok || p.observe != nil || p.crowd.sampled(p)
	if sample {
		var full counts
		if err := json.Unmarshal(b, &full); err != nil {
			p.crowd.audit.violate(checkProtocol, 0, "a counts message that is not JSON: %.80q", b)
			return n
		}
		g = full.glance()
		p.crowd.audit.frame(p.who, &full, now, p.seen.at > 0)
		if p.observe != nil {
			p.observe(&full, now)
		}
	}
	switch g.quality {
	case 's':
		stats.stale.Add(1)
	case 'p':
		stats.partial.Add(1)
	}
	p.order(g)
	if sample && p.seen.at > 0 && !p.crowd.still.Load() {
		stats.frameGap.add(now.Sub(p.seenAt).Seconds())
	}
	p.seen, p.seenAt = g, now
	p.screen.show(g, now, p.crowd.audit.offset.Load())
	return n
}

// order checks that time does not go back within an epoch. On a connection it
// never does. Another gateway may be a moment behind the one before.
func (p *player) order(g glance) {
	audit := p.crowd.audit
	if last := p.seen; last.at > 0 {
		if g.epoch < last.epoch || g.epoch == last.epoch && g.at < last.at {
			audit.violate(checkOrder, g.at, "on one connection %d/%d came after %d/%d (epoch/at)", g.epoch, g.at, last.epoch, last.at)
		}
		return
	}
	if b := p.before; b.at > 0 && g.epoch == b.epoch && g.at < b.at {
		p.crowd.stats.wentBack.Add(1)
		if g.live && b.at-g.at > 2*p.tick.Milliseconds() {
			audit.violate(checkOrder, g.at, "a gateway shows %d as live to somebody who saw %d on another (epoch %d)", g.at, b.at, g.epoch)
		}
	}
}
