package drill

import (
	"log/slog"
	"math"
	"net"
	"net/url"
	"time"

	"grandstand"
	"grandstand/simulator"
)

// Config says what a drill does.
type Config struct {
	// Targets are gateways, as host:port or http://host:port. Required.
	Targets []string

	// Secret signs the crowd's tokens (HS256), where the deployment asks for some.
	Secret []byte

	// Admins are the admin ports of the deployment's processes, as host:port or
	// http://host:port. Without them nothing is known of what saturates.
	Admins []string

	// AllowPublic lets Targets and Admins be neither loopback nor private
	// addresses. A drill is an attack on whoever has not asked for it.
	AllowPublic bool

	Event string  // required; exists, or is created at the first viewer
	Peak  float64 // times the base, above 1 and up to 20. Default 2

	// Base is how many sessions the crowd has before and after the peak. Default:
	// the event's audience of now, which stays; the crowd is what comes on top.
	Base int

	Ramp time.Duration // from the base to the peak, and back. 5 s to 10 min; default 30 s
	Hold time.Duration // of the peak. 10 s to 1 h; default 1 min
	Seed uint64        // of every choice of the crowd. Default 1

	Logger *slog.Logger // default: discard
}

const (
	maxPeak   = 20
	maxAdmins = 64
	settle    = 10 * time.Second // at the base before the ramp, and after it
	joinRate  = 200              // a second: that the base comes with
	late      = time.Second      // that a busy gateway may take note of a goodbye: a late count is no wrong one
)

// validate fills the defaults in. Its errors have CodeInvalid.
func (c *Config) validate() error {
	setDefault(&c.Peak, 2)
	setDefault(&c.Ramp, 30*time.Second)
	setDefault(&c.Hold, time.Minute)
	setDefault(&c.Seed, 1)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Targets) == 0:
		return grandstand.Errorf(grandstand.CodeInvalid, "a drill needs a target")
	case len(c.Admins) > maxAdmins:
		return grandstand.Errorf(grandstand.CodeInvalid, "at most %d admin addresses", maxAdmins)
	case !(c.Peak > 1 && c.Peak <= maxPeak):
		return grandstand.Errorf(grandstand.CodeInvalid, "the peak is above 1 and up to %d times the base", maxPeak)
	case c.Ramp < 5*time.Second || c.Ramp > 10*time.Minute:
		return grandstand.Errorf(grandstand.CodeInvalid, "the ramp takes 5 s to 10 min")
	case c.Hold < 10*time.Second || c.Hold > time.Hour:
		return grandstand.Errorf(grandstand.CodeInvalid, "the peak is held for 10 s to 1 h")
	case c.Base < 0:
		return grandstand.Errorf(grandstand.CodeInvalid, "the base is a number of sessions")
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// crowd returns the crowd of the drill, for an event that others watch already.
func (c *Config) crowd(others int) (simulator.Config, error) {
	base, peak := c.Base, int(math.Round(float64(c.Base)*c.Peak))
	if c.Base == 0 {
		if others == 0 {
			return simulator.Config{}, grandstand.Errorf(grandstand.CodeInvalid, "nobody watches %s now: say what the base is", c.Event)
		}
		peak = int(math.Round(float64(others) * (c.Peak - 1)))
	}
	low := float64(base) / float64(peak)
	slope := float64(peak-base) / c.Ramp.Seconds()
	rate := max(joinRate, 1.5*slope)
	up := time.Duration(float64(base)/rate*float64(time.Second)) + settle
	top := up + c.Ramp
	down := top + c.Hold
	end := down + c.Ramp
	return simulator.Config{
		Addresses: c.Targets, AllowRemote: true, Event: c.Event, Viewers: peak, Seed: c.Seed,
		Profile: simulator.Flat, Duration: end + settle, JoinRate: rate, SilentLeaveShare: 0.1, TwoDeviceShare: 0.05,
		AccountShare: 0.2, Secret: c.Secret, Shared: others > 0, Logger: c.Logger, Window: late,
		Curve: []simulator.Level{{At: 0, Share: low}, {At: up, Share: low}, {At: top, Share: 1}, {At: down, Share: 1}, {At: end, Share: low}},
	}, nil
}

// resolve returns the addresses as IP:port, so that what was checked is what is
// used. Errors have CodeInvalid, and CodeForbidden for a public address unless
// that is allowed.
func (c *Config) resolve(addresses []string) ([]string, error) {
	out := make([]string, len(addresses))
	for i, address := range addresses {
		host := address
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			if u.Scheme != "http" || u.Path != "" && u.Path != "/" {
				return nil, grandstand.Errorf(grandstand.CodeInvalid, "%q is not host:port or http://host:port: behind TLS, drill the plain port", address)
			}
			host = u.Host
		}
		a, err := net.ResolveTCPAddr("tcp", host)
		if err != nil {
			return nil, grandstand.WrapError(grandstand.CodeInvalid, err, address+" cannot be resolved to host:port")
		}
		if a.IP == nil || !c.AllowPublic && !a.IP.IsLoopback() && !a.IP.IsPrivate() && !a.IP.IsLinkLocalUnicast() {
			return nil, grandstand.Errorf(grandstand.CodeForbidden, "%s is neither loopback nor private: a drill is an attack on whoever has not asked for it", address)
		}
		out[i] = a.String()
	}
	return out, nil
}
