package aggregator

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"grandstand"
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
	boards      [grandstand.Final + 1]prometheus.Counter // by quality
	tallyAge    prometheus.Histogram
	boardAge    prometheus.Histogram
	refused     *prometheus.CounterVec
	mended      *prometheus.CounterVec
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
	m := &metrics{
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
		mended:      vec("mended_inputs_total", "Tallies, moves and sketches that do not fit together and were mended or left out, by kind.", "kind"),
		troubles:    vec("troubles_total", "Calls that did not succeed, by what was tried.", "what"),
		checkpoints: counter("checkpoints_total", "Checkpoints written to the archive."),
		tallyAge: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_aggregator_tally_age_seconds",
			Help:    "Age of the newest word of each gateway that is there, when boards are made.",
			Buckets: []float64{.1, .25, .5, 1, 2, 3, 5, 10, 30},
		}),
		boardAge: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_aggregator_board_age_seconds",
			Help:    "Age of a shard's boards when they are published.",
			Buckets: []float64{.1, .2, .3, .5, .75, 1, 2, 5, 10},
		}),
	}
	boards := vec("boards_total", "Boards of events, one a tick, by quality: live, partial, final.", "quality")
	for _, q := range [...]grandstand.Quality{grandstand.Live, grandstand.Partial, grandstand.Final} {
		m.boards[q] = boards.WithLabelValues(q.String())
	}
	for _, reason := range []string{"old", "future"} {
		m.refused.WithLabelValues(reason)
	}
	for _, kind := range []string{brokenTally, brokenMove, brokenSketch, brokenShard} {
		m.mended.WithLabelValues(kind)
	}
	return m
}

// noteAges notes how old what the gateways say is at now.
func (a *Aggregator) noteAges(now int64) {
	for _, g := range a.gateways {
		if g.alive && g.manifest != nil && !g.manifest.Left {
			a.metrics.tallyAge.Observe(float64(max(now-g.manifest.At, 0)) / 1000)
		}
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
