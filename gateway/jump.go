package gateway

import (
	"sync/atomic"
	"time"
)

// jumpMS is from how much on two clocks that went on differently are a jump of
// one of them: a Redis that was replaced by one on a machine with another time.
const jumpMS = 2000

// steadyClock is the time that sessions are kept by: the time of Redis, but a jump
// of it does not show before take. So all times that sessions have are of the same
// clock, and can be shifted when it jumps. It may be used by many.
type steadyClock struct {
	redis Clock
	from  atomic.Pointer[instant] // of the last take
}

// instant is what two clocks said at the same time.
type instant struct {
	ms   int64     // of Redis
	mono time.Time // of the process: it never jumps
}

func (c *steadyClock) start(redis Clock) {
	c.redis = redis
	c.take()
}

// Now returns the time in ms, as if the time of Redis had not jumped since take.
func (c *steadyClock) Now() int64 {
	now, jump := c.look()
	return now.ms - jump
}

// take returns the time of Redis in ms, and by how much it has jumped since the
// last call; 0 if it has not. Now goes on from it.
func (c *steadyClock) take() (now, jump int64) {
	at, jump := c.look()
	c.from.Store(&at)
	return at.ms, jump
}

func (c *steadyClock) look() (now instant, jump int64) {
	now = instant{c.redis.Now(), time.Now()}
	from := c.from.Load()
	if from == nil {
		return now, 0
	}
	if jump = now.ms - from.ms - now.mono.Sub(from.mono).Milliseconds(); jump < jumpMS && jump > -jumpMS {
		jump = 0
	}
	return now, jump
}

// takeTime returns the time of a tick. If the clock has jumped since the last one
// the times of all sessions are shifted, and meanwhile nobody joins or moves.
func (t *ticker) takeTime() (now int64) {
	if _, jump := t.g.clock.look(); jump == 0 {
		now, _ = t.g.clock.take()
		return now
	}
	rooms := t.g.allRooms()
	for _, r := range rooms {
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	now, jump := t.g.clock.take()
	t.g.log.Warn("the time of Redis jumped", "ms", jump)
	for _, r := range rooms {
		r.shiftLocked(jump)
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.pending = s.pending || s.at != 0 // by the old clock it may be due in an hour
		if s.emptyAt != 0 {
			s.emptyAt += jump
		}
	}
	return now
}

// shiftLocked moves the times of all sessions by a jump of the clock, so that it
// neither ends them nor keeps the dead.
func (r *room) shiftLocked(jump int64) {
	move := func(at *int64) {
		if *at != 0 {
			*at += jump
		}
	}
	for _, s := range r.list {
		s.mu.Lock()
		for _, at := range []*int64{&s.OpenedAt, &s.BeatAt, &s.PausedAt, &s.lostAt, &s.since, &s.keepAt} {
			move(at)
		}
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

// straightenLocked mends times of a session that lie ahead: who took one noted it
// in the moment of a shift, by the clock of before.
func (s *session) straightenLocked(now int64) {
	for _, at := range []*int64{&s.BeatAt, &s.since} {
		if *at > now+jumpMS {
			*at = now
		}
	}
	s.keepAt = min(s.keepAt, now+2*keepMS)
}
