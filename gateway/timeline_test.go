package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTimeline(t *testing.T) {
	at := int64(1795299040000)
	points := func(list ...int64) *series {
		s := &series{Event: "final", Segment: "world", From: at, To: at + int64(len(list))*10_000, Step: 10_000}
		for i, n := range list {
			if n < 0 {
				s.Points = append(s.Points, nil)
				continue
			}
			s.Points = append(s.Points, &[3]int64{at + int64(i)*10_000 + 4000, n, n - 1})
		}
		return s
	}
	for name, c := range map[string]struct {
		of   *series
		want string // cue:moment
	}{
		"nothing":         {points(-1, -1), ""},
		"nobody":          {points(0, 0), ""},
		"a steady number": {points(100, 101, 100, 99, 100, 101, 100, 100), "1:peak 0"},
		"a surge":         {points(100, 100, 100, 100, 100, 100, 110, 112, 113, 114, 114, 114, 114, 114, 114), "7:surge 0.12 9:peak 0"},
		"it goes on":      {points(100, 100, 100, 100, 100, 100, 112, 120, 130, 140, 150, 160, 170, 170, 170), "6:surge 0.12 12:surge 0.517 12:peak 0"},
		"a drop":          {points(200, 200, 200, 200, 200, 200, 150), "0:peak 0 6:drop -0.25"},
		"of a few":        {points(4, 4, 4, 4, 4, 4, 9), "6:peak 0"},
		"after a gap":     {points(100, -1, -1, -1, -1, -1, 200, 210, -1, 90), "6:surge 1 7:peak 0"},
	} {
		var got []string
		for _, c := range timelineOf(c.of).Cues {
			for _, m := range c.Moments {
				got = append(got, fmt.Sprintf("%d:%s %v", c.Start/10_000, m.Kind, m.Change))
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
{"sessions":130,"fans":129,"moments":[{"kind":"surge","change":0.3},{"kind":"peak"}]}
`
	if diff := cmp.Diff(want, string(timelineOf(s).appendVTT(nil))); diff != "" {
		t.Error(diff)
	}
	if got := vttTime(100*3_600_000 + 61_001); got != "100:01:01.001" {
		t.Error(got)
	}
	b, err := json.Marshal(timelineOf(points(7)))
	if got := string(b); err != nil || got != `{"event":"final","segment":"world","from":1795299040000,"to":1795299050000,"cues":[{"start":0,"end":10000,"sessions":7,"fans":6,"moments":[{"kind":"peak"}]}]}` {
		t.Error(got)
	}
}
