package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Size says how much is measured.
type Size string

// The sizes.
const (
	Small Size = "small" // two minutes: ratios, on any machine
	Full  Size = "full"  // half an hour: the figures, on a quiet machine
)

// Config says what to measure.
type Config struct {
	// Self is the program that is gateway, aggregator, bench-load and
	// bench-floor. Required.
	Self string

	// Redis is redis://host:port of a server that serves nobody else. Default:
	// a redis-server of the PATH is started for each measurement.
	Redis string

	Size Size // default Small

	// Only names the keys of the rows to measure (Keys). Default: those of the
	// size.
	Only []string

	// Feed writes the tallies of so many gateways to Redis at each tick, until
	// the context ends; cmd joins the stages that this takes. Default: the rows
	// that need it are left out.
	Feed func(ctx context.Context, f Feed) error

	// Profiles is a directory for processor profiles (pprof) of the rows frame,
	// beat and merge. They make what is measured some percent dearer. Default:
	// none are made.
	Profiles string

	Logger *slog.Logger // told of progress. Default: discard
}

// Feed is a synthetic audience of one event: what its gateways write to Redis.
type Feed struct {
	Redis    string // redis://host:port
	Gateways int
	Viewers  int           // over all gateways, spread over FeedSegments
	Rounds   *atomic.Int64 // counts how often all tallies were written
}

// FeedSegments is how many segments the event of a Feed has, but for the world.
const FeedSegments = 300

// Report is what was measured.
type Report struct {
	At      time.Time    `json:"at"`
	Size    Size         `json:"size"`
	Machine string       `json:"machine"`
	Rows    []Row        `json:"rows"`
	Units   *Units       `json:"units,omitempty"`  // costs of a viewer, for Model
	Checks  []Prediction `json:"checks,omitempty"` // of them, at other sizes
}

// run is one call of Run.
type run struct {
	cfg    Config
	scale  scale
	report *Report
}

// measurement yields rows together, since they need the same processes.
type measurement struct {
	keys  []string
	bound time.Duration // in which it ends, one way or another
	small bool          // part of the small size
	run   func(*run, context.Context) ([]Row, error)
}

var measurements = []measurement{
	{keys: []string{"memory", "frame", "beat", "encodes"}, bound: 12 * time.Minute, small: true, run: (*run).cost},
	{keys: []string{"machine", "machine-stay"}, bound: 12 * time.Minute, run: (*run).machine},
	{keys: []string{"join"}, bound: 4 * time.Minute, small: true, run: (*run).join},
	{keys: []string{"merge"}, bound: 4 * time.Minute, small: true, run: (*run).merge},
	{keys: []string{"commands"}, bound: 6 * time.Minute, small: true, run: (*run).commands},
	{keys: []string{"payload", "payload-bin", "payload-quiet"}, bound: 3 * time.Minute, small: true, run: (*run).payload},
	{keys: []string{"slow", "slow-memory"}, bound: 6 * time.Minute, run: (*run).slow},
	{keys: []string{"tree"}, bound: 4 * time.Minute, run: (*run).tree},
	{keys: []string{"events"}, bound: 4 * time.Minute, run: (*run).events},
	{keys: []string{"capacity"}, bound: 20 * time.Minute, run: (*run).capacity},
}

// Keys returns the keys of all rows.
func Keys() (keys []string) {
	for _, m := range measurements {
		keys = append(keys, m.keys...)
	}
	return keys
}

func (c *Config) validate() error {
	if c.Self == "" {
		return errors.New("bench: the program to start is missing")
	}
	if c.Size == "" {
		c.Size = Small
	}
	if _, known := scales[c.Size]; !known {
		return fmt.Errorf("bench: size is %s or %s, not %q", Small, Full, c.Size)
	}
	for _, key := range c.Only {
		if !slices.Contains(Keys(), key) {
			return fmt.Errorf("bench: there is no row %q; there are %s", key, strings.Join(Keys(), ", "))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Run measures until all rows are there or ctx ends. A row that could not be
// measured says why. The error is one of the configuration, of a machine on
// which nothing can be measured, or of ctx; with the last there is a report of
// what was measured before.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if _, _, err := findRedis(cfg.Redis); err != nil {
		return nil, err
	}
	files, err := raiseFiles()
	if err != nil {
		return nil, err
	}
	b := &run{cfg: cfg, scale: scales[cfg.Size].within(int(files))}
	b.report = &Report{At: time.Now().UTC().Truncate(time.Second), Size: cfg.Size, Machine: machine()}
	for _, m := range measurements {
		if !m.wanted(&cfg) {
			continue
		}
		if ctx.Err() != nil {
			return b.report, ctx.Err()
		}
		cfg.Logger.Info("measuring", "rows", strings.Join(m.keys, ","), "at_most", m.bound)
		bounded, cancel := context.WithTimeout(ctx, m.bound)
		start := time.Now()
		rows, err := m.run(b, bounded)
		cancel()
		for i := range rows {
			cfg.Logger.Info("measured", "row", rows[i].Key, "value", number(rows[i].Value), "unit", rows[i].Unit, "ratio", number(rows[i].Ratio), "verdict", rows[i].Verdict())
		}
		if err != nil {
			cfg.Logger.Error("not measured", "rows", strings.Join(m.keys, ","), "error", err)
			rows = m.missing(rows, err)
		}
		b.report.Rows = append(b.report.Rows, rows...)
		cfg.Logger.Debug("took", "time", time.Since(start).Round(time.Second))
	}
	return b.report, ctx.Err()
}

// units returns the unit costs of the report, to be filled in.
func (b *run) units() *Units {
	if b.report.Units == nil {
		b.report.Units = &Units{}
	}
	return b.report.Units
}

func (m *measurement) wanted(cfg *Config) bool {
	if len(cfg.Only) == 0 {
		return m.small || cfg.Size == Full
	}
	return slices.ContainsFunc(m.keys, func(k string) bool { return slices.Contains(cfg.Only, k) })
}

// missing adds a row for each figure that is not there because of err.
func (m *measurement) missing(rows []Row, err error) []Row {
	for _, key := range m.keys {
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Key == key }) {
			rows = append(rows, Row{Key: key, What: key, Missing: err.Error()})
		}
	}
	return rows
}

// machine describes where this runs.
func machine() string {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	kernel, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-") // without what a distribution adds
	text := fmt.Sprintf("%d cores, Linux %s, %s", runtime.NumCPU(), kernel, runtime.Version())
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if total, err := parseKB(b, "MemTotal"); err == nil {
			text += fmt.Sprintf(", %.0f GiB", total/(1<<30))
		}
	}
	return text
}
