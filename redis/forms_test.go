package redis

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// TestFormsAreTheSameAsEver pins what lies in Redis across a deployment. A
// failure means that running nodes cannot read each other: give it a version.
func TestFormsAreTheSameAsEver(t *testing.T) {
	seg := grandstand.CheckpointSegment{Segment: grandstand.Segment{Dim: "team", Value: "KC"}, Peak: 3_300_000, PeakAt: 1_795_299_042_179, Reach: []byte{9, 0, 255}}
	if got, want := hex.EncodeToString(appendReach(nil, &seg)), "01a0b5c90183c7a581a0340900ff"; got != want {
		t.Errorf("reach is %s, was %s", got, want)
	}

	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	c := open(t, e.Address())
	stored := func() string {
		s, err := e.m.Get("gs:{s201}:s1")
		ok(t, err)
		return s
	}
	a, b := record("s1", "A", 7, "US"), record("s1", "B", 0, "DE")
	body := func(r grandstand.Record) string { return string(grandstand.AppendRecord(nil, &r)) }
	keep(t, c, a)
	if got, want := stored(), "7|A|0|0||18|"+body(a); got != want {
		t.Errorf("a kept record is %q, was %q", got, want)
	}
	e.m.SetTime(c.clock.base)
	_, err = claimOne(t.Context(), c, b)
	ok(t, err)
	at := c.clock.base.UnixMilli()
	if got, want := stored(), "8|B|"+strconv.FormatInt(at, 10)+"|7|A|18|"+body(b)+body(a); got != want {
		t.Errorf("a claimed record is %q, was %q", got, want)
	}
}

func FuzzParseReach(f *testing.F) {
	f.Add("team:KC", appendReach(nil, &grandstand.CheckpointSegment{Peak: 5, PeakAt: 1_795_299_042_179, Reach: []byte{1, 2}}))
	f.Add("world", []byte{reachVersion, 0x80})
	f.Add("world", bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, field string, b []byte) {
		s, err := parseReach(field, b)
		if err != nil {
			return
		}
		again, err := parseReach(s.Segment.String(), appendReach(nil, &s))
		if err != nil || !cmp.Equal(s, again) {
			t.Errorf("%+v came back as %+v, %v", s, again, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"0-0", "1795299042179-3", "-", "1", "18446744073709551615-18446744073709551615", "99999999999999999999-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseID(text)
		if err != nil {
			return
		}
		if again, err := parseID(formatID(id)); err != nil || again != id {
			t.Errorf("%q is %v, then %v, %v", text, id, again, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"redis://127.0.0.1:6379", "rediss://u:p@a,b:1/0", "redis://[::1]:7,::2", "redis://@", "redis://a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		opt, err := parseAddress(addr)
		if err == nil && len(opt.InitAddress) == 0 {
			t.Errorf("%q names no host and is no error", addr)
		} else if err != nil && grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%q: %v, want CodeInvalid", addr, err)
		}
	})
}

func FuzzParseMembership(f *testing.F) {
	f.Add("1795299042179", "abc 1795299042000", "3", "17", "m1", "1", "2", `{"role":"gateway"}`)
	f.Add("", "", "", "", "", "", "", "{")
	f.Fuzz(func(t *testing.T, now, boot, version, renewals, id, joined, seen, text string) {
		m, _, err := parseMembership([]string{now, boot, version, renewals, id, joined, seen, text})
		if err == nil && len(m.Members) == 1 && m.Members[0].ID != id {
			t.Errorf("member %q came back as %q", id, m.Members[0].ID)
		}
		if _, _, err := parseMembership([]string{now, boot, version, renewals, id}); err == nil {
			t.Error("a reply that is cut off is no error")
		}
	})
}
