// Package archiver keeps for good what must outlive Redis: for now the
// check-points of events, with peak, reach and series, in a directory or in a
// bucket of S3. (The players' events follow in a later issue.)
//
//	aggregator ── SaveCheckpoint, SaveSteps ──▶ merge ──▶ blobs ──▶ file: or s3:
//	gateway ◀──── LoadCheckpoint, LoadSteps ─────────────┘
//
// Objects, under the store's prefix:
//
//	checkpoints/event=E/checkpoint       AppendCheckpoint
//	checkpoints/event=E/hour=H/steps     the steps of the hour that begins at H (Unix ms)
//
// Saving merges with what is there, so that it does not matter who saves, in
// which order, or how often.
//
// In: checkpoints and steps of aggregators; bytes of the store, which are
// checked like anything from outside.
//
// Out: the same, merged.
package archiver
