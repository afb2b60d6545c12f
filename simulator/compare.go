package simulator

import (
	"fmt"
	"math"
	"time"

	"grandstand"
)

// Excused is a board with counts that only Config.Late allows: what it says of
// itself, or of the seconds before, is that gateways could not tell.
type Excused struct {
	At     int64     `json:"at"`   // of the board, Unix ms on the clock of Redis
	Time   time.Time `json:"time"` // when it was judged
	Counts int       `json:"counts"`
}

// lie is what a count says and the truth does not allow.
type lie struct{ check, text string }

// compareLocked compares one segment with the truth, and returns how many lies are
// none since the board says that gateways could not tell.
func (a *audit) compareLocked(s *state, seg grandstand.Segment, n [2]uint64, t bounds) (excused int) {
	lies := a.liesLocked(s, seg, n, t)
	if s.at < a.lateUntil {
		t = t.late()
		excused = len(lies)
		lies = a.liesLocked(s, seg, n, t)
		excused -= len(lies)
	}
	a.measureLocked(seg, n, t)
	for _, l := range lies {
		a.violateLocked(l.check, s.at, "%s", l.text)
		if last := len(a.violations) - 1; l.check == checkAbove && a.violated[checkAbove] <= maxPerCheck && seg != grandstand.WorldSegment {
			a.violations[last].Suspects = a.truth.suspects(seg, s.when(a.offset.Load()))
		}
	}
	return excused
}

func (a *audit) liesLocked(s *state, seg grandstand.Segment, n [2]uint64, t bounds) (lies []lie) {
	sessions, fans := int(n[0]), int(n[1])
	off := outside(sessions, t.Lo, t.Hi)
	few := 1 // sessions that a segment may be short of, however small it is
	if seg != grandstand.WorldSegment {
		few += t.Moving
	}
	say := func(check, format string, args ...any) {
		lies = append(lies, lie{check, fmt.Sprintf(format, args...)})
	}
	switch {
	case off > 0:
		say(checkAbove, "%s counts %d sessions, the truth is %d to %d", seg, sessions, t.Lo, t.Hi)
	case float64(-off) > max(sessionsBelow*float64(t.Lo), float64(few)):
		say(checkBelow, "%s counts %d sessions, the truth is %d to %d (%d on the move)", seg, sessions, t.Lo, t.Hi, t.Moving)
	}
	fansOff := t.fansOff(n)
	if t.FansHi > fansExact {
		if math.Abs(float64(fansOff))/float64(t.FansHi) > fansErrorMax {
			say(checkFans, "%s counts %d fans, the truth is %d to %d", seg, fans, t.FansLo, t.FansHi)
		}
		return lies
	}
	above := 1
	if !s.live || a.truth.unsettled(s.at+a.offset.Load()) {
		above = max(3, int(fansErrorMax*float64(t.FansHi)))
	}
	if fansOff > above || fansOff < -1-few {
		say(checkFans, "%s counts %d fans, the truth is %d to %d", seg, fans, t.FansLo, t.FansHi)
	}
	return lies
}

// measureLocked takes note of by how much a segment is off.
func (a *audit) measureLocked(seg grandstand.Segment, n [2]uint64, t bounds) {
	off := math.Abs(float64(outside(int(n[0]), t.Lo, t.Hi)))
	if seg == grandstand.WorldSegment {
		a.worldError.add(off / float64(max(t.Lo, 1)))
	} else if t.Lo >= relativeFrom {
		a.segmentError.add(off / float64(t.Lo))
	}
	if t.FansHi > fansExact {
		a.fansError.add(math.Abs(float64(t.fansOff(n))) / float64(t.FansHi))
	}
}

// fansOff returns how far the fans are off. They are measured against what is
// counted: sessions that are missing are told apart, and take their fans with them.
func (t bounds) fansOff(n [2]uint64) int {
	missing := max(-outside(int(n[0]), t.Lo, t.Hi), 0)
	return outside(int(n[1]), t.FansLo-missing, t.FansHi)
}

// outside returns how far n lies above hi, or below lo as a negative number.
func outside(n, lo, hi int) int {
	switch {
	case n > hi:
		return n - hi
	case n < lo:
		return n - lo
	}
	return 0
}
