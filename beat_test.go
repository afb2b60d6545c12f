package grandstand

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

const beatText = `{"t":"beat","seq":1,"state":"playing","pos":12.3,"bitrate":4500,"interval_ms":10000}`

func TestDecodeMessage(t *testing.T) {
	pair := func(dim, value string) SegPair { return SegPair{[]byte(dim), []byte(value)} }
	tests := []struct {
		in   string
		want Message
	}{
		{beatText, Message{Type: MsgBeat, Seq: 1, HasSeq: true, State: StatePlaying, Pos: 12.3, Bitrate: 4500, IntervalMS: 10_000}},
		{`{"t":"beat"}`, Message{Type: MsgBeat, Pos: -1, Bitrate: -1}},
		{" { \"state\" : \"ended\" ,\n\t\"t\":\"beat\"\r} ", Message{Type: MsgBeat, State: StateEnded, Pos: -1, Bitrate: -1}},
		{`{"t":"beat","seq":9007199254740991,"pos":-1,"bitrate":1e9,"interval_ms":-5.9}`,
			Message{Type: MsgBeat, HasSeq: true, Seq: 1<<53 - 1, Pos: -1, Bitrate: 1e9, IntervalMS: -5}},
		{`{"t":"beat","seq":null,"state":null,"pos":null,"bitrate":null,"interval_ms":null}`, Message{Type: MsgBeat, Pos: -1, Bitrate: -1}},
		{`{"t":"beat","seq":1,"seq":null,"pos":5,"pos":null}`, Message{Type: MsgBeat, Pos: -1, Bitrate: -1}},
		{`{"t":"join","t":"beat","seq":1,"seq":2}`, Message{Type: MsgBeat, HasSeq: true, Seq: 2, Pos: -1, Bitrate: -1}},
		{`{"\u0074":"b\u0065at","s\u0065q":4,"interval_m\u0073":7000,"x":{"t":[true,false,null,1.5e-7,"\"\ud83c\udfc8"]},"T":1}`,
			Message{Type: MsgBeat, HasSeq: true, Seq: 4, Pos: -1, Bitrate: -1, IntervalMS: 7000}},
		{`{"t":"beat","` + everyEscape("interval_ms") + `":8000}`, Message{Type: MsgBeat, Pos: -1, Bitrate: -1, IntervalMS: 8000}},
		{`{"t":"event","seq":2,"name":"startup","ts":1795299042179,"data":{"a":[1, "é\n"]}}`,
			Message{Type: MsgEvent, HasSeq: true, Seq: 2, Pos: -1, Bitrate: -1, Name: []byte("startup"), TS: 1795299042179, Data: []byte(`{"a":[1, "é\n"]}`)}},
		{`{"t":"event","name":"x","data": 7 }`, Message{Type: MsgEvent, Pos: -1, Bitrate: -1, Name: []byte("x"), Data: []byte("7")}},
		{`{"t":"event","name":"x","data":1,"data":null,"ts":17.9}`, Message{Type: MsgEvent, Pos: -1, Bitrate: -1, Name: []byte("x"), TS: 17}},
		{`{"t":"join","seg":{"team":"KC","region":null,"t\u0065am":"SF","country":""}}`,
			Message{Type: MsgJoin, Pos: -1, Bitrate: -1, Seg: []SegPair{pair("team", "SF"), pair("region", ""), pair("country", "")}}},
		{`{"t":"join","seg":{"team":"KC"},"seg":{"region":"\ud83c\u0041\ud83cB\ud83c\udfc8"}}`,
			Message{Type: MsgJoin, Pos: -1, Bitrate: -1, Seg: []SegPair{pair("region", "\ufffdA\ufffdB\U0001f3c8")}}},
		{`{"t":"takeover","codes":["old"],"codes":["new"]}`, Message{Type: MsgTakeover, Pos: -1, Bitrate: -1, Codes: [][]byte{[]byte("new")}}},
		{`{"t":"takeover","codes":["abc","d\/e"]}`, Message{Type: MsgTakeover, Pos: -1, Bitrate: -1, Codes: [][]byte{[]byte("abc"), []byte("d/e")}}},
		{`{"t":"auth","token":"a.b.c"}`, Message{Type: MsgAuth, Pos: -1, Bitrate: -1, Token: []byte("a.b.c")}},
		{`{"t":"beat","session":"s1","viewer":"v","device":"d","account":"a"}`,
			Message{Type: MsgBeat, Pos: -1, Bitrate: -1, Session: []byte("s1"), Viewer: []byte("v"), Device: []byte("d"), Account: []byte("a")}},
	}
	m := Message{Seg: []SegPair{pair("left", "over")}, Codes: [][]byte{[]byte("left over")}, Name: []byte("left over")}
	for _, tt := range tests {
		if err := DecodeMessage([]byte(tt.in), &m); err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if diff := cmp.Diff(tt.want, m, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s:\n%s", tt.in, diff)
		}
	}
	_ = DecodeMessage([]byte(`{"t":"join","seg":{"team":"KC","region":"US-CA"}}`), &m)
	if diff := cmp.Diff(map[string]string{"team": "KC", "region": "US-CA"}, m.Declared()); diff != "" {
		t.Error(diff)
	}
}

// everyEscape writes each character as \uXXXX.
func everyEscape(s string) (out string) {
	for _, c := range s {
		out += fmt.Sprintf("\\u%04X", c)
	}
	return out
}

func TestDecodeMessageSaysWhatIsWrong(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	var dims []string
	for i := range MaxDimensions + 1 {
		dims = append(dims, fmt.Sprintf(`"d%d":"v"`, i))
	}
	for in, want := range map[string]string{
		``:                                    "the message is not valid JSON: trouble at byte 0",
		`{"t":"beat"`:                         "the message is not valid JSON: trouble at byte 11",
		`{"t":"beat",}`:                       "the message is not valid JSON: trouble at byte 12",
		`{"t":"beat"} x`:                      "the message is not valid JSON: trouble at byte 13",
		`{"t":"no","seq":-1 "x"}`:             "the message is not valid JSON: trouble at byte 19",
		"{\"t\":\"be\nat\"}":                  "the message is not valid JSON: trouble at byte 8",
		`{"t":"\ud8"}`:                        "the message is not valid JSON: trouble at byte 6",
		`[1]`:                                 "the message is not a JSON object",
		`null`:                                "the message is not a JSON object",
		`{}`:                                  "the message has no type: t is missing",
		`{"t":null}`:                          "the message has no type: t is missing",
		`{"t":"hello"}`:                       "unknown message type",
		`{"t":""}`:                            "unknown message type",
		`{"t":3}`:                             "t is not a string",
		`{"t":"beat","seq":-1}`:               "seq is out of range: it is 0 to 9007199254740991",
		`{"t":"beat","seq":1e400}`:            "seq is out of range: it is 0 to 9007199254740991",
		`{"t":"beat","seq":9007199254740992}`: "seq is out of range: it is 0 to 9007199254740991",
		`{"t":"beat","seq":18446744073709551617}`:                           "seq is out of range: it is 0 to 9007199254740991",
		`{"t":"beat","seq":1e}`:                                             "the message is not valid JSON: trouble at byte 20",
		`{"t":"beat","seq":1E+}`:                                            "the message is not valid JSON: trouble at byte 21",
		`{"t":"beat","seq":1.5}`:                                            "seq is not a whole number",
		`{"t":"beat","seq":"1"}`:                                            "seq is not a number",
		`{"t":"beat","seq":true}`:                                           "seq is not a number",
		`{"t":"beat","state":"watching"}`:                                   "state is starting, playing, paused, buffering or ended",
		`{"t":"beat","state":""}`:                                           "state is starting, playing, paused, buffering or ended",
		`{"t":"beat","state":{}}`:                                           "state is not a string",
		`{"t":"beat","pos":-1.5}`:                                           "pos is out of range: it is -1 to 1000000000",
		`{"t":"beat","pos":1000000000.5}`:                                   "pos is out of range: it is -1 to 1000000000",
		`{"t":"beat","bitrate":-1}`:                                         "bitrate is out of range: it is 0 to 1000000000",
		`{"t":"beat","interval_ms":1e300}`:                                  "interval_ms is out of range: it is -9007199254740991 to 9007199254740991",
		`{"t":"beat","interval_ms":[]}`:                                     "interval_ms is not a number",
		`{"t":"event"}`:                                                     "an event needs a name",
		`{"t":"event","name":""}`:                                           "an event needs a name",
		`{"t":"event","name":"a b"}`:                                        "name is not 1 to 64 characters of A-Z a-z 0-9 . _ -",
		`{"t":"event","name":"x","ts":-1}`:                                  "ts is out of range: it is 0 to 9007199254740991",
		`{"t":"event","name":"` + strings.Repeat("x", 65) + `"}`:            "name is longer than 64 bytes",
		`{"t":"event","name":"x","data":` + nested(MaxNesting) + `}`:        "the message is nested deeper than 32",
		`{"t":"join"}`:                                                      "a join needs seg, an object of dimensions and values",
		`{"t":"join","seg":{}}`:                                             "a join needs seg, an object of dimensions and values",
		`{"t":"join","seg":["KC"]}`:                                         "seg is not an object",
		`{"t":"join","seg":{"team":7}}`:                                     "a value in seg is not a string",
		`{"t":"join","seg":{` + strings.Join(dims, ",") + `}}`:              "seg has more than 16 dimensions",
		`{"t":"takeover","codes":"x"}`:                                      "codes is not a list",
		`{"t":"takeover","codes":[null]}`:                                   "a code is not a string",
		`{"t":"takeover","codes":[` + many(MaxTakeover+1, `"x"`) + `]}`:     "codes has more than 32",
		`{"t":"auth"}`:                                                      "an auth needs a token",
		`{"t":"auth","token":1}`:                                            "token is not a string",
		`{"t":"beat","viewer":"` + strings.Repeat("x", MaxIDBytes+1) + `"}`: "viewer is longer than 256 bytes",
	} {
		var m Message
		err := DecodeMessage([]byte(in), &m)
		if CodeOf(err) != CodeInvalid || MessageOf(err) != want {
			t.Errorf("%s: %q (%s), want %q", in, MessageOf(err), CodeOf(err), want)
		}
	}
	var m Message
	if err := DecodeMessage([]byte(`{"t":"event","name":"x","data":`+nested(MaxNesting-1)+`}`), &m); err != nil {
		t.Errorf("%d levels: %v", MaxNesting, err)
	}
}

// The answer to a message that cannot be used names its seq, wherever that
// stands.
func TestDecodeMessageKeepsSeqOfWhatItRefuses(t *testing.T) {
	var m Message
	if err := DecodeMessage([]byte(`{"t":"nonsense","state":5,"seq":41}`), &m); err == nil || !m.HasSeq || m.Seq != 41 {
		t.Errorf("seq %d, %t, %v", m.Seq, m.HasSeq, err)
	}
}

func TestDecodeMessageAllocatesNothingForABeat(t *testing.T) {
	var m Message
	for _, text := range []string{
		beatText,
		`{"t":"beat","seq":9007199254740991,"state":"buffering","pos":12345.678901234567,"bitrate":4500.5,"interval_ms":1e4,"x":[{"y":null}]}`,
		`{"\u0074":"beat","seq":1}`,
	} {
		b := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			if err := DecodeMessage(b, &m); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, text)
		}
	}
}

func TestDecodeBeats(t *testing.T) {
	tests := []struct {
		in   string
		want string // the types and seqs
		code Code
		err  string
	}{
		{in: `{"session":"s","state":"playing","seq":1}`, want: "beat 1 "},
		{in: ` [{"seq":1},{"t":"event","name":"x","seq":2} , {"t":"beat","seq":3}] `, want: "beat 1 event 2 beat 3 "},
		{in: `[]`, code: CodeInvalid, err: "the list is empty"},
		{in: `[{"seq":1}`, code: CodeInvalid, err: "the message is not valid JSON: trouble at byte 10"},
		{in: `[{"seq":1}] 2`, code: CodeInvalid, err: "the message is not valid JSON: trouble at byte 12"},
		{in: `[{"seq":1},{"seq":-1}]`, code: CodeInvalid, err: "message 2 of the list: seq is out of range: it is 0 to 9007199254740991"},
		{in: `[[{"seq":1}]]`, code: CodeInvalid, err: "message 1 of the list: the message is not a JSON object"},
		{in: `{"t":"auth","token":"x"}`, code: CodeInvalid, err: "a message here is a beat or an event"},
		{in: `[` + strings.Repeat(`{},`, MaxBodyMessages) + `{}]`, code: CodeInvalid, err: "the list has more than 100 messages"},
		{in: `[{},{"x":"` + strings.Repeat("x", MaxMessageBytes) + `"}]`, code: CodeTooLarge, err: "message 2 of the list: the message is larger than 4096 bytes"},
		{in: strings.Repeat(" ", MaxBodyBytes+1), code: CodeTooLarge, err: "the body is larger than 262144 bytes"},
	}
	for _, tt := range tests {
		got := ""
		err := DecodeBeats([]byte(tt.in), func(m *Message) error {
			got += fmt.Sprint(m.Type, " ", m.Seq, " ")
			return nil
		})
		if got != tt.want || CodeOf(err) != tt.code || err != nil && MessageOf(err) != tt.err {
			t.Errorf("%.80s: calls %q, %s %v, want %q, %s %s", tt.in, got, CodeOf(err), err, tt.want, tt.code, tt.err)
		}
	}
	stop := errors.New("stop")
	calls := 0
	if err := DecodeBeats([]byte(`[{},{},{}]`), func(*Message) error { calls++; return stop }); err != stop || calls != 1 {
		t.Errorf("%d calls after an error, %v", calls, err)
	}
}

// refused is a message of the right form that cannot be used.
var errRefused = errors.New("refused")

// referenceMessage reads a message with encoding/json. It returns errRefused,
// or another error if the form is wrong.
func referenceMessage(b []byte, t MsgType) (Message, error) {
	m := Message{Type: t, Pos: -1, Bitrate: -1}
	if !json.Valid(b) || depthOf(b) > MaxNesting {
		return m, errors.New("form")
	}
	if bytes.TrimLeft(b, " \t\r\n")[0] != '{' {
		return m, errRefused
	}
	bad := false
	refuse := func(is bool) bool { bad = bad || is; return is }
	text := func(raw json.RawMessage, limit int) (out []byte) {
		if string(raw) == "null" {
			return nil
		}
		var s string
		if refuse(json.Unmarshal(raw, &s) != nil) || limit > 0 && refuse(len(s) > limit) {
			return nil
		}
		return []byte(s)
	}
	number := func(raw json.RawMessage, least, most float64) (v float64, given bool) {
		if string(raw) == "null" {
			return 0, false
		}
		if refuse(json.Unmarshal(raw, &v) != nil || v < least || v > most) {
			return 0, false
		}
		return v, true
	}
	each(b, func(key string, raw json.RawMessage) {
		switch key {
		case "t":
			name := text(raw, 0)
			i := slices.Index(msgTypeNames[1:], string(name))
			refuse(name != nil && i < 0)
			m.Type = MsgType(i + 1)
		case "state":
			var ok bool
			name := text(raw, 0)
			m.State, ok = ParseState(string(name))
			refuse(name != nil && !ok)
		case "seq":
			v, given := number(raw, 0, 1<<53-1)
			if given && refuse(bytes.ContainsAny(raw, ".eE")) {
				v, given = 0, false
			}
			m.Seq, m.HasSeq = uint64(v), given
		case "pos":
			var given bool
			if m.Pos, given = number(raw, -1, 1e9); !given {
				m.Pos = -1
			}
		case "bitrate":
			v, given := number(raw, 0, 1e9)
			if m.Bitrate = int64(v); !given {
				m.Bitrate = -1
			}
		case "interval_ms":
			v, _ := number(raw, -(1<<53 - 1), 1<<53-1)
			m.IntervalMS = int64(v)
		case "ts":
			v, _ := number(raw, 0, 1<<53-1)
			m.TS = int64(v)
		case "name":
			m.Name = text(raw, MaxValueLen)
			refuse(len(m.Name) > 0 && !ValidValue(string(m.Name)))
		case "data":
			if m.Data = raw; string(raw) == "null" {
				m.Data = nil
			}
		case "token":
			m.Token = text(raw, MaxTokenBytes)
		case "session":
			m.Session = text(raw, MaxIDBytes)
		case "viewer":
			m.Viewer = text(raw, MaxIDBytes)
		case "device":
			m.Device = text(raw, MaxIDBytes)
		case "account":
			m.Account = text(raw, MaxIDBytes)
		case "codes":
			var list []*string
			refuse(json.Unmarshal(raw, &list) != nil || len(list) > MaxTakeover)
			m.Codes = nil
			for _, s := range list {
				if !refuse(s == nil) {
					m.Codes = append(m.Codes, []byte(*s))
				}
			}
		case "seg":
			m.Seg = nil
			if raw[0] != '{' {
				refuse(string(raw) != "null")
				return
			}
			each(raw, func(dim string, raw json.RawMessage) {
				value := text(raw, 0)
				if i := slices.IndexFunc(m.Seg, func(p SegPair) bool { return string(p.Dim) == dim }); i >= 0 {
					m.Seg[i].Value = value
				} else {
					m.Seg = append(m.Seg, SegPair{[]byte(dim), value})
				}
			})
			refuse(len(m.Seg) > MaxDimensions)
		}
	})
	need := map[MsgType]bool{MsgNone: false, MsgBeat: true, MsgEvent: len(m.Name) > 0, MsgJoin: len(m.Seg) > 0, MsgTakeover: true, MsgAuth: len(m.Token) > 0}
	if bad || !need[m.Type] {
		return m, errRefused
	}
	return m, nil
}

// each calls f for the members of a valid JSON object, in their order.
func each(b []byte, f func(key string, raw json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.Token()
	for d.More() {
		key, _ := d.Token()
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			panic(err)
		}
		f(key.(string), raw)
	}
}

func depthOf(b []byte) (deepest int) {
	d, depth := json.NewDecoder(bytes.NewReader(b)), 0
	d.UseNumber() // so that 1e999 passes
	for {
		token, err := d.Token()
		if err == io.EOF {
			return deepest
		}
		if err != nil {
			panic(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func compareMessages(t failer, b []byte, got Message, gotErr error, want Message, wantErr error) {
	t.Helper()
	form := gotErr != nil && (strings.Contains(MessageOf(gotErr), "not valid JSON") || strings.Contains(MessageOf(gotErr), "nested deeper"))
	if gotErr != nil && CodeOf(gotErr) != CodeInvalid {
		t.Fatalf("%q: the code of %v", b, gotErr)
	}
	if (gotErr == nil) != (wantErr == nil) || form != (wantErr != nil && wantErr != errRefused) {
		t.Fatalf("%q: %v, encoding/json: %v", b, gotErr, wantErr)
	}
	if form || !utf8.Valid(b) {
		return // encoding/json replaces invalid bytes
	}
	if got.HasSeq != want.HasSeq || got.Seq != want.Seq {
		t.Fatalf("%q: seq %d, encoding/json: %d", b, got.Seq, want.Seq)
	}
	if gotErr == nil && !reflect.DeepEqual(got, want) { // first, because it is quick
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q:\n%s", b, diff)
		}
	}
}

func addMessages(f *testing.F) {
	for _, s := range []string{
		beatText, ``, `{}`, `{"t":"beat"}`, `[{"seq":1},{"t":"event","name":"x","seq":2}]`, `null`, `"x"`, ` [ ] `,
		`{"t":"event","seq":2,"name":"startup","ts":1795299042179,"data":{"a":[1,{"b":"\u00e9\ud83c\udfc8\ud83c"}]}}`,
		`{"t":"join","seg":{"team":"KC","team":null,"t\u0065am":"\n"}}`, `{"t":"takeover","codes":["a","\/"]}`,
		`{"t":"auth","token":"a.b.c"}`, `{"t":"beat","seq":1,"seq":2,"\u0073eq":3,"Seq":4}`,
		`{"t":"beat","session":"s","viewer":"v","device":"d","account":"a","seg":{"country":"US"}}`,
		`{"t":"beat","seq":-0,"pos":-0.0,"bitrate":1e-7,"interval_ms":123456789012345678}`, `{"t":"beat","pos":0.1234567890123456789e+2}`,
		`{"t":"beat","pos":1E400}`, `{"t":"beat","seq":01}`, `{"t":"beat","seq":1.}`, `{"t":"beat","seq":.5}`, `{"t":"beat","seq":+1}`,
		`{"t":"beat","x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}`, "{\"t\":\"beat\",\"x\":\"\xff\x00\"}",
		`{"t":"beat","x":"\u12g4"}`, `{"t":"beat","x":tru}`, `{"t":"beat","x":nulll}`, `{"t":"beat" "x":1}`, `{"t":"beat",,}`, "\ufeff{}",
	} {
		f.Add([]byte(s))
	}
}

// Bytes at random seldom make a message: this makes objects of the members that
// there are, with values that fit and values that do not, and breaks some.
func TestDecodeMessageAgreesWithEncodingJSON(t *testing.T) {
	key := rapid.SampledFrom([]string{
		"t", "t", "t", "seq", "state", "pos", "bitrate", "interval_ms", "name", "ts", "data", "seg", "codes", "token",
		"session", "viewer", "device", "account", "x", "T", `s\u0065q`, "n\\u0061me", "interval_msx", "",
	})
	value := rapid.OneOf(
		rapid.SampledFrom([]string{
			`"beat"`, `"beat"`, `"event"`, `"join"`, `"takeover"`, `"auth"`, `"b\u0065at"`, `"playing"`, `"ended"`, `"x.y-Z_1"`, `"é"`, `""`,
			`null`, `true`, `false`, `0`, `-0`, `-1`, `1.5`, `1e3`, `12.25`, `1795299042179`, `9007199254740991`, `9007199254740992`, `1e309`,
			`999999999999999`, `1000000000000000`, `01`, `-`, `1.`, `[]`, `{}`, `["a","b\n"]`, `["a",null]`, `{"team":"KC","region":null}`,
			`{"team":1}`, `{"team":"KC","te\u0061m":"SF"}`, `[[{"a":[1]}]]`, `{"team":{"a":"b"}}`, `nul`, `"\ud83c\udfc8\ud83c"`, `"\x"`,
		}),
		rapid.Map(rapid.Float64(), func(f float64) string { return fmt.Sprint(f) }),
		rapid.Map(rapid.Int64(), func(i int64) string { return fmt.Sprint(i) }),
		rapid.Map(rapid.IntRange(28, 34), func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }),
	)
	space := rapid.SampledFrom([]string{"", "", "", " ", "\t\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		text := "{"
		for i := range rapid.IntRange(0, 6).Draw(t, "members") {
			if i > 0 {
				text += ","
			}
			text += space.Draw(t, "space") + `"` + key.Draw(t, "key") + `"` + space.Draw(t, "space") + ":" + space.Draw(t, "space") + value.Draw(t, "value") + space.Draw(t, "space")
		}
		b := []byte(text + "}")
		if rapid.IntRange(0, 3).Draw(t, "break") == 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "where")] = rapid.Byte().Draw(t, "with")
		}
		var m Message
		err := DecodeMessage(b, &m)
		want, wantErr := referenceMessage(b, MsgNone)
		compareMessages(t, b, m, err, want, wantErr)
	})
}

func FuzzDecodeMessage(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		err := DecodeMessage(b, &m)
		want, wantErr := referenceMessage(b, MsgNone)
		compareMessages(t, b, m, err, want, wantErr)
	})
}

func FuzzDecodeBeats(f *testing.F) {
	addMessages(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []Message
		err := DecodeBeats(b, func(m *Message) error {
			one := *m
			one.Seg, one.Codes = slices.Clone(m.Seg), slices.Clone(m.Codes)
			got = append(got, one)
			return nil
		})
		var list []json.RawMessage
		if json.Unmarshal(b, &list) != nil || list == nil {
			list = []json.RawMessage{b}
		}
		var want []Message
		var wantErr error
		for _, one := range list {
			m, err := referenceMessage(one, MsgBeat)
			if err != nil || len(one) > MaxMessageBytes || m.Type != MsgBeat && m.Type != MsgEvent {
				wantErr = errRefused
			}
			want = append(want, m)
		}
		if len(list) == 0 || len(list) > MaxBodyMessages || len(b) > MaxBodyBytes {
			wantErr = errRefused
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/json: %v", b, err, wantErr)
		}
		if err != nil {
			if len(got) > 0 {
				t.Fatalf("%q: %d calls of a body that cannot be used", b, len(got))
			}
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d messages, want %d", b, len(got), len(want))
		}
		for i := range got {
			compareMessages(t, b, got[i], nil, want[i], nil)
		}
	})
}

// Whatever has up to 15 digits takes the short way to a float64.
func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"0", "-0", "12.3", "999999999999999", "0.00000000000001", "1234567.12345678", "9007199254740993", "1e-400", "1E400", "-1.5e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || strings.TrimSpace(text) != text || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
			return
		}
		var want float64
		wantErr := json.Unmarshal([]byte(text), &want)
		got, whole, ok := parseNumber([]byte(text))
		if ok != (wantErr == nil) || ok && math.Float64bits(got) != math.Float64bits(want) || whole == strings.ContainsAny(text, ".eE") {
			t.Errorf("%s: %v (whole %t), %t, encoding/json: %v, %v", text, got, whole, ok, want, wantErr)
		}
	})
}

func BenchmarkDecodeBeat(b *testing.B) {
	text := []byte(beatText)
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := DecodeMessage(text, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	text := []byte(`{"t":"event","seq":2,"name":"startup","ts":1795299042179,"data":{"ms":1234,"cdn":"edge-7","ladder":[400,1200,4500]}}`)
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := DecodeMessage(text, &m); err != nil {
			b.Fatal(err)
		}
	}
}
