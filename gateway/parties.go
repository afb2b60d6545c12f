package gateway

import "sync"

// parties remembers what each party uses: at most a fixed number of them. Its
// methods may be called at the same time.
type parties[K comparable] struct {
	// static after newParties
	perSecond, burst float32
	conns            int // that one party may have open
	most             int

	mu sync.Mutex
	of map[K]*party // guarded by mu
}

// party is guarded by the mutex of its parties.
type party struct {
	rate  bucket
	conns int // open; a party that has some is not forgotten
}

func newParties[K comparable](perSecond, conns, most int) parties[K] {
	return parties[K]{
		perSecond: float32(perSecond), burst: float32(perSecond * burstSeconds),
		conns: conns, most: most, of: map[K]*party{},
	}
}

func (t *parties[K]) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.of)
}

// spend takes n of what the party may use, at now in ms, and reports whether
// that was within its rate.
func (t *parties[K]) spend(key K, n int, now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.atLocked(key, now)
	return p != nil && p.rate.take(n, t.perSecond, t.burst, now)
}

// spendOf is spend of one message for a party that has a connection open.
func (t *parties[K]) spendOf(p *party, now int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.rate.take(1, t.perSecond, t.burst, now)
}

// open counts a connection until close, for n of the rate. It returns nil if the
// party may not have it.
func (t *parties[K]) open(key K, n int, now int64) *party {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.atLocked(key, now)
	if p == nil || p.conns >= t.conns || !p.rate.take(n, t.perSecond, t.burst, now) {
		return nil
	}
	p.conns++
	return p
}

func (t *parties[K]) close(p *party) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.conns--
}

// atLocked returns the party, a new one if need be; nil if there are too many.
func (t *parties[K]) atLocked(key K, now int64) *party {
	p := t.of[key]
	if p != nil {
		return p
	}
	if len(t.of) >= t.most && !t.forgetLocked(now) {
		return nil
	}
	p = &party{}
	t.of[key] = p
	return p
}

// forgetLocked forgets a party without connections: of a few, which a map's order
// picks at random, the one that has used least. One that has used nothing lately
// is nothing to remember; one that has used much is not washed clean by somebody
// who makes up thousands of others.
func (t *parties[K]) forgetLocked(now int64) bool {
	const few = 8
	var least K
	var leastUsed float32
	seen := 0
	for key, p := range t.of {
		if p.conns > 0 {
			continue
		}
		if used := p.rate.usedAt(t.perSecond, now); seen == 0 || used < leastUsed {
			least, leastUsed = key, used
		}
		if seen++; seen == few || leastUsed == 0 {
			break
		}
	}
	if seen > 0 {
		delete(t.of, least)
	}
	return seen > 0
}
