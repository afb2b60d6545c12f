package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// TestLeaseFormsAreTheSameAsEver pins what lies in Redis of an account across a
// deployment. A failure means that running nodes take each other's states for
// nonsense: leases need another version then, and a reader for this one.
func TestLeaseFormsAreTheSameAsEver(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	d := drive(t, open(t, e.Address()))
	at := int64(1_795_299_042_179)
	tick := func() { at += 1000; e.m.SetTime(time.UnixMilli(at)) }
	tick()
	home := func(a *grandstand.Ask) { a.Address, a.Name = device("home"), "TV | 1" }
	d.ask("a", "a1", home)
	tick()
	d.ask("b", "b1", home)
	tick()
	d.ask("b", "b1", home)
	d.ask("c", "c1", nil)
	d.ask("s", "s1", func(a *grandstand.Ask) { a.Terms.Shadow = true })
	tick()
	_, err = d.c.SignOut(t.Context(), acct(1), device("a"))
	ok(t, err)
	tick()
	ok(t, d.c.WatchAccount(t.Context(), acct(1), "m 1"))
	d.ask("a", "a1", nil)

	dev := func(s string) string { return device(s).Text() }
	want := strings.Join([]string{
		"1|1795299043179|1795299070179|001|000",
		"1795299044179|1795299044179|1795299045179|1795299070179|L|" + dev("b") + "|b1|m-b1|" + dev("home") + "|final|TV %7C 1",
		"1795299045179|1795299045179|1795299045179|1795299070179|S|" + dev("s") + "|s1|m-s1||final|s",
		"1795299045179|0000000000000|1795299045179|1795299070179|W|" + dev("c") + "|c1|m-c1||final|c",
		"0000000000000|0000000000000|0000000000000|1795299107179|A|||m 1|||",
		"1795299046179|0000000000000|1795299047179|1795299947179|T|" + dev("a") + "|a1|signed_out|1|a|", "",
	}, "\n")
	if diff := cmp.Diff(want, stored(t, d.c, acct(1))); diff != "" {
		t.Errorf("state (-was +is):\n%s", diff)
	}
	log, err := e.m.List(decisionsKey(acct(1)))
	ok(t, err)
	wantLog := []string{
		"1795299046179|signed_out|signed_out||0|0|" + dev("a") + "|a1|final|TV %7C 1",
		"1795299045179|would_block||default|2|2|" + dev("s") + "|s1|final|s|TV %7C 1|TV %7C 1",
		"1795299045179|blocked|device_limit|default|2|2|" + dev("c") + "|c1|final|c|TV %7C 1|TV %7C 1",
		"1795299044179|acquired||default|2|2|" + dev("b") + "|b1|final|TV %7C 1",
		"1795299043179|acquired||default|2|1|" + dev("a") + "|a1|final|TV %7C 1",
	}
	if diff := cmp.Diff(wantLog, log); diff != "" {
		t.Errorf("decisions (-was +is):\n%s", diff)
	}
	entries, err := e.m.Stream(noticesKey("m-a1"))
	ok(t, err)
	if got := strings.Join(entries[0].Values, " "); got != "b 1795299046.179000 n 1 a "+acct(1).Text() {
		t.Errorf("a notice is %q", got)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a|b", "100 %", "%7C", "\x00\n\r\x7f", "ä ☃ \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := escape(s)
		if strings.ContainsAny(e, "|\n\x00") {
			t.Errorf("%q is written %q", s, e)
		}
		if again, err := unescape(e); err != nil || again != s {
			t.Errorf("%q came back as %q, %v", s, again, err)
		}
		if u, err := unescape(s); err == nil && len(u) > len(s) {
			t.Errorf("%q is read as %q", s, u)
		}
	})
}

const someLine = "1795299044179|1795299044179|1795299045179|1795299070179|L|AAAAAAAAAAAAAAAAAAAAAA|b1|m-b1||final|TV %7C 1\n"

func FuzzParseState(f *testing.F) {
	head := "1|1795299043179|1795299070179|001|000\n"
	for _, s := range []string{"", head, head + someLine, head + someLine[:50], strings.ReplaceAll(head+someLine, "L", "T"), "2|"} {
		f.Add(s, int64(1_795_299_050_000))
	}
	f.Fuzz(func(t *testing.T, text string, now int64) {
		s, err := parseState(text, now)
		if err != nil {
			return
		}
		for i, l := range s.Leases {
			if l.Until <= now || i > 0 && l.Since < s.Leases[i-1].Since {
				t.Errorf("lease %d of %+v", i, s)
			}
		}
		for _, w := range s.Waiting {
			if w.Until <= now {
				t.Errorf("%+v waits", w)
			}
		}
	})
}

func FuzzParseVerdict(f *testing.F) {
	for _, s := range []string{
		"+1795299045179|1795299070179|1795299044179|1795299044179|002|001",
		"acquired||a|1|1795299045179|1795299045179|1795299045179|1795299070179|0|\nN|m1\n",
		"blocked|device_limit|e|2|1795299045179|0|0|0|1795299070179|TV\n" + someLine + "C\nN|%41\n", "+", "|||||||||", "",
	} {
		f.Add(s)
	}
	a := asks(1, "a", "a1")
	f.Fuzz(func(t *testing.T, text string) {
		v, _, err := parseVerdict(text, &a)
		if err == nil && v.Allowed != (v.Code == "") {
			t.Errorf("%q: %+v", text, v)
		}
	})
}

func FuzzParseDecision(f *testing.F) {
	f.Add("1795299045179|blocked|device_limit|default|2|2|AAAAAAAAAAAAAAAAAAAAAA|c1|final|c|TV %7C 1|%")
	f.Add("|||||||||")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDecision(text)
		if err == nil && len(d.Rivals) != strings.Count(text, "|")-9 {
			t.Errorf("%q: %+v", text, d)
		}
	})
}

func FuzzParseNews(f *testing.F) {
	f.Add("C\nN|m1\nN|m%7C2\n")
	f.Add("N|%")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseNews(text)
		if err == nil && len(n.members) > strings.Count(text, "N|") {
			t.Errorf("%q: %+v", text, n)
		}
	})
}

func TestStampsHaveThirteenDigits(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "0000000000000", -5: "0000000000000", 7: "0000000000007", 1_795_299_045_179: "1795299045179", 1 << 62: "9999999999999",
	} {
		if got := string(appendStamp(nil, ms)); got != want {
			t.Errorf("%d is %s, want %s", ms, got, want)
		}
	}
}
