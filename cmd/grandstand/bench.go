package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"

	"grandstand/bench"
)

type benchCmd struct {
	Size          string   `help:"small: two minutes, for ratios. full: half an hour on a quiet machine, for the figures." enum:"small,full" default:"small"`
	Only          []string `help:"Rows to measure, of those that --list names. Default: those of the size." placeholder:"ROW"`
	List          bool     `help:"Name the rows and measure nothing."`
	Redis         string   `help:"redis://host:port of a server that serves nobody else. Default: a redis-server of the PATH for each measurement." placeholder:"URL"`
	JSON          string   `help:"File for the report as JSON." name:"json" type:"path" placeholder:"FILE"`
	Output        string   `help:"table or json." short:"o" enum:"table,json" default:"table"`
	Baseline      string   `help:"Report to compare with: ratios that are over 15 % worse are exit code 3." type:"existingfile" placeholder:"FILE"`
	WriteBaseline string   `help:"File to write the baseline of later comparisons to." type:"path" placeholder:"FILE"`
	Model         string   `help:"Report of a run: print what large audiences need by its costs, and measure nothing." type:"existingfile" placeholder:"FILE"`
}

// Run measures and prints. It returns errBroken if a ratio is much worse than
// the baseline's.
func (c *benchCmd) Run(ctx context.Context) error {
	if c.List {
		for _, key := range bench.Keys() {
			fmt.Println(key)
		}
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	report, err := bench.Run(ctx, bench.Config{
		Self: self, Redis: c.Redis, Size: bench.Size(c.Size), Only: c.Only,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if report == nil {
		return err
	}
	if writing := c.write(report, os.Stdout); writing != nil {
		return writing
	}
	return err
}

func (c *benchCmd) write(report *bench.Report, out io.Writer) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if c.JSON != "" {
		if err := os.WriteFile(c.JSON, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	if c.Output == "json" {
		_, err := fmt.Fprintf(out, "%s\n", text)
		return err
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
