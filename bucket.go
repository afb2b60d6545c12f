package grandstand

import "hash/fnv"

// SessionBuckets is the number of parts that the session records of all events
// are divided into in Redis. The records of one bucket lie in one slot, so
// whoever keeps records in batches sends one script per bucket. It is part of
// every record's key name: to change it is a migration.
const SessionBuckets = 1024

// BucketOf returns the bucket of a session's record, 0 to SessionBuckets-1:
// FNV-1a of its id. A gateway that keeps its sessions bucket by bucket needs
// the fewest scripts.
func BucketOf(session string) int {
	h := fnv.New32a()
	h.Write([]byte(session))
	return int(h.Sum32() % SessionBuckets)
}
