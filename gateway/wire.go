package gateway

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"grandstand"
)

// A wire is the writing half of a connection; conn_read.go is the other. Both work
// around coder/websocket, which makes the handshake and lets go of the connection
// (wire_socket.go). Its reader costs a goroutine with its stack, three buffers and
// 1.2 KB of state for each viewer, and two reads for each beat; its writer blocks on
// a slow reader, and frames thousands of times what thousands share. docs/decisions
// has the figures.
//
// Frames are made once and put on the socket by wire.send and wire.show. Neither
// blocks: what the kernel does not take at once is left to a goroutine that lives
// as long as the socket is behind.

const (
	maxPending   = 32 << 10 // bytes of messages that a stalled socket may have waiting
	slowGrace    = 2 * time.Second
	closeGrace   = 5 * time.Second // for the client to answer a close frame
	maxDiscarded = 256 << 10       // bytes read after our close frame, waiting for the client's

	bytesPerSecond = 20 << 10 // that a client may send, headers and pings included
	bytesBurst     = 256 << 10
)

// resend is after how long a frame that says nothing new is sent all the same,
// in ms; sooner if it is not live, so that its growing age is shown.
const (
	resendMS      = 15_000
	resendStaleMS = 5_000
)

// wire is what is written to a connection. Its methods may be called at the same
// time.
type wire struct {
	g    *Gateway // static
	sock socket   // static

	compact bool // static; counts are sent in their compact form

	mu sync.Mutex

	// guarded by mu
	out     []byte            // complete frames, and first the rest of the one under way
	slot    *grandstand.Frame // the newest frame, to be sent after out
	shown   *grandstand.Frame // the newest frame that was sent, or shows the same numbers
	shownAt int64             // ms at which it was sent
	order   order             // of the frames that were put on the socket
	acks    *acks             // nil: no event had a seq; set by the reader, which may read it without mu
	cutting *time.Timer       // cuts the socket off; nil: no close frame was sent
	closing closeCode         // of the close frame that was sent or is in out; 0: none
	byUs    bool              // closing was our idea
	corked  bool              // out is to be written by uncork
	stalled bool              // a goroutine is writing
	dead    bool              // nothing more is taken
	left    bool              // the reader is done: the last to write closes the socket
}

// pong answers a ping, unless the client reads nothing.
func (w *wire) pong(payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || w.closing != 0 || w.stalled && len(w.out) > maxPending/2 {
		return
	}
	var frame [2 + maxControl]byte
	w.writeLocked(appendFrameOf(frame[:0], opPong, payload))
}

// echo answers a close frame with one that says the same, unless one was sent.
func (w *wire) echo(payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || w.closing != 0 {
		return
	}
	w.writeLocked(appendFrameOf(nil, opClose, payload))
	if w.closing = closeEcho; len(payload) >= 2 {
		w.closing = closeCode(binary.BigEndian.Uint16(payload))
	}
}

// send puts complete frames on the socket. They are sent in order, none is left
// out: a client that lets too many pile up is a slow reader.
func (w *wire) send(frames []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || w.closing != 0 {
		return
	}
	if len(w.out)+len(frames) > maxPending {
		w.closeLocked(closeSlow)
		return
	}
	w.writeLocked(frames)
}

// show sends frame f, of which message is the complete WebSocket frame as it is now,
// or leaves it in the slot of one. It is not sent if it is older than the last,
// and not yet if it says nothing new.
func (w *wire) show(f *grandstand.Frame, live bool, message []byte, now int64) shown {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead || w.closing != 0 {
		return shownClosed
	}
	if last := w.shown; last != nil {
		if grandstand.NewerThan(last.Epoch(), last.At(), f.Epoch(), f.At()) {
			return shownOld
		}
		wait := int64(resendMS)
		if !live {
			wait = resendStaleMS
		}
		if f.SameNumbers(last) && now-w.shownAt < wait {
			w.shown = f
			return shownSame
		}
	}
	replaced := w.slot != nil
	w.shown, w.shownAt = f, now
	if w.stalled {
		w.slot = f
		if replaced {
			return shownSkipped
		}
		return shownLater
	}
	w.order.check(w.g, f.Event(), f.Epoch(), f.At())
	w.writeLocked(message)
	return shownSent
}

// again makes the next frame be sent even if its numbers are the last one's.
func (w *wire) again() {
	w.mu.Lock()
	w.shownAt = 0
	w.mu.Unlock()
}

// close sends a close frame, after what is pending, and nothing more. The
// client has closeGrace to answer it.
func (w *wire) close(code closeCode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closeLocked(code)
}

func (w *wire) closeLocked(code closeCode) {
	if w.dead || w.closing != 0 {
		return
	}
	w.slot = nil
	w.writeLocked(append(w.takeAckLocked(), appendClose(nil, code)...))
	w.closing, w.byUs = code, true
	w.cutLocked(closeGrace)
}

// cutLocked cuts the socket off after d, whatever was planned before. The reader
// sees its end.
func (w *wire) cutLocked(d time.Duration) {
	if w.cutting == nil {
		w.cutting = time.AfterFunc(d, w.cut)
	} else {
		w.cutting.Reset(d)
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.left || w.stalled { // else it is closed
		w.sock.shut()
	}
}

// halfClose says to the client that nothing more follows, if all is written.
func (w *wire) halfClose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stalled {
		w.sock.closeWrite()
	}
}

// leave is the reader's last act. It closes the socket, at once or, if a close
// frame is still to be written, when that is done, within slowGrace.
func (w *wire) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead, w.left, w.slot = true, true, nil
	switch {
	case !w.stalled:
		w.closeSocketLocked()
	case w.closing != 0:
		w.cutLocked(slowGrace)
	default:
		w.out = nil
		w.sock.shut()
	}
}

func (w *wire) closeSocketLocked() {
	if w.cutting != nil {
		w.cutting.Stop()
	}
	w.sock.close()
}

// closed returns the code of the close frame that was sent, 0 if none was, and
// whether closing was our idea rather than the client's or the library's.
func (w *wire) closed() (code closeCode, byUs bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing, w.byUs
}

func (w *wire) isClosing() bool {
	code, _ := w.closed()
	return code != 0
}

// writeLocked puts p on the socket as far as that is possible without blocking,
// and leaves the rest to a goroutine. It does not keep p.
func (w *wire) writeLocked(p []byte) {
	if w.stalled || w.corked {
		w.out = append(w.out, p...)
		return
	}
	n := w.sock.try(p)
	w.g.metrics.written.Add(float64(n))
	if n == len(p) {
		return
	}
	w.out = append(w.out, p[n:]...)
	w.stalled = true
	w.g.wg.Add(1)
	go w.catchUp()
}

// cork has what follows wait for uncork, which writes it at once.
func (w *wire) cork() {
	w.mu.Lock()
	w.corked = true
	w.mu.Unlock()
}

func (w *wire) uncork() {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.out
	w.out, w.corked = nil, false
	w.writeLocked(p)
}

// catchUp writes what is pending, with blocking writes, until nothing is. If
// the client takes nothing for SlowLimit the connection is closed: with 4008 if
// it reads at least that within slowGrace.
func (w *wire) catchUp() {
	defer w.g.wg.Done()
	var message []byte
	for {
		w.mu.Lock()
		p := w.out
		w.out = nil
		if len(p) == 0 {
			p = w.takeAckLocked()
		}
		if len(p) == 0 && w.slot != nil {
			p, w.slot = w.renderLocked(message[:0]), nil
			message = p
		}
		if len(p) == 0 {
			w.caughtUpLocked()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()

		n, err := w.sock.write(p, w.g.cfg.SlowLimit)
		w.g.metrics.written.Add(float64(n))
		if err != nil {
			w.giveUp(p[n:], errors.Is(err, os.ErrDeadlineExceeded))
			return
		}
	}
}

// renderLocked appends the frame in the slot as it is sent now.
func (w *wire) renderLocked(dst []byte) []byte {
	f, now := w.slot, w.g.cfg.Clock.Now()
	w.order.check(w.g, f.Event(), f.Epoch(), f.At())
	w.g.metrics.age.observe(now-f.At(), 1)
	return appendFrame(dst, f, w.compact, now)
}

func (w *wire) caughtUpLocked() {
	if w.stalled = false; w.left {
		w.closeSocketLocked()
	}
}

// giveUp ends a connection that does not take rest.
func (w *wire) giveUp(rest []byte, slow bool) {
	w.mu.Lock()
	if slow && !w.dead {
		p := append([]byte(nil), rest...)
		if w.closing == 0 {
			p = appendClose(p, closeSlow)
			w.closing, w.byUs = closeSlow, true
		} else {
			p = append(p, w.out...) // ends with the close frame, if rest does not
		}
		w.out, w.slot = nil, nil
		w.cutLocked(slowGrace + closeGrace)
		w.mu.Unlock()
		_, err := w.sock.write(p, slowGrace)
		w.mu.Lock()
		slow = err == nil
	}
	defer w.mu.Unlock()
	if !slow || w.dead {
		w.dead, w.out = true, nil
		w.sock.shut()
	} // else the reader waits for the client's close frame
	w.caughtUpLocked()
}

// shown says what became of a frame.
type shown uint8

const (
	shownSent    shown = iota // it is on the socket
	shownLater                // it waits in the slot
	shownSkipped              // it waits, and the one that waited before is dropped
	shownSame                 // it says nothing new
	shownOld                  // a newer one was sent
	shownClosed               // the connection is closing
)
