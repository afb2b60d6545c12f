//go:build measure

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// A gateway is killed two hundred times while players send: nothing that they
// were acknowledged is lost.
func TestMeasureKilledGateways(t *testing.T) {
	const kills, players = 200, 60
	redis := redistest.StartServer(t).URL()
	archive, journals := "file:"+archiveOf(t), t.TempDir()
	gateway := func(n int) *process {
		return startGateway(t, fmt.Sprint("gateway-", n), redis, "--archive", archive, "--journal", filepath.Join(journals, fmt.Sprint(n)),
			"--journal-age", "1s", "--peer", freeAddr(t), "--drain-over", "1s", "--seal-over", "60s")
	}
	archiving := start(t, "archiver", "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", archive)
	var now [2]atomic.Pointer[process]
	for n := range now {
		now[n].Store(gateway(n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var total atomic.Int64
	list := make([]*sender, players)
	var wg sync.WaitGroup
	for i := range list {
		list[i] = &sender{name: fmt.Sprint("viewer-", i), targets: []*atomic.Pointer[process]{&now[0], &now[1]}, last: 1 << 40, every: 110 * time.Millisecond, all: &total}
		wg.Go(func() { _ = list[i].run(ctx, i) }) // until it is told to stop
	}
	began := time.Now()
	for i := range kills {
		n := i % 2
		<-time.After(time.Duration(rand.IntN(400)) * time.Millisecond) // at any moment
		now[n].Load().kill()
		now[n].Store(gateway(n))
	}
	took := time.Since(began)
	cancel()
	wg.Wait()
	for n := range now {
		now[n].Load().signal(syscall.SIGTERM)
	}
	for n := range now {
		if code := now[n].Load().wait(90 * time.Second); code != 0 {
			t.Errorf("gateway %d ended with code %d", n, code)
		}
	}
	archiving.signal(syscall.SIGTERM)
	archiving.wait(30 * time.Second)
	r := verifyArchive(t, archive, "", list)
	e := r.Events["final"]
	t.Logf("%d kills in %.0f s: %d numbers of %d sessions acknowledged, %d archived, 0 lost, %d in closed hours twice", kills, took.Seconds(), total.Load(), e.Sessions, e.Numbered, e.Doubled)
}

// An event can be queried within 75 s of when it happened, and within 5 s if
// files of the journal are sealed every 2 s, with two thousand viewers beside it.
func TestMeasureFreshnessOfTheArchive(t *testing.T) {
	for _, c := range []struct {
		age  string
		over time.Duration
		want time.Duration
	}{{"2s", 30 * time.Second, 5 * time.Second}, {"1m", 3 * time.Minute, 75 * time.Second}} {
		t.Run(c.age, func(t *testing.T) {
			f := newFreshness(t, c.age)
			start(t, "crowd", "simulate", "--target", f.gateway.url, "--event", "crowd", "--viewers", "2000", "--profile", "flat", "--duration", "5m", "--shared")
			f.measure(c.over, c.want)
		})
	}
}
