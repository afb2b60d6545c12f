package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"grandstand"
	"grandstand/redis/redistest"
)

// A contest lets the devices of many accounts ask, take over, leave and look at
// once, over all gateways and blockers, and notes every operation with the time
// it took. porcupine then looks for an order in which one account, asked one
// question at a time, would have answered the same (linearizability: Herlihy and
// Wing, 1990). Every stay of a device goes by another id, so that an id is one
// life of one lease.

// contestLimit is the streams of every account of a contest.
const contestLimit = 2

type contestKind string

const (
	opAsk   contestKind = "ask"
	opTake  contestKind = "take" // names victims
	opLeave contestKind = "leave"
	opMaybe contestKind = "maybe" // an ask of a gateway that nobody was told of
	opRead  contestKind = "read"  // who plays
)

type contestInput struct {
	kind    contestKind
	device  int
	victims []int
}

type contestOutput struct {
	unknown bool // there was no answer: it was carried out, or not
	code    grandstand.BlockCode
	playing []int // of a read, sorted
}

// seats is the state of one account in the model.
type seats struct {
	playing [contestLimit]int // sorted; 0 is nobody
	ended   [16]int           // sorted; were taken over and have not been told
}

// swap returns the list with device in the place of old.
func swap(list []int, old, device int) {
	list[slices.Index(list, old)] = device
	slices.Sort(list)
}

func (s seats) forget(device int) seats {
	if slices.Contains(s.ended[:], device) {
		swap(s.ended[:], device, 0)
	}
	return s
}

// carryOut returns what one operation makes of the state, and its answer.
func (s seats) carryOut(in contestInput) (seats, grandstand.BlockCode) {
	switch in.kind {
	case opLeave:
		if slices.Contains(s.playing[:], in.device) {
			swap(s.playing[:], in.device, 0)
		}
		return s.forget(in.device), ""
	case opTake:
		s = s.forget(in.device)
	default:
		if slices.Contains(s.ended[:], in.device) {
			return s.forget(in.device), grandstand.BlockTakenOver
		}
	}
	if slices.Contains(s.playing[:], in.device) {
		return s, ""
	}
	if slices.Contains(s.playing[:], 0) {
		swap(s.playing[:], 0, in.device)
		return s, ""
	}
	for _, v := range in.victims {
		if slices.Contains(s.playing[:], v) {
			swap(s.playing[:], v, in.device)
			swap(s.ended[:], 0, v)
			return s, ""
		}
	}
	return s, grandstand.BlockDeviceLimit
}

// step returns the states that an operation with that answer can lead to.
func (s seats) step(in contestInput, out contestOutput) []any {
	if in.kind == opRead {
		seen := slices.DeleteFunc(slices.Clone(s.playing[:]), func(d int) bool { return d == 0 })
		if !slices.Equal(seen, out.playing) {
			return nil
		}
		return []any{s}
	}
	if out.code == grandstand.BlockTooManyDevices && in.device > grandstand.MaxDevices && !slices.Contains(s.playing[:], in.device) {
		return []any{s} // who waits is not in the model
	}
	next, code := s.carryOut(in)
	switch {
	case out.unknown, in.kind == opMaybe && code == "":
		return []any{s, next}
	case in.kind == opMaybe:
		return []any{s}
	case code != out.code:
		return nil
	}
	return []any{next}
}

var contestModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{seats{}} },
	Step: func(state, in, out any) []any { return state.(seats).step(in.(contestInput), out.(contestOutput)) },
}).ToModel()

// contest is where and how hard it is fought.
type contest struct {
	t                  *testing.T
	blockers, gateways []*process
	client             *http.Client
	key                grandstand.AccountsKey
	begin              time.Time

	boxes, sockets int // devices at a time, of each account
	operations     int // of each account at least, before the last phase

	// turns bounds the requests that are under way: more would only queue where
	// nobody can tell how long an operation took.
	turns chan struct{}

	asked, limited, unanswered atomic.Int64 // operations; those told 429; those without an answer

	checked time.Duration // that checking took
}

func newContest(t *testing.T, gateways, blockers []*process) *contest {
	const turns = 32
	return &contest{
		t: t, gateways: gateways, blockers: blockers, key: grandstand.NewAccountsKey([]byte(testSecret)), begin: time.Now(),
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: turns}},
		turns:  make(chan struct{}, turns),
	}
}

// turn waits for a turn and returns the time, and what ends it.
func (c *contest) turn() (from int64, done func()) {
	c.turns <- struct{}{}
	return c.now(), func() { <-c.turns }
}

func (c *contest) now() int64 { return int64(time.Since(c.begin)) }

func oneOf(list []*process) *process { return list[rand.N(len(list))] }

// contested is one account's part of a contest.
type contested struct {
	*contest
	name   string
	failed atomic.Bool

	mu      sync.Mutex
	history []porcupine.Operation
	next    int            // device
	numbers map[string]int // of devices, by the key that conflicts and lists have
}

// account has one account's devices contend, and returns what was noted and the
// names of those that play at the end.
func (c *contest) account(n int) (*contested, []string) {
	a := &contested{contest: c, name: fmt.Sprint("account-", n), numbers: map[string]int{}}
	over := make(chan struct{})
	var slots, settled sync.WaitGroup
	for range c.boxes {
		settled.Go(a.playBoxes)
	}
	for range c.sockets {
		settled.Add(1)
		slots.Go(func() { a.playSockets(sync.OnceFunc(settled.Done), over) })
	}
	settled.Wait()
	names := a.playersAtTheEnd()
	close(over)
	slots.Wait()
	return a, names
}

// playersAtTheEnd waits until as many play as may: gateways may be about to give
// the last free places away.
func (a *contested) playersAtTheEnd() []string {
	var names []string
	for range 50 {
		if names = a.read(); len(names) == contestLimit {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	return names
}

// device returns a new device's number and id.
func (a *contested) device() (int, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	id := fmt.Sprint("d", a.next)
	account := a.key.Account(a.name)
	a.numbers[a.key.Device(account, id).Text()] = a.next
	return a.next, id
}

func (a *contested) numberOf(device string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.numbers[device]
}

// note adds an operation that was called at from and has just returned. One
// without an answer may be carried out at any time.
func (a *contested) note(from int64, in contestInput, out contestOutput) {
	to := a.now()
	if out.unknown {
		to = math.MaxInt64
		a.unanswered.Add(1)
	}
	a.asked.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.history = append(a.history, porcupine.Operation{ClientId: in.device, Input: in, Call: from, Output: out, Return: to})
}

func (a *contested) more() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.history) < a.operations && !a.failed.Load()
}

// ask sends a heartbeat of a box, with victims a takeover, and notes it.
func (a *contested) ask(b *box, device int, conflicts []grandstand.Conflict) reply {
	for {
		in := contestInput{kind: opAsk, device: device}
		more := map[string]any{}
		if conflicts != nil {
			in.kind = opTake
			codes := []string{}
			for _, rival := range conflicts {
				codes = append(codes, rival.TerminationCode)
				in.victims = append(in.victims, a.numberOf(rival.Device))
			}
			more["terminate"] = codes
		}
		from, done := a.turn()
		r, err := b.try(a.t.Context(), a.client, more)
		done()
		switch {
		case err != nil:
			a.fail("a heartbeat: %v", err)
			return r
		case r.status == http.StatusTooManyRequests:
			a.limited.Add(1)
			<-time.After(200 * time.Millisecond)
			continue
		case r.status == http.StatusServiceUnavailable, r.Outage:
			a.note(from, in, contestOutput{unknown: true})
			continue
		}
		a.note(from, in, contestOutput{code: r.Code})
		return r
	}
}

// get reads a path of the account into v, and returns when it asked; 0: there
// was no answer.
func (a *contested) get(path string, v any) (from int64) {
	for range 100 {
		req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, oneOf(a.blockers).url+"/v1/accounts/"+a.name+path, nil)
		if err != nil {
			a.fail("%v", err)
			return 0
		}
		from, done := a.turn()
		resp, err := a.client.Do(req)
		if err != nil {
			done()
			a.fail("%v", err)
			return 0
		}
		err = json.NewDecoder(resp.Body).Decode(v)
		resp.Body.Close()
		done()
		if resp.StatusCode == http.StatusOK && err == nil {
			return from
		}
		a.limited.Add(1)
		<-time.After(200 * time.Millisecond)
	}
	a.fail("%s is not answered", path)
	return 0
}

// fail ends the account's part: what it noted is not whole.
func (a *contested) fail(format string, args ...any) {
	a.failed.Store(true)
	a.t.Errorf("%s: %s", a.name, fmt.Sprintf(format, args...))
}

// read notes who plays, and returns their names.
func (a *contested) read() (names []string) {
	var list struct{ Devices []listedDevice }
	from := a.get("/devices", &list)
	if from == 0 {
		return nil
	}
	var numbers []int
	for _, d := range list.Devices {
		if d.Status == "playing" {
			numbers = append(numbers, a.numberOf(d.Device))
			names = append(names, d.Name)
		}
	}
	slices.Sort(numbers)
	a.note(from, contestInput{kind: opRead}, contestOutput{playing: numbers})
	return names
}

func (a *contested) pathOf(id string) string {
	return oneOf(a.blockers).url + "/v1/accounts/" + a.name + "/devices/" + id
}

// playBoxes has devices without a WebSocket come and go. The last one stays.
func (a *contested) playBoxes() {
	for !a.failed.Load() {
		n, id := a.device()
		b := &box{t: a.t, path: a.pathOf(id), fields: map[string]any{"limit": contestLimit, "name": id, "interval_ms": 60_000}}
		if a.visit(b, n, id, a.ask(b, n, nil)) {
			return
		}
	}
}

// visit has a device do this and that. It reports whether it stays: the contest
// is over. r is what it was told.
func (a *contested) visit(b *box, n int, id string, r reply) bool {
	for a.more() {
		b.path = a.pathOf(id)
		switch k := rand.N(100); {
		case r.status == http.StatusGone:
			return false
		case k < 15:
			a.read()
		case k < 40:
			a.say(b, n)
			return false
		case k < 75 && r.status == http.StatusConflict:
			rivals := slices.Clone(r.Conflicts)
			rand.Shuffle(len(rivals), func(i, j int) { rivals[i], rivals[j] = rivals[j], rivals[i] })
			r = a.ask(b, n, rivals)
		default:
			r = a.ask(b, n, nil)
		}
	}
	return r.status != http.StatusGone
}

// say says goodbye for a box.
func (a *contested) say(b *box, n int) {
	for {
		from, done := a.turn()
		r, err := b.try(a.t.Context(), a.client, map[string]any{"ended": true})
		done()
		switch {
		case err != nil:
			a.fail("a goodbye: %v", err)
			return
		case r.status == http.StatusTooManyRequests:
			a.limited.Add(1)
			<-time.After(200 * time.Millisecond)
		case r.status == http.StatusOK:
			a.note(from, contestInput{kind: opLeave, device: n}, contestOutput{})
			return
		default:
			a.note(from, contestInput{kind: opLeave, device: n}, contestOutput{unknown: true})
		}
	}
}

// playSockets has devices with a WebSocket come and go until the contest is
// over; the last one stays until the end.
func (a *contested) playSockets(settled func(), over <-chan struct{}) {
	defer settled()
	for !a.failed.Load() {
		n, id := a.device()
		opened, done := a.turn()
		d, err := tryPlay(a.t, oneOf(a.gateways).url, identity(a.name, id, id, "limit", "2", "interval_ms", "60000"), nil)
		done()
		if err != nil {
			a.fail("%v", err)
			return
		}
		first := a.firstVerdict(d, id)
		if a.more() {
			<-time.After(100*time.Millisecond + rand.N(time.Second)) // it plays, or waits
			a.close(d, n, id, opened, first)
			continue
		}
		settled()
		<-over
		a.noteSocket(d, n, opened, first)
		return
	}
}

// firstVerdict waits until the device was told that it may not play, or is seen
// playing, and returns when it was.
func (a *contested) firstVerdict(d *device, id string) int64 {
	for wait := 100 * time.Millisecond; !a.failed.Load(); wait *= 2 {
		list, wake := d.heard(1)
		if len(list) > 0 {
			return 0
		}
		select {
		case <-wake:
		case <-time.After(wait):
			if a.status(d, id) == "allowed" {
				return a.now()
			}
		}
		if time.Since(d.opened) > time.Minute {
			a.fail("there is no verdict for %s (its socket is closed: %t): %s", id, d.isClosed(), a.decisions(d, id))
		}
	}
	return 0
}

// status returns "allowed", "idle" or why the device may not play.
func (a *contested) status(d *device, id string) string {
	var s struct{ Status, Code string }
	if a.get("/devices/"+id+"?session="+d.session, &s); s.Status == "blocked" {
		return s.Code
	}
	return s.Status
}

// decisions returns what the account knows of a device.
func (a *contested) decisions(d *device, id string) string {
	_, log := request(a.t, http.MethodGet, oneOf(a.blockers).url+"/v1/accounts/"+a.name+"/decisions", "", nil)
	_, status := request(a.t, http.MethodGet, a.pathOf(id)+"?session="+d.session, "", nil)
	return fmt.Sprintf("at %v its status is %s\n%s", time.Now().UnixMilli(), status, strings.ReplaceAll(log, "},{", "},\n{"))
}

// close says goodbye for a socket. It is over when the account knows of it.
func (a *contested) close(d *device, n int, id string, opened, first int64) {
	from := a.now()
	d.leave()
	for wait := 200 * time.Millisecond; !a.failed.Load(); wait = min(2*wait, 2*time.Second) {
		<-time.After(wait)
		if s := a.status(d, id); s == "idle" || s == string(grandstand.BlockTakenOver) {
			break
		}
		if a.now()-from > int64(time.Minute) {
			a.fail("the goodbye of %s is not heard: %s", id, a.decisions(d, id))
		}
	}
	a.noteSocket(d, n, opened, first)
	a.note(from, contestInput{kind: opLeave, device: n}, contestOutput{})
}

// noteSocket notes what a gateway asked for a socket, as far as the device was
// told. It is not told when, but that it was after it had come. Of one that waits
// a gateway may have asked once more, and the answer not be here yet.
func (a *contested) noteSocket(d *device, n int, opened, first int64) {
	add := func(at int64, code grandstand.BlockCode) {
		a.note(opened, contestInput{kind: opAsk, device: n}, contestOutput{code: code})
		a.mu.Lock()
		a.history[len(a.history)-1].Return = at
		a.mu.Unlock()
	}
	if first != 0 {
		add(first, "")
	}
	list, _ := d.heard(1)
	plays, waits := first != 0, false
	for _, m := range list {
		at := int64(m.at.Sub(a.begin))
		if m.Code == grandstand.BlockTakenOver && !plays {
			add(at, "") // it played, though nobody has seen it
		}
		plays = m.T == "unblocked"
		switch {
		case plays:
			waits = false
			add(at, "")
		case m.T == "blocked" && m.Code == grandstand.BlockDeviceLimit && waits: // others play now: nothing new
		case m.T == "blocked":
			waits = m.Code == grandstand.BlockDeviceLimit
			add(at, m.Code)
		}
	}
	if !plays {
		a.note(opened, contestInput{kind: opMaybe, device: n}, contestOutput{})
	}
}

// check fails the test unless there is an order for every account's history. Of
// one with many operations that nobody answered it may not find out in time.
func (c *contest) check(accounts []*contested) (violations, undecided int) {
	var next, wrong, slow atomic.Int64
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(accounts); i = int(next.Add(1)) - 1 {
				a := accounts[i]
				if a.failed.Load() {
					continue
				}
				switch porcupine.CheckOperationsTimeout(contestModel, a.history, 10*time.Second) {
				case porcupine.Illegal:
					if wrong.Add(1) == 1 {
						c.t.Errorf("%s: no order explains its history:\n%s", a.name, a)
					}
				case porcupine.Unknown:
					slow.Add(1)
				}
			}
		})
	}
	workers.Wait()
	return int(wrong.Load()), int(slow.Load())
}

// String lists the history by the time of the calls.
func (a *contested) String() string {
	list := slices.SortedFunc(slices.Values(a.history), func(x, y porcupine.Operation) int { return cmp.Compare(x.Call, y.Call) })
	var b strings.Builder
	for _, o := range list {
		fmt.Fprintf(&b, "%12.3f %12.3f ms %+v → %+v\n", float64(o.Call)/1e6, float64(o.Return)/1e6, o.Input, o.Output)
	}
	return b.String()
}

// The model itself: histories that must be refused, and some that must not.
func TestTheModelOfAContest(t *testing.T) {
	op := func(from, to int64, kind contestKind, device int, out contestOutput, victims ...int) porcupine.Operation {
		return porcupine.Operation{Input: contestInput{kind, device, victims}, Output: out, Call: from, Return: to}
	}
	allowed, full := contestOutput{}, contestOutput{code: grandstand.BlockDeviceLimit}
	taken, unknown := contestOutput{code: grandstand.BlockTakenOver}, contestOutput{unknown: true}
	two := []porcupine.Operation{op(1, 2, opAsk, 1, allowed), op(3, 4, opAsk, 2, allowed)}
	for name, c := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"two":                          {two, true},
		"three":                        {append(two, op(5, 6, opAsk, 3, allowed)), false},
		"three at once":                {[]porcupine.Operation{op(1, 9, opAsk, 1, allowed), op(1, 9, opAsk, 2, allowed), op(1, 9, opAsk, 3, allowed)}, false},
		"a third is refused":           {append(two, op(5, 6, opAsk, 3, full)), true},
		"a second is refused":          {append(two[:1:1], op(5, 6, opAsk, 3, full)), false},
		"who plays is refused":         {append(two, op(5, 6, opAsk, 1, full)), false},
		"a place becomes free":         {append(two, op(5, 6, opLeave, 1, allowed), op(7, 8, opAsk, 3, allowed)), true},
		"or may be free already":       {append(two, op(5, 9, opLeave, 1, allowed), op(7, 8, opAsk, 3, allowed)), true},
		"not before":                   {append(two, op(7, 8, opLeave, 1, allowed), op(5, 6, opAsk, 3, allowed)), false},
		"a takeover":                   {append(two, op(5, 6, opTake, 3, allowed, 1), op(7, 8, opAsk, 1, taken), op(9, 10, opRead, 0, contestOutput{playing: []int{2, 3}})), true},
		"a takeover of another":        {append(two, op(5, 6, opTake, 3, allowed, 1), op(7, 8, opAsk, 2, taken)), false},
		"a takeover ends two":          {append(two, op(5, 6, opTake, 3, allowed, 1, 2), op(7, 8, opRead, 0, contestOutput{playing: []int{3}})), false},
		"a takeover without need":      {append(two[:1:1], op(5, 6, opTake, 3, allowed, 1), op(7, 8, opAsk, 1, taken)), false},
		"a takeover of who is gone":    {append(two, op(5, 6, opTake, 3, allowed, 9)), false},
		"both take over the same":      {append(two, op(5, 9, opTake, 3, allowed, 1), op(5, 9, opTake, 4, allowed, 1)), false},
		"who was taken over is not":    {append(two, op(5, 6, opTake, 3, allowed, 1), op(7, 8, opAsk, 1, full)), false},
		"nobody answered":              {append(two[:1:1], op(3, 99, opAsk, 2, unknown), op(5, 6, opAsk, 3, full)), true},
		"nobody answered, but it was":  {append(two[:1:1], op(3, 99, opAsk, 2, unknown), op(5, 6, opAsk, 3, allowed)), true},
		"a gateway asked untold":       {append(two[:1:1], op(3, 9, opMaybe, 2, allowed), op(5, 6, opAsk, 3, full)), true},
		"a gateway did not ask":        {append(two[:1:1], op(3, 9, opMaybe, 2, allowed), op(5, 6, opAsk, 3, allowed)), true},
		"a gateway asked, but for one": {append(two[:1:1], op(3, 9, opMaybe, 2, allowed), op(5, 6, opAsk, 3, allowed), op(7, 8, opRead, 0, contestOutput{playing: []int{1, 2, 3}})), false},
	} {
		if got := porcupine.CheckOperations(contestModel, c.history); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Two hundred accounts of two streams have eight devices each, on three gateways
// and by REST, that ask, leave, and take over at once: there is an order that
// explains every answer, and in the end exactly two of each play.
//
// It takes all of the machine, so nothing else runs beside it.
func TestNoAccountPlaysMoreThanItMay(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	var gateways []*process
	for i := range 3 {
		gateways = append(gateways, startGateway(t, fmt.Sprint("gateway-", i+1), redis))
	}
	c := newContest(t, gateways, []*process{startBlocker(t, "blocker-1", redis), startBlocker(t, "blocker-2", redis)})
	c.boxes, c.sockets, c.operations = 4, 4, 16
	c.run(0, 200)
}

// run has accounts contend at once, and checks them.
func (c *contest) run(from, to int) (violations int) {
	c.t.Helper()
	accounts := make([]*contested, to-from)
	var wg sync.WaitGroup
	for i := range accounts {
		wg.Go(func() {
			var names []string
			accounts[i], names = c.account(from + i)
			if len(names) != contestLimit && !accounts[i].failed.Load() {
				c.t.Errorf("in the end %v of %s play, want %d", names, accounts[i].name, contestLimit)
			}
		})
	}
	wg.Wait()
	begin := time.Now()
	violations, undecided := c.check(accounts)
	took := time.Since(begin)
	c.checked += took
	c.t.Logf("%d operations on %d accounts so far, in %v (%d without an answer, %d told to wait), %d violations; checked in %v, but for %d accounts", c.asked.Load(), to,
		(time.Since(c.begin) - c.checked).Round(time.Millisecond), c.unanswered.Load(), c.limited.Load(), violations, took.Round(time.Millisecond), undecided)
	if u, n := c.unanswered.Load(), c.asked.Load(); u > n/20 || undecided > len(accounts)/20 { // on a machine that is busy with other things
		c.t.Errorf("%d of %d operations had no answer, %d accounts could not be checked", u, n, undecided)
	}
	return violations
}
