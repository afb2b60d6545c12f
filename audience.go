package grandstand

import (
	"context"
	"strings"
	"sync"
)

// Audience is the interned tuple of a session's segments: sessions with equal
// tuples share one, and are shown the same frame. It is immutable.
type Audience struct {
	ID     int      // index among the event's audiences, dense from 0
	Values []string // one value per dimension of the event, in its order; world is not listed
	Slots  []int    // the segments' indices in the event's Audiences, world first
}

// Admitter decides which values of an event's free dimensions are counted under
// their own name. Every gateway must be told the same for the same value; the
// registry in Redis is first come, first served.
type Admitter interface {
	// Admit returns for each segment whether it is admitted.
	Admit(ctx context.Context, event *Event, segs []Segment) ([]bool, error)
}

// Audiences interns the audiences and the segments of one event on one node.
// Its methods may be called at the same time.
type Audiences struct {
	dims []Dimension // static after New

	mu       sync.RWMutex
	byKey    map[string]*Audience
	list     []*Audience
	slots    map[Segment]int
	segments []Segment // by slot; the world is slot 0
}

// NewAudiences returns an empty interner for the event's dimensions.
func NewAudiences(e *Event) *Audiences {
	return &Audiences{
		dims:     e.Dims,
		byKey:    map[string]*Audience{},
		slots:    map[Segment]int{WorldSegment: 0},
		segments: []Segment{WorldSegment},
	}
}

// Intern returns the audience of the values, one per dimension of the event.
// The values must have been folded (see Fold).
func (a *Audiences) Intern(values []string) *Audience {
	key := strings.Join(values, "\x00")
	a.mu.RLock()
	aud := a.byKey[key]
	a.mu.RUnlock()
	if aud != nil {
		return aud
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if aud := a.byKey[key]; aud != nil {
		return aud
	}
	aud = &Audience{ID: len(a.list), Values: values, Slots: make([]int, 1, len(values)+1)}
	for i, v := range values {
		aud.Slots = append(aud.Slots, a.slotLocked(Segment{Dim: a.dims[i].Name, Value: v}))
	}
	a.byKey[key] = aud
	a.list = append(a.list, aud)
	return aud
}

// Lookup returns the audience of the values if it is interned, nil otherwise.
func (a *Audiences) Lookup(values []string) *Audience {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.byKey[strings.Join(values, "\x00")]
}

func (a *Audiences) slotLocked(s Segment) int {
	slot, ok := a.slots[s]
	if !ok {
		slot = len(a.segments)
		a.slots[s] = slot
		a.segments = append(a.segments, s)
	}
	return slot
}

// Segments returns the interned segments by slot. The caller must not change
// it; later calls return longer slices with the same beginning.
func (a *Audiences) Segments() []Segment {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.segments
}

// Len returns the number of audiences.
func (a *Audiences) Len() int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return len(a.list)
}

// Fold turns what a client declared into the values it is counted under, one
// per dimension of e: Unknown where it declared nothing, Other where the value
// is not admitted. Crosses are made from the folded parts. An impossible value
// is an error with CodeInvalid; dimensions that the event does not have are
// ignored.
func Fold(ctx context.Context, e *Event, declared map[string]string, admit Admitter) ([]string, error) {
	values := make([]string, len(e.Dims))
	at := make(map[string]int, len(e.Dims))
	for i, d := range e.Dims {
		at[d.Name] = i
	}
	if err := foldWhere(ctx, e, values, admit, func(d Dimension) (string, error) {
		if IsCross(d.Name) {
			return "", nil
		}
		v := declared[d.Name]
		if v == "" {
			return Unknown, nil
		}
		if !ValidValue(v) {
			return "", Errorf(CodeInvalid, "the value of %s is not 1 to %d characters of A-Z a-z 0-9 . _ -", d.Name, MaxValueLen)
		}
		return v, nil
	}); err != nil {
		return nil, err
	}
	err := foldWhere(ctx, e, values, admit, func(d Dimension) (string, error) {
		if !IsCross(d.Name) {
			return "", nil
		}
		parts := d.parts()
		for i, p := range parts {
			parts[i] = values[at[p]]
		}
		return strings.Join(parts, string(crossSeparator)), nil
	})
	return values, err
}

// foldWhere folds the dimensions that value returns something for.
func foldWhere(ctx context.Context, e *Event, values []string, admit Admitter, value func(Dimension) (string, error)) error {
	var ask []Segment
	var askAt []int
	for i, d := range e.Dims {
		v, err := value(d)
		switch {
		case err != nil:
			return err
		case v == "":
			continue
		case v == Unknown, v == Other:
			values[i] = v
		case len(d.Values) > 0:
			values[i] = Other
			for _, known := range d.Values {
				if known == v {
					values[i] = v
				}
			}
		default:
			ask, askAt = append(ask, Segment{Dim: d.Name, Value: v}), append(askAt, i)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	admitted, err := admit.Admit(ctx, e, ask)
	if err != nil {
		return err
	}
	for k, ok := range admitted {
		if values[askAt[k]] = Other; ok {
			values[askAt[k]] = ask[k].Value
		}
	}
	return nil
}
