// Package simulator is a crowd: thousands of real WebSocket viewers of one
// event, which come, beat, change networks and leave by a seeded plan, and
// which know at each instant how many of them are watching. What the system
// shows them is checked against that.
//
//	plan ──join, leave, change──▶ players ──WebSocket──▶ gateways
//	                                 │ │                    │
//	                          truth ◀┘ └──sampled frames──▶ audit ◀──full boards── operator (SSE)
//	                            └────────lo, hi at `at`──────▲
//
// The crowd is an open loop: a beat is sent when it is due, whether or not the
// system answered the one before. A player costs one goroutine, a socket and
// about 1 KiB of buffer; it looks at the head of each frame, and only a sample
// is read in full.
//
// The truth follows the published definition of watching (DESIGN.md). What the
// crowd cannot know to the millisecond, such as when a gateway took note of a
// goodbye, is an interval: a count is wrong if it lies outside of all that
// could be.
//
// In: the addresses of running gateways, and a plan (Config).
//
// Out: load, and a Report: what was seen, how fresh it was, and each check that
// failed.
package simulator
