package grandstand

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func rival(name string, device byte) Lease {
	return Lease{
		LeaseRef: LeaseRef{Device: Key{device}, Session: "AAECAwQFBgcICQoLDA0ODxAREhMU", Born: 1_795_299_042_000},
		Name:     name, Event: "final-2026", Since: 1_795_299_040_000, SeenAt: 1_795_299_042_179, Until: 1_795_299_067_179,
	}
}

// One verdict of each code, and the bytes that a viewer is sent.
func blockedExamples() []Verdict {
	tv, phone, nameless := rival("Living room", 1), rival(`Anna's "iPad" <é> 📺`, 2), rival("", 3)
	return []Verdict{
		{Code: BlockDeviceLimit, Rule: "plan:premium", Limit: 2, Current: 2, Rivals: []Lease{tv, phone}},
		{Code: BlockDeviceLimit, Rule: "token", Limit: 1, Current: 1, Rivals: []Lease{nameless}},
		{Code: BlockDeviceLimit, Rule: EventRule("final-2026"), Limit: 1, Current: 1, Rivals: []Lease{tv}},
		{Code: BlockDeviceLimit, Rule: "default", Limit: 1, Current: 0},
		{Code: BlockDeviceLimit, Rule: "default", Limit: 3, Current: 3, Rivals: []Lease{tv, nameless, phone}},
		{Code: BlockTooManyDevices, Rule: "default", Limit: 2, Current: 2},
		{Code: BlockUnavailable, Outage: true},
		{Code: BlockTakenOver, Rule: "token", Limit: 1, Current: 1, By: "Living room", Rivals: []Lease{tv}},
		{Code: BlockTakenOver},
		{Code: BlockSuperseded, Rivals: []Lease{tv}},
		{Code: BlockSignedOut, By: "Living room"},
	}
}

func TestBlockedGolden(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account := ak.Account("a1")
	var out bytes.Buffer
	for _, v := range blockedExamples() {
		r := v.Refusal(ak, account, 5000)
		m := AppendBlocked(nil, &r)
		var got struct {
			T string
			Refusal
		}
		if err := json.Unmarshal(m, &got); err != nil || got.T != "blocked" || got.Message == "" {
			t.Errorf("%v: %s", err, m)
		}
		if got.Conflicts == nil || len(got.Conflicts) != len(v.Rivals) {
			t.Errorf("of %d rivals the message shows %s", len(v.Rivals), m)
		}
		if (got.RetryMS == 0) != v.Code.Final() {
			t.Errorf("%s is asked again after %d ms", v.Code, got.RetryMS)
		}
		for i, c := range got.Conflicts {
			if c.TerminationCode != ak.TerminationCode(account, v.Rivals[i].LeaseRef) {
				t.Errorf("rival %d is ended by %s", i, c.TerminationCode)
			}
		}
		out.Write(append(m, '\n'))
	}
	out.Write(append(AppendUnblocked(nil), '\n'))
	golden(t, "blocked.jsonl", out.Bytes())
}

func TestSentencesAreForPeople(t *testing.T) {
	want := []string{
		`This account may play 2 streams at a time. Playing now: Living room and Anna's "iPad" <é> 📺.`,
		`This account may play 1 stream at a time. Playing now: a device without a name.`,
		`This account may play 1 stream of this event at a time. Playing now: Living room.`,
		`This account may play 1 stream at a time.`,
		`This account may play 3 streams at a time. Playing now: Living room, a device without a name and Anna's "iPad" <é> 📺.`,
		`This account has more than 64 devices playing or waiting. Try again in a minute.`,
		`We cannot check right now how many devices are playing. Trying again.`,
		`Playing stopped here: Living room took over.`,
		`Playing stopped here: another device took over.`,
		`Playing stopped here: the same device plays in a newer window.`,
		`This device was signed out from the list of devices.`,
	}
	for i, v := range blockedExamples() {
		r := v.Refusal(AccountsKey{}, Key{}, 0)
		if r.Message != want[i] {
			t.Errorf("%s says\n%s\nwant\n%s", v.Code, r.Message, want[i])
		}
	}
}

// Sixty-four devices are no sentence.
func TestASentenceNamesAFewDevices(t *testing.T) {
	v := Verdict{Code: BlockDeviceLimit, Limit: MaxStreams, Current: MaxStreams}
	for i := range MaxStreams {
		v.Rivals = append(v.Rivals, rival(strings.Repeat("x", MaxDeviceName), byte(i)))
		playing := names(v.Rivals)
		if n := len(playing); n > 5*(MaxDeviceName+5) {
			t.Errorf("of %d devices the sentence names %d bytes", i+1, n)
		}
		if more := strings.HasSuffix(playing, " more"); more != (i >= 4) {
			t.Errorf("%d devices are named %s", i+1, playing)
		}
	}
	if playing := names([]Lease{rival("A", 1), rival("B", 2), rival("C", 3), rival("D", 4), rival("E", 5)}); playing != "A, B, C and 2 more" {
		t.Errorf("five devices are named %s", playing)
	}
}
