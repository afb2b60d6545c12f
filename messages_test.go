package grandstand

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

func TestServerMessagesGolden(t *testing.T) {
	messages := [][]byte{
		AppendHello(nil, "AAECAwQFBgcICQoLDA0ODxAREhMU", 10_000, 2000, []string{World, "country", "team+region"}),
		AppendHello(nil, "s", 5000, 1000, nil),
		AppendOK(nil, MsgJoin.String()),
		AppendPace(nil, 20_000, 4000),
		AppendRenew(nil),
		AppendDrain(nil, 8123),
		AppendAck(nil, 41),
		AppendError(nil, CodeInvalid, "state is starting, playing, paused, buffering or ended", 7, true),
		AppendError(nil, CodeForbidden, "a \"quote\", a \\, a\nline, \u2028, é and \xff", 0, false),
	}
	for _, m := range messages {
		if !json.Valid(m) || !utf8.Valid(m) {
			t.Errorf("not JSON: %s", m)
		}
	}
	golden(t, "server-messages.jsonl", append(bytes.Join(messages, []byte("\n")), '\n'))
}

func FuzzAppendError(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\x00\x1f", "\x7f\u2028\U0001F3C8", "\xff\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, message string) {
		var got struct{ T, Code, Message string }
		if err := json.Unmarshal(AppendError(nil, CodeInvalid, message, 0, false), &got); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(message)); got.Message != want { // invalid bytes become U+FFFD
			t.Errorf("%q came back as %q", message, got.Message)
		}
	})
}

func BenchmarkAppendAck(b *testing.B) {
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendAck(dst[:0], 123_456)
	}
}
