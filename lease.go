package grandstand

import (
	"encoding/json"
	"slices"
)

// A lease is the right of one (account, device, session) to play, until a
// deadline. This file has what is asked of whoever keeps the leases, and what
// it answers; all times are in Redis ms.

// LeaseMS returns how long a lease lasts after its holder's last beat:
// 2 × the declared interval + 5 s.
func LeaseMS(intervalMS int64) int64 { return 2*intervalMS + 5_000 }

// The bounds of what is kept of one account.
const (
	MaxStreams    = 64 // the highest limit that can be asked for
	MaxDevices    = 64 // devices of one account that play or wait
	MaxDeviceName = 64 // bytes of a device's name
)

// LeaseRef names one lease. A session that gives its lease up and gets another
// has another Born, so a reference is good for one life of a lease only.
type LeaseRef struct {
	Device  Key
	Session string
	Born    int64 // when the session got the lease
}

// Hold is what the holder of a lease remembers of it and shows whenever it
// renews. With it the holder gets its place back, before any newcomer, should
// the lease be lost with Redis. The zero Hold is a newcomer's.
type Hold struct {
	Since   int64 // since when the device has its place: the rank among all leases
	Born    int64 // since when the session has the lease; later than Since if it superseded another
	Granted int64 // when the lease was last granted
}

// HonourMS is for how long after a lease was last granted its Hold is good for
// a place in an account whose leases were lost.
const HonourMS = 15 * 60_000

// Terms are the rules for one session, as Rules.Terms finds them.
type Terms struct {
	Limit      int    // streams of the account; 0: not limited
	Rule       string // where Limit comes from: "token", "plan:NAME" or "default"
	EventLimit int    // streams of the account in this event; 0: not limited
	Household  int    // devices beyond the limit that may play behind one address with another
	Evict      bool   // on conflict the oldest is ended; otherwise the newest is refused
	Shadow     bool   // nobody is blocked: who would be is told and counted
}

// Limited reports whether a session under these terms needs a lease.
func (t Terms) Limited() bool { return t.Limit > 0 || t.EventLimit > 0 }

// Ask asks for a lease, or renews one.
type Ask struct {
	Account Key
	Device  Key
	Session string
	Event   string
	Name    string // of the device, as the account's owner is shown it (CleanDeviceName)
	Address Key    // of the network that the device is in; zero: not known
	Member  string // who is to be told when something happens to the session
	LeaseMS int64  // from now on
	BeatMS  int64  // between two beats: a lease granted with one lasts for LeaseMS(BeatMS). 0: for LeaseMS
	Hold    Hold
	Terms   Terms

	// Terminate are the leases that the viewer wants to be ended in favour of
	// this session, first those to be ended first. No more of them are ended
	// than it takes, and none if it does not suffice.
	Terminate []LeaseRef

	// Insist is set when the viewer asked to play here: a session that was
	// taken over, superseded or signed out may have a lease again.
	Insist bool

	// Wait has Member told when a place becomes free.
	Wait bool
}

// BlockCode says why a session may not play.
type BlockCode string

// The codes of a verdict. The last three do not end by themselves.
const (
	BlockDeviceLimit    BlockCode = "device_limit"     // as many streams play as the account may have
	BlockTooManyDevices BlockCode = "too_many_devices" // MaxDevices of the account play or wait
	BlockUnavailable    BlockCode = "unavailable"      // leases cannot be asked for just now, and on_outage is deny
	BlockTakenOver      BlockCode = "taken_over"       // another device took the place
	BlockSuperseded     BlockCode = "superseded"       // the same device plays in a newer session
	BlockSignedOut      BlockCode = "signed_out"       // the account's owner freed the place
)

// Final reports whether a session blocked with the code stays so until its
// viewer asks to play.
func (c BlockCode) Final() bool {
	return c == BlockTakenOver || c == BlockSuperseded || c == BlockSignedOut
}

// Lease is one lease as it is kept.
type Lease struct {
	LeaseRef
	Name   string
	Event  string
	Member string // whom the session beats to
	Since  int64
	SeenAt int64 // the last renewal
	Until  int64
	Shadow bool // it plays beyond the limit, since the rules do not enforce it
}

// Hold returns what the holder of the lease remembers.
func (l *Lease) Hold() Hold { return Hold{Since: l.Since, Born: l.Born, Granted: l.SeenAt} }

// Outcome is what a decision changed, for metrics and the log of decisions.
type Outcome string

// The outcomes of an Ask.
const (
	OutcomeAcquired   Outcome = "acquired"    // a place was free
	OutcomeRenewed    Outcome = "renewed"     // nothing changed
	OutcomeRestored   Outcome = "restored"    // an incumbent has its place back after a loss
	OutcomeSuperseded Outcome = "superseded"  // in the place of an older session of the device
	OutcomeTookOver   Outcome = "took_over"   // in the place of rivals that the viewer named
	OutcomeEvicted    Outcome = "evicted"     // in the place of the oldest: the rule evict_oldest
	OutcomeWouldBlock Outcome = "would_block" // beyond the limit, which is not enforced
	OutcomeBlocked    Outcome = "blocked"
	OutcomeWaiting    Outcome = "waiting" // blocked as before
	OutcomeLeft       Outcome = "left"    // said goodbye: not of an Ask
)

// Verdict answers an Ask.
type Verdict struct {
	Now     int64 // when it was given
	Allowed bool
	Outcome Outcome
	Code    BlockCode // why not; "" if allowed
	Rule    string    // what decided: Terms.Rule, or "event:NAME"
	Limit   int       // by that rule; 0: none
	Current int       // streams that play now and count towards Limit

	Hold  Hold  // to be shown at the next renewal, if allowed
	Until int64 // the lease's deadline, if allowed

	// Rivals hold the places, oldest first, if not allowed. For a session that
	// was superseded that is the newer one.
	Rivals []Lease

	// By is the name of the device that took the place over, if one did.
	By string

	// FreeAt is the earliest time at which a place becomes free by itself;
	// 0: not known.
	FreeAt int64

	// Outage says that leases could not be asked for, and what the rules say of
	// that was done.
	Outage bool
}

// RawData returns what the raw event of the verdict says: {"allowed","code",
// "rule","limit","current","outcome"}.
func (v *Verdict) RawData() []byte {
	b, err := json.Marshal(struct {
		Allowed bool      `json:"allowed"`
		Code    BlockCode `json:"code,omitempty"`
		Rule    string    `json:"rule,omitempty"`
		Limit   int       `json:"limit,omitempty"`
		Current int       `json:"current,omitempty"`
		Outcome Outcome   `json:"outcome,omitempty"`
	}{v.Allowed, v.Code, v.Rule, v.Limit, v.Current, v.Outcome})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// Answer is a Verdict, or why there is none: CodeUnavailable.
type Answer struct {
	Verdict Verdict
	Err     error
}

// AccountState is what is kept of an account. Each list is ordered by time.
type AccountState struct {
	Now     int64
	Leases  []Lease
	Waiting []Waiting // blocked, and would play
	Ended   []Ended   // sessions that are not to play until their viewer asks
}

// Waiting is a session that waits for a place.
type Waiting struct {
	Device  Key
	Session string
	Name    string
	Event   string
	At      int64 // when it last asked
	Until   int64 // it is forgotten then
}

// Ended is a session whose lease was ended by somebody else.
type Ended struct {
	Session string
	Device  Key
	Code    BlockCode
	Name    string // of the device
	By      string // the name of the device that did it
	At      int64
}

// Lease returns the lease of a session, nil if it has none.
func (s *AccountState) Lease(device Key, session string) *Lease {
	i := slices.IndexFunc(s.Leases, func(l Lease) bool { return l.Device == device && l.Session == session })
	if i < 0 {
		return nil
	}
	return &s.Leases[i]
}

// Leave frees the place of a session that ended on purpose, playing or waiting.
// It has no effect if the session beats to another Member meanwhile; without a
// Member it has wherever the session beats to.
type Leave struct {
	Account Key
	Device  Key
	Session string
	Member  string
}

// Decision is one entry of an account's log: what changed, and why.
type Decision struct {
	At      int64
	Outcome string // an Outcome, or "left", "lapsed", "signed_out", "ended"
	Code    BlockCode
	Rule    string
	Limit   int
	Current int
	Device  Key
	Name    string
	Session string
	Event   string
	Rivals  []string // names of the devices that played, or that were ended
}
