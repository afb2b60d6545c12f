package archiver

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the numbers of one archiver.
type metrics struct {
	files     prometheus.Counter
	rows      prometheus.Counter
	bytes     *prometheus.CounterVec
	steps     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	adopted   prometheus.Counter
	troubled  *prometheus.CounterVec
	lag       prometheus.Gauge
	pending   prometheus.Gauge
	freshness prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "grandstand_archiver_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "grandstand_archiver_" + name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "grandstand_archiver_" + name, Help: help}, []string{label})
	}
	m := &metrics{
		files: counter("files_total", "Journal files that are verified in the store."),
		rows:  counter("rows_total", "Events that are verified in the store."),
		bytes: vec("bytes_total", "Bytes of journal files read, and of objects verified.", "of"),
		steps: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grandstand_archiver_step_seconds",
			Help:    "What a step on a file's way took, by step.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"step"}),
		failures: vec("failures_total", "Tries that did not succeed, by step.", "step"),
		adopted:  counter("adopted_total", "Objects that were there already, written before a crash or by another archiver."),
		troubled: vec("troubled_files_total", "Files that were not as they should be, by kind: damaged, another (one of that name is archived), or object (what was in the store was damaged).", "kind"),
		lag:      gauge("lag_seconds", "For how long the oldest sealed file has been known that is this archiver's and not archived yet."),
		pending:  gauge("pending_files", "Sealed files that are this archiver's and not archived yet."),
		freshness: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_archiver_listed_to_verified_seconds",
			Help:    "From the listing of a sealed file to its object being verified.",
			Buckets: prometheus.ExponentialBuckets(0.125, 2, 14),
		}),
	}
	for _, step := range steps {
		m.failures.WithLabelValues(step)
		if step != "list" {
			m.steps.WithLabelValues(step)
		}
	}
	for _, of := range []string{"journal", "object"} {
		m.bytes.WithLabelValues(of)
	}
	for _, kind := range []string{"damaged", "another", "object"} {
		m.troubled.WithLabelValues(kind)
	}
	return m
}
