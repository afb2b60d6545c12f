package fanout

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The reasons for which a board is refused: labels of the metric.
const (
	refusedOld   = "old"   // there is a newer one
	refusedSame  = "same"  // it is the one that is there: a slower event's, or a feed that began anew
	refusedShard = "shard" // the event is not of the message's shard
	refusedSums  = "sums"  // the segments of a dimension do not add up to the world
)

// metrics are the numbers of one hub.
type metrics struct {
	applied       prometheus.Counter
	refusals      *prometheus.CounterVec
	views         prometheus.Counter
	age           prometheus.Histogram
	events        prometheus.Gauge
	stale         prometheus.Gauge
	subscriptions prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, h *Hub) metrics {
	f := promauto.With(reg)
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "grandstand_fanout_encodes_total",
		Help: "Frames encoded: one per audience and board.",
	}, func() float64 { return float64(h.Encodes()) })
	m := metrics{
		applied: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_boards_applied_total",
			Help: "Boards of events taken from the feed.",
		}),
		refusals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "grandstand_fanout_boards_refused_total",
			Help: "Boards of events not taken, by reason.",
		}, []string{"reason"}),
		views: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_views_total",
			Help: "Views handed to subscribers.",
		}),
		age: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_fanout_board_age_seconds",
			Help:    "Age of a board when it was taken: from counting to this node.",
			Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 2, 5, 10, 60},
		}),
		events: f.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_fanout_events",
			Help: "Events that the node remembers a board or a subscriber of.",
		}),
		stale: f.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_fanout_events_stale",
			Help: "Events whose last board is too old.",
		}),
		subscriptions: f.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_fanout_subscriptions",
			Help: "Subscriptions of all events.",
		}),
	}
	for _, reason := range []string{refusedOld, refusedSame, refusedShard, refusedSums} {
		m.refusals.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) refused(reason string, n int) {
	m.refusals.WithLabelValues(reason).Add(float64(n))
}
