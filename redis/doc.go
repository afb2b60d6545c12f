// Package redis keeps the shared state of a cluster in Redis: who owns a
// session, what each gateway counted, who is a member, which boards hold. It is
// the only place that knows Redis: every key name, script and time to live is
// here (keys.go has the table).
//
//	gateway ── Claim, Keep, Forget, Release ──▶ session records, release streams
//	        ── Admit ─────────────────────────▶ registry of values
//	        ── WriteTallies ──────────────────▶ tallies ── Manifests, ShardTallies ──▶ aggregator
//	fan-out ◀── Follow ── board streams ◀── Publish (compare and publish) ─────────────── aggregator
//
// All of it is soft state: it can be lost at any time, and those who know write
// it again. Every script and multi-key command stays in one slot, so the same
// code runs on one server, on a cluster and on the embedded server.
//
// In: the words of the root package, from every stage; the replies of Redis,
// which are checked like anything from outside.
//
// Out: the same words, and errors with CodeUnavailable for trouble with Redis,
// no later than the deadline of the call.
package redis
