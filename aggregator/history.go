package aggregator

import (
	"slices"

	"grandstand"
)

// maxSteps bounds the steps of an event that could not be saved yet: an hour.
const maxSteps = 3_600_000 / grandstand.HistoryStepMS

// step adds the newest live board to the event's series, unless the last step
// was a moment ago or nothing has changed since. Every hour begins with a full
// step, and so does what this aggregator adds. The series of a cross that is not
// counted just now stands still.
func (e *event) step(at int64) {
	m := &e.memory
	full := !m.stepped || grandstand.HourOf(at) != grandstand.HourOf(m.stepAt)
	if !full && (!m.unstepped || at-m.stepAt < grandstand.HistoryStepMS) {
		return
	}
	s := grandstand.Step{At: at, Full: full}
	for _, slot := range e.sorted() {
		seg := &e.segs[slot]
		sessions, fans, folded := seg.sessions, min(seg.estimate, seg.sessions), seg.folded && seg.sessions > 0
		if e.isDark(seg) {
			sessions, fans, folded = seg.stepSessions, seg.stepFans, seg.stepFolded
		}
		same := sessions == seg.stepSessions && fans == seg.stepFans && folded == seg.stepFolded
		seg.stepSessions, seg.stepFans, seg.stepFolded = sessions, fans, folded
		if full && sessions == 0 && slot != worldSlot || !full && same {
			continue
		}
		s.Counts = append(s.Counts, grandstand.StepCount{Segment: seg.segment, Sessions: sessions, Fans: fans, Folded: folded})
	}
	m.unstepped = false
	if len(s.Counts) == 0 {
		return
	}
	m.stepped, m.stepAt = true, at
	m.series = keepLast(append(m.series, s), maxSteps)
	m.steps = keepLast(append(m.steps, s), maxSteps)
}

func keepLast[T any](list []T, n int) []T {
	if len(list) > n {
		list = append(list[:0:0], list[len(list)-n:]...)
	}
	return list
}

// memory is what of an event outlasts a tick in Redis and the archive, and how
// much of it is there already.
type memory struct {
	stepped   bool // stepAt holds
	unstepped bool // the sums changed since the last step
	stepAt    int64

	// To Redis.
	loaded  bool              // reach, peak and the hour's steps were read
	again   bool              // the data was lost: write the configuration too
	restore bool              // and the hour's steps, from the archive
	series  []grandstand.Step // not appended yet
	reach   bool              // some segment's peak or reach may not be saved
	saveAt  int64             // not before
	busy    bool              // a job is under way

	// To the archive.
	recalled   bool              // the checkpoint was read
	stale      bool              // there is something that it does not say
	steps      []grandstand.Step // not saved yet
	archiveAt  int64             // not before
	archiving  bool              // a job is under way
	newRun     bool              // what is saved is of a run that is over
	urgent     bool              // the event is over: do not wait for the minute
	lastFailed bool
}

// Times between saves of one event, in ms.
const (
	reachEveryMS      = 10_000
	checkpointEveryMS = 60_000
	retryMS           = 10_000
)

// merged notes that the board changed.
func (m *memory) merged() { m.unstepped, m.stale, m.reach = true, true, true }

// finished notes that the board is final.
func (m *memory) finished() { m.stale, m.urgent, m.archiveAt = true, true, 0 }

// startOver notes that the event begins anew: what is saved of it is of before.
func (m *memory) startOver() { m.loaded, m.recalled, m.newRun = true, true, true }

// reload notes that somebody else may have written since.
func (m *memory) reload() { m.loaded, m.stepped = m.newRun, false }

// writeAgain notes that all that is in Redis is gone.
func (m *memory) writeAgain(e *event) {
	for i := range e.segs {
		s := &e.segs[i]
		s.unsaved = s.unsaved || s.peak > 0 || len(s.reach) > 0
	}
	m.stepped, m.unstepped, m.again, m.restore, m.reach, m.saveAt = false, true, true, true, true, 0
}

// saved reports whether nothing would be lost with the event.
func (e *event) saved() bool {
	m := &e.memory
	if m.busy || m.archiving || m.stale || len(m.series) > 0 || len(m.steps) > 0 || !m.loaded {
		return false
	}
	return !m.reach || !slices.ContainsFunc(e.segs, func(s segment) bool { return s.unsaved })
}
