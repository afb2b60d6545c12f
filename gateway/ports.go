package gateway

import (
	"context"
	"time"

	"grandstand"
	"grandstand/gateway/journal"
)

// Clock tells Redis time.
type Clock interface {
	// Now returns Redis ms and never blocks.
	Now() int64
}

// Sessions keeps who owns which session. Every method has the deadline of its
// context.
type Sessions interface {
	// Claim makes the records' owner that of their sessions, under new
	// generations. Of a session whose answer has generation 0, which there are
	// only with an error, it is not known whether it was claimed.
	Claim(ctx context.Context, recs []grandstand.Record) ([]grandstand.Claimed, error)

	// Keep writes or refreshes the records and returns the indices of those
	// that somebody else owns.
	Keep(ctx context.Context, recs []grandstand.Record) (lost []int, err error)

	// Forget removes the records that still are their owner's.
	Forget(ctx context.Context, recs []grandstand.Record) error

	// Release appends to owner's release list.
	Release(ctx context.Context, owner string, rels []grandstand.Release) ([]grandstand.ReleaseID, error)

	// Releases returns owner's release list after an entry, in order; with an error
	// the first of it, as far as it could be read.
	Releases(ctx context.Context, owner string, after grandstand.ReleaseID) ([]grandstand.Release, error)
}

// Tallies takes what the gateway counted.
type Tallies interface {
	// WriteTallies writes the shards' tallies, then the manifest.
	WriteTallies(ctx context.Context, shards []*grandstand.ShardTally, m *grandstand.Manifest) error
}

// Events keeps the configuration of events.
type Events interface {
	PutEvent(ctx context.Context, e *grandstand.Event) error
	GetEvent(ctx context.Context, name string) (*grandstand.Event, error)
	ListEvents(ctx context.Context) ([]*grandstand.Event, error)
}

// Members keeps the gateway's lease.
type Members interface {
	Renew(ctx context.Context, m grandstand.Member) (grandstand.Membership, error)

	// BootAt returns the Redis ms at which the data set began, 0 if nobody has
	// renewed a lease since Redis lost its data.
	BootAt(ctx context.Context) (int64, error)

	Resign(ctx context.Context, id string) error
}

// Cluster reads the members for operators.
type Cluster interface {
	// Cluster returns all members with what they say of themselves.
	Cluster(ctx context.Context) ([]grandstand.Member, error)
}

// Leases keeps who of an account plays. Whatever it takes, the gateway waits for
// 250 ms.
type Leases interface {
	// Ask asks for leases or renews them. The answers are in the order of asks;
	// their errors have CodeUnavailable.
	Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer

	// Leave frees places at once.
	Leave(ctx context.Context, leaves []grandstand.Leave) error

	// Account returns who plays.
	Account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error)

	// FollowNotices tells of accounts in which something changed for sessions
	// of the member, until ctx ends. The zero Key: it may have missed some.
	FollowNotices(ctx context.Context, member string, tell func(account grandstand.Key)) error
}

// Journal keeps raw events on the gateway's disk. See journal.Journal for the
// contract.
type Journal interface {
	// Append takes an event to be written; w, unless nil, is told when it is
	// durable. It never waits for the disk, and keeps nothing of e. Its error
	// says that the event is not kept.
	Append(e *grandstand.RawEvent, w journal.Waiter) error

	// Gather sets the least time between two commits: the more they gather, the
	// fewer there are, and the later events are durable. 0: as configured.
	Gather(every time.Duration)
}

// Hub hands out views of boards. See fanout.Hub for the contract.
type Hub interface {
	Subscribe(e *grandstand.Event, notify func(*grandstand.View)) (newest *grandstand.View, cancel func())
	Latest(event string) *grandstand.Board
	Epoch() int64
}

// History reads the series of the last day.
type History interface {
	Steps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error)
}

// Archive reads what is kept of events for good.
type Archive interface {
	// LoadCheckpoint returns nil without error if there is none.
	LoadCheckpoint(ctx context.Context, event string) (*grandstand.Checkpoint, error)
	LoadSteps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error)
}
