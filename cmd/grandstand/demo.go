package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"grandstand"
	"grandstand/simulator"
	"grandstand/web/pitch"
)

// demoEvent is what the demo shows.
const demoEvent = "demo"

// demoJournalAge is short, so that there is something in the archive soon.
const demoJournalAge = 10 * time.Second

type demoCmd struct {
	common
	public
	Journal string        `help:"Directory of the journal of raw events, or off. Default: journal, beside the archive." placeholder:"DIR"`
	Viewers int           `help:"Size of the simulated crowd." default:"1500"`
	Match   time.Duration `help:"Length of a simulated match; when one is over the next begins." default:"4m"`
}

// Run is "all" on embedded parts, with a crowd that comes and goes.
func (c *demoCmd) Run(ctx context.Context, f *file) error {
	if c.TLSCert != "" || c.TLSKey != "" {
		return wrongUsef("a demo speaks plain HTTP: use all with --tls-cert")
	}
	c.Listen = freeOr(c.Listen)
	if c.Admin != "" {
		c.Admin = freeOr(c.Admin)
	}
	if c.LogLevel == "info" {
		c.LogLevel = "warn" // the address should be the last thing on the screen
	}
	all := allCmd{common: c.common, public: c.public, believing: believing{Auth: "none"}, serving: serving{MaxConns: 18_000, DrainOver: time.Second},
		journalling: journalling{Journal: c.Journal, JournalAge: demoJournalAge, SealOver: 5 * time.Second}, secondHere: c.Journal == ""}
	choice := []grandstand.Dimension{{Name: "country", Choose: true}, {Name: "region", Choose: true}, {Name: "team", Values: []string{"KC", "SF"}, Choose: true}}
	event := &grandstand.Event{Name: demoEvent, Dims: choice, Public: true}
	if err := event.Normalize(); err != nil {
		return err
	}
	own := *f
	own.events = append([]*grandstand.Event{event}, f.events...)
	pictures, err := pitch.New()
	if err == nil {
		all.pictures = pictures
	}
	n, addr, err := all.start(ctx, &own)
	if err != nil {
		return err
	}
	what := "The picture is a clip; with ffmpeg it is a live stream"
	if pictures != nil {
		what = "The picture is a live stream, made by ffmpeg"
	}
	fmt.Printf(`
  Grandstand is running.

      http://%s/

  Open it and watch four counts move: your state, your team, your country, the world.
  Press "Open a second window": another fan, and within a tick or two both of you are counted.
  Press "Open another device" twice: your account may play on two, and the third is told so.
  Press "Replay": the recording shows the audience of its time. %s.
  A crowd of %d simulated viewers comes and goes. Ctrl-C ends it.

`, addr, what, c.Viewers)
	if pictures != nil {
		n.run("pictures", func(ctx context.Context) error {
			if err := pictures.Run(ctx); err != nil {
				n.log.Warn("the picture of the demo is a clip from now on", "error", err)
			}
			<-ctx.Done()
			return nil
		})
	}
	n.run("crowd", func(ctx context.Context) error { return c.crowd(ctx, "http://"+addr, n.log) })
	return n.wait(ctx)
}

// crowd plays one match after the other. What it reports is for simulate: here
// real visitors join in, so its truth is not the whole one.
func (c *demoCmd) crowd(ctx context.Context, url string, log *slog.Logger) error {
	for c.Viewers > 0 && ctx.Err() == nil {
		_, err := simulator.Run(ctx, simulator.Config{
			Addresses: []string{url}, Event: demoEvent, Viewers: c.Viewers, Seed: uint64(time.Now().UnixNano()),
			Profile: simulator.Match, Duration: 24 * time.Hour, Period: c.Match,
			ChurnPerMinute: 0.3, TwoDeviceShare: 0.05, SilentLeaveShare: 0.1, NetworkChangesPerMinute: 0.05,
			Probes: -1, Shared: true,
		})
		if err != nil && ctx.Err() == nil {
			log.Warn("the crowd went home early and will be back", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	<-ctx.Done()
	return nil
}

// freeOr returns address, or one with a free port if that is taken: a demo
// should not fail for another program on 8080.
func freeOr(address string) string {
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
		return address
	}
	if host, _, split := net.SplitHostPort(address); split == nil && errors.Is(err, syscall.EADDRINUSE) {
		fmt.Fprintf(os.Stderr, "%s is taken, using a free port\n", address)
		return net.JoinHostPort(host, "0")
	}
	return address
}
