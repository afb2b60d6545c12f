// Package aggregator merges the tallies of all gateways into one board per
// event, at every tick, and remembers what must outlast a tick: the last
// tallies, peak, reach, the series.
//
//	                                   ┌──────────── members: who is there, whose shards are mine
//	Tallies ── manifests ──▶ intake ──▶ events ── merge ──▶ boards ──▶ Boards (compare and publish)
//	                 └ changed values ─▶   │         └ min_cohort fold
//	                                       └── keeper: reach, series ──▶ Series     off the tick,
//	                                               checkpoints ───────▶ Archive    one batch at a time
//
// One goroutine owns everything but the keeper's calls. A wake-up is at every
// half second of Redis time (Phase): leases are renewed at each, boards are
// made at those on which an event's tick falls. Nothing waits for a tick that
// takes too long: the phases it missed are skipped and counted.
//
// In: manifests and tallies of gateways, memberships, configurations of events;
// of former holders of a shard the last boards, reach, series and checkpoints.
//
// Out: one ShardBoard per shard and tick whose sums hold; reach and steps to
// Redis, checkpoints and steps to the archive.
package aggregator
