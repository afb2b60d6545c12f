package redis

import (
	"fmt"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

func onEach(b *testing.B, run func(*testing.B, *Client)) {
	b.Run("embedded", func(b *testing.B) {
		e, err := StartEmbedded(EmbeddedConfig{})
		ok(b, err)
		defer e.Close()
		run(b, open(b, e.Address()))
	})
	b.Run("server", func(b *testing.B) { run(b, open(b, redistest.StartServer(b).URL())) })
}

// BenchmarkClaim moves sessions, many at once.
func BenchmarkClaim(b *testing.B) {
	onEach(b, func(b *testing.B, c *Client) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				_, err := claimOne(b.Context(), c, record(fmt.Sprint("s", i%1000), fmt.Sprint("g", i%3), 0, "US", "US-CA", "KC"))
				ok(b, err)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scripts/s")
	})
}

// BenchmarkKeep keeps 500 records as a gateway does: those of some buckets
// together, or as they come.
func BenchmarkKeep(b *testing.B) {
	var sorted, mixed []grandstand.Record
	for i := 0; len(sorted) < 500; i++ {
		r := record(fmt.Sprint("session-of-some-length-", i), "gateway-1", 1, "US", "US-CA", "KC")
		if grandstand.BucketOf(r.Session) < 25 {
			sorted = append(sorted, r)
		}
		if len(mixed) < 500 {
			mixed = append(mixed, r)
		}
	}
	for name, recs := range map[string][]grandstand.Record{"by_bucket": sorted, "mixed": mixed} {
		b.Run(name, func(b *testing.B) {
			onEach(b, func(b *testing.B, c *Client) {
				for b.Loop() {
					_, err := c.Keep(b.Context(), recs)
					ok(b, err)
				}
				b.ReportMetric(float64(b.N)*float64(len(recs))/b.Elapsed().Seconds(), "records/s")
			})
		})
	}
}

// BenchmarkPublishToFollow measures from the offer of a board to its arrival at
// a follower.
func BenchmarkPublishToFollow(b *testing.B) {
	onEach(b, func(b *testing.B, c *Client) {
		got := make(chan int64, 1)
		go func() {
			_ = c.Follow(b.Context(), func(sb *grandstand.ShardBoard) {
				select {
				case got <- sb.At:
				case <-b.Context().Done():
				}
			})
		}()
		at := time.Now().UnixMilli() - 3_600_000
		for b.Loop() {
			at++
			_, err := c.Publish(b.Context(), boardsOf(1, 1, at, 1))
			ok(b, err)
			for <-got != at {
			}
		}
	})
}
