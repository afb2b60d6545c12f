package simulator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strings"
	"time"

	"grandstand"
)

// Profile is how the crowd grows and shrinks.
type Profile string

// The profiles.
const (
	// Match is a football evening: a surge before kick-off, a plateau with
	// churn, goals that bring more fans of one team and make others reload, a
	// dip at half-time, and a leave surge at the end.
	Match Profile = "match"

	// Flat comes in as fast as JoinRate allows and stays at Viewers.
	Flat Profile = "flat"
)

// Level is how full the crowd is at a time: a share of Config.Viewers.
type Level struct {
	At    time.Duration
	Share float64
}

// Config says who comes, when, and what they do. Shares are of 0 to 1.
type Config struct {
	// Addresses are the gateways, as host:port or http://host:port. Players
	// spread over them, and come back on another one. Required.
	Addresses []string

	// AllowRemote lets Addresses be other machines than this one. A crowd is a
	// weapon: only for machines of your own.
	AllowRemote bool

	Event   string  // required; must exist, or be created at the first viewer
	Viewers int     // sessions at the fullest, 1 to 100,000. Default 100
	Seed    uint64  // of every choice. Default 1
	Profile Profile // default Match

	// Duration is from the first join to the quiet end, at most 24 h. Default
	// one minute. Period is the length of one match; they follow each other.
	// Default Duration.
	Duration, Period time.Duration

	// Curve, if there is one, takes the place of the profile's: levels in the order
	// of time, the first at 0, with straight lines in between.
	Curve []Level

	// Interval is the time between two beats of a player, 5 to 60 s. Default:
	// what the gateway asks for.
	Interval time.Duration

	// The mixes of the crowd. A region is of the country that its value begins
	// with. The value "" is a player that declares none. Defaults: a US final.
	TeamMix, CountryMix, RegionMix []Share

	// ChurnPerMinute is the share of the crowd that leaves each minute and is
	// replaced. Default 0.1; negative: none.
	ChurnPerMinute float64

	// NetworkChangesPerMinute is the share of the crowd whose connection is
	// reset each minute, and which resumes its session on another gateway. May
	// be above 1, up to 10. Default 0.
	NetworkChangesPerMinute float64

	// SilentLeaveShare is the share of leaves without a goodbye. Default 0.
	SilentLeaveShare float64

	// TwoDeviceShare is the share of viewers that watch on two devices: one fan,
	// two sessions. Default 0.
	TwoDeviceShare float64

	// AccountShare is the share of viewers whose account pays: each session asks
	// for a lease. None has more devices than its account may play, so nobody may
	// be blocked. Default 0.
	AccountShare float64

	// Secret signs the tokens of the players (HS256, 32 bytes or more), where a
	// deployment asks for some. Default: nobody has one, the query says who it is.
	Secret []byte

	// JoinRate bounds joins per second, up to 5,000. Default 500.
	JoinRate float64

	// Probes is the number of lanes that measure freshness: in each, one viewer
	// watches another one of a team of their own come and go. Default 8, at most
	// 64; negative: none.
	Probes int

	// Window is how long a gateway may take to take note of a join or a leave.
	// Until then a session may or may not be counted. Default 300 ms.
	Window time.Duration

	// Late is how old the tally of a gateway may be that cannot tell what it
	// counts: who came or went since then may be missing, or be counted still, on
	// boards that are not live, and for some seconds after them. Default: they
	// are judged as live ones are.
	Late time.Duration

	// Guests is how many sessions, besides the crowd, any count may include: a
	// browser that looks on. Default none.
	Guests int

	// Shared says that the event has viewers who are not of this crowd: counts
	// are then not compared with the truth, only with each other.
	Shared bool

	// Acked gets a line for each beat that a gateway acknowledged as durable:
	// event, session and number, as grandstand archive verify reads them. What is
	// not acknowledged is sent again after a reconnect. Default: nobody is told.
	Acked io.Writer

	Logger *slog.Logger // default: discard

	// dial replaces TCP in tests. source is a small number to spread by.
	dial func(ctx context.Context, gateway, source int) (net.Conn, error)
}

// Share is one value of a mix and its weight; weights need not add up to 1.
type Share struct {
	Value  string
	Weight float64
}

const (
	maxAddresses = 64
	maxViewers   = 100_000
	maxDuration  = 24 * time.Hour
	maxJoinRate  = 5_000
	maxProbes    = 64
)

// validate fills the defaults in. Its errors have CodeInvalid.
func (c *Config) validate() error {
	c.defaults()
	if len(c.Addresses) == 0 || len(c.Addresses) > maxAddresses {
		return grandstand.Errorf(grandstand.CodeInvalid, "addresses: 1 to %d gateways", maxAddresses)
	}
	if !grandstand.ValidValue(c.Event) {
		return grandstand.Errorf(grandstand.CodeInvalid, "event: 1 to %d characters of A-Z a-z 0-9 . _ -", grandstand.MaxValueLen)
	}
	if c.Profile != Match && c.Profile != Flat {
		return grandstand.Errorf(grandstand.CodeInvalid, "profile is match or flat, not %q", c.Profile)
	}
	if c.Interval != 0 && (c.Interval < grandstand.MinBeatMS*time.Millisecond || c.Interval > grandstand.MaxBeatMS*time.Millisecond) {
		return grandstand.Errorf(grandstand.CodeInvalid, "interval is 5 to 60 s")
	}
	for _, b := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"viewers", float64(c.Viewers), 1, maxViewers},
		{"duration, in seconds", c.Duration.Seconds(), 1, maxDuration.Seconds()},
		{"period, in seconds", c.Period.Seconds(), 1, maxDuration.Seconds()},
		{"churn per minute", c.ChurnPerMinute, 0, 10},
		{"network changes per minute", c.NetworkChangesPerMinute, 0, 10},
		{"silent leave share", c.SilentLeaveShare, 0, 1},
		{"two device share", c.TwoDeviceShare, 0, 1},
		{"account share", c.AccountShare, 0, 1},
		{"join rate", c.JoinRate, 0.1, maxJoinRate},
		{"probes", float64(c.Probes), 0, maxProbes},
		{"guests", float64(c.Guests), 0, maxViewers},
		{"window, in seconds", c.Window.Seconds(), 0.01, 5},
		{"late, in seconds", c.Late.Seconds(), 0, 150},
	} {
		if math.IsNaN(b.v) || b.v < b.lo || b.v > b.hi {
			return grandstand.Errorf(grandstand.CodeInvalid, "%s is %g to %g, not %g", b.name, b.lo, b.hi, b.v)
		}
	}
	if n := len(c.Secret); n > 0 && n < minSecret {
		return grandstand.Errorf(grandstand.CodeInvalid, "the secret of the tokens has %d bytes or more", minSecret)
	}
	for i, l := range c.Curve {
		if !(l.Share >= 0 && l.Share <= 1) || i == 0 && l.At != 0 || i > 0 && l.At < c.Curve[i-1].At {
			return grandstand.Errorf(grandstand.CodeInvalid, "the curve's levels are shares of 0 to 1 in the order of time, from 0 on")
		}
	}
	for name, mix := range map[string][]Share{"team": c.TeamMix, "country": c.CountryMix, "region": c.RegionMix} {
		if err := validateMix(name, mix); err != nil {
			return err
		}
	}
	if c.dial != nil {
		return nil
	}
	return checkSockets(c.Viewers + 4*c.Probes + 64)
}

func (c *Config) defaults() {
	setDefault(&c.Viewers, 100)
	setDefault(&c.Seed, 1)
	setDefault(&c.Profile, Match)
	setDefault(&c.Duration, time.Minute)
	setDefault(&c.Period, c.Duration)
	setDefault(&c.ChurnPerMinute, 0.1)
	setDefault(&c.JoinRate, 500)
	setDefault(&c.Probes, 8)
	setDefault(&c.Window, 300*time.Millisecond)
	c.ChurnPerMinute = max(c.ChurnPerMinute, 0)
	c.Probes = max(c.Probes, 0)
	if c.TeamMix == nil {
		c.TeamMix = teams
	}
	if c.CountryMix == nil {
		c.CountryMix = countries
	}
	if c.RegionMix == nil {
		c.RegionMix = regions
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func validateMix(name string, mix []Share) error {
	sum := 0.0
	for _, s := range mix {
		if s.Value != "" && !grandstand.ValidValue(s.Value) || s.Weight < 0 || math.IsNaN(s.Weight) || math.IsInf(s.Weight, 0) {
			return grandstand.Errorf(grandstand.CodeInvalid, "the %s mix has an impossible value or weight: %q, %g", name, s.Value, s.Weight)
		}
		sum += s.Weight
	}
	if sum <= 0 || len(mix) > 10_000 {
		return grandstand.Errorf(grandstand.CodeInvalid, "the %s mix has no weight, or over 10000 values", name)
	}
	return nil
}

// target is a gateway that was checked.
type target struct {
	name string // as it was given
	host string // host:port
	ip   net.IP // nil in tests with a dial of their own
}

// targets resolves the addresses and refuses what is not this machine.
func (c *Config) targets() ([]target, error) {
	out := make([]target, len(c.Addresses))
	for i, name := range c.Addresses {
		host := name
		if strings.Contains(name, "://") {
			u, err := url.Parse(name)
			if err != nil || u.Scheme != "http" && u.Scheme != "ws" || u.Path != "" && u.Path != "/" {
				return nil, grandstand.Errorf(grandstand.CodeInvalid, "address %q is not host:port, http://host:port or ws://host:port", name)
			}
			host = u.Host
		}
		out[i] = target{name: name, host: host}
		if c.dial != nil {
			continue
		}
		a, err := net.ResolveTCPAddr("tcp", host)
		if err != nil {
			return nil, grandstand.WrapError(grandstand.CodeInvalid, err, fmt.Sprintf("address %q cannot be resolved to host:port", name))
		}
		if !a.IP.IsLoopback() && !c.AllowRemote {
			return nil, grandstand.Errorf(grandstand.CodeForbidden, "address %q is another machine: a crowd goes there only if remote targets are allowed", name)
		}
		out[i].host, out[i].ip = a.String(), a.IP
	}
	return out, nil
}
