package redis

import (
	"hash/fnv"
	"strconv"
	"time"

	"grandstand"
)

// Every key of the system. The part in braces is what Redis Cluster hashes, so
// keys with the same one share a slot and may meet in one script. Nothing that
// grows with an audience lies in one slot. What is saved of the events of one
// shard does, so that one script saves it.
//
//	key                           type    holds                                                lives
//	gs:{s<bucket>}:<session>      string  owner and generation of a session (record.go)        recordTTL after it was last kept
//	gs:{s<bucket>}:<session>:claim string whom the owner before had claimed it from (claim.lua) claimRepeat
//	gs:{g<gateway>}:releases      stream  sessions that the gateway no longer owns             releaseTTL after the last; entries as long
//	gs:{g<gateway>}:manifest      string  AppendManifest                                       tallyTTL after it was written
//	gs:{<tallyTag>}:tally:<gateway>/<shard> string AppendShardTally                            tallyTTL after it was written
//	gs:{r<event>}:values          hash    "dim=value": 1, "#dim": how many, "#": how many      registryTTL after the last question
//	gs:{<boardTag>}:board:<shard> stream  of length one: at, e(poch), d: AppendShardBoard      boardTTL after the last board
//	gs:{e<event>}:event           hash    u(pdated at), d: JSON of the event                   for ever; endedTTL once it has ended
//	gs:{<historyTag>}:steps:<event>/<hour> list AppendStep, any order, possibly twice          historyTTL after the last step
//	gs:{<historyTag>}:reach:<event> hash    segment: peak, its time, sketch (reach.go)           reachTTL after the last save
//	gs:{a<account>}:leases        string  who plays, waits, was ended (lua/leases/state.lua)   leasesTTL after the last change
//	gs:{a<account>}:decisions     list    the last decisions, newest first (leaseforms.go)     decisionsTTL after the last
//	gs:{n<member>}:notices        stream  n(umber), a(ccount) to look at again                 noticesTTL after the last was written or awaited
//	gs:{members}:list             hash    member: joined, seen, JSON                           membersTTL after the last renewal
//	gs:{members}:status           hash    member: AppendStatus                                 membersTTL after the last renewal
//	gs:{members}:boot             string  random name of this data set, its beginning          for ever: it ends with the data
//	gs:{members}:renewals         string  how many there were of all members' leases           for ever
//	gs:{members}:shards           hash    "@<aggregator>" and <shard>: leases (hold.lua)       membersTTL after the last call
//	gs:{members}:events           set     names of all events                                  for ever
//	gs:{members}:version          string  changes whenever an event does                       for ever
//	gs:{members}:revoked          hash    "<kind>/<key>": before, until; v(ersion)             until the last is over
//
// The slot of {members} takes a few commands per member and second, whatever
// the audience.
const (
	recordTTL   = 360 * time.Second // refreshed within 180 s; a session counts for up to 163 s after its gateway died
	releaseTTL  = 180 * time.Second
	tallyTTL    = 180 * time.Second
	registryTTL = 7 * 24 * time.Hour
	boardTTL    = 25 * time.Hour
	endedTTL    = 7 * 24 * time.Hour
	historyTTL  = 25 * time.Hour
	reachTTL    = 48 * time.Hour
	membersTTL  = 200 * time.Second

	// More than HonourMS and maxLease: an account without a state granted nothing
	// within HonourMS, or its state was lost. (A quick renewal does not move the
	// end, but one of a lease's length does.)
	leasesTTL    = 20 * time.Minute
	decisionsTTL = 24 * time.Hour
	noticesTTL   = 180 * time.Second
)

// Bounds of what is kept of an account, beside those of the root package. They
// are known to the scripts by name (scripts.go).
const (
	maxLease      = 4 * time.Minute  // twice the longest interval and 5 s is less
	endedKept     = 15 * time.Minute // a session that was ended is known so long after it last asked
	maxEnded      = 128
	maxWatchers   = 64
	maxDecisions  = 50
	watchKept     = 60 * time.Second
	signOutRepeat = 10 * time.Second // a device signed out again within it is answered as the first time
	maxNotices    = 1000             // of a member; one that reads so late looks at everything again
)

// Leases and the tolerances of compare-and-publish. They are compared with
// Redis TIME within scripts, not left to key expiry.
const (
	memberLease  = 5 * time.Second   // who did not renew for so long is not alive
	memberListed = 180 * time.Second // and is forgotten after so long: its last tally counts for up to 163 s
	shardLease   = 4 * time.Second   // a holder that stops is replaced within 5 s by one who asks each second

	claimRepeat = 10 * time.Second // a claim asked again within it is answered as the first time

	publishAhead = 1 * time.Second // a board further ahead of Redis TIME is refused
	boardAhead   = 2 * time.Second // a stored board further ahead is of another time, and replaced under a new epoch
	leaseAhead   = 5 * time.Second // a lease from further ahead is moved to now
)

const (
	// boardTags is the number of slots that the board streams lie in: so many
	// connections a follower needs in a cluster.
	boardTags = 16

	// tallySlots is the number of slots that the tallies of one gateway lie in: so
	// many commands it takes to write or to read all of them. They are of
	// tallyTags, beginning at another one for each gateway.
	tallySlots = 16
	tallyTags  = 256
)

// Tags that are evenly spaced over the slots.
var (
	boardTag   = spreadTags("b", boardTags)
	tallyTag   = spreadTags("t", tallyTags)
	historyTag = spreadTags("h", grandstand.Shards)
)

const (
	membersKey  = "gs:{members}:list"
	statusKey   = "gs:{members}:status"
	bootKey     = "gs:{members}:boot"
	renewalsKey = "gs:{members}:renewals"
	shardsKey   = "gs:{members}:shards"
	eventsKey   = "gs:{members}:events"
	versionKey  = "gs:{members}:version"
	revokedKey  = "gs:{members}:revoked"
)

func recordKey(session string) string {
	return "gs:{s" + strconv.Itoa(grandstand.BucketOf(session)) + "}:" + session
}

func claimKey(session string) string { return recordKey(session) + ":claim" }

func releasesKey(gateway string) string { return "gs:{g" + gateway + "}:releases" }

func manifestKey(gateway string) string { return "gs:{g" + gateway + "}:manifest" }

func tallyKey(gateway string, shard int) string {
	return "gs:{" + tallyTagOf(gateway, shard) + "}:tally:" + gateway + "/" + strconv.Itoa(shard)
}

func tallyTagOf(gateway string, shard int) string {
	h := fnv.New32a()
	h.Write([]byte(gateway))
	return tallyTag[(h.Sum32()+uint32(shard%tallySlots*(tallyTags/tallySlots)))%tallyTags]
}

func valuesKey(event string) string { return "gs:{r" + event + "}:values" }

func boardKey(shard int) string {
	return "gs:{" + boardTag[shard%boardTags] + "}:board:" + strconv.Itoa(shard)
}

func eventKey(event string) string { return "gs:{e" + event + "}:event" }

func stepsKey(event string, hour int64) string {
	return historyPrefix(event) + "steps:" + event + "/" + strconv.FormatInt(hour, 10)
}

func reachKey(event string) string { return historyPrefix(event) + "reach:" + event }

func historyPrefix(event string) string {
	return "gs:{" + historyTag[grandstand.ShardOf(event)] + "}:"
}

func leasesKey(account grandstand.Key) string { return "gs:{a" + account.Text() + "}:leases" }

func decisionsKey(account grandstand.Key) string { return "gs:{a" + account.Text() + "}:decisions" }

func noticesKey(member string) string { return "gs:{n" + member + "}:notices" }

// ms writes a duration as a script's argument.
func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
