package redis

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// boardsOf returns boards of a shard whose one event has that many sessions.
func boardsOf(shard int, epoch, at int64, sessions uint64) *grandstand.ShardBoard {
	return &grandstand.ShardBoard{Shard: shard, At: at, Epoch: epoch, Boards: []*grandstand.Board{{
		Event: fmt.Sprint("event", shard), At: at, Epoch: epoch, TickMS: 2000, Coverage: 1,
		Segments: []grandstand.SegmentCount{{Segment: grandstand.WorldSegment, Sessions: sessions, Fans: sessions, Peak: sessions, Reach: sessions}},
	}}}
}

func publish(t *testing.T, c *Client, sb *grandstand.ShardBoard) grandstand.Published {
	t.Helper()
	got, err := c.Publish(t.Context(), sb)
	ok(t, err)
	return got
}

func testPublish(t *testing.T, r *rig) {
	c, other := open(t, r.url), open(t, r.url)
	now := c.Now() - 1000
	if sb, err := c.LastBoard(t.Context(), 5); err != nil || sb != nil {
		t.Fatalf("before the first: %v, %v", sb, err)
	}
	for _, tc := range []struct {
		what string
		sb   *grandstand.ShardBoard
		want grandstand.Published
	}{
		{"the first", boardsOf(5, 0, now, 1), grandstand.Published{Epoch: 1, At: now}},
		{"the next", boardsOf(5, 1, now+2, 2), grandstand.Published{Epoch: 1, At: now + 2}},
		{"the same again, its reply was lost", boardsOf(5, 1, now+2, 2), grandstand.Published{Epoch: 1, At: now + 2}},
		{"another of the same time", boardsOf(5, 1, now+2, 3), grandstand.Published{Epoch: 1, At: now + 2, Refused: "old"}},
		{"an older one", boardsOf(5, 1, now+1, 4), grandstand.Published{Epoch: 1, At: now + 2, Refused: "old"}},
		{"an older one of a higher epoch", boardsOf(5, 9, now+1, 4), grandstand.Published{Epoch: 1, At: now + 2, Refused: "old"}},
		{"a newer one of a higher epoch", boardsOf(5, 4, now+3, 5), grandstand.Published{Epoch: 4, At: now + 3}},
		{"a newer one of a lower epoch", boardsOf(5, 2, now+4, 6), grandstand.Published{Epoch: 4, At: now + 4}},
		{"one from the future", boardsOf(5, 4, now+60_000, 7), grandstand.Published{Epoch: 4, At: now + 4, Refused: "future"}},
		{"one a little ahead", boardsOf(5, 4, c.Now()+400, 8), grandstand.Published{Epoch: 4}},
	} {
		if tc.want.At == 0 {
			tc.want.At = tc.sb.At
		}
		if got := publish(t, c, tc.sb); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.what, got, tc.want)
		}
	}
	last, err := other.LastBoard(t.Context(), 5)
	ok(t, err)
	if diff := cmp.Diff(boardsOf(5, 4, last.At, 8), last); diff != "" {
		t.Errorf("last board (-want +got):\n%s", diff)
	}
	if got := publish(t, c, boardsOf(6, 7, now+60_000, 1)); got.Refused != "future" || got.At != 0 {
		t.Errorf("from the future into an empty stream: %+v", got)
	}
	n, err := c.rc.Do(t.Context(), c.rc.B().Xlen().Key(boardKey(5)).Build()).AsInt64()
	ok(t, err)
	if n != 1 {
		t.Errorf("the stream has %d entries", n)
	}
}

// testPoisoned replaces what a node with a wrong clock got published: one that is
// an hour ahead, or was until its clock was set back by some seconds.
func testPoisoned(t *testing.T, r *rig) {
	c := open(t, r.url)
	replacesFromAhead(t, c, 3_600_000)
	ok(t, c.rc.Do(t.Context(), c.rc.B().Del().Key(boardKey(5)).Build()).Error())
	replacesFromAhead(t, c, 3_000)
}

func replacesFromAhead(t *testing.T, c *Client, ahead int64) {
	t.Helper()
	bad := c.Now() + ahead
	ok(t, c.rc.Do(t.Context(), c.rc.B().Xadd().Key(boardKey(5)).Id("*").FieldValue().
		FieldValue("at", fmt.Sprint(bad)).FieldValue("e", "3").FieldValue("d", "").Build()).Error())
	now := c.Now()
	sb := boardsOf(5, 3, now, 1)
	want := grandstand.Published{Epoch: 4, At: now}
	for _, what := range []string{"replaced", "asked again"} {
		if got := publish(t, c, sb); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	if got := publish(t, c, boardsOf(5, 3, now+1, 2)); got != (grandstand.Published{Epoch: 4, At: now + 1}) {
		t.Errorf("the next: %+v", got)
	}
}

// testPublishRace lets two aggregators offer boards of the same ticks.
func testPublishRace(t *testing.T, r *rig) {
	begin := open(t, r.url).Now() - 10_000
	const ticks = 50
	var wg sync.WaitGroup
	won := make([][]int64, 2)
	for p := range won {
		c := open(t, r.url)
		wg.Go(func() {
			for k := range int64(ticks) {
				got, err := c.Publish(context.Background(), boardsOf(1, 1, begin+k, uint64(p+1)))
				if err != nil {
					t.Error(err)
				} else if got.Refused == "" {
					won[p] = append(won[p], begin+k)
				}
			}
		})
	}
	wg.Wait()
	seen := map[int64]bool{}
	for _, list := range won {
		for _, at := range list {
			if seen[at] {
				t.Errorf("the board of %d was published twice", at-begin)
			}
			seen[at] = true
		}
	}
	if !seen[begin+ticks-1] {
		t.Error("the newest was not published")
	}
}

// feed collects what Follow shows.
type feed struct {
	mu     sync.Mutex
	newest map[int]*grandstand.ShardBoard
	calls  int
	done   chan error
	cancel context.CancelFunc
}

func follow(t *testing.T, c *Client) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{newest: map[int]*grandstand.ShardBoard{}, done: make(chan error, 1), cancel: cancel}
	go func() {
		f.done <- c.Follow(ctx, func(sb *grandstand.ShardBoard) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.calls++
			if old := f.newest[sb.Shard]; old == nil || grandstand.NewerThan(sb.Epoch, sb.At, old.Epoch, old.At) {
				f.newest[sb.Shard] = sb
			}
		})
	}()
	t.Cleanup(f.cancel)
	return f
}

func (f *feed) at(shard int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sb := f.newest[shard]; sb != nil {
		return sb.At
	}
	return 0
}

// stop ends the feed and checks that it ends soon.
func (f *feed) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	select {
	case err := <-f.done:
		ok(t, err)
	case <-time.After(time.Second):
		t.Fatal("Follow goes on a second after its context ended")
	}
}

func testFollow(t *testing.T, r *rig) {
	c, pub := open(t, r.url), open(t, r.url)
	now := pub.Now() - 5000
	for s := range grandstand.Shards {
		publish(t, pub, boardsOf(s, 1, now, uint64(s)))
	}
	f := follow(t, c)
	eventually(t, 10*time.Second, "the snapshot is shown", func() bool {
		for s := range grandstand.Shards {
			if f.at(s) != now {
				return false
			}
		}
		return true
	})
	f.mu.Lock()
	if diff := cmp.Diff(boardsOf(9, 1, now, 9), f.newest[9]); diff != "" {
		t.Errorf("shard 9 (-want +got):\n%s", diff)
	}
	f.mu.Unlock()
	for k := int64(1); k <= 3; k++ {
		for s := range grandstand.Shards {
			publish(t, pub, boardsOf(s, 1, now+k, 1))
		}
	}
	eventually(t, 10*time.Second, "what was published is shown", func() bool {
		for s := range grandstand.Shards {
			if f.at(s) != now+3 {
				return false
			}
		}
		return true
	})
	f.stop(t)
}

func testFollowFlush(t *testing.T, r *rig) {
	c, pub := open(t, r.url), open(t, r.url)
	now := pub.Now() - 5000
	publish(t, pub, boardsOf(3, 1, now, 1))
	f := follow(t, c)
	eventually(t, 10*time.Second, "the first is shown", func() bool { return f.at(3) == now })
	r.flush()
	publish(t, pub, boardsOf(3, 2, now+1, 1))
	publish(t, pub, boardsOf(4, 2, now+1, 1))
	eventually(t, 10*time.Second, "what was published after the loss is shown", func() bool { return f.at(3) == now+1 && f.at(4) == now+1 })
	f.stop(t)
}

// TestFollowNeedsOneConnection holds outside of a cluster. In the embedded
// server every command wakes every blocked reader.
func TestFollowNeedsOneConnection(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	c, pub := open(t, e.Address()), open(t, e.Address())
	publish(t, pub, boardsOf(3, 1, pub.Now(), 1))
	before := e.m.CurrentConnectionCount()
	f := follow(t, c)
	eventually(t, 5*time.Second, "the board is shown", func() bool { return f.at(3) != 0 })
	at := pub.Now() + 1
	publish(t, pub, boardsOf(60, 1, at, 1))
	eventually(t, 5*time.Second, "the next is shown", func() bool { return f.at(60) == at })
	if n := e.m.CurrentConnectionCount() - before; n > 1 {
		t.Errorf("Follow opened %d connections", n)
	}
	f.stop(t)
}
