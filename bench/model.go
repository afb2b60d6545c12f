package bench

import (
	"fmt"
	"io"
	"math"
)

// Line is what gateways of some size use of a resource: Base for each gateway
// and PerViewer for each viewer.
type Line struct {
	Base      float64 `json:"base"`
	PerViewer float64 `json:"per_viewer"`
}

// through returns the line through two measurements at one gateway each.
func through(n1, n2 int, v1, v2 float64) Line {
	slope := (v2 - v1) / float64(n2-n1)
	return Line{Base: v1 - slope*float64(n1), PerViewer: slope}
}

// At returns what so many gateways with so many viewers in all use.
func (l Line) At(gateways, viewers float64) float64 { return gateways*l.Base + viewers*l.PerViewer }

// Units are the costs that Model calculates with, at a tick of 2 s and a beat of
// 10 s, as they were measured.
type Units struct {
	Cores      Line `json:"cores"`       // of gateways, processor seconds per second
	Memory     Line `json:"memory"`      // of gateways, bytes
	Commands   Line `json:"commands"`    // of Redis, per second
	RedisBytes Line `json:"redis_bytes"` // in and out of Redis but for tallies, per second
	RedisCores Line `json:"redis_cores"`
	Egress     Line `json:"egress"` // payload to viewers, bytes per second
	Messages   Line `json:"messages"`

	Kernel float64 `json:"kernel"` // bytes of the kernel per viewer, at its server

	// Of the tally of one gateway of some 19,400 viewers and 300 segments, which
	// changed altogether.
	TallyBytes float64 `json:"tally_bytes"`
	MergeCPU   float64 `json:"merge_cpu"` // processor seconds of the aggregator
}

// resources are those that predictions are checked for.
var resources = []struct {
	name, unit string
	scale      float64
	tallies    bool // they are added
	line       func(*Units) *Line
}{
	{"gateway", "cores", 1, false, func(u *Units) *Line { return &u.Cores }},
	{"gateway memory", "MB", 1 << 20, false, func(u *Units) *Line { return &u.Memory }},
	{"Redis", "commands/s", 1, false, func(u *Units) *Line { return &u.Commands }},
	{"Redis traffic", "KB/s", 1 << 10, true, func(u *Units) *Line { return &u.RedisBytes }},
	{"payload to viewers", "KB/s", 1 << 10, false, func(u *Units) *Line { return &u.Egress }},
}

// Prediction is what Units say of an audience on one gateway, and what was
// measured.
type Prediction struct {
	Viewers   int     `json:"viewers"`
	What      string  `json:"what"`
	Unit      string  `json:"unit"`
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"`
}

// Off returns how far the prediction is above (below: negative) what was
// measured, as a share of it.
func (p Prediction) Off() float64 { return p.Predicted/p.Measured - 1 }

// Assumptions are what a Plan takes as given. They are not measured.
type Assumptions struct {
	Viewers           float64
	ViewersPerGateway float64
	Busy              float64 // share of the cores that may be used: the rest is for surges and lost nodes
	Fanout            float64

	// Overhead are the bytes that a message takes on the way beside its payload:
	// 2 of WebSocket, 22 of a TLS 1.3 record, 40 of TCP and IPv4.
	Overhead float64

	// List prices in dollars: of a core and of a GiB of memory for an hour, of a
	// GB that leaves the data centre.
	CoreHour, GiBHour, EgressGB float64
}

// Audiences are those that the capacity document is about: a national final on
// gateways of the size that was measured, and the largest streams there have
// been on gateways five times as large.
var Audiences = []Assumptions{
	{Viewers: 3.3e6, ViewersPerGateway: 20_000, Busy: 0.5, Fanout: 16, Overhead: 64, CoreHour: 0.04, GiBHour: 0.005, EgressGB: 0.05},
	{Viewers: 99e6, ViewersPerGateway: 100_000, Busy: 0.5, Fanout: 16, Overhead: 64, CoreHour: 0.04, GiBHour: 0.005, EgressGB: 0.05},
}

// Plan is what an audience needs.
type Plan struct {
	Gateways, Relays            float64
	GatewayCores, GatewayMemory float64 // cores to be had, at Busy; bytes, with the kernel's
	AggregatorCores             float64 // used at Busy, over all aggregators
	Commands                    float64 // of Redis, per second
	RedisTraffic                float64 // bytes per second, in and out
	RedisCores                  float64 // to be had, at Busy
	Egress                      float64 // bytes per second on the way to viewers
	Machines, Network           float64 // dollars per hour
}

// Plan calculates what the audience needs.
func (u *Units) Plan(a Assumptions) Plan {
	g := math.Ceil(a.Viewers / a.ViewersPerGateway)
	p := Plan{Gateways: g, Relays: math.Ceil(g / a.Fanout)}
	p.GatewayCores = u.Cores.At(g, a.Viewers) / a.Busy
	p.GatewayMemory = u.Memory.At(g, a.Viewers) + a.Viewers*u.Kernel
	p.AggregatorCores = g * u.MergeCPU / tick.Seconds() / a.Busy
	p.Commands = u.Commands.At(g, a.Viewers)
	// Each tally goes in once and out once, to the aggregator that has its shard.
	p.RedisTraffic = u.RedisBytes.At(g, a.Viewers) + 2*g*u.TallyBytes/tick.Seconds()
	p.RedisCores = u.RedisCores.At(g, a.Viewers) / a.Busy
	p.Egress = u.Egress.At(g, a.Viewers) + u.Messages.At(g, a.Viewers)*a.Overhead
	cores := p.GatewayCores + p.AggregatorCores + p.RedisCores
	p.Machines = cores*a.CoreHour + p.GatewayMemory/(1<<30)*a.GiBHour
	p.Network = p.Egress * 3600 / 1e9 * a.EgressGB
	return p
}

// WriteModel writes the capacity of each audience as a table of Markdown.
func (u *Units) WriteModel(w io.Writer, audiences []Assumptions) error {
	plans := make([]Plan, len(audiences))
	for i, a := range audiences {
		plans[i] = u.Plan(a)
	}
	line := func(name string, value func(a Assumptions, p Plan) string) {
		fmt.Fprintf(w, "| %s |", name)
		for i := range plans {
			fmt.Fprintf(w, " %s |", value(audiences[i], plans[i]))
		}
		fmt.Fprintln(w)
	}
	line("viewers", func(a Assumptions, _ Plan) string { return number(a.Viewers/1e6) + " million" })
	fmt.Fprint(w, "|---|")
	for range plans {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	line("viewers on a gateway (assumed)", func(a Assumptions, _ Plan) string { return fmt.Sprintf("%.0f", a.ViewersPerGateway) })
	line("gateways, of which relays", func(_ Assumptions, p Plan) string { return fmt.Sprintf("%.0f, %.0f", p.Gateways, p.Relays) })
	line("cores for gateways, half of them free", func(_ Assumptions, p Plan) string { return number(p.GatewayCores) })
	line("memory of gateways and their kernels, GiB", func(_ Assumptions, p Plan) string { return number(p.GatewayMemory / (1 << 30)) })
	line("cores for aggregators, half of them free", func(_ Assumptions, p Plan) string { return number(p.AggregatorCores) })
	line("Redis commands/s", func(_ Assumptions, p Plan) string { return number(p.Commands) })
	line("Redis traffic, MB/s", func(_ Assumptions, p Plan) string { return number(p.RedisTraffic / 1e6) })
	line("cores for Redis, half of them free", func(_ Assumptions, p Plan) string { return number(p.RedisCores) })
	line("to viewers, Gbit/s", func(_ Assumptions, p Plan) string { return number(p.Egress * 8 / 1e9) })
	line("machines, $ per hour", func(_ Assumptions, p Plan) string { return number(p.Machines) })
	line("traffic, $ per hour", func(_ Assumptions, p Plan) string { return number(p.Network) })
	line("together, $ per million viewers and hour", func(a Assumptions, p Plan) string { return number((p.Machines + p.Network) / a.Viewers * 1e6) })
	a := audiences[0]
	_, err := fmt.Fprintf(w, "\nAssumed: tick 2 s, a beat each 10 s, %.0f bytes of WebSocket, TLS, TCP and IP around a message, and list prices of $%g for a core-hour, $%g for a GiB-hour, $%g for a GB that goes out.\n",
		a.Overhead, a.CoreHour, a.GiBHour, a.EgressGB)
	return err
}

// WriteChecks writes the predictions as a table of Markdown.
func (r *Report) WriteChecks(w io.Writer) error {
	fmt.Fprintln(w, "| viewers | | predicted | measured | off |\n|---|---|---|---|---|")
	for _, p := range r.Checks {
		fmt.Fprintf(w, "| %d | %s | %s %s | %s | %+.0f %% |\n", p.Viewers, p.What, number(p.Predicted), p.Unit, number(p.Measured), 100*p.Off())
	}
	_, err := fmt.Fprintln(w)
	return err
}
