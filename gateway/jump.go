package gateway

import "time"

// jumpMS is from how much on two clocks that went on differently are a jump of
// one of them: a Redis that was replaced by one on a machine with another time.
const jumpMS = 2000

// jumps notices when a clock jumps, by the monotonic clock of the process. It
// has one owner.
type jumps struct {
	at   int64 // as of when it was looked at last; 0: it was not
	mono time.Time
}

// since returns by how much the clock, which says now, has jumped since the last
// call; 0 if it has not.
func (j *jumps) since(now int64) int64 {
	mono := time.Now()
	jump := now - j.at - mono.Sub(j.mono).Milliseconds()
	if j.at == 0 || jump < jumpMS && jump > -jumpMS {
		jump = 0
	}
	j.at, j.mono = now, mono
	return jump
}

// shift moves the times of all sessions by a jump of the clock, so that it
// neither ends them nor keeps the dead.
func (r *room) shift(jump, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	move := func(at *int64) {
		if *at != 0 {
			*at = min(*at+jump, now) // not what was noted after the jump
		}
	}
	for _, s := range r.list {
		s.mu.Lock()
		for _, at := range []*int64{&s.OpenedAt, &s.BeatAt, &s.PausedAt, &s.lostAt, &s.since} {
			move(at)
		}
		s.keepAt = min(s.keepAt, now+keepMS)
		for c := s.sockets; c != nil; c = c.older {
			move(&c.beatAt)
		}
		s.mu.Unlock()
	}
	move(&r.idleAt)
	for i := range r.moves {
		r.moves[i].until += jump
	}
}
