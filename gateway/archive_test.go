package gateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

func wantLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: the journal says\n%q, want\n%q", what, got, want)
	}
}

// What a session does, from its first socket to its end.
func TestTheJournalOfASession(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		if err := rg.g.cfg.Events.PutEvent(t.Context(), chooseTeam(t)); err != nil {
			t.Fatal(err)
		}
		start := time.Now().UnixMilli()
		v := rg.watch("viewer=v1&device=d1&account=a1&team=KC&country=US")
		v.send(`{"t":"beat","seq":1,"state":"playing","pos":12.5,"bitrate":4500}`)
		v.send(`{"t":"beat","seq":2,"interval_ms":20000}`)
		v.send(`{"t":"beat","state":"paused","pos":-1}`)
		v.send(`{"t":"event","seq":3,"name":"startup","ts":1795299042179,"data":{"ms": 812}}`)
		v.send(`{"t":"event","name":"bare"}`)
		v.send(`{"t":"event","seq":4}`) // cannot be used
		v.next("error")
		v.send(`{"t":"join","seg":{"team":"SF"}}`)
		v.next("ok")
		v.send(`{"t":"beat","seq":5,"state":"ended"}`)
		time.Sleep(10 * time.Millisecond)
		v.send(`{"t":"beat","seq":6,"state":"playing"}`) // it is back
		time.Sleep(10 * time.Millisecond)
		second := rg.watch("viewer=v1&device=d1&account=a1&session=" + v.session)
		time.Sleep(10 * time.Millisecond)
		second.leave()
		v.leave()
		time.Sleep(10 * time.Millisecond)

		wantLines(t, "one session", j.said(t, v.session), []string{
			`join {"how":"opened","interval_ms":10000}`,
			`beat 1`,
			`beat 2 {"interval_ms":20000}`,
			`beat`,
			`event 3 {"ms": 812}`,
			`event`,
			`join {"how":"chose","interval_ms":20000}`,
			`beat 5`,
			`leave {"how":"ended","acked":5,"events":6}`,
			`beat 6`,
			`join {"how":"resumed","interval_ms":10000}`,
			`leave {"how":"closed","acked":6,"events":7}`,
		})
		key := grandstand.NewEventKey(rg.g.cfg.Secret, "final")
		all := j.events(t, v.session)
		for i, e := range all {
			segs, err := grandstand.DecodeSegments(e.Segments)
			team := "KC"
			if i >= 6 {
				team = "SF"
			}
			if err != nil || !slices.Contains(segs, grandstand.Segment{Dim: "team", Value: team}) ||
				!slices.Contains(segs, grandstand.Segment{Dim: "country", Value: "US"}) || len(segs) != 3 {
				t.Errorf("event %d: segments %v %v", i, segs, err)
			}
			if string(e.Event) != "final" || e.Viewer != key.Viewer("v1") || e.Device != key.Device("d1") || e.Account != key.Account("a1") {
				t.Errorf("event %d: %+v", i, e)
			}
			if e.ReceivedAt < start || e.ReceivedAt > time.Now().UnixMilli() {
				t.Errorf("event %d: received %d", i, e.ReceivedAt)
			}
		}
		b, e := all[1], all[4]
		if b.State != grandstand.StatePlaying || !b.HasPos || b.Pos != 12.5 || !b.HasBitrate || b.Bitrate != 4500 || len(b.Name) > 0 {
			t.Errorf("the first beat is %+v", b)
		}
		if b := all[3]; b.State != grandstand.StatePaused || b.HasPos || b.HasBitrate || b.HasSeq {
			t.Errorf("the third beat is %+v", b)
		}
		if string(e.Name) != "startup" || e.ClientAt != 1795299042179 || e.HasPos || e.State != 0 {
			t.Errorf("the event is %+v", e)
		}
	})
}

// chooseTeam is the event of the tests, whose viewers may choose their team.
func chooseTeam(t *testing.T) *grandstand.Event {
	e := &grandstand.Event{Name: "final", State: grandstand.EventLive, UpdatedAt: time.Now().UnixMilli(), Dims: grandstand.DefaultDims()}
	for i := range e.Dims {
		e.Dims[i].Choose = e.Dims[i].Name == "team"
	}
	if err := e.Normalize(); err != nil {
		t.Fatal(err)
	}
	return e
}

// The other ends of a session.
func TestTheJournalSaysHowSessionsEnd(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		lapsing := rg.watch("viewer=v1")
		lapsing.cut()
		time.Sleep(40 * time.Second)
		wantLines(t, "one that is silent", j.said(t, lapsing.session), []string{
			`join {"how":"opened","interval_ms":10000}`, `leave {"how":"lapsed","events":0}`})
		ending := rg.watch("viewer=v2")
		ending.beat()
		time.Sleep(time.Second)
		if code, body, _ := rg.do("DELETE", "/v1/events/final", ""); code != 200 {
			t.Fatal(code, body)
		}
		ending.wantClose(4504, time.Second)
		time.Sleep(10 * time.Second)
		wantLines(t, "one of an event that is over", j.said(t, ending.session), []string{
			`join {"how":"opened","interval_ms":10000}`, `beat 1`, `leave {"how":"event_ended","acked":1,"events":1}`})
		left, err := rg.try("semi", "viewer=v3", nil)
		if err != nil {
			t.Fatal(err)
		}
		rg.stop()
		wantLines(t, "one that is here at the end", j.said(t, left.session), []string{
			`join {"how":"opened","interval_ms":10000}`, `leave {"how":"moved","events":0}`})
	})
}

// A session that moves leaves the one and joins the other; what it sends
// through its old socket is kept where it came to.
func TestTheJournalsOfASessionThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, onA, onB := newFakeRedis(), &fakeJournal{}, &fakeJournal{}
		time.Sleep(337 * time.Millisecond)
		a := newRig(t, withJournal(onA, rigConfig{redis: redis, set: func(c *Config) { c.ID = "a" }}))
		b := newRig(t, withJournal(onB, rigConfig{redis: redis, set: func(c *Config) { c.ID = "b" }}))
		onA.committed, onB.committed = a.g.Committed, b.g.Committed
		time.Sleep(10 * time.Millisecond)
		v := a.watch("viewer=v1&device=d1&team=KC")
		v.beat()
		ticked()
		w := b.watch("viewer=v1&device=d1&session=" + v.session)
		ticked()
		ticked()
		v.send(`{"t":"beat","seq":2,"state":"playing"}`)
		w.send(`{"t":"beat","seq":3,"state":"playing"}`)
		if n := w.next("ack")["seq"]; n != 3.0 {
			t.Errorf("the new socket is told %v", n) // not 1 or 2, which it did not carry
		}
		time.Sleep(time.Second)
		v.leave() // it goes on elsewhere: that ends nothing
		time.Sleep(time.Second)
		wantLines(t, "the old gateway", onA.said(t, v.session), []string{
			`join {"how":"opened","interval_ms":10000}`, `beat 1`, `leave {"how":"moved","acked":1,"events":1}`, `beat 2`})
		wantLines(t, "the new gateway", onB.said(t, v.session), []string{
			`join {"how":"resumed","interval_ms":10000}`,
			`join {"how":"chose","interval_ms":10000}`, // it has the audience that it had
			`beat 3`})
		segs, _ := grandstand.DecodeSegments(onB.events(t, v.session)[2].Segments)
		if !slices.Contains(segs, grandstand.Segment{Dim: "team", Value: "KC"}) {
			t.Errorf("after the move: %v", segs)
		}
		a.stop()
		b.stop()
	})
}
