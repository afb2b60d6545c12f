package simulator

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// stats counts what happens to the crowd.
type stats struct {
	joins, leaves, silent, changes, reconnects atomic.Int64
	notResumed, blocked                        atomic.Int64
	resent, acked                              atomic.Int64
	beats, frames, stale, partial, wentBack    atomic.Int64

	away      samples // s between losing a connection and the next hello
	joinSeen  samples // s, by the probes
	leaveSeen samples
	silentGap samples // s from the last beat to being seen gone
	joinBoard samples // s from a join to the first board that has it
	delivery  samples // s from the state counted to a viewer
	frameGap  samples // s from one frame to the next of a connection, while the crowd moves

	mu       sync.Mutex
	failures map[string]int64 // connections that did not come about, by reason
	drops    map[string]int64 // connections that ended, by close code or reason
	screens  []Second         // one after the other
}

func (s *stats) failed(reason string) { s.count(&s.failures, reason) }
func (s *stats) drop(reason string)   { s.count(&s.drops, reason) }

func (s *stats) count(m *map[string]int64, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *m == nil {
		*m = map[string]int64{}
	}
	if _, known := (*m)[reason]; !known && len(*m) >= 100 {
		reason = "others"
	}
	(*m)[reason]++
}

// samples keeps a fair choice of the values that it is given (Vitter 1985,
// algorithm R), and the highest. Safe for concurrent use.
type samples struct {
	mu   sync.Mutex
	n    int64
	max  float64
	kept []float64
}

const maxSamples = 20_000

func (s *samples) add(v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.max = max(s.max, v)
	if len(s.kept) < maxSamples {
		s.kept = append(s.kept, v)
	} else if i := rand.Int64N(s.n); i < maxSamples {
		s.kept[i] = v
	}
}

// Quantiles sums a set of measurements up. Its fields are zero if N is.
type Quantiles struct {
	N   int64   `json:"n"`
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func (s *samples) quantiles() Quantiles {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == 0 {
		return Quantiles{}
	}
	sorted := slices.Clone(s.kept)
	slices.Sort(sorted)
	q := func(p float64) float64 { return sorted[int(math.Ceil(p*float64(len(sorted))))-1] }
	return Quantiles{N: s.n, P50: q(.5), P90: q(.9), P95: q(.95), P99: q(.99), Max: s.max}
}
