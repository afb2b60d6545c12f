package archiver

import (
	"context"
	"sync"
)

// gate bounds the bytes in work. One goroutine enters, others leave.
type gate struct {
	limit int64
	freed chan struct{} // somebody has left

	mu   sync.Mutex
	used int64
}

func newGate(limit int64) *gate { return &gate{limit: limit, freed: make(chan struct{}, 1)} }

// enter waits until n bytes have place, or nothing else has, and reports whether
// they do: false once the context ends.
func (g *gate) enter(ctx context.Context, n int64) bool {
	for {
		g.mu.Lock()
		fits := g.used == 0 || g.used+n <= g.limit
		if fits {
			g.used += n
		}
		g.mu.Unlock()
		if fits {
			return true
		}
		select {
		case <-g.freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (g *gate) leave(n int64) {
	g.mu.Lock()
	g.used -= n
	g.mu.Unlock()
	select {
	case g.freed <- struct{}{}:
	default:
	}
}
