package aggregator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"grandstand"
)

// boardOf makes segments of the world and one dimension: "KC=12 SF=3". A second
// number is the peak: "KC=0/7".
func boardOf(text string) *grandstand.Board {
	b := &grandstand.Board{Segments: []grandstand.SegmentCount{{Segment: grandstand.WorldSegment}}}
	for _, f := range strings.Fields(text) {
		name, numbers, _ := strings.Cut(f, "=")
		var c grandstand.SegmentCount
		if n, _ := fmt.Sscanf(numbers, "%d/%d", &c.Sessions, &c.Peak); n < 2 {
			c.Peak = c.Sessions
		}
		c.Segment = grandstand.Segment{Dim: "team", Value: name}
		b.Segments[0].Sessions += c.Sessions
		b.Segments = append(b.Segments, c)
	}
	slices.SortFunc(b.Segments, func(x, y grandstand.SegmentCount) int {
		return grandstand.CompareSegments(x.Segment, y.Segment)
	})
	return b
}

func TestSmallSegmentsAreFolded(t *testing.T) {
	for _, c := range []struct {
		board  string
		k      uint64
		folded string // names
		other  uint64 // the public's; 0: as the operators'
	}{
		{"KC=12 SF=30", 10, "", 0},
		{"KC=12 SF=3", 0, "", 0},
		{"KC=12 SF=3", 1, "", 0},
		{"KC=12 SF=30 DAL=9 NE=4", 10, "DAL NE", 13},
		{"KC=10 SF=30", 10, "", 0},
		// A single small one would be told by the difference: the next goes along.
		{"KC=12 SF=30 DAL=3", 10, "DAL KC", 15},
		{"KC=11 NE=11 SF=30 DAL=3", 10, "DAL KC", 14}, // of two equals the first
		{"KC=12 SF=30 DAL=3 other=8", 10, "DAL", 11},
		{"KC=12 SF=30 other=3", 10, "KC", 15}, // other is too small itself
		{"KC=12 SF=30 other=10", 10, "", 0},
		{"KC=12 SF=30 unknown=2", 10, "KC unknown", 14},
		// Everybody together is too few: they are in the world anyway.
		{"KC=3 SF=2", 10, "KC SF", 5},
		{"KC=1", 10, "KC", 1},
		{"other=3", 10, "", 0},
		// Nobody is there now; who had been is nobody's business either.
		{"KC=12 SF=0/3", 10, "SF", 0},
		{"KC=12 SF=0/30", 10, "", 0},
		{"KC=0/0 SF=0/0", 10, "KC SF", 0},
	} {
		b := boardOf(c.board)
		dims := fold(b.Segments, c.k)
		var names []string
		for _, s := range b.Segments {
			if s.Folded {
				names = append(names, s.Segment.Value)
			}
		}
		if got := strings.Join(names, " "); got != c.folded {
			t.Errorf("%s, k=%d: folded %q, want %q", c.board, c.k, got, c.folded)
		}
		var other uint64
		for _, f := range dims {
			other = f.sessions
			b.Public = append(b.Public, grandstand.SegmentCount{
				Segment: grandstand.Segment{Dim: "team", Value: grandstand.Other}, Sessions: f.sessions,
			})
		}
		if other != c.other {
			t.Errorf("%s, k=%d: the public's other is %d, want %d", c.board, c.k, other, c.other)
		}
		if err := b.CheckSums(); err != nil {
			t.Errorf("%s, k=%d: %v", c.board, c.k, err)
		}
	}
}

func TestThePublicSeesOtherWithItsFans(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "team")
	k := 10
	e.MinCohort = &k
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 20, "KC")
	a.crowd(100, 5, "SF")
	b.crowd(100, 4, "DAL") // the same viewers as in SF
	b.crowd(200, 3, grandstand.Other)
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	board := r.redis.board(t, "final")
	if len(board.Public) != 1 {
		t.Fatalf("public: %+v", board.Public)
	}
	if p := board.Public[0]; p.Sessions != 12 || p.Fans != 8 || p.Peak != 12 || p.Reach != 8 {
		t.Errorf("the public's other: %+v, want 12 sessions, 8 fans, peak 12, reach 8", p)
	}
	var seen []string
	for _, s := range board.PublicView() {
		seen = append(seen, fmt.Sprintf("%v=%d", s.Segment, s.Sessions))
	}
	if got := strings.Join(seen, " "); got != "world=32 team:KC=20 team:other=12" {
		t.Errorf("the public sees %s", got)
	}
	// The configuration counts, not the deployment's default; and a change of it.
	zero := 0
	e.MinCohort, e.UpdatedAt = &zero, 2
	r.redis.configure(*e)
	r.tick(agg)
	r.tick(agg)
	if board := r.redis.board(t, "final"); len(board.Public) != 0 {
		t.Errorf("with min_cohort 0: %+v", board.Public)
	}
}
