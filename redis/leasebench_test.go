package redis

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis/redistest"
)

const (
	benchAccounts = 20_000
	benchDevices  = 2
	benchBatch    = 64 // asks in one call: what a gateway has to ask within a few ms
	benchCallers  = 8
	benchRate     = 10_000 // asks per second of the open loop
)

// benchAsk is the ask of a device of an account; its session is the only one.
func benchAsk(account, dev int) grandstand.Ask {
	a := asks(account, fmt.Sprint("device ", dev), fmt.Sprintf("session-%08d-%010d", account, dev))
	a.Name, a.Member = "Firefox on Windows", "gateway-1"
	a.Address = device(fmt.Sprint("network ", account))
	return a
}

// BenchmarkLeases measures decisions on one redis-server: renewals, places that
// are taken and left, and a mix as of a big event. ns/op is for one ask of
// calls of benchBatch. In the same run it says what the server can do at most
// (evalsha/s: redis-benchmark, a script that does nothing, as many in a
// pipeline) and how long an ask takes at benchRate, each in a call of its own,
// sent when it is due whatever became of those before.
func BenchmarkLeases(b *testing.B) {
	s := redistest.StartServer(b)
	c := open(b, s.URL())
	renewals := make([]grandstand.Ask, 0, benchAccounts*benchDevices)
	for i := range benchAccounts {
		for d := range benchDevices {
			renewals = append(renewals, benchAsk(i, d))
		}
	}
	rand.Shuffle(len(renewals), func(i, j int) { renewals[i], renewals[j] = renewals[j], renewals[i] })
	fill := func() {
		s.FlushAll()
		for _, a := range c.Ask(b.Context(), renewals) {
			ok(b, a.Err)
		}
	}
	plain := plainScripts(b, s)
	report := func(b *testing.B) {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		b.ReportMetric(plain, "evalsha/s")
	}

	b.Run("renew", func(b *testing.B) {
		fill()
		askAll(b, c, func(i int) grandstand.Ask { return renewals[i%len(renewals)] })
		report(b)
	})
	b.Run("acquire", func(b *testing.B) { // each account is new
		s.FlushAll()
		askAll(b, c, func(i int) grandstand.Ask { return benchAsk(i/benchDevices, i%benchDevices) })
		report(b)
	})
	b.Run("mixed", func(b *testing.B) {
		fill()
		askAll(b, c, func(i int) grandstand.Ask { return mixedAsk(renewals, i) })
		report(b)
	})
	b.Run("open_loop", func(b *testing.B) {
		fill()
		b.ResetTimer()
		took := openLoop(b, c, renewals)
		slices.Sort(took)
		at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
		b.ReportMetric(at(0.5), "p50-ms")
		b.ReportMetric(at(0.99), "p99-ms")
		b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "decisions/s")
		b.ReportMetric(plain, "evalsha/s")
	})
}

// mixedAsk is one of a big event: of twenty asks eighteen renew, one comes
// again in a new session, and one is of a third device, which is blocked.
func mixedAsk(renewals []grandstand.Ask, i int) grandstand.Ask {
	a := renewals[i%len(renewals)]
	switch i % 20 {
	case 7:
		a.Session = fmt.Sprintf("session-again-%014d", i)
	case 14:
		a.Device, a.Session = device("third"), "session-of-the-third-device"
	}
	return a
}

// askAll asks b.N times, in calls of benchBatch by benchCallers at once.
func askAll(b *testing.B, c *Client, ask func(i int) grandstand.Ask) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range benchCallers {
		wg.Go(func() {
			batch := make([]grandstand.Ask, 0, benchBatch)
			for {
				from := int(next.Add(benchBatch)) - benchBatch
				if from >= b.N {
					return
				}
				batch = batch[:0]
				for i := from; i < min(from+benchBatch, b.N); i++ {
					batch = append(batch, ask(i))
				}
				for _, a := range c.Ask(b.Context(), batch) {
					if a.Err != nil {
						b.Error(a.Err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// openLoop sends b.N renewals at benchRate and returns how long each took from
// the moment that it was due.
func openLoop(b *testing.B, c *Client, renewals []grandstand.Ask) []time.Duration {
	const step = time.Millisecond
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := 0; i < b.N; {
		due := begin.Add(time.Duration(i) * time.Second / benchRate)
		time.Sleep(time.Until(due))
		for ; i < b.N && time.Duration(i)*time.Second/benchRate < time.Since(begin)+step/10; i++ {
			n, due := i, begin.Add(time.Duration(i)*time.Second/benchRate)
			wg.Go(func() {
				if err := c.Ask(b.Context(), renewals[n%len(renewals):][:1])[0].Err; err != nil {
					b.Error(err)
				}
				took[n] = time.Since(due)
			})
		}
	}
	wg.Wait()
	return took
}

var perSecond = regexp.MustCompile(`([0-9.]+) requests per second`)

// plainScripts returns how many scripts that do nothing the server carries out
// in a second, as redis-benchmark (of Debian's redis-tools) finds.
func plainScripts(b *testing.B, s *redistest.Server) float64 {
	b.Helper()
	sha := s.Do("SCRIPT", "LOAD", "return 1")
	port := regexp.MustCompile(`:(\d+)$`).FindStringSubmatch(s.Addr())[1]
	out, err := exec.Command("redis-benchmark", "-p", port, "-q", "-n", "500000", "-c", strconv.Itoa(benchCallers),
		"-P", strconv.Itoa(benchBatch), "EVALSHA", sha, "0").CombinedOutput()
	if err != nil {
		b.Fatalf("redis-benchmark: %v: %s (install it with `apt-get install -y redis-tools`)", err, out)
	}
	found := perSecond.FindAllSubmatch(bytes.ReplaceAll(out, []byte("\r"), []byte("\n")), -1)
	if len(found) == 0 {
		b.Fatalf("redis-benchmark says nothing: %s", out)
	}
	n, err := strconv.ParseFloat(string(found[len(found)-1][1]), 64)
	ok(b, err)
	return n
}
