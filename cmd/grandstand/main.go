// Command grandstand is every role of Grandstand in one binary; the sub-command
// says which. It is the only place where stages meet.
//
//	                  ┌───────────────────────── one process of "all" or "demo" ─────────────────────────┐
//	players ──HTTP──▶ │ listener ─▶ gateway ──tallies──▶ redis.Client ──tallies──▶ aggregator            │
//	                  │    │           ▲                      │    ▲                  │     │            │
//	                  │    ├─▶ web     └── frames ── hub ◀─ boards ├──── boards ──────┘     └─▶ archive  │
//	                  │    └─▶ blocker ──────────────── leases ────┘ (a gateway asks for them, too)      │
//	                  └──────────────────────────────────────────────────────────────────────────────────┘
//
// Each role alone is the same drawing with the other boxes in other processes.
//
// In: flags, GRANDSTAND_* variables and one YAML file, in that order.
//
// Out: a running role, its log, and an exit code: 0 stopped as asked, 1 went
// wrong, 2 was asked wrongly, 3 a simulated crowd saw a promise broken.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker of release builds.
var version = "devel"

type cli struct {
	Config string `help:"YAML file of settings; its rules are read again at SIGHUP." type:"existingfile" placeholder:"FILE"`

	Demo       demoCmd       `cmd:"" help:"Everything on this machine with a simulated crowd: nothing else is needed."`
	All        allCmd        `cmd:"" help:"Every role in one process."`
	Gateway    gatewayCmd    `cmd:"" help:"Serve players: WebSockets, REST, counts, streams."`
	Aggregator aggregatorCmd `cmd:"" help:"Merge the gateways' tallies into boards."`
	Blocker    blockerCmd    `cmd:"" help:"Decide over REST how many devices of an account play, and show which do."`
	Archiver   archiverCmd   `cmd:"" help:"Move the gateways' journals into the archive, as Parquet."`
	Archive    archiveCmd    `cmd:"" help:"Tools for what is archived."`
	Web        webCmd        `cmd:"" help:"Serve the pages."`
	Simulate   simulateCmd   `cmd:"" help:"Send a simulated crowd to a deployment and check what it is shown."`
	Drill      drillCmd      `cmd:"" help:"Send a multiple of an audience to a deployment, and judge in one page what it holds."`
	Bench      benchCmd      `cmd:"" help:"Measure what a viewer costs on this machine, with the floor beside each figure."`
	Health     healthCmd     `cmd:"" help:"Ask a process on this machine whether it can do its work, as containers are checked."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	BenchFloor benchFloorCmd `cmd:"" hidden:""`
	BenchLoad  benchLoadCmd  `cmd:"" hidden:""`
}

// errBroken is returned by simulate when a promise was broken, by drill when an
// objective was missed, and by bench when a figure is much worse than its baseline:
// exit code 3.
var errBroken = errors.New("a promise was broken")

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	var c cli
	f := &file{}
	parser, err := newParser(&c, f)
	if err != nil {
		fmt.Fprintln(os.Stderr, "grandstand:", err)
		return 2
	}
	selected, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "grandstand: %v\nTry: grandstand --help\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	f.shown = starting(selected)
	selected.BindTo(ctx, (*context.Context)(nil))
	var wrong wrongUse
	switch err := selected.Run(f); {
	case err == nil:
		return 0
	case errors.Is(err, errBroken):
		fmt.Fprintln(os.Stderr, "grandstand:", err)
		return 3
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "grandstand: %v\nTry: grandstand %s --help\n", err, selected.Command())
		return 2
	default:
		fmt.Fprintln(os.Stderr, "grandstand:", err)
		return 1
	}
}

func newParser(c *cli, f *file) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("grandstand"),
		kong.Description("Shows every viewer of a live event how many others like them are watching."),
		kong.DefaultEnvars("GRANDSTAND"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.WithBeforeResolve(func(k *kong.Context) error { return addFile(k, f) }),
	)
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Println("grandstand", version)
	return nil
}
