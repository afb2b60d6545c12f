// Package fanout brings every board to all who show it: from Redis, through the
// tree of gateways (DESIGN.md, "The last mile is a tree"), to the subscribers on
// one node.
//
//	Redis ──ShardBoard──▶ Upstream ──▶ ┌─────────── Hub ───────────┐
//	relay ──FeedBoards──▶  (decides    │ newest board of each event │ ──View──▶ subscribers (groups of sockets, SSE)
//	      ◀─FeedWatch───    on one)    │ Run: is it stale?          │ ──Board─▶ Latest (GET counts)
//	                                   └────────────────────────────┘
//	                                          │ View
//	                                          ▼
//	                                        Relay ──FeedBoards──▶ other gateways (children), on --peer
//	                                              ◀─FeedWatch───
//
// A board is taken by its (epoch, at) and never by where it came from, so two
// sources at once are harmless: a node changes from one to the other without a
// viewer noticing, and at never goes back.
//
// A view encodes the frame of each audience once, whoever many sessions share
// it: Hub.Encodes counts. A relay encodes what became of a board once, however
// many children have the board before.
//
// In: grandstand.ShardBoard from Redis, or grandstand.FeedBoards from a relay, in
// any order and as often as they like; the members, for the place in the tree.
//
// Out: one grandstand.View per event and board to its subscribers, in order;
// the last good one again, marked stale, while boards are missing; FeedBoards to
// children.
package fanout
