package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// seriesOf is a series of one step every ten seconds, less than 0 for none.
func seriesOf(from, step int64, list []int64) *series {
	s := &series{Event: "final", Segment: "world", From: from, To: from + int64(len(list))*10_000, Step: step}
	s.Points = make([]*[3]int64, (s.To-s.From+step-1)/step)
	var steps []grandstand.Step
	for i, n := range list {
		if n >= 0 {
			one := grandstand.StepCount{Segment: grandstand.WorldSegment, Sessions: uint64(n), Fans: uint64(max(n-1, 0))}
			steps = append(steps, grandstand.Step{At: from + int64(i)*10_000 + 4000, Full: true, Counts: []grandstand.StepCount{one}})
		}
	}
	s.add(steps, grandstand.WorldSegment, false)
	return s
}

func TestTimeline(t *testing.T) {
	at := int64(1795299040000)
	points := func(list ...int64) *series { return seriesOf(at, 10_000, list) }
	for name, c := range map[string]struct {
		of   *series
		want string // cue:moment
	}{
		"nothing":         {points(-1, -1), ""},
		"nobody":          {points(0, 0), ""},
		"a steady number": {points(100, 101, 100, 99, 100, 101, 100, 100), "1:peak 101"},
		"a surge":         {points(100, 100, 100, 100, 100, 100, 110, 112, 113, 114, 114, 114, 114, 114, 114), "7:surge 0.12 9:peak 114"},
		"it goes on":      {points(100, 100, 100, 100, 100, 100, 112, 120, 130, 140, 150, 160, 170, 170, 170), "6:surge 0.12 12:surge 0.517 12:peak 170"},
		"a drop":          {points(200, 200, 200, 200, 200, 200, 150), "0:peak 200 6:drop -0.25"},
		"of a few":        {points(4, 4, 4, 4, 4, 4, 9), "6:peak 9"},
		"after a gap":     {points(100, -1, -1, -1, -1, -1, 200, 210, -1, 90), "6:surge 1 7:peak 210"},
	} {
		var got []string
		for _, c := range timelineOf(c.of).Cues {
			for _, m := range c.Moments {
				got = append(got, fmt.Sprintf("%d:%s %v", c.Start/10_000, m.Kind, m.Change+float64(m.Sessions)))
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}

	s := points(100, -1, 100, 100, 100, 100, 130)
	s.From, s.To = at, at+65_000
	want := `WEBVTT

NOTE final, world, from 2026-11-21T22:10:40Z

00:00:00.000 --> 00:00:10.000
{"sessions":100,"fans":99}

00:00:20.000 --> 00:00:30.000
{"sessions":100,"fans":99}

00:00:30.000 --> 00:00:40.000
{"sessions":100,"fans":99}

00:00:40.000 --> 00:00:50.000
{"sessions":100,"fans":99}

00:00:50.000 --> 00:01:00.000
{"sessions":100,"fans":99}

00:01:00.000 --> 00:01:05.000
{"sessions":130,"fans":129,"moments":[{"kind":"surge","change":0.3},{"kind":"peak","sessions":130}]}
`
	if diff := cmp.Diff(want, string(timelineOf(s).appendVTT(nil))); diff != "" {
		t.Error(diff)
	}
	if got := vttTime(100*3_600_000 + 61_001); got != "100:01:01.001" {
		t.Error(got)
	}
	b, err := json.Marshal(timelineOf(points(7)))
	if got := string(b); err != nil || got != `{"event":"final","segment":"world","from":1795299040000,"to":1795299050000,"cues":[{"start":0,"end":10000,"sessions":7,"fans":6,"moments":[{"kind":"peak","sessions":7}]}]}` {
		t.Error(got)
	}
}

// However long its cues are, a timeline tells of changes within a minute: twice
// as many in half an hour are none, a fifth more at once is one.
func TestTimelineOfLongSteps(t *testing.T) {
	ramp := func(from, to int64, n int) (list []int64) {
		for i := range n {
			list = append(list, from+(to-from)*int64(i)/int64(n))
		}
		return list
	}
	join := func(parts ...[]int64) []int64 { return slices.Concat(parts...) }
	for name, c := range map[string]struct {
		list []int64
		want string // minute its cue begins at:moment
	}{
		"a calm rise":           {ramp(1000, 2000, 336), "28:peak 1997"},
		"a jump in a calm rise": {join(ramp(1000, 1200, 120), ramp(1500, 1700, 120)), "0:surge 0.26 28:peak 1698"},
		"up and down again":     {join(ramp(1000, 1000, 30), ramp(1200, 1200, 30), ramp(1500, 1500, 30), ramp(1000, 1000, 200)), "0:surge 0.25 0:drop -0.333 0:peak 1500"},
		"where nobody counted":  {join(ramp(1000, 1000, 30), ramp(-1, -1, 200), ramp(2000, 2000, 30)), "28:peak 2000"},
	} {
		var got []string
		for _, cue := range timelineOf(seriesOf(1795299040000, 28*momentMS, c.list)).Cues {
			for _, m := range cue.Moments {
				got = append(got, fmt.Sprintf("%d:%s %v", cue.Start/momentMS, m.Kind, m.Change+float64(m.Sessions)))
			}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}
