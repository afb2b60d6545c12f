package gateway

import (
	"context"
	"sync"

	"grandstand"
)

const (
	maxFinals    = 1024  // boards of events that are over, kept in memory
	finalAgainMS = 5_000 // after which the archive is asked again for a board that was not final yet
)

// finals keeps the last boards of events that are over.
type finals struct {
	mu sync.Mutex
	of map[string]*final // guarded by mu
}

type final struct {
	board   *grandstand.Board
	endedAt int64 // of the event
	readAt  int64 // ms; 0: board is final, there is nothing more to read
}

// get returns the last board of an event: the final one from the hub or the
// archive, or what came nearest before.
func (f *finals) get(ctx context.Context, g *Gateway, e *grandstand.Event) (*grandstand.Board, error) {
	now := g.cfg.Clock.Now()
	f.mu.Lock()
	known := f.of[e.Name]
	f.mu.Unlock()
	if known != nil && known.endedAt == e.EndedAt && (known.readAt == 0 || known.readAt <= now && now-known.readAt < finalAgainMS) {
		return known.board, nil
	}
	b, err := g.lastBoard(ctx, e)
	if err != nil {
		return nil, err
	}
	fresh := &final{board: b, endedAt: e.EndedAt, readAt: now}
	if b.Quality == grandstand.Final {
		fresh.readAt = 0
	} else {
		c := *b
		c.Quality = grandstand.Final
		fresh.board = &c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.of) >= maxFinals || f.of == nil {
		f.of = map[string]*final{}
	}
	f.of[e.Name] = fresh
	return fresh.board, nil
}

func (g *Gateway) lastBoard(ctx context.Context, e *grandstand.Event) (*grandstand.Board, error) {
	latest := g.cfg.Hub.Latest(e.Name)
	if latest != nil && latest.Quality == grandstand.Final {
		return latest, nil
	}
	if g.cfg.Archive != nil {
		call, cancel := context.WithTimeout(ctx, archiveTimeout)
		defer cancel()
		cp, err := g.cfg.Archive.LoadCheckpoint(call, e.Name)
		switch {
		case err != nil && latest == nil:
			return nil, grandstand.WrapError(grandstand.CodeUnavailable, err, "the archive cannot be reached just now")
		case err != nil:
			g.trouble("load checkpoint", err)
		case cp != nil && cp.Board != nil && (latest == nil || cp.Board.Quality == grandstand.Final):
			return cp.Board, nil
		}
	}
	if latest != nil {
		return latest, nil
	}
	return emptyBoard(e, e.EndedAt, grandstand.Stale), nil
}
