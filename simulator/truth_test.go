package simulator

import (
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"grandstand"
)

// span is a time in which a session of the model surely is watching; in ms.
type span struct{ from, to int64 }

// act is something that the model's crowd does, told to the truth when its time
// comes.
type act struct {
	at int64
	do func()
}

// Whatever sessions do on whole seconds: half a second later the truth knows
// exactly who is watching, and at every instant in between what it calls
// possible holds.
func TestTruthProperty(t *testing.T) {
	const linger = 15_000
	rapid.Check(t, func(t *rapid.T) {
		truth := newTruth(300, 0)
		spans := map[*person][][]span{}
		var acts []act
		do := func(at int64, f func()) { acts = append(acts, act{at, f}) }
		var viewers []*person
		for range rapid.IntRange(1, 3).Draw(t, "viewers") {
			viewers = append(viewers, &person{team: rapid.SampledFrom([]string{"KC", "SF", ""}).Draw(t, "team")})
		}
		for range rapid.IntRange(1, 5).Draw(t, "sessions") {
			who := rapid.SampledFrom(viewers).Draw(t, "viewer")
			p := truth.add(who)
			now := 1000 * rapid.Int64Range(1, 20).Draw(t, "join")
			join := now
			do(join, func() { truth.begin(p, join) })
			do(join+100, func() { truth.confirm(p, join+100, 0, 2000) })
			mine := []span{{now, never}}
			for alive := true; alive; {
				now += 1000 * rapid.Int64Range(1, 20).Draw(t, "stay")
				at, last := now, &mine[len(mine)-1]
				switch rapid.IntRange(0, 2).Draw(t, "then") {
				case 0:
					do(at, func() { truth.leave(p, at) })
					last.to, alive = at, false
				case 1:
					do(at, func() { truth.drop(p, at, at+linger, at+linger, false) })
					last.to, alive = at+linger, false
				default:
					do(at, func() { truth.drop(p, at, at+linger, at+linger, true) })
					now += 1000*rapid.Int64Range(0, 20).Draw(t, "gap") + 500
					if now == at+linger {
						now += 1000
					}
					back := now
					do(back, func() { truth.begin(p, back) })
					if rapid.IntRange(0, 3).Draw(t, "refused") == 0 {
						do(back+100, func() { truth.fail(p, back+100, at+linger+300, linger, true); truth.abandon(p, back+100) })
						last.to, alive = at+linger, false
						mine = append(mine, span{back, back}) // for a moment nobody knows
						break
					}
					do(back+100, func() { truth.confirm(p, back+100, 0, 2000) })
					if back >= at+linger {
						last.to = at + linger
						mine = append(mine, span{back, never})
					}
					now = back + 500
				}
			}
			spans[who] = append(spans[who], mine)
		}
		end := int64(0)
		for _, a := range acts {
			end = max(end, a.at)
		}
		for at := int64(0); at < end+2*linger; at += 250 {
			do(at+1500, func() { compareTruth(t, truth, spans, at) })
		}
		slices.SortStableFunc(acts, func(a, b act) int { return int(a.at - b.at) })
		for _, a := range acts {
			a.do()
		}
		if len(truth.pending) > 0 || len(truth.linger) > 0 {
			t.Fatalf("%d steps and %d lingering sessions are left over", len(truth.pending), len(truth.linger))
		}
	})
}

func compareTruth(t *rapid.T, truth *truth, spans map[*person][][]span, at int64) {
	sessions, fans, near := map[string]int{}, map[string]int{}, false
	for who, list := range spans {
		watching := 0
		for _, mine := range list {
			for _, s := range mine {
				if s.from <= at && at < s.to {
					watching++
				}
				for _, edge := range []int64{s.from, s.to} {
					near = near || edge != never && at >= edge-100 && at <= edge+450
				}
			}
		}
		team := who.segments()[3].Value
		sessions[team] += watching
		sessions[""] += watching
		if watching > 0 {
			fans[team]++
			fans[""]++
		}
	}
	for seg, b := range truth.at(at) {
		if seg.Dim != grandstand.World && seg.Dim != "team" {
			continue
		}
		n, f := sessions[seg.Value], fans[seg.Value]
		if n < b.Lo || n > b.Hi || f < b.FansLo || f > b.FansHi || b.Peak < n {
			t.Fatalf("%s at %d: %d sessions and %d fans are outside of %+v", seg, at, n, f, b)
		}
		if !near && (b.Lo != b.Hi || b.FansLo != b.FansHi) {
			t.Fatalf("%s at %d: nobody comes or goes, and yet %+v", seg, at, b)
		}
	}
}

func TestTruthIsAskedForwards(t *testing.T) {
	truth := newTruth(300, 0)
	for range 2 {
		if truth.at(1000) == nil {
			t.Error("an instant cannot be asked about twice")
		}
	}
	if truth.at(999) != nil {
		t.Error("an instant before was answered")
	}
}

// A request that may or may not have reached the gateway leaves a session that
// may or may not count, for as long as it would linger.
func TestTruthOfAnUnansweredJoin(t *testing.T) {
	truth := newTruth(300, 0)
	p := truth.add(&person{})
	truth.begin(p, 10_000)
	truth.fail(p, 15_000, 0, 25_000, false)
	for _, c := range []struct {
		at int64
		hi int
	}{{9_000, 0}, {14_000, 1}, {40_000, 1}, {40_301, 0}} {
		if b := truth.at(c.at)[grandstand.WorldSegment]; b.Lo != 0 || b.Hi != c.hi {
			t.Errorf("at %d: %+v, want 0 to %d", c.at, b, c.hi)
		}
	}
}

// What a gateway may have taken without an answer counts beside what the next
// request brings about: a session that nobody knows the id of beside the one that
// is opened then, and one that is resumed for a linger after the last such request,
// though a later one was refused.
func TestTruthOfARequestAfterAnUnansweredOne(t *testing.T) {
	truth := newTruth(300, 0)
	c := &crowd{truth: truth, cfg: Config{Window: 300 * time.Millisecond}}
	c.lingerMS.Store(25_000)
	who := &person{}
	fresh, back := &player{crowd: c, who: who}, &player{crowd: c, who: who, session: "s", lapse: 30_300}
	fresh.pres, back.pres = truth.add(who), truth.add(who)
	truth.begin(back.pres, 1_000)
	truth.confirm(back.pres, 1_010, 0, 2000)
	truth.drop(back.pres, 10_000, 30_000, 30_000, true)
	for _, p := range []*player{fresh, back} {
		truth.begin(p.pres, 10_100)
		truth.fail(p.pres, 15_000, p.lapse, c.linger(), false)
		p.unanswered(15_000)
		truth.begin(p.pres, 16_000)
	}
	truth.confirm(fresh.pres, 16_010, 1, 2000)
	truth.fail(back.pres, 16_100, back.lapse, c.linger(), true)
	for _, c := range []struct {
		at     int64
		lo, hi int
	}{{17_000, 2, 3}, {31_000, 1, 3}, {40_000, 1, 3}, {40_400, 1, 1}} {
		if b := truth.at(c.at)[grandstand.WorldSegment]; b.Lo != c.lo || b.Hi != c.hi {
			t.Errorf("at %d: %+v, want %d to %d", c.at, b, c.lo, c.hi)
		}
	}
}

// The sessions that had lost their connection to a gateway before it died count
// for as long as its last tally does.
func TestTruthOfADeadGateway(t *testing.T) {
	truth := newTruth(300, 0)
	var all []*presence
	for i := range 6 {
		x := truth.add(&person{})
		all = append(all, x)
		truth.begin(x, 1000)
		truth.confirm(x, 1010, i%2, 2000)
	}
	truth.drop(all[0], 5000, 26_000, 26_000, false)
	truth.drop(all[1], 5000, 26_000, 26_000, false)
	truth.leave(all[2], 9000) // took its goodbye along
	truth.leave(all[3], 9000)
	truth.leave(all[4], 7000) // before the last tally
	truth.leave(all[5], 7000)
	truth.died(0, 9_990, 2000, 25_000, false) // it looked like a network change first
	truth.died(0, 10_000, 2000, 25_000, true)
	late := truth.add(&person{})
	truth.begin(late, 1000)
	truth.confirm(late, 1010, 0, 2000)
	truth.leave(late, 10_500) // to nobody
	for _, c := range []struct {
		at     int64
		lo, hi int
	}{{6500, 7, 7}, {8000, 5, 5}, {10_000, 3, 4}, {25_000, 2, 4}, {26_500, 0, 3}, {37_000, 0, 3}, {37_400, 0, 0}} {
		if b := truth.at(c.at)[grandstand.WorldSegment]; b.Lo != c.lo || b.Hi != c.hi {
			t.Errorf("at %d: %+v, want %d to %d", c.at, b, c.lo, c.hi)
		}
	}
}

// Somebody breaks down whose last beat a gateway has not acknowledged: it may have
// been stopped, and read it only before it would be given up. One that acknowledges
// nothing ever is not known to be late.
func TestTruthOfABeatThatMayNotHaveBeenRead(t *testing.T) {
	for _, tc := range []struct {
		keeps bool
		acked int64
		hi    []int // 14, 16 and 37 s after the last beat, which was at once
	}{{true, 7, []int{1, 0, 0}}, {false, 0, []int{1, 0, 0}}, {true, 6, []int{1, 1, 1}}} {
		synctest.Test(t, func(t *testing.T) {
			truth := newTruth(300, 0)
			c := &crowd{truth: truth, cfg: Config{Window: 300 * time.Millisecond}}
			c.kept.Store(tc.keeps)
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go io.Copy(io.Discard, theirs)
			now := time.Now()
			beat := beatSent{at: now, linger: 15 * time.Second}
			p := &player{crowd: c, who: &person{}, seq: 7, acked: tc.acked, tick: time.Second, heard: now, beats: [2]beatSent{beat, beat}}
			p.pres = truth.add(p.who)
			truth.begin(p.pres, ms(now))
			truth.confirm(p.pres, ms(now), 0, 1000)
			time.Sleep(time.Second) // it has had its time to read
			p.obey(&wire{conn: ours}, vanish)
			for i, after := range []int64{14_000, 16_000, 37_000} {
				if b := truth.at(ms(now) + after)[grandstand.WorldSegment]; b.Hi != tc.hi[i] {
					t.Errorf("keeps %v, acked %d: %d ms later %+v, want up to %d", tc.keeps, tc.acked, after, b, tc.hi[i])
				}
			}
		})
	}
}

// Gateways that die within seconds count on together: until the tally of the last of
// them lapses.
func TestTruthOfGatewaysThatDieTogether(t *testing.T) {
	for after, want := range map[int64]int64{1_000: 11_000 + 27_300, 5_000: 15_000 + 27_300, 5_100: 10_000 + 27_300} {
		truth := newTruth(300, 0)
		p := truth.add(&person{})
		truth.begin(p, 1000)
		truth.confirm(p, 1010, 0, 2000)
		truth.leave(p, 9_000) // its gateway took that along
		truth.died(0, 10_000, 2000, 25_000, true)
		truth.died(1, 10_000+after, 2000, 25_000, true)
		for i, hi := range []int{1, 0} {
			if b := truth.at(want - 1 + int64(i))[grandstand.WorldSegment]; b.Hi != hi {
				t.Errorf("the other died %d ms after it: %d may count at %d, want %d", after, b.Hi, want-1+int64(i), hi)
			}
		}
	}
}
