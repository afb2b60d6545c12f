//go:build chaos

package main

import (
	"fmt"
	"syscall"
	"time"
)

// fault is one thing that goes wrong, and is put right again after a while.
type fault struct {
	name   string
	lasts  time.Duration
	strike func()
	mend   func() // returns when it is put right

	// blinds says that gateways cannot tell what they count, or learn whose a
	// session is: counts may be off until they can. It is written down by how
	// much; nothing is promised but that boards say their age.
	blinds bool
	// forgets says that Redis loses data: sessions that moved around that time
	// may be counted twice for a while (DESIGN.md, "The derivation").
	forgets bool
}

// A fault lasts for long enough that all who can help themselves do so; that of
// an aggregator until another has taken its shards and published for a while.
const (
	faultLasts    = 5 * time.Second
	takeoverLasts = 14 * time.Second
	atOnce        = time.Nanosecond

	// clockJump is less than what is left of the lease of whoever plays: by the
	// clock of Redis a greater one ends them all, and whoever asks first plays.
	clockJump = 8 * time.Second
)

// catalogue returns all faults of a stand.
func (s *stand) catalogue() (list []fault) {
	list = append(list, s.linkFaults()...)
	list = append(list, s.processFaults()...)
	return append(list, s.otherFaults()...)
}

// linkFaults are five kinds of trouble on each kind of link.
func (s *stand) linkFaults() (list []fault) {
	for _, on := range []struct {
		name   string
		link   func() *link
		lasts  time.Duration
		blinds bool
	}{
		{"players – a gateway", func() *link { return s.player[s.relay()] }, faultLasts, false},
		{"the relay – Redis", func() *link { return s.gatewayRedis[s.relay()] }, faultLasts, true},
		{"a gateway – Redis", func() *link { return s.gatewayRedis[s.leaf()] }, faultLasts, true},
		{"the aggregator at work – Redis", func() *link { return s.aggregatorRedis[s.atWork()] }, takeoverLasts, false},
		{"the blocker – Redis", func() *link { return s.blockerRedis }, faultLasts, false},
		{"the archiver – Redis", func() *link { return s.archiverRedis }, faultLasts, false},
		{"gateways, archiver – the relay's peer port", func() *link { return s.peer[s.relay()] }, faultLasts, false},
		{"archiver – a gateway's peer port", func() *link { return s.peer[s.leaf()] }, faultLasts, false},
		{"archiver – MinIO", func() *link { return s.store }, faultLasts, false},
		{"gateways, aggregators, blocker – MinIO", func() *link { return s.othersStore }, faultLasts, false},
		{"devices – the blocker", func() *link { return s.device }, faultLasts, false},
		{"the web – a gateway", func() *link { return s.badges }, faultLasts, false},
	} {
		var bad *link
		toxic := func(kind, attributes string) func() {
			return func() { bad = on.link(); bad.worsen(kind, attributes) }
		}
		for _, f := range []fault{
			{name: "cut", strike: func() { bad = on.link(); bad.cut() }},
			{name: "500 ms of latency", strike: toxic("latency", `"latency":250`)},
			{name: "64 KB/s", strike: toxic("bandwidth", `"rate":64`)},
			{name: "resets", strike: toxic("reset_peer", `"timeout":100`)},
			{name: "black hole", strike: toxic("timeout", `"timeout":0`)},
		} {
			f.name, f.lasts, f.mend = on.name+": "+f.name, on.lasts, func() { bad.mend() }
			f.blinds = on.blinds
			list = append(list, f)
		}
	}
	return list
}

// processFaults kill, freeze and restart everything in turn.
func (s *stand) processFaults() (list []fault) {
	for _, role := range []struct {
		name   string
		part   func() *unit
		counts bool // while it hangs, nobody knows who comes and goes on it
	}{
		{"the relay among the gateways", func() *unit { return s.gateways[s.relay()] }, true},
		{"another gateway", func() *unit { return s.gateways[s.leaf()] }, true},
		{"the aggregator at work", func() *unit { return s.aggregators[s.atWork()] }, false},
		{"the blocker", func() *unit { return s.blocker }, false},
		{"the archiver", func() *unit { return s.archiver }, false},
		{"the web", func() *unit { return s.web }, false},
	} {
		var hit *unit
		list = append(list,
			fault{name: role.name + ": kill -9, restart", strike: func() { hit = role.part(); hit.kill() }, mend: func() { hit.start(); hit.now.ready(hit.addr) }},
			fault{name: role.name + ": SIGSTOP, SIGCONT", strike: func() { hit = role.part(); hit.stop() }, mend: func() { hit.cont() }, blinds: role.counts},
			fault{name: role.name + ": SIGTERM, restart", strike: func() { hit = role.part(); hit.drain() }, lasts: atOnce, mend: func() { hit.start(); hit.now.ready(hit.addr) }},
		)
	}
	return append(list,
		fault{name: "Redis: kill -9, restart empty", strike: func() { s.redis.Kill() }, mend: func() { s.redis.Restart() }, forgets: true},
		fault{name: "Redis: kill -9, restart with a snapshot of earlier", strike: func() { s.redis.Kill() }, mend: s.rewind, forgets: true},
		fault{name: "Redis: SIGTERM, restart with its data", strike: func() { s.redis.Shutdown() }, mend: func() { s.redis.Resume() }, blinds: true},
		fault{name: "Redis: SIGSTOP, SIGCONT", strike: func() { s.redis.Stop() }, mend: func() { s.redis.Cont() }, blinds: true},
		fault{name: "Redis: FLUSHALL", lasts: atOnce, strike: func() { s.redis.FlushAll() }, mend: func() {}, forgets: true},
		fault{name: "MinIO: kill -9, restart", strike: s.minio.Kill, mend: s.minio.Restart},
		fault{name: "MinIO: SIGTERM, restart", strike: s.minio.Shutdown, mend: s.minio.Restart},
		fault{name: "MinIO: SIGSTOP, SIGCONT", strike: s.minio.Stop, mend: s.minio.Cont},
	)
}

func (s *stand) otherFaults() []fault {
	var readers []*rawSocket
	cut := 0.0
	return []fault{
		{name: "Redis: failover, 5 s of writes missing", lasts: atOnce, strike: func() { s.failover(5 * time.Second) }, mend: func() {}, forgets: true},
		{name: "a gateway's disk: full", strike: s.fillDisk, mend: s.clearDisk},
		{name: "Redis's clock: 8 s ahead, and back", lasts: 15 * time.Second,
			strike: func() { s.setClock(clockJump) }, mend: func() { s.setClock(0) }, blinds: true},
		{name: "300 slow readers", lasts: 12 * time.Second, strike: func() { cut = s.slowReadersCut(); readers = s.slowReaders(300) }, mend: func() {
			n := 0.0
			for end := time.Now().Add(20 * time.Second); n < float64(len(readers)) && time.Now().Before(end); <-time.After(500 * time.Millisecond) {
				n = s.slowReadersCut() - cut
			}
			if n < float64(len(readers)) {
				s.t.Errorf("%d slow readers, %.0f were cut off", len(readers), n)
			}
			for _, r := range readers {
				r.Close()
			}
		}},
	}
}

// slowReadersCut returns how many sockets gateways have closed since they read too
// slowly.
func (s *stand) slowReadersCut() (sum float64) {
	for _, g := range s.gateways {
		sum += scrape(s.t, g.admin)("grandstand_gateway_closes_total", `reason="slow_reader"`)
	}
	return sum
}

// slowReaders opens sockets on all gateways that read nothing, in an event of
// their own, and beat all the time.
func (s *stand) slowReaders(n int) (list []*rawSocket) {
	for i := range n {
		g := s.gateways[i%len(s.gateways)]
		r := dialRaw(s.t, g.url, fmt.Sprintf("/v1/events/slow/live?viewer=slow%d", i), func(fd int) {
			syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2304)
			syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
		})
		r.SetWriteDeadline(time.Now().Add(10 * time.Second))
		// Each ping is answered, and nobody reads the answers.
		_, _ = r.Write(wsFrames(wsFin|wsPing, make([]byte, 125), 1900))
		list = append(list, r)
	}
	return list
}
