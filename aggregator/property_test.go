package aggregator

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"grandstand"
)

// world is a crowd on several gateways whose truth is known.
type world struct {
	*rig
	t        *rapid.T
	event    *grandstand.Event
	agg      *Aggregator
	next     int
	seq      uint64
	sessions map[int]*testSession // all that are watching
	owner    map[int]*testGateway
	endings  map[int]bool                // said goodbye, but the owner has not written since
	pending  []func()                    // release entries on their way
	moves    map[*testGateway][]heldMove // of each gateway, with their age
	maxTruth map[grandstand.Segment]uint64
	claimed  map[int]int64                         // when its owner became it
	former   map[int][][]string                    // audiences that it was in before its last move
	since    map[int]int64                         // when its owner opened it, or claimed it from another
	moved    map[int]*testGateway                  // whom its owner claimed it from
	had      map[*testGateway]map[int]bool         // sessions that were owned there
	lostAt   int64                                 // when Redis last lost its data; 0: it has not
	knew     map[*testGateway]grandstand.ReleaseID // upTo then
	orphans  []orphan
	untold   []*untold
}

// untold is a claim of a gateway that did not tell the owner before at once.
type untold struct {
	session int
	by      *testGateway
	done    int64 // when the owner before was told; 0: it has not been
}

type heldMove struct {
	move    grandstand.Move
	session int
	at      int64
}

func (w *world) draw(n int, label string) int { return rapid.IntRange(0, n-1).Draw(w.t, label) }

// alive returns a gateway that runs, nil if there is none.
func (w *world) pick(label string) *testGateway {
	var up []*testGateway
	for _, g := range w.gws {
		if !g.dead {
			up = append(up, g)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[w.draw(len(up), label)]
}

// someone returns a session that is watching; -1: nobody is.
func (w *world) someone() int {
	var ids []int
	for id := range w.next {
		if w.sessions[id] != nil && !w.endings[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return -1
	}
	return ids[w.draw(len(ids), "session")]
}

func (w *world) join() {
	g := w.pick("gateway")
	if g == nil {
		return
	}
	teams := []string{"KC", "SF", grandstand.Unknown}
	countries := []string{"US", "CA", grandstand.Other}
	s := &testSession{
		id: w.next, gen: 1, viewer: hashOf(uint64(w.draw(40, "viewer"))),
		values: w.audience(countries[w.draw(3, "country")], teams[w.draw(3, "team")]),
	}
	w.next++
	w.sessions[s.id], w.owner[s.id], w.claimed[s.id] = s, g, w.now
	w.since[s.id] = w.now + 1 // after the tally of now
	w.t.Logf("session %d %v joins %s", s.id, s.values, g.id)
	g.add(s)
}

// audience is a session's values in the event's dimensions.
func (w *world) audience(country, team string) []string {
	return []string{country, team, country + "+" + team}[:len(w.event.Dims)]
}

// leave is a clean one: it counts at the next tally of the owner. One whose
// gateway is dead cannot be told, one that has not released it yet tells the
// former owner first.
func (w *world) leave() {
	id := w.someone()
	if id < 0 || w.owner[id].dead || w.claiming(id) {
		return
	}
	w.t.Logf("session %d leaves %s", id, w.owner[id].id)
	delete(w.owner[id].sessions, id)
	w.endings[id] = true
}

// claiming reports whether the owner before has not been told yet.
func (w *world) claiming(id int) bool { return w.owner[id].sessions[id] != w.sessions[id] }

// move resumes a session on another gateway: claimed at once, released at once
// or a little later, and only then counted there.
func (w *world) move() {
	id, to := w.someone(), w.pick("to")
	if id < 0 || to == nil || w.owner[id] == to || to.claims[id] != 0 || to.sessions[id] != nil {
		return // who claims it, or has not read that it is gone, does not ask again
	}
	from, old := w.owner[id], w.sessions[id]
	s := *old
	s.gen++
	w.former[id] = append(w.former[id], old.values)
	if w.draw(4, "joins another team") == 0 {
		s.values = w.audience(s.values[0], "KC")
	}
	since, moved := w.since[id], w.moved[id] != nil
	if w.moved[id] == to && w.had[to][id] {
		moved = false // it is back
	}
	w.sessions[id], w.owner[id], w.claimed[id], w.since[id], w.moved[id] = &s, to, w.now, w.now+1, from
	to.claims[id]++
	w.t.Logf("session %d moves from %s to %s", id, from.id, to.id)
	u := &untold{id, to, 0}
	release := func() {
		u.done = w.now + 1
		w.seq++
		w.t.Logf("session %d is released by %s: %d", id, from.id, w.seq)
		rid := grandstand.ReleaseID{MS: uint64(w.now) + 1, Seq: w.seq} // after the tallies of now
		from.stream = append(from.stream, testRelease{rid, id, old.gen})
		w.moves[to] = append(w.moves[to], heldMove{
			grandstand.Move{From: from.id, Release: rid, Values: old.values, Since: since, Moved: moved}, id, w.now,
		})
		to.claims[id]--
		if w.had[to] == nil {
			w.had[to] = map[int]bool{}
		}
		w.had[to][id] = true
		if !w.endings[id] && (w.owner[id] == to || !to.dead) { // else the release is in its list
			to.add(&s)
		}
	}
	if w.draw(3, "slow release") == 0 {
		w.pending, w.untold = append(w.pending, release), append(w.untold, u)
	} else {
		release()
	}
}

// write has a gateway write: all of it, or only the values without the manifest
// that vouches for them.
func (w *world) write(g *testGateway, partial bool) {
	w.t.Logf("%s writes, partial: %v", g.id, partial)
	kept := w.moves[g][:0]
	g.moves = g.moves[:0]
	for _, m := range w.moves[g] {
		if m.at+155_000 > w.now {
			kept = append(kept, m)
			g.moves = append(g.moves, m.move)
		}
	}
	w.moves[g] = kept
	if partial {
		g.readReleases()
		g.last, g.shardAt = []grandstand.Tally{g.tally()}, w.now
		w.redis.write([]*grandstand.ShardTally{{
			Gateway: g.id, Shard: grandstand.ShardOf(w.event.Name), At: w.now, Released: g.released, Events: g.last,
		}}, nil)
		g.asOf, g.half = w.now, true // the aggregator may see it, or the one before
		return
	}
	g.write()
	for id := range w.endings {
		if w.owner[id] == g {
			delete(w.sessions, id)
			delete(w.endings, id)
		}
	}
}

func (w *world) kill(g *testGateway, drain bool) {
	for _, f := range w.pending { // or it could take claims along that nobody else knows of
		f()
	}
	w.pending = nil
	if drain {
		w.write(g, false)
		g.writeAs(true)
	}
	w.t.Logf("%s dies, drained: %v", g.id, drain)
	g.dead = true
	// Whoever said goodbye to a gateway that died before it could tell anybody
	// lingers.
	for id := range w.endings {
		if w.owner[id] == g {
			delete(w.endings, id)
		}
	}
}

// stands reports whether the last tally of a gateway may count: for 2.5 beats, and
// as long as that of another which fell silent within a tick and three seconds.
func (w *world) stands(g *testGateway) bool {
	linger := grandstand.LingerMS(w.event.BeatMS)
	with := func(asOf int64, other *testGateway) bool {
		for _, o := range []int64{other.asOf, other.vouched} {
			if silent := w.now - o; silent > 3000 && silent < linger && o > asOf && o <= asOf+5000 {
				return true
			}
		}
		return false
	}
	return w.now-g.asOf < linger || slices.ContainsFunc(w.gws, func(o *testGateway) bool { return with(g.asOf, o) || with(g.vouched, o) })
}

// lapse ends the sessions of dead gateways whose time is up.
func (w *world) lapse() {
	linger := grandstand.LingerMS(w.event.BeatMS)
	for id, g := range w.owner {
		if g.dead && w.now-w.claimed[id] >= linger && !w.stands(g) {
			delete(w.sessions, id)
			delete(w.owner, id)
		}
	}
}

func (w *world) step() {
	for range w.draw(6, "actions") {
		switch w.draw(10, "action") {
		case 0, 1, 2, 3:
			w.join()
		case 4:
			w.leave()
		default:
			w.move()
		}
	}
	if late := w.pending; len(late) > 0 && w.draw(2, "releases arrive") == 0 {
		w.pending = nil
		for _, f := range late {
			f()
		}
	}
	if w.draw(15, "Redis is lost") == 7 && w.late() == 0 && (w.lostAt == 0 || w.now > w.lostAt+2*refillMS) {
		w.forget()
	}
	w.advance(2000)
	w.ask()
	for _, g := range w.gws {
		if !g.dead {
			if len(w.event.Dims) == 3 && w.draw(4, "overload") == 0 {
				g.bare = !g.bare
			}
			switch w.draw(8, "write") {
			case 0: // late
			case 1:
				w.write(g, true)
			default:
				w.write(g, false)
			}
		}
	}
	switch g := w.pick("unlucky"); w.draw(20, "fate") {
	case 0:
		if g != nil {
			w.kill(g, false)
		}
	case 1:
		if g != nil {
			w.kill(g, true)
		}
	case 2:
		w.gateway(w.event)
	}
	w.lapse()
	w.wake(w.agg)
	if b := w.redis.board(w.t, w.event.Name); b != nil && b.At == w.now {
		w.check(b)
	}
}

// forget loses what is in Redis, releases that nobody has read among it. Owners
// learn later whose their sessions are.
func (w *world) forget() {
	w.t.Logf("Redis is lost")
	w.lostAt = w.now + 2 // after what happened since the tick
	w.clock.set(w.lostAt)
	w.redis.forget()
	w.clock.set(w.now)
	w.redis.put(*w.event)
	for _, g := range w.gws {
		w.knew[g] = g.upTo
		if g.half {
			w.knew[g] = grandstand.ReleaseID{}
		}
		for _, rel := range g.stream {
			w.orphans = append(w.orphans, orphan{g, rel, w.now + 8000})
		}
		g.stream = nil
	}
}

// orphan is a release that was lost, and when its gateway finds out.
type orphan struct {
	g   *testGateway
	rel testRelease
	at  int64
}

// ask has gateways find out which sessions are not theirs any more.
func (w *world) ask() {
	w.orphans = slices.DeleteFunc(w.orphans, func(o orphan) bool {
		if s := o.g.sessions[o.rel.session]; o.at <= w.now && s != nil && s.gen <= o.rel.gen {
			delete(o.g.sessions, o.rel.session)
		}
		return o.g.asOf > o.at && !o.g.half
	})
}

// late returns how many sessions were taken from a gateway that had not told the
// owner before, and has not written since. Who took them cannot know whether that
// owner counts them still.
func (w *world) late() (n uint64) {
	w.untold = slices.DeleteFunc(w.untold, func(u *untold) bool {
		return u.done != 0 && u.done <= u.by.asOf && !u.by.half || u.by.dead && w.now-u.by.asOf >= grandstand.LingerMS(w.event.BeatMS)
	})
	for _, u := range w.untold {
		if w.owner[u.session] != u.by || u.by.half {
			n++
		}
	}
	return n
}

func (w *world) check(b *grandstand.Board) {
	w.t.Logf("board at +%d: %d %v", b.At-start, b.Segments[0].Sessions, b.Quality)
	if err := b.CheckSums(); err != nil {
		w.t.Fatal(err)
	}
	truth := map[grandstand.Segment]uint64{}
	sure := map[grandstand.Segment]uint64{}
	viewers := map[grandstand.Segment]map[uint64]bool{}
	unread, half, lost := uint64(len(w.pending)), false, uint64(0)
	for _, g := range w.gws {
		// Releases that the newest tally does not know of yet.
		for by, held := range w.moves {
			for _, m := range held {
				if w.lostAt > 0 && m.move.From == g.id && int64(m.move.Release.MS) <= w.lostAt+2000 && g.asOf < w.lostAt+refillMS+2000 &&
					w.knew[g].Before(m.move.Release) && !g.upTo.Before(m.move.Release) {
					unread++ // it may have been lost
				}
				if m.move.From == g.id && g.upTo.Before(m.move.Release) {
					unread++
					if linger := grandstand.LingerMS(w.event.BeatMS); w.owner[m.session] != by && by.dead && (by.asOf <= m.at && w.now-by.asOf >= linger || by.half) {
						lost++
					}
				}
			}
		}
		if w.stands(g) {
			half = half || g.half
			for _, s := range g.written {
				w.each(s, func(seg grandstand.Segment) {
					if viewers[seg] == nil {
						viewers[seg] = map[uint64]bool{}
					}
					viewers[seg][s.viewer] = true
				})
			}
		}
	}
	// A release that was lost with Redis is known of unless its gateway had not
	// written before, it dies, or whoever lists the move does not write in time:
	// see TestAReleaseThatWasLost.
	lost += uint64(len(w.orphans))
	lost += w.late()
	for id, s := range w.sessions {
		w.each(s, func(seg grandstand.Segment) { truth[seg]++ })
		if g := w.owner[id]; g.written[id] == s && !g.half && !w.endings[id] && w.now-g.asOf < grandstand.LingerMS(w.event.BeatMS) {
			w.each(s, func(seg grandstand.Segment) { sure[seg]++ })
		}
	}
	// Whoever counts a session may not know yet, or never, that it joined another
	// team as it moved on. Where it had moved twice, its owner does not know of
	// which team it was at first.
	shifted := map[grandstand.Segment]uint64{}
	for id, s := range w.sessions {
		if g := w.owner[id]; g.written[id] != s || g.half || len(w.former[id]) > 1 || w.now-g.asOf >= grandstand.LingerMS(w.event.BeatMS) {
			for seg := range w.before(id) {
				shifted[seg]++
			}
		}
	}
	truth[grandstand.WorldSegment] += 0 // also if nobody is watching
	for seg, n := range truth {
		w.maxTruth[seg] = max(w.maxTruth[seg], n+lost)
	}
	world := b.Segments[0]
	// A session that moves on from a gateway which died before it told of it is
	// taken off that gateway's tally, while the tally of the one before counts it.
	// If that one is dead too, and its tally lapses later, the session is counted
	// twice in between, for a tick or two.
	if world.Sessions > truth[grandstand.WorldSegment]+lost {
		w.t.Fatalf("%d sessions, but only %d are watching", world.Sessions, truth[grandstand.WorldSegment])
	}
	for i := range b.Segments {
		if c := &b.Segments[i]; c.Segment.Value != grandstand.Other && c.Sessions > truth[c.Segment]+shifted[c.Segment]+lost {
			w.t.Fatalf("%v: %d sessions, but only %d are watching, and %d were", c.Segment, c.Sessions, truth[c.Segment], shifted[c.Segment])
		}
	}
	if world.Sessions+unread < sure[grandstand.WorldSegment] {
		w.t.Fatalf("%d sessions, but %d are counted by their owners, and only %d moves are in flight",
			world.Sessions, sure[grandstand.WorldSegment], unread)
	}
	if most := w.maxTruth[grandstand.WorldSegment]; world.Peak > most {
		w.t.Fatalf("peak of %d, there were never more than %d", world.Peak, most)
	}
	for i := range b.Segments {
		c := &b.Segments[i]
		want := min(uint64(len(viewers[c.Segment])), c.Sessions)
		if c.Fans > c.Sessions || c.Fans > c.Reach || !half && (c.Fans+1 < want || c.Fans > want+1) {
			w.t.Fatalf("%v: %d fans of %d sessions, reach %d; want %d", c.Segment, c.Fans, c.Sessions, c.Reach, want)
		}
	}
}

// before returns the segments that a session was in and is not any more.
func (w *world) before(id int) map[grandstand.Segment]bool {
	segs := map[grandstand.Segment]bool{}
	for _, values := range w.former[id] {
		w.each(&testSession{values: values}, func(seg grandstand.Segment) { segs[seg] = true })
	}
	w.each(w.sessions[id], func(seg grandstand.Segment) { delete(segs, seg) })
	return segs
}

func (w *world) each(s *testSession, f func(grandstand.Segment)) {
	f(grandstand.WorldSegment)
	for i, d := range w.event.Dims {
		f(grandstand.Segment{Dim: d.Name, Value: s.values[i]})
	}
}

// TestSumsHoldUnderChurn lets sessions join, leave and move between gateways
// that write late, in parts, die, drain, and leave crosses out for a while, while
// Redis loses its data now and then.
func TestSumsHoldUnderChurn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{
			rig: newRig(t), t: rt, event: testEvent("final", "country", "team"),
			sessions: map[int]*testSession{}, owner: map[int]*testGateway{}, endings: map[int]bool{},
			moves: map[*testGateway][]heldMove{}, maxTruth: map[grandstand.Segment]uint64{},
			claimed: map[int]int64{}, former: map[int][][]string{}, since: map[int]int64{}, moved: map[int]*testGateway{}, had: map[*testGateway]map[int]bool{}, knew: map[*testGateway]grandstand.ReleaseID{},
		}
		if rapid.Bool().Draw(rt, "a cross") {
			w.event = testEvent("final", "country", "team", "country+team")
		}
		if rapid.Bool().Draw(rt, "min_cohort") {
			k := 4
			w.event.MinCohort = &k
		}
		w.redis.configure(*w.event)
		for range rapid.IntRange(1, 4).Draw(rt, "gateways") {
			w.gateway(w.event)
		}
		w.agg = w.aggregator("agg", nil)
		for range rapid.IntRange(5, 40).Draw(rt, "ticks") {
			w.step()
		}
		for _, kind := range []string{brokenTally, brokenSketch, brokenShard} {
			if n := metric(t, w.agg, "mended_inputs_total", kind); n != 0 {
				rt.Fatalf("%v inputs were mended: %s", n, kind)
			}
		}
		if len(w.violated) != 0 {
			rt.Fatalf("violations: %v", w.violated)
		}
	})
}
