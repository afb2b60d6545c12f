package aggregator

import (
	"context"
	"time"

	"grandstand"
)

// configs is what is known of whether the configurations are up to date.
type configs struct {
	outdated bool // some event's has changed
	listing  bool // they are being read
	next     int64
}

const (
	listEveryMS = 1_000   // the least time between two lists of all events
	listShare   = 10      // and no more than a tenth of the time is spent on them
	askAgainMS  = 5_000   // an event that was not configured is asked for again
	finishedMS  = 600_000 // an event that ended longer ago is somebody else's business
	fewEvents   = 100     // up to so many are asked for one by one
)

// learn reads the configuration of events that are new here: in this tick, since
// it says how to fold them.
func (a *Aggregator) learn(ctx context.Context, at int64) {
	var todo []*event
	for _, sh := range a.held() {
		for _, e := range sh.list {
			if e.cfg == nil && at >= e.askAt {
				todo = append(todo, e)
			}
		}
	}
	if len(todo) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	found := make([]*grandstand.Event, len(todo))
	errs := make([]error, len(todo))
	if len(todo) <= fewEvents {
		parallel(len(todo), 16, func(i int) {
			found[i], errs[i] = a.cfg.Events.GetEvent(ctx, todo[i].name)
		})
	} else {
		list, err := a.cfg.Events.ListEvents(ctx)
		byName := make(map[string]*grandstand.Event, len(list))
		for _, cfg := range list {
			byName[cfg.Name] = cfg
		}
		for i, e := range todo {
			found[i], errs[i] = byName[e.name], err
		}
	}
	for i, e := range todo {
		if err := errs[i]; err != nil && grandstand.CodeOf(err) != grandstand.CodeNotFound {
			a.trouble("read event", err)
			continue
		}
		e.asked, e.askAt = true, at+askAgainMS
		if found[i] != nil {
			e.configure(found[i])
		}
	}
}

// relist returns a job that reads all configurations, if any has changed.
func (a *Aggregator) relist(at int64) []job {
	if !a.configs.outdated || a.configs.listing || at < a.configs.next {
		return nil
	}
	a.configs.outdated, a.configs.listing = false, true
	return []job{func(ctx context.Context) func() {
		start := time.Now()
		list, err := a.cfg.Events.ListEvents(ctx)
		took := time.Since(start).Milliseconds()
		return func() {
			a.configs.listing = false
			a.configs.next = at + max(listEveryMS, listShare*took)
			if err != nil {
				a.configs.outdated = true
				a.trouble("list events", err)
				return
			}
			over := make(map[string]int64, len(a.over))
			for _, cfg := range list {
				if t := a.over[cfg.Name]; t != 0 {
					over[cfg.Name] = t
				}
			}
			a.over = over
			for _, cfg := range list {
				a.reconfigure(cfg, at)
			}
		}
	}}
}

// reconfigure takes the configuration of an event, if it is of a shard held
// here.
func (a *Aggregator) reconfigure(cfg *grandstand.Event, at int64) {
	sh := &a.shards[grandstand.ShardOf(cfg.Name)]
	if !sh.held || sh.adopt {
		return
	}
	ended := cfg.State == grandstand.EventEnded
	if over := a.over[cfg.Name]; over != 0 && cfg.UpdatedAt > over {
		delete(a.over, cfg.Name)
	}
	e := sh.events[cfg.Name]
	switch {
	case e == nil && ended && at-cfg.EndedAt < finishedMS:
		// Nobody watched it lately, or it ended between two holders. Its last
		// checkpoint must say that it is over.
		if e = a.eventOf(sh, cfg.Name, at); e != nil {
			e.configure(cfg)
		}
	case e == nil:
	case e.final && !ended && cfg.Newer(e.cfg):
		a.restart(sh, e, cfg, at)
	default:
		e.configure(cfg)
	}
}

// restart begins an event anew that was over: peak and reach too. The tallies
// that were left unread meanwhile are read again.
func (a *Aggregator) restart(sh *shard, e *event, cfg *grandstand.Event, at int64) {
	sh.drop(e)
	for _, g := range a.gateways {
		if h := g.holdings[sh.id]; h != nil {
			h.at = 0
		}
	}
	e = a.eventOf(sh, cfg.Name, at)
	e.configure(cfg)
	e.memory.startOver()
}

// finish makes the final board of an event that is over: the numbers of the
// last live board before its end, with the peak and the reach of all of it.
func (a *Aggregator) finish(e *event, at int64) {
	e.final, e.emptyAt = true, at
	last := &e.lastLive
	if e.cfg.EndedAt != 0 && last.At > e.cfg.EndedAt && e.beforeIt.At != 0 {
		last = &e.beforeIt
	}
	if last.At == 0 {
		last = e.board
	}
	e.from = nil
	e.memory.finished()
	if last != nil { // else there is a checkpoint, or nobody ever came
		e.finalBoard(last, at)
	}
}

// finalBoard makes the event's last board of another, and of the peak and the
// reach that are known now.
func (e *event) finalBoard(last *grandstand.Board, at int64) {
	b := *last
	b.Event, b.At, b.TickMS, b.Quality, b.Coverage = e.name, at, e.tickMS, grandstand.Final, 1
	b.Segments = append([]grandstand.SegmentCount(nil), b.Segments...)
	for i := range b.Segments {
		c := &b.Segments[i]
		s := &e.segs[e.slot(c.Segment)]
		c.Peak = max(c.Peak, s.peak)
		c.Reach = max(c.Reach, s.reached, s.reachFloor)
	}
	b.Body = nil
	e.board = &b
}

// retire lets go of events that nobody watches, once what is known of them is
// saved: they are read again if somebody comes back.
func (a *Aggregator) retire(at int64) {
	for _, sh := range a.held() {
		for i := len(sh.list) - 1; i >= 0; i-- {
			e := sh.list[i]
			if e.emptyAt == 0 || at-e.emptyAt < emptyMS || len(e.from) > 0 || !e.saved() && at-e.emptyAt < giveUpMS {
				continue
			}
			if e.final {
				a.over[e.name] = e.cfg.UpdatedAt
			}
			sh.drop(e)
		}
	}
}

// giveUpMS is for how long an event that nobody watches is remembered while it
// cannot be saved.
const giveUpMS = 3_600_000
