package fanout

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"grandstand"
)

// bigShardBoards returns boards of n events by shard, with segments each.
func bigShardBoards(n, segments int, at int64) []*grandstand.ShardBoard {
	shards := make([]*grandstand.ShardBoard, grandstand.Shards)
	for i := range shards {
		shards[i] = &grandstand.ShardBoard{Shard: i, Epoch: 1, At: at}
	}
	for i := range n {
		name := fmt.Sprintf("event-%d", i)
		b := &grandstand.Board{Event: name, At: at, Epoch: 1, TickMS: 2000, Coverage: 1}
		moved := uint64(at % 1000)
		b.Segments = append(b.Segments, grandstand.SegmentCount{Segment: grandstand.WorldSegment, Sessions: 1000 + moved, Fans: 1000})
		for s := range segments {
			c := grandstand.SegmentCount{Segment: grandstand.Segment{Dim: "team", Value: fmt.Sprintf("T%04d", s)}, Sessions: 1000 / uint64(segments), Fans: 10}
			if s == 0 {
				c.Sessions += moved + 1000%uint64(segments)
			}
			b.Segments = append(b.Segments, c)
		}
		sb := shards[grandstand.ShardOf(name)]
		sb.Boards = append(sb.Boards, b)
	}
	return shards
}

// A tick of many events from the relay's hub to the hubs of its children, over
// loopback.
func BenchmarkTickDownTheTree(b *testing.B) {
	for _, bb := range []struct{ events, segments, children int }{{1, 300, 16}, {10_000, 4, 1}, {10_000, 4, 4}} {
		b.Run(fmt.Sprintf("%d events of %d segments to %d children", bb.events, bb.segments, bb.children), func(b *testing.B) {
			benchTick(b, bb.events, bb.segments, bb.children)
		})
	}
}

func benchTick(b *testing.B, events, segments, children int) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	hub := New(Config{Clock: bubbleClock{}})
	relay := NewRelay(RelayConfig{Hub: hub, Clock: bubbleClock{}, Secret: []byte("secret")})
	defer relay.Close(ctx)
	mux := http.NewServeMux()
	mux.Handle(FeedPath, relay)
	server := httptest.NewServer(mux)
	defer server.Close()
	arrived := make(chan struct{}, 1)
	var got atomic.Int64
	for range children {
		child := New(Config{Clock: bubbleClock{}})
		for i := range events {
			child.Subscribe(testEvent(fmt.Sprintf("event-%d", i)), func(*grandstand.View) {
				if got.Add(1)%int64(events*children) == 0 {
					arrived <- struct{}{}
				}
			})
		}
		up, err := NewUpstream(UpstreamConfig{Hub: child, Clock: bubbleClock{}, Redis: noFeed{}, Secret: []byte("secret"),
			From: "ws://" + server.Listener.Addr().(*net.TCPAddr).String()})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			up.Run(ctx)
		}()
		defer func() { stop(); <-done }()
	}
	at := time.Now().UnixMilli()
	for relay.watchedByChildren() < events*children {
		time.Sleep(time.Millisecond)
	}
	tick := func() {
		at++
		for _, sb := range bigShardBoards(events, segments, at) {
			hub.Apply(sb)
		}
		<-arrived
	}
	tick()
	b.ReportAllocs()
	for b.Loop() {
		tick()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*events*children), "µs/event")
}

type noFeed struct{}

func (noFeed) Follow(ctx context.Context, _ func(*grandstand.ShardBoard)) error {
	<-ctx.Done()
	return nil
}

// watchedByChildren returns how many events all children watch.
func (r *Relay) watchedByChildren() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sources {
		s.mu.Lock()
		n += len(s.waiting)
		s.mu.Unlock()
	}
	return n
}

// How often it looks whether boards are overdue must not matter.
func BenchmarkOverdue(b *testing.B) {
	hub := New(Config{Clock: bubbleClock{}})
	now := time.Now().UnixMilli()
	for _, sb := range bigShardBoards(10_000, 1, now) {
		hub.Apply(sb)
		for _, board := range sb.Boards {
			hub.Subscribe(testEvent(board.Event), func(*grandstand.View) {})
		}
	}
	for b.Loop() {
		if hub.overdue(1e9) {
			b.Fatal("nothing is")
		}
	}
}
