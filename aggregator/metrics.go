package aggregator

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the numbers of one aggregator.
type metrics struct {
	tick        prometheus.Histogram
	skipped     prometheus.Counter
	shards      prometheus.Gauge
	events      prometheus.Gauge
	gateways    prometheus.Gauge
	sessions    prometheus.Gauge
	merges      prometheus.Counter
	held        prometheus.Counter
	published   prometheus.Counter
	refused     *prometheus.CounterVec
	violations  *prometheus.CounterVec
	troubles    *prometheus.CounterVec
	checkpoints prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "grandstand_aggregator_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "grandstand_aggregator_" + name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "grandstand_aggregator_" + name, Help: help}, []string{label})
	}
	return &metrics{
		tick: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_aggregator_tick_seconds",
			Help:    "From a phase to its last board being published.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12),
		}),
		skipped:     counter("phases_skipped_total", "Phases that were missed because one before took too long."),
		shards:      gauge("shards", "Shards held."),
		events:      gauge("events", "Events in memory."),
		gateways:    gauge("gateways", "Gateways whose tallies count, or that are members."),
		sessions:    gauge("sessions", "Sessions on the newest boards."),
		merges:      counter("merges_total", "Boards that were counted anew, others only got another time."),
		held:        counter("boards_held_total", "Boards that were not made since not every gateway could have written."),
		published:   counter("published_total", "Shard boards published."),
		refused:     vec("refused_total", "Shard boards that were refused, by reason.", "reason"),
		violations:  vec("violations_total", "Numbers that should not be, by kind.", "kind"),
		troubles:    vec("troubles_total", "Calls that did not succeed, by what was tried.", "what"),
		checkpoints: counter("checkpoints_total", "Checkpoints written to the archive."),
	}
}

// takeStock sets the gauges, and notes the ticks of all events.
func (a *Aggregator) takeStock() {
	clear(a.ticks)
	events, sessions := 0, uint64(0)
	for i := range a.shards {
		for _, e := range a.shards[i].list {
			a.ticks[e.tickMS] = true
			events++
			if !e.final {
				sessions += e.world()
			}
		}
	}
	a.metrics.events.Set(float64(events))
	a.metrics.sessions.Set(float64(sessions))
	a.metrics.gateways.Set(float64(len(a.gateways)))
}
