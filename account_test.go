package grandstand

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAccountKeysTellKindsAndAccountsApart(t *testing.T) {
	ak, other := NewAccountsKey([]byte("a secret")), NewAccountsKey([]byte("b secret"))
	ek := NewEventKey([]byte("a secret"), "accounts") // the nearest event there is
	account, account2 := ak.Account("x"), ak.Account("y")
	addr := netip.MustParseAddr("192.0.2.1")
	seen := map[Key]string{}
	for name, k := range map[string]Key{
		"account":                        account,
		"another account":                account2,
		"a longer account":               ak.Account("x\x00"),
		"another secret":                 other.Account("x"),
		"device":                         ak.Device(account, "x"),
		"another device":                 ak.Device(account, "y"),
		"the device of another account":  ak.Device(account2, "x"),
		"the device of no account":       ak.Device(Key{}, "x"),
		"a session that is its device":   ak.Device(account, "session x"),
		"a device called as the address": ak.Device(account, string(addr.AsSlice())),
		"address":                        ak.Address(account, addr),
		"the address of another account": ak.Address(account2, addr),
		"the event's account":            ek.Account("x"),
		"the event's device":             ek.Device("x"),
	} {
		if k.IsZero() {
			t.Errorf("%s: the key is nobody's", name)
		}
		if had, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, had)
		}
		seen[k] = name
	}
	if NewAccountsKey([]byte("a secret")).Account("x") != account {
		t.Error("another node derives another key")
	}
	if k := ak.Account(""); !k.IsZero() {
		t.Error("no account has a key")
	}
	if k := ak.Device(account, ""); !k.IsZero() {
		t.Error("no device has a key")
	}
}

// The borders between the parts of a MAC count.
func TestNoTwoListsOfPartsAreTheSame(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	seen := map[[32]byte]int{}
	for i, parts := range [][][]byte{nil, {nil}, {nil, nil}, {[]byte("ab")}, {[]byte("a"), []byte("b")}, {[]byte("ab"), nil}, {nil, []byte("ab")}, {[]byte("a\x00b")}} {
		sum := ak.mac("kind", parts...)
		if had, ok := seen[sum]; ok {
			t.Errorf("lists %d and %d are the same", had, i)
		}
		seen[sum] = i
	}
}

func TestAddressesOfOneNetwork(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account := ak.Account("a1")
	key := func(text string) Key { return ak.Address(account, netip.MustParseAddr(text)) }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"2001:db8:1:2::1", "2001:db8:1:2::1%eth0", true},
		{"::", "0.0.0.0", false},
		{"c000:201::", "192.0.2.1", false}, // the same first bytes
	} {
		if (key(c.a) == key(c.b)) != c.same {
			t.Errorf("%s and %s have one key: %t, want %t", c.a, c.b, !c.same, c.same)
		}
		if key(c.a).IsZero() {
			t.Errorf("%s has no key", c.a)
		}
	}
	if k := ak.Address(account, netip.Addr{}); !k.IsZero() {
		t.Error("no address has a key")
	}
}

func TestTerminationCodes(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account := ak.Account("a1")
	lease := LeaseRef{Device: ak.Device(account, "d1"), Session: "s1", Born: 7}
	code := ak.TerminationCode(account, lease)
	if len(code) != 22 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("the code %q is not 22 URL-safe characters", code)
	}
	for name, c := range map[string]string{
		"another account": ak.TerminationCode(ak.Account("a2"), lease),
		"another device":  ak.TerminationCode(account, LeaseRef{ak.Device(account, "d2"), "s1", 7}),
		"another session": ak.TerminationCode(account, LeaseRef{lease.Device, "s2", 7}),
		"another life":    ak.TerminationCode(account, LeaseRef{lease.Device, "s1", 8}),
		"another secret":  NewAccountsKey([]byte("b secret")).TerminationCode(account, lease),
	} {
		if c == code {
			t.Errorf("%s has the same code", name)
		}
	}
}

func TestLeasesAreNamedInTheOrderOfTheCodes(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account, stranger := ak.Account("a1"), ak.Account("a2")
	leases := make([]Lease, 3)
	codes := make([]string, len(leases))
	for i := range leases {
		leases[i].LeaseRef = LeaseRef{Device: Key{byte(i)}, Session: string(rune('a' + i)), Born: int64(i)}
		codes[i] = ak.TerminationCode(account, leases[i].LeaseRef)
	}
	for name, c := range map[string]struct {
		codes []string
		want  []int
	}{
		"none":                  {nil, nil},
		"all, backwards":        {[]string{codes[2], codes[1], codes[0]}, []int{2, 1, 0}},
		"one":                   {codes[1:2], []int{1}},
		"twice":                 {[]string{codes[1], codes[1]}, []int{1}},
		"nonsense between":      {[]string{"", codes[2], "x", codes[2] + "x", codes[0][:21], codes[0]}, []int{2, 0}},
		"of another account":    {[]string{ak.TerminationCode(stranger, leases[0].LeaseRef)}, nil},
		"of a lease that ended": {[]string{ak.TerminationCode(account, LeaseRef{Device: Key{0}, Session: "a", Born: 99})}, nil},
	} {
		var want []LeaseRef
		for _, i := range c.want {
			want = append(want, leases[i].LeaseRef)
		}
		if got := ak.Named(account, leases, c.codes); !slices.Equal(got, want) {
			t.Errorf("%s: named %v, want %v", name, got, want)
		}
	}
}

// A client may send as many codes as a message holds.
func BenchmarkNamed(b *testing.B) {
	ak := NewAccountsKey([]byte("a secret"))
	leases, codes := make([]Lease, MaxStreams), make([]string, 170)
	for i := range leases {
		leases[i].Device = Key{byte(i)}
	}
	for i := range codes {
		codes[i] = strings.Repeat("A", 22)
	}
	b.ReportAllocs()
	for b.Loop() {
		ak.Named(Key{1}, leases, codes)
	}
}

func TestHolds(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account, device := ak.Account("a1"), ak.Device(ak.Account("a1"), "d1")
	rapid.Check(t, func(t *rapid.T) {
		any := rapid.Int64()
		h := Hold{Since: any.Draw(t, "since"), Born: any.Draw(t, "born"), Granted: any.Draw(t, "granted")}
		session := rapid.String().Draw(t, "session")
		text := ak.SignHold(account, device, session, h)
		if len(text) != 48 || strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%q is not 48 URL-safe characters", text)
		}
		if got, ok := ak.ParseHold(text, account, device, session); !ok || got != h {
			t.Fatalf("%+v comes back as %+v, %t", h, got, ok)
		}
	})
	h := Hold{Since: 1, Born: 2, Granted: 3}
	text := ak.SignHold(account, device, "s1", h)
	for name, c := range map[string]struct {
		ak              AccountsKey
		text            string
		account, device Key
		session         string
	}{
		"another account":            {ak, text, ak.Account("a2"), device, "s1"},
		"another device":             {ak, text, account, ak.Device(account, "d2"), "s1"},
		"another session":            {ak, text, account, device, "s2"},
		"account and device swapped": {ak, text, device, account, "s1"},
		"another secret":             {NewAccountsKey([]byte("b secret")), text, account, device, "s1"},
		"nothing":                    {ak, "", account, device, "s1"},
		"cut":                        {ak, text[:47], account, device, "s1"},
		"longer":                     {ak, text + "A", account, device, "s1"},
		"padded":                     {ak, text + "====", account, device, "s1"},
		"a line break in it":         {ak, text[:24] + "\n" + text[24:], account, device, "s1"},
		"line breaks after it":       {ak, text + "\r\n", account, device, "s1"},
		"the other base64":           {ak, strings.Repeat("+/", 24), account, device, "s1"},
		"zeros":                      {ak, strings.Repeat("A", 48), account, device, "s1"},
		"a termination code":         {ak, ak.TerminationCode(account, LeaseRef{Device: device, Session: "s1"}), account, device, "s1"},
	} {
		if got, ok := c.ak.ParseHold(c.text, c.account, c.device, c.session); ok || got != (Hold{}) {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(b) {
		flipped := bytes.Clone(b)
		flipped[bit/8] ^= 1 << (bit % 8)
		if got, ok := ak.ParseHold(base64.RawURLEncoding.EncodeToString(flipped), account, device, "s1"); ok {
			t.Errorf("with bit %d flipped it is %+v", bit, got)
		}
	}
}

func FuzzParseHold(f *testing.F) {
	ak := NewAccountsKey([]byte("a secret"))
	account, device := ak.Account("a1"), ak.Device(ak.Account("a1"), "d1")
	f.Add(ak.SignHold(account, device, "s1", Hold{Since: 1, Born: 2, Granted: 3}))
	f.Add("")
	f.Add(strings.Repeat("A", 48))
	f.Add(strings.Repeat("A", 47) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, ok := ak.ParseHold(text, account, device, "s1")
		if ok != (text == ak.SignHold(account, device, "s1", h)) {
			t.Errorf("%q is %+v, %t", text, h, ok)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key{1, 2, 3}.Text())
	f.Add(strings.Repeat("A", 22))
	f.Add(strings.Repeat("A", 21) + "B") // bits that belong to no byte
	f.Add(strings.Repeat("A", 20) + "\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, ok := ParseKey(text)
		if ok != (text == k.Text()) && !(k.IsZero() && !ok) {
			t.Errorf("%q is %v, %t", text, k, ok)
		}
		if ok && k.Text() != text || !ok && !k.IsZero() {
			t.Errorf("%q is %v, %t, written %q", text, k, ok, k.Text())
		}
	})
}

func TestParseKey(t *testing.T) {
	k := NewAccountsKey([]byte("a secret")).Account("a1")
	if got, ok := ParseKey(k.Text()); !ok || got != k {
		t.Errorf("%v comes back as %v, %t", k, got, ok)
	}
	text := k.Text()
	for _, wrong := range []string{"", text[:21], text + "A", text + "==", text[:10] + "\n" + text[11:], text[:20] + "\r\n", strings.Repeat("A", 21) + "B", strings.Repeat("+", 22), hex.EncodeToString(k[:])[:22] + "!"} {
		if got, ok := ParseKey(wrong); ok || !got.IsZero() {
			t.Errorf("%q is %v, %t", wrong, got, ok)
		}
	}
}

// Leases in Redis, and codes and holds that players keep, outlive a deploy.
func TestAccountKeysDoNotChange(t *testing.T) {
	ak := NewAccountsKey([]byte("a secret"))
	account := ak.Account("a1")
	device := ak.Device(account, "d1")
	hold := Hold{Since: 1_795_299_040_000, Born: 1_795_299_041_000, Granted: 1_795_299_042_179}
	values := []struct{ What, Value string }{
		{"account a1", account.Text()},
		{"device d1", device.Text()},
		{"device of session s1", ak.Device(account, "session s1").Text()},
		{"address 192.0.2.1", ak.Address(account, netip.MustParseAddr("192.0.2.1")).Text()},
		{"address 2001:db8:1:2::1", ak.Address(account, netip.MustParseAddr("2001:db8:1:2::1")).Text()},
		{"termination code of d1 s1", ak.TerminationCode(account, LeaseRef{Device: device, Session: "s1", Born: 1_795_299_041_000})},
		{"hold of d1 s1", ak.SignHold(account, device, "s1", hold)},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	kept := golden(t, "account-keys-v1.jsonl", out.Bytes())
	var last struct{ What, Value string }
	lines := bytes.Split(bytes.TrimSpace(kept), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		t.Fatal(err)
	}
	if got, ok := ak.ParseHold(last.Value, account, device, "s1"); !ok || got != hold {
		t.Errorf("the hold of the file is %+v, %t", got, ok)
	}
}
