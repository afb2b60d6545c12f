package grandstand

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidValue(t *testing.T) {
	for v, want := range map[string]bool{
		"KC": true, "US-CA": true, "a.b_c-9": true, "0": true, "unknown": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a b": false, "a+b": false, "a:b": false, "a/b": false,
		"Köln": false, "a\n": false, "\xff": false, "<b>": false, `"`: false,
	} {
		if ValidValue(v) != want {
			t.Errorf("ValidValue(%q) is %t", v, !want)
		}
	}
}

func TestParseSegment(t *testing.T) {
	for text, want := range map[string]Segment{
		"world":                WorldSegment,
		"team:KC":              {"team", "KC"},
		"region:US-CA":         {"region", "US-CA"},
		"team+region:KC+US-CA": {"team+region", "KC+US-CA"},
		"team:other":           {"team", "other"},
	} {
		got, err := ParseSegment(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseSegment(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "team", "team:", ":KC", "world:", "world:x", "Team:KC", "9:x", "team:a b", "team:a:b", "team+:a+b",
		"team:a+", "+:+", "team:" + strings.Repeat("x", 65), strings.Repeat("t", 65) + ":x",
	} {
		if got, err := ParseSegment(text); CodeOf(err) != CodeInvalid {
			t.Errorf("ParseSegment(%q) = %v, %v, want an error with the code invalid", text, got, err)
		}
	}
}

func FuzzParseSegment(f *testing.F) {
	for _, text := range []string{"world", "team:KC", "team+region:KC+US-CA", "a:", "+:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSegment(text)
		if err == nil && s.String() != text {
			t.Fatalf("%q is read as %v", text, s)
		}
		if err != nil && CodeOf(err) != CodeInvalid {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func TestCompareSegmentsIsAnOrder(t *testing.T) {
	segment := rapid.Custom(func(t *rapid.T) Segment {
		dim := rapid.SampledFrom([]string{World, "a", "team", "team+region", "z"}).Draw(t, "dim")
		if dim == World {
			return WorldSegment
		}
		return Segment{dim, rapid.SampledFrom([]string{"", "A", "KC", "other"}).Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := segment.Draw(t, "a"), segment.Draw(t, "b"), segment.Draw(t, "c")
		if (CompareSegments(a, b) == 0) != (a == b) || CompareSegments(a, b) != -CompareSegments(b, a) {
			t.Fatalf("%v and %v compare as %d and %d", a, b, CompareSegments(a, b), CompareSegments(b, a))
		}
		if CompareSegments(a, b) < 0 && CompareSegments(b, c) < 0 && CompareSegments(a, c) >= 0 {
			t.Fatalf("%v < %v < %v is no order", a, b, c)
		}
		if CompareSegments(a, WorldSegment) < 0 {
			t.Fatalf("%v is before the world", a)
		}
	})
}
