package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"grandstand"
)

const (
	followBlock = 2 * time.Second // a blocking read that hears nothing for so long looks at all streams anew
	followGrace = time.Second     // within which the server must say that it heard nothing

	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
)

const noEntry = "0-0" // the id before all

var errSilent = errors.New("the server did not answer a blocking read in time")

// Follow calls apply with the newest boards of every shard and then with each
// that is published, from one goroutine at a time and in the order of each
// shard, until ctx ends; then it returns nil. Boards that were replaced before
// they could be read are skipped. When Redis is away it tries again, and shows
// what is there when it is back: apply ignores what is not newer.
//
// It needs a connection, in a cluster one for each of the 16 slots that the
// streams lie in.
func (c *Client) Follow(ctx context.Context, apply func(*grandstand.ShardBoard)) error {
	var mu sync.Mutex
	deliver := func(sb *grandstand.ShardBoard) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			apply(sb)
		}
	}
	var wg sync.WaitGroup
	for _, shards := range followGroups(c.cluster) {
		f := &follower{c: c, shards: shards, last: map[int]string{}, deliver: deliver}
		wg.Go(func() { f.run(ctx) })
	}
	wg.Wait()
	return nil
}

// followGroups divides the shards into what one blocking read can span: a slot
// in a cluster, everything elsewhere.
func followGroups(cluster bool) [][]int {
	groups := make([][]int, 1)
	if cluster {
		groups = make([][]int, boardTags)
	}
	for s := range grandstand.Shards {
		g := s % len(groups)
		groups[g] = append(groups[g], s)
	}
	return groups
}

// follower reads some streams with one connection. It is owned by its run.
type follower struct {
	c       *Client
	shards  []int
	deliver func(*grandstand.ShardBoard)

	last   map[int]string // by shard: the id read last
	errors int            // in a row
}

func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.snapshot(ctx)
		for err == nil {
			var heard bool
			if heard, err = f.read(ctx); !heard {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
		f.settle(err)
		if err != nil {
			f.c.backOff(ctx, f.errors)
		}
	}
}

// settle says once that Redis was lost, and once that it is back.
func (f *follower) settle(err error) {
	switch {
	case err != nil:
		if f.errors++; f.errors == 1 {
			f.c.warn("boards cannot be followed, trying again", "shards", len(f.shards), "error", err)
		}
	case f.errors > 0:
		f.c.log.Info("boards are followed again", "shards", len(f.shards), "tries", f.errors)
		f.errors = 0
	}
}

// backOff waits with full jitter after so many errors in a row, so that the
// followers of a Redis that comes back do not come back at once.
func (c *Client) backOff(ctx context.Context, errors int) {
	limit := min(backoffMin<<min(errors, 10), backoffMax)
	t := time.NewTimer(rand.N(limit))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// snapshot reads the one entry of every stream and sets the ids to read on from.
// They may go back: the data was lost, and starts over.
func (f *follower) snapshot(ctx context.Context) error {
	cmds := make([]rueidis.Completed, len(f.shards))
	for i, s := range f.shards {
		cmds[i] = f.c.lastEntry(s)
	}
	for i, r := range f.c.do(ctx, "follow_snapshot", cmds...) {
		entries, err := r.AsXRange()
		if err != nil && !rueidis.IsRedisNil(err) {
			return f.c.fail("follow_snapshot", err)
		}
		shard := f.shards[i]
		if len(entries) == 0 {
			f.last[shard] = noEntry
			continue
		}
		f.entry(shard, entries[0])
	}
	return nil
}

// read waits for news of any of the streams; heard is false if there were none
// for followBlock.
func (f *follower) read(ctx context.Context) (heard bool, err error) {
	streams, err := f.c.await(ctx, "follow", f.command())
	if err != nil || streams == nil {
		return false, err
	}
	for _, shard := range f.shards {
		if entries := streams[boardKey(shard)]; len(entries) > 0 {
			f.entry(shard, entries[len(entries)-1])
		}
	}
	return true, nil
}

// entry shows an entry, unless it is the one that was shown last.
func (f *follower) entry(shard int, e rueidis.XRangeEntry) {
	if f.last[shard] == e.ID {
		return
	}
	f.last[shard] = e.ID
	if sb := f.c.decodeBoards("follow", shard, e); sb != nil {
		f.deliver(sb)
	}
}

func (f *follower) command() rueidis.Completed {
	keys := make([]string, len(f.shards))
	ids := make([]string, len(f.shards))
	for i, s := range f.shards {
		keys[i], ids[i] = boardKey(s), f.last[s]
	}
	if f.c.cluster {
		return f.c.rc.B().Xread().Block(followBlock.Milliseconds()).Streams().Key(keys...).Id(ids...).Build()
	}
	// Not by Xread().Key(): the library would not let it span slots on the
	// embedded server, which it takes for a cluster.
	return f.c.rc.B().Arbitrary("XREAD", "BLOCK", strconv.FormatInt(followBlock.Milliseconds(), 10), "STREAMS").
		Args(keys...).Args(ids...).Blocking()
}

// await carries out a blocking read with a connection of its own. The streams
// are nil if there was nothing new for followBlock.
func (c *Client) await(ctx context.Context, op string, cmd rueidis.Completed) (map[string][]rueidis.XRangeEntry, error) {
	// The library ends a blocking command at once when its context is cancelled,
	// but one with a deadline only at the deadline. So the deadline is a timer
	// that cancels.
	rctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	defer time.AfterFunc(followBlock+followGrace, func() { cancel(errSilent) }).Stop()

	c.m.sending(op, []rueidis.Completed{cmd}) // its time is waiting: not for the histogram
	streams, err := c.rc.Do(rctx, cmd).AsXRead()
	switch {
	case rueidis.IsRedisNil(err):
		return nil, nil
	case err != nil && context.Cause(rctx) == errSilent:
		return nil, c.fail(op, errSilent)
	case err != nil && ctx.Err() == nil:
		return nil, c.fail(op, err)
	}
	return streams, err
}
