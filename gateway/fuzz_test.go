package gateway

import (
	"testing"
	"testing/synctest"
	"time"
)

// FuzzSocket sends bytes of all kinds on a socket: the gateway answers in form,
// lets go of the connection, and serves the next.
func FuzzSocket(f *testing.F) {
	f.Add(frame(0x81, []byte(`{"t":"beat","seq":1,"state":"playing","interval_ms":1e9}`)))
	f.Add(frame(0x81, []byte(`{"t":"join","seg":{"team":"KC"}}`)))
	f.Add(append(frame(0x01, []byte(`{"t":"be`)), frame(0x80, []byte(`at"}`))...))
	f.Add(append(frame(0x89, []byte("ping")), frame(0x88, []byte{3, 0xe8})...))
	f.Add([]byte{0x81, 0xfe, 0xff, 0xff})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
			rc := rg.raw("viewer=v1")
			rc.write(text)
			go func() {
				for {
					first, _, err := rc.read()
					if err != nil {
						return
					}
					if first != 0x81 && first != 0x88 && first != 0x8a {
						t.Errorf("a frame that begins with %x", first)
					}
				}
			}()
			time.Sleep(200 * time.Second) // no beat, or a short interval: it lapses
			synctest.Wait()
			if n := rg.metric("connections", ""); n != 0 {
				t.Errorf("%v connections are open", n)
			}
			rg.watch("viewer=v2").leave()
			rc.Close()
		})
	})
}
