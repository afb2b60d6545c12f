package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"grandstand"
	"grandstand/drill"
)

type drillCmd struct {
	Target      []string      `help:"http://host:port of a gateway; several share the crowd." required:"" placeholder:"URL"`
	Admin       []string      `help:"Admin address of each process of the deployment, whose metrics say what saturates." placeholder:"ADDRESS"`
	Event       string        `help:"Event to watch." default:"drill"`
	Peak        string        `help:"The peak as a multiple of the base: 2x, 5x." default:"2x"`
	Base        int           `help:"Sessions before and after the peak. Default: the event's audience of now, which stays." placeholder:"N"`
	Ramp        time.Duration `help:"Time from the base to the peak, and back." default:"30s"`
	Hold        time.Duration `help:"Time at the peak." default:"1m"`
	Seed        uint64        `help:"Seed of every random choice." default:"1"`
	JWTSecret   string        `help:"Secret that signs the crowd's tokens (HS256), where the deployment asks for some." name:"jwt-secret" placeholder:"SECRET"`
	Output      string        `help:"text or json." short:"o" enum:"text,json" default:"text"`
	AllowPublic bool          `help:"Allow targets that are neither loopback nor private addresses. Only aim at what is yours."`
}

// Run drills and prints the verdict. It returns errBroken if an objective was
// missed.
func (c *drillCmd) Run(ctx context.Context) error {
	peak, err := strconv.ParseFloat(strings.TrimSuffix(c.Peak, "x"), 64)
	if err != nil {
		return wrongUsef("--peak %q is not a multiple such as 2x", c.Peak)
	}
	v, err := drill.Run(ctx, drill.Config{
		Targets: c.Target, Admins: c.Admin, AllowPublic: c.AllowPublic, Event: c.Event,
		Secret: []byte(c.JWTSecret), Peak: peak, Base: c.Base, Ramp: c.Ramp, Hold: c.Hold, Seed: c.Seed,
	})
	if code := grandstand.CodeOf(err); code == grandstand.CodeInvalid || code == grandstand.CodeForbidden {
		return wrongUse{err}
	}
	if err != nil {
		return err
	}
	write := v.WriteTable
	if c.Output == "json" {
		write = v.WriteJSON
	}
	if err := write(os.Stdout); err != nil {
		return err
	}
	if v.Failed() {
		return errBroken
	}
	return nil
}
