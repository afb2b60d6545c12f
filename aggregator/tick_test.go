package aggregator

import (
	"testing"

	"grandstand"
)

func TestABoardIsTheSumOfTheTallies(t *testing.T) {
	r := newRig(t)
	e := testEvent("final", "country", "team")
	r.redis.configure(*e)
	a, b := r.gateway(e), r.gateway(e)
	a.crowd(0, 30, "US", "KC")
	b.crowd(20, 20, "US", "SF") // 10 viewers are on both
	b.crowd(100, 5, "CA", "SF")
	agg := r.aggregator("agg", nil)
	r.tick(agg)
	board := r.redis.board(t, "final")
	if board == nil {
		t.Fatal("no board")
	}
	if err := board.CheckSums(); err != nil {
		t.Error(err)
	}
	if board.At != r.now || board.Quality != grandstand.Live || board.Coverage != 1 {
		t.Errorf("at %d, %v, coverage %v", board.At-r.now, board.Quality, board.Coverage)
	}
	for seg, want := range map[string][2]uint64{
		"world": {55, 45}, "country:US": {50, 40}, "country:CA": {5, 5}, "team:KC": {30, 30}, "team:SF": {25, 25},
	} {
		s, _ := grandstand.ParseSegment(seg)
		c := board.Find(s)
		if c == nil || c.Sessions != want[0] || c.Fans != want[1] || c.Peak != want[0] || c.Reach != want[1] {
			t.Errorf("%s: %+v, want sessions and fans %v", seg, c, want)
		}
	}
}
