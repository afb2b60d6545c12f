package gateway

import (
	"bufio"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// socket is what is below a wire. All but close may be called at the same time;
// close is the last to be called.
type socket interface {
	// try writes as much of p as goes without waiting, and returns how much. An
	// error shows at the next write.
	try(p []byte) int
	// write writes p within the time; if that is not enough the error is
	// os.ErrDeadlineExceeded. It has one caller at a time.
	write(p []byte, within time.Duration) (int, error)
	// closeWrite tells the client that nothing more follows.
	closeWrite()
	// shut ends reading and writing: whoever waits is told.
	shut()
	close()
}

// netSocket is a net.Conn that a goroutine reads: whatever the poller does not
// take, such as TLS, and all there is where there is no poller.
type netSocket struct{ net.Conn }

// try writes nothing: a net.Conn always waits.
func (netSocket) try([]byte) int { return 0 }

func (s netSocket) write(p []byte, within time.Duration) (int, error) {
	s.SetWriteDeadline(time.Now().Add(within))
	return s.Write(p)
}

func (s netSocket) closeWrite() {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

func (s netSocket) shut()  { s.Close() }
func (s netSocket) close() { s.Close() }

// handshake is what websocket.Accept takes over in place of the net.Conn of
// net/http: buffers of the least size, and a connection that stays open when the
// library lets go of it.
type handshake struct {
	http.ResponseWriter
	nc          net.Conn
	subprotocol string // "": the client offered none
	head        []byte // that the client sent after its request, and net/http had read
}

// Hijack implements http.Hijacker.
func (h *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.nc = nc
	if n := brw.Reader.Buffered(); n > 0 {
		b, _ := brw.Reader.Peek(n)
		h.head = append([]byte(nil), b...)
	}
	kept := keptOpen{nc}
	return kept, bufio.NewReadWriter(bufio.NewReaderSize(kept, 16), bufio.NewWriterSize(kept, 16)), nil
}

type keptOpen struct{ net.Conn }

func (keptOpen) Close() error { return nil }

// accept makes the handshake. It leaves out what this package does itself: Origin
// is checked before, and by one rule for all routes.
func accept(w http.ResponseWriter, r *http.Request) (*handshake, error) {
	h := &handshake{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocolCompact, subprotocol},
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		if h.nc != nil {
			h.nc.Close()
		}
		return nil, err
	}
	h.subprotocol = ws.Subprotocol()
	ws.CloseNow() // keptOpen
	return h, nil
}
