package gateway

import (
	"testing"
	"time"

	"grandstand"
)

// A master that fails may take the last write with it, though it was answered.
// Nobody notices, and nothing changes: the tally is written again before the one
// that it replaced lapses, which is after 15 s at the soonest.
func TestATallyThatWasLostIsWrittenAgain(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, _ *rig) {
		v := a.watch("viewer=v1&device=d1&team=KC&country=US")
		ticked()
		ref := grandstand.TallyRef{Gateway: "a", Shard: grandstand.ShardOf("final")}
		for range 3 {
			redis.mu.Lock()
			delete(redis.shards, ref)
			redis.mu.Unlock()
			time.Sleep(6 * time.Second)
			v.beat()
			time.Sleep(6 * time.Second)
			redis.mu.Lock()
			written := redis.shards[ref] != nil
			redis.mu.Unlock()
			if !written {
				t.Fatal("a tally that was lost was not written again within 12 s")
			}
		}
	})
}
