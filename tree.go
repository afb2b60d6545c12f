package grandstand

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// TreePlace is where a gateway stands in the fan-out tree: DESIGN.md, "The
// fan-out tree".
type TreePlace struct {
	// Relay: it reads boards from Redis, and other gateways read them from it.
	Relay bool

	// Parents are the addresses (Member.Peer) of the relays to read from, the
	// best first. Empty for a relay, and where there is none: Redis is read.
	Parents []string
}

// TreePlaceOf returns the place of the gateway self among the members: a pure
// function of who is alive, so all who know the same members agree without
// asking each other.
//
// The oldest ⌈n/fanout⌉ of n gateways that have a peer address are relays. The
// others rank the relays by rendezvous hash (Thaler and Ravishankar, 1998):
// when a relay comes or goes only those move that go to it or were its own. A
// relay has no parent, so there is no loop.
func TreePlaceOf(members []Member, self string, fanout int) TreePlace {
	var relays []Member
	gateways := 0
	for _, m := range members {
		if m.Role != RoleGateway || !m.Alive || m.Outside {
			continue
		}
		gateways++
		if m.Peer != "" {
			relays = append(relays, m)
		}
	}
	slices.SortFunc(relays, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.JoinedAt, b.JoinedAt), cmp.Compare(a.ID, b.ID))
	})
	fanout = max(fanout, 1)
	relays = relays[:min(len(relays), (gateways+fanout-1)/fanout)]
	if slices.ContainsFunc(relays, func(m Member) bool { return m.ID == self }) {
		return TreePlace{Relay: true}
	}
	slices.SortFunc(relays, func(a, b Member) int {
		return cmp.Or(cmp.Compare(rendezvous(b.ID, self), rendezvous(a.ID, self)), cmp.Compare(a.ID, b.ID))
	})
	var place TreePlace
	for _, m := range relays {
		place.Parents = append(place.Parents, m.Peer)
	}
	return place
}

// MaxChildren is how many gateways a relay takes at most. Hashing does not
// divide evenly: whoever is refused goes to its next best relay, and twice the
// fanout is room for all even if half of the relays are gone.
func MaxChildren(fanout int) int { return 2 * max(fanout, 1) }

// rendezvous is the weight of a relay for a gateway: FNV-1a of both ids, its
// bits mixed (MurmurHash3's finalizer), because FNV leaves the last bytes of
// its input in the low bits.
func rendezvous(relay, gateway string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(relay))
	h.Write([]byte{0})
	h.Write([]byte(gateway))
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
