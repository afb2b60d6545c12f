package blocker

import (
	"container/list"
	"sync"
	"time"

	"grandstand"
)

// rates bounds the requests for every account by a token bucket. Its methods
// may be called at the same time.
type rates struct {
	perSecond, burst float32 // static
	max              int     // static; accounts that are remembered

	mu    sync.Mutex
	of    map[grandstand.Key]*list.Element // guarded by mu
	order *list.List                       // guarded by mu; of *bucket, the last heard of first
}

// bucket is what one account has used of its burst.
type bucket struct {
	account grandstand.Key
	used    float32
	at      time.Time
}

func newRates(perSecond, burst float32, max int) *rates {
	return &rates{perSecond: perSecond, burst: burst, max: max, of: map[grandstand.Key]*list.Element{}, order: list.New()}
}

// take takes one request at now and reports whether that was within the rate.
// An account that was forgotten has its whole burst.
func (r *rates) take(account grandstand.Key, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.of[account]
	if e == nil {
		if r.order.Len() >= r.max {
			delete(r.of, r.order.Remove(r.order.Back()).(*bucket).account)
		}
		e = r.order.PushFront(&bucket{account: account, at: now})
		r.of[account] = e
	}
	r.order.MoveToFront(e)
	b := e.Value.(*bucket)
	if passed := now.Sub(b.at); passed > 0 {
		b.used = max(0, b.used-float32(passed.Seconds())*r.perSecond)
		b.at = now
	}
	if b.used+1 > r.burst {
		return false
	}
	b.used++
	return true
}
