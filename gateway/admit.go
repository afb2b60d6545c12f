package gateway

import (
	"context"
	"strings"

	"grandstand"
)

// maxAudiences bounds the tuples of segments that one event's sessions here are
// told apart by, at some 250 bytes each.
const maxAudiences = 100_000

// maxRefused bounds the values that a room remembers as not admitted.
const maxRefused = 10_000

// admitted is a room's memory of what the registry answered. An answer holds as
// long as Redis keeps its data.
type admitted map[grandstand.Segment]bool

// Admit implements grandstand.Admitter: from memory, and of the registry what
// is not there.
func (r *room) Admit(ctx context.Context, e *grandstand.Event, segs []grandstand.Segment) ([]bool, error) {
	ok, ask := r.remembered(segs)
	if len(ask) == 0 {
		return ok, nil
	}
	segments := make([]grandstand.Segment, len(ask))
	for k, i := range ask {
		segments[k] = segs[i]
	}
	call, cancel := r.g.deadline(ctx)
	defer cancel()
	answers, err := r.g.cfg.Registry.Admit(call, e, segments)
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeUnavailable, err, "the registry of segments does not answer just now")
	}
	r.admitMu.Lock()
	defer r.admitMu.Unlock()
	for k, i := range ask {
		ok[i] = answers[k]
		if answers[k] || r.refused < maxRefused {
			r.admitted[cloneSegment(segs[i])] = answers[k]
			if !answers[k] {
				r.refused++
			}
		}
	}
	return ok, nil
}

// remembered returns the answers that are known, and the indices of the others.
func (r *room) remembered(segs []grandstand.Segment) (ok []bool, ask []int) {
	ok = make([]bool, len(segs))
	r.admitMu.RLock()
	defer r.admitMu.RUnlock()
	for i, s := range segs {
		known, found := r.admitted[s]
		if ok[i] = known; !found {
			ask = append(ask, i)
		}
	}
	return ok, ask
}

// hopeful admits what the room does not know to be refused, without asking.
type hopeful struct{ *room }

func (r hopeful) Admit(_ context.Context, _ *grandstand.Event, segs []grandstand.Segment) ([]bool, error) {
	ok, unknown := r.remembered(segs)
	for _, i := range unknown {
		ok[i] = true
	}
	return ok, nil
}

// admitAgain writes the admitted values into an emptied registry, and forgets
// the answers of the old one.
func (r *room) admitAgain(ctx context.Context) {
	r.admitMu.Lock()
	var segs []grandstand.Segment
	for s, ok := range r.admitted {
		if ok {
			segs = append(segs, s)
		}
	}
	r.admitted, r.refused = admitted{}, 0
	r.admitMu.Unlock()
	const batch = 500
	for len(segs) > 0 {
		n := min(len(segs), batch)
		if _, err := r.Admit(ctx, r.event(), segs[:n]); err != nil {
			r.g.trouble("admit segments again", err)
			return
		}
		segs = segs[n:]
	}
}

// fold returns the audience of who declared these segments. If the registry
// does not answer, unasked is true: the audience is what it will be if all is
// admitted. Its numbers can be shown, but nobody is counted in it. Errors have
// CodeInvalid.
func (r *room) fold(ctx context.Context, declared map[string]string) (a *grandstand.Audience, unasked bool, err error) {
	values, err := grandstand.Fold(ctx, r.event(), declared, r)
	if err != nil && grandstand.CodeOf(err) != grandstand.CodeInvalid {
		r.g.trouble("ask the registry of segments", err)
		unasked = true
		values, err = grandstand.Fold(ctx, r.event(), declared, hopeful{r})
	}
	if err != nil {
		return nil, false, err
	}
	return r.intern(values), unasked, nil
}

// intern returns the audience of folded values. It keeps none of their bytes,
// which may be part of a request. Once there are maxAudiences, whoever would
// need another is counted under "other" in every dimension: clients make tuples
// up faster than the registry admits values.
func (r *room) intern(values []string) *grandstand.Audience {
	if a := r.auds.Lookup(values); a != nil {
		return a
	}
	crowded := r.auds.Len() >= maxAudiences
	own := make([]string, len(values))
	for i := range values {
		if own[i] = strings.Clone(values[i]); crowded {
			own[i] = grandstand.Other
		}
	}
	return r.auds.Intern(own)
}

func cloneSegment(s grandstand.Segment) grandstand.Segment {
	return grandstand.Segment{Dim: strings.Clone(s.Dim), Value: strings.Clone(s.Value)}
}

// refoldDue folds sessions again that were folded without the registry, until
// it fails to answer once more.
func (g *Gateway) refoldDue(ctx context.Context) {
	for _, d := range g.refolds.take(0) {
		s := d.s
		s.mu.Lock()
		declared := s.declared
		s.mu.Unlock()
		if declared == nil {
			continue
		}
		values, err := grandstand.Fold(ctx, s.room.event(), declared, s.room)
		if err != nil {
			g.refolds.add(s)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		s.refold(s.room.intern(values), nil)
	}
}
