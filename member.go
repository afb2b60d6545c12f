package grandstand

// Role is what a member of the cluster does.
type Role string

// The roles that hold a membership lease.
const (
	RoleGateway    Role = "gateway"
	RoleAggregator Role = "aggregator"
	RoleArchiver   Role = "archiver"
	RoleBlocker    Role = "blocker"
	RoleJournal    Role = "journal" // whose gateway has stopped
)

// Member is one running process in one role. Its lease in Redis lasts a few
// ticks; who stops renewing it is gone.
type Member struct {
	ID       string `json:"id"` // random, new at every start
	Role     Role   `json:"role"`
	Peer     string `json:"peer,omitempty"`      // host:port of --peer
	Outside  bool   `json:"outside,omitempty"`   // a gateway whose relay was chosen by hand: no part of the tree
	JoinedAt int64  `json:"joined_at,omitempty"` // Redis ms of the first renewal
	SeenAt   int64  `json:"seen_at,omitempty"`   // Redis ms of the last renewal
	Alive    bool   `json:"alive"`               // the lease holds

	// Status is what its process says of itself. It is written with the lease, and
	// read by nobody but Cluster: members learn of each other without it.
	Status *Status `json:"status,omitempty"`
}

// Membership is what a member learns at each renewal of its lease.
type Membership struct {
	Now     int64    // Redis ms
	Members []Member // of all roles, oldest first; the dead stay listed while their last tally may count

	// Boot names the life of the Redis data set: it changes when the data was
	// lost, or the last writes were in a failover, and everybody writes again what
	// they know. BootAt is its beginning.
	Boot   string
	BootAt int64

	// EventsVersion changes whenever any event's configuration or state does.
	EventsVersion int64
}

// Record is the owner's entry of a session in Redis: who it is and who counts
// it. It is what a session takes along to another gateway.
type Record struct {
	Event   string
	Session string
	Owner   string // member id
	Gen     uint64
	Values  []string // the audience at the owner
	Since   int64    // Redis ms at which it was opened at the owner; 0: it moved there

	// ClaimedAt is the Redis ms at which the owner claimed the session from
	// ClaimedFrom; 0 and "" if it did not, or has kept the record since. They are not
	// part of what is stored: Claim tells them of the owner before.
	ClaimedAt   int64
	ClaimedFrom string

	// Asked says, to Claim, that the claim was sent before and not answered. It is
	// not stored either.
	Asked bool
}

// Claimed is the answer to a claim: the session's generation from now on, and
// the record of the owner before, nil if there was none but the claimer.
type Claimed struct {
	Gen      uint64
	Previous *Record
}

// Release tells an owner that a session of a generation up to Gen is no longer
// its own.
type Release struct {
	ID      ReleaseID
	Event   string
	Session string
	Gen     uint64
}
