//go:build measure

package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

// A million operations of a thousand accounts, in five heats: no history without
// an order, and exactly two of each play in the end.
func TestMeasureContest(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	var gateways []*process
	for i := range 3 {
		gateways = append(gateways, startGateway(t, fmt.Sprint("gateway-", i+1), redis))
	}
	c := newContest(t, gateways, []*process{startBlocker(t, "blocker-1", redis), startBlocker(t, "blocker-2", redis)})
	const accounts, heats = 1000, 5
	c.boxes, c.sockets, c.operations = 6, 2, 1000
	violations := 0
	var fought time.Duration
	for heat := range heats {
		begin, checking := time.Now(), c.checked
		violations += c.run(heat*accounts/heats, (heat+1)*accounts/heats)
		fought += time.Since(begin) - (c.checked - checking)
	}
	n := c.asked.Load()
	t.Logf("%d operations on %d accounts, %d violations, %.0f operations a second", n, accounts, violations, float64(n)/fought.Seconds())
	if n < 1_000_000 {
		t.Errorf("only %d operations", n)
	}
}

// How long it takes until a device on another gateway knows: of a goodbye, and of
// a takeover.
func TestMeasureTakeover(t *testing.T) {
	redis := redistest.StartServer(t).URL()
	g1, g2 := startGateway(t, "gateway-1", redis), startGateway(t, "gateway-2", redis)
	var goodbyes, takeovers []time.Duration
	for i := range 200 {
		one := []string{"limit", "1"}
		account := fmt.Sprint("a", i)
		tv := play(t, g1, identity(account, "tv", "TV", one...), nil)
		phone := play(t, g2, identity(account, "phone", "Phone", one...), nil)
		winner, loser := tv, phone
		for len(phone.conflicts()) == 0 && len(tv.conflicts()) == 0 {
			<-time.After(time.Millisecond) // who of them came first
		}
		if tv.refused() {
			winner, loser = phone, tv
		}
		mark, from := winner.mark(), time.Now()
		loser.takeover(loser.conflicts()[0].TerminationCode)
		takeovers = append(takeovers, winner.blocked(mark, 5*time.Second, grandstand.BlockTakenOver).at.Sub(from))
		mark = winner.mark()
		winner.takeover(winner.conflicts()[0].TerminationCode)
		winner.unblocked(mark, 5*time.Second)
		waiting := play(t, g2, identity(account, "tablet", "Tablet", one...), nil)
		waiting.blocked(0, 5*time.Second, grandstand.BlockDeviceLimit)
		mark, from = waiting.mark(), time.Now()
		winner.leave()
		goodbyes = append(goodbyes, waiting.unblocked(mark, 5*time.Second).at.Sub(from))
		for _, d := range []*device{loser, waiting} {
			d.leave()
		}
	}
	for what, took := range map[string][]time.Duration{"takeover": takeovers, "goodbye": goodbyes} {
		slices.Sort(took)
		p50, p99 := took[len(took)/2], took[len(took)*99/100]
		t.Logf("%s → known on another gateway: p50 %v, p99 %v, max %v of %d", what, p50, p99, took[len(took)-1], len(took))
		if p99 > soon {
			t.Errorf("%s: p99 is %v, the promise is %v", what, p99, soon)
		}
	}
}

// conflicts returns the rivals of the newest refusal.
func (d *device) conflicts() []grandstand.Conflict {
	list, _ := d.heard(0)
	for _, m := range slices.Backward(list) {
		if m.T == "blocked" {
			return m.Conflicts
		}
	}
	return nil
}
