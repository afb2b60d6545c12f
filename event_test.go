package grandstand

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNormalizeFillsTheDefaultsIn(t *testing.T) {
	e := &Event{Name: "final-2026"}
	if err := e.Normalize(); err != nil {
		t.Fatal(err)
	}
	want := &Event{
		Name: "final-2026", State: EventScheduled, TickMS: 2000, BeatMS: 10_000,
		Dims: []Dimension{{Name: "country"}, {Name: "region"}, {Name: "team", Choose: true}},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if err := e.Normalize(); err != nil || cmp.Diff(want, e) != "" {
		t.Errorf("a second time changes it: %v", err)
	}
}

func TestNormalize(t *testing.T) {
	ten, less, many := 10, -1, 1_000_001
	dims := func(d ...Dimension) *Event { return &Event{Name: "e", Dims: d} }
	values := make([]string, MaxSegments+1)
	for i := range values {
		values[i] = fmt.Sprint("v", i)
	}
	var crowd []Dimension
	for i := range MaxDimensions + 1 {
		crowd = append(crowd, Dimension{Name: fmt.Sprint("d", i)})
	}
	for name, c := range map[string]struct {
		e    *Event
		says string // of the error; "" if there is none
	}{
		"all set":                       {&Event{Name: "e", State: EventLive, TickMS: 10_000, BeatMS: 60_000, MinCohort: &ten, Public: true}, ""},
		"no dimensions":                 {dims([]Dimension{}...), ""},
		"dimensions and crosses":        {dims(Dimension{Name: "team"}, Dimension{Name: "region"}, Dimension{Name: "team+region", Limit: 100}), ""},
		"values":                        {dims(Dimension{Name: "team", Values: []string{"KC", "SF"}, Choose: true}), ""},
		"as many as there may be":       {dims(crowd[1:]...), ""},
		"no name":                       {&Event{}, "name"},
		"a path for a name":             {&Event{Name: "../x"}, "name"},
		"the folder for a name":         {&Event{Name: "."}, "name"},
		"the parent for a name":         {&Event{Name: ".."}, "name"},
		"a long name":                   {&Event{Name: strings.Repeat("e", 65)}, "name"},
		"no such state":                 {&Event{Name: "e", State: "paused"}, "state"},
		"a short tick":                  {&Event{Name: "e", TickMS: 999}, "tick_ms"},
		"a long tick":                   {&Event{Name: "e", TickMS: 11_000}, "tick_ms"},
		"a tick of a second and a half": {&Event{Name: "e", TickMS: 1500}, "tick_ms"},
		"a negative tick":               {&Event{Name: "e", TickMS: -2000}, "tick_ms"},
		"a short beat":                  {&Event{Name: "e", BeatMS: 4999}, "beat_ms"},
		"a long beat":                   {&Event{Name: "e", BeatMS: 60_001}, "beat_ms"},
		"a negative cohort":             {&Event{Name: "e", MinCohort: &less}, "min_cohort"},
		"a cohort of everybody":         {&Event{Name: "e", MinCohort: &many}, "min_cohort"},
		"too many dimensions":           {dims(crowd...), "at most 16 dimensions"},
		"world":                         {dims(Dimension{Name: "world"}), `"world"`},
		"a dimension twice":             {dims(Dimension{Name: "team"}, Dimension{Name: "team"}), `"team"`},
		"an impossible dimension":       {dims(Dimension{Name: "Team"}), `"Team"`},
		"a dimension without name":      {dims(Dimension{}), `""`},
		"a negative limit":              {dims(Dimension{Name: "team", Limit: -1}), "limit of team"},
		"a limit over all":              {dims(Dimension{Name: "team", Limit: MaxSegments + 1}), "limit of team"},
		"an impossible value":           {dims(Dimension{Name: "team", Values: []string{"K C"}}), "value of team"},
		"too many values":               {dims(Dimension{Name: "team", Values: values}), "segments"},
		"a cross before its parts":      {dims(Dimension{Name: "team+region"}, Dimension{Name: "team"}, Dimension{Name: "region"}), "needs the dimension team"},
		"a cross of a cross":            {dims(Dimension{Name: "a"}, Dimension{Name: "b"}, Dimension{Name: "a+b"}, Dimension{Name: "a+b+c"}), "needs the dimension c"},
		"a cross with the world":        {dims(Dimension{Name: "a"}, Dimension{Name: "a+world"}), "needs the dimension world"},
		"a cross with values":           {dims(Dimension{Name: "a"}, Dimension{Name: "b"}, Dimension{Name: "a+b", Values: []string{"x"}}), "takes its values"},
		"a cross to choose":             {dims(Dimension{Name: "a"}, Dimension{Name: "b"}, Dimension{Name: "a+b", Choose: true}), "takes its values"},
		"half a cross":                  {dims(Dimension{Name: "a"}, Dimension{Name: "a+"}), `"a+"`},
	} {
		err := c.e.Normalize()
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want an error with the code invalid that says %q", name, err, c.says)
		}
	}
}

func TestDimensionFromJSON(t *testing.T) {
	var e Event
	text := `{"event":"e","dims":["country",{"name":"team","values":["KC"],"choose":true},"country+team"]}`
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	want := []Dimension{{Name: "country"}, {Name: "team", Values: []string{"KC"}, Choose: true}, {Name: "country+team"}}
	if diff := cmp.Diff(want, e.Dims); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"world", "country", "team", "country+team"}, e.DimNames()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{"dims":[7]}`, `{"dims":[{"name":7}]}`, `{"dims":"team"}`} {
		if err := json.Unmarshal([]byte(bad), &Event{}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestDimLimit(t *testing.T) {
	for want, d := range map[int]Dimension{
		2:             {Name: "team", Values: []string{"KC", "SF"}, Limit: 9},
		9:             {Name: "region", Limit: 9},
		MaxRegions:    {Name: "region"},
		MaxFreeValues: {Name: "country"},
		MaxSegments:   {Name: "team+region"},
	} {
		if got := d.DimLimit(); got != want {
			t.Errorf("the limit of %+v is %d, want %d", d, got, want)
		}
	}
}

func TestNewerEvents(t *testing.T) {
	old, late := &Event{UpdatedAt: 5}, &Event{UpdatedAt: 6}
	if !late.Newer(old) || old.Newer(late) || old.Newer(old) || !old.Newer(nil) {
		t.Error("the event updated later is the newer")
	}
	if (&Event{TickMS: 2000}).Tick() != 2*time.Second {
		t.Error("a tick of 2000 ms is not two seconds")
	}
}

func TestShardsAreSpread(t *testing.T) {
	const events = 12_800
	var shards [Shards]int
	for i := range events {
		shards[ShardOf(fmt.Sprint("league-", i%40, "-match-", i))]++
	}
	for s, n := range shards {
		if n < events/Shards*7/10 || n > events/Shards*13/10 {
			t.Errorf("shard %d has %d of %d events", s, n, events)
		}
	}
	// Part of every key name: it must never change.
	for name, want := range map[string]int{"": 5, "final-2026": 36, "e": 32} {
		if got := ShardOf(name); got != want {
			t.Errorf("%q is in shard %d, was in %d", name, got, want)
		}
	}
}
