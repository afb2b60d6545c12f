// Package grandstand holds the words of the system and their wire forms: what
// a beat, a session, a segment, a tally, a board and a frame are, and how each
// is written down. It does no I/O and knows no clock: every function of time
// takes the time.
//
//	player ──Beat──▶ gateway ──Tally──▶ Redis ──tallies──▶ aggregator ──Board──▶ fan-out ──Frame──▶ player
//	                    │                 ▲
//	                    └──Record, Release┘   (who owns a session, who gave one up)
//
// Times are Unix milliseconds of Redis TIME unless a name says otherwise, so
// that every node orders the same things the same way (DESIGN.md, "Order").
//
// In: bytes of clients, of Redis and of other nodes, untrusted until decoded.
//
// Out: values that hold the invariants of DESIGN.md, and their bytes.
package grandstand
