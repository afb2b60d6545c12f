package fanout

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"grandstand"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubbleClock is the fake clock of a synctest bubble as Redis ms.
type bubbleClock struct{}

func (bubbleClock) Now() int64 { return time.Now().UnixMilli() }

// fixedClock stands where it is put.
type fixedClock int64

func (c *fixedClock) Now() int64 { return int64(*c) }

func testEvent(name string) *grandstand.Event {
	return &grandstand.Event{Name: name, Dims: []grandstand.Dimension{{Name: "team"}}, TickMS: 2000, BeatMS: 10_000}
}

// board returns a board in which KC and SF share n sessions.
func board(name string, at int64, n uint64) *grandstand.Board {
	b := &grandstand.Board{Event: name, At: at, TickMS: 2000, Coverage: 1}
	add := func(s grandstand.Segment, n uint64) {
		b.Segments = append(b.Segments, grandstand.SegmentCount{Segment: s, Sessions: n, Fans: n})
	}
	add(grandstand.WorldSegment, n)
	add(grandstand.Segment{Dim: "team", Value: "KC"}, n/2)
	add(grandstand.Segment{Dim: "team", Value: "SF"}, n-n/2)
	return b
}

func shardBoard(shard int, epoch, at int64, boards ...*grandstand.Board) *grandstand.ShardBoard {
	return &grandstand.ShardBoard{Shard: shard, Epoch: epoch, At: at, Boards: boards}
}

// of wraps one board of its event's shard.
func of(epoch int64, b *grandstand.Board) *grandstand.ShardBoard {
	return shardBoard(grandstand.ShardOf(b.Event), epoch, b.At, b)
}

func worldOf(b *grandstand.Board) uint64 { return b.Find(grandstand.WorldSegment).Sessions }

// seen is what a subscriber was given, as "epoch/at=world quality".
type seen struct{ list []string }

func (s *seen) notify(v *grandstand.View) { s.list = append(s.list, text(v)) }

func text(v *grandstand.View) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprintf("%d/%d=%d %s", v.Board.Epoch, v.Board.At, worldOf(v.Board), v.Board.Quality)
}

func (s *seen) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.list); diff != "" {
		t.Errorf("views (-want +got):\n%s", diff)
	}
	s.list = nil
}

func TestSnapshotThenUpdates(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	var a, b seen
	newest, cancelA := h.Subscribe(testEvent("final"), a.notify)
	if newest != nil {
		t.Fatalf("a hub without boards gave %s", text(newest))
	}
	h.Apply(of(1, board("final", 10_000, 4)))
	newest, cancelB := h.Subscribe(testEvent("final"), b.notify)
	if got := text(newest); got != "1/10000=4 live" {
		t.Errorf("snapshot is %s", got)
	}
	h.Apply(of(1, board("final", 12_000, 6)))
	cancelA()
	cancelA()
	h.Apply(of(1, board("final", 14_000, 6))) // the same numbers, newer: a view of its own
	cancelB()
	h.Apply(of(1, board("final", 16_000, 7)))
	a.want(t, "1/10000=4 live", "1/12000=6 live")
	b.want(t, "1/12000=6 live", "1/14000=6 live")
	if got := h.Latest("final"); got.At != 16_000 || h.Epoch() != 1 {
		t.Errorf("latest is at %d, epoch %d", got.At, h.Epoch())
	}
	if h.Latest("another") != nil {
		t.Error("there is a board of an event that nobody ever saw")
	}
}

func TestRefusals(t *testing.T) {
	clock := fixedClock(100_000)
	h := New(Config{Clock: &clock, Registerer: prometheus.NewRegistry()})
	var s seen
	_, cancel := h.Subscribe(testEvent("final"), s.notify)
	defer cancel()
	wrong := board("final", 99_500, 6)
	wrong.Segments[1].Sessions++

	h.Apply(of(2, board("final", 98_000, 5)))
	h.Apply(of(2, board("final", 98_000, 6)))                                                     // same
	h.Apply(of(2, board("final", 97_000, 6)))                                                     // old
	h.Apply(of(1, board("final", 99_000, 6)))                                                     // old: an epoch before
	h.Apply(of(2, wrong))                                                                         // sums
	h.Apply(shardBoard((grandstand.ShardOf("final")+1)%64, 2, 99_000, board("final", 99_000, 6))) // shard
	h.Apply(shardBoard(-1, 9, 99_000, board("final", 99_000, 6)))
	h.Apply(shardBoard(grandstand.Shards, 9, 99_000, board("final", 99_000, 6)))
	h.Apply(of(3, board("final", 96_000, 7))) // a new epoch may go back in time

	s.want(t, "2/98000=5 live", "3/96000=7 live")
	for reason, want := range map[string]float64{refusedSame: 1, refusedOld: 2, refusedSums: 1, refusedShard: 3} {
		if got := testutil.ToFloat64(h.metrics.refusals.WithLabelValues(reason)); got != want {
			t.Errorf("%v boards were refused as %s, not %v", got, reason, want)
		}
	}
	if got := testutil.ToFloat64(h.metrics.applied); got != 2 || h.Epoch() != 3 {
		t.Errorf("%v boards applied, epoch %d", got, h.Epoch())
	}
}

func TestEpochComesFromTheMessage(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	b := board("final", 10_000, 4)
	b.Epoch = 1
	h.Apply(of(7, b))
	if got := h.Latest("final").Epoch; got != 7 || b.Epoch != 1 {
		t.Errorf("the board's epoch is %d, the caller's was changed to %d", got, b.Epoch)
	}
}

func TestStaleUntilAFreshBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		h := New(Config{Clock: bubbleClock{}})
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		var mu sync.Mutex
		var s seen
		var last *grandstand.View
		_, cancel := h.Subscribe(testEvent("final"), func(v *grandstand.View) {
			mu.Lock()
			defer mu.Unlock()
			if last != nil && last.Board.Quality == grandstand.Stale && v.Board.Quality == grandstand.Stale && v != last {
				t.Error("the stale view was made anew, and its frames would be encoded again")
			}
			last = v
			s.notify(v)
		})
		defer cancel()
		start := time.Now().UnixMilli()
		h.Apply(of(1, board("final", start, 4)))
		good := fmt.Sprintf("1/%d=4 ", start)

		time.Sleep(5 * time.Second) // two ticks and a second: still fresh
		synctest.Wait()
		s.want(t, good+"live")
		time.Sleep(time.Millisecond) // between two checks
		if q := h.Latest("final").Quality; q != grandstand.Stale {
			t.Errorf("latest is %s between two checks", q)
		}
		if v, c := h.Subscribe(testEvent("final"), func(*grandstand.View) {}); v.Board.Quality != grandstand.Stale {
			t.Errorf("a late subscriber was told %s", text(v))
		} else {
			c()
		}
		time.Sleep(4500 * time.Millisecond)
		synctest.Wait()
		s.want(t, good+"stale", good+"stale", good+"stale") // at 5.5, 7.5 and 9.5 s
		if b := h.Latest("final"); worldOf(b) != 4 || b.At != start {
			t.Errorf("latest is %d at %d", worldOf(b), b.At)
		}

		now := time.Now().UnixMilli()
		h.Apply(of(1, board("final", now, 9)))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.want(t, fmt.Sprintf("1/%d=9 live", now))
		h.Apply(of(2, board("final", now-60_000, 9))) // a new epoch, but an old board
		s.want(t, fmt.Sprintf("2/%d=9 stale", now-60_000))
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestFinalBoardIsNeverStale(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	var s seen
	_, cancel := h.Subscribe(testEvent("final"), s.notify)
	defer cancel()
	b := board("final", 10_000, 0)
	b.Quality = grandstand.Final
	h.Apply(of(1, b))
	clock = 900_000
	h.check(900_000)
	h.Apply(shardBoard(grandstand.ShardOf("final"), 1, 900_000))
	s.want(t, "1/10000=0 final")
}

func TestLeftOutEvents(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	shard := grandstand.ShardOf("final")
	var s seen
	_, cancel := h.Subscribe(testEvent("final"), s.notify)
	defer cancel()

	h.Apply(of(1, board("final", 10_000, 3)))
	clock = 12_000
	h.Apply(shardBoard(shard, 1, 12_000)) // three were watching: this says nothing about them
	s.want(t, "1/10000=3 live")
	h.check(15_001)
	s.want(t, "1/10000=3 stale")

	clock = 16_000
	h.Apply(of(1, board("final", 16_000, 0)))
	h.Apply(shardBoard(shard, 1, 18_000))
	h.Apply(shardBoard(shard, 1, 17_000)) // older than what the shard said
	clock = 22_000
	h.Apply(shardBoard(shard, 1, 22_000))
	h.check(22_500)
	s.want(t, "1/16000=0 live", "1/18000=0 live", "1/22000=0 live")
	if b := h.Latest("final"); b.At != 22_000 || worldOf(b) != 0 {
		t.Errorf("latest is %d at %d", worldOf(b), b.At)
	}
	h.check(28_000) // the shard itself has gone silent
	s.want(t, "1/22000=0 stale")
}

func TestForgetsEventsThatAreGone(t *testing.T) {
	clock := fixedClock(0)
	h := New(Config{Clock: &clock})
	_, cancel := h.Subscribe(testEvent("subscribed"), func(*grandstand.View) {})
	h.Apply(of(1, board("subscribed", 1, 0)))
	h.Apply(of(1, board("listed", 1, 0)))
	h.Apply(of(1, board("gone", 1, 5)))
	hour := time.Hour.Milliseconds()
	clock = fixedClock(hour)
	h.Apply(of(1, board("listed", hour, 0)))
	count := func() (n int) {
		h.check(int64(clock))
		for i := range h.shards {
			n += len(h.shards[i].events)
		}
		return n
	}
	if got := count(); got != 3 {
		t.Errorf("%d events are known within the hour, not 3", got)
	}
	clock++
	if got := count(); got != 2 || h.Latest("gone") != nil {
		t.Errorf("%d events are known after the hour, not 2", got)
	}
	cancel()
	clock += fixedClock(hour)
	if got := count(); got != 1 {
		t.Errorf("%d events are known after the subscriber left, not 1", got)
	}
	clock++
	if got := count(); got != 0 {
		t.Errorf("%d events are known at the end", got)
	}
}

func TestOneEncodePerAudienceAndTick(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	e := testEvent("final")
	auds := grandstand.NewAudiences(e)
	var audience [3]*grandstand.Audience
	for i, team := range []string{"KC", "SF", grandstand.Unknown} {
		audience[i] = auds.Intern([]string{team})
	}
	var sent int
	for i := range 10_000 {
		_, cancel := h.Subscribe(e, func(v *grandstand.View) {
			if f := v.Frame(audience[i%3]); f.At() == v.Board.At {
				sent++
			}
		})
		defer cancel()
	}
	for tick := range 5 {
		before := h.Encodes()
		h.Apply(of(1, board("final", 10_000+int64(tick)*2000, 40)))
		if got := h.Encodes() - before; got != 3 {
			t.Errorf("tick %d cost %d encodes for 3 audiences", tick, got)
		}
	}
	if sent != 50_000 {
		t.Errorf("%d frames for 10,000 subscribers in 5 ticks", sent)
	}
}

// Two configurations of an event can be served at once while a change of its
// dimensions spreads.
func TestViewsOfDifferentDimensions(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	old, renewed := testEvent("final"), testEvent("final")
	renewed.Dims = append(renewed.Dims, grandstand.Dimension{Name: "country"})
	var frames []string
	for _, e := range []*grandstand.Event{old, renewed} {
		values := []string{"KC", "US"}[:len(e.Dims)]
		aud := grandstand.NewAudiences(e).Intern(values)
		_, cancel := h.Subscribe(e, func(v *grandstand.View) {
			frames = append(frames, string(v.Frame(aud).AppendJSON(nil, 10_000)))
		})
		defer cancel()
	}
	h.Apply(of(1, board("final", 10_000, 4)))
	want := []string{
		`{"t":"counts","at":10000,"age":0,"epoch":1,"n":{"world":[4,4],"team":[2,2]}}`,
		`{"t":"counts","at":10000,"age":0,"epoch":1,"n":{"world":[4,4],"team":[2,2],"country":[0,0]}}`,
	}
	if diff := cmp.Diff(want, frames); diff != "" {
		t.Error(diff)
	}
}

func TestNotifyMayCallTheHub(t *testing.T) {
	clock := fixedClock(10_000)
	h := New(Config{Clock: &clock})
	e := testEvent("final")
	var calls int
	var cancel func()
	_, cancel = h.Subscribe(e, func(v *grandstand.View) {
		calls++
		if h.Latest("final") != v.Board {
			t.Error("the newest board is not the one just delivered")
		}
		_, c := h.Subscribe(e, func(*grandstand.View) { t.Error("cancelled, and yet called") })
		c()
		cancel()
	})
	h.Apply(of(1, board("final", 10_000, 4)))
	h.Apply(of(1, board("final", 12_000, 4)))
	if calls != 1 {
		t.Errorf("called %d times after cancel in the first", calls)
	}
}

// Feeds race, subscribers come and go: each sees every board after its snapshot
// at most once, in order, and ends with the newest.
func TestSubscribersRaceWithFeeds(t *testing.T) {
	clock := fixedClock(1_000_000)
	h := New(Config{Clock: &clock})
	e := testEvent("final")
	const last = 300
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for at := int64(1); at <= last; at++ {
				h.Apply(of(1, board("final", at, uint64(at))))
			}
		})
	}
	type subscriber struct {
		mu     sync.Mutex
		newest int64
	}
	subs := make([]subscriber, 100)
	for i := range subs {
		wg.Go(func() {
			s := &subs[i]
			take := func(v *grandstand.View, snapshot bool) {
				if v == nil {
					return
				}
				if at := v.Board.At; !snapshot && s.newest != 0 && at != s.newest+1 {
					t.Errorf("%d follows %d", at, s.newest)
				}
				s.newest = v.Board.At
			}
			s.mu.Lock()
			v, cancel := h.Subscribe(e, func(v *grandstand.View) {
				s.mu.Lock()
				defer s.mu.Unlock()
				take(v, false)
			})
			take(v, true)
			s.mu.Unlock()
			if i%2 == 0 {
				cancel()
			}
		})
	}
	wg.Wait()
	for i := range subs {
		if i%2 == 1 && subs[i].newest != last {
			t.Errorf("subscriber %d ended at %d", i, subs[i].newest)
		}
	}
}

// Whatever a feed sends, a subscriber's at never goes back within an epoch, the
// epoch never goes back, and what it holds is the newest that was sent.
func TestOrderProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := fixedClock(50)
		h := New(Config{Clock: &clock})
		var epoch, at int64
		var got *grandstand.View
		take := func(v *grandstand.View) {
			if v.Board.Epoch < epoch || v.Board.Epoch == epoch && v.Board.At < at {
				t.Fatalf("%d/%d after %d/%d", v.Board.Epoch, v.Board.At, epoch, at)
			}
			epoch, at, got = v.Board.Epoch, v.Board.At, v
		}
		v, cancel := h.Subscribe(testEvent("final"), take)
		if v != nil {
			t.Fatal("a view from nowhere")
		}
		defer cancel()
		var newest [2]int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "check") == 0 {
				clock += 6000
				h.check(int64(clock))
			}
			ep := rapid.Int64Range(1, 4).Draw(t, "epoch")
			b := board("final", rapid.Int64Range(1, 40).Draw(t, "at"), rapid.Uint64Range(0, 3).Draw(t, "n"))
			sb := of(ep, b)
			if rapid.Bool().Draw(t, "omit") {
				sb.Boards = nil
			} else if grandstand.NewerThan(ep, b.At, newest[0], newest[1]) {
				newest = [2]int64{ep, b.At}
			}
			h.Apply(sb)
			if got != nil && grandstand.NewerThan(newest[0], newest[1], epoch, at) {
				t.Fatalf("holds %d/%d, %v was sent", epoch, at, newest)
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	b.Run("1 event, 20000 subscribers", func(b *testing.B) {
		clock := fixedClock(1 << 40)
		h := New(Config{Clock: &clock})
		e := testEvent("final")
		aud := grandstand.NewAudiences(e).Intern([]string{"KC"})
		for range 20_000 {
			h.Subscribe(e, func(v *grandstand.View) { v.Frame(aud) })
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			h.Apply(of(1, board("final", int64(i)+1, 40)))
		}
	})
	b.Run("10000 events, none subscribed", func(b *testing.B) {
		clock := fixedClock(1 << 40)
		h := New(Config{Clock: &clock})
		var boards [grandstand.Shards][]*grandstand.Board
		for i := range 10_000 {
			c := board(fmt.Sprintf("event-%d", i), 0, 40)
			s := grandstand.ShardOf(c.Event)
			boards[s] = append(boards[s], c)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for s := range boards {
				for k, c := range boards[s] {
					n := *c
					n.At, n.Epoch = int64(i)+1, 1
					boards[s][k] = &n
				}
				h.Apply(shardBoard(s, 1, int64(i)+1, boards[s]...))
			}
		}
	})
}

func BenchmarkLatest(b *testing.B) {
	clock := fixedClock(1000)
	h := New(Config{Clock: &clock})
	h.Apply(of(1, board("final", 1000, 40)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if h.Latest("final") == nil {
				b.Fatal("no board")
			}
		}
	})
}
