package blocker

import (
	"testing"
	"unicode/utf8"

	"grandstand"
)

func FuzzDecodeHeartbeat(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"event":"final","session":"s","hold":"h","interval_ms":10000,"name":"TV","terminate":["a","b"],"ended":true}`,
		`{"limit":2,"plan":"gold","address":"192.0.2.1","state":"ended"}`, `{"limit":1e999}`, `{"terminate":[null]}`, `{"session":"\ud800"}`,
		`{"interval_ms":-0.0}`, `{"address":"fe80::1%eth0"}`, "{\"name\":\"\xff\"}", `{"session":"a","session":null}`, `{"a":{"a":{"a":1}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := decodeHeartbeat(body)
		if err != nil {
			if h != nil || grandstand.CodeOf(err) != grandstand.CodeInvalid {
				t.Errorf("%v with %v", h, err)
			}
			return
		}
		switch {
		case h.session != "" && !grandstand.ValidValue(h.session), h.event != "" && !grandstand.ValidValue(h.event):
			t.Errorf("session %q, event %q", h.session, h.event)
		case h.intervalMS < grandstand.MinBeatMS || h.intervalMS > grandstand.MaxBeatMS:
			t.Errorf("interval %d", h.intervalMS)
		case h.limit < 0 || h.limit > grandstand.MaxStreams:
			t.Errorf("limit %d", h.limit)
		case len(h.terminate) > grandstand.MaxTakeover, len(h.terminate) > 0 && !h.insist:
			t.Errorf("%d codes, insisting %v", len(h.terminate), h.insist)
		case h.served != (h.limit != 0 || h.plan != "" || h.address.IsValid()):
			t.Errorf("served is %v: %+v", h.served, h)
		case !utf8.ValidString(h.name), !utf8.ValidString(h.hold), !utf8.ValidString(h.plan):
			t.Errorf("not UTF-8: %+v", h)
		}
	})
}
