package gateway

import "grandstand"

// order checks, where numbers leave for one reader, what hub and wire see to:
// that they never go back in (epoch, at). It has one owner.
type order struct{ epoch, at int64 } // of the newest that left

func (o *order) check(g *Gateway, event string, epoch, at int64) {
	if epoch < o.epoch || epoch == o.epoch && at < o.at {
		g.cfg.Violated(grandstand.InvariantOrder, "event", event, "epoch", epoch, "at", at, "after_epoch", o.epoch, "after_at", o.at)
		return
	}
	o.epoch, o.at = epoch, at
}
