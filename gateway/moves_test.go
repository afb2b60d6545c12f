package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// twoGateways runs f with two gateways that share a Redis.
func twoGateways(t *testing.T, f func(t *testing.T, redis *fakeRedis, a, b *rig)) {
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis()
		time.Sleep(337 * time.Millisecond) // records are not kept at the instant of a tick
		a := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID = "a" }})
		b := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID = "b" }})
		time.Sleep(10 * time.Millisecond)
		f(t, redis, a, b)
		a.stop()
		b.stop()
	})
}

// hopper is a viewer that goes from one gateway to the next.
const hopper = "viewer=v1&device=d1&team=KC&interval_ms=60000"

// threeGateways is twoGateways with a third one. Somebody else watches on b, which
// has a tally for that.
func threeGateways(t *testing.T, f func(t *testing.T, redis *fakeRedis, a, b, c *rig)) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		c := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID = "c" }})
		other := b.watch("viewer=v2&device=d2&team=SF&interval_ms=60000")
		f(t, redis, a, b, c)
		other.leave()
		c.stop()
	})
}

// The third gateway takes a session from the second, which has claimed it but could
// not tell the first yet: the first counts it, and only the second can list that.
func TestAReleaseWaitsForTheClaimBefore(t *testing.T) {
	threeGateways(t, func(t *testing.T, redis *fakeRedis, a, b, c *rig) {
		onA := a.watch(hopper)
		ticked()
		redis.unheard.Store("a")
		b.watch(hopper + "&session=" + onA.session)
		time.Sleep(100 * time.Millisecond)
		onC := c.watch(hopper + "&session=" + onA.session)
		for i := range 8 {
			ticked()
			for segment, want := range map[string]int{"world": 2, "team:KC": 1, "team:SF": 1} {
				if n := redis.count("final", segment); n != want {
					t.Errorf("tick %d: %s counts %d, want %d", i, segment, n, want)
				}
			}
			if i == 0 {
				redis.unheard.Store("")
			}
		}
		if n := b.g.roomOf("final").tally.Segments[0].Sessions; n != 1 {
			t.Errorf("the second counts %d, want the one who stayed", n)
		}
		onC.leave()
	})
}

// Who takes a part of a backlog wakes another who takes the rest.
func TestABacklogIsSharedOut(t *testing.T) {
	b := newBacklog()
	for range 5 {
		b.add(&session{})
	}
	for i, want := range []struct {
		n    int
		wake bool
	}{{2, true}, {2, true}, {1, false}, {0, false}} {
		select {
		case <-b.wake:
		default:
		}
		n := len(b.take(2))
		if wake := len(b.wake) > 0; n != want.n || wake != want.wake {
			t.Errorf("call %d takes %d and wakes another: %v, want %+v", i, n, wake, want)
		}
	}
}

// The gateways that viewers of one batch come from are told side by side.
func TestOwnersAreToldSideBySide(t *testing.T) {
	threeGateways(t, func(t *testing.T, redis *fakeRedis, a, b, c *rig) {
		var came []*viewer
		for i, from := range []*rig{a, b} {
			v := from.watch(fmt.Sprintf("viewer=v%d&team=KC&interval_ms=60000", 10+i))
			ticked()
			v.cut()
			came = append(came, v)
		}
		redis.unheard.Store("a")
		r := c.g.room(&grandstand.Event{Name: "final", Dims: grandstand.DefaultDims(), TickMS: 2000, BeatMS: 10_000})
		var batch []due
		r.mu.Lock()
		for _, v := range came {
			s := r.openLocked(&joining{audience: r.intern([]string{"US", "US-CA", "KC"})}, v.session)
			s.Open(fakeClock{}.Now(), 60_000)
			s.own, s.moving = claiming, true
			batch = append(batch, due{s: s})
		}
		r.mu.Unlock()
		go c.g.claim(context.Background(), batch)
		isOurs := func(s *session) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.own == owned
		}
		begin := time.Now()
		synctest.Wait()
		if a, b := isOurs(batch[0].s), isOurs(batch[1].s); a || !b || time.Since(begin) != 0 {
			t.Errorf("after %v: from a, which cannot be told, %v; from b %v", time.Since(begin), a, b)
		}
		time.Sleep(2 * time.Second) // a's is given up
	})
}

// The same, but it is the answer to the second's claim that is lost: it asks again
// when the third has the session already.
func TestAClaimIsOvertaken(t *testing.T) {
	threeGateways(t, func(t *testing.T, redis *fakeRedis, a, b, c *rig) {
		onA := a.watch(hopper)
		ticked()
		a.stop() // it dies: its tally stands
		redis.deaf.Store("b")
		b.watch(hopper + "&session=" + onA.session)
		time.Sleep(100 * time.Millisecond)
		onC := c.watch(hopper + "&session=" + onA.session)
		time.Sleep(100 * time.Millisecond)
		redis.deaf.Store("")
		for i := range 5 {
			ticked()
			if n := redis.count("final", "world"); n != 2 && i > 0 { // at first it has not asked again
				t.Errorf("tick %d: the world counts %d, want 2", i, n)
			}
		}
		if r := redis.record(onA.session); r.Owner != "c" {
			t.Errorf("the session is %s's", r.Owner)
		}
		onC.leave()
	})
}

// A session goes to another gateway and is back before that one has told of it: no
// tally counts it but the one of where it is.
func TestASessionIsBackAtOnce(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		const query = "viewer=v1&device=d1&team=KC&interval_ms=60000"
		onA := a.watch(query)
		ticked()
		b.watch(query + "&session=" + onA.session)
		ticked() // a has read that it is lost
		again := a.watch(query + "&session=" + onA.session)
		ticked()
		moves := a.g.roomOf("final").tally.Moves
		if len(moves) != 1 || moves[0].From != "b" || moves[0].Since == 0 || moves[0].Moved {
			t.Errorf("the moves that are told: %+v", moves)
		}
		if n := redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		again.leave()

		// Only who had it told from whom it came.
		r := a.g.roomOf("final")
		for _, tc := range []struct {
			had   bool
			from  string
			moved bool
		}{{true, "a", false}, {false, "a", true}, {true, "c", true}} {
			s := r.join(&joining{session: grandstand.NewSessionID(r.key, grandstand.Key{}, grandstand.Key{}), audience: r.intern([]string{"US", "US-CA", "KC"}), intervalMS: 60_000})
			synctest.Wait()
			s.had, s.own = tc.had, claiming
			s.previous = &grandstand.Record{Owner: "b", Values: s.Audience.Values, ClaimedAt: fakeClock{}.Now(), ClaimedFrom: tc.from}
			r.own(s, &grandstand.Move{From: "b"})
			if got := r.moves[len(r.moves)-1].Moved; got != tc.moved {
				t.Errorf("it had it: %v, and b claimed it from %s: moved %v", tc.had, tc.from, got)
			}
		}
	})
}

// A viewer loses the connection before the session is claimed, and comes back while
// others are: it is claimed then, not counted beside the tally of where it was.
func TestAClaimThatWasGivenUpIsMadeAnew(t *testing.T) {
	threeGateways(t, func(t *testing.T, redis *fakeRedis, a, b, c *rig) {
		onA := a.watch(hopper)
		ticked()
		r := c.g.room(&grandstand.Event{Name: "final", Dims: grandstand.DefaultDims(), TickMS: 2000, BeatMS: 10_000})
		aud := r.intern([]string{"US", "US-CA", "KC"})
		arrive := func(id string) *session {
			s := r.openLocked(&joining{audience: aud}, id)
			s.Open(fakeClock{}.Now(), 60_000)
			s.own, s.moving = claiming, true
			return s
		}
		r.mu.Lock()
		gone, other := arrive(onA.session), arrive(grandstand.NewSessionID(r.key, grandstand.Key{}, grandstand.Key{}))
		gone.socketed = true // and its socket is closed
		other.Leave()
		r.mu.Unlock()
		redis.setDown(true) // for as long as one call takes
		go c.g.claim(context.Background(), []due{{s: gone}, {s: other}})
		time.Sleep(200 * time.Millisecond)
		r.join(&joining{session: onA.session, audience: aud, intervalMS: 60_000})
		time.Sleep(100 * time.Millisecond)
		redis.setDown(false)
		for i := range 6 {
			ticked()
			if n := redis.count("final", "team:KC"); n != 1 {
				t.Errorf("tick %d: %d sessions, want 1", i, n)
			}
		}
		if rec := redis.record(onA.session); rec.Owner != "c" {
			t.Errorf("it is the session of %s", rec.Owner)
		}
	})
}

// Who comes back to a gateway that they watched on before is not taken for gone by
// a claimer that is faster than the handshake.
func TestWhoIsOnTheirWayIsNotGone(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		r := rg.g.room(&grandstand.Event{Name: "final", Dims: grandstand.DefaultDims(), TickMS: 2000, BeatMS: 10_000})
		j := &joining{session: grandstand.NewSessionID(r.key, grandstand.Key{}, grandstand.Key{}), audience: r.intern([]string{"US", "US-CA", "KC"}), intervalMS: 60_000}
		s := r.join(j)
		synctest.Wait()
		s.mu.Lock()
		s.socketed = true // it had a socket, and lost it
		s.loseLocked(fakeClock{}.Now())
		s.mu.Unlock()
		r.join(j)
		if synctest.Wait(); s.own != owned {
			t.Errorf("who has just come back is %d", s.own)
		}
	})
}

// Who says goodbye and comes back at once is counted when their record, which was to
// go, is there again.
func TestBackRightAfterAGoodbye(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1&interval_ms=60000")
		ticked()
		s := rg.g.roomOf("final").find(v.session)
		v.send(`{"t":"beat","seq":1,"state":"ended"}`)
		time.Sleep(1950 * time.Millisecond) // a tick has forgotten it, its record is not removed yet
		r, now := rg.g.roomOf("final"), time.Now().UnixMilli()
		r.scan(now)
		r.join(&joining{session: v.session, audience: s.Audience, intervalMS: 60_000})
		if r.scan(now); s.counted {
			t.Error("counted, though its record is to go")
		}
		time.Sleep(600 * time.Millisecond)
		r.scan(time.Now().UnixMilli())
		if rec := rg.redis.record(v.session); !s.counted || rec.Owner != rg.g.ID() {
			t.Errorf("counted: %v; record %+v", s.counted, rec)
		}
	})
}

// A viewer goes to another gateway, and what they had sent to the first comes late,
// on a slow link. They say goodbye where they are: the first gateway must not take
// its late beat for somebody who is still there.
func TestALateBeatWinsNothingBack(t *testing.T) {
	for _, tc := range []struct {
		name string
		late func(onA *viewer, rest func())
		want int // after the goodbye
	}{
		{"the socket is closed", func(onA *viewer, _ func()) { onA.beat(); onA.cut() }, 0},
		{"the socket stays", func(onA *viewer, _ func()) { onA.beat() }, 1},
		{"the player goes on without a socket", func(onA *viewer, rest func()) { onA.cut(); rest() }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
				onA := a.watch(hopper)
				ticked()
				onB := b.watch(hopper + "&session=" + onA.session)
				ticked() // a has read that it is lost
				keeps := redis.called("Keep")
				tc.late(onA, func() { a.postBeats(t, hopper+"&session="+onA.session, `[{"t":"beat"}]`, 200) })
				time.Sleep(2 * time.Second)
				onB.beat()
				onB.leave()
				for range 4 {
					ticked()
				}
				for range 10 {
					if n := redis.count("final", "world"); n != tc.want {
						t.Errorf("%d sessions after the goodbye, want %d", n, tc.want)
					}
					ticked()
				}
				if n := redis.called("Keep") - keeps; tc.want == 0 && n != 0 {
					t.Errorf("its record is asked for %d times", n)
				}
			})
		})
	}
}

func TestASessionMovesBetweenGateways(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		onA := a.watch("viewer=v1&device=d1&team=KC&country=US")
		ticked()
		onB := b.watch("viewer=v1&device=d1&team=SF&country=US&session=" + onA.session)
		if onB.session != onA.session {
			t.Fatalf("session %s became %s", onA.session, onB.session)
		}
		synctest.Wait()
		if r := redis.record(onA.session); r.Owner != "b" {
			t.Errorf("record %+v", r)
		}
		ticked()
		for segment, want := range map[string]int{"world": 1, "team:KC": 0, "team:SF": 1, "country:US": 1} {
			if n := redis.count("final", segment); n != want {
				t.Errorf("%s counts %d after the move, want %d", segment, n, want)
			}
		}
		if n := redis.manifest("a").Sessions + redis.manifest("b").Sessions; n != 1 {
			t.Errorf("the two count %d", n)
		}

		// The old socket goes on beating: it stays, and is not counted.
		for range 4 {
			onA.beat()
			onB.beat()
			time.Sleep(4 * time.Second)
			ticked()
			if n := redis.count("final", "world"); n != 1 {
				t.Errorf("%d sessions while both beat", n)
			}
		}
		// The new one leaves: the old one takes over within 5 s.
		onB.leave()
		time.Sleep(3 * time.Second)
		onA.beat()
		time.Sleep(4 * time.Second)
		ticked()
		if n, o := redis.count("final", "world"), redis.record(onA.session).Owner; n != 1 || o != "a" {
			t.Errorf("%d sessions, owner %q, after the new socket left", n, o)
		}
		// And back again.
		again := b.watch("viewer=v1&device=d1&session=" + onA.session)
		onA.cut()
		ticked()
		if n := redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions after moving again", n)
		}
		// It declared nothing this time: it keeps the audience it had.
		if n := redis.count("final", "team:KC"); n != 1 {
			t.Errorf("team:KC counts %d", n)
		}
		again.leave()
		ticked()
		ticked()
		if n := redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions at the end", n)
		}
	})
}

// Redis takes longer for records than a tick waits: who came in time is counted
// at that tick all the same.
func TestRecordsThatTakeLongAreWrittenBeforeTheTick(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, _ *rig) {
		redis.keepNS.Store(int64(keepNewFor + 50*time.Millisecond))
		ticked() // 1900 ms are left
		time.Sleep(1350 * time.Millisecond)
		const newcomers = 3
		for i := range newcomers {
			a.watch(fmt.Sprintf("viewer=v%d&device=d%d&team=KC", i, i))
		}
		ticked()
		if n := redis.count("final", "world"); n != newcomers {
			t.Errorf("%d of %d who came half a second before the tick are counted", n, newcomers)
		}
	})
}

// The clock of Redis is set back right after somebody came, who then goes to
// another gateway: the tally of the one before counts them, though by its time it
// was made before they came.
func TestAMoveAfterTheClockWasSetBack(t *testing.T) {
	const now, back = 1_800_000_000_000, 8_000
	for name, tc := range map[string]struct {
		rec   grandstand.Record
		since int64
		moved bool
	}{
		"opened before":            {grandstand.Record{Since: now - 5}, now - 5, false},
		"long ago":                 {grandstand.Record{}, 0, false},
		"moved there":              {grandstand.Record{Since: 0, ClaimedAt: now - 5}, now - 5, true},
		"opened, then set back":    {grandstand.Record{Since: now + back}, 0, false},
		"moved, then set back":     {grandstand.Record{ClaimedAt: now + back}, 0, false},
		"blocked there":            {grandstand.Record{Since: now + notYetMS}, now + notYetMS, false},
		"blocked where it went to": {grandstand.Record{Since: now + notYetMS, ClaimedAt: now - 5}, now + notYetMS, false},
	} {
		if since, moved := hadSince(&tc.rec, now); since != tc.since || moved != tc.moved {
			t.Errorf("%s: since %d, moved %v", name, since, moved)
		}
	}

	clock := &jumpyClock{}
	synctest.Test(t, func(t *testing.T) {
		redis := newFakeRedis()
		a := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID, c.Clock = "a", clock }})
		b := newRig(t, rigConfig{redis: redis, set: func(c *Config) { c.ID, c.Clock = "b", clock }})
		v := a.watch("viewer=v1&device=d1&team=KC&interval_ms=60000")
		ticked()
		clock.ahead.Add(-back)
		ticked()
		again := b.watch("viewer=v1&device=d1&team=KC&interval_ms=60000&session=" + v.session)
		ticked()
		if moves := b.g.roomOf("final").tally.Moves; len(moves) != 1 || moves[0].Since != 0 {
			t.Errorf("the moves that are told: %+v", moves)
		}
		again.leave()
		a.stop()
		b.stop()
	})
}

// A gateway that cannot reach Redis counts nobody it has not claimed.
func TestAMoveWaitsForRedis(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		onA := a.watch("viewer=v1&device=d1&team=KC&interval_ms=60000")
		ticked()
		other := b.watch("viewer=v2&team=KC&interval_ms=60000") // B knows the event
		ticked()
		redis.setDown(true)
		onA.cut()
		onB := b.watch("viewer=v1&device=d1&team=KC&interval_ms=60000&session=" + onA.session)
		time.Sleep(10 * time.Second)
		b.hub.show(board("final", time.Now().UnixMilli(), 2, "team:KC", 2))
		onB.next("counts") // sockets are served all the same
		if n := b.g.roomOf("final").tally.Segments[0].Sessions; n != 1 {
			t.Errorf("B counts %d that nobody gave it", n-1)
		}
		redis.setDown(false)
		time.Sleep(4 * time.Second)
		ticked()
		if n := redis.count("final", "world"); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		if r := redis.record(onA.session); r.Owner != "b" {
			t.Errorf("record %+v", r)
		}
		onB.leave()
		other.leave()
	})
}

// A gateway dies. Its last tally stands, minus what moved: in the audience that
// the session was in last.
func TestMovesFromADeadGateway(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		v := a.watch("viewer=v1&device=d1&team=KC&interval_ms=60000")
		time.Sleep(5 * time.Second)
		v.send(`{"t":"join","seg":{"team":"SF"}}`)
		v.next("ok")
		time.Sleep(5 * time.Second)
		a.stop()
		again := b.watch("viewer=v1&device=d1&team=GB&interval_ms=60000&session=" + v.session)
		ticked()
		for segment, want := range map[string]int{"world": 1, "team:KC": 0, "team:SF": 0, "team:GB": 1} {
			if n := redis.count("final", segment); n != want {
				t.Errorf("%s counts %d, want %d", segment, n, want)
			}
		}
		again.leave()
	})
}

// A viewer comes from a dead gateway and says goodbye at once, before Redis has
// answered: the dead gateway's tally must not go on counting it.
func TestAGoodbyeRightAfterAMove(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		other := b.watch("viewer=v2&team=KC&interval_ms=60000")
		v := a.watch("viewer=v1&device=d1&team=KC&interval_ms=60000")
		ticked()
		a.stop()
		redis.setDown(true)
		again := b.watch("viewer=v1&device=d1&team=KC&interval_ms=60000&session=" + v.session)
		again.leave()
		time.Sleep(time.Second)
		redis.setDown(false)
		time.Sleep(4 * time.Second)
		ticked()
		if n := redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions, want the one who stayed", n)
		}
		other.leave()
	})
}

// What Redis says about a session comes in any order.
func TestOwnershipWhateverTheOrder(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		r := rg.g.room(&grandstand.Event{Name: "final", Dims: grandstand.DefaultDims()})
		now := fakeClock{}.Now()
		open := func() *session {
			a := r.intern([]string{"US", "US-CA", "KC"})
			s := r.join(&joining{session: grandstand.NewSessionID(r.key, grandstand.Key{}, grandstand.Key{}), audience: a, intervalMS: 60_000})
			synctest.Wait() // claimed
			if s.own != owned || s.Gen < 2 {
				t.Fatalf("after the claim: %d, generation %d", s.own, s.Gen)
			}
			return s
		}
		release := func(s *session, gen uint64) {
			r.release(grandstand.Release{Event: r.name, Session: s.ID, Gen: gen}, now)
		}

		s := open()
		release(s, s.Gen-1)
		if s.own != owned {
			t.Error("an old release took the session away")
		}
		release(s, s.Gen)
		if s.own != lost {
			t.Error("the release did not take the session away")
		}

		// The release overtakes the answer to the claim before it.
		s = open()
		s.own = claiming
		release(s, s.Gen)
		r.own(s, nil)
		if s.own != lost {
			t.Error("a claim that was answered late brought the session back")
		}

		// Keep says so before the release has come: that one comes first.
		s = open()
		s.keptLocked(true, now)
		if s.own != owned {
			t.Error("given up before the release had a chance to come")
		}
		s.keptLocked(true, now)
		if s.own != lost {
			t.Error("not given up the second time")
		}
		s.keptLocked(false, now)
		if s.own != owned {
			t.Error("not won back")
		}

		s.keptLocked(true, now)
		s.keptLocked(false, now)
		s.keptLocked(true, now)
		if s.own != owned {
			t.Error("given up for two doubts with a confirmation between them")
		}

		// It is nobody's any more, but its viewer has left us while we asked.
		gone := open()
		release(gone, gone.Gen)
		gone.socketed = true
		gone.keptLocked(false, now)

		// The session ends before the claim is answered: the record goes.
		s = open()
		s.own = claiming
		r.mu.Lock()
		r.removeLocked(s, now)
		r.mu.Unlock()
		r.own(s, nil)
		time.Sleep(1100 * time.Millisecond)
		if rec := rg.redis.record(s.ID); rec.Owner != "" {
			t.Errorf("the record of a session that ended: %+v", rec)
		}
		if rec := rg.redis.record(gone.ID); gone.own != lost || rec.Owner != "" {
			t.Errorf("won back, though the viewer is gone: %d, record %+v", gone.own, rec)
		}
	})
}

// Two tabs come over at the same time, and their session is taken over once.
func TestTwoTabsMoveAtOnce(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		const query = "viewer=v1&device=d1&team=KC&interval_ms=60000"
		onA := a.watch(query)
		other := b.watch("viewer=v2&team=KC&interval_ms=60000") // B knows the event and its values
		ticked()
		redis.setDown(true)
		resume := query + "&session=" + onA.session
		tabs := []*viewer{b.watch(resume), b.watch(resume), b.watch(resume)}
		time.Sleep(5 * time.Second)
		redis.setDown(false)
		time.Sleep(4 * time.Second)
		ticked()
		if n := redis.count("final", "world"); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		redis.mu.Lock()
		if n := len(redis.releases["a"]); n != 1 {
			t.Errorf("A is told %d times", n)
		}
		redis.mu.Unlock()
		for _, v := range append(tabs, onA, other) {
			v.leave()
		}
	})
}

// A session is claimed before its first record was written.
func TestAMoveBeforeTheFirstRecord(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		onA := a.watch("viewer=v1&device=d1")
		onB := b.watch("viewer=v1&device=d1&session=" + onA.session)
		onA.cut()
		for range 4 {
			ticked()
			if n := redis.count("final", "world"); n > 1 {
				t.Errorf("%d sessions", n)
			}
		}
		if n := redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions in the end", n)
		}
		onB.leave()
	})
}

// Redis loses all of its data: within two beats every record is there again, and
// counts never exceed the truth.
func TestRedisLosesItsData(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		beats := context.WithoutCancel(t.Context())
		beats, stop := context.WithCancel(beats)
		defer stop()
		var all []*viewer
		for i := range 10 {
			rg := a
			if i%2 == 1 {
				rg = b
			}
			v := rg.watch(fmt.Sprintf("viewer=v%d&device=d&team=KC", i))
			all = append(all, v)
			go func() {
				for pause(beats, 8*time.Second) {
					v.c.Write(beats, 1, []byte(`{"t":"beat"}`))
				}
			}()
		}
		moved := b.watch("viewer=v0&device=d&team=KC&session=" + all[0].session) // both sockets stay
		go func() {
			for pause(beats, 8*time.Second) {
				moved.c.Write(beats, 1, []byte(`{"t":"beat"}`))
			}
		}()
		ticked()
		ticked()
		redis.flush("boot-2")
		for range 12 {
			ticked()
			if n := redis.count("final", "world"); n > 10 {
				t.Errorf("%d sessions of 10", n)
			}
		}
		if n := redis.count("final", "world"); n != 10 {
			t.Errorf("%d sessions, want 10", n)
		}
		if n := redis.count("final", "team:KC"); n != 10 {
			t.Errorf("team:KC counts %d", n)
		}
		for _, v := range all {
			if r := redis.record(v.session); r.Owner == "" {
				t.Errorf("no record of %s", v.session)
			}
		}
		redis.mu.Lock()
		_, event := redis.events["final"]
		value := redis.values[grandstand.Segment{Dim: "team", Value: "KC"}]
		redis.mu.Unlock()
		if !event || !value {
			t.Errorf("written again: event %v, value %v", event, value)
		}
	})
}

// Sessions move right after Redis lost its data, when no record says whose they
// were: they are never counted twice.
func TestMovesRightAfterRedisLostItsData(t *testing.T) {
	for _, after := range []time.Duration{0, 300 * time.Millisecond, 1400 * time.Millisecond, 2500 * time.Millisecond} {
		twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
			v := a.watch("viewer=v1&device=d1&interval_ms=60000")
			w := b.watch("viewer=v2&device=d2&interval_ms=60000")
			ticked()
			redis.flush("boot-2")
			time.Sleep(after)
			v.cut()
			again := b.watch("viewer=v1&device=d1&interval_ms=60000&session=" + v.session)
			for range 5 {
				ticked()
				if n := redis.count("final", "world"); n > 2 {
					t.Errorf("moved after %v: %d sessions of 2", after, n)
				}
			}
			if n := redis.count("final", "world"); n != 2 {
				t.Errorf("moved after %v: %d sessions in the end", after, n)
			}
			again.leave()
			w.leave()
		})
	}
}

// A session is taken over while a tick is between looking at the sessions and
// building the tally: both it and its move are in the tally after.
func TestATakeoverInTheMiddleOfATick(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		v := a.watch("viewer=v1&device=d1&interval_ms=60000")
		ticked()
		v.cut()
		w := b.watch("viewer=v2&device=d2&interval_ms=60000")
		ticked()
		r, now := b.g.roomOf("final"), fakeClock{}.Now()
		r.scan(now)
		again := b.watch("viewer=v1&device=d1&interval_ms=60000&session=" + v.session)
		synctest.Wait()
		if len(r.moves) != 1 {
			t.Fatalf("%d moves, want 1", len(r.moves))
		}
		if tally := r.build(grandstand.NewTallier()); worldOf(tally) != 1 || len(tally.Moves) != 0 {
			t.Errorf("the tally under way counts %d and lists %d moves, want 1 and 0", worldOf(tally), len(tally.Moves))
		}
		if !r.scan(now) {
			t.Error("the tick after does not see that anything changed")
		}
		if tally := r.build(grandstand.NewTallier()); worldOf(tally) != 2 || len(tally.Moves) != 1 {
			t.Errorf("the tally after counts %d and lists %d moves, want 2 and 1", worldOf(tally), len(tally.Moves))
		}
		again.leave()
		w.leave()
	})
}

// A session that moves before its first gateway has written its record is counted
// at the next tick, by the second alone.
func TestMoveBeforeTheFirstTick(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		for range 4 {
			ticked()
		}
		v := a.watch("viewer=v1&device=d1")
		synctest.Wait()
		v.cut()
		again := b.watch("viewer=v1&device=d1&session=" + v.session)
		for range 3 {
			ticked()
			if a, b := redis.manifest("a").Sessions, redis.manifest("b").Sessions; a != 0 || b != 1 {
				t.Errorf("a counts %d, b counts %d; want 0 and 1", a, b)
			}
		}
		again.leave()
	})
}

// A gateway that is gone by then claimed the session last, for a socket that was
// gone too. The viewer goes on beating here: nobody else is going to count it.
func TestALateClaimOfADeadGateway(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, _ *rig) {
		v := a.watch("viewer=v1&device=d1&team=KC")
		ticked()
		stolen := redis.record(v.session)
		before := stolen.Gen
		stolen.Owner = "ghost"
		if _, err := redis.Claim(t.Context(), []grandstand.Record{stolen}); err != nil {
			t.Fatal(err)
		}
		if _, err := redis.Release(t.Context(), "a", []grandstand.Release{{Event: "final", Session: v.session, Gen: before}}); err != nil {
			t.Fatal(err)
		}
		ticked()
		if n := redis.count("final", "world"); n != 0 {
			t.Errorf("%d sessions right after the release", n)
		}
		for range 5 {
			time.Sleep(4 * time.Second)
			v.beat()
		}
		ticked()
		if n, o := redis.count("final", "world"), redis.record(v.session).Owner; n != 1 || o != "a" {
			t.Errorf("%d sessions, owner %q, after 20 s of beats", n, o)
		}
	})
}

// Redis loses its data between the move of a session and the tick at which its
// old owner would have read of it.
func TestALostRelease(t *testing.T) {
	for _, late := range []string{"a", "b"} { // to notice
		twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
			v := a.watch("viewer=v1&device=d1&interval_ms=60000")
			ticked()
			ticked()
			v.cut()
			again := b.watch("viewer=v1&device=d1&interval_ms=60000&session=" + v.session)
			synctest.Wait()
			redis.flush("boot-2")
			redis.mu.Lock()
			redis.late = late
			redis.mu.Unlock()
			time.Sleep(3 * time.Second)
			redis.mu.Lock()
			redis.late = ""
			redis.mu.Unlock()
			time.Sleep(8 * time.Second)
			for range 5 {
				ticked()
				if n := redis.manifest("a").Sessions + redis.manifest("b").Sessions; n != 1 {
					t.Errorf("%s is late: the two count %d", late, n)
				}
			}
			again.leave()
		})
	}
}

// Redis is away for a minute: no socket notices, and who declares a value that
// the registry was not asked about is counted when it answers.
func TestRedisIsAway(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		over, stop := context.WithCancel(context.Background())
		defer stop()
		v := rg.watch("viewer=v1&team=KC")
		keep := func(v *viewer) {
			for pause(over, 5*time.Second) {
				v.c.Write(over, 1, []byte(`{"t":"beat"}`))
			}
		}
		go keep(v)
		ticked()
		rg.redis.setDown(true)
		time.Sleep(30 * time.Second)
		start := time.Now()
		w := rg.watch("viewer=v2&team=KC")
		go keep(w)
		if d := time.Since(start); d > 1100*time.Millisecond {
			t.Errorf("known values: accepted after %v", d)
		}
		n := rg.watch("viewer=v3&team=SF")
		go keep(n)
		v.send(`{"t":"join","seg":{"team":"GB"}}`)
		if m := v.next("error"); m["code"] != "unavailable" {
			t.Errorf("join is answered %v", m)
		}
		if _, err := rg.try("unknown", "viewer=v4", nil); err == nil || err.Error()[:3] != "503" {
			t.Errorf("an event that cannot be looked up: %v", err)
		}
		time.Sleep(30 * time.Second)
		rg.redis.setDown(false)
		time.Sleep(4 * time.Second)
		ticked()
		for segment, want := range map[string]int{"world": 3, "team:KC": 2, "team:SF": 1, "team:other": 0, "country:unknown": 3} {
			if got := rg.redis.count("final", segment); got != want {
				t.Errorf("%s counts %d, want %d", segment, got, want)
			}
		}
	})
}

// A shard that does not change is not written at every tick; the manifest is.
func TestOnlyChangesAreWritten(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		over, stop := context.WithCancel(context.Background())
		defer stop()
		v := rg.watch("viewer=v1&interval_ms=10000")
		go func() {
			for pause(over, 10*time.Second) {
				v.c.Write(over, 1, []byte(`{"t":"beat"}`))
			}
		}()
		ticked()
		written := func() int {
			rg.redis.mu.Lock()
			defer rg.redis.mu.Unlock()
			return rg.redis.written
		}
		before, at := written(), rg.redis.manifest(rg.g.ID()).At
		for range 4 {
			ticked()
		}
		if n := written() - before; n != 0 {
			t.Errorf("%d shard tallies in 8 s in which nothing changed", n)
		}
		m := rg.redis.manifest(rg.g.ID())
		if m.At != at+8_000 || len(m.Shards) != 1 || m.Shards[0].At != at || m.Sessions != 1 {
			t.Errorf("manifest %+v", m)
		}
		for range 28 {
			ticked()
		}
		if n := written() - before; n != 6 {
			t.Errorf("%d shard tallies after 64 s, want one for each 10 s", n)
		}
		if n := rg.redis.calls["Keep"]; n > 3 {
			t.Errorf("%d keeps of one session in a minute", n)
		}
	})
}

// Whatever clients do, on two gateways, the sum is never above the truth and
// right when they stop.
func TestMovesAddUpUnderChurn(t *testing.T) {
	twoGateways(t, func(t *testing.T, redis *fakeRedis, a, b *rig) {
		const viewers = 30
		rigs := []*rig{a, b}
		rnd := rand.New(rand.NewPCG(1, 2))
		at := make([]*viewer, viewers)
		connect := func(i int) {
			q := fmt.Sprintf("interval_ms=60000&viewer=v%d&device=d&team=t%d", i, i%3)
			if at[i] != nil {
				q += "&session=" + at[i].session
				if rnd.IntN(2) == 0 {
					at[i].cut()
				}
			}
			at[i] = rigs[rnd.IntN(2)].watch(q)
		}
		for i := range viewers {
			connect(i)
		}
		time.Sleep(3 * time.Second)
		for range 200 {
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
			connect(rnd.IntN(viewers))
			if n := redis.count("final", "world"); n > viewers || n < viewers-3 {
				t.Errorf("%d sessions of %d", n, viewers)
			}
		}
		ticked()
		ticked()
		for segment, want := range map[string]int{"world": viewers, "team:t0": 10, "team:t1": 10, "team:t2": 10} {
			if n := redis.count("final", segment); n != want {
				t.Errorf("%s counts %d, want %d", segment, n, want)
			}
		}
	})
}
