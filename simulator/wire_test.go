package simulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// dialTest connects a wire to a server.
func dialTest(t *testing.T, h http.HandlerFunc) (*wire, error) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	address := s.Listener.Addr().String()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return handshake(conn, address, "/", "", [16]byte{1, 2, 3})
}

// The wire speaks with a library that is not ours.
func TestWireEchoes(t *testing.T) {
	w, err := dialTest(t, func(rw http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: []string{"grandstand.v1"}})
		if err != nil {
			t.Error(err)
			return
		}
		ws.SetReadLimit(1 << 20)
		for {
			typ, b, err := ws.Read(r.Context())
			if err != nil {
				if websocket.CloseStatus(err) != 1000 {
					t.Errorf("closed with %v", err)
				}
				return
			}
			// In pieces of at most 1000 bytes.
			mw, _ := ws.Writer(r.Context(), typ)
			for part := range bytesChunks(b, 1000) {
				mw.Write(part)
			}
			mw.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 125, 126, 4000, 65_535} {
		msg := bytes.Repeat([]byte("ab€"), n/5+1)[:n]
		if err := w.write(opText, msg); err != nil {
			t.Fatal(err)
		}
		op, got, err := w.next()
		if err != nil || op != opText || !bytes.Equal(got, msg) {
			t.Fatalf("%d bytes came back as %d bytes, opcode %d, error %v", n, len(got), op, err)
		}
	}
	if err := w.writeClose(1000); err != nil {
		t.Fatal(err)
	}
	if op, b, err := w.next(); err != nil || op != opClose || closeCode(b) != 1000 {
		t.Errorf("goodbye was answered with opcode %d, %v, %v", op, b, err)
	}
}

func bytesChunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

func TestHandshakeRefusals(t *testing.T) {
	_, err := dialTest(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, `{"code":"unavailable"}`, http.StatusServiceUnavailable)
	})
	var se *statusError
	if !errors.As(err, &se) || se.status != 503 || se.retry != 7*time.Second {
		t.Errorf("503 is %v", err)
	}
	_, err = dialTest(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err == nil {
			ws.CloseNow()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "subprotocol") {
		t.Errorf("no subprotocol is %v", err)
	}
	_, err = dialTest(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"grandstand.v1"}})
		if err == nil {
			ws.CloseNow()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "wrong key") {
		t.Errorf("a wrong key is %v", err)
	}
}

// serverFrame writes a frame like a server does.
func serverFrame(op byte, payload []byte) []byte {
	b := []byte{op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// A read that times out in the middle of a frame goes on there.
func TestWireResumesAfterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		w := &wire{conn: ours, buf: make([]byte, 16)}
		text := []byte(strings.Repeat("counts ", 20_000))
		var all []byte
		all = append(all, serverFrame(opText, text[:10])...) // first piece
		all = append(all, serverFrame(0x80|opPing, []byte("in between"))...)
		all = append(all, serverFrame(opContinuation, text[10:70_000])...)
		all = append(all, serverFrame(0x80|opContinuation, text[70_000:])...)
		go func() {
			defer theirs.Close()
			for len(all) > 0 {
				n := min(5000, len(all))
				theirs.Write(all[:n])
				all = all[n:]
				time.Sleep(time.Second)
			}
		}()
		timeouts := 0
		next := func() (byte, []byte, error) {
			for {
				ours.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				op, b, err := w.next()
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					return op, b, err
				}
				timeouts++
			}
		}
		if op, b, err := next(); op != opPing || string(b) != "in between" || err != nil {
			t.Errorf("the ping is %d %q %v", op, b, err)
		}
		if op, b, err := next(); op != opText || !bytes.Equal(b, text) || err != nil {
			t.Errorf("the text is %d of %d bytes, %v", op, len(b), err)
		}
		if timeouts < 50 {
			t.Errorf("only %d timeouts in a minute and a half", timeouts)
		}
		if _, _, err := next(); err != io.EOF {
			t.Errorf("the end is %v", err)
		}
	})
}

func FuzzWire(f *testing.F) {
	f.Add(serverFrame(0x80|opText, []byte("hello")))
	f.Add(serverFrame(0x80|opClose, []byte{3, 232}))
	f.Add(append(serverFrame(opText, []byte("a")), serverFrame(0x80|opContinuation, []byte("b"))...))
	f.Add([]byte{0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x81, 126, 0, 5, 1, 2, 3, 4, 5})
	f.Add([]byte{0x81, 0x85, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &wire{conn: readOnly{bytes.NewReader(b)}, buf: make([]byte, 8)}
		total := 0
		for {
			_, payload, err := w.next()
			if err != nil {
				break
			}
			total += len(payload)
		}
		if total > len(b) {
			t.Errorf("%d bytes came out of %d", total, len(b))
		}
	})
}

// readOnly is a net.Conn that can only be read.
type readOnly struct{ *bytes.Reader }

func (readOnly) Write([]byte) (int, error)        { return 0, io.ErrClosedPipe }
func (readOnly) Close() error                     { return nil }
func (readOnly) LocalAddr() net.Addr              { return nil }
func (readOnly) RemoteAddr() net.Addr             { return nil }
func (readOnly) SetDeadline(time.Time) error      { return nil }
func (readOnly) SetReadDeadline(time.Time) error  { return nil }
func (readOnly) SetWriteDeadline(time.Time) error { return nil }

const sampleCounts = `{"t":"counts","at":1795299042179,"age":230,"epoch":3,"n":{"world":[3300000,3190211],"country":[9,8],"region":null,"team":[5,5]}}`

func TestLook(t *testing.T) {
	want := glance{at: 1795299042179, age: 230, epoch: 3, live: true, quality: 'l'}
	if g, ok := look([]byte(sampleCounts)); !ok || g != want {
		t.Errorf("look: %+v, %v", g, ok)
	}
	partial := strings.Replace(sampleCounts, `"n":`, `"q":"partial","n":`, 1)
	want.live, want.quality = false, 'p'
	if g, ok := look([]byte(partial)); !ok || g != want {
		t.Errorf("look at a partial one: %+v, %v", g, ok)
	}
	if _, ok := look([]byte(`{"t":"counts","at":17,"epoch":3,"age":230,"n":{}}`)); ok {
		t.Error("another order of the fields was taken")
	}
}

// What look accepts, it reads like a JSON parser does.
func FuzzLook(f *testing.F) {
	f.Add([]byte(sampleCounts))
	f.Add([]byte(`{"t":"counts","at":1,"age":2,"epoch":3,"q":"stale","n":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isCounts(b) {
			return
		}
		g, ok := look(b)
		var c counts
		if !ok || json.Unmarshal(b, &c) != nil || bytes.Count(b, []byte(`"`)) > 64 {
			return
		}
		// A field that stands twice counts last; the system never writes that.
		if bytes.Count(bytes.ToLower(b), []byte("at\"")) > 1 || bytes.Contains(b, []byte(`\`)) {
			return
		}
		if full := c.glance(); g.at != full.at {
			t.Errorf("%s: look has %+v, a parser %+v", b, g, full)
		}
	})
}

func TestBeatIsWhatTheDesignSays(t *testing.T) {
	b := appendBeat(nil, 41, "playing", 12_300, 10_000)
	want := `{"t":"beat","seq":41,"state":"playing","pos":12,"bitrate":4500,"interval_ms":10000}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestRetryIn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for try := 1; try < 20; try++ {
		if d := retryIn(io.EOF, try, rng); d < 50*time.Millisecond || d > 6*time.Second {
			t.Errorf("after %d tries it waits %v", try, d)
		}
	}
	if d := retryIn(&statusError{status: 503, retry: 7 * time.Second}, 1, rng); d < 7*time.Second || d > 8*time.Second {
		t.Errorf("Retry-After 7 waits %v", d)
	}
}

func BenchmarkLook(b *testing.B) {
	msg := []byte(sampleCounts)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := look(msg); !ok {
			b.Fatal("not understood")
		}
	}
}

func BenchmarkBeat(b *testing.B) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() { io.Copy(io.Discard, theirs); cancel() }()
	w := &wire{conn: ours}
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		var buf [128]byte
		if w.write(opText, appendBeat(buf[:0], i, "playing", i, 10_000)) != nil || ctx.Err() != nil {
			b.Fatal("no write")
		}
	}
}
