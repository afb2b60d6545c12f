package archiver

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"grandstand"
)

// CompactorConfig says what a Compactor does.
type CompactorConfig struct {
	Store *Store // required

	// Every is the time between two looks for hours to be compacted. Default ten
	// minutes.
	Every time.Duration

	// KeepLive is for how long after its hour a live object is kept whose rows are
	// all in closed hours. Default a day; negative: for ever.
	KeepLive time.Duration

	// Temp is the directory of temporary files (CompactOptions.Temp). Default: that
	// of the system.
	Temp string

	Registerer prometheus.Registerer // default: none
	Logger     *slog.Logger          // default: discard
}

const defaultCompactEvery = 10 * time.Minute

func (c *CompactorConfig) validate() error {
	if c.Store == nil {
		return grandstand.Errorf(grandstand.CodeInvalid, "compactor: there is no store")
	}
	if c.Every < 0 {
		return grandstand.Errorf(grandstand.CodeInvalid, "compactor: the time between two looks is negative")
	}
	if c.Every == 0 {
		c.Every = defaultCompactEvery
	}
	if c.KeepLive == 0 {
		c.KeepLive = defaultKeepLive
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Compactor compacts closed hours, and removes live objects that are in them, from
// time to time. Any number may do so on the same store: the outcome is the same.
type Compactor struct {
	cfg     CompactorConfig
	metrics *compactorMetrics
}

// NewCompactor returns one that does nothing yet. Errors have CodeInvalid.
func NewCompactor(cfg CompactorConfig) (*Compactor, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Compactor{cfg: cfg, metrics: newCompactorMetrics(cfg.Registerer)}, nil
}

// Run works until the context ends. What does not succeed is tried again at the
// next time.
func (c *Compactor) Run(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			c.round(ctx, now)
		}
	}
}

func (c *Compactor) round(ctx context.Context, now time.Time) {
	began := time.Now()
	r, err := c.cfg.Store.Compact(ctx, CompactOptions{Now: now, Temp: c.cfg.Temp})
	c.metrics.took(&r, time.Since(began))
	if c.failed(ctx, "compact closed hours", "compact", err) {
		return
	}
	if r.Hours > 0 {
		c.cfg.Logger.Info("closed hours are compacted", "hours", r.Hours, "objects", r.Objects, "rows", r.Rows, "bytes", r.Bytes)
	}
	if c.cfg.KeepLive < 0 {
		return
	}
	pruned := 0
	err = c.cfg.Store.Prune(ctx, PruneOptions{Now: now, KeepLive: c.cfg.KeepLive, Do: true}, func(Object) { pruned++ })
	c.metrics.pruned.Add(float64(pruned))
	if !c.failed(ctx, "prune what is compacted", "prune", err) && pruned > 0 {
		c.cfg.Logger.Info("live objects that are in closed hours are removed", "objects", pruned)
	}
}

// failed counts and logs an error, unless it is that the context has ended.
func (c *Compactor) failed(ctx context.Context, what, step string, err error) bool {
	if err != nil && ctx.Err() == nil {
		c.metrics.failures.WithLabelValues(step).Inc()
		c.cfg.Logger.Warn(what, "error", err)
	}
	return err != nil
}

// compactorMetrics are the numbers of one compactor.
type compactorMetrics struct {
	hours    prometheus.Counter
	rows     *prometheus.CounterVec
	objects  prometheus.Counter
	bytes    prometheus.Counter
	pruned   prometheus.Counter
	failures *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newCompactorMetrics(reg prometheus.Registerer) *compactorMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "grandstand_compactor_" + name, Help: help})
	}
	m := &compactorMetrics{
		hours:   counter("hours_total", "Hours that were compacted, those again that something came late for."),
		objects: counter("objects_total", "Objects that were written to closed hours and read back."),
		bytes:   counter("bytes_total", "Bytes of these objects."),
		pruned:  counter("pruned_objects_total", "Live objects that were removed, being in closed hours."),
		rows: f.NewCounterVec(prometheus.CounterOpts{Name: "grandstand_compactor_rows_total",
			Help: "Rows that were read of live objects, and of these the doubles that were left out."}, []string{"of"}),
		failures: f.NewCounterVec(prometheus.CounterOpts{Name: "grandstand_compactor_failures_total",
			Help: "Runs that did not succeed, by what they did."}, []string{"step"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "grandstand_compactor_seconds",
			Help:    "What a look for hours to be compacted took, with the work.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 10),
		}),
	}
	for _, step := range []string{"compact", "prune"} {
		m.failures.WithLabelValues(step)
	}
	for _, of := range []string{"read", "doubles"} {
		m.rows.WithLabelValues(of)
	}
	return m
}

// took counts what a run did, also one that failed in part.
func (m *compactorMetrics) took(r *CompactReport, d time.Duration) {
	m.hours.Add(float64(r.Hours))
	m.objects.Add(float64(r.Objects))
	m.bytes.Add(float64(r.Bytes))
	m.rows.WithLabelValues("read").Add(float64(r.RowsRead))
	m.rows.WithLabelValues("doubles").Add(float64(r.Doubles))
	m.seconds.Observe(d.Seconds())
}
