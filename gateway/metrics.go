package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"grandstand"
)

// metrics are the counters of one Gateway. Every drop and every refusal has a
// reason, the same word here, in the log and in close frames.
type metrics struct {
	conns    prometheus.Gauge
	maxConns prometheus.Gauge
	sessions prometheus.Gauge // watching, at the last tick
	rooms    prometheus.Gauge

	joins    *prometheus.CounterVec // by kind: new, resumed, attached
	leaves   *prometheus.CounterVec // by reason: explicit, lapsed, moved, event_ended
	closes   *prometheus.CounterVec // by reason: closeCode.reason, client, reset, slow_stream
	messages *prometheus.CounterVec // by type
	refused  *prometheus.CounterVec // by route and error code
	unusable *prometheus.CounterVec // messages by error code
	frames   *prometheus.CounterVec // by result: sent, slot, or a reason for being dropped
	bytes    prometheus.Counter     // of frames
	age      *ages                  // of frames
	received prometheus.Counter     // bytes of sockets
	written  prometheus.Counter     // bytes of sockets
	acks     prometheus.Counter     // sent, or left to a socket that is behind

	moves   *prometheus.CounterVec // by direction: in, out
	records *prometheus.CounterVec // session records by what was done: kept, lost, forgotten, failed

	ticks       *prometheus.CounterVec // by result: written, failed, late
	tickSeconds prometheus.Histogram
	shards      prometheus.Counter // shard tallies written
	unasked     prometheus.Counter // sessions that wait for the registry before they are counted

	decisions    *prometheus.CounterVec // verdicts by rule kind and outcome
	outages      *prometheus.CounterVec // asks without an answer, by what was done
	takeovers    *prometheus.CounterVec // by result
	leaseSeconds prometheus.Histogram   // of a call
	leaseQueue   prometheus.Gauge       // sessions in the last batch
	rules        grandstand.RuleTally   // decisions, for operators

	shownBy [shownClosed + 1]prometheus.Counter // frames, by result
	typedBy [6]prometheus.Counter               // messages, by grandstand.MsgType
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "grandstand", Subsystem: "gateway", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "grandstand", Subsystem: "gateway", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "grandstand", Subsystem: "gateway", Name: name, Help: help})
	}
	m := &metrics{
		conns:    gauge("connections", "Open WebSockets and streams."),
		maxConns: gauge("max_connections", "WebSockets and streams that are taken at most."),
		sessions: gauge("sessions", "Sessions that were watching at the last tick."),
		rooms:    gauge("events", "Events with sessions here."),
		joins:    vec("joins_total", "Sessions opened, by kind: new, resumed, attached (a further socket of one that is here).", "kind"),
		leaves:   vec("leaves_total", "Sessions that are no longer counted here, by reason.", "reason"),
		closes:   vec("closes_total", "WebSockets closed, and streams cut, by reason.", "reason"),
		messages: vec("messages_total", "Messages of clients, by type.", "type"),
		refused:  vec("refused_total", "Requests answered with an error, by route and code.", "route", "code"),
		unusable: vec("unusable_messages_total", "Messages answered with an error, by code.", "code"),
		frames:   vec("frames_total", "Frames by what became of them: sent, later, or dropped because skipped, same, old, closed.", "result"),
		bytes:    counter("frame_bytes_total", "Bytes of frames put on sockets at once, for all of a group."),
		age:      newAges("grandstand_gateway_frame_age_seconds", "Age of what viewers are shown, from counting to the socket: one observation per viewer and tick, also if the numbers are the same."),
		received: counter("received_bytes_total", "Bytes read from WebSockets."),
		written:  counter("sent_bytes_total", "Bytes written to WebSockets: frames, acknowledgements and all else."),
		acks:     counter("acks_total", "Acknowledgements of events, but for those that a newer one replaced before they were due."),
		moves:    vec("moves_total", "Sessions taken over from other gateways (in) and given to them (out).", "direction"),
		records:  vec("session_records_total", "Session records by what was done in Redis: kept, lost, forgotten, failed.", "done"),
		ticks:    vec("ticks_total", "Ticks by result: written, failed.", "result"),
		tickSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "grandstand", Subsystem: "gateway",
			Name: "tick_seconds", Help: "Time to count and write the tallies of a tick.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12)}),
		shards:  counter("shard_tallies_total", "Shard tallies written."),
		unasked: counter("unasked_sessions_total", "Sessions that were not counted at once because the registry of segments did not answer."),
	}
	m.decisions = vec("lease_decisions_total", "Verdicts on leases, by kind of rule (token, plan, default, event, none) and outcome.", "rule", "outcome")
	m.outages = vec("lease_outages_total", "Asks for leases without an answer, by what was done: kept (what held before), allowed, denied.", "done")
	m.takeovers = vec("takeovers_total", "Takeovers by result: allowed, blocked, failed.", "result")
	m.leaseSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "grandstand", Subsystem: "gateway",
		Name: "lease_seconds", Help: "Time of a call for up to 256 leases.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 11)})
	m.leaseQueue = gauge("lease_queue", "Sessions that were waiting to ask for a lease when the queue was emptied last.")
	for r, name := range [...]string{"sent", "later", "skipped", "same", "old", "closed"} {
		m.shownBy[r] = m.frames.WithLabelValues(name)
	}
	for t, name := range [...]string{"none", "beat", "event", "join", "takeover", "auth"} {
		m.typedBy[t] = m.messages.WithLabelValues(name)
	}
	m.touch()
	if reg != nil {
		reg.MustRegister(m.conns, m.maxConns, m.sessions, m.rooms, m.joins, m.leaves, m.closes, m.messages, m.refused, m.unusable,
			m.frames, m.bytes, m.age, m.received, m.written, m.acks, m.moves, m.records, m.ticks, m.tickSeconds, m.shards, m.unasked,
			m.decisions, m.outages, m.takeovers, m.leaseSeconds, m.leaseQueue)
	}
	return m
}

// touch has the series that are known beforehand at 0 from the start: whoever
// looks at a rate needs that.
func (m *metrics) touch() {
	for vec, values := range map[*prometheus.CounterVec][]string{
		m.joins:     {"new", "resumed", "attached"},
		m.leaves:    {"explicit", "lapsed", "moved", "event_ended"},
		m.moves:     {"in", "out"},
		m.records:   {"kept", "lost", "forgotten", "failed"},
		m.ticks:     {"written", "failed"},
		m.outages:   {"kept", "allowed", "denied"},
		m.takeovers: {"allowed", "blocked", "failed"},
		m.closes:    {"normal", "going_away", "client", "reset", "drain", "silent", "slow_reader", "slow_stream", "rate", "token_expired"},
		m.unusable:  {"invalid", "unavailable"},
	} {
		for _, value := range values {
			vec.WithLabelValues(value)
		}
	}
}

// decided counts a verdict.
func (m *metrics) decided(v *grandstand.Verdict) {
	kind := ruleKind(v.Rule)
	m.decisions.WithLabelValues(kind, string(v.Outcome)).Inc()
	m.rules.Count(kind, v.Outcome)
}

// ruleKind is the label of a rule.
func ruleKind(rule string) string {
	if rule == "" {
		return "none" // nothing of an account's rules: it was taken over, for example
	}
	return grandstand.RuleKind(rule)
}
