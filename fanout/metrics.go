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

// relayMetrics are the numbers of what a node serves to others.
type relayMetrics struct {
	children prometheus.Gauge
	refusals *prometheus.CounterVec
	encodes  prometheus.Counter
	sent     prometheus.Counter
	received prometheus.Counter
}

func newRelayMetrics(reg prometheus.Registerer) relayMetrics {
	f := promauto.With(reg)
	m := relayMetrics{
		children: f.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_fanout_children",
			Help: "Gateways that read boards from this one.",
		}),
		refusals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "grandstand_fanout_children_refused_total",
			Help: "Gateways that wanted to, and were sent elsewhere, by reason.",
		}, []string{"reason"}),
		encodes: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_deltas_encoded_total",
			Help: "Differences of boards encoded for children: one per board, however many of them have the board before.",
		}),
		sent: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_feed_sent_bytes_total",
			Help: "Bytes of boards sent to children.",
		}),
		received: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_feed_asked_bytes_total",
			Help: "Bytes in which children said what they watch.",
		}),
	}
	for why := range refusals {
		m.refusals.WithLabelValues(string(why))
	}
	return m
}

// The reasons for which boards come from elsewhere: labels of the metric, and
// words of the log.
const (
	switchJoined = "joined" // a relay took this node
	switchMoved  = "moved"  // there is a better relay
	switchLost   = "lost"   // the connection to the relay ended
	switchSilent = "silent" // the relay says nothing
	switchBehind = "behind" // the relay's boards are old
	switchRoot   = "root"   // this node is a relay now, or there is none
)

// upstreamMetrics are the numbers of where a node's boards come from.
type upstreamMetrics struct {
	depth    prometheus.Gauge
	parent   *prometheus.GaugeVec
	hop      prometheus.Histogram
	received prometheus.Counter
	switches *prometheus.CounterVec
	failures prometheus.Counter
}

func newUpstreamMetrics(reg prometheus.Registerer) upstreamMetrics {
	f := promauto.With(reg)
	m := upstreamMetrics{
		depth: f.NewGauge(prometheus.GaugeOpts{
			Name: "grandstand_fanout_depth",
			Help: "Gateways between Redis and this one: 0 reads Redis.",
		}),
		parent: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "grandstand_fanout_parent",
			Help: "1 for where boards come from: redis, the address of a relay, or none.",
		}, []string{"parent"}),
		hop: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_fanout_hop_seconds",
			Help:    "From a relay's sending of boards to their arrival, by Redis time.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}),
		received: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_feed_received_bytes_total",
			Help: "Bytes of boards received from relays.",
		}),
		switches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "grandstand_fanout_switches_total",
			Help: "Changes of where boards come from, by reason.",
		}, []string{"reason"}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "grandstand_fanout_relays_failed_total",
			Help: "Relays that were tried and did not take this node, or did not tell of all events in time.",
		}),
	}
	for _, why := range []string{switchJoined, switchMoved, switchLost, switchSilent, switchBehind, switchRoot} {
		m.switches.WithLabelValues(why)
	}
	return m
}
