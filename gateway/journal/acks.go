package journal

import "slices"

// Acks works out what one connection may be told: {"ack":n} says that every
// event up to n that the connection carried is durable. Most clients number
// their events upwards and no event is refused; then n is the newest durable
// one. Otherwise n stays below the first event that is not durable. The caller
// sees to it that there is one call at a time. The zero value is ready.
type Acks struct {
	// Ends, one above the seq in question, so that zero is none.
	carried uint64 // of the highest seq
	durable uint64 // of the highest seq of those that are durable
	acked   uint64 // of what Next returned last

	held    []uint64 // seqs, sorted; refused, or carried after a higher one, and not durable
	stopped bool     // held had no room for
	stop    uint64   // this seq, or a higher one: no ack reaches it
}

// maxHeld bounds what is remembered of a connection. One that has more events
// refused gets no further acks: it connects again, and sends again what it saw
// none for.
const maxHeld = 64

// Carry says that the connection carried an event. Call it before Append, which
// may be quick to tell that the event is durable.
func (a *Acks) Carry(seq uint64) {
	if seq < a.carried {
		a.hold(seq)
	}
	a.carried = max(a.carried, seq+1)
}

// Refuse says that Append refused it.
func (a *Acks) Refuse(seq uint64) { a.hold(seq) }

// Durable says that it is durable. See Waiter.
func (a *Acks) Durable(seq uint64) {
	if i, found := slices.BinarySearch(a.held, seq); found {
		a.held = slices.Delete(a.held, i, i+1)
	}
	a.durable = max(a.durable, seq+1)
}

// Next returns what the connection is to be told, if that is more than before.
func (a *Acks) Next() (n uint64, ok bool) {
	end := a.durable
	if len(a.held) > 0 {
		end = min(end, a.held[0])
	}
	if a.stopped {
		end = min(end, a.stop)
	}
	if end <= a.acked {
		return 0, false
	}
	a.acked = end
	return end - 1, true
}

func (a *Acks) hold(seq uint64) {
	i, found := slices.BinarySearch(a.held, seq)
	switch {
	case found:
	case len(a.held) < maxHeld:
		a.held = slices.Insert(a.held, i, seq)
	case !a.stopped || seq < a.stop:
		a.stopped, a.stop = true, seq
	}
}
