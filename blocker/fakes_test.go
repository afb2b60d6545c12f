package blocker

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
)

var (
	_ Leases   = (*fakeRedis)(nil)
	_ Accounts = (*fakeRedis)(nil)
	_ Notices  = (*fakeRedis)(nil)
	_ Events   = (*fakeRedis)(nil)
	_ Auth     = fakeAuth{}
)

// fakeClock is the wall clock: the bubble's in a synctest bubble.
type fakeClock struct{}

func (fakeClock) Now() int64 { return time.Now().UnixMilli() }

// jumpyClock is a clock of Redis that can be set.
type jumpyClock struct{ ahead atomic.Int64 }

func (c *jumpyClock) Now() int64 { return time.Now().UnixMilli() + c.ahead.Load() }

var errDown = grandstand.WrapError(grandstand.CodeUnavailable, errors.New("redis is down"), "not now")

// fakeRedis keeps leases by the simplest rules that hold a limit. While it is
// down every call takes until its deadline.
type fakeRedis struct {
	mu       sync.Mutex
	down     bool
	deaf     bool // WatchAccount fails
	mute     bool // notices get lost
	accounts map[grandstand.Key]*grandstand.AccountState
	events   map[string]*grandstand.Event
	log      []grandstand.Decision

	asks     []grandstand.Ask
	leaves   []grandstand.Leave
	signOuts []grandstand.Key
	reads    int // of accounts
	watches  []time.Time
	gets     int // of events
	writes   int // whatever changed something

	watched map[grandstand.Key]time.Time // until when
	notices chan grandstand.Key
	broken  chan error // ends FollowNotices
	follows int
}

func newFakeRedis() *fakeRedis {
	return &fakeRedis{
		accounts: map[grandstand.Key]*grandstand.AccountState{}, events: map[string]*grandstand.Event{},
		watched: map[grandstand.Key]time.Time{}, notices: make(chan grandstand.Key, 1000), broken: make(chan error),
	}
}

// begin locks the fake, or waits for the deadline if it is down.
func (f *fakeRedis) begin(ctx context.Context) error {
	f.mu.Lock()
	if !f.down {
		return nil
	}
	f.mu.Unlock()
	<-ctx.Done()
	return errDown
}

func (f *fakeRedis) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// read calls see while the fake is locked.
func (f *fakeRedis) see(see func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	see()
}

// state returns the account, pruned. f.mu is held.
func (f *fakeRedis) state(account grandstand.Key) *grandstand.AccountState {
	s := f.accounts[account]
	if s == nil {
		s = &grandstand.AccountState{}
		f.accounts[account] = s
	}
	s.Now = fakeClock{}.Now()
	s.Leases = slices.DeleteFunc(s.Leases, func(l grandstand.Lease) bool { return l.Until <= s.Now })
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w grandstand.Waiting) bool { return w.Until <= s.Now })
	return s
}

// changed tells whoever watches the account. f.mu is held.
func (f *fakeRedis) changed(account grandstand.Key) {
	f.writes++
	if time.Now().Before(f.watched[account]) && !f.mute {
		f.notices <- account
	}
}

func (f *fakeRedis) Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer {
	answers := make([]grandstand.Answer, len(asks))
	for i := range asks {
		if answers[i].Err = f.begin(ctx); answers[i].Err == nil {
			f.asks = append(f.asks, asks[i])
			answers[i].Verdict = f.decide(&asks[i])
			f.mu.Unlock()
		}
	}
	return answers
}

func (f *fakeRedis) decide(a *grandstand.Ask) grandstand.Verdict {
	s := f.state(a.Account)
	v := grandstand.Verdict{Now: s.Now, Rule: a.Terms.Rule, Limit: a.Terms.Limit}
	ended := func(e grandstand.Ended) bool { return e.Device == a.Device && e.Session == a.Session }
	if a.Insist {
		s.Ended = slices.DeleteFunc(s.Ended, ended)
	}
	if i := slices.IndexFunc(s.Ended, ended); i >= 0 {
		v.Code, v.By, v.Outcome, v.Rivals = s.Ended[i].Code, s.Ended[i].By, grandstand.OutcomeBlocked, slices.Clone(s.Leases)
		return v
	}
	if l := s.Lease(a.Device, a.Session); l != nil {
		l.SeenAt, l.Until, l.Member = s.Now, s.Now+a.LeaseMS, a.Member
		v.Outcome = grandstand.OutcomeRenewed
		if l.Shadow {
			v.Outcome = grandstand.OutcomeWouldBlock
		}
		return f.allow(s, v, l)
	}
	fresh := grandstand.Lease{
		LeaseRef: grandstand.LeaseRef{Device: a.Device, Session: a.Session, Born: s.Now},
		Name:     a.Name, Event: a.Event, Member: a.Member, Since: s.Now, SeenAt: s.Now, Until: s.Now + a.LeaseMS,
	}
	if i := slices.IndexFunc(s.Leases, func(l grandstand.Lease) bool { return l.Device == a.Device }); i >= 0 {
		old := s.Leases[i]
		s.Ended = append(s.Ended, grandstand.Ended{Session: old.Session, Device: old.Device, Code: grandstand.BlockSuperseded, At: s.Now})
		fresh.Since = old.Since
		s.Leases[i] = fresh
		f.changed(a.Account)
		v.Outcome = grandstand.OutcomeSuperseded
		return f.allow(s, v, &s.Leases[i])
	}
	v.Outcome = grandstand.OutcomeAcquired
	full := func() bool { return a.Terms.Limit > 0 && len(playing(s, "")) >= a.Terms.Limit }
	if a.Terms.EventLimit > 0 && len(playing(s, a.Event)) >= a.Terms.EventLimit {
		full = func() bool { return len(playing(s, a.Event)) >= a.Terms.EventLimit }
		v.Rule, v.Limit = grandstand.EventRule(a.Event), a.Terms.EventLimit
	}
	for _, ref := range a.Terminate {
		i := slices.IndexFunc(s.Leases, func(l grandstand.Lease) bool { return l.LeaseRef == ref })
		if i < 0 || !full() {
			continue
		}
		s.Ended = append(s.Ended, grandstand.Ended{Session: ref.Session, Device: ref.Device, Code: grandstand.BlockTakenOver, By: a.Name, At: s.Now})
		s.Leases = slices.Delete(s.Leases, i, i+1)
		v.Outcome = grandstand.OutcomeTookOver
	}
	if full() {
		if !a.Terms.Shadow {
			return f.refuse(s, v, a)
		}
		fresh.Shadow, v.Outcome = true, grandstand.OutcomeWouldBlock
	}
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w grandstand.Waiting) bool { return w.Device == a.Device })
	s.Leases = append(s.Leases, fresh)
	f.changed(a.Account)
	return f.allow(s, v, &s.Leases[len(s.Leases)-1])
}

func (f *fakeRedis) allow(s *grandstand.AccountState, v grandstand.Verdict, l *grandstand.Lease) grandstand.Verdict {
	v.Allowed, v.Hold, v.Until, v.Current = true, l.Hold(), l.Until, len(playing(s, ""))
	return v
}

func (f *fakeRedis) refuse(s *grandstand.AccountState, v grandstand.Verdict, a *grandstand.Ask) grandstand.Verdict {
	v.Code, v.Outcome, v.Rivals, v.Current = grandstand.BlockDeviceLimit, grandstand.OutcomeBlocked, playing(s, ""), len(playing(s, ""))
	v.FreeAt = slices.MinFunc(v.Rivals, func(a, b grandstand.Lease) int { return cmp.Compare(a.Until, b.Until) }).Until
	i := slices.IndexFunc(s.Waiting, func(w grandstand.Waiting) bool { return w.Device == a.Device })
	switch {
	case i >= 0:
		v.Outcome = grandstand.OutcomeWaiting
		s.Waiting[i].At, s.Waiting[i].Until = s.Now, s.Now+a.LeaseMS
	case len(s.Leases)+len(s.Waiting) >= grandstand.MaxDevices:
		v.Code = grandstand.BlockTooManyDevices
	case a.Wait:
		s.Waiting = append(s.Waiting, grandstand.Waiting{
			Device: a.Device, Session: a.Session, Name: a.Name, Event: a.Event, At: s.Now, Until: s.Now + a.LeaseMS,
		})
		f.changed(a.Account)
	}
	return v
}

func (f *fakeRedis) Leave(ctx context.Context, leaves []grandstand.Leave) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	defer f.mu.Unlock()
	f.leaves = append(f.leaves, leaves...)
	for _, l := range leaves {
		s := f.state(l.Account)
		s.Leases = slices.DeleteFunc(s.Leases, func(h grandstand.Lease) bool {
			return h.Device == l.Device && h.Session == l.Session && (l.Member == "" || h.Member == l.Member)
		})
		s.Waiting = slices.DeleteFunc(s.Waiting, func(w grandstand.Waiting) bool { return w.Device == l.Device && w.Session == l.Session })
		f.changed(l.Account)
	}
	return nil
}

func (f *fakeRedis) SignOut(ctx context.Context, account, device grandstand.Key) (int, error) {
	if err := f.begin(ctx); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	f.signOuts = append(f.signOuts, device)
	s := f.state(account)
	before := len(s.Leases) + len(s.Waiting)
	end := func(d grandstand.Key, session string) bool {
		if d == device {
			s.Ended = append(s.Ended, grandstand.Ended{Session: session, Device: d, Code: grandstand.BlockSignedOut, At: s.Now})
		}
		return d == device
	}
	s.Leases = slices.DeleteFunc(s.Leases, func(l grandstand.Lease) bool { return end(l.Device, l.Session) })
	s.Waiting = slices.DeleteFunc(s.Waiting, func(w grandstand.Waiting) bool { return end(w.Device, w.Session) })
	ended := before - len(s.Leases) - len(s.Waiting)
	if ended > 0 {
		f.changed(account)
	}
	return ended, nil
}

func (f *fakeRedis) Account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error) {
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	f.reads++
	s := *f.state(account)
	s.Leases, s.Waiting, s.Ended = slices.Clone(s.Leases), slices.Clone(s.Waiting), slices.Clone(s.Ended)
	return &s, nil
}

func (f *fakeRedis) Decisions(ctx context.Context, _ grandstand.Key, limit int) ([]grandstand.Decision, error) {
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return slices.Clone(f.log[:min(limit, len(f.log))]), nil
}

func (f *fakeRedis) WatchAccount(ctx context.Context, account grandstand.Key, _ string) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if f.deaf {
		return errDown
	}
	f.watches = append(f.watches, time.Now())
	f.watched[account] = time.Now().Add(time.Minute)
	return nil
}

func (f *fakeRedis) FollowNotices(ctx context.Context, _ string, tell func(account grandstand.Key)) error {
	f.see(func() { f.follows++ })
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-f.broken:
			return err
		case account := <-f.notices:
			tell(account)
		}
	}
}

func (f *fakeRedis) GetEvent(ctx context.Context, name string) (*grandstand.Event, error) {
	if err := f.begin(ctx); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	f.gets++
	e := f.events[name]
	if e == nil {
		return nil, grandstand.Errorf(grandstand.CodeNotFound, "there is no such event")
	}
	return e, nil
}

// fakeAuth believes tokens such as "acc=a1;dev=d1;lim=2;plan=gold;evt=e1,e2;exp=1795299042179"
// and "service". Without one nobody is let in, unless it is open.
type fakeAuth struct{ open bool }

func (f fakeAuth) Caller(r *http.Request) (Caller, error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "" && !f.open {
		return Caller{}, grandstand.Errorf(grandstand.CodeUnauthorized, "send a token")
	}
	c := Caller{Open: f.open, Service: f.open}
	for part := range strings.SplitSeq(token, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "acc":
			c.Account = value
		case "dev":
			c.Device = value
		case "name":
			c.Name = value
		case "lim":
			c.Limit, _ = strconv.Atoi(value)
		case "plan":
			c.Plan = value
		case "evt":
			c.Events = strings.Split(value, ",")
		case "exp":
			c.Expires, _ = strconv.ParseInt(value, 10, 64)
		case "service":
			c.Service = true
		case "broken":
			return Caller{}, errors.New("a cause with a secret in it")
		}
	}
	return c, nil
}
