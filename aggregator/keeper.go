package aggregator

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"grandstand"
)

// archiveBatch is how many events are check-pointed in one go: so many at most
// an event that has just ended waits for.
const archiveBatch = 256

// save hands over what is due to be saved, and to be read, to the workers that
// have nothing to do. What is not handed over is due at the next tick, in its
// newest form: nothing queues up.
func (a *Aggregator) save(at int64) {
	if !a.records.busy {
		a.records.start(append(a.recordJobs(at, false), a.relist(at)...))
	}
	if !a.archive.busy {
		a.archive.start(a.archiveJobs(at, false))
	}
	a.retire(at)
	a.parting = slices.DeleteFunc(a.parting, func(e *event) bool {
		return e.saved() || at-e.partAt(at) > maxPartingMS
	})
}

// maxPartingMS is for how long events of shards that were given up are kept
// while they cannot be saved.
const maxPartingMS = 30_000

func (e *event) partAt(at int64) int64 {
	if e.parted == 0 {
		e.parted = at
	}
	return e.parted
}

// all calls f for every event that is held or parting.
func (a *Aggregator) all(f func(*event)) {
	for i := range a.shards {
		for _, e := range a.shards[i].list {
			f(e)
		}
	}
	for _, e := range a.parting {
		f(e)
	}
}

// recordJobs returns a job for each event that has something to read from Redis,
// and one for all of a shard that have something to write; all of them if it is
// the last chance.
func (a *Aggregator) recordJobs(at int64, last bool) (jobs []job) {
	var updates [grandstand.Shards][]*update
	a.all(func(e *event) {
		m := &e.memory
		parting := last || e.parted != 0
		switch {
		case last:
			m.busy = false
		case m.busy || at < m.saveAt && (!parting || m.lastFailed):
			return
		}
		if !m.loaded {
			if !parting {
				jobs = append(jobs, a.loadJob(e, at))
			}
			return
		}
		shard := grandstand.ShardOf(e.name)
		if !parting && at < a.recordAt[shard] {
			return
		}
		if u := e.update(at); u != nil {
			updates[shard] = append(updates[shard], u)
		}
	})
	for shard, list := range updates {
		if len(list) > 0 {
			jobs = append(jobs, a.recordJob(list))
			a.recordAt[shard] = nextRecord(shard, at)
		}
	}
	return jobs
}

// nextRecord returns when what changes of a shard's events is written again. Each
// shard has a moment of its own in reachEveryMS.
func nextRecord(shard int, at int64) int64 {
	moment := int64(shard) * reachEveryMS / grandstand.Shards
	next := at + reachEveryMS
	return next - (next-moment)%reachEveryMS
}

// loadJob reads what a former holder wrote. It adds to what is known; nothing
// is written before, since that would overwrite it.
func (a *Aggregator) loadJob(e *event, at int64) job {
	e.memory.busy = true
	hour := grandstand.HourOf(at)
	return func(ctx context.Context) func() {
		segs, err := a.cfg.Series.LoadReach(ctx, e.name)
		steps, stepsErr := a.cfg.Series.Steps(ctx, e.name, hour)
		return func() {
			m := &e.memory
			m.busy = false
			if err = errors.Join(err, stepsErr); err != nil {
				m.saveAt = at + retryMS
				a.trouble("load reach and series", err)
				return
			}
			m.loaded = true
			a.recall(e, segs, true)
			if a.cfg.Archive != nil && len(steps) > 0 {
				m.steps = keepLast(append(steps, m.steps...), maxSteps)
				m.stale = true
			}
		}
	}
}

// recall adds what was saved of an event to what is known of it. Whatever
// Redis does not have yet is to be saved there.
func (a *Aggregator) recall(e *event, segs []grandstand.CheckpointSegment, inRedis bool) {
	for i := range segs {
		from := &segs[i]
		s := &e.segs[e.slot(from.Segment)]
		peak, reach := s.peak, s.reach
		if from.Peak > s.peak || from.Peak == s.peak && s.peakAt == 0 {
			s.peak, s.peakAt = from.Peak, from.PeakAt
		}
		a.recallReach(s, from.Reach)
		if inRedis {
			peak, reach = from.Peak, from.Reach
		}
		if s.peak != peak || !bytes.Equal(s.reach, reach) {
			s.unsaved, e.memory.reach = true, true
		}
	}
	e.changed = e.changed || len(segs) > 0
	if e.final && e.board != nil {
		e.finalBoard(e.board, e.board.At)
		e.repeat = true
	}
}

func (a *Aggregator) recallReach(s *segment, saved []byte) {
	u := &a.mergers[0].reach
	u.Reset()
	for _, sketch := range [][]byte{saved, s.reach} {
		if len(sketch) == 0 {
			continue
		}
		if err := u.Merge(sketch); err != nil {
			a.mended(brokenSketch)
		}
	}
	if n := u.Estimate(); n > 0 {
		s.reach, s.reached = u.AppendBinary(nil), n
	}
}

// update is what is to be written of an event.
type update struct {
	grandstand.SeriesUpdate
	event *event
	slots []int32           // of Reach
	cfg   *grandstand.Event // nil: it is there
}

// update takes what changed since the last. Nil: nothing did.
func (e *event) update(at int64) *update {
	m := &e.memory
	u := &update{event: e, SeriesUpdate: grandstand.SeriesUpdate{Event: e.name, Steps: m.series}}
	if m.reach {
		for i := range e.segs {
			if s := &e.segs[i]; s.unsaved {
				u.slots = append(u.slots, int32(i))
				u.Reach = append(u.Reach, s.checkpoint())
				s.unsaved = false
			}
		}
		m.reach = false
	}
	if m.again && e.cfg != nil {
		c := *e.cfg
		u.cfg = &c
	}
	if len(u.Reach) == 0 && len(u.Steps) == 0 && u.cfg == nil {
		return nil
	}
	m.busy, m.series, m.saveAt = true, nil, at+reachEveryMS
	return u
}

// recordJob writes what changed of events of one shard.
func (a *Aggregator) recordJob(list []*update) job {
	return func(ctx context.Context) func() {
		putErrs := make([]error, len(list))
		series := make([]grandstand.SeriesUpdate, 0, len(list))
		for i, u := range list {
			if u.cfg != nil {
				putErrs[i] = a.cfg.Events.PutEvent(ctx, u.cfg)
			}
			if len(u.Steps)+len(u.Reach) > 0 {
				series = append(series, u.SeriesUpdate)
			}
		}
		var err error
		if len(series) > 0 {
			err = a.cfg.Series.SaveSeries(ctx, series)
		}
		return func() {
			for i, u := range list {
				u.settle(putErrs[i], err)
			}
			if err := errors.Join(append(putErrs, err)...); err != nil {
				a.trouble("save reach and series", err)
			}
		}
	}
}

// settle takes what became of the update.
func (u *update) settle(putErr, err error) {
	m := &u.event.memory
	m.busy = false
	m.again = m.again && putErr != nil
	if err != nil {
		m.series = keepLast(append(u.Steps, m.series...), maxSteps)
		m.reach = m.reach || len(u.slots) > 0
		for _, slot := range u.slots {
			u.event.segs[slot].unsaved = true
		}
	}
	m.lastFailed = putErr != nil || err != nil
}

func (s *segment) checkpoint() grandstand.CheckpointSegment {
	return grandstand.CheckpointSegment{Segment: s.segment, Peak: s.peak, PeakAt: s.peakAt, Reach: s.reach}
}

// archiveJobs returns the jobs for the archive: events that are over first, then
// those that waited longest. If it is the last chance, all of them.
func (a *Aggregator) archiveJobs(at int64, last bool) []job {
	if a.cfg.Archive == nil {
		a.all(func(e *event) {
			e.memory.stale, e.memory.recalled, e.memory.restore, e.memory.steps = false, true, false, nil
		})
		return nil
	}
	var due []*event
	a.all(func(e *event) {
		m := &e.memory
		if last {
			m.archiving = false
		}
		if m.archiving || !last && at < m.archiveAt && e.parted == 0 {
			return
		}
		if !m.recalled || m.restore || m.stale {
			due = append(due, e)
		}
	})
	slices.SortStableFunc(due, func(x, y *event) int {
		if x.memory.urgent != y.memory.urgent {
			if x.memory.urgent {
				return -1
			}
			return 1
		}
		return int(x.memory.archiveAt - y.memory.archiveAt)
	})
	if len(due) > archiveBatch && !last {
		due = due[:archiveBatch]
	}
	jobs := make([]job, 0, len(due))
	for _, e := range due {
		if !e.memory.recalled && !last {
			jobs = append(jobs, a.recallJob(e, at))
		} else if j := a.archiveJob(e, at); j != nil {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// recallJob reads the checkpoint of an event that is new here.
func (a *Aggregator) recallJob(e *event, at int64) job {
	e.memory.archiving = true
	return func(ctx context.Context) func() {
		cp, err := a.cfg.Archive.LoadCheckpoint(ctx, e.name)
		return func() {
			m := &e.memory
			m.archiving = false
			if err != nil {
				m.archiveAt = at + retryMS
				a.trouble("load checkpoint", err)
				return
			}
			m.recalled = true
			// The next save is spread, so that those of a shard that was taken
			// over do not all fall on one moment.
			m.archiveAt = at + checkpointEveryMS/2 + int64(len(e.name)*7919+int(e.name[0])*104729)%(checkpointEveryMS/2)
			if m.urgent {
				m.archiveAt = 0
			}
			if cp != nil {
				a.remember(e, cp, at)
			}
		}
	}
}

// remember takes over what a checkpoint says, unless it is of an earlier run.
func (a *Aggregator) remember(e *event, cp *grandstand.Checkpoint, at int64) {
	if e.memory.newRun || cp.Event.State == grandstand.EventEnded && e.cfg != nil && !e.ended() && e.cfg.Newer(&cp.Event) {
		return
	}
	b := cp.Board
	if b != nil {
		sh := &a.shards[grandstand.ShardOf(e.name)]
		sh.epoch = max(sh.epoch, b.Epoch)
		if b.At > at+aheadMS && b.At > sh.at {
			sh.at, sh.boot = b.At, "" // of a clock that has been put back since
		}
	}
	a.recall(e, cp.Segments, false)
	if e.final && e.board == nil && b != nil {
		e.finalBoard(b, at)
		e.emptyAt = at
	}
	if e.final && b != nil && b.Quality == grandstand.Final && cp.Event.UpdatedAt >= e.cfg.UpdatedAt {
		e.memory.stale, e.memory.urgent = false, false
	}
}

// archiveJob writes a checkpoint and the steps since the last. Nil: there is
// nothing to say yet.
func (a *Aggregator) archiveJob(e *event, at int64) job {
	m := &e.memory
	cp := &grandstand.Checkpoint{Event: grandstand.Event{Name: e.name, UpdatedAt: 0}}
	if e.cfg != nil {
		cp.Event = *e.cfg
	}
	switch {
	case e.final && e.board != nil:
		b := *e.board
		cp.Board = &b
	case e.lastLive.At != 0:
		b := e.lastLive
		cp.Board = &b
	}
	for i := range e.segs {
		if s := &e.segs[i]; s.peak > 0 || len(s.reach) > 0 {
			cp.Segments = append(cp.Segments, s.checkpoint())
		}
	}
	steps, restore, urgent := m.steps, m.restore, m.urgent
	m.archiving, m.stale, m.steps, m.urgent, m.restore = true, false, nil, false, false
	m.archiveAt = at + checkpointEveryMS
	return func(ctx context.Context) func() {
		err := a.archiveSteps(ctx, e.name, steps)
		if err == nil && restore {
			err = a.restore(ctx, e.name, at)
		}
		if err == nil {
			err = a.cfg.Archive.SaveCheckpoint(ctx, cp)
		}
		return func() {
			m.archiving = false
			if err == nil {
				a.metrics.checkpoints.Inc()
				return
			}
			m.stale, m.urgent, m.restore = true, m.urgent || urgent, m.restore || restore
			m.steps = keepLast(append(steps, m.steps...), maxSteps)
			m.archiveAt = at + retryMS
			a.trouble("save checkpoint", err)
		}
	}
}

// archiveSteps saves steps by their hours.
func (a *Aggregator) archiveSteps(ctx context.Context, event string, steps []grandstand.Step) error {
	for len(steps) > 0 {
		hour, n := grandstand.HourOf(steps[0].At), 1
		for n < len(steps) && grandstand.HourOf(steps[n].At) == hour {
			n++
		}
		if err := a.cfg.Archive.SaveSteps(ctx, event, hour, steps[:n]); err != nil {
			return err
		}
		steps = steps[n:]
	}
	return nil
}

// restore brings the series of this hour and the one before back to a Redis
// that lost them.
func (a *Aggregator) restore(ctx context.Context, event string, at int64) error {
	for _, hour := range []int64{grandstand.HourOf(at) - 3_600_000, grandstand.HourOf(at)} {
		steps, err := a.cfg.Archive.LoadSteps(ctx, event, hour)
		if err == nil && len(steps) > 0 {
			err = a.cfg.Series.SaveSeries(ctx, []grandstand.SeriesUpdate{{Event: event, Steps: steps}})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
