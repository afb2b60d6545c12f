package gateway

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// agesMS are the upper bounds of the buckets, in ms: a tick and a half is usual,
// 10 s is what is promised.
var agesMS = [...]int64{100, 250, 500, 1000, 1500, 2000, 2500, 3000, 5000, 7500, 10_000, 30_000, 60_000}

// ages is a histogram in which one observation stands for many viewers: a frame
// is shown to all of an audience at once.
type ages struct {
	desc   *prometheus.Desc
	counts [len(agesMS) + 1]atomic.Uint64
	sumMS  atomic.Int64
}

func newAges(name, help string) *ages {
	return &ages{desc: prometheus.NewDesc(name, help, nil, nil)}
}

// observe notes that so many viewers were shown what is of that age.
func (a *ages) observe(ms int64, viewers int) {
	if viewers == 0 {
		return
	}
	ms = max(ms, 0)
	i := 0
	for i < len(agesMS) && ms > agesMS[i] {
		i++
	}
	a.counts[i].Add(uint64(viewers))
	a.sumMS.Add(ms * int64(viewers))
}

// Describe implements prometheus.Collector.
func (a *ages) Describe(to chan<- *prometheus.Desc) { to <- a.desc }

// Collect implements prometheus.Collector.
func (a *ages) Collect(to chan<- prometheus.Metric) {
	buckets := make(map[float64]uint64, len(agesMS))
	total := uint64(0)
	for i := range a.counts {
		total += a.counts[i].Load()
		if i < len(agesMS) {
			buckets[float64(agesMS[i])/1000] = total
		}
	}
	to <- prometheus.MustNewConstHistogram(a.desc, total, float64(a.sumMS.Load())/1000, buckets)
}
