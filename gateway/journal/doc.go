// Package journal keeps a gateway's raw events on its disk until an archiver
// has them. Events are appended in memory, committed together with one
// fdatasync, and only then is whoever waits for them told. The form of the
// files is the root's (journal.go); a directory is
//
//	LOCK               flock of the process that writes or adopts it
//	ID                 the journal's id, 32 hexadecimal digits
//	00000001.journal   sealed: never changes again
//	00000002.open      being written
//
//	Append ─▶ buffer ─▶ Run: write, fdatasync ─▶ Waiter.Durable … Config.Committed
//	                      │
//	                      └─ 64 MiB, or a minute old ─▶ sealed ─▶ Files, Open, Delete (Handler)
//
// In: raw events; an archiver's word that a file is safe.
//
// Out: which events are durable; sealed files.
//
// # What is promised
//
//   - What a Waiter was told of is on the disk, whatever happens to the process
//     or the power, and is in exactly one sealed file sooner or later.
//   - What was accepted and not told of may be there as well, and after trouble
//     with the disk twice: (session, seq) tells.
//   - No two files of one journal have the same number and different bytes: a
//     sealed file's successor is in the directory, durably, before the file can
//     be deleted, so that a number is never forgotten.
//   - Append never waits for the disk. While the disk is full, fails or stalls,
//     it refuses with CodeUnavailable; a JournalGap says so in the journal as
//     soon as the disk takes it.
//   - A file whose fsync or write failed is not written to again, but for being
//     cut to what is known to be durable and sealed. (The kernel reports a page
//     that it could not write once and then calls it clean.) What was not known
//     to be durable is written again to the next file, and only told of then.
package journal
