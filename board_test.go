package grandstand

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// counts reads "team:KC 12/11" as a segment with its sessions and fans; a
// leading ~ means folded.
func counts(t testing.TB, list ...string) []SegmentCount {
	t.Helper()
	var out []SegmentCount
	for _, text := range list {
		var c SegmentCount
		name, numbers, _ := strings.Cut(text, " ")
		name, c.Folded = strings.CutPrefix(name, "~")
		s, err := ParseSegment(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Segment = s
		if _, err := fmt.Sscanf(numbers, "%d/%d", &c.Sessions, &c.Fans); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		out = append(out, c)
	}
	return out
}

func TestPublicView(t *testing.T) {
	for name, c := range map[string]struct{ segments, public, want []string }{
		"nothing folded": {
			[]string{"world 30/29", "team:KC 20/20", "team:SF 10/9"}, nil,
			[]string{"world 30/29", "team:KC 20/20", "team:SF 10/9"},
		},
		"small ones in a new other": {
			[]string{"world 30/29", "team:KC 20/20", "~team:NE 4/4", "~team:SF 6/5"}, []string{"team:other 10/9"},
			[]string{"world 30/29", "team:KC 20/20", "team:other 10/9"},
		},
		"small ones in the other that was there": {
			[]string{"world 36/30", "team:KC 20/20", "~team:NE 4/4", "team:other 12/9"}, []string{"team:other 16/12"},
			[]string{"world 36/30", "team:KC 20/20", "team:other 16/12"},
		},
		"a small other": {
			[]string{"world 22/22", "team:KC 20/20", "~team:other 2/2"}, []string{"team:other 2/2"},
			[]string{"world 22/22", "team:KC 20/20", "team:other 2/2"},
		},
		"everything folded in two dimensions, values after other": {
			[]string{"world 9/9", "~country:US 9/9", "~team:KC 5/5", "~team:zz 4/4"}, []string{"country:other 9/9", "team:other 9/9"},
			[]string{"world 9/9", "country:other 9/9", "team:other 9/9"},
		},
		"nobody": {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Board{Segments: counts(t, c.segments...), Public: counts(t, c.public...)}
			want := counts(t, c.want...)
			got := b.PublicView()
			if len(got)+len(want) > 0 && cmp.Diff(want, got) != "" {
				t.Error(cmp.Diff(want, got))
			}
			if err := b.CheckSums(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckSums(t *testing.T) {
	for name, c := range map[string]struct {
		segments, public []string
		says             string // "" if the sums hold
	}{
		"nobody":                     {nil, nil, ""},
		"the world alone":            {[]string{"world 5/5"}, nil, ""},
		"every dimension":            {[]string{"world 5/5", "country:US 5/5", "team:KC 2/2", "team:SF 3/3"}, nil, ""},
		"fans need not add up":       {[]string{"world 5/1", "team:KC 2/1", "team:SF 3/1"}, nil, ""},
		"one too few":                {[]string{"world 5/5", "country:US 5/5", "team:KC 2/2", "team:SF 2/2"}, nil, "team sum up to 4, the world has 5"},
		"one too many in the middle": {[]string{"world 5/5", "country:US 6/5", "team:KC 5/5"}, nil, "country sum up to 6"},
		"no world":                   {[]string{"team:KC 2/2"}, nil, "no world"},
		"the public's only":          {[]string{"world 5/5", "~team:KC 2/2", "team:SF 3/3"}, []string{"team:other 3/3"}, "team sum up to 6"},
		"a dimension folded away":    {[]string{"world 5/5", "~country:US 5/5", "~team:KC 2/2", "team:SF 3/3"}, []string{"team:other 2/2"}, "lacks 1"},
		"all dimensions folded away": {[]string{"world 5/5", "~country:US 5/5", "~team:KC 5/5"}, nil, "lacks 2"},
		"folded, and nobody left":    {[]string{"world 0/0", "~country:US 0/0"}, nil, ""},
	} {
		b := &Board{Segments: counts(t, c.segments...), Public: counts(t, c.public...)}
		err := b.CheckSums()
		if c.says == "" && err != nil || c.says != "" && (CodeOf(err) != CodeInternal || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestBoardCounts(t *testing.T) {
	for name, c := range map[string]struct {
		segments []string
		dim      string
		want     bool
	}{
		"a dimension":                     {[]string{"world 5/5", "team:KC 5/5"}, "team", true},
		"the world":                       {[]string{"world 5/5"}, World, true},
		"a cross":                         {[]string{"world 5/5", "team:KC 5/5", "team+region:KC+US-CA 5/5"}, "team+region", true},
		"a cross that is left out":        {[]string{"world 5/5", "team:KC 5/5"}, "team+region", false},
		"one before others":               {[]string{"world 5/5", "team:KC 5/5"}, "a+b", false},
		"another cross is counted":        {[]string{"world 5/5", "team+country:KC+US 5/5"}, "team+region", false},
		"nobody, so there is none":        {[]string{"world 0/0"}, "team+region", true},
		"no board yet":                    {nil, "team+region", true},
		"a plain dimension of nobody yet": {[]string{"world 5/5"}, "team", true},
	} {
		b := &Board{Segments: counts(t, c.segments...)}
		if got := b.Counts(c.dim); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Any board whose small segments are folded as a whole keeps its sums.
func TestPublicViewHoldsTheSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		world := rapid.Uint64Range(1, 1000).Draw(t, "world")
		b := &Board{Segments: []SegmentCount{{Segment: WorldSegment, Sessions: world}}}
		for _, dim := range []string{"country", "team", "team+region"} {
			left, other := world, uint64(0)
			folds := false
			for _, v := range []string{"A", "M", Other, "z"} {
				n := min(rapid.Uint64Range(0, world).Draw(t, v), left)
				if left -= n; v == "z" {
					n += left
				}
				c := SegmentCount{Segment: Segment{dim, v}, Sessions: n}
				if v != Other {
					c.Folded = rapid.Bool().Draw(t, "fold")
				}
				if c.Folded || v == Other {
					other += n
					folds = folds || c.Folded
				}
				b.Segments = append(b.Segments, c)
			}
			if folds {
				b.Public = append(b.Public, SegmentCount{Segment: Segment{dim, Other}, Sessions: other})
			}
		}
		if err := b.CheckSums(); err != nil {
			t.Fatal(err)
		}
		view := b.PublicView()
		if !slices.IsSortedFunc(view, func(a, b SegmentCount) int { return CompareSegments(a.Segment, b.Segment) }) {
			t.Fatal("the public's view is not in order")
		}
		for _, c := range view {
			if c.Folded {
				t.Fatalf("the public sees %s", c.Segment)
			}
		}
		i := rapid.IntRange(0, len(b.Segments)-1).Draw(t, "wrong")
		if b.Segments[i].Sessions++; b.CheckSums() == nil {
			t.Fatalf("one more in %s is not noticed", b.Segments[i].Segment)
		}
	})
}

func TestFind(t *testing.T) {
	b := &Board{Segments: counts(t, "world 9/9", "country:DE 4/4", "country:US 5/5", "team:KC 9/9")}
	for i := range b.Segments {
		if got := b.Find(b.Segments[i].Segment); got != &b.Segments[i] {
			t.Errorf("%s is found as %v", b.Segments[i].Segment, got)
		}
	}
	for _, s := range []Segment{{"country", "A"}, {"country", "Z"}, {"region", "US"}, {"zone", "x"}} {
		if b.Find(s) != nil {
			t.Errorf("%s is found", s)
		}
	}
	if (&Board{}).Find(WorldSegment) != nil {
		t.Error("the world is found in an empty board")
	}
}

func TestNewerThan(t *testing.T) {
	for _, c := range []struct {
		epoch, at, oEpoch, oAt int64
		want                   bool
	}{
		{1, 10, 1, 9, true}, {1, 10, 1, 10, false}, {1, 9, 1, 10, false},
		{2, 1, 1, 10, true}, {1, 10, 2, 1, false}, {1, 1, 0, 0, true},
	} {
		if got := NewerThan(c.epoch, c.at, c.oEpoch, c.oAt); got != c.want {
			t.Errorf("NewerThan%v is %t", c, got)
		}
	}
}

func TestQualityNames(t *testing.T) {
	for q, want := range map[Quality]string{Live: `"live"`, Partial: `"partial"`, Stale: `"stale"`, Final: `"final"`} {
		if got, err := json.Marshal(q); err != nil || string(got) != want {
			t.Errorf("%d is written %s, %v", q, got, err)
		}
	}
}

func TestReleasesAreOrdered(t *testing.T) {
	order := []ReleaseID{{}, {0, 1}, {5, 0}, {5, 7}, {6, 0}, {6, 1 << 63}, {7, 0}}
	for i, a := range order {
		for j, b := range order {
			if a.Before(b) != (i < j) {
				t.Errorf("%v before %v is %t", a, b, a.Before(b))
			}
		}
	}
}

func TestErrorsHaveACodeAndAMessage(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.7: refused")
	wrapped := fmt.Errorf("claim session: %w", WrapError(CodeUnavailable, cause, "try again"))
	if CodeOf(wrapped) != CodeUnavailable || MessageOf(wrapped) != "try again" || !errors.Is(wrapped, cause) {
		t.Errorf("code %q, message %q", CodeOf(wrapped), MessageOf(wrapped))
	}
	if !strings.Contains(wrapped.Error(), "10.0.0.7") {
		t.Error("the log does not see the cause")
	}
	if CodeOf(cause) != CodeInternal || strings.Contains(MessageOf(cause), "10.0.0.7") {
		t.Errorf("a bare error: code %q, message %q", CodeOf(cause), MessageOf(cause))
	}
	if CodeOf(nil) != "" {
		t.Error("no error has a code")
	}
	if err := Errorf(CodeInvalid, "%d of %d", 3, 2); err.Error() != "3 of 2" {
		t.Errorf("message %q", err.Error())
	}
}
