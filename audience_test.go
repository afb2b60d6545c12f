package grandstand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// registry admits values first come, first served, as the one in Redis does.
type registry struct {
	admitted map[Segment]bool
	used     map[string]int
	asked    []Segment
	err      error
}

func (r *registry) Admit(_ context.Context, e *Event, segs []Segment) ([]bool, error) {
	if r.admitted == nil {
		r.admitted, r.used = map[Segment]bool{}, map[string]int{}
	}
	r.asked = append(r.asked, segs...)
	out := make([]bool, len(segs))
	for i, s := range segs {
		for _, d := range e.Dims {
			if d.Name == s.Dim && !r.admitted[s] && r.used[s.Dim] < d.DimLimit() {
				r.admitted[s] = true
				r.used[s.Dim]++
			}
		}
		out[i] = r.admitted[s]
	}
	return out, r.err
}

func TestFold(t *testing.T) {
	type seg map[string]string
	dims := []Dimension{{Name: "country"}, {Name: "team", Values: []string{"KC", "SF"}}, {Name: "isp", Limit: 1}, {Name: "isp+team", Limit: 2}}
	for _, c := range []struct {
		name     string
		before   []seg // of viewers who came first
		declared seg
		want     string
	}{
		{"nothing declared", nil, nil, "unknown unknown unknown unknown+unknown"},
		{"an empty value", nil, seg{"country": ""}, "unknown unknown unknown unknown+unknown"},
		{"all", nil, seg{"country": "US", "team": "KC", "isp": "A"}, "US KC A A+KC"},
		{"a value that is not configured", nil, seg{"team": "NE"}, "unknown other unknown unknown+other"},
		{"a value past the limit", []seg{{"isp": "A"}}, seg{"isp": "B"}, "unknown unknown other other+unknown"},
		{"a value that came first", []seg{{"isp": "A"}}, seg{"isp": "A"}, "unknown unknown A A+unknown"},
		{"a cross past the limit", []seg{{"team": "KC"}, {"team": "SF"}}, seg{"isp": "A", "team": "SF"}, "unknown SF A other"},
		{"the words for none", nil, seg{"country": "other", "team": "unknown", "isp": "other"}, "other unknown other other+unknown"},
		{"a dimension that is not the event's", nil, seg{"language": "no such! value", "world": "x"}, "unknown unknown unknown unknown+unknown"},
		{"a cross of the client's own", nil, seg{"isp+team": "A+KC", "country": "DE"}, "DE unknown unknown unknown+unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := testEvent(t, func(e *Event) { e.Dims = dims })
			reg := &registry{}
			for _, b := range c.before {
				if _, err := Fold(t.Context(), e, b, reg); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Fold(t.Context(), e, c.declared, reg)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(c.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFoldRefusesImpossibleValues(t *testing.T) {
	e := testEvent(t, nil)
	for _, v := range []string{"a b", "KC+SF", "é", "a:b", "a\x00b", strings.Repeat("x", MaxValueLen+1)} {
		reg := &registry{}
		if _, err := Fold(t.Context(), e, map[string]string{"team": v}, reg); CodeOf(err) != CodeInvalid {
			t.Errorf("%q: %v, want an error with the code invalid", v, err)
		}
		if len(reg.asked) > 0 {
			t.Errorf("%q: the registry was asked for %v", v, reg.asked)
		}
	}
}

// What needs no registry must not wait for one: fixed values, and the words for
// none.
func TestFoldAsksOnlyForFreeValues(t *testing.T) {
	e := testEvent(t, func(e *Event) { e.Dims = []Dimension{{Name: "country"}, {Name: "team", Values: []string{"KC"}}} })
	down := &registry{err: errors.New("redis is gone")}
	for _, declared := range []map[string]string{nil, {"team": "KC"}, {"team": "NE", "country": Other}} {
		if _, err := Fold(t.Context(), e, declared, down); err != nil || len(down.asked) > 0 {
			t.Errorf("%v: %v, asked for %v", declared, err, down.asked)
		}
	}
	if _, err := Fold(t.Context(), e, map[string]string{"country": "US"}, down); !errors.Is(err, down.err) {
		t.Errorf("a registry in trouble: %v", err)
	}
}

// Viewers may declare what they like: no dimension gets more values than its
// limit, unknown and other besides, and each session is in one segment of each.
func TestFoldHoldsTheLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &Event{Name: "e", Dims: []Dimension{{Name: "isp", Limit: 3}, {Name: "team", Values: []string{"KC", "SF"}}, {Name: "team+isp", Limit: 5}}}
		if err := e.Normalize(); err != nil {
			t.Fatal(err)
		}
		reg, auds := &registry{}, NewAudiences(e)
		value := rapid.SampledFrom([]string{"", "KC", "SF", "A", "B", "C", "D", "E", Other, Unknown})
		for range rapid.IntRange(1, 60).Draw(t, "viewers") {
			values, err := Fold(context.Background(), e, map[string]string{"isp": value.Draw(t, "isp"), "team": value.Draw(t, "team")}, reg)
			if err != nil {
				t.Fatal(err)
			}
			if a := auds.Intern(values); len(a.Slots) != len(e.Dims)+1 || a.Slots[0] != 0 {
				t.Fatalf("audience %v has the slots %v", values, a.Slots)
			}
		}
		perDim := map[string]int{}
		for _, s := range auds.Segments() {
			if _, err := ParseSegment(s.String()); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
			if perDim[s.Dim]++; s.Value == Other || s.Value == Unknown {
				perDim[s.Dim]--
			}
		}
		for _, d := range e.Dims {
			if perDim[d.Name] > d.DimLimit() {
				t.Fatalf("%s has %d values, the limit is %d", d.Name, perDim[d.Name], d.DimLimit())
			}
		}
	})
}

func TestAudiencesAreInterned(t *testing.T) {
	auds := NewAudiences(testEvent(t, nil))
	early := auds.Segments()
	a := auds.Intern([]string{"US", "US-CA", "KC"})
	b := auds.Intern([]string{"US", "US-CA", "SF"})
	if auds.Intern([]string{"US", "US-CA", "KC"}) != a || a == b {
		t.Error("equal values are one audience, others another")
	}
	if a.ID != 0 || b.ID != 1 || auds.Len() != 2 {
		t.Errorf("ids %d and %d of %d audiences", a.ID, b.ID, auds.Len())
	}
	want := []Segment{WorldSegment, {"country", "US"}, {"region", "US-CA"}, {"team", "KC"}, {"team", "SF"}}
	if diff := cmp.Diff(want, auds.Segments()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{0, 1, 2, 4}, b.Slots); diff != "" {
		t.Error(diff)
	}
	if len(early) != 1 {
		t.Error("an earlier list of segments has grown")
	}
}

func TestAudiencesFromManyGoroutines(t *testing.T) {
	auds := NewAudiences(testEvent(t, nil))
	var wg sync.WaitGroup
	got := make([][]*Audience, 8)
	for g := range got {
		wg.Go(func() {
			for i := range 200 {
				got[g] = append(got[g], auds.Intern([]string{fmt.Sprint("C", i%5), fmt.Sprint("R", i%40), fmt.Sprint("T", i%3)}))
				auds.Segments()
			}
		})
	}
	wg.Wait()
	for g := range got {
		if !slices.Equal(got[g], got[0]) {
			t.Fatalf("goroutine %d has other audiences", g)
		}
	}
	if auds.Len() != 120 || len(auds.Segments()) != 1+5+40+3 {
		t.Errorf("%d audiences, %d segments", auds.Len(), len(auds.Segments()))
	}
}

func BenchmarkIntern(b *testing.B) {
	auds := NewAudiences(testEvent(b, nil))
	values := []string{"US", "US-CA", "KC"}
	b.ReportAllocs()
	for b.Loop() {
		auds.Intern(values)
	}
}
