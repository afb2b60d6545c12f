package aggregator

import (
	"context"

	"grandstand"
)

// Clock tells Redis time.
type Clock interface {
	// Now returns Redis ms and never blocks.
	Now() int64
}

// Leases divides the shards among the aggregators.
type Leases interface {
	// HoldShards renews what the member holds, gives up what exceeds its
	// share, takes what is free, and returns the shards held from now on.
	HoldShards(ctx context.Context, member string) ([]int, error)
	DropShards(ctx context.Context, member string) error
}

// Members keeps the aggregator's own lease and knows who else is there.
type Members interface {
	Renew(ctx context.Context, m grandstand.Member) (grandstand.Membership, error)
	Resign(ctx context.Context, id string) error
}

// Tallies reads what gateways counted.
type Tallies interface {
	// Manifests returns the newest manifest of each gateway, nil where there
	// is none.
	Manifests(ctx context.Context, gateways []string) ([]*grandstand.Manifest, error)

	// ShardTallies returns the newest tally of each shard, nil where there is
	// none.
	ShardTallies(ctx context.Context, refs []grandstand.TallyRef) ([]*grandstand.EncodedShardTally, error)
}

// Boards publishes.
type Boards interface {
	// Publish offers boards; they are refused if newer ones are there.
	Publish(ctx context.Context, sb *grandstand.ShardBoard) (grandstand.Published, error)

	// LastBoard returns nil without error if there is none.
	LastBoard(ctx context.Context, shard int) (*grandstand.ShardBoard, error)
}

// Series keeps the last day of every event in Redis.
type Series interface {
	// SaveSeries appends steps, and saves peak and reach over what was saved of
	// them. After an error some may have been saved.
	SaveSeries(ctx context.Context, updates []grandstand.SeriesUpdate) error
	Steps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error)
	LoadReach(ctx context.Context, event string) ([]grandstand.CheckpointSegment, error)
}

// Events keeps the configuration of events.
type Events interface {
	// GetEvent's error has CodeNotFound for an event that is not configured.
	GetEvent(ctx context.Context, name string) (*grandstand.Event, error)
	ListEvents(ctx context.Context) ([]*grandstand.Event, error)

	// PutEvent never overwrites a configuration that was updated later.
	PutEvent(ctx context.Context, e *grandstand.Event) error
}

// Archive keeps checkpoints for good. It may be slow or away: nothing waits for
// it.
type Archive interface {
	// SaveCheckpoint and SaveSteps merge with what is there.
	SaveCheckpoint(ctx context.Context, cp *grandstand.Checkpoint) error
	SaveSteps(ctx context.Context, event string, hour int64, steps []grandstand.Step) error

	// LoadCheckpoint returns nil without error if there is none.
	LoadCheckpoint(ctx context.Context, event string) (*grandstand.Checkpoint, error)
	LoadSteps(ctx context.Context, event string, hour int64) ([]grandstand.Step, error)
}
