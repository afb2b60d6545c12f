package redis

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"grandstand"
)

// raceOps is how many operations TestServer checks; a million takes minutes:
//
//	go test -run 'TestServer$/Linearizable' -v ./redis -lease-ops 1000000
var raceOps = flag.Int("lease-ops", 15_000, "operations on leases that are checked for linearizability")

const (
	raceLimit    = 2
	raceDevices  = 8
	raceSessions = 2   // of a device
	raceEach     = 25  // operations of a device
	raceAccounts = 24  // at once
	raceLease    = 200 // seconds: nothing lapses meanwhile
)

// raceOp is what one of the devices of an account did.
type raceOp struct {
	kind    string // ask, leave, sign_out, look
	session int    // device × raceSessions + one of its sessions
	insist  bool
	born    int64 // of the hold
	end     []racePlace
}

type racePlace struct {
	session int
	born    int64
}

// raceReply is what it was told.
type raceReply struct {
	verdict grandstand.Verdict
	leases  []racePlace // rivals, or what is there
	waiting []int
}

// raceState is an account as the rules have it, for a limit that stays and leases
// that do not lapse. It is comparable.
type raceState struct {
	n       int
	leases  [raceLimit]racePlace // by session
	ended   [raceDevices * raceSessions]grandstand.BlockCode
	waiting [raceDevices]int // session + 1
	first   [raceDevices]int64
}

func (s *raceState) has(ok func(racePlace) bool) (racePlace, bool) {
	for _, l := range s.leases[:s.n] {
		if ok(l) {
			return l, true
		}
	}
	return racePlace{}, false
}

func (s *raceState) add(l racePlace) {
	s.leases[s.n] = l
	s.n++
	slices.SortFunc(s.leases[:s.n], func(a, b racePlace) int { return a.session - b.session })
}

func (s *raceState) drop(l racePlace) {
	i := slices.Index(s.leases[:s.n], l)
	copy(s.leases[i:], s.leases[i+1:s.n])
	s.n--
	s.leases[s.n] = racePlace{}
}

func (s *raceState) stopWaiting(device int) { s.waiting[device], s.first[device] = 0, 0 }

var raceModel = porcupine.Model{
	Init: func() any { return raceState{} },
	Step: func(state, in, out any) (bool, any) {
		s := state.(raceState)
		ok := s.step(in.(raceOp), out.(raceReply))
		return ok, s
	},
}

// step carries the operation out and reports whether the reply is right.
func (s *raceState) step(op raceOp, out raceReply) bool {
	device := op.session / raceSessions
	switch op.kind {
	case "look":
		return slices.Equal(out.leases, s.leases[:s.n]) && s.waits(out.waiting)
	case "leave":
		if l, ok := s.has(func(l racePlace) bool { return l.session == op.session }); ok {
			s.drop(l)
		}
		if s.waiting[device] == op.session+1 {
			s.stopWaiting(device)
		}
		return true
	case "sign_out":
		if l, ok := s.has(func(l racePlace) bool { return l.session/raceSessions == device }); ok {
			s.drop(l)
			s.ended[l.session] = grandstand.BlockSignedOut
		}
		if w := s.waiting[device]; w > 0 {
			s.ended[w-1] = grandstand.BlockSignedOut
			s.stopWaiting(device)
		}
		return true
	}
	return s.ask(op, out, device)
}

func (s *raceState) waits(sessions []int) bool {
	n := 0
	for _, w := range s.waiting {
		if w > 0 {
			n++
			if !slices.Contains(sessions, w-1) {
				return false
			}
		}
	}
	return n == len(sessions)
}

func (s *raceState) ask(op raceOp, out raceReply, device int) bool {
	v := out.verdict
	refused := func(code grandstand.BlockCode) bool { return !v.Allowed && v.Code == code }
	if code := s.ended[op.session]; code != "" {
		if !op.insist {
			return refused(code)
		}
		s.ended[op.session] = ""
	}
	if l, ok := s.has(func(l racePlace) bool { return l.session == op.session }); ok {
		return v.Outcome == renewed && v.Hold.Born == l.born
	}
	old, isOld := s.has(func(l racePlace) bool { return l.session/raceSessions == device })
	waits := s.waiting[device]
	held := func(t int64) bool { return !op.insist && op.born > 0 && op.born <= t }
	switch {
	case isOld && held(old.born), waits > 0 && waits != op.session+1 && held(s.first[device]):
		s.ended[op.session] = grandstand.BlockSuperseded
		return refused(grandstand.BlockSuperseded)
	case waits > 0 && waits != op.session+1:
		s.ended[waits-1] = grandstand.BlockSuperseded
		s.stopWaiting(device)
	}
	want := acquired
	if isOld {
		want = superseded
		s.drop(old)
		s.ended[old.session] = grandstand.BlockSuperseded
	} else if s.n == raceLimit {
		i := slices.IndexFunc(op.end, func(ref racePlace) bool { return slices.Contains(s.leases[:], ref) })
		if i < 0 {
			return s.wait(op, out, device)
		}
		want = tookOver
		s.drop(op.end[i])
		s.ended[op.end[i].session] = grandstand.BlockTakenOver
	}
	s.add(racePlace{op.session, v.Hold.Born})
	s.stopWaiting(device)
	return v.Allowed && v.Outcome == want && v.Hold.Born == v.Now && v.Current == s.n
}

func (s *raceState) wait(op raceOp, out raceReply, device int) bool {
	want := waiting
	if s.waiting[device] == 0 {
		want = blocked
		s.waiting[device], s.first[device] = op.session+1, out.verdict.Now
	}
	v := out.verdict
	return v.Outcome == want && v.Code == grandstand.BlockDeviceLimit && v.Current == s.n && slices.Equal(out.leases, s.leases[:s.n])
}

// racer is one device of an account.
type racer struct {
	c       *Client
	account grandstand.Key
	device  int
	holds   [raceSessions]grandstand.Hold
	seen    []racePlace // that a verdict named
}

func raceSession(s int) string { return fmt.Sprintf("%02d", s) }

func (r *racer) key() grandstand.Key { return device(fmt.Sprint("racer ", r.device)) }

// raceLeases returns leases by session.
func raceLeases(leases []grandstand.Lease) (list []racePlace) {
	for _, l := range leases {
		s, _ := strconv.Atoi(l.Session)
		list = append(list, racePlace{s, l.Born})
	}
	slices.SortFunc(list, func(a, b racePlace) int { return a.session - b.session })
	return list
}

// do carries out one random operation.
func (r *racer) do(ctx context.Context) (op raceOp, out raceReply, err error) {
	i := rand.IntN(raceSessions)
	op = raceOp{kind: "ask", session: r.device*raceSessions + i}
	switch n := rand.IntN(20); {
	case n == 0:
		op.kind = "sign_out"
		_, err = r.c.SignOut(ctx, r.account, r.key())
		return op, out, err
	case n <= 2:
		op.kind = "look"
		s, err := r.c.Account(ctx, r.account)
		if err != nil {
			return op, out, err
		}
		for _, w := range s.Waiting {
			n, _ := strconv.Atoi(w.Session)
			out.waiting = append(out.waiting, n)
		}
		out.leases = raceLeases(s.Leases)
		return op, out, nil
	case n <= 5:
		op.kind = "leave"
		l := grandstand.Leave{Account: r.account, Device: r.key(), Session: raceSession(op.session), Member: "m"}
		return op, out, r.c.Leave(ctx, []grandstand.Leave{l})
	case n <= 9:
		op.end, op.insist = r.seen, true
	}
	a := grandstand.Ask{
		Account: r.account, Device: r.key(), Session: raceSession(op.session), Event: "final", Name: "racer", Member: "m",
		LeaseMS: raceLease * 1000, Hold: r.holds[i], Terms: grandstand.Terms{Limit: raceLimit, Rule: "default"}, Wait: true, Insist: op.insist,
	}
	for _, ref := range op.end {
		a.Terminate = append(a.Terminate, grandstand.LeaseRef{
			Device: device(fmt.Sprint("racer ", ref.session/raceSessions)), Session: raceSession(ref.session), Born: ref.born,
		})
	}
	op.born = a.Hold.Born
	answer := r.c.Ask(ctx, []grandstand.Ask{a})[0]
	out.verdict, out.leases = answer.Verdict, raceLeases(answer.Verdict.Rivals)
	if answer.Verdict.Allowed {
		r.holds[i] = answer.Verdict.Hold
	} else if len(out.leases) > 0 {
		r.seen = out.leases
	}
	return op, out, answer.Err
}

// raceAccount has all devices of an account play at once and returns what each
// did, when, and was told.
func raceAccount(ctx context.Context, clients []*Client, account grandstand.Key) ([]porcupine.Operation, error) {
	var mu sync.Mutex
	var history []porcupine.Operation
	var failed error
	begin := time.Now()
	var wg sync.WaitGroup
	for dev := range raceDevices {
		wg.Go(func() {
			r := &racer{c: clients[dev%len(clients)], account: account, device: dev}
			for range raceEach {
				call := time.Since(begin).Nanoseconds()
				op, out, err := r.do(ctx)
				end := time.Since(begin).Nanoseconds()
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: dev, Input: op, Call: call, Output: out, Return: end})
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return history, failed
}

// testLeasesRace has many accounts played on by eight devices each, through
// several clients, and looks for an order of what was done that explains all
// that was told: one in which no more than two ever play.
func testLeasesRace(t *testing.T, r *rig) {
	ops := *raceOps
	if !r.quick {
		ops = min(ops, 1_000)
	}
	clients := []*Client{open(t, r.url), open(t, r.url), open(t, r.url)}
	accounts := (ops + raceDevices*raceEach - 1) / (raceDevices * raceEach)
	var next, done, violations atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range min(accounts, raceAccounts) {
		wg.Go(func() {
			for {
				n := int(next.Add(1))
				if n > accounts {
					return
				}
				history, err := raceAccount(t.Context(), clients, acct(n))
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(int64(len(history)))
				if result := porcupine.CheckOperationsTimeout(raceModel, history, time.Minute); result != porcupine.Ok {
					violations.Add(1)
					t.Errorf("account %d: an order that explains what was told: %v\n%s", n, result, told(history))
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d operations on %d accounts in %v, %d violations", done.Load(), accounts, time.Since(begin).Round(time.Millisecond), violations.Load())
	if int(done.Load()) < ops {
		t.Errorf("%d operations were checked, want %d", done.Load(), ops)
	}
}

func told(history []porcupine.Operation) (text string) {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range history {
		text += fmt.Sprintf("%9d %9d %+v -> %+v\n", op.Call, op.Return, op.Input, op.Output)
	}
	return text
}

// TestRaceModelFindsFaults has the check see what it is there for.
func TestRaceModelFindsFaults(t *testing.T) {
	now := int64(1000)
	ask := func(session int, o grandstand.Outcome, code grandstand.BlockCode, leases ...racePlace) porcupine.Operation {
		now++
		v := grandstand.Verdict{Outcome: o, Code: code, Allowed: code == "", Now: now, Hold: grandstand.Hold{Born: now}, Current: 2}
		return porcupine.Operation{Input: raceOp{kind: "ask", session: session}, Output: raceReply{verdict: v, leases: leases}, Call: now, Return: now}
	}
	two := func() []porcupine.Operation {
		now = 1000
		first := ask(0, acquired, "")
		out := first.Output.(raceReply)
		out.verdict.Current = 1
		first.Output = out
		return []porcupine.Operation{first, ask(2, acquired, "")}
	}
	good := append(two(), ask(4, blocked, grandstand.BlockDeviceLimit, racePlace{0, 1001}, racePlace{2, 1002}))
	if !porcupine.CheckOperations(raceModel, good) {
		t.Error("two that play and one that is blocked are refused")
	}
	for name, bad := range map[string][]porcupine.Operation{
		"three play":             append(two(), ask(4, acquired, "")),
		"a renewal is refused":   append(two(), ask(2, blocked, grandstand.BlockDeviceLimit, racePlace{0, 1001})),
		"a rival is not named":   append(two(), ask(4, blocked, grandstand.BlockDeviceLimit, racePlace{0, 1001})),
		"nobody was ended":       append(two(), ask(4, tookOver, "")),
		"a place that was taken": append(two(), ask(3, acquired, "")),
	} {
		if porcupine.CheckOperations(raceModel, bad) {
			t.Errorf("%s: not found", name)
		}
	}
}
