package grandstand

// ReleaseID orders the entries of one gateway's release list: the id of the
// Redis stream entry. The zero id is before all.
type ReleaseID struct {
	MS, Seq uint64
}

// Before reports whether r stands before o in the list.
func (r ReleaseID) Before(o ReleaseID) bool {
	return r.MS < o.MS || r.MS == o.MS && r.Seq < o.Seq
}

// Tally is what one gateway knows of one event at one tick.
type Tally struct {
	Event    string
	Tick     int64          // the event's tick in ms, for whoever merges
	Segments []SegmentTally // a cross that is not among them, though there are sessions, is not counted
	Moves    []Move
}

// SegmentTally is one segment of a Tally: the exact number of the gateway's
// sessions that are watching, and the sketch of their viewers.
type SegmentTally struct {
	Segment  Segment
	Sessions uint32
	Sketch   []byte // Sketch.AppendBinary
}

// Move says that a session which From may still count is counted here now.
// Whoever merges takes one off each segment of From's tally as long as that
// tally was made before From read the release.
type Move struct {
	From    string    // member id of the gateway that owned the session
	Release ReleaseID // the entry in From's release list
	Values  []string  // the session's audience at From, as in Audience.Values

	// Since is the Redis ms from which on From had the session; 0 if that is
	// long ago. A tally of From made before does not count it. If it was opened
	// there, nothing is taken off: that tally is the last word of a gateway that
	// died just after. If it had Moved there, it is taken off the tally of the
	// gateway before, whose move From did not live to list.
	Since int64
	Moved bool
}

// ShardTally is the value that a gateway writes for one shard: the tallies of
// its events there. At and Released are of the time it was built; when nothing
// changes afterwards the gateway's Manifest carries newer ones.
type ShardTally struct {
	Gateway  string
	Shard    int
	At       int64
	Released ReleaseID
	Events   []Tally // by event name
}

// Manifest is what a gateway writes at every tick, after its shard tallies: it
// makes them valid as of At.
type Manifest struct {
	Gateway  string
	At       int64     // Redis ms at which the sessions were counted
	Released ReleaseID // every release up to here was carried out before counting
	Epoch    int64     // the highest board epoch that the gateway has seen
	Left     bool      // a last word: the gateway has shut down on purpose
	Sessions uint32    // watching, over all events
	Shards   []ShardRef
}

// ShardRef names the tally of one shard that a Manifest vouches for.
type ShardRef struct {
	Shard int
	At    int64 // ShardTally.At
}

// TallyRef names the tally that one gateway wrote for one shard.
type TallyRef struct {
	Gateway string
	Shard   int
}
