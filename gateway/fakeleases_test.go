package gateway

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"grandstand"
)

// fakeLeases keeps leases by the rules, simply, and by a clock that no gateway
// can change. It is safe for concurrent use.
type fakeLeases struct {
	mu       sync.Mutex
	down     bool          // every call takes until its deadline
	mute     bool          // notices are lost
	trip     time.Duration // that a call takes to get there
	lag      time.Duration // that answers to Ask take to get back
	accounts map[grandstand.Key]*fakeAccount
	tells    map[string]func(grandstand.Key)

	asks     []grandstand.Ask // all that were answered
	outcomes map[grandstand.Outcome]int
	notes    []note // to be sent when the lock is released
}

type note struct {
	member  string
	account grandstand.Key
}

type fakeAccount struct {
	born    int64
	leases  []fakeLease
	waiting map[string]fakeWaiter // by session
	ended   map[string]grandstand.Ended
}

type fakeLease struct {
	grandstand.Lease
	address grandstand.Key
}

type fakeWaiter struct {
	member string
	until  int64
}

func newFakeLeases() *fakeLeases {
	return &fakeLeases{accounts: map[grandstand.Key]*fakeAccount{}, tells: map[string]func(grandstand.Key){},
		outcomes: map[grandstand.Outcome]int{}, trip: time.Millisecond}
}

// lose empties it, as a Redis that lost its data.
func (f *fakeLeases) lose() {
	f.mu.Lock()
	f.accounts = map[grandstand.Key]*fakeAccount{}
	f.mu.Unlock()
}

func (f *fakeLeases) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
}

// enter begins a call and holds the lock, unless it is down.
func (f *fakeLeases) enter(ctx context.Context) error {
	if d, ok := ctx.Deadline(); !ok || time.Until(d) > 250*time.Millisecond {
		panic("a call for leases takes 250 ms at most")
	}
	if f.trip > 0 {
		time.Sleep(f.trip)
	}
	f.mu.Lock()
	if !f.down {
		return nil
	}
	f.mu.Unlock()
	<-ctx.Done()
	return grandstand.WrapError(grandstand.CodeUnavailable, errDown, "down")
}

// exit ends a call and sends the notices.
func (f *fakeLeases) exit() {
	notes, mute := f.notes, f.mute
	f.notes = nil
	tells := make([]func(grandstand.Key), len(notes))
	for i, n := range notes {
		tells[i] = f.tells[n.member]
	}
	f.mu.Unlock()
	for i, n := range notes {
		if tells[i] != nil && !mute {
			tells[i](n.account)
		}
	}
}

func (f *fakeLeases) FollowNotices(ctx context.Context, member string, tell func(grandstand.Key)) error {
	f.set(func() { f.tells[member] = tell })
	<-ctx.Done()
	f.set(func() { delete(f.tells, member) })
	return ctx.Err()
}

func (f *fakeLeases) Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer {
	answers := make([]grandstand.Answer, len(asks))
	if err := f.enter(ctx); err != nil {
		for i := range answers {
			answers[i].Err = err
		}
		return answers
	}
	defer func() { time.Sleep(f.lag) }()
	defer f.exit()
	for i, a := range asks {
		v := f.judge(&a)
		f.asks = append(f.asks, a)
		f.outcomes[v.Outcome]++
		answers[i].Verdict = v
	}
	return answers
}

func (f *fakeLeases) Leave(ctx context.Context, leaves []grandstand.Leave) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	defer f.exit()
	for _, l := range leaves {
		acc := f.account(l.Account)
		delete(acc.waiting, l.Session)
		i := acc.find(l.Device, l.Session)
		if i >= 0 && acc.leases[i].Member == l.Member {
			acc.leases = slices.Delete(acc.leases, i, i+1)
			f.tellWaiters(l.Account, acc)
		}
	}
	return nil
}

// signOut ends what a device plays, as the account's owner does.
func (f *fakeLeases) signOut(account, device grandstand.Key) {
	f.mu.Lock()
	defer f.exit()
	acc := f.account(account)
	for _, l := range slices.Clone(acc.leases) {
		if l.Device == device {
			f.end(account, acc, l.Session, grandstand.BlockSignedOut, "")
		}
	}
	f.tellWaiters(account, acc)
}

func (f *fakeLeases) Account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	defer f.exit()
	st := &grandstand.AccountState{Now: time.Now().UnixMilli()}
	for _, l := range f.account(account).leases {
		st.Leases = append(st.Leases, l.Lease)
	}
	return st, nil
}

// account returns what is kept of an account, without what has lapsed.
func (f *fakeLeases) account(key grandstand.Key) *fakeAccount {
	now := time.Now().UnixMilli()
	acc := f.accounts[key]
	if acc == nil {
		acc = &fakeAccount{born: now, waiting: map[string]fakeWaiter{}, ended: map[string]grandstand.Ended{}}
		f.accounts[key] = acc
	}
	acc.leases = slices.DeleteFunc(acc.leases, func(l fakeLease) bool { return l.Until <= now })
	for s, w := range acc.waiting {
		if w.until <= now {
			delete(acc.waiting, s)
		}
	}
	return acc
}

func (acc *fakeAccount) find(device grandstand.Key, session string) int {
	return slices.IndexFunc(acc.leases, func(l fakeLease) bool { return l.Device == device && l.Session == session })
}

func (f *fakeLeases) tellWaiters(account grandstand.Key, acc *fakeAccount) {
	for _, w := range acc.waiting {
		f.notes = append(f.notes, note{w.member, account})
	}
}

// end ends the lease of a session and tells its member.
func (f *fakeLeases) end(account grandstand.Key, acc *fakeAccount, session string, code grandstand.BlockCode, by string) {
	i := slices.IndexFunc(acc.leases, func(l fakeLease) bool { return l.Session == session })
	l := acc.leases[i]
	acc.ended[session] = grandstand.Ended{Session: session, Device: l.Device, Code: code, By: by}
	acc.leases = slices.Delete(acc.leases, i, i+1)
	f.notes = append(f.notes, note{l.Member, account})
}

// counting returns the leases that count, oldest first, all or those of event.
func (acc *fakeAccount) counting(event string) []fakeLease {
	var list []fakeLease
	for _, l := range acc.leases {
		if !l.Shadow && (event == "" || l.Event == event) {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b fakeLease) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Session, b.Session))
	})
	return list
}

// used returns how many streams the leases are, with the household's discount.
func used(list []fakeLease, household int) int {
	at := map[grandstand.Key]int{}
	discount := 0
	for _, l := range list {
		if l.address.IsZero() {
			continue
		}
		if at[l.address]++; at[l.address] > 1 {
			discount++
		}
	}
	return len(list) - min(household, discount)
}

// violated returns the rule that a set of leases breaks, "" if none.
func violated(list []fakeLease, a *grandstand.Ask) (rule string, limit int, rivals []fakeLease) {
	var event []fakeLease
	for _, l := range list {
		if l.Event == a.Event {
			event = append(event, l)
		}
	}
	t := a.Terms
	switch {
	case t.Limit > 0 && used(list, t.Household) > t.Limit:
		return t.Rule, t.Limit, list
	case t.EventLimit > 0 && used(event, t.Household) > t.EventLimit:
		return grandstand.EventRule(a.Event), t.EventLimit, event
	}
	return "", 0, nil
}

// judge decides one ask.
func (f *fakeLeases) judge(a *grandstand.Ask) grandstand.Verdict {
	now := time.Now().UnixMilli()
	acc := f.account(a.Account)
	v := grandstand.Verdict{Now: now, Rule: a.Terms.Rule, Limit: a.Terms.Limit}
	if e, ok := acc.ended[a.Session]; ok {
		if !a.Insist {
			v.Outcome, v.Code, v.By = grandstand.OutcomeBlocked, e.Code, e.By
			return v
		}
		delete(acc.ended, a.Session)
	}
	mine := fakeLease{Lease: grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Device: a.Device, Session: a.Session, Born: now},
		Name:     a.Name, Event: a.Event, Member: a.Member, Since: now, SeenAt: now, Until: now + a.LeaseMS,
	}, address: a.Address}

	outcome := grandstand.OutcomeAcquired
	if i := acc.find(a.Device, a.Session); i >= 0 {
		mine.Since, mine.Born = acc.leases[i].Since, acc.leases[i].Born
		outcome = grandstand.OutcomeRenewed
		acc.leases = slices.Delete(acc.leases, i, i+1)
		older := slices.DeleteFunc(acc.counting(""), func(l fakeLease) bool {
			return cmp.Or(cmp.Compare(l.Since, mine.Since), cmp.Compare(l.Session, mine.Session)) > 0
		})
		return f.settle(acc, a, v, mine, append(older, mine), outcome)
	}
	if i := slices.IndexFunc(acc.leases, func(l fakeLease) bool { return l.Device == a.Device }); i >= 0 {
		o := acc.leases[i]
		if a.Hold.Born != 0 && a.Hold.Born < o.Born {
			acc.ended[a.Session] = grandstand.Ended{Session: a.Session, Device: a.Device, Code: grandstand.BlockSuperseded}
			v.Outcome, v.Code, v.Rivals = grandstand.OutcomeBlocked, grandstand.BlockSuperseded, []grandstand.Lease{o.Lease}
			return v
		}
		mine.Since = o.Since
		f.end(a.Account, acc, o.Session, grandstand.BlockSuperseded, "")
		return f.settle(acc, a, v, mine, append(acc.counting(""), mine), grandstand.OutcomeSuperseded)
	}
	restored := a.Hold.Granted != 0 && a.Hold.Granted < acc.born && now-a.Hold.Granted <= grandstand.HonourMS
	if restored {
		mine.Since, mine.Born, outcome = a.Hold.Since, a.Hold.Born, grandstand.OutcomeRestored
		acc.leases = append(acc.leases, mine)
		for {
			list := acc.counting("")
			if rule, _, _ := violated(list, a); rule == "" || a.Terms.Shadow {
				break
			}
			i := acc.find(list[len(list)-1].Device, list[len(list)-1].Session)
			f.notes = append(f.notes, note{acc.leases[i].Member, a.Account})
			acc.leases = slices.Delete(acc.leases, i, i+1)
		}
		i := acc.find(a.Device, a.Session)
		if i < 0 {
			return f.settle(acc, a, v, mine, append(acc.counting(""), mine), outcome)
		}
		acc.leases = slices.Delete(acc.leases, i, i+1)
		return f.settle(acc, a, v, mine, append(acc.counting(""), mine), outcome)
	}
	all := append(acc.counting(""), mine)
	if rule, _, _ := violated(all, a); rule != "" && len(a.Terminate) > 0 {
		outcome = f.terminate(acc, a, all, outcome)
		all = append(acc.counting(""), mine)
	}
	if rule, _, rivals := violated(all, a); rule != "" && a.Terms.Evict {
		f.end(a.Account, acc, rivals[0].Session, grandstand.BlockTakenOver, a.Name)
		outcome = grandstand.OutcomeEvicted
		all = append(acc.counting(""), mine)
	}
	return f.settle(acc, a, v, mine, all, outcome)
}

// terminate ends the named leases in favour of the asker, if that suffices.
func (f *fakeLeases) terminate(acc *fakeAccount, a *grandstand.Ask, all []fakeLease, outcome grandstand.Outcome) grandstand.Outcome {
	var victims []string
	for _, ref := range a.Terminate {
		i := acc.find(ref.Device, ref.Session)
		if i < 0 || acc.leases[i].Born != ref.Born {
			continue
		}
		victims = append(victims, ref.Session)
		all = slices.DeleteFunc(all, func(l fakeLease) bool { return l.Session == ref.Session })
		if rule, _, _ := violated(all, a); rule == "" {
			for _, s := range victims {
				f.end(a.Account, acc, s, grandstand.BlockTakenOver, a.Name)
			}
			return grandstand.OutcomeTookOver
		}
	}
	return outcome
}

// settle grants mine if the leases that it is judged among keep the rules.
func (f *fakeLeases) settle(acc *fakeAccount, a *grandstand.Ask, v grandstand.Verdict, mine fakeLease, among []fakeLease, outcome grandstand.Outcome) grandstand.Verdict {
	rule, limit, rivals := violated(among, a)
	if rule == "" || a.Terms.Shadow {
		if mine.Shadow = rule != ""; mine.Shadow {
			outcome = grandstand.OutcomeWouldBlock
		}
		acc.leases = append(acc.leases, mine)
		delete(acc.waiting, a.Session)
		v.Allowed, v.Outcome, v.Hold, v.Until = true, outcome, mine.Hold(), mine.Until
		v.Current = len(acc.counting(""))
		return v
	}
	_, waits := acc.waiting[a.Session]
	v.Outcome = grandstand.OutcomeBlocked
	if waits {
		v.Outcome = grandstand.OutcomeWaiting
	}
	acc.waiting[a.Session] = fakeWaiter{a.Member, v.Now + a.LeaseMS}
	v.Code, v.Rule, v.Limit = grandstand.BlockDeviceLimit, rule, limit
	for _, l := range rivals {
		if l.Session == a.Session {
			continue
		}
		v.Rivals = append(v.Rivals, l.Lease)
		if v.FreeAt == 0 || l.Until < v.FreeAt {
			v.FreeAt = l.Until
		}
	}
	v.Current = len(v.Rivals)
	return v
}

// playing returns the sessions that have a lease in an account, oldest first.
func (f *fakeLeases) playing(account string) (sessions []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.account(accountKey(account)).counting("") {
		sessions = append(sessions, l.Session)
	}
	return sessions
}

func accountKey(account string) grandstand.Key {
	return grandstand.NewAccountsKey([]byte("0123456789abcdef")).Account(account)
}

var _ Leases = (*fakeLeases)(nil)
