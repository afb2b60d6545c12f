package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"grandstand/simulator"
)

type simulateCmd struct {
	Target    []string      `help:"http://host:port of a gateway; several share the crowd." required:"" placeholder:"URL"`
	Event     string        `help:"Event to watch." default:"demo"`
	Viewers   int           `help:"Sessions at the height." default:"1000"`
	Duration  time.Duration `help:"How long the crowd stays." default:"60s"`
	Profile   string        `help:"match: surge, goals, half-time, everybody leaves. flat: constant with some churn." enum:"match,flat" default:"match"`
	Beat      time.Duration `help:"Beat interval that viewers declare, 5s to 60s. Default: what the gateway asks for."`
	Seed      uint64        `help:"Seed of every random choice." default:"1"`
	JoinRate  float64       `help:"Joins per second at most." default:"500"`
	Churn     float64       `help:"Share of the crowd that leaves and is replaced each minute." default:"0.1"`
	Moves     float64       `help:"Share of the crowd that changes networks each minute." default:"0"`
	Silent    float64       `help:"Share of leaves without a goodbye." default:"0.1"`
	Devices   float64       `help:"Share of viewers on two devices." default:"0.05"`
	Window    time.Duration `help:"How long a gateway may take to take note of a join or a leave." default:"300ms"`
	Late      time.Duration `help:"How old the tally of a gateway that cannot tell what it counts may be, on boards that are not live. Default: they are judged as live ones."`
	Guests    int           `help:"Sessions besides the crowd that counts may include." default:"0"`
	Shared    bool          `help:"There are other viewers, nobody knows how many: compare counts only with each other."`
	JWTSecret string        `help:"Secret that signs the crowd's tokens (HS256), where the gateways ask for some." name:"jwt-secret" placeholder:"SECRET"`
	JSON      string        `help:"File for the report as JSON." name:"json" type:"path" placeholder:"FILE"`
	Acked     string        `help:"File for the numbers of the beats that gateways acknowledged, which archive verify --acked reads." type:"path" placeholder:"FILE"`
	Remote    bool          `help:"Allow targets that are not on this machine. Only aim at what is yours."`
}

func (c *simulateCmd) config() simulator.Config {
	cfg := simulator.Config{
		Addresses: c.Target, AllowRemote: c.Remote, Event: c.Event, Viewers: c.Viewers, Seed: c.Seed,
		Profile: simulator.Profile(c.Profile), Duration: c.Duration, Interval: c.Beat, JoinRate: c.JoinRate,
		ChurnPerMinute: c.Churn, NetworkChangesPerMinute: c.Moves, SilentLeaveShare: c.Silent, TwoDeviceShare: c.Devices,
		Window: c.Window, Late: c.Late, Guests: c.Guests, Shared: c.Shared, Secret: []byte(c.JWTSecret),
	}
	if c.Churn == 0 {
		cfg.ChurnPerMinute = -1 // the simulator's own default is some
	}
	return cfg
}

// Run sends the crowd and reports. It returns errBroken if a sum, the order of
// "at" or the final truth did not hold.
func (c *simulateCmd) Run(ctx context.Context) error {
	cfg := c.config()
	if c.Acked != "" {
		f, err := os.Create(c.Acked)
		if err != nil {
			return fmt.Errorf("--acked: %w", err)
		}
		defer f.Close()
		cfg.Acked = f
	}
	report, err := simulator.Run(ctx, cfg)
	if err != nil {
		return err
	}
	report.WriteTable(os.Stdout)
	if c.JSON != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		if err := os.WriteFile(c.JSON, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	if report.Failed() {
		return errBroken
	}
	return nil
}
