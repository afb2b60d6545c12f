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
// A board's At is a tick of its event whose tallies were read. A shard that is
// taken over in between gets the boards of the last tick, unless they were
// published; a gateway that is late is counted as of its tick before. After
// Redis lost its data boards are partial until gateways agree again on whose a
// session is, so that no peak is of a session counted twice.
//
// Known: a dead gateway's sketches count its viewers, also those who have moved
// on and left since, until its last tally lapses; sessions do not. After a loss
// of Redis, an aggregator that gets a shard which another held does not know
// what gateways had read before: it may count a few moved sessions twice in
// partial boards. The same session may count twice for a tick or two if two of
// the gateways that it was on die within the time that tallies stand in.
//
// Replay makes boards of archived raw events with the same merge, and DriftMeter
// compares them with the live series.
//
// In: manifests and tallies of gateways, memberships, configurations of events;
// of former holders of a shard the last boards, reach, series and checkpoints.
//
// Out: one ShardBoard per shard and tick whose sums hold; reach and steps to
// Redis, checkpoints and steps to the archive.
package aggregator
