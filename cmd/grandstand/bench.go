package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"grandstand/bench"
)

type benchCmd struct {
	Size          string   `help:"small: two minutes, for ratios. full: half an hour on a quiet machine, for the figures." enum:"small,full" default:"small"`
	Only          []string `help:"Rows to measure, of those that --list names. Default: those of the size." placeholder:"ROW"`
	List          bool     `help:"Name the rows and measure nothing."`
	Redis         string   `help:"redis://host:port of a server that serves nobody else. Default: a redis-server of the PATH for each measurement." placeholder:"URL"`
	JSON          string   `help:"File for the report as JSON." name:"json" type:"path" placeholder:"FILE"`
	Output        string   `help:"table or json." short:"o" enum:"table,json" default:"table"`
	Profiles      string   `help:"Directory for processor profiles of the rows frame, beat, join and merge, which makes them some percent dearer." type:"existingdir" placeholder:"DIR"`
	Baseline      string   `help:"Baseline to compare with: figures that are over 15 %% worse are exit code 3." type:"existingfile" placeholder:"FILE"`
	WriteBaseline string   `help:"File to write the baseline of later comparisons to." type:"path" placeholder:"FILE"`
	Model         string   `help:"Report of a run: print what large audiences need by its costs, and measure nothing." type:"existingfile" placeholder:"FILE"`
}

// Run measures and prints. It returns errBroken if a figure is much worse than
// the baseline's.
func (c *benchCmd) Run(ctx context.Context) error {
	if c.List {
		for _, key := range bench.Keys() {
			fmt.Println(key)
		}
		return nil
	}
	if c.Model != "" {
		return c.model(os.Stdout)
	}
	report, err := c.measure(ctx, c.Only)
	if report == nil {
		return err
	}
	if writing := c.write(report, os.Stdout); writing != nil {
		return writing
	}
	if err != nil {
		return err
	}
	if c.WriteBaseline != "" {
		if err := writeJSON(c.WriteBaseline, report.Baseline()); err != nil {
			return err
		}
	}
	if c.Baseline == "" {
		return nil
	}
	return c.compare(ctx, report)
}

func (c *benchCmd) measure(ctx context.Context, only []string) (*bench.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return bench.Run(ctx, bench.Config{
		Self: self, Redis: c.Redis, Size: bench.Size(c.Size), Only: only, Feed: feedTallies, Profiles: c.Profiles,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

// compare compares with the baseline. What is worse is measured once more, and
// only what is worse again counts: the machine may have had something else to
// do.
func (c *benchCmd) compare(ctx context.Context, report *bench.Report) error {
	base := new(bench.Baseline)
	if err := readJSON(c.Baseline, base); err != nil {
		return err
	}
	worse, err := report.Compare(base)
	if err != nil {
		return wrongUse{err}
	}
	if len(worse) > 0 {
		var again []string
		for _, w := range worse {
			fmt.Fprintf(os.Stderr, "%s seems worse and is measured again: %s\n", w.Key, w.What)
			again = append(again, w.Key)
		}
		if report, err = c.measure(ctx, again); err != nil {
			return err
		}
		second, _ := report.Compare(base) // of the same size
		worse = slices.DeleteFunc(second, func(w bench.Regression) bool { return !slices.Contains(again, w.Key) })
	}
	for _, w := range worse {
		fmt.Fprintf(os.Stderr, "%s is over %.0f %% worse than in %s: %s\n", w.Key, 100*bench.Tolerance, c.Baseline, w.What)
	}
	if len(worse) > 0 {
		return errBroken
	}
	return nil
}

// model prints what large audiences need by the costs in a report.
func (c *benchCmd) model(out io.Writer) error {
	report := new(bench.Report)
	if err := readJSON(c.Model, report); err != nil {
		return err
	}
	if report.Units == nil || len(report.Checks) == 0 || report.Units.MergeCPU == 0 {
		return wrongUsef("%s has no unit costs: measure them with --only capacity,merge --json %s", c.Model, c.Model)
	}
	if err := report.WriteChecks(out); err != nil {
		return err
	}
	return report.Units.WriteModel(out, bench.Audiences)
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (c *benchCmd) write(report *bench.Report, out io.Writer) error {
	if c.JSON != "" {
		if err := writeJSON(c.JSON, report); err != nil {
			return err
		}
	}
	if c.Output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	return report.WriteTable(out)
}

// benchFloorCmd is the floor of a benchmark, in a process of its own.
type benchFloorCmd struct {
	Listen  string `required:""`
	TickMS  int    `name:"tick-ms" required:""`
	Payload int    `required:""`
}

// Run serves until the process ends.
func (c *benchFloorCmd) Run() error {
	return bench.Floor(bench.FloorConfig{Addr: c.Listen, TickMS: c.TickMS, Payload: c.Payload})
}

// benchLoadCmd is a crowd of a benchmark: it reads what to do from its standard
// input.
type benchLoadCmd struct{}

// Run plays until it is told to stop.
func (*benchLoadCmd) Run() error { return bench.Load(os.Stdin, os.Stdout) }
