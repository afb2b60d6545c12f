package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"grandstand"
	"grandstand/gateway/journal"
)

// keepPatience is for how long a request waits for its beats to be durable. A
// commit takes some 20 ms; a disk that takes longer than this is in trouble.
const keepPatience = 2 * time.Second

// keeping is the journal.Waiter of the beats of one request. Its owner adds them,
// then waits.
type keeping struct {
	refused error        // the first refusal
	pending atomic.Int64 // that are not durable yet, and one until wait is called
	done    chan struct{}
}

func newKeeping() *keeping {
	k := &keeping{done: make(chan struct{})}
	k.pending.Store(1)
	return k
}

// add has one more waited for, which take hands to the journal.
func (k *keeping) add(take func(journal.Waiter) error) {
	k.pending.Add(1)
	if err := take(k); err != nil {
		k.pending.Add(-1)
		if k.refused == nil {
			k.refused = err
		}
	}
}

// Durable implements journal.Waiter.
func (k *keeping) Durable(uint64) { k.settle() }

func (k *keeping) settle() {
	if k.pending.Add(-1) == 0 {
		close(k.done)
	}
}

// wait returns nil once all is durable.
func (k *keeping) wait(ctx context.Context) error {
	k.settle()
	if k.refused != nil {
		return k.refused
	}
	patience := time.NewTimer(keepPatience)
	defer patience.Stop()
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
	case <-patience.C:
	}
	return errNotKept
}

var errNotKept = grandstand.Errorf(grandstand.CodeUnavailable, "the beats were not kept in time: send them again later")

// await returns nil once the request's beats are durable, if they are kept.
func (p *player) await(ctx context.Context) error {
	if p.kept == nil {
		return nil
	}
	return p.kept.wait(ctx)
}

// giveUp is for a request whose beats are not kept, and will be sent again. The
// sessions that it names have been renewed and go on. But those that it opened
// end for now: should its sender not read their names, the next attempt opens
// others, and each would be counted. A beat brings them back.
func (p *player) giveUp() resumable {
	for _, s := range p.opened {
		s.leave(leaveEnded)
	}
	return p.resumable()
}
