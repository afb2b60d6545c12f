package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"grandstand"
)

// overBoth runs a test over pipes, which a goroutine reads, and over TCP, which the
// poller does where there is one.
func overBoth(t *testing.T, set func(*Config), f func(t *testing.T, rg *rig)) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp=%v", tcp), func(t *testing.T) {
			if !tcp {
				inBubble(t, rigConfig{set: set}, f)
				return
			}
			rg := newRig(t, rigConfig{set: set, tcp: true})
			waitReady(rg)
			f(t, rg)
			rg.stop()
		})
	}
}

// nextOf returns the next frame but for counts.
func (rc *rawConn) nextOf() (first byte, payload string) {
	rc.t.Helper()
	for {
		first, p, err := rc.read()
		if err != nil {
			rc.t.Fatal(err)
		}
		if !strings.Contains(string(p), `"t":"counts"`) {
			return first, string(p)
		}
	}
}

// However a client's bytes are cut, its messages are the same, and are answered in
// order.
func TestBytesComeInPieces(t *testing.T) {
	const fragment, last = 0x01, 0x80
	key := [4]byte{0xde, 0xad, 0xbe, 0xef}
	masked := func(first byte, text string) []byte {
		b := append([]byte{first, 0x80 | byte(len(text))}, key[:]...)
		b = append(b, text...)
		unmask(b[6:], key)
		return b
	}
	var all []byte
	for _, b := range [][]byte{
		masked(fragment, `{"t":"jo`), masked(0x89, "between"), masked(0x00, ``), masked(last, `in","seg":{"team":"SF"}}`),
		masked(0x8a, "a pong that nobody asked for"),
		masked(0x81, `{"t":"beat","seq":7,"state":"dancing"}`), masked(0x81, `{"t":"join","seg":{"mood":"good"}}`),
		masked(0x88, "\x03\xe8bye"),
	} {
		all = append(all, b...)
	}
	for _, piece := range []int{1, 7, len(all)} {
		overBoth(t, nil, func(t *testing.T, rg *rig) {
			rc := rg.raw("viewer=v1&team=KC")
			rc.nextOf() // hello
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() {
				for b := range slices.Chunk(all, piece) {
					rc.Write(b)
					time.Sleep(10 * time.Microsecond) // so that TCP sends it by itself
				}
			})
			for i, want := range []struct {
				first byte
				has   string
			}{{0x8a, "between"}, {0x81, `"re":"join"`}, {0x81, `"seq":7`}, {0x81, `no dimension`}, {0x88, "\x03\xe8bye"}} {
				if first, p := rc.nextOf(); first != want.first || !strings.Contains(p, want.has) {
					t.Fatalf("pieces of %d: answer %d is %x %q, want %x %q", piece, i, first, p, want.first, want.has)
				}
			}
			if first, p, err := rc.read(); err == nil {
				t.Errorf("after the echo comes %x %q", first, p)
			}
		})
	}
}

// A message that waits for keys or Redis holds up what its own socket sent after
// it, and nobody else.
func TestWaitingHoldsUpNobodyElse(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, rg *rig) {
		waiting, release := make(chan struct{}), make(chan struct{})
		rg.auth.renew = func(_ string, old *Identity) (*Identity, error) {
			close(waiting)
			<-release
			return old, nil
		}
		rc := rg.raw("viewer=v1&team=KC")
		rc.nextOf() // hello
		go rc.Write(append(frame(0x81, []byte(`{"t":"auth","token":"x"}`)), frame(0x81, []byte(`{"t":"beat","seq":1,"state":"?"}`))...))
		<-waiting
		other := rg.watch("viewer=v2&team=KC")
		other.send(`{"t":"beat","seq":2,"state":"?"}`)
		if m := other.next("error"); m["seq"] != 2.0 {
			t.Errorf("another socket is answered %v", m)
		}
		go rc.Write(frame(0x81, []byte(`{"t":"beat","seq":3,"state":"?"}`)))
		close(release)
		for _, want := range []string{`"re":"auth"`, `"seq":1`, `"seq":3`} {
			if _, p := rc.nextOf(); !strings.Contains(p, want) {
				t.Errorf("%s comes where %s should", p, want)
			}
		}
		rc.Close()
		other.leave()
	})
}

// A client that does not answer our close frame is cut off.
func TestAClientThatIgnoresTheCloseIsCut(t *testing.T) {
	rg := newRig(t, rigConfig{tcp: true})
	waitReady(rg)
	rc := rg.raw("viewer=v1&team=KC")
	rc.nextOf()
	c := rg.g.roomOf("final").sockets()[0]
	c.w.close(closeRestart)
	c.w.cut() // what the timer does after closeGrace
	until(t, "the connection is gone", func() bool { return rg.metric("connections", "") == 0 })
	for range 3 {
		c.w.cut() // the descriptor may be another connection's by now
	}
	other := rg.watch("viewer=v2&team=KC")
	c.w.cut()
	other.beat()
	rg.hub.show(board("final", time.Now().UnixMilli(), 2, "team:KC", 2))
	if m := other.next("counts"); world(m) != 2 {
		t.Errorf("another viewer is shown %v", m)
	}
	other.leave()
	rc.Close()
	rg.stop()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so within 20 s: %s", what)
		}
	}
}

// Who offers grandstand.v1.bin is shown the same counts in their compact form.
func TestCompactCounts(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, rg *rig) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, _, err := websocket.Dial(ctx, rg.url+"/v1/events/final/live?viewer=v1&team=KC&country=US&region=US-MO&interval_ms=60000",
			&websocket.DialOptions{HTTPClient: rg.client, Subprotocols: []string{subprotocol, subprotocolCompact}})
		if err != nil {
			t.Fatal(err)
		}
		if c.Subprotocol() != subprotocolCompact {
			t.Fatalf("of both %q is chosen", c.Subprotocol())
		}
		kind, b, err := c.Read(ctx)
		hello := decode(t, b)
		if err != nil || kind != websocket.MessageText || hello["t"] != "hello" {
			t.Fatalf("%v %s %v", kind, b, err)
		}
		plain := rg.watch("viewer=v2&team=KC&country=US&region=US-MO&interval_ms=60000")
		at := time.Now().UnixMilli()
		for i := range 3 {
			rg.hub.show(board("final", at+int64(i), uint64(3+i), "team:KC", 2+i, "country:US", 3+i))
			want := plain.next("counts")
			kind, b, err := c.Read(ctx)
			if err != nil || kind != websocket.MessageBinary {
				t.Fatalf("%v %s %v", kind, b, err)
			}
			got, err := grandstand.DecodeCounts(b, len(hello["dims"].([]any)))
			if err != nil {
				t.Fatal(err)
			}
			shown := map[string]any{}
			for k, dim := range hello["dims"].([]any) {
				shown[dim.(string)] = []any{float64(got.N[k].Sessions), float64(got.N[k].Fans)}
			}
			if fmt.Sprint(shown) != fmt.Sprint(want["n"]) || float64(got.At) != want["at"] || float64(got.Epoch) != want["epoch"] {
				t.Errorf("compact %+v\nJSON    %v", got, want)
			}
		}
		c.Close(websocket.StatusNormalClosure, "")
		plain.leave()
	})
}

// A socket that fell behind is sent the newest frame in its own form.
func TestCompactCountsOfASlowReader(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rc := rg.raw("viewer=slow&team=KC&interval_ms=60000")
		rc.nextOf()
		c := rg.g.roomOf("final").sockets()[0]
		c.w.compact = true
		for i := range 3 {
			rg.hub.show(bigBoard(time.Now().UnixMilli()+int64(i), i+1))
			time.Sleep(time.Second)
		}
		for _, want := range []uint64{1, 3} {
			first, p, err := rc.read()
			got, bad := grandstand.DecodeCounts(p, 4)
			if err != nil || bad != nil || first != 0x82 || got.N[0].Sessions != want {
				t.Errorf("%x %x is %+v, %v, %v; want %d", first, p, got, err, bad, want)
			}
		}
		rc.Close()
	})
}

// FuzzParseFrame: however many bytes are there, a frame is either not complete, or
// refused for good, or the same as with more of them; and what was parsed is what a
// client masked.
func FuzzParseFrame(f *testing.F) {
	f.Add(frame(0x81, []byte(`{"t":"beat"}`)))
	f.Add(frame(0x89, bytes.Repeat([]byte("x"), 125)))
	f.Add(frame(0x81, make([]byte, 4096)))
	f.Add(frame(0x82, make([]byte, 4097)))
	f.Add([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		got, size, bad := parseFrame(whole)
		if size > len(b) || size > maxFrame || size > 0 && bad != 0 {
			t.Fatalf("%d of %d bytes, close code %d", size, len(b), bad)
		}
		for _, k := range []int{0, 1, 2, 3, 4, 7, 8, 9, 10, 13, 14, size - 1, size, len(b) / 2, len(b)} {
			if k = min(max(k, 0), len(b)); k == len(b) {
				continue
			}
			_, n, early := parseFrame(bytes.Clone(b[:k]))
			if n != 0 && n != size || early != 0 && early != bad || n == 0 && early == 0 && size != 0 && k >= size {
				t.Fatalf("with %d bytes: size %d, close code %d; with all: %d, %d", k, n, early, size, bad)
			}
		}
		if size == 0 {
			return
		}
		text := b[size-len(got.payload) : size]
		for i := range text {
			if got.payload[i] != text[i]^b[size-len(got.payload)-4+i%4] {
				t.Fatalf("byte %d is not unmasked", i)
			}
		}
		if first := b[0]; opcode(first&0xf) != got.op || (first&fin != 0) != got.fin {
			t.Fatalf("%x is parsed as %+v", first, got)
		}
	})
}

func TestCloseFrames(t *testing.T) {
	for payload, want := range map[string]closeCode{
		"": closeEcho, "\x03\xe8": 1000, "\x03\xe9going": 1001, "\x0b\xb8": 3000, "\x13\x87": 4999,
		"\x03": 0, "\x03\xed": 0, "\x03\xee": 0, "\x03\xf7": 0, "\x00\x00": 0, "\x13\x88": 0, "\x03\xe8\xff": 0,
	} {
		if got, bad := parseClose([]byte(payload)); (bad == 0) != (want != 0) || got != want {
			t.Errorf("%x is %d, %d; want %d", payload, got, bad, want)
		}
	}
	b := appendClose(nil, closeSlow)
	if b[0] != 0x88 || int(b[1]) != len(b)-2 || binary.BigEndian.Uint16(b[2:]) != 4008 {
		t.Errorf("%x", b)
	}
}

// What is not plain TCP is left as it is.
func TestOnlyTCPIsPolled(t *testing.T) {
	g := newRig(t, rigConfig{}).g
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, ok := g.socketOf(b).(netSocket); !ok {
		t.Error("a pipe is polled")
	}
}

// A goodbye is heard even if the client cuts the connection right after it, with
// frames unread.
func TestAGoodbyeIsHeardThoughTheClientIsGone(t *testing.T) {
	rg := newRig(t, rigConfig{tcp: true})
	waitReady(rg)
	const n = 100
	for i := range n {
		rc := rg.raw("viewer=v1&team=KC")
		rc.nextOf() // hello
		rg.hub.show(board("final", time.Now().UnixMilli(), uint64(i+1), "team:KC", 2))
		rc.Conn.Write(frame(0x88, []byte{3, 0xe8}))
		if i%2 == 0 {
			rc.Conn.(*net.TCPConn).SetLinger(0) // a reset
		}
		rc.Close()
	}
	until(t, "all connections are gone", func() bool { return rg.metric("connections", "") == 0 })
	if said := rg.metric("closes_total", "normal"); said != n {
		t.Errorf("%v of %d goodbyes are heard", said, n)
	}
	rg.stop()
}

// A client says goodbye and the gateway closes, at once: it is a goodbye. One that
// only answers our close frame says our code, and may come back elsewhere.
func TestAGoodbyeMayCrossACloseFrame(t *testing.T) {
	for code, left := range map[uint16]bool{1000: true, 1001: true, 1012: false} {
		overBoth(t, nil, func(t *testing.T, rg *rig) {
			rc := rg.raw("viewer=v1")
			if first, _ := rc.nextOf(); first != 0x81 {
				t.Fatalf("hello is %x", first)
			}
			s := rg.g.roomOf("final").sockets()[0].session
			rg.g.hangUp(closeRestart)
			rc.write(frame(0x88, binary.BigEndian.AppendUint16(nil, code)))
			for first := byte(0); first != 0x88; first, _ = rc.nextOf() {
			}
			rg.until("the connection has ended", func() bool { return rg.g.conns.Load() == 0 })
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.Left != left {
				t.Errorf("after %d the session has left: %t", code, s.Left)
			}
		})
	}
}
