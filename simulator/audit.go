package simulator

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"grandstand"
)

// The checks. A report with a violation of any of them has failed.
const (
	checkSums     = "sums"     // a dimension adds up to something else than the world
	checkOrder    = "order"    // at went back within an epoch
	checkAgree    = "agree"    // two were shown different numbers of the same state
	checkAbove    = "above"    // a count was higher than the truth could be
	checkBelow    = "below"    // a count was over 1 % lower than the truth could be
	checkFans     = "fans"     // an estimate was off by more than it may be
	checkPeak     = "peak"     // a peak was higher than the true one
	checkFinal    = "final"    // the counts after the quiet were not exact
	checkLost     = "lost"     // somebody joined, or left, and it was never seen
	checkProtocol = "protocol" // a message was not what DESIGN.md says
)

const maxPerCheck = 1000 // violations kept with their text

// Violation is one check that failed.
type Violation struct {
	Check string    `json:"check"`
	At    int64     `json:"at,omitempty"` // of the state, Redis ms
	Time  time.Time `json:"time"`         // when it was noticed
	Text  string    `json:"text"`

	// Suspects are sessions that went lately, if a count was too high: their
	// ids, and what became of them in seconds from the state on.
	Suspects []string `json:"suspects,omitempty"`
}

// Bounds of error, see DESIGN.md, "Honest numbers".
const (
	sessionsBelow = 0.01  // of the truth: sessions on their way between gateways
	fansError95   = 0.025 // of an estimate over fansExact, at the 95th percentile
	fansErrorMax  = 0.05  // six standard errors
	fansExact     = 2000  // up to here an estimate is exact to ±1
	relativeFrom  = 100   // smaller segments are left out of relative errors
)

// audit compares what is shown with the truth. A state is judged a while after
// it was counted, when all transitions around it are known.
type audit struct {
	cfg    *Config
	truth  *truth
	stats  *stats
	offset atomic.Int64 // local ms minus Redis ms, the least seen lately; never: not known

	mu         sync.Mutex
	states     map[int64]*state // by at
	epoch      int64            // the highest seen; offset is of it
	near       time.Time        // when the clock of Redis was last about where offset has it
	seen       []difference     // of the clocks, lately, that nothing newer is below
	newest     int64            // at
	waiting    []*moment        // joins that no board has shown yet
	boardAt    int64            // of the newest full board
	boardEpoch int64
	peaks      map[grandstand.Segment]uint64 // higher than the truth, and known: told once
	lateUntil  int64                         // at; until then gateways catch up after a board that was not live
	pastUntil  int64                         // at; until then peaks from before this crowd may turn up
	folded     map[string]bool               // dimensions with values in "other"

	violations []Violation
	violated   map[string]int
	excused    []Excused
	judged     int
	boards     int

	finalFrom int64 // local ms; 0: not yet
	final     chan struct{}
	finalText string

	worldError, segmentError, fansError samples
}

// state is what was shown of one at.
type state struct {
	at, epoch int64
	live      bool
	counts    map[grandstand.Segment][2]uint64
	full      *fullBoard
	first     time.Time
	offset    int64 // of the clocks, when it was shown first
	judged    bool
}

// jumpedMS is from how much on the clock of Redis has jumped since a state was
// shown: it was of the time before.
const jumpedMS = 1000

// when returns the local ms that a state is of.
func (s *state) when(offset int64) int64 {
	if d := offset - s.offset; d > jumpedMS || d < -jumpedMS {
		offset = s.offset
	}
	return s.at + offset
}

func newAudit(cfg *Config, t *truth, s *stats) *audit {
	a := &audit{
		cfg: cfg, truth: t, stats: s,
		states: map[int64]*state{}, folded: map[string]bool{}, violated: map[string]int{},
		peaks: map[grandstand.Segment]uint64{},
		final: make(chan struct{}),
	}
	a.offset.Store(never)
	return a
}

func (a *audit) violate(check string, at int64, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.violateLocked(check, at, format, args...)
}

func (a *audit) violateLocked(check string, at int64, format string, args ...any) {
	if a.violated[check]++; a.violated[check] > maxPerCheck {
		return
	}
	v := Violation{Check: check, At: at, Time: time.Now(), Text: fmt.Sprintf(format, args...)}
	a.violations = append(a.violations, v)
	a.cfg.Logger.Warn("violation", "check", check, "at", at, "text", v.Text)
}

// joined takes note of somebody who came.
func (a *audit) joined(m *moment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) < maxViewers {
		a.waiting = append(a.waiting, m)
	}
}

// frame takes a frame that a viewer was shown. settled says that it is not the
// first of a connection, which is as old as it happens to be.
func (a *audit) frame(who *person, c *counts, now time.Time, settled bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.syncLocked(now, c.At+c.Age, c.Epoch) {
		return
	}
	s := a.stateLocked(c.At, c.Epoch, now)
	s.live = s.live || c.Q == ""
	if settled && s.live {
		a.stats.delivery.add(float64(max(ms(now)-c.At-a.offset.Load(), 0)) / 1000)
	}
	for _, seg := range who.segments() {
		if n := c.N[seg.Dim]; n != nil && (!a.folded[seg.Dim] || seg.Dim == grandstand.World) {
			a.shownLocked(s, seg, *n)
		}
	}
}

// board takes a full board that an operator was shown.
func (a *audit) board(b *fullBoard, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.boards++
	if !a.syncLocked(now, b.At+b.AgeMS, b.Epoch) {
		return
	}
	if b.Epoch == a.boardEpoch && b.At < a.boardAt {
		a.violateLocked(checkOrder, b.At, "the stream of full boards went back from %d to %d", a.boardAt, b.At)
	}
	a.boardAt, a.boardEpoch = b.At, b.Epoch
	world := b.Counts[grandstand.WorldSegment].Sessions
	sums := map[string]uint64{}
	for seg, c := range b.Counts {
		sums[seg.Dim] += c.Sessions
		if c.Fans > c.Sessions {
			a.violateLocked(checkFans, b.At, "%s has %d fans in %d sessions", seg, c.Fans, c.Sessions)
		}
		if seg.Value == grandstand.Other && c.Sessions > 0 {
			a.folded[seg.Dim] = true
		}
	}
	for dim := range b.Dims {
		if sums[dim] != world {
			a.violateLocked(checkSums, b.At, "the sessions of %s add up to %d, the world has %d", dim, sums[dim], world)
		}
	}
	s := a.stateLocked(b.At, b.Epoch, now)
	s.live = s.live || b.Quality == "live"
	s.full = b
	for seg, c := range b.Counts {
		a.shownLocked(s, seg, [2]uint64{c.Sessions, c.Fans})
	}
}

// difference of the clocks, as a message showed it.
type difference struct {
	ms int64
	at time.Time
}

// seenFor is for how long a difference counts. A process whose measure of the
// clock of Redis was off for a moment, as after a fault, would be off for ever.
const seenFor = 8 * time.Second

// learnLocked takes note of a difference, and has offset be the least of late.
func (a *audit) learnLocked(now time.Time, ms int64) {
	for len(a.seen) > 0 && a.seen[len(a.seen)-1].ms >= ms {
		a.seen = a.seen[:len(a.seen)-1]
	}
	a.seen = append(a.seen, difference{ms, now})
	for now.Sub(a.seen[0].at) > seenFor {
		a.seen = a.seen[1:]
	}
	a.offset.Store(a.seen[0].ms)
}

// A clock of Redis that is behind by so much for so long was set back. Or it was
// before, and the difference is that of a gateway which did not know yet. Nothing is
// judged by it from when it is in doubt.
const (
	setBackMS    = 2000
	doubtAfter   = 1500 * time.Millisecond
	setBackAfter = 4 * time.Second
)

// syncLocked learns the difference of the clocks: whatever was sent at Redis ms
// arrived later than that, so the least difference is the best. With a new epoch,
// or when it was set back, the clock of Redis is another one: what was shown by
// the one before and is not judged yet stays so. It reports whether the epoch is
// the newest.
func (a *audit) syncLocked(now time.Time, redis, epoch int64) bool {
	if ms(now)-redis-setBackMS < a.offset.Load() {
		a.near = now
	}
	if epoch > a.epoch || now.Sub(a.near) > setBackAfter {
		a.epoch, a.newest, a.lateUntil, a.near = max(a.epoch, epoch), 0, 0, now
		a.seen = nil
		a.offset.Store(never)
		maps.DeleteFunc(a.states, func(_ int64, s *state) bool { return !s.judged })
	}
	if epoch == a.epoch {
		a.learnLocked(now, ms(now)-redis)
	}
	return epoch == a.epoch
}

func (a *audit) stateLocked(at, epoch int64, now time.Time) *state {
	s := a.states[at]
	if s != nil && s.epoch == epoch {
		return s
	}
	s = &state{at: at, epoch: epoch, first: now, offset: a.offset.Load(), counts: map[grandstand.Segment][2]uint64{}}
	a.states[at] = s
	if at > a.newest {
		a.newest = at
		a.waiting = slices.DeleteFunc(a.waiting, func(m *moment) bool {
			if ms(m.hello) > at+a.offset.Load() {
				return false
			}
			a.stats.joinBoard.add(now.Sub(m.asked).Seconds())
			return true
		})
	}
	return s
}

func (a *audit) shownLocked(s *state, seg grandstand.Segment, n [2]uint64) {
	if old, known := s.counts[seg]; known && old != n {
		a.violateLocked(checkAgree, s.at, "%s is %v to one and %v to another at %d in epoch %d", seg, old, n, s.at, s.epoch)
	}
	s.counts[seg] = n
}

// pastMS is how long an aggregator may take to find the peaks that an event had
// before, in a check-point for example. They are no lie of this run's.
const pastMS = 10_000

// judgeAfterMS is how long after a state was counted, and after it was shown first,
// all of it has been seen, unless the machine is overloaded.
const judgeAfterMS = 2000

// catchUpMS is how long after a board that was not live gateways may still be at
// work on what they could not tell, see Config.Late.
const catchUpMS = 5000

// forgetAfterMS is how far back the truth is kept for states that come late.
const forgetAfterMS = 15_000

// judge judges the states that are due.
func (a *audit) judge(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.truth.forget(ms(now) - forgetAfterMS)
	offset := a.offset.Load()
	if offset == never || now.Sub(a.near) > doubtAfter {
		return
	}
	var due []*state
	for at, s := range a.states {
		switch {
		case !s.judged && max(s.when(offset), ms(s.first))+judgeAfterMS+a.cfg.Window.Milliseconds() <= ms(now):
			due = append(due, s)
		case s.judged && now.Sub(s.first) > 30*time.Second:
			delete(a.states, at)
		}
	}
	slices.SortFunc(due, func(x, y *state) int { return int(x.at - y.at) })
	for _, s := range due {
		s.judged = true
		if a.cfg.Shared {
			continue
		}
		if truth := a.truth.at(s.when(offset)); truth != nil {
			for seg, b := range truth {
				truth[seg] = b.with(a.cfg.Guests)
			}
			a.judged++
			a.judgeLocked(s, truth)
		}
	}
}

func (a *audit) judgeLocked(s *state, truth map[grandstand.Segment]bounds) {
	if s.full != nil {
		a.completeLocked(s, truth)
	}
	if !s.live {
		a.lateUntil = s.at + catchUpMS
	}
	excused := 0
	for seg, n := range s.counts {
		if a.folded[seg.Dim] && seg.Value == grandstand.Other {
			continue // who is in it is not known here
		}
		if seg.Dim != grandstand.World && seg.Dim != "country" && seg.Dim != "region" && seg.Dim != "team" {
			continue // a cross, or a dimension that the crowd knows nothing of
		}
		b, known := truth[seg]
		if !known {
			b = b.with(a.cfg.Guests)
		}
		excused += a.compareLocked(s, seg, n, b)
	}
	if excused > 0 {
		a.excused = append(a.excused, Excused{At: s.at, Time: time.Now(), Counts: excused})
	}
	if a.finalFrom > 0 && s.full != nil && s.live && s.at+a.offset.Load() >= a.finalFrom {
		a.finishLocked(s, truth)
	}
}

// completeLocked adds what a full board does not list, because it counts
// nobody in it, and checks the peaks.
func (a *audit) completeLocked(s *state, truth map[grandstand.Segment]bounds) {
	b := s.full
	for seg := range truth {
		if _, listed := s.counts[seg]; !listed && b.Dims[seg.Dim] && !a.folded[seg.Dim] {
			s.counts[seg] = [2]uint64{}
		}
	}
	if a.pastUntil == 0 {
		a.pastUntil = s.at + pastMS
	}
	for seg, c := range b.Counts {
		t, known := truth[seg]
		if !known || a.folded[seg.Dim] || c.Peak <= max(uint64(t.Peak), a.peaks[seg]) {
			continue
		}
		a.peaks[seg] = c.Peak
		if s.at > a.pastUntil {
			a.violateLocked(checkPeak, s.at, "the peak of %s is %d, there were never more than %d", seg, c.Peak, t.Peak)
		}
	}
}

// settle asks for the final verdict: the first live full board of a state not
// before from, at which nobody is coming or going, must be exact. The channel
// is closed when it was given.
func (a *audit) settle(from int64) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finalFrom = from
	return a.final
}

func (a *audit) finishLocked(s *state, truth map[grandstand.Segment]bounds) {
	if a.finalText != "" {
		return
	}
	for _, t := range truth {
		if t.Lo+a.cfg.Guests != t.Hi {
			return // somebody's deadline is about to pass: the next board tells
		}
	}
	wrong := 0
	for seg, t := range truth {
		n, listed := s.counts[seg]
		if !listed || a.folded[seg.Dim] && seg.Dim != grandstand.World {
			continue
		}
		if outside(int(n[0]), t.Lo, t.Hi) != 0 {
			wrong++
			a.violateLocked(checkFinal, s.at, "after the quiet %s counts %d sessions, not %d", seg, n[0], t.Lo)
		}
	}
	a.finalText = fmt.Sprintf("exact: %d sessions in %d segments", truth[grandstand.WorldSegment].Lo, len(truth))
	if wrong > 0 {
		a.finalText = fmt.Sprintf("wrong in %d of %d segments", wrong, len(truth))
	}
	close(a.final)
}

// run judges until done is closed.
func (a *audit) run(done <-chan struct{}) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			a.judge(now)
		}
	}
}

// close adds the verdicts that only the whole run can tell.
func (a *audit) close() {
	if q := a.fansError.quantiles(); q.N > 0 && q.P95 > fansError95 {
		a.violate(checkFans, 0, "estimates over %d fans are off by %.2f %% at the 95th percentile", fansExact, 100*q.P95)
	}
}
