package gateway

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"grandstand"
)

// autobahnCase is one of the server's cases of the Autobahn test suite: what a
// client sends, and all that must come back, in order, but for hello and counts.
//
// The suite expects a server that echoes. This one does not, so "accepted" means:
// a text that is no message is answered by "error", and the socket stays. "pong x"
// is the answer to a ping, "close n" a close frame of the status n, after which the
// connection ends; "close" is one without a status. If the socket stays, nothing
// else follows but the answer to one more ping.
type autobahnCase struct {
	id, what string
	send     []byte
	want     string
	octets   bool // each byte is written by itself
}

const (
	wsText, wsBinary, wsMore, wsPing, wsPong, wsClose = 0x01, 0x02, 0x00, 0x09, 0x0a, 0x08
	wsLast                                            = 0x80
)

// sent joins a client's frames: pairs of a first byte and a payload.
func sent(pairs ...any) (b []byte) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for i := 0; i < len(pairs); i += 2 {
		payload := []byte(pairs[i+1].(string))
		b = append(b, byte(pairs[i].(int)))
		switch n := len(payload); {
		case n < 126:
			b = append(b, 0x80|byte(n))
		case n <= 0xffff:
			b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
		default:
			b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
		}
		b = append(b, key[:]...)
		unmask(payload, key)
		b = append(b, payload...)
	}
	return b
}

func stars(n int) string { return strings.Repeat("*", n) }

func status(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// fragments cuts a text into fragments of n bytes.
func fragments(payload string, n int) []byte {
	var pairs []any
	first := wsText
	for chunk := range slices.Chunk([]byte(payload), n) {
		pairs = append(pairs, first, string(chunk))
		first = wsMore
	}
	pairs[len(pairs)-2] = pairs[len(pairs)-2].(int) | wsLast
	return sent(pairs...)
}

func autobahnCases() []autobahnCase {
	return slices.Concat(framingCases(), reservedCases(), fragmentCases(), utf8Cases(), closeCases(), limitCases())
}

// Framing, pings and pongs.
func framingCases() (list []autobahnCase) {
	for i, n := range []int{0, 125, 126, 127, 128, grandstand.MaxMessageBytes} {
		list = append(list,
			autobahnCase{fmt.Sprint("1.1.", i+1), fmt.Sprint("a text of ", n), sent(wsText|wsLast, stars(n)), "error", false},
			autobahnCase{fmt.Sprint("1.2.", i+1), fmt.Sprint("binary of ", n), sent(wsBinary|wsLast, stars(n)), "close 1003", false})
	}
	var ten, pongs []byte
	for i := range 10 {
		ten = append(ten, sent(wsPing|wsLast, fmt.Sprint("payload-", i))...)
		pongs = fmt.Appendf(pongs, " pong payload-%d", i)
	}
	return append(list, []autobahnCase{
		{"1.1.2", "a text of 125, octet by octet", sent(wsText|wsLast, stars(125)), "error", true},
		{"1.1", "a message of this protocol", sent(wsText|wsLast, `{"t":"beat","seq":1,"state":"playing"}`), "", false},
		{"2.1", "a ping without payload", sent(wsPing|wsLast, ""), "pong ", false},
		{"2.2", "a ping", sent(wsPing|wsLast, "Hello, world!"), "pong Hello, world!", false},
		{"2.3", "a ping with binary payload", sent(wsPing|wsLast, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), "pong \x00\xff\xfe\xfd\xfc\xfb\x00\xff", false},
		{"2.4", "a ping of 125", sent(wsPing|wsLast, strings.Repeat("\xfe", 125)), "pong " + strings.Repeat("\xfe", 125), false},
		{"2.5", "a ping of 126", sent(wsPing|wsLast, strings.Repeat("\xfe", 126)), "close 1002", false},
		{"2.6", "a ping of 125, octet by octet", sent(wsPing|wsLast, strings.Repeat("\xfe", 125)), "pong " + strings.Repeat("\xfe", 125), true},
		{"2.7", "a pong that nobody asked for", sent(wsPong|wsLast, ""), "", false},
		{"2.8", "one with payload", sent(wsPong|wsLast, "unsolicited pong payload"), "", false},
		{"2.9", "one, and a ping", sent(wsPong|wsLast, "unsolicited", wsPing|wsLast, "ping payload"), "pong ping payload", false},
		{"2.10", "ten pings", ten, string(pongs[1:]), false},
		{"2.11", "ten pings, octet by octet", ten, string(pongs[1:]), true},
	}...)
}

// Reserved bits and opcodes.
func reservedCases() (list []autobahnCase) {
	list = []autobahnCase{
		{"3.1", "a text with RSV 1", sent(wsText|wsLast|0x10, "Hello"), "close 1002", false},
		{"3.2", "a text, one with RSV 2, a ping", sent(wsText|wsLast, "Hello", wsText|wsLast|0x20, "Hello", wsPing|wsLast, ""), "error close 1002", false},
		{"3.3", "the same with RSV 3", sent(wsText|wsLast, "Hello", wsText|wsLast|0x30, "Hello", wsPing|wsLast, ""), "error close 1002", false},
		{"3.4", "the same with RSV 4, octet by octet", sent(wsText|wsLast, "Hello", wsText|wsLast|0x40, "Hello", wsPing|wsLast, ""), "error close 1002", true},
		{"3.5", "binary with RSV 5", sent(wsBinary|wsLast|0x50, "\x00\xff"), "close 1002", false},
		{"3.6", "a ping with RSV 6", sent(wsPing|wsLast|0x60, "Hello"), "close 1002", false},
		{"3.7", "a close with RSV 7", sent(wsClose|wsLast|0x70, status(1000, "")), "close 1002", false},
		{"5.1", "what is not masked", []byte{wsText | wsLast, 5, 'H', 'e', 'l', 'l', 'o'}, "close 1002", false}, // RFC 6455, 5.1
	}
	for i, op := range []int{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		id := fmt.Sprintf("4.%d.%d", 1+i/5, 1+i%5)
		list = append(list,
			autobahnCase{id, fmt.Sprint("opcode ", op), sent(op|wsLast, ""), "close 1002", false},
			autobahnCase{id, fmt.Sprint("opcode ", op, " between a text and a ping"), sent(wsText|wsLast, "Hello", op|wsLast, "payload", wsPing|wsLast, ""), "error close 1002", i%2 == 1})
	}
	return list
}

// Fragments, and control frames between them.
func fragmentCases() (list []autobahnCase) {
	for n, octets := range []bool{false, true} {
		id := func(i int) string { return fmt.Sprint("5.", i+n) }
		list = append(list, []autobahnCase{
			{"5.1", "a ping in two fragments", sent(wsPing, "fragment1", wsMore|wsLast, "fragment2"), "close 1002", octets},
			{"5.2", "a pong in two fragments", sent(wsPong, "fragment1", wsMore|wsLast, "fragment2"), "close 1002", octets},
			{id(4), "a text in two", sent(wsText, "fragment1", wsMore|wsLast, "fragment2"), "error", octets},
			{id(7), "a ping between the two", sent(wsText, "fragment1", wsPing|wsLast, "ping payload", wsMore|wsLast, "fragment2"), "pong ping payload error", octets},
			{id(10), "a last fragment of nothing", sent(wsMore|wsLast, "non-continuation payload", wsText|wsLast, "Hello"), "close 1002", octets},
			{id(13), "a fragment of nothing", sent(wsMore, "non-continuation payload", wsText|wsLast, "Hello"), "close 1002", octets},
			{"5.15", "a fragment after the last", sent(wsText, "fragment1", wsMore|wsLast, "fragment2", wsMore, "fragment3", wsText|wsLast, "fragment4"), "error close 1002", octets},
			{"5.16", "a fragment of nothing before a text in two", sent(wsMore, "fragment1", wsText, "fragment2", wsMore|wsLast, "fragment3"), "close 1002", octets},
			{"5.17", "a last one before it", sent(wsMore|wsLast, "fragment1", wsText, "fragment2", wsMore|wsLast, "fragment3"), "close 1002", octets},
			{"5.18", "a text within a text", sent(wsText, "fragment1", wsText|wsLast, "fragment2"), "close 1002", octets},
			{"5.19", "five fragments with pings", sent(wsText, "fragment1", wsMore, "fragment2", wsPing|wsLast, "pongme 1!", wsMore, "fragment3", wsMore, "fragment4", wsPing|wsLast, "pongme 2!", wsMore|wsLast, "fragment5"), "pong pongme 1! pong pongme 2! error", octets},
		}...)
	}
	return list
}

// UTF-8: the sequences of Markus Kuhn's decoder stress test, as the suite has them.
func utf8Cases() (list []autobahnCase) {
	const word = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5" // κόσμε
	list = []autobahnCase{
		{"6.1.1", "an empty text", sent(wsText|wsLast, ""), "error", false},
		{"6.1.2", "three empty fragments", sent(wsText, "", wsMore, "", wsMore|wsLast, ""), "error", false},
		{"6.1.3", "the middle one is not", sent(wsText, "", wsMore, "middle frame payload", wsMore|wsLast, ""), "error", false},
		{"6.2.1", "a valid text", sent(wsText|wsLast, "Hello-µ@ßöäüàá-UTF-8!!"), "error", false},
		{"6.2.2", "in two", sent(wsText, "Hello-µ@ßöä", wsMore|wsLast, "üàá-UTF-8!!"), "error", false},
		{"6.2.3", "in fragments of one byte", fragments("Hello-µ@ßöäüàá-UTF-8!!", 1), "error", false},
		{"6.2.4", "another", fragments(word, 1), "error", false},
		{"6.3.1", "an invalid text", sent(wsText|wsLast, word+"\xed\xa0\x80edited"), "close 1007", false},
		{"6.3.2", "in fragments of one byte", fragments(word+"\xed\xa0\x80edited", 1), "close 1007", false},
		// The last fragment is not waited for. (6.4.3 and 6.4.4 ask the same of the
		// bytes of one frame, which the suite does not insist on: here a frame of
		// at most 4 KiB is read as one.)
		{"6.4.1", "a fragment that is invalid, and no last one", sent(wsText, word, wsMore, "\xf4\x90\x80\x80"), "close 1007", false},
		{"6.4.2", "one that cannot be completed any more", sent(wsText, word+"\xf4", wsMore, "\x90"), "close 1007", false},
		{"6.4.2", "one that can", sent(wsText, word+"\xf4", wsMore, "\x8f", wsMore, "\xbf", wsMore|wsLast, "\xbf"), "error", false},
	}
	for i := 1; i <= len(word); i++ {
		ok := slices.Contains([]int{2, 5, 7, 9, 11}, i)
		list = append(list, utf8Case(fmt.Sprint("6.6.", i), hex.EncodeToString([]byte(word[:i])), ok))
	}
	for _, c := range []struct {
		id    string
		valid bool
		hex   string
	}{
		{"6.5", true, "4865 6c6c6f24 c2a2 e282ac f0a4ada2"},
		{"6.7", true, "00 c280 e0a080 f0908080"},
		{"6.8", false, "f888808080 fc8480808080"},
		{"6.9", true, "7f dfbf efbfbf f48fbfbf"},
		{"6.10", false, "f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf"},
		{"6.11", true, "ed9fbf ee8080 efbfbd f48fbfbf"},
		{"6.11", false, "f4908080"},
		{"6.12", false, "80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf 808182838485868788898a8b8c8d8e8f"},
		{"6.13", false, "c020c120c220 e020e120e220 f020f120f220 f820f920fa20 fc20fd20"},
		{"6.14", false, "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf"},
		{"6.15", false, "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"},
		{"6.16", false, "fe ff fefeffff"},
		{"6.17", false, "c0af e080af f08080af f8808080af fc80808080af"},
		{"6.18", false, "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"},
		{"6.19", false, "c080 e08080 f0808080 f880808080 fc8080808080"},
		{"6.20", false, "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"},
		{"6.21", false, "eda080edb080 eda080edbfbf edadbfedb080 edadbfedbfbf edae80edb080 edae80edbfbf edafbfedb080 edafbfedbfbf"},
		{"6.22", true, "efbfbe efbfbf f09fbfbe f09fbfbf f0afbfbe f0bfbfbf f18fbfbe f3bfbfbf f48fbfbe f48fbfbf"},
		{"6.23", true, "efbfb9 efbfba efbfbb efbfbc efbfbd efb790 efb7af"},
	} {
		for i, sequence := range strings.Fields(c.hex) {
			list = append(list, utf8Case(fmt.Sprint(c.id, ".", i+1), sequence, c.valid))
		}
	}
	return list
}

func utf8Case(id, sequence string, valid bool) autobahnCase {
	b, err := hex.DecodeString(sequence)
	if err != nil {
		panic(err)
	}
	want := "close 1007"
	if valid {
		want = "error"
	}
	return autobahnCase{id, sequence, sent(wsText|wsLast, string(b)), want, false}
}

// Closing.
func closeCases() (list []autobahnCase) {
	bye := status(1000, "")
	list = []autobahnCase{
		{"7.1.1", "a text, then a close", sent(wsText|wsLast, "Hello World!", wsClose|wsLast, bye), "error close 1000", false},
		{"7.1.2", "two closes", sent(wsClose|wsLast, bye, wsClose|wsLast, bye), "close 1000", false},
		{"7.1.3", "a ping after the close", sent(wsClose|wsLast, bye, wsPing|wsLast, ""), "close 1000", false},
		{"7.1.4", "a text after the close", sent(wsClose|wsLast, bye, wsText|wsLast, "Hello World!"), "close 1000", false},
		{"7.1.5", "a fragment after the close", sent(wsText, "fragment1", wsClose|wsLast, bye, wsMore|wsLast, "fragment2"), "close 1000", false},
		{"7.3.1", "a close without payload", sent(wsClose|wsLast, ""), "close", false},
		{"7.3.2", "one of a single byte", sent(wsClose|wsLast, "a"), "close 1002", false},
		{"7.3.3", "one with a status", sent(wsClose|wsLast, bye), "close 1000", false},
		{"7.3.4", "and a reason", sent(wsClose|wsLast, status(1000, "Hello World!")), "close 1000", false},
		{"7.3.5", "a reason of 123", sent(wsClose|wsLast, status(1000, stars(123))), "close 1000", false},
		{"7.3.6", "a reason of 124", sent(wsClose|wsLast, status(1000, stars(124))), "close 1002", false},
		{"7.5.1", "a reason that is not UTF-8", sent(wsClose|wsLast, status(1000, "\xce\xba\xed\xa0\x80edited")), "close 1007", false},
	}
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		list = append(list, autobahnCase{fmt.Sprint("7.7.", i+1), fmt.Sprint("status ", code), sent(wsClose|wsLast, status(code, "")), fmt.Sprint("close ", code), false})
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		list = append(list, autobahnCase{fmt.Sprint("7.9.", i+1), fmt.Sprint("status ", code), sent(wsClose|wsLast, status(code, "")), "close 1002", false})
	}
	for i, code := range []int{5000, 65535} {
		list = append(list, autobahnCase{fmt.Sprint("7.13.", i+1), fmt.Sprint("status ", code), sent(wsClose|wsLast, status(code, "")), "close 1002", false})
	}
	return list
}

// Sizes and numbers: what the suite sends without end is refused here at 4 KiB,
// and at ten messages a second.
func limitCases() []autobahnCase {
	var many []byte
	for range 200 {
		many = append(many, sent(wsText|wsLast, stars(16))...)
	}
	return []autobahnCase{
		{"1.1.6", "a text of 65535", sent(wsText|wsLast, stars(65535)), "close 1009", false},
		{"1.1.7", "a text of 65536", sent(wsText|wsLast, stars(65536)), "close 1009", false},
		{"1.2.7", "binary of 65536", sent(wsBinary|wsLast, stars(65536)), "close 1009", false},
		{"7.1.6", "256 KiB, then a close and a ping", sent(wsText|wsLast, stars(200_000), wsClose|wsLast, status(1000, ""), wsPing|wsLast, ""), "close 1009", false},
		{"9.1.1", "a text of 4097", sent(wsText|wsLast, stars(grandstand.MaxMessageBytes+1)), "close 1009", false},
		{"9.3.1", "a text of 4096 in fragments of 64", fragments(stars(grandstand.MaxMessageBytes), 64), "error", false},
		{"9.3.2", "a text of 4097 in fragments of 256", fragments(stars(grandstand.MaxMessageBytes+1), 256), "close 1009", false},
		{"9.5.1", "a length of 2^63", []byte{wsText | wsLast, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, "close 1002", false},
		{"9.7.1", "200 texts at once", many, "error close 1008", false},
		{"10.1.1", "a text of 4096 in fragments of 1300", fragments(stars(grandstand.MaxMessageBytes), 1300), "error", false},
		{"10.1.1", "a text of 65536 in fragments of 1300", fragments(stars(65536), 1300), "close 1009", false},
	}
}

// transcript sends a case and returns what comes back. What repeats itself, but for
// pongs, stands once.
func (rc *rawConn) transcript(c autobahnCase) string {
	var writing sync.WaitGroup
	defer writing.Wait()
	defer rc.Close()
	const end = "the end"
	writing.Go(func() {
		all := append(slices.Clone(c.send), sent(wsPing|wsLast, end)...)
		if !c.octets {
			rc.Write(all)
			return
		}
		for b := range slices.Chunk(all, 1) {
			rc.Write(b)
		}
	})
	var got []string
	for {
		first, payload, err := rc.read()
		var item string
		switch {
		case err != nil:
			return strings.Join(append(got, fmt.Sprint("cut: ", err)), " ")
		case first == wsLast|wsPong && string(payload) == end:
			return strings.Join(got, " ")
		case first == wsLast|wsPong:
			got = append(got, "pong "+string(payload))
			continue
		case first == wsLast|wsClose:
			item = "close"
			if len(payload) > 0 {
				item = fmt.Sprint("close ", binary.BigEndian.Uint16(payload))
			}
			writing.Go(func() { rc.Write(sent(wsClose|wsLast, status(1000, ""))) })
			// A reset is an end too: this client goes on sending after its close.
			if first, payload, err := rc.read(); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				item += fmt.Sprintf(" and then %x %q %v", first, payload, err)
			}
			return strings.Join(append(got, item), " ")
		case bytes.Contains(payload, []byte(`"t":"error"`)):
			item = "error"
		case bytes.Contains(payload, []byte(`"t":"hello"`)), bytes.Contains(payload, []byte(`"t":"counts"`)):
			continue
		default:
			item = fmt.Sprintf("%x %q", first, payload)
		}
		if len(got) == 0 || got[len(got)-1] != item {
			got = append(got, item)
		}
	}
}

// TestAutobahn runs the cases over pipes, which a goroutine reads, and over TCP,
// which the poller does.
func TestAutobahn(t *testing.T) {
	overBoth(t, nil, func(t *testing.T, rg *rig) {
		cases := autobahnCases()
		if len(cases) < 200 {
			t.Errorf("only %d cases", len(cases))
		}
		t.Logf("%d cases", len(cases))
		for _, c := range cases {
			rc := rg.raw("viewer=v1&team=KC&interval_ms=60000")
			if got := rc.transcript(c); got != c.want {
				t.Errorf("%s, %s: comes back %q, want %q", c.id, c.what, got, c.want)
			}
		}
	})
}

// TestCompressionIsNotOffered: cases 12 and 13 are about permessage-deflate, which
// is refused: 4 KiB of window for each of many thousand idle viewers would cost more
// than frames of a hundred bytes can win. Whoever asks for it is answered without, and
// a frame that is compressed all the same breaks the protocol.
func TestCompressionIsNotOffered(t *testing.T) {
	rg := newRig(t, rigConfig{tcp: true})
	waitReady(rg)
	for _, offer := range []string{
		"permessage-deflate", "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
		"permessage-deflate; client_max_window_bits=15; server_max_window_bits=9", "x-webkit-deflate-frame, permessage-deflate",
	} {
		c, err := net.Dial("tcp", rg.url[len("http://"):])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /v1/events/final/live?viewer=v1 HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: grandstand.v1\r\nSec-WebSocket-Extensions: %s\r\n\r\n", rg.url[len("http://"):], offer)
		rc := &rawConn{t, c, bufio.NewReader(c)}
		resp, err := http.ReadResponse(rc.br, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || len(resp.Header.Values("Sec-WebSocket-Extensions")) > 0 {
			t.Errorf("%s: %v, %v", offer, resp, err)
		}
		if got := rc.transcript(autobahnCase{send: sent(wsText|wsLast|0x40, "\xf2\x48\xcd\xc9\xc9\x07\x00")}); got != "close 1002" {
			t.Errorf("%s: a compressed text is answered by %q", offer, got)
		}
	}
	rg.stop()
}
