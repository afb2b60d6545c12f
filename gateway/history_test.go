package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// fakeHistory is the series of Redis, and of the archive.
type fakeHistory struct {
	steps map[int64][]grandstand.Step
	err   error
	cp    *grandstand.Checkpoint
}

func (f *fakeHistory) Steps(_ context.Context, _ string, hour int64) ([]grandstand.Step, error) {
	return f.steps[hour], f.err
}
func (f *fakeHistory) LoadSteps(_ context.Context, _ string, hour int64) ([]grandstand.Step, error) {
	return f.steps[hour], f.err
}
func (f *fakeHistory) LoadCheckpoint(context.Context, string) (*grandstand.Checkpoint, error) {
	return f.cp, f.err
}

// step returns a step; a segment with a minus before it was folded.
func step(at int64, full bool, counts ...any) grandstand.Step {
	s := grandstand.Step{At: at, Full: full}
	for i := 0; i < len(counts); i += 2 {
		text, folded := strings.CutPrefix(counts[i].(string), "-")
		seg, _ := grandstand.ParseSegment(text)
		n := uint64(counts[i+1].(int))
		s.Counts = append(s.Counts, grandstand.StepCount{Segment: seg, Sessions: n, Fans: n, Folded: folded})
	}
	return s
}

func TestHistory(t *testing.T) {
	redis, archive := &fakeHistory{}, &fakeHistory{}
	inBubble(t, rigConfig{set: func(c *Config) { c.History, c.Archive = redis, archive }}, func(t *testing.T, rg *rig) {
		rg.put("final", `{"min_cohort":10,"public":true}`)
		time.Sleep(2*time.Hour + 5*time.Minute)
		hour := grandstand.HourOf(time.Now().UnixMilli())
		// The hour before is in the archive only. Of this one Redis lost the
		// beginning.
		archive.steps = map[int64][]grandstand.Step{
			hour - hourMS: {
				step(hour-hourMS, true, "world", 5, "-team:KC", 2),
				step(hour-30_000, false, "world", 50),
				step(hour-20_000, false, "team:KC", 40),
				step(hour-10_000, true, "world", 50), // KC is gone
			},
			hour: {
				step(hour, true, "world", 60, "team:KC", 30),
				step(hour+10_000, false, "world", 61),
				step(hour+70_000, false, "world", 99),
			},
		}
		redis.steps = map[int64][]grandstand.Step{hour: {
			step(hour+70_000, true, "world", 70, "-team:KC", 8),
			step(hour+80_000, false, "team:KC", 35),
		}}
		get := func(query string) string {
			t.Helper()
			status, text, _ := rg.do(http.MethodGet, "/v1/events/final/history?"+query, "")
			if status != 200 {
				return fmt.Sprint(status)
			}
			var points string
			for _, p := range parse[series](t, text).Points {
				if p == nil {
					points += "- "
				} else {
					points += fmt.Sprintf("%d:%d ", (p[0]-hour)/1000, p[1])
				}
			}
			return points
		}
		span := fmt.Sprintf("from=%d&to=%d", hour-30_000, hour+90_000)
		for query, want := range map[string]string{
			"step=10000":                         "-30:50 -20:50 -10:50 0:60 10:61 - - - - - 70:70 80:70 ",
			"step=30000":                         "-10:50 10:61 - 80:70 ",
			"step=10000&segment=team:KC":         "-30:2 -20:40 -10:0 0:30 10:30 - - - - - 70:8 80:35 ",
			"step=60000&segment=team:KC":         "10:30 80:35 ",
			"step=9999":                          "400",
			"step=10000&dim=team":                "400",
			"step=10000&segment=mood:x":          "400",
			"step=10000&segment=team:KC,team:SF": "400",
			"step=10000&segment=team:KC&x=":      "-30:2 -20:40 -10:0 0:30 10:30 - - - - - 70:8 80:35 ",
		} {
			if diff := cmp.Diff(want, get(span+"&"+query)); diff != "" {
				t.Errorf("%s: %s", query, diff)
			}
		}
		for _, query := range []string{"from=5&to=4", "from=x", "from=1&to=1000000000000&step=10000", "from=-1", fmt.Sprintf("from=%d&to=%d&step=10000", hour-6*hourMS, hour)} {
			if got := get(query); got != "400" {
				t.Errorf("%s is answered %s", query, got)
			}
		}
		for form, want := range map[string]string{
			"json": `"cues":[{"start":0,"end":30000,"sessions":50,"fans":`,
			"vtt":  "\n00:01:30.000 --> 00:02:00.000\n{\"sessions\":70,",
			"txt":  "",
		} {
			status, text, header := rg.do(http.MethodGet, "/v1/events/final/timeline."+form+"?"+span+"&step=30000", "")
			if status != 200 && want != "" || !strings.Contains(text, want) || form == "vtt" && header.Get("Content-Type") != "text/vtt; charset=utf-8" {
				t.Errorf("timeline.%s: %d %s", form, status, text)
			}
		}
		if n := len(get("")); n == 0 {
			t.Error("no points by default")
		}
		rg.auth.admin = grandstand.Errorf(grandstand.CodeForbidden, "no")
		if got, want := get(span+"&step=10000&segment=team:KC"), "- -20:40 -10:0 0:30 10:30 - - - - - - 80:35 "; got != want {
			t.Errorf("public: %s, want %s", got, want)
		}
		redis.err = errors.New("down")
		if got, want := get(span+"&step=30000"), "-10:50 10:61 - 70:99 "; got != want {
			t.Errorf("without Redis: %s, want %s", got, want)
		}
		archive.err = errors.New("down")
		if got := get(span); got != "503" {
			t.Errorf("with nothing: %s", got)
		}
	})
}

// The public is shown no segment in history that its board did not show, and
// cannot work one out from the others: the sums hold for it as well. That is so
// for an event too that leaves min_cohort to the deployment.
func TestHistoryOfSmallSegmentsIsNotForThePublic(t *testing.T) {
	redis := &fakeHistory{}
	inBubble(t, rigConfig{set: func(c *Config) { c.History, c.MinCohort = redis, 10 }}, func(t *testing.T, rg *rig) {
		rg.redis.PutEvent(t.Context(), &grandstand.Event{Name: "final", State: grandstand.EventScheduled, Dims: grandstand.DefaultDims(), TickMS: 2000, BeatMS: 10_000, Public: true})
		time.Sleep(time.Hour)
		hour := grandstand.HourOf(time.Now().UnixMilli())
		time.Sleep(time.Minute)
		redis.steps = map[int64][]grandstand.Step{hour: {
			step(hour, true, "world", 153, "team:A", 100, "-team:B", 50, "-team:C", 3),                          // C is folded, and B with it
			step(hour+10_000, false, "world", 165, "team:B", 50, "team:C", 15),                                  // nobody is
			step(hour+20_000, false, "world", 154, "-team:B", 50, "-team:C", 4, "team:other", 0),                // as at first
			step(hour+30_000, false, "world", 161, "team:B", 50, "team:other", 7),                               // C in other is enough
			step(hour+40_000, true, "world", 112, "team:A", 100, "team:other", 12),                              // C is gone
			step(hour+50_000, true, "world", 9, "country:US", 9, "-team:A", 4, "-team:C", 5, "team:unknown", 0), // all of the world
		}}
		for segment, want := range map[string]string{
			"world":        "153 165 154 161 112 9 ",
			"team:A":       "100 100 100 100 100 - ",
			"team:B":       "- 50 - 50 0 - ",
			"team:C":       "- 15 - - 0 - ",
			"team:other":   "53 0 54 11 12 9 ",
			"team:unknown": "- 0 - - 0 - ",
		} {
			for _, operator := range []bool{false, true} {
				if rg.auth.admin = nil; !operator {
					rg.auth.admin = grandstand.Errorf(grandstand.CodeForbidden, "no")
				}
				_, text, _ := rg.do(http.MethodGet, fmt.Sprintf("/v1/events/final/history?segment=%s&from=%d&to=%d&step=10000", segment, hour, hour+60_000), "")
				var got string
				for _, p := range parse[series](t, text).Points {
					if p == nil {
						got += "- "
					} else {
						got += fmt.Sprintf("%d ", p[1])
					}
				}
				if !operator && got != want {
					t.Errorf("%s: the public is shown %s, want %s", segment, got, want)
				}
				if operator && segment == "team:C" && got != "3 15 4 4 0 5 " {
					t.Errorf("%s: an operator is shown %s", segment, got)
				}
			}
		}
	})
}

func TestCountsOfAnEventThatIsOver(t *testing.T) {
	archive := &fakeHistory{}
	inBubble(t, rigConfig{set: func(c *Config) { c.Archive = archive }}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		quality := func() (string, int) {
			t.Helper()
			_, text, _ := rg.do(http.MethodGet, "/v1/events/final/counts", "")
			c := parse[struct {
				Quality string
				Dims    struct{ World struct{ Peak int } }
			}](t, text)
			return c.Quality, c.Dims.World.Peak
		}
		if q, _ := quality(); q != "live" {
			t.Errorf("before the first viewer: %s", q)
		}
		rg.hub.show(board("final", time.Now().UnixMilli(), 100))
		rg.do(http.MethodDelete, "/v1/events/final", "")
		if q, n := quality(); q != "final" || n != 100 {
			t.Errorf("just over: %s, peak %d", q, n)
		}
		last := board("final", time.Now().UnixMilli()+1, 120)
		last.Quality = grandstand.Final
		archive.cp = &grandstand.Checkpoint{Board: last}
		time.Sleep(6 * time.Second)
		if q, n := quality(); q != "final" || n != 120 {
			t.Errorf("from the archive: %s, peak %d", q, n)
		}
		archive.err = errors.New("down")
		time.Sleep(time.Hour)
		if q, n := quality(); q != "final" || n != 120 {
			t.Errorf("an hour later: %s, peak %d", q, n)
		}
	})
}
