package gateway

// bucket is a token bucket that starts full. It has one owner. The zero value
// is ready.
type bucket struct {
	used   float32 // of the burst
	lastMS int64
}

// take takes n at now, in ms, and reports whether that was within perSecond
// with bursts of burst.
func (b *bucket) take(n int, perSecond, burst float32, now int64) bool {
	b.used, b.lastMS = b.usedAt(perSecond, now), now // also if the clock was set back
	if b.used+float32(n) > burst {
		return false
	}
	b.used += float32(n)
	return true
}

// usedAt returns how much of the burst is used at now.
func (b *bucket) usedAt(perSecond float32, now int64) float32 {
	passed := max(0, now-b.lastMS)
	return max(0, b.used-float32(passed)*perSecond/1000)
}
