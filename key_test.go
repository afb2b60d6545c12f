package grandstand

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKeysTellKindsAndEventsApart(t *testing.T) {
	secret := []byte("a secret")
	final, semi := NewEventKey(secret, "final"), NewEventKey(secret, "semi")
	seen := map[Key]string{}
	for name, k := range map[string]Key{
		"viewer":         final.Viewer("v1"),
		"device":         final.Device("v1"),
		"account":        final.Account("v1"),
		"another viewer": final.Viewer("v2"),
		"another event":  semi.Viewer("v1"),
		"another secret": NewEventKey([]byte("b secret"), "final").Viewer("v1"),
		"a longer id":    final.Viewer("v1\x00"),
	} {
		if k.IsZero() {
			t.Errorf("%s: the key is nobody's", name)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
	}
	if NewEventKey(secret, "final").Viewer("v1") != final.Viewer("v1") {
		t.Error("another node derives another key")
	}
	if k := final.Viewer(""); !k.IsZero() {
		t.Error("nobody has a key")
	}
}

// The keys are in sketches and session ids that outlive a deploy.
func TestKeysDoNotChange(t *testing.T) {
	ek := NewEventKey([]byte("a secret"), "final-2026")
	k := ek.Viewer("v1")
	if got := hex.EncodeToString(k[:]); got != "b350da274bc7411cfe1a4d94fcf594ab" {
		t.Errorf("the key of v1 is %s", got)
	}
	if k.Hash() != 0xb350da274bc7411c {
		t.Errorf("its hash is %016x", k.Hash())
	}
}

func TestSessionIDs(t *testing.T) {
	secret := []byte("a secret")
	ek := NewEventKey(secret, "final")
	viewer, device := ek.Viewer("v1"), ek.Device("d1")
	id := NewSessionID(ek, viewer, device)
	if len(id) != 28 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("the id %q is not 28 URL-safe characters", id)
	}
	if NewSessionID(ek, viewer, device) == id {
		t.Error("two sessions have one id")
	}
	anonymous := NewSessionID(ek, Key{}, Key{})
	for name, c := range map[string]struct {
		ek             EventKey
		id             string
		viewer, device Key
		valid          bool
	}{
		"its own":                   {ek, id, viewer, device, true},
		"on another node":           {NewEventKey([]byte("a secret"), "final"), id, ek.Viewer("v1"), ek.Device("d1"), true},
		"of nobody":                 {ek, anonymous, Key{}, Key{}, true},
		"another viewer":            {ek, id, ek.Viewer("v2"), device, false},
		"another device":            {ek, id, viewer, ek.Device("d2"), false},
		"viewer and device swapped": {ek, id, device, viewer, false},
		"nobody":                    {ek, id, Key{}, Key{}, false},
		"somebody with nobody's":    {ek, anonymous, viewer, device, false},
		"another event":             {NewEventKey(secret, "semi"), id, viewer, device, false},
		"another secret":            {NewEventKey([]byte("b secret"), "final"), id, viewer, device, false},
		"nothing":                   {ek, "", viewer, device, false},
		"cut":                       {ek, id[:27], viewer, device, false},
		"longer":                    {ek, id + "A", viewer, device, false},
		"padded":                    {ek, id[:26] + "==", viewer, device, false},
		"a line break in it":        {ek, id[:14] + "\n" + id[15:], viewer, device, false},
		"not base64":                {ek, id[:14] + "!" + id[15:], viewer, device, false},
		"the other base64":          {ek, strings.Repeat("+/", 14), viewer, device, false},
		"zeros":                     {ek, strings.Repeat("A", 28), viewer, device, false},
		"a tag of another session":  {ek, NewSessionID(ek, viewer, device)[:16] + id[16:], viewer, device, false},
	} {
		if got := ValidSessionID(c.ek, c.id, c.viewer, c.device); got != c.valid {
			t.Errorf("%s: valid is %t", name, got)
		}
	}
}

// Every bit of an id counts.
func TestNoSessionIDIsAnothersNeighbour(t *testing.T) {
	ek := NewEventKey([]byte("a secret"), "final")
	rapid.Check(t, func(t *rapid.T) {
		viewer := ek.Viewer(rapid.StringN(1, 20, 40).Draw(t, "viewer"))
		id := NewSessionID(ek, viewer, Key{})
		b, err := base64.RawURLEncoding.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		bit := rapid.IntRange(0, 8*len(b)-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		if ValidSessionID(ek, base64.RawURLEncoding.EncodeToString(b), viewer, Key{}) {
			t.Fatalf("with bit %d changed the id is still valid", bit)
		}
		if !ValidSessionID(ek, id, viewer, Key{}) {
			t.Fatal("the id itself is not valid")
		}
	})
}

func FuzzValidSessionID(f *testing.F) {
	ek := NewEventKey([]byte("a secret"), "final")
	f.Add(strings.Repeat("A", 28))
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		if ValidSessionID(ek, id, Key{}, Key{1}) {
			t.Fatalf("%q is forged", id)
		}
	})
}

func BenchmarkValidSessionID(b *testing.B) {
	ek := NewEventKey([]byte("a secret"), "final")
	id := NewSessionID(ek, Key{1}, Key{2})
	b.ReportAllocs()
	for b.Loop() {
		if !ValidSessionID(ek, id, Key{1}, Key{2}) {
			b.Fatal("not valid")
		}
	}
}

func BenchmarkViewerKey(b *testing.B) {
	ek := NewEventKey([]byte("a secret"), "final")
	b.ReportAllocs()
	for b.Loop() {
		ek.Viewer("a-viewer-with-an-id-of-36-characters")
	}
}
