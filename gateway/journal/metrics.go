package journal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of one Journal.
type metrics struct {
	appended prometheus.Counter
	durable  prometheus.Counter
	refused  *prometheus.CounterVec // by reason
	failures *prometheus.CounterVec // by reason

	commitSeconds prometheus.Histogram

	written prometheus.Counter
	waits   prometheus.GaugeFunc

	bytes prometheus.Gauge
	files prometheus.Gauge
	cut   prometheus.Counter

	refusedBy [reasons]prometheus.Counter
	all       []prometheus.Collector
}

// newMetrics asks oldest, now and then, for how long the oldest sealed file has
// waited to be deleted.
func newMetrics(reg prometheus.Registerer, oldest func() time.Duration) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "grandstand", Subsystem: "journal", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{"reason"})
	}
	m := &metrics{
		appended: counter("appended_events_total", "Events that were accepted and came to be written."),
		durable:  counter("durable_events_total", "Events that are on the disk."),
		refused:  vec("refused_events_total", "Events that were refused, by reason: full, io, slow, closing."),
		failures: vec("disk_failures_total", "Errors of the disk, by reason: full, io."),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "grandstand", Subsystem: "journal",
			Name: "commit_seconds", Help: "Time to write and sync what was appended.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 17)}),
		bytes:   prometheus.NewGauge(prometheus.GaugeOpts(opts("disk_bytes", "Bytes on disk that no archiver has had deleted yet."))),
		files:   prometheus.NewGauge(prometheus.GaugeOpts(opts("sealed_files", "Sealed files that no archiver has had deleted yet."))),
		written: counter("written_bytes_total", "Bytes written to files and synced."),
		waits: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("backlog_seconds", "For how long the oldest sealed file has waited to be archived and deleted; 0: there is none.")),
			func() float64 { return oldest().Seconds() }),
		cut: counter("cut_bytes_total", "Bytes cut off the ends of files that an earlier process left."),
	}
	for why := full; why < reasons; why++ {
		m.refusedBy[why] = m.refused.WithLabelValues(reasonNames[why])
	}
	for _, why := range []reason{full, broken} {
		m.failures.WithLabelValues(reasonNames[why])
	}
	m.all = []prometheus.Collector{m.appended, m.durable, m.refused, m.failures, m.commitSeconds, m.written, m.waits, m.bytes, m.files, m.cut}
	if reg != nil {
		reg.MustRegister(m.all...)
	}
	return m
}

// unregister makes room for another Journal.
func (m *metrics) unregister(reg prometheus.Registerer) {
	if reg == nil {
		return
	}
	for _, c := range m.all {
		reg.Unregister(c)
	}
}
