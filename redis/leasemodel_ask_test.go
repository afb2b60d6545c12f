package redis

import (
	"slices"

	"grandstand"
)

// ask decides as the script does. known says whether the log has it that the
// session was blocked last.
func (m *model) ask(now int64, a grandstand.Ask) grandstand.Verdict {
	m.begin(now)
	before := slices.Clone(m.leases)
	v := m.decide(now, &a)
	v.Now = now
	v.Allowed = v.Code == ""
	m.end(before)
	return v
}

func pick(list []place, ok func(place) bool) *place {
	if i := slices.IndexFunc(list, ok); i >= 0 {
		p := list[i]
		return &p
	}
	return nil
}

func (m *model) decide(now int64, a *grandstand.Ask) (v grandstand.Verdict) {
	same := func(p place) bool { return p.is(a.Device, a.Session) }
	sibling := func(p place) bool { return p.Device == a.Device && p.Session != a.Session }
	own, old := pick(m.leases, same), pick(m.leases, sibling)
	waited, waiter := pick(m.waiting, same), pick(m.waiting, sibling)

	// Rule 2.
	if i := slices.IndexFunc(m.ended, func(e tombstone) bool { return e.Device == a.Device && e.Session == a.Session }); i >= 0 {
		if !a.Insist {
			return m.stillEnded(now, a, &m.ended[i], old)
		}
		m.ended = slices.Delete(m.ended, i, i+1)
		m.changed = true
	}

	me := place{network: a.Address, Lease: grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Device: a.Device, Session: a.Session, Born: now}, Name: a.Name, Event: a.Event, Member: a.Member,
		Since: now, SeenAt: now, Until: now + a.LeaseMS,
	}}
	held := func(t int64) bool { return !a.Insist && a.Hold.Born > 0 && a.Hold.Born <= t }
	honoured := a.Hold.Granted > 0 && a.Hold.Granted < m.born && now-a.Hold.Granted <= grandstand.HonourMS
	others := m.leases
	rank, eventRank := false, false
	v.Outcome = grandstand.OutcomeAcquired
	switch {
	case own != nil: // rule 3
		me.Since, me.Born = own.Since, own.Born
		rank, eventRank = !own.Shadow, !own.Shadow && own.Event == a.Event
		if rank {
			v.Outcome = grandstand.OutcomeRenewed
		}
	case old != nil && (held(old.Born) || (!a.Insist && waited != nil && waited.first < old.Born)): // rule 4
		return m.superseded(now, a, me, *old)
	case waiter != nil && held(waiter.first) && (old != nil || !honoured):
		return m.superseded(now, a, me, *waiter)
	case old != nil:
		me.Since = old.Since
		others = without(others, *old)
		rank, eventRank = !old.Shadow, !old.Shadow && old.Event == a.Event
		v.Outcome = grandstand.OutcomeSuperseded
	case honoured: // rule 5
		me.Since, me.Born = min(a.Hold.Since, now), min(a.Hold.Born, now)
		rank, eventRank = true, true
		v.Outcome = grandstand.OutcomeRestored
	}
	others = without(others, me)

	why := room(a.Terms, others, me, rank, eventRank)
	var gone []place
	if why != "" {
		left, ended := giveWay(a, others, me, rank, eventRank)
		switch {
		case room(a.Terms, left, me, rank, eventRank) == "":
			others, gone, why = left, ended, ""
			v.Outcome = grandstand.OutcomeTookOver
		case a.Terms.Evict && !a.Terms.Shadow && own == nil && v.Outcome != grandstand.OutcomeRestored:
			for why != "" {
				rivals := counting(others)
				if why == "event" {
					rivals = ofEvent(others, a.Event)
				}
				oldest := slices.MinFunc(rivals, byRank)
				gone, others = append(gone, oldest), without(others, oldest)
				why = room(a.Terms, others, me, rank, eventRank)
			}
			v.Outcome = grandstand.OutcomeEvicted
		}
	}
	isNew := own == nil && old == nil && waited == nil && waiter == nil
	if isNew && (a.Wait || a.Terms.Shadow || why == "") && m.devices(others)+1 > grandstand.MaxDevices {
		m.changed = false
		explain(&v, a, why, m.leases)
		v.Outcome = grandstand.OutcomeWouldBlock
		if !a.Terms.Shadow {
			v.Outcome = grandstand.OutcomeBlocked
			refuse(&v, grandstand.BlockTooManyDevices, counting(m.leases))
		} else {
			v.Until = me.Until
		}
		return v
	}
	newer := waiter != nil && (own != nil || v.Outcome == grandstand.OutcomeRestored && held(waiter.first))
	if waiter != nil && !newer {
		m.waiting = without(m.waiting, *waiter)
		m.finish(now, *waiter, grandstand.BlockSuperseded, a.Name)
	}
	if why != "" && !a.Terms.Shadow {
		return m.refused(now, a, refusal{me, others, why, own != nil, old, waited, waiter, newer})
	}
	return m.admit(now, a, v, admission{me, others, why, own, old, gone})
}

// stillEnded is rule 2.
func (m *model) stillEnded(now int64, a *grandstand.Ask, e *tombstone, old *place) (v grandstand.Verdict) {
	v.Outcome = grandstand.OutcomeBlocked
	if e.told {
		v.Outcome = grandstand.OutcomeWaiting
	}
	e.told, e.until = true, now+endedKept.Milliseconds()
	explain(&v, a, "", m.leases)
	rivals := counting(m.leases)
	if e.Code == grandstand.BlockSuperseded {
		rivals = nil
		if old != nil {
			rivals = []place{*old}
		}
	}
	refuse(&v, e.Code, rivals)
	v.By = e.By
	return v
}

func (m *model) superseded(now int64, a *grandstand.Ask, me, newer place) (v grandstand.Verdict) {
	m.waiting = without(m.waiting, me)
	m.leases = without(m.leases, me)
	told := m.told[me.Member]
	m.finish(now, me, grandstand.BlockSuperseded, newer.Name)
	m.told[me.Member] = told // it is the one that asked
	if !told {
		delete(m.told, me.Member)
	}
	m.ended[len(m.ended)-1].told = true
	m.note("blocked", grandstand.BlockSuperseded, a.Session)
	explain(&v, a, "", m.leases)
	v.Outcome, v.By = grandstand.OutcomeBlocked, newer.Name
	var rivals []place
	if p := pick(m.leases, func(p place) bool { return p.Device == a.Device }); p != nil {
		rivals = []place{*p}
	}
	refuse(&v, grandstand.BlockSuperseded, rivals)
	return v
}

// giveWay is rule 7: those that the viewer named, as many as it takes.
func giveWay(a *grandstand.Ask, others []place, me place, rank, eventRank bool) (left, gone []place) {
	left = others
	for _, ref := range a.Terminate {
		why := room(a.Terms, left, me, rank, eventRank)
		if why == "" {
			break
		}
		p := pick(left, func(p place) bool {
			return p.LeaseRef == ref && !p.Shadow && (why == "account" || p.Event == a.Event)
		})
		if p != nil {
			left, gone = without(left, *p), append(gone, *p)
		}
	}
	return left, gone
}

// devices is the number of devices that would play or wait.
func (m *model) devices(leases []place) int {
	all := map[grandstand.Key]bool{}
	for _, p := range append(slices.Clone(leases), m.waiting...) {
		all[p.Device] = true
	}
	return len(all)
}

type refusal struct {
	me      place
	others  []place
	why     string
	playing bool
	old     *place
	waited  *place
	waiter  *place
	newer   bool
}

func (m *model) refused(now int64, a *grandstand.Ask, r refusal) (v grandstand.Verdict) {
	m.leases = r.others
	explain(&v, a, r.why, m.leases)
	rivals := counting(m.leases)
	if r.why == "event" {
		rivals = ofEvent(m.leases, a.Event)
	}
	if r.old != nil {
		m.leases = append(slices.Clone(m.leases), *r.old)
	}
	if r.newer {
		return m.superseded(now, a, r.me, *r.waiter)
	}
	m.waiting = without(m.waiting, r.me)
	again := r.waited != nil
	if a.Wait {
		r.me.first = now
		if again {
			r.me.first = r.waited.first
		}
		m.waiting = append(m.waiting, r.me)
	} else if !again && !r.playing {
		again = m.blockedLast(a.Session)
	}
	v.Outcome = grandstand.OutcomeWaiting
	if !again {
		v.Outcome = grandstand.OutcomeBlocked
		m.note("blocked", grandstand.BlockDeviceLimit, a.Session)
	}
	refuse(&v, grandstand.BlockDeviceLimit, rivals)
	return v
}

// blockedLast looks for the session in the last entries of the log.
func (m *model) blockedLast(session string) bool {
	for i := len(m.log) - 1; i >= max(0, len(m.log)-10); i-- {
		outcome, code, s := cutTwice(m.log[i])
		if s == session {
			return outcome == "blocked" && code == string(grandstand.BlockDeviceLimit)
		}
	}
	return false
}

type admission struct {
	me     place
	others []place
	why    string
	own    *place
	old    *place
	gone   []place
}

func (m *model) admit(now int64, a *grandstand.Ask, v grandstand.Verdict, ad admission) grandstand.Verdict {
	me := ad.me
	if ad.why != "" {
		me.Shadow = true
		v.Outcome = grandstand.OutcomeWouldBlock
	}
	m.waiting = without(m.waiting, me)
	m.leases = append(slices.Clone(ad.others), me)
	if ad.old != nil {
		m.finish(now, *ad.old, grandstand.BlockSuperseded, a.Name)
		m.note("ended", grandstand.BlockSuperseded, ad.old.Session)
	}
	for _, p := range ad.gone {
		m.finish(now, p, grandstand.BlockTakenOver, a.Name)
		m.note("ended", grandstand.BlockTakenOver, p.Session)
	}
	if v.Outcome == grandstand.OutcomeRestored {
		m.cut(a, me)
	}
	if v.Outcome != grandstand.OutcomeRenewed && !(me.Shadow && ad.own != nil && ad.own.Shadow) {
		m.note(string(v.Outcome), "", a.Session)
	}
	explain(&v, a, ad.why, m.leases)
	v.Hold = grandstand.Hold{Since: me.Since, Born: me.Born, Granted: now}
	v.Until = me.Until
	return v
}

// cut is the end of rule 5: the youngest leases beyond the limits go.
func (m *model) cut(a *grandstand.Ask, me place) {
	for {
		real := counting(m.leases)
		var beyond []place
		switch {
		case a.Terms.Limit > 0 && discounted(real, a.Terms.Household) > a.Terms.Limit:
			beyond = real
		case a.Terms.EventLimit > 0 && len(ofEvent(real, a.Event)) > a.Terms.EventLimit:
			beyond = ofEvent(real, a.Event)
		default:
			return
		}
		p := slices.MaxFunc(without(beyond, me), byRank)
		m.told[p.Member] = true
		if a.Terms.Shadow {
			i := slices.IndexFunc(m.leases, func(x place) bool { return x.is(p.Device, p.Session) })
			m.leases[i].Shadow = true
			m.note("would_block", "", p.Session)
			continue
		}
		m.leases = without(m.leases, p)
		m.note("ended", grandstand.BlockDeviceLimit, p.Session)
	}
}
