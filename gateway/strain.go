package gateway

import (
	"math"
	sys "runtime/metrics"
	"sync/atomic"
)

// signal is one thing that tells of overload.
type signal int

const (
	lateTick  signal = iota // from the phase of a tick until it was counted, as a share of the tick. Waits for Redis are not in it
	lateFrame               // from a board's arrival until the last frame of it was written, as a share of the tick
	lateLine                // s that a newcomer waited until its connection was accepted, at most
	lateTurn                // s that goroutines waited for their turn, at the 90th percentile
	inUse                   // that the collector cannot free, as a share of GOMEMLIMIT; 0 if there is none
	crowding                // connections, as a share of Config.MaxConns
	signals
)

var signalNames = [signals]string{"tick", "frame", "line", "turn", "memory", "connections"}

// strain is what the signals were in one second.
type strain [signals]float64

// limits says from which value on a signal asks for levels 1 to 3, and below
// which it does not ask to stay there.
type limits struct{ enter, leave [topLevel]float64 }

var never = math.Inf(1)

// A screen may be two ticks old, so a tick that is three quarters late is the
// last that nobody misses. A gateway that is full refuses by itself: that alone
// costs nobody a number.
var limitsOf = [signals]limits{
	lateTick:  {enter: [topLevel]float64{0.25, 0.50, 0.75}, leave: [topLevel]float64{0.10, 0.25, 0.40}},
	lateFrame: {enter: [topLevel]float64{0.25, 0.50, 0.75}, leave: [topLevel]float64{0.10, 0.25, 0.40}},
	lateLine:  {enter: [topLevel]float64{0.25, 0.50, 1.00}, leave: [topLevel]float64{0.10, 0.25, 0.50}},
	lateTurn:  {enter: [topLevel]float64{0.10, 0.25, 0.50}, leave: [topLevel]float64{0.03, 0.10, 0.25}},
	inUse:     {enter: [topLevel]float64{0.75, 0.85, 0.92}, leave: [topLevel]float64{0.70, 0.80, 0.87}},
	crowding:  {enter: [topLevel]float64{0.90, never, never}, leave: [topLevel]float64{0.85, never, never}},
}

// asksFor returns the signal that asks most loudly for a level, and false if none does.
func (s *strain) asksFor(level int) (loudest signal, asks bool) {
	most := 1.0
	for i, l := range limitsOf {
		if x := s[i] / l.enter[level-1]; x >= most {
			loudest, most, asks = signal(i), x, true
		}
	}
	return loudest, asks
}

// holds reports whether a signal asks to stay at a level.
func (s *strain) holds(level int) bool {
	for i, l := range limitsOf {
		if s[i] >= l.leave[level-1] {
			return true
		}
	}
	return false
}

// isOfThoseHere reports whether level 3 is for the sake of those who are here: they
// would get their numbers late, or none. A queue at the door alone is not.
func (s strain) isOfThoseHere() bool {
	for _, i := range []signal{lateTick, lateFrame, inUse} {
		if s[i] >= limitsOf[i].leave[refuseJoins-1] {
			return true
		}
	}
	return false
}

// measure returns the strain since it was last called.
func (o *overload) measure() strain {
	var s strain
	s[lateTick], s[lateFrame] = o.tick.take(), o.frame.take()
	s[lateLine] = o.line.take()
	s[lateTurn], s[inUse] = o.turns.read()
	s[crowding] = float64(o.g.conns.Load()) / float64(o.g.cfg.MaxConns)
	return s
}

// worst keeps the highest of shares until it is taken. Its methods may be called
// at the same time.
type worst struct{ ppm atomic.Int64 }

func (w *worst) note(part, of int64) {
	ppm := part * 1_000_000 / max(of, 1)
	for old := w.ppm.Load(); ppm > old && !w.ppm.CompareAndSwap(old, ppm); old = w.ppm.Load() {
	}
}

func (w *worst) take() float64 { return float64(w.ppm.Swap(0)) / 1_000_000 }

// turns reads what the runtime knows. It has one owner.
type turns struct {
	samples []sys.Sample
	before  []uint64 // counts of the histogram of waits, as last read
}

// fewTurns is how many waits of one second tell nothing.
const fewTurns = 100

// read returns for how long goroutines waited for their turn since the last call,
// at the 90th percentile, in s; and which share of the memory limit is taken by what
// is live and not heap.
func (t *turns) read() (wait, share float64) {
	const waits, limit, live, total, gone, objects, free, unused = 0, 1, 2, 3, 4, 5, 6, 7
	if t.samples == nil {
		t.samples = []sys.Sample{
			waits: {Name: "/sched/latencies:seconds"}, limit: {Name: "/gc/gomemlimit:bytes"}, live: {Name: "/gc/heap/live:bytes"},
			total: {Name: "/memory/classes/total:bytes"}, gone: {Name: "/memory/classes/heap/released:bytes"},
			objects: {Name: "/memory/classes/heap/objects:bytes"}, free: {Name: "/memory/classes/heap/free:bytes"},
			unused: {Name: "/memory/classes/heap/unused:bytes"},
		}
	}
	sys.Read(t.samples)
	bytes := func(i int) float64 { return float64(t.samples[i].Value.Uint64()) }
	if bytes(limit) < math.MaxInt64 {
		other := bytes(total) - bytes(gone) - bytes(objects) - bytes(free) - bytes(unused)
		share = (bytes(live) + other) / bytes(limit)
	}

	h := t.samples[waits].Value.Float64Histogram()
	first := t.before == nil
	if first {
		t.before = make([]uint64, len(h.Counts))
	}
	counts := make([]uint64, len(h.Counts))
	all := uint64(0)
	for i, n := range h.Counts {
		counts[i], t.before[i] = n-t.before[i], n
		all += counts[i]
	}
	if first || all < fewTurns {
		return 0, share
	}
	below := uint64(0)
	for i, n := range counts {
		if below += n; below*10 >= all*9 {
			return max(h.Buckets[i], 0), share // its lower bound: never more than was waited
		}
	}
	return 0, share
}
