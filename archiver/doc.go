// Package archiver keeps for good what must outlive Redis and the gateways'
// disks, in a directory or in a bucket of S3: every raw event as Parquet, and the
// check-points of events, with peak, reach and series.
//
//	            ┌────────────── Archiver: a worker takes a file all the way ──────────────┐
//	Source ──▶ fetch ──▶ convert ──▶ put, once ──▶ read back, verify ──▶ Source.Delete
//	Peer, Dir    │          │           │                 │
//	       journal file  temporary    live/date=D/hour=H/J-N.parquet
//	       in memory     file
//
//	aggregator ── SaveCheckpoint, SaveSteps ──▶ merge ──▶ blobs ──▶ file: or s3:
//	gateway ◀──── LoadCheckpoint, LoadSteps ─────────────┘
//
// Objects, under the store's prefix:
//
//	live/date=D/hour=H/J-N.parquet       the events of file N of journal J, by the UTC hour of its first one
//	events/event=E/date=D/hour=H/part-N.parquet  the rows of an event in an hour, each (session, seq) once (Compact)
//	compacted/date=D/hour=H.json         of which live objects those of an hour were made
//	damaged/…                            what could not be read, as it was
//	checkpoints/event=E/checkpoint       AppendCheckpoint
//	checkpoints/event=E/hour=H/steps     the steps of the hour that begins at H (Unix ms)
//
// # What is promised of raw events
//
// The bytes of a live object are a function of the journal file's bytes, and its
// name is that of the file; it is created once. A source is told to delete a file
// only after the object was read back from the store and has every event that
// could be read in the file: rowDigest of its rows is that of the records. So it
// makes no difference where an archiver crashes, how often a file is begun anew,
// or how many archivers take it. Parts of a file that are damaged are told in the
// object's metadata, and the file is kept as it is.
//
// Checkpoints merge with what is there, so that it does not matter who saves, in
// which order, or how often.
//
// In: sealed files of journals; checkpoints and steps of aggregators; bytes of
// the store, which are checked like anything from outside.
//
// Out: Parquet objects that any reader takes; checkpoints and steps, merged; the
// word that a journal file is safe.
package archiver
