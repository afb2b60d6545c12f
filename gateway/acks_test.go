package gateway

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// acked returns the acks that the viewer has been sent by now.
func (v *viewer) acked() (seqs []int) {
	for {
		select {
		case m := <-v.got:
			if m["t"] == "ack" {
				seqs = append(seqs, int(m["seq"].(float64)))
			}
		default:
			return seqs
		}
	}
}

func (v *viewer) wantAcks(what string, want ...int) {
	v.t.Helper()
	synctest.Wait()
	if got := v.acked(); fmt.Sprint(got) != fmt.Sprint(want) {
		v.t.Errorf("%s: acks %v, want %v", what, got, want)
	}
}

func TestEventsAreAcknowledgedOncePerCommit(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		v := rg.watch("viewer=v1")
		other := rg.watch("viewer=v2")
		time.Sleep(100 * time.Millisecond)
		v.wantAcks("nothing was sent")
		for range 20 {
			v.beat()
		}
		v.send(`{"t":"event","seq":21,"name":"startup"}`)
		v.send(`{"t":"beat"}`)
		time.Sleep(5 * time.Millisecond)
		v.wantAcks("nothing is durable")
		time.Sleep(10 * time.Millisecond)
		v.wantAcks("all of a commit", 21)
		v.send(`{"t":"beat"}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("one without a seq")
		v.send(`{"t":"beat","seq":22}`)
		time.Sleep(20 * time.Millisecond)
		v.send(`{"t":"beat","seq":23}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("two commits", 22, 23)
		v.send(`{"t":"beat","seq":23}`)
		v.send(`{"t":"beat","seq":22}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("what was acknowledged")
		other.wantAcks("another connection")
		if n := rg.metric("acks_total", ""); n != 3 {
			t.Errorf("%v acks are counted", n)
		}
	})
}

// What the journal refuses is said to be so, is covered by no ack until it came
// again, and is a sign of life all the same.
func TestRefusedEventsAreNotAcknowledged(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		v := rg.watch("viewer=v1")
		v.send(`{"t":"beat","seq":1}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("the first", 1)
		j.set(func() { j.refuse = true })
		for seq := 2; seq < 20; seq++ {
			v.send(fmt.Sprintf(`{"t":"beat","seq":%d,"state":"playing"}`, seq))
			if m := v.next("error"); m["code"] != "unavailable" || m["seq"] != float64(seq) || m["message"] == "" {
				t.Errorf("refused with %v", m)
			}
			time.Sleep(4 * time.Second) // it would have lapsed after 25 s
		}
		v.send(`{"t":"event","name":"x","seq":20}`)
		v.next("error")
		ticked()
		if n := rg.redis.count("final", "world"); n != 1 {
			t.Errorf("%d sessions are counted", n)
		}
		j.set(func() { j.refuse = false })
		v.send(`{"t":"beat","seq":21}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("beyond what was refused")
		for seq := 20; seq >= 2; seq-- {
			v.send(fmt.Sprintf(`{"t":"beat","seq":%d}`, seq))
		}
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("all was sent again", 21)
		if n := rg.metric("unusable_messages_total", "unavailable"); n != 19 {
			t.Errorf("%v refusals are counted", n)
		}
	})
}

// Each connection of a session is told of what itself carried.
func TestTwoConnectionsOfASession(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		v := rg.watch("viewer=v1&device=d1")
		w := rg.watch("viewer=v1&device=d1&session=" + v.session)
		v.send(`{"t":"beat","seq":1}`)
		w.send(`{"t":"beat","seq":5}`)
		v.send(`{"t":"beat","seq":2}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("the first", 2)
		w.wantAcks("the second", 5)
		j.set(func() { j.refuse = true })
		v.send(`{"t":"beat","seq":6}`)
		v.next("error")
		j.set(func() { j.refuse = false })
		w.send(`{"t":"beat","seq":7}`)
		v.send(`{"t":"beat","seq":8}`)
		time.Sleep(20 * time.Millisecond)
		v.wantAcks("one was refused here", 5) // it carried nothing from 3 to 5
		w.wantAcks("it was carried by the other", 7)
	})
}

// A reader that takes nothing has one ack waiting, the newest, however many
// there were; a frame waits behind it.
func TestAcksOfASlowReader(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		rc := rg.raw("viewer=slow&team=KC&interval_ms=60000")
		if _, hello, err := rc.read(); err != nil {
			t.Fatalf("%s %v", hello, err)
		}
		send := func(seq int) {
			rc.write(frame(0x81, fmt.Appendf(nil, `{"t":"beat","seq":%d}`, seq)))
			time.Sleep(20 * time.Millisecond)
		}
		send(1) // its ack is under way: over a pipe it blocks
		for seq := 2; seq <= 40; seq++ {
			send(seq)
		}
		rg.hub.show(bigBoard(time.Now().UnixMilli(), 7))
		send(41)
		c := rg.g.roomOf("final").sockets()[0]
		c.w.mu.Lock()
		if !c.w.stalled || len(c.w.out) > 0 || c.w.acks.unsent != 42 {
			t.Errorf("%d bytes wait, and ack %d", len(c.w.out), c.w.acks.unsent)
		}
		c.w.mu.Unlock()
		for i, want := range []string{`{"t":"ack","seq":1}`, `{"t":"ack","seq":41}`, `{"t":"counts"`} {
			if _, b, err := rc.read(); err != nil || len(b) < len(want) || string(b[:len(want)]) != want {
				t.Errorf("message %d is %s %v, want %s", i, b, err, want)
			}
		}
		send(42)
		send(43)
		rg.g.hangUp(closeRestart)
		time.Sleep(10 * time.Millisecond)
		for _, want := range []string{`{"t":"ack","seq":42}`, `{"t":"ack","seq":43}`} {
			if _, b, err := rc.read(); err != nil || string(b) != want {
				t.Errorf("before the close comes %s %v, want %s", b, err, want)
			}
		}
		rc.wantClose(1012)
	})
}

// Without a seq, and without a journal, a connection has nothing to tell.
func TestConnectionsWithoutAcksHaveNone(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		v := rg.watch("viewer=v1")
		v.send(`{"t":"beat"}`)
		time.Sleep(20 * time.Millisecond)
		if c := rg.g.roomOf("final").sockets()[0]; c.w.acks != nil {
			t.Error("it has acks")
		}
	})
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		v := rg.watch("viewer=v1")
		v.beat()
		time.Sleep(time.Second)
		v.wantAcks("there is no journal")
		if c := rg.g.roomOf("final").sockets()[0]; c.w.acks != nil {
			t.Error("it has acks")
		}
		if code, _, _ := rg.do(http.MethodPost, "/v1/events/final/beats?viewer=v2", `{"state":"playing"}`); code != 200 {
			t.Errorf("REST: %d", code)
		}
	})
}

// An event that comes after one with a higher seq is waited for, though that one
// is durable.
func TestEventsOutOfOrder(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		j.set(func() { j.lag = 50 * time.Millisecond })
		time.Sleep(100 * time.Millisecond)
		v := rg.watch("viewer=v1")
		time.Sleep(100 * time.Millisecond)
		v.send(`{"t":"beat","seq":10}`)
		time.Sleep(20 * time.Millisecond) // its commit is under way
		v.send(`{"t":"beat","seq":5}`)
		time.Sleep(45 * time.Millisecond)
		v.wantAcks("the first commit", 4)
		time.Sleep(100 * time.Millisecond)
		v.wantAcks("the second", 10)
	})
}

// After a close frame there is nothing more, also no ack that waited.
func TestNoAckAfterAClose(t *testing.T) {
	inJournal(t, func(t *testing.T, rg *rig, j *fakeJournal) {
		rc := rg.raw("viewer=slow&interval_ms=60000")
		rc.read()
		for seq := range 3 {
			rc.write(frame(0x81, fmt.Appendf(nil, `{"t":"beat","seq":%d}`, seq)))
			time.Sleep(20 * time.Millisecond)
		}
		rc.write(frame(0x88, []byte{1000 >> 8, 1000 & 0xff}))
		time.Sleep(20 * time.Millisecond)
		if _, b, err := rc.read(); err != nil || string(b) != `{"t":"ack","seq":0}` {
			t.Errorf("%s %v", b, err)
		}
		rc.wantClose(1000)
	})
}

// Commits that come faster than acks are written gather, each connection once.
func TestAcksGather(t *testing.T) {
	g, err := New(Config{Secret: []byte("secret"), Clock: fakeClock{}, Sessions: newFakeRedis(), Tallies: newFakeRedis(), Registry: newFakeRedis(),
		Events: newFakeRedis(), Members: newFakeRedis(), Hub: newFakeHub(), Auth: &fakeAuth{}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := &acks{c: &conn{g: g}}, &acks{c: &conn{g: g}}
	for seq := range uint64(1000) {
		a.Durable(seq)
		if seq%10 == 5 {
			b.Durable(seq)
		}
		if seq == 0 && len(g.acker.due) != 0 {
			t.Error("a connection is due before the commit is over")
		}
		g.Committed()
	}
	if k := &g.acker; len(k.due) != 2 || k.due[0] != a || k.due[1] != b || len(k.gathered) != 0 {
		t.Errorf("%d connections are due, %d gather", len(k.due), len(k.gathered))
	}
}
