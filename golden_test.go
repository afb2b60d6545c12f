package grandstand

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write the golden files in testdata anew")

// golden compares bytes with testdata/name, which holds them as they are if the
// name has .json in it, and as lines of 64 hexadecimal digits otherwise. It
// returns what the file holds, so that old bytes can be decoded too.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := got
	if !strings.Contains(name, ".json") {
		text = nil
		for i := 0; i < len(got); i += 32 {
			text = append(hex.AppendEncode(text, got[i:min(i+32, len(got))]), '\n')
		}
	}
	if *updateGolden {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s has changed: a format that outlives a deploy needs a new version\ngot:\n%s\nwant:\n%s", path, text, want)
	}
	return kept(t, name)
}

// kept returns what testdata/name holds.
func kept(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(name, ".json") {
		return text
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
