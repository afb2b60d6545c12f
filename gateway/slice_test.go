package gateway

import (
	"testing"
	"time"
)

// The main path: connect, hello, beat, tally, frame.
func TestABeatBecomesATallyAndABoardAFrame(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&device=d1&country=US&region=US-CA&team=KC")
		v.beat()
		ticked()
		for _, segment := range []string{"world", "country:US", "region:US-CA", "team:KC"} {
			if n := rg.redis.count("final", segment); n != 1 {
				t.Errorf("%s counts %d sessions, want 1", segment, n)
			}
		}
		if n := rg.redis.count("final", "team:SF"); n != 0 {
			t.Errorf("team:SF counts %d", n)
		}
		m := rg.redis.manifest(rg.g.ID())
		if m.Sessions != 1 || m.Epoch != 7 || m.At%2000 != 0 {
			t.Errorf("manifest %+v", m)
		}
		time.Sleep(300 * time.Millisecond)
		rg.hub.show(board("final", m.At, 5, "country:US", 5, "region:US-CA", 4, "region:US-NY", 1, "team:KC", 3, "team:SF", 2))
		counts := v.next("counts")
		if world(counts) != 5 || counts["n"].(map[string]any)["team"].([]any)[0] != 3.0 || counts["age"].(float64) < 300 {
			t.Errorf("frame %v", counts)
		}
		v.leave()
		ticked()
		if n := rg.redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions after a clean leave", n)
		}
		time.Sleep(1100 * time.Millisecond)
		if r := rg.redis.record(v.session); r.Owner != "" {
			t.Errorf("the record of a session that left is still there: %+v", r)
		}
	})
}
