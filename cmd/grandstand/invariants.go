package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// violationEvery is the time between two lines about the same invariant: the
// first says what is needed to find the place, the counter how often.
const violationEvery = time.Minute

// violations counts broken invariants of all stages of a process, and logs them.
type violations struct {
	log *slog.Logger
	of  map[grandstand.Invariant]*violation // static
}

type violation struct {
	count prometheus.Counter

	mu     sync.Mutex
	logged time.Time // guarded by mu
	more   int       // guarded by mu; not logged since
}

// newViolations has every invariant at 0 from the start: a rate needs that.
func newViolations(reg prometheus.Registerer, log *slog.Logger) *violations {
	counts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "grandstand_invariant_violations_total",
		Help: "Invariants found broken: a bug in this program. At 0 whatever fails.",
	}, []string{"invariant"})
	reg.MustRegister(counts)
	v := &violations{log: log, of: map[grandstand.Invariant]*violation{}}
	for _, what := range grandstand.Invariants {
		v.of[what] = &violation{count: counts.WithLabelValues(string(what))}
	}
	return v
}

// violated is a grandstand.Violated.
func (v *violations) violated(what grandstand.Invariant, details ...any) {
	one := v.of[what]
	one.count.Inc()
	one.mu.Lock()
	defer one.mu.Unlock()
	if now := time.Now(); now.Sub(one.logged) >= violationEvery {
		v.log.Error("invariant violated", append([]any{"invariant", string(what), "more", one.more}, details...)...)
		one.logged, one.more = now, 0
		return
	}
	one.more++
}
