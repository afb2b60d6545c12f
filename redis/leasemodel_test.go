package redis

import (
	"cmp"
	"slices"

	"grandstand"
)

// model is the rules of Client.Ask once more, in Go and without Redis: what the
// scripts are compared with. It is one account.
type model struct {
	born    int64 // 0: there is no state
	leases  []place
	waiting []place
	ended   []tombstone
	watch   map[string]int64 // member: until
	log     []string         // "outcome code session", oldest first

	changed bool
	told    map[string]bool
}

// place is a lease, or a session that waits for one.
type place struct {
	grandstand.Lease
	network grandstand.Key
	first   int64
}

type tombstone struct {
	grandstand.Ended
	until int64
	told  bool
}

func (p *place) is(device grandstand.Key, session string) bool {
	return p.Device == device && p.Session == session
}

func byRank(a, b place) int {
	return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Session, b.Session))
}

// begin is rule 1, and what every script does first.
func (m *model) begin(now int64) {
	m.told, m.changed = map[string]bool{}, false
	if m.born == 0 {
		m.born = now
	}
	slices.SortFunc(m.leases, func(a, b place) int { return cmp.Or(cmp.Compare(a.Until, b.Until), byRank(a, b)) })
	m.leases = slices.DeleteFunc(m.leases, func(p place) bool {
		if p.Until <= now {
			m.note("lapsed", "", p.Session)
		}
		return p.Until <= now
	})
	m.waiting = slices.DeleteFunc(m.waiting, func(p place) bool { return p.Until <= now })
	m.ended = slices.DeleteFunc(m.ended, func(e tombstone) bool { return e.until <= now })
	for member, until := range m.watch {
		if until <= now {
			delete(m.watch, member)
		}
	}
}

func (m *model) note(outcome string, code grandstand.BlockCode, session string) {
	m.log = append(m.log, outcome+" "+string(code)+" "+session)
	m.changed = true
}

// end tells those whom it concerns (rule 9). before are the leases as the call
// found them.
func (m *model) end(before []place) {
	if !m.changed {
		return
	}
	for member := range m.watch {
		m.told[member] = true
	}
	count := func(list []place, event string) (n int) {
		for _, p := range list {
			if !p.Shadow && (event == "*" || p.Event == event) {
				n++
			}
		}
		return n
	}
	free := count(m.leases, "*") < count(before, "*")
	for _, p := range before {
		free = free || count(m.leases, p.Event) < count(before, p.Event)
	}
	if free {
		for _, w := range m.waiting {
			m.told[w.Member] = true
		}
	}
}

// finish is a tombstone.
func (m *model) finish(now int64, p place, code grandstand.BlockCode, by string) {
	m.ended = append(m.ended, tombstone{
		Ended: grandstand.Ended{Session: p.Session, Device: p.Device, Code: code, Name: p.Name, By: by, At: now}, until: now + endedKept.Milliseconds(),
	})
	m.told[p.Member] = true
	m.changed = true
}

// rival has leases removed that are equal to p.
func without(list []place, p place) []place {
	return slices.DeleteFunc(slices.Clone(list), func(x place) bool { return x.is(p.Device, p.Session) })
}

// discounted is the number of streams of leases, after the household's discount.
func discounted(list []place, household int) int {
	n, spare := 0, 0
	at := map[grandstand.Key]int{}
	for _, p := range list {
		if p.Shadow {
			continue
		}
		n++
		if !p.network.IsZero() {
			if at[p.network]++; at[p.network] > 1 {
				spare++
			}
		}
	}
	return n - min(spare, household)
}

func ofEvent(list []place, event string) []place {
	return slices.DeleteFunc(slices.Clone(list), func(p place) bool { return p.Shadow || p.Event != event })
}

func counting(list []place) []place {
	return slices.DeleteFunc(slices.Clone(list), func(p place) bool { return p.Shadow })
}

// room returns the rule by which me does not fit beside others, "" if it does.
// Those behind it do not matter with rank, for the event's limit with eventRank.
func room(t grandstand.Terms, others []place, me place, rank, eventRank bool) string {
	ahead := slices.DeleteFunc(slices.Clone(others), func(p place) bool { return byRank(p, me) > 0 })
	pick := func(rank bool) []place {
		if rank {
			return append(slices.Clone(ahead), me)
		}
		return append(slices.Clone(others), me)
	}
	if t.Limit > 0 && discounted(pick(rank), t.Household) > t.Limit {
		return "account"
	}
	if t.EventLimit > 0 && len(ofEvent(pick(eventRank), me.Event)) > t.EventLimit {
		return "event"
	}
	return ""
}

// explain fills in what a verdict says of a rule.
func explain(v *grandstand.Verdict, a *grandstand.Ask, rule string, leases []place) {
	if rule == "" {
		rule = "account"
		if a.Terms.Limit == 0 && a.Terms.EventLimit > 0 {
			rule = "event"
		}
	}
	v.Rule, v.Limit, v.Current = a.Terms.Rule, a.Terms.Limit, discounted(leases, a.Terms.Household)
	if rule == "event" {
		v.Rule, v.Limit, v.Current = grandstand.EventRule(a.Event), a.Terms.EventLimit, len(ofEvent(leases, a.Event))
	}
}

// refuse fills a verdict in: the session is blocked.
func refuse(v *grandstand.Verdict, code grandstand.BlockCode, rivals []place) {
	v.Code = code
	v.Rivals = nil
	slices.SortFunc(rivals, byRank)
	for _, p := range rivals {
		v.Rivals = append(v.Rivals, p.Lease)
		if !code.Final() && (v.FreeAt == 0 || p.Until < v.FreeAt) {
			v.FreeAt = p.Until
		}
	}
}

func (m *model) leave(now int64, l grandstand.Leave) {
	m.begin(now)
	before := slices.Clone(m.leases)
	for _, list := range []*[]place{&m.leases, &m.waiting} {
		*list = slices.DeleteFunc(*list, func(p place) bool {
			gone := p.is(l.Device, l.Session) && (l.Member == "" || p.Member == l.Member)
			if gone {
				m.note("left", "", p.Session)
			}
			return gone
		})
	}
	m.end(before)
}

func (m *model) signOut(now int64, device grandstand.Key) (n int) {
	m.begin(now)
	before := slices.Clone(m.leases)
	for _, list := range []*[]place{&m.leases, &m.waiting} {
		*list = slices.DeleteFunc(*list, func(p place) bool {
			if p.Device != device {
				return false
			}
			n++
			m.finish(now, p, grandstand.BlockSignedOut, "")
			m.note("signed_out", grandstand.BlockSignedOut, p.Session)
			return true
		})
	}
	m.end(before)
	if n == 0 {
		for _, e := range m.ended {
			if e.Device == device && e.Code == grandstand.BlockSignedOut && e.At > now-signOutRepeat.Milliseconds() {
				n++
			}
		}
	}
	return n
}

// age moves everything d ms into the past.
func (m *model) age(d int64) {
	if m.born == 0 {
		return
	}
	m.born -= d
	for _, list := range [][]place{m.leases, m.waiting} {
		for i := range list {
			p := &list[i]
			p.Since, p.Born, p.SeenAt, p.Until, p.first = p.Since-d, p.Born-d, p.SeenAt-d, p.Until-d, p.first-d
		}
	}
	for i := range m.ended {
		m.ended[i].At, m.ended[i].until = m.ended[i].At-d, m.ended[i].until-d
	}
	for member := range m.watch {
		m.watch[member] -= d
	}
}
