package blocker

import (
	"cmp"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// metrics are the counters of one Blocker.
type metrics struct {
	requests   *prometheus.CounterVec   // by route and status
	seconds    *prometheus.HistogramVec // by route
	decisions  *prometheus.CounterVec   // by kind of rule and outcome
	forged     prometheus.Counter
	streams    prometheus.Gauge
	streamEnds *prometheus.CounterVec // by reason: client, slow_stream, token_expired, closing
	watched    prometheus.Gauge
	reads      *prometheus.CounterVec // of watched accounts, by result: changed, same, failed
	notices    *prometheus.CounterVec // by kind: watched, unwatched, lost
	rules      grandstand.RuleTally   // decisions, for operators
}

// The outcomes of a heartbeat that nobody was asked about, besides
// grandstand.Outcome.
const (
	outcomeUnlimited = "unlimited"      // the account may play on any number of devices
	outcomeHeld      = "outage_held"    // no answer; the session has had a lease lately
	outcomeLet       = "outage_allowed" // no answer; the rules let newcomers in
	outcomeDenied    = "outage_denied"  // no answer; the rules do not
)

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "grandstand", Subsystem: "blocker", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "grandstand", Subsystem: "blocker", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "grandstand", Subsystem: "blocker", Name: name, Help: help})
	}
	m := &metrics{
		requests: vec("requests_total", "Requests answered, by route and HTTP status.", "route", "status"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "grandstand", Subsystem: "blocker", Name: "request_seconds",
			Help: "Time to answer a request that is answered at once, by route.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12)}, []string{"route"}),
		decisions:  vec("decisions_total", "Heartbeats by the kind of rule that decided (token, plan, default, event) and the outcome.", "rule", "outcome"),
		forged:     counter("forged_holds_total", "Holds that are not of the account, device and session that showed them."),
		streams:    gauge("streams", "Open streams of device lists."),
		streamEnds: vec("stream_ends_total", "Streams that ended, by reason: client, slow_stream, token_expired, closing.", "reason"),
		watched:    gauge("watched_accounts", "Accounts that streams are open for."),
		reads:      vec("account_reads_total", "Reads of watched accounts, by result: changed, same, failed.", "result"),
		notices:    vec("notices_total", "Notices of changed accounts, by kind: watched, unwatched, lost (look at all).", "kind"),
	}
	for vec, values := range map[*prometheus.CounterVec][]string{
		m.streamEnds: {"client", "slow_stream", "token_expired", "closing"},
		m.reads:      {"changed", "same", "failed"},
		m.notices:    {"watched", "unwatched", "lost"},
	} {
		for _, value := range values {
			vec.WithLabelValues(value)
		}
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.decisions, m.forged, m.streams, m.streamEnds, m.watched, m.reads, m.notices)
	}
	return m
}

func (m *metrics) answered(route string, status int) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

func (m *metrics) decided(rule, outcome string) {
	kind := grandstand.RuleKind(rule)
	m.decisions.WithLabelValues(kind, outcome).Inc()
	m.rules.Count(cmp.Or(kind, "none"), grandstand.Outcome(outcome))
}
