package grandstand

import (
	"sync"
	"sync/atomic"
)

// View is a board as one node shows it: the board, and the frame of each
// audience, encoded when it is first asked for and once only. A View is safe
// for concurrent use.
type View struct {
	Board *Board

	dims    []Dimension
	encodes *atomic.Uint64 // frames encoded, over all views of the node; may be nil

	mu     sync.RWMutex
	frames map[*Audience]*Frame
}

// NewView returns the view of a board of an event with these dimensions. It
// counts the frames that it encodes in encodes, unless that is nil.
func NewView(b *Board, dims []Dimension, encodes *atomic.Uint64) *View {
	return &View{Board: b, dims: dims, encodes: encodes, frames: map[*Audience]*Frame{}}
}

// Frame returns the frame of an audience.
func (v *View) Frame(a *Audience) *Frame {
	v.mu.RLock()
	f := v.frames[a]
	v.mu.RUnlock()
	if f != nil {
		return f
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if f = v.frames[a]; f != nil {
		return f
	}
	f = NewFrame(v.Board, v.dims, a.Values)
	if v.encodes != nil {
		v.encodes.Add(1)
	}
	v.frames[a] = f
	return f
}

// AsStale returns the view of a copy of the board that is marked stale.
func (v *View) AsStale() *View { return NewView(v.Board.AsStale(), v.dims, v.encodes) }
