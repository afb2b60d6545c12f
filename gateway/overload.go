package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// A gateway that cannot carry its load gives up, in this order, what its viewers
// miss least. Who watches keeps its ticks throughout.
//
//	level 1   raw events are committed to the journal in larger groups: acks come later
//	level 2   and crosses such as team+region are left out of the tallies: they are
//	          null to viewers and on no board until every gateway counts them again
//	level 3   and nobody new is taken: 503 with a Retry-After that grows. Sessions that
//	          are here may connect again, and so may those of gateways that are gone,
//	          unless there is no room for them
//
// The level is a function of the strain of the last seconds (levelAfter). It goes
// up and down by one at a time.
const (
	gatherEvents = 1 + iota
	dropCrosses
	refuseJoins

	topLevel = refuseJoins
)

// gatherFor is the time between two commits of the journal from level 1 on.
const gatherFor = 250 * time.Millisecond

const (
	riseWithin = 3 // strains, of which
	riseBy     = 2 // ask for more: the level rises. One late tick does not
	fallAfter  = 8 // strains of which none asks to stay: it falls
)

// levelAfter returns the level that follows on level, given the strains since it
// last fell, oldest first.
func levelAfter(level int, strains []strain) int {
	if level < topLevel {
		asking := 0
		for i := max(0, len(strains)-riseWithin); i < len(strains); i++ {
			if _, asks := strains[i].asksFor(level + 1); asks {
				asking++
			}
		}
		if asking >= riseBy {
			return level + 1
		}
	}
	if level == 0 || len(strains) < fallAfter {
		return level
	}
	for i := len(strains) - fallAfter; i < len(strains); i++ {
		if strains[i].holds(level) {
			return level
		}
	}
	return level - 1
}

// overload watches the strain of a gateway and says what to shed.
type overload struct {
	g     *Gateway      // static
	sense func() strain // static

	joining chan struct{} // holds a token for each join under way

	level   atomic.Int32
	refused atomic.Int64 // s for which nobody new was taken, lately; at most longestRefusal
	full    atomic.Bool  // at level 3, and not just because of a surge
	late    atomic.Int64 // Unix ns until which newcomers have waited for too long: the newest connection had to
	tick    worst        // since the last strain
	frame   worst
	line    worst
	turns   turns
	strains []strain // owned by run; since the level fell last

	levels  prometheus.Gauge
	seconds *prometheus.CounterVec // by level
	signals *prometheus.GaugeVec   // by signal
	joins   prometheus.Counter
}

// longestRefusal is from when on Retry-After does not grow.
const longestRefusal = 50

func newOverload(g *Gateway) *overload {
	const namespace, subsystem = "grandstand", "gateway"
	o := &overload{g: g, sense: g.cfg.sense, joining: make(chan struct{}, maxJoining),
		levels: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "overload_level",
			Help: "What is shed: 0 nothing, 1 prompt acknowledgements, 2 crosses too, 3 newcomers too."}),
		seconds: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "overload_seconds_total",
			Help: "Time at each overload level but 0."}, []string{"level"}),
		signals: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: "overload_signal",
			Help: "What the level is made of: lateness of tick and frame as a share of the tick, waits for a processor and of newcomers in line in seconds, shares of the memory limit and of the connections."}, []string{"signal"}),
		joins: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: "shed_joins_total",
			Help: "Requests to watch that were told 503 because of overload."}),
	}
	if o.sense == nil {
		o.sense = o.measure
	}
	if reg := g.cfg.Registerer; reg != nil {
		reg.MustRegister(o.levels, o.seconds, o.signals, o.joins)
	}
	return o
}

// run follows the strain until ctx ends.
func (o *overload) run(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			o.take(o.sense())
		}
	}
}

// take goes on to the level that the strain of another second asks for.
func (o *overload) take(s strain) {
	for i, v := range s {
		o.signals.WithLabelValues(signalNames[i]).Set(v)
	}
	if len(o.strains) == fallAfter {
		o.strains = append(o.strains[:0], o.strains[1:]...)
	}
	o.strains = append(o.strains, s)
	before := int(o.level.Load())
	level := levelAfter(before, o.strains)
	if level != before {
		o.change(before, level)
	}
	if level > 0 {
		o.seconds.WithLabelValues(strconv.Itoa(level)).Inc()
	}
	o.full.Store(level == refuseJoins && slices.ContainsFunc(o.strains, strain.isOfThoseHere))
	if level == refuseJoins {
		o.refused.Store(min(o.refused.Load()+1, longestRefusal))
	} else {
		o.refused.Store(max(o.refused.Load()-1, 0))
	}
}

func (o *overload) change(from, to int) {
	o.level.Store(int32(to))
	o.levels.Set(float64(to))
	if to > from {
		last := len(o.strains) - 1
		why, asks := o.strains[last].asksFor(to)
		if !asks { // then the one before does
			last--
			why, _ = o.strains[last].asksFor(to)
		}
		o.g.log.Warn("overloaded: shedding more", "level", to, "was", from, "signal", signalNames[why], "value", o.strains[last][why])
	} else {
		o.g.log.Info("less overloaded: shedding less", "level", to, "was", from)
		o.strains = o.strains[:0] // each step down is waited for anew
	}
	if j := o.g.cfg.Journal; j != nil && !o.g.cfg.NoShed {
		if to >= gatherEvents {
			j.Gather(gatherFor)
		} else {
			j.Gather(0)
		}
	}
}

// sheds reports whether what a level gives up is given up.
func (o *overload) sheds(level int) bool {
	return int(o.level.Load()) >= level && !o.g.cfg.NoShed
}

// errOverloaded is what newcomers are told.
var errOverloaded = grandstand.Errorf(grandstand.CodeUnavailable, "this gateway is overloaded and takes nobody new: try again later")

// Joins come by the thousand when a match begins. Those under way are bounded, so
// that ticks, and what Redis answers, wait behind few of them for their turn.
const (
	maxJoining   = 64              // a join takes some 0.3 ms
	joinPatience = time.Second     // of those that wait
	backPatience = 3 * time.Second // of those that watched until a moment ago, and lose more by coming again later
)

// enter waits until a request to watch may be worked on, before anything is spent
// on it. Unless there is an error leave is to be called after that. Connections are
// accepted in their order: if the newest had to wait for too long, so did this one,
// and who asks may have gone away by now.
func (o *overload) enter(r *http.Request) error {
	late := time.Now().UnixNano() < o.late.Load()
	back := namesSession(r.URL.RawQuery)
	if (late || o.sheds(refuseJoins)) && !back {
		o.joins.Inc()
		return errOverloaded
	}
	return o.wait(r.Context(), back)
}

// wait waits for one of the places of joins under way. Unless there is an error
// leave is to be called after it. back: who asks had a session a moment ago.
func (o *overload) wait(ctx context.Context, back bool) error {
	select {
	case o.joining <- struct{}{}:
		return nil
	default:
	}
	long := joinPatience
	if back {
		long = backPatience
	}
	patience := time.NewTimer(long)
	defer patience.Stop()
	select {
	case o.joining <- struct{}{}:
		return nil
	case <-patience.C:
	case <-ctx.Done():
	}
	o.joins.Inc()
	return errOverloaded
}

func (o *overload) leave() { <-o.joining }

// namesSession reports whether a query has what looks like a session: it is checked
// only once there is time for it.
func namesSession(query string) bool {
	for param := range strings.SplitSeq(query, "&") {
		if id, is := strings.CutPrefix(param, "session="); is && len(id) == sessionChars {
			return true
		}
	}
	return false
}

// admit returns an error if nobody new is taken, and the visitor is new or there is
// no room for sessions that are not here.
func (o *overload) admit(v *visitor) error {
	if !o.sheds(refuseJoins) || v.room == nil || v.session != "" && (!o.full.Load() || v.room.find(v.session) != nil) {
		return nil
	}
	o.joins.Inc()
	return errOverloaded
}

// retryAfter returns after how many seconds somebody who was refused is to come
// again. It is jittered, so that those who were refused together do not come again
// together, and for newcomers grows with the time that nobody was taken.
func (o *overload) retryAfter(err error) int {
	wait := 0
	if errors.Is(err, errOverloaded) {
		wait = int(o.refused.Load())
	}
	return 1 + wait/2 + rand.IntN(5+wait/2)
}

// ticked notes for how many ms a tick of a period was late.
func (o *overload) ticked(late, period int64) { o.tick.note(late, period) }

// accepted notes for how many ms a connection had to wait until it was.
func (o *overload) accepted(waited int64) {
	o.line.note(waited, 1000)
	until := int64(0)
	if waited >= joinPatience.Milliseconds() {
		// Not for ever: a balancer may send newcomers over connections that it has.
		until = time.Now().Add(joinPatience).UnixNano()
	}
	o.late.Store(until)
}

// pushed notes how many ms the frames of a board of a tick took.
func (o *overload) pushed(took, tick int64) { o.frame.note(took, tick) }
