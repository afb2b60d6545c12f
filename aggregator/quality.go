package aggregator

import (
	"slices"

	"grandstand"
)

// standing is how far the contributions to an event can be trusted at a tick.
type standing struct {
	quality grandstand.Quality

	// hold: a tally would lapse though its gateway may just not have been able
	// to write. The last board stands for now.
	hold bool
}

// assess decides which contributions to the event count at a tick: those that
// are vouched for as of less than 2.5 beats ago. Those that changed sides are
// touched. Until grace, right after nothing could be read for a while, none is
// given up: the event is held instead.
//
// The standing is partial if one that counts is older than two ticks.
func (e *event) assess(at, grace int64) (s standing) {
	linger := e.lingerMS()
	for _, c := range e.from {
		used := at-c.holding.asOf < linger || e.outlived(c, at)
		if !used && at < grace {
			s.hold = true
			return s
		}
		if used != c.used {
			c.used = used
			e.touch(c)
		}
		if used && !e.fresh(c, at) {
			s.quality = grandstand.Partial
		}
	}
	return s
}

// diedTogetherMS is how far apart the deaths of gateways are that died together.
// Their last ticks are up to a tick further apart.
const diedTogetherMS = 3000

// outlived reports whether another gateway fell silent soon after this one, and its
// last tally still counts. So those of gateways that died together lapse together:
// sessions that went from one of them to the next before they were counted there are
// in the tally of the first, whichever gateway it was that they came from in the end
// (see settle), and would be taken off the second instead. What has lapsed does not
// come back for that.
func (e *event) outlived(c *contribution, at int64) bool {
	linger, together := e.lingerMS(), e.tickMS+diedTogetherMS
	if !c.used || at-c.holding.asOf >= linger+together {
		return false
	}
	return slices.ContainsFunc(e.from, func(o *contribution) bool {
		silent, after := at-o.holding.asOf, o.holding.asOf-c.holding.asOf
		return silent > e.tickMS*3/2 && silent < linger && after > 0 && after <= together
	})
}

// fresh reports whether the contribution is younger than two ticks, or a last
// word.
func (e *event) fresh(c *contribution, at int64) bool {
	return at-c.holding.asOf <= 2*e.tickMS || c.holding.gateway.left()
}

// coverage returns the share of the counted sessions that come from fresh
// tallies; 0 if none are counted.
func (e *event) coverage(at int64) float64 {
	var fresh, all uint64
	for _, c := range e.from {
		if c.used {
			all += c.counted
			if e.fresh(c, at) {
				fresh += c.counted
			}
		}
	}
	if all == 0 {
		return 0
	}
	return float64(fresh) / float64(all)
}

// outdated reports whether some gateway that is there has not said anything for
// two ticks of that length, or a tally of the shard could not be read: it may
// count sessions that nobody else knows of.
func (a *Aggregator) outdated(sh *shard, at, tickMS int64) bool {
	for _, g := range a.gateways {
		if g.late(at, tickMS) || g.alive && g.refs[sh.id] != 0 && g.holdings[sh.id] == nil {
			return true
		}
	}
	return false
}
