// Package fanout brings every board to all who show it on one node: the last
// box before the sockets.
//
//	                     ┌─────────────── Hub ────────────────┐
//	feed ──ShardBoard──▶ │ Apply ─▶ newest board of each event │ ──View──▶ subscribers (groups of sockets, SSE)
//	                     │ Run   ─▶ is it stale?               │ ──Board─▶ Latest (GET counts)
//	                     └────────────────────────────────────┘
//
// The feed is whatever calls Apply: a node that reads the shard streams of
// Redis does today. Relays (DESIGN.md, "The fan-out tree") are another source
// of the same call: a reader of a relay's --peer will live beside the hub in
// this package, in relay.go, and nothing behind Apply will know the difference,
// because a board is taken by its (epoch, at) and never by where it came from.
//
// A view encodes the frame of each audience once, whoever many sessions share
// it: Hub.Encodes counts.
//
// In: grandstand.ShardBoard from a feed, in any order and as often as it likes.
//
// Out: one grandstand.View per event and board to its subscribers, in order;
// the last good one again, marked stale, while boards are missing.
package fanout
