package gateway

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// This file is the one place that works around coder/websocket, for three
// reasons. Its Accept takes over the two 4 KiB buffers of net/http and keeps
// them; a frame that thousands share would be framed thousands of times; and a
// write to a socket whose reader is slow blocks the writer.
//
// So Accept is handed a wire instead of the net.Conn. The library reads through
// it and writes control frames only, of at most 127 bytes each in one Write. All
// other frames are made here and put on the socket by wire.send and wire.show.
// Neither blocks: what the kernel does not take at once is left to a goroutine
// that lives as long as the socket is behind.

// errFlood is what the library reads once a client sent too many bytes.
var errFlood = errors.New("too many bytes in too short a time")

const (
	readBuffer  = 256 // bytes per connection; a beat is some 80
	writeBuffer = 128 // bytes per connection; the largest control frame is 127

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

// wire is the connection below a WebSocket. Read has one caller, the library;
// all other methods may be called at the same time.
type wire struct {
	g  *Gateway        // static
	nc net.Conn        // static after Hijack
	rc syscall.RawConn // static after Hijack; nil: no attempt without blocking is possible

	// owned by the reader
	head     []byte // bytes that net/http had read already
	received bucket
	flooded  bool

	mu sync.Mutex

	// guarded by mu
	out     []byte            // complete frames, and first the rest of the one under way
	slot    *grandstand.Frame // the newest frame, to be sent after out
	shown   *grandstand.Frame // the newest frame that was sent, or shows the same numbers
	shownAt int64             // ms at which it was sent
	acks    *acks             // nil: no event had a seq; set by the reader, which may read it without mu
	stalled bool              // a goroutine is writing
	closing closeCode         // of the close frame that was sent or is in out; 0: none
	byUs    bool              // closing was our idea
	dead    bool              // nothing more is taken
}

// hijacker hands a wire to websocket.Accept in place of the net.Conn.
type hijacker struct {
	http.ResponseWriter
	w *wire
}

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if n := brw.Reader.Buffered(); n > 0 {
		b, _ := brw.Reader.Peek(n)
		h.w.head = append([]byte(nil), b...)
	}
	h.w.nc = nc
	if sc, ok := nc.(syscall.Conn); ok && nonblocking {
		if rc, err := sc.SyscallConn(); err == nil {
			h.w.rc = rc
		}
	}
	return connOfWire{nc, h.w}, bufio.NewReadWriter(
		bufio.NewReaderSize(nil, readBuffer), bufio.NewWriterSize(connOfWire{nc, h.w}, writeBuffer)), nil
}

// connOfWire is a wire as the library sees it.
type connOfWire struct {
	net.Conn
	w *wire
}

func (c connOfWire) Read(p []byte) (int, error)  { return c.w.read(p) }
func (c connOfWire) Write(p []byte) (int, error) { return c.w.control(p) }
func (c connOfWire) Close() error                { return c.w.kill() }

func (w *wire) read(p []byte) (int, error) {
	if len(w.head) > 0 {
		n := copy(p, w.head)
		if w.head = w.head[n:]; len(w.head) == 0 {
			w.head = nil
		}
		return n, nil
	}
	n, err := w.nc.Read(p)
	if n > 0 && !w.received.take(n, bytesPerSecond, bytesBurst, w.g.cfg.Clock.Now()) {
		w.flooded = true
		return 0, errFlood
	}
	return n, err
}

// control sends a control frame that the library made. A pong to a client that
// reads nothing is dropped.
func (w *wire) control(p []byte) (int, error) {
	const opClose, opMask = 0x8, 0xf
	w.mu.Lock()
	defer w.mu.Unlock()
	isClose := len(p) > 0 && p[0]&opMask == opClose
	switch {
	case w.dead:
		return 0, net.ErrClosed
	case w.closing != 0:
		return len(p), nil // after our close frame nothing may follow
	case w.stalled && !isClose && len(w.out) > maxPending/2:
		return len(p), nil
	}
	w.writeLocked(p)
	if isClose {
		w.closing = closeEcho
		if len(p) >= 4 {
			w.closing = closeCode(binary.BigEndian.Uint16(p[2:]))
		}
	}
	return len(p), nil
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

// show sends frame f, of which message is the complete text frame as it is now,
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
	w.nc.SetReadDeadline(time.Now().Add(closeGrace))
}

// kill closes the socket, at once or, if a close frame is still to be written,
// when that is done, within slowGrace.
func (w *wire) kill() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return net.ErrClosed
	}
	w.dead, w.slot = true, nil
	if w.stalled && w.closing != 0 {
		return w.nc.SetDeadline(time.Now().Add(slowGrace)) // catchUp closes it
	}
	w.out = nil
	return w.nc.Close()
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

// idle reports whether all that was sent is on the socket.
func (w *wire) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.stalled
}

// writeLocked puts p on the socket as far as that is possible without blocking,
// and leaves the rest to a goroutine. It does not keep p.
func (w *wire) writeLocked(p []byte) {
	if w.stalled {
		w.out = append(w.out, p...)
		return
	}
	n := 0
	if w.rc != nil {
		n = tryWrite(w.rc, p)
	}
	if n == len(p) {
		return
	}
	w.out = append(w.out, p[n:]...)
	w.stalled = true
	w.g.wg.Add(1)
	go w.catchUp()
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
			message = appendFrame(message[:0], w.slot, w.g.cfg.Clock.Now())
			p, w.slot = message, nil
		}
		if len(p) == 0 {
			w.stalled = false
			if w.dead {
				w.nc.Close()
			}
			w.mu.Unlock()
			return
		}
		if !w.dead {
			w.nc.SetWriteDeadline(time.Now().Add(w.g.cfg.SlowLimit))
		}
		w.mu.Unlock()

		n, err := w.nc.Write(p)
		if err != nil {
			w.giveUp(p[n:], errors.Is(err, os.ErrDeadlineExceeded))
			return
		}
	}
}

// giveUp ends a connection that does not take rest.
func (w *wire) giveUp(rest []byte, slow bool) {
	w.mu.Lock()
	if !slow || w.dead {
		w.dead, w.out = true, nil
		w.nc.Close()
		w.mu.Unlock()
		return
	}
	p := append([]byte(nil), rest...)
	if w.closing == 0 {
		p = appendClose(p, closeSlow)
		w.closing, w.byUs = closeSlow, true
	} else {
		p = append(p, w.out...) // ends with the close frame, if rest does not
	}
	w.out, w.slot = nil, nil
	w.nc.SetReadDeadline(time.Now().Add(slowGrace + closeGrace))
	w.nc.SetWriteDeadline(time.Now().Add(slowGrace))
	w.mu.Unlock()
	_, err := w.nc.Write(p)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalled = false
	if err != nil || w.dead {
		w.dead = true
		w.nc.Close()
	} // else the reader waits for the client's close frame
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

// appendText appends payload as a complete WebSocket text frame of a server
// (RFC 6455, 5.2: FIN, opcode 1, not masked).
func appendText(dst, payload []byte) []byte {
	return append(appendTextHeader(dst, len(payload)), payload...)
}

func appendTextHeader(dst []byte, n int) []byte {
	const finText = 0x81
	switch {
	case n < 126:
		return append(dst, finText, byte(n))
	case n <= 0xffff:
		return append(dst, finText, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, finText, 127)
		return binary.BigEndian.AppendUint64(dst, uint64(n))
	}
}

// appendFrame appends the text frame of f as it is sent at now.
func appendFrame(dst []byte, f *grandstand.Frame, now int64) []byte {
	const room = 4 // for the longer header, which is right for nearly all
	at := len(dst)
	dst = f.AppendJSON(append(dst, make([]byte, room)...), now)
	payload := dst[at+room:]
	if n := len(payload); n >= 126 && n <= 0xffff {
		appendTextHeader(dst[:at], n)
		return dst
	}
	return appendText(dst[:at], append([]byte(nil), payload...))
}

// appendClose appends a close frame of a server.
func appendClose(dst []byte, code closeCode) []byte {
	const finClose = 0x88
	reason := code.reason()
	dst = append(dst, finClose, byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// acceptOptions leave out what this package does itself: Origin is checked
// before, and by one rule for all routes.
var acceptOptions = &websocket.AcceptOptions{
	Subprotocols:       []string{subprotocol},
	InsecureSkipVerify: true,
	CompressionMode:    websocket.CompressionDisabled,
}
