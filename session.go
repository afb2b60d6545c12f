package grandstand

// State is what a player says of itself in a beat.
type State uint8

// The states of a beat. StateNone is a beat that names none: it renews the
// session and keeps its state.
const (
	StateNone State = iota
	StateStarting
	StatePlaying
	StatePaused
	StateBuffering
	StateEnded
)

var stateNames = [...]string{"", "starting", "playing", "paused", "buffering", "ended"}

func (s State) String() string { return stateNames[s] }

// ParseState returns the state of that name.
func ParseState(name string) (State, bool) {
	for i, n := range stateNames {
		if n == name && i > 0 {
			return State(i), true
		}
	}
	return StateNone, false
}

// The limits of the definition of watching, in ms.
const (
	MinLingerMS  = 15_000 // a session is never given up sooner after its last beat
	PauseGraceMS = 60_000 // a pause is watching for so long
)

// LingerMS returns for how long after its last beat a session with the beat
// interval is still watching: 2.5 intervals, never under MinLingerMS.
func LingerMS(intervalMS int64) int64 { return max(intervalMS*5/2, MinLingerMS) }

// ClampInterval bounds a declared beat interval to MinBeatMS..MaxBeatMS; zero
// and less means the event's own.
func ClampInterval(intervalMS int64, e *Event) int64 {
	if intervalMS <= 0 {
		intervalMS = e.BeatMS
	}
	return min(max(intervalMS, MinBeatMS), MaxBeatMS)
}

// Session is one play of one event on one device. Its methods are pure
// functions of the time they are given, in Redis ms. It has one owner and no
// lock of its own.
type Session struct {
	ID       string
	Viewer   Key // whom fans count
	Device   Key
	Account  Key
	Audience *Audience

	// Gen counts the owners that the session has had. A release of a lower or
	// equal generation does not concern a session that came back since.
	Gen uint64

	OpenedAt   int64
	BeatAt     int64 // the last beat; opening is one
	IntervalMS int64 // declared, clamped
	PausedAt   int64 // since when it has been paused; 0: it is not
	State      State
	Left       bool // said goodbye, or was given to another owner
	Blocked    bool // refused by the blocker; stays connected, is not counted
}

// Open starts the session at now, or starts it again after it lapsed.
func (s *Session) Open(now, intervalMS int64) {
	if s.OpenedAt == 0 {
		s.OpenedAt = now
	}
	s.BeatAt, s.IntervalMS, s.PausedAt, s.Left = now, intervalMS, 0, false
	s.State = StateStarting
}

// Renew takes a beat at now. A zero interval keeps the one declared before. A
// beat of StateEnded leaves; any other beat of a session that had left brings
// it back.
func (s *Session) Renew(now int64, state State, intervalMS int64) {
	s.BeatAt = max(s.BeatAt, now)
	if intervalMS > 0 {
		s.IntervalMS = intervalMS
	}
	if state == StateNone {
		if !s.Left {
			return
		}
		state = StateStarting // it is back, and does not say how
	}
	if state == StatePaused {
		if s.PausedAt == 0 {
			s.PausedAt = now
		}
	} else {
		s.PausedAt = 0
	}
	s.State, s.Left = state, state == StateEnded
}

// Leave ends the session at once: it is not watching from the next tick on.
func (s *Session) Leave() { s.Left = true }

// Deadline returns the time at which the session lapses unless it beats.
func (s *Session) Deadline() int64 { return s.BeatAt + LingerMS(s.IntervalMS) }

// Watching reports whether the session counts at now: its last beat is younger
// than LingerMS, it has not left, it is not blocked, and it has not been paused
// for over PauseGraceMS.
func (s *Session) Watching(now int64) bool {
	return !s.Left && !s.Blocked && now < s.Deadline() &&
		(s.PausedAt == 0 || now <= s.PausedAt+PauseGraceMS)
}

// Expired reports whether the session can be forgotten at now: it left, or its
// deadline has passed.
func (s *Session) Expired(now int64) bool { return s.Left || now >= s.Deadline() }
