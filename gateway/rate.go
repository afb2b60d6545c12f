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
	if passed := now - b.lastMS; passed > 0 {
		b.used = max(0, b.used-float32(passed)*perSecond/1000)
	}
	b.lastMS = now // also if the clock was set back
	if b.used+float32(n) > burst {
		return false
	}
	b.used += float32(n)
	return true
}
