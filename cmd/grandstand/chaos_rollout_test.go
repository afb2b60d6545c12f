//go:build chaos

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

const rolloutGateways = 5

// rolloutViewers is how many watch a rollout, in two crowds: a process has some
// 20,000 sockets.
func rolloutViewers(t *testing.T) int { return setting(t, "VIEWERS", 20_000, strconv.Atoi) }

// openRollout starts a deployment at the size of a match, on a good network.
func openRollout(t *testing.T) *stand {
	redis := redistest.StartServer(t).URL()
	s := &stand{t: t, bucket: "file:" + archiveOf(t), violations: map[string]float64{}}
	all := []string{"--redis", redis, "--archive", s.bucket}
	for i := range 2 {
		s.aggregators = append(s.aggregators, newUnit(t, "aggregator", i+1, append(all, "--min-cohort", "0")...))
	}
	for i := range rolloutGateways {
		s.gateways = append(s.gateways, newUnit(t, "gateway", i+1, append(all, "--drain-over", "8s",
			"--journal", filepath.Join(t.TempDir(), "journal"), "--peer", freeAddr(t))...))
	}
	s.blocker = newUnit(t, "blocker", 1, all...)
	s.archiver = newUnit(t, "archiver", 1, all...)
	return s
}

// At the size of a match: every gateway is deployed anew, one in five is killed,
// and all are killed at once, so that everybody comes back in a moment.
func TestChaosRollout(t *testing.T) {
	s := openRollout(t)
	gateways := s.gateways
	each := rolloutViewers(t) / 2
	events := []string{"final", "semi"}
	files, acked := map[string]string{}, map[string]string{}
	var crowds []*process
	const crowdTime = 5 * time.Minute
	for i, event := range events {
		putEvent(t, gateways[0].url, event, `{"tick_ms":2000,"beat_ms":10000}`)
		args := []string{"--event", event, "--viewers", strconv.Itoa(each), "--join-rate", "250", "--duration", crowdTime.String(), "--seed", strconv.Itoa(i + 1),
			"--profile", "flat", "--churn", "0.02", "--moves", "0", "--silent", "0.1", "--window", "1s"}
		for _, g := range gateways {
			args = append(args, "--target", g.url)
		}
		acked[event] = filepath.Join(t.TempDir(), "acked")
		crowd, file := startCrowd(t, "crowd of "+event, append(args, "--acked", acked[event])...)
		crowds, files[event] = append(crowds, crowd), file
	}
	families, part := gatherFamilies(s)
	w := watchWorlds(t, gateways, events)
	eventually(t, 2*time.Minute, "both crowds are there", func() error {
		for _, e := range events {
			if c, err := getCounts(gateways[0].url, e); err != nil {
				return err
			} else if int(c.World.Sessions) < each {
				return errNotYet
			}
		}
		return nil
	})

	var list []struck
	strike := func(name string, after time.Duration, act func()) {
		now := struck{fault: fault{name: name}, from: time.Now()}
		t.Logf("%s: %s", now.from.Format("15:04:05"), name)
		s.scrape() // of processes that may be killed
		act()
		now.to = time.Now()
		list = append(list, now)
		<-time.After(after)
	}
	strike("a rolling deploy of all gateways", calm, func() {
		for _, g := range gateways {
			s.scrape()
			g.drain()
			g.start()
			g.now.ready(g.addr)
		}
	})
	strike("one gateway in five: kill -9, restart", 30*time.Second, func() {
		gateways[0].kill()
		gateways[0].start()
	})
	strike(fmt.Sprintf("all gateways: kill -9, restart; %d viewers come back at once", 2*each), calm+5*time.Second, func() {
		for _, g := range gateways {
			g.kill()
		}
		for _, g := range gateways {
			g.start()
		}
	})
	for i, crowd := range crowds {
		if code := crowd.wait(crowdTime + 2*time.Minute); code != 0 && code != 3 {
			t.Fatalf("the crowd of %s ended with code %d", events[i], code)
		}
	}
	w.stop()
	thirds := families.await(45 * time.Second)
	part()
	families.all.Wait()
	s.scrapeAll()
	for _, g := range gateways {
		g.drain() // it waits until its journal is archived
	}

	b, kicks, suspects := &book{t: t}, families.kicked(), map[string][]string{}
	b.note("%d viewers in two events on %d gateways", 2*each, rolloutGateways)
	for _, event := range events {
		r := readReport(t, files[event])
		b.judge(list, r, kicks)
		kicks = nil // told once
		b.note("%s: %d sessions resumed, %d were not; away for %.1f s at the median, %.1f s at p99, %.1f s at most; off the truth by at most %.3f %%",
			event, r.Reconnects, r.NotResumed, r.Away.P50, r.Away.P99, r.Away.Max, 100*r.WorldError.Max)
		for _, f := range list {
			lo, hi := w.between(event, f.from, f.to.Add(healWindow))
			b.note("%s, %s: its world showed %d to %d", event, f.name, lo, hi)
		}
		b.promise(len(r.Violated) == 0, "%s: counts never above the truth nor over 1 %% below it, sums and order hold, exact in the end", event)
		s.verify(b, event+": ", acked[event])
		suspects[event], b.suspects = b.suspects, nil
	}
	s.judgeAccounts(b, families, thirds)
	b.promiseFresh()
	b.write("rollout", "A rollout, a kill and a herd")
	for event, list := range suspects {
		s.interrogate(list, event)
	}
}

// worlds is what the gateways showed as the world of each event, over time.
type worlds struct {
	stop func()

	mu   sync.Mutex
	seen []worldSeen // guarded by mu
}

type worldSeen struct {
	event    string
	at       time.Time
	sessions uint64
}

func watchWorlds(t *testing.T, gateways []*unit, events []string) *worlds {
	w := &worlds{}
	over := make(chan struct{})
	var poller sync.WaitGroup
	poller.Go(func() {
		tick := time.NewTicker(400 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			for _, e := range events {
				if c, err := getCounts(gateways[n%len(gateways)].url, e); err == nil {
					w.mu.Lock()
					w.seen = append(w.seen, worldSeen{e, time.Now(), c.World.Sessions})
					w.mu.Unlock()
				}
			}
		}
	})
	w.stop = sync.OnceFunc(func() { close(over); poller.Wait() })
	t.Cleanup(w.stop)
	return w
}

// between returns the least and the most that was shown of an event in a span.
func (w *worlds) between(event string, from, to time.Time) (lo, hi uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lo = 1 << 62
	for _, s := range w.seen {
		if s.event == event && s.at.After(from) && s.at.Before(to) {
			lo, hi = min(lo, s.sessions), max(hi, s.sessions)
		}
	}
	return min(lo, hi), hi
}
