package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// bigBoard makes frames of some size: one segment's numbers differ each time.
func bigBoard(at int64, n int) *grandstand.Board {
	return board("final", at, uint64(n), "team:KC", n)
}

// A reader that takes nothing has a slot of one, then is closed with 4008.
// Nobody else notices.
func TestSlowReadersSkipAndAreClosed(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rc := rg.raw("viewer=slow&team=KC&interval_ms=60000")
		if first, hello, err := rc.read(); err != nil || first != 0x81 || !strings.Contains(string(hello), "hello") {
			t.Fatalf("%x %s %v", first, hello, err)
		}
		v := rg.watch("viewer=v1&team=KC&interval_ms=60000")
		at := time.Now().UnixMilli()
		start := time.Now()
		for i := range 6 { // over pipes the first blocks already
			rg.hub.show(bigBoard(at+int64(i), i+1))
			if m := v.next("counts"); world(m) != i+1 {
				t.Errorf("another viewer is shown %v", m)
			}
			time.Sleep(time.Second)
		}
		// It reads again in time: the frame under way, then the newest only.
		_, first, _ := rc.read()
		_, second, err := rc.read()
		if err != nil || !strings.Contains(string(first), `"world":[1,`) || !strings.Contains(string(second), `"world":[6,`) {
			t.Errorf("a slow reader sees %s, then %s, %v", first, second, err)
		}
		if n := rg.metric("frames_total", "skipped"); n != 4 {
			t.Errorf("%v frames are counted as skipped, want 4", n)
		}
		// It stops for good.
		rg.hub.show(bigBoard(at+100, 100))
		rg.hub.show(bigBoard(at+101, 101))
		time.Sleep(10*time.Second + 500*time.Millisecond)
		rc.wantClose(4008)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("closed after %v", d)
		}
		time.Sleep(10 * time.Millisecond)
		if n := rg.metric("closes_total", "slow_reader"); n != 1 {
			t.Errorf("%v closes are counted as slow_reader", n)
		}
		for world(v.next("counts")) != 101 { // which fails after 20 s
		}
		v.leave()
	})
}

func TestAReaderThatNeverReadsAgainIsCut(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rc := rg.raw("viewer=slow&interval_ms=60000")
		time.Sleep(30 * time.Second) // hello is never read
		if n := rg.metric("connections", ""); n != 0 {
			t.Errorf("%v connections are open", n)
		}
		if n := rg.metric("closes_total", "slow_reader"); n != 1 {
			t.Errorf("%v closes are counted as slow_reader", n)
		}
		rc.Close()
	})
}

// Over TCP frames go out without a goroutine until the kernel's buffers are
// full, and no byte of one frame ever falls into another.
func TestSlowReadersOverTCP(t *testing.T) {
	rg := newRig(t, rigConfig{tcp: true})
	waitReady(rg)
	rc := rg.raw("viewer=slow&team=KC&interval_ms=60000")
	rc.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	v := rg.watch("viewer=v1&team=KC&interval_ms=60000")
	at := time.Now().UnixMilli()
	i := 0
	for ; i%256 != 0 || rg.metric("frames_total", "skipped") < 10; i++ {
		rg.hub.show(bigBoard(at+int64(i), i+1))
		if i%1000 == 0 {
			rc.write(frame(0x89, []byte("ping"))) // pongs go in between
		}
		if i%16 == 15 {
			// A worker takes them one by one as fast as it can.
			for world(v.next("counts")) != i+1 {
			}
		}
		if i > 1_000_000 {
			t.Fatal("the buffers take everything")
		}
	}
	t.Logf("%d frames until the first was skipped", i)
	last, frames := 0, 0
	for last != i {
		first, payload, err := rc.read()
		if err != nil {
			t.Fatalf("after %d frames: %v", frames, err)
		}
		frames++
		if first == 0x8a && string(payload) == "ping" || strings.Contains(string(payload), `"t":"hello"`) {
			continue
		}
		m := decode(t, payload)
		if first != 0x81 || m["t"] != "counts" || world(m) <= last {
			t.Fatalf("frame %x %s after %d", first, payload, last)
		}
		last = world(m)
	}
	// The connection is as good as new.
	rc.write(frame(0x81, []byte(`{"t":"join","seg":{"team":"SF"}}`)))
	first, b, err := rc.read()
	for err == nil && first == 0x8a {
		first, b, err = rc.read()
	}
	if string(b) != `{"t":"ok","re":"join"}` {
		t.Errorf("join is answered %s, %v", b, err)
	}
	rc.Close()
	v.leave()
	rg.stop()
}

func TestTextFramesHaveTheHeaderOfTheirLength(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		payload := []byte(strings.Repeat("x", n))
		b := appendText([]byte("before"), payload)[6:]
		header, length := 2, int(b[1])
		switch length {
		case 126:
			header, length = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			header, length = 10, int(binary.BigEndian.Uint64(b[2:]))
		}
		if b[0] != 0x81 || length != n || string(b[header:]) != string(payload) {
			t.Errorf("%d bytes: header % x", n, b[:header])
		}
	}
	for _, dims := range [][]grandstand.Dimension{nil, grandstand.DefaultDims()} {
		b := board("final", 1000, 1)
		f := grandstand.NewFrame(b, dims, []string{"US", "US-CA", "KC"})
		got := string(appendFrame([]byte("before"), f, false, 1500))
		want := "before" + string(appendText(nil, f.AppendJSON(nil, 1500)))
		if got != want {
			t.Errorf("%d dims: % x, want % x", len(dims), got, want)
		}
	}
	if got := fmt.Sprintf("% x", appendClose(nil, closeRestart)); got != "88 07 03 f4 64 72 61 69 6e" {
		t.Errorf("close frame % s", got)
	}
}
