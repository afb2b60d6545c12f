package aggregator

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"grandstand"
)

// scriptSession is what raw events mean by the definition of watching, told
// without any of the code under test.
type scriptSession struct {
	team     string
	interval int64
	beatAt   int64
	left     bool
	blocked  bool
	pausedAt int64
}

func (s *scriptSession) watching(at int64) bool {
	linger := max(s.interval*5/2, 15_000)
	return !s.left && !s.blocked && at < s.beatAt+linger && (s.pausedAt == 0 || at <= s.pausedAt+60_000)
}

func segmentsOf(team string) []byte {
	return grandstand.AppendSegments(nil, []grandstand.Dimension{{Name: "team"}}, []string{team})
}

// A replay counts at every tick exactly the sessions that the definition of
// watching names, in every segment.
func TestReplayCountsWhoWatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := &grandstand.Event{Name: "final", Dims: []grandstand.Dimension{{Name: "team"}}, TickMS: 2000, BeatMS: 10_000}
		model := map[string]*scriptSession{}
		now := int64(1_795_299_000_000)
		boards := 0
		r := NewReplay(cfg, func(b *grandstand.Board) error {
			boards++
			want := map[string]uint64{}
			for _, s := range model {
				if s.watching(b.At) {
					want[s.team]++
					want["world"]++
				}
			}
			for _, name := range []string{"world", "KC", "SF"} {
				seg := grandstand.Segment{Dim: "team", Value: name}
				if name == "world" {
					seg = grandstand.WorldSegment
				}
				got := uint64(0)
				if c := b.Find(seg); c != nil {
					got = c.Sessions
				}
				if got != want[name] {
					t.Fatalf("%s at %d: %d sessions, want %d", name, b.At, got, want[name])
				}
			}
			return nil
		})
		for i := range rapid.IntRange(1, 120).Draw(t, "events") {
			now += rapid.Int64Range(0, 9000).Draw(t, "gap")
			id := fmt.Sprintf("s%d", rapid.IntRange(0, 8).Draw(t, "session"))
			raw := grandstand.RawEvent{
				Event: []byte("final"), Session: []byte(id), Viewer: grandstand.Key{byte(id[1])}, ReceivedAt: now, HasSeq: true, Seq: uint64(i),
			}
			// The boards before the event are of the state before it.
			if err := r.Until(now); err != nil {
				t.Fatal(err)
			}
			s := model[id]
			if s == nil || now >= s.beatAt+max(s.interval*5/2, 15_000) {
				s = &scriptSession{team: rapid.SampledFrom([]string{"KC", "SF"}).Draw(t, "team"), interval: rapid.Int64Range(5, 60).Draw(t, "s") * 1000, beatAt: now}
				model[id] = s
				raw.Kind, raw.Data = grandstand.RawJoin, fmt.Appendf(nil, `{"how":"opened","interval_ms":%d}`, s.interval)
			} else {
				s.act(t, &raw, now)
			}
			raw.Segments = segmentsOf(s.team)
			if err := r.Add(&raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Finish(); err != nil {
			t.Fatal(err)
		}
		if boards == 0 {
			t.Fatal("no board at all")
		}
	})
}

// act draws what a session does next.
func (s *scriptSession) act(t *rapid.T, raw *grandstand.RawEvent, now int64) {
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0:
		raw.Kind, raw.Data = grandstand.RawLeave, []byte(`{"how":"ended"}`)
		s.left = true
	case 1:
		raw.Kind, raw.Data = grandstand.RawLeave, []byte(`{"how":"moved"}`)
	case 2:
		s.team = rapid.SampledFrom([]string{"KC", "SF"}).Draw(t, "other team")
		raw.Kind, raw.Data = grandstand.RawJoin, []byte(`{"how":"chose"}`)
	case 3:
		s.blocked = !s.blocked
		raw.Kind, raw.Data = grandstand.RawVerdict, fmt.Appendf(nil, `{"allowed":%t}`, !s.blocked)
	case 4:
		raw.Kind, raw.Name, raw.Data = grandstand.RawEvents, []byte("startup"), []byte(`{"how":["not","ours"]}`)
	case 5:
		raw.Kind, raw.State = grandstand.RawBeat, grandstand.StatePaused
		s.beatAt, s.left = now, false
		if s.pausedAt == 0 {
			s.pausedAt = now
		}
	default:
		raw.Kind, raw.State = grandstand.RawBeat, grandstand.StatePlaying
		s.beatAt, s.pausedAt, s.left = now, 0, false
		if rapid.Bool().Draw(t, "another interval") {
			s.interval = rapid.Int64Range(5, 60).Draw(t, "s") * 1000
			raw.Data, _ = json.Marshal(map[string]int64{"interval_ms": s.interval})
		}
	}
}

func TestDrift(t *testing.T) {
	seg := func(v string) grandstand.Segment { return grandstand.Segment{Dim: "team", Value: v} }
	m := NewDriftMeter([]grandstand.Step{
		{At: 2000, Full: true, Counts: []grandstand.StepCount{{Segment: grandstand.WorldSegment, Sessions: 1000}, {Segment: seg("KC"), Sessions: 600}, {Segment: seg("SF"), Sessions: 400}}},
		{At: 12_000, Counts: []grandstand.StepCount{{Segment: grandstand.WorldSegment, Sessions: 900}, {Segment: seg("SF"), Sessions: 300}}},
	})
	board := func(at int64, world, kc, sf, ny uint64) *grandstand.Board {
		return &grandstand.Board{At: at, Segments: []grandstand.SegmentCount{
			{Segment: grandstand.WorldSegment, Sessions: world}, {Segment: seg("KC"), Sessions: kc}, {Segment: seg("NY"), Sessions: ny}, {Segment: seg("SF"), Sessions: sf},
		}}
	}
	m.Compare(board(2000, 1000, 600, 400, 0))
	m.Compare(board(4000, 1, 1, 0, 0)) // not in the series
	m.Compare(board(12_000, 909, 600, 309, 5))
	got := m.Drifts()
	want := []Drift{
		{grandstand.WorldSegment, 2, 0.005, 0.01, 12_000}, {seg("KC"), 2, 0, 0, 0},
		{seg("NY"), 1, 0.05, 0.05, 12_000}, {seg("SF"), 2, 0.015, 0.03, 12_000},
	}
	if len(got) != len(want) {
		t.Fatalf("drifts %+v", got)
	}
	for i := range want {
		g, w := got[i], want[i]
		if g.Segment != w.Segment || g.Points != w.Points || !near(g.Mean, w.Mean) || !near(g.Max, w.Max) || g.MaxAt != w.MaxAt {
			t.Errorf("drift %+v, want %+v", g, w)
		}
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
