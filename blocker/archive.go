package blocker

import "grandstand"

// keep has what was decided archived, unless it is what was decided before. The
// ids are hashed with the key of the event, as in all raw events, so that they
// cannot be linked from one event to the next; what is about no event is in the
// account's decisions only.
func (b *Blocker) keep(q *request, a *grandstand.Ask, v *grandstand.Verdict) {
	if b.cfg.Keep == nil || a.Event == "" {
		return
	}
	switch v.Outcome {
	case grandstand.OutcomeRenewed, grandstand.OutcomeWaiting:
		return
	case grandstand.OutcomeWouldBlock:
		if a.Hold.Granted != 0 {
			return // a renewal of one that plays beyond the limit
		}
	}
	key := grandstand.NewEventKey(b.cfg.Secret, a.Event)
	b.cfg.Keep(&grandstand.RawEvent{
		Kind: grandstand.RawVerdict, Event: []byte(a.Event), Session: []byte(a.Session),
		Device: key.Device(q.device), Account: key.Account(q.id),
		ReceivedAt: b.cfg.Clock.Now(), Data: v.RawData(),
	})
}
