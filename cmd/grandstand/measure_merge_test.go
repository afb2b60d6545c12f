//go:build measure

package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"grandstand"
	"grandstand/redis"
	"grandstand/redis/redistest"
)

// meter takes what the servers of Redis and some processes have done so far.
type meter struct {
	t         *testing.T
	servers   []*redistest.Server
	processes map[string]*process
	admins    []string
}

type reading struct {
	at       time.Time
	calls    []map[string]float64 // of commands, by server and name, also those that scripts make
	byServer []float64            // the same, of all names
	in, out  float64              // bytes that the servers read and wrote
	keys     []float64            // by server
	memory   float64              // bytes
	cpu      map[string]float64   // seconds, by process
	sent     map[string]float64   // commands by call, as clients count them
	beats    float64
}

func (m *meter) read() *reading {
	r := &reading{at: time.Now(), cpu: map[string]float64{}, sent: map[string]float64{}}
	for _, s := range m.servers {
		all, byName := 0.0, map[string]float64{}
		for line := range strings.Lines(s.Do("INFO", "everything")) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			n, _ := strconv.ParseFloat(value, 64)
			switch {
			case strings.HasPrefix(name, "cmdstat_"):
				calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
				n, _ := strconv.ParseFloat(calls, 64)
				byName[strings.TrimPrefix(name, "cmdstat_")] = n
				all += n
			case name == "total_net_input_bytes":
				r.in += n
			case name == "total_net_output_bytes":
				r.out += n
			case name == "used_memory":
				r.memory += n
			}
		}
		r.byServer, r.calls = append(r.byServer, all), append(r.calls, byName)
		n, _ := strconv.ParseFloat(s.Do("DBSIZE"), 64)
		r.keys = append(r.keys, n)
	}
	for name, p := range m.processes {
		r.cpu[name] = cpuSecondsOf(m.t, p.cmd.Process.Pid)
	}
	for _, admin := range m.admins {
		m.scrape(admin, r)
	}
	return r
}

// scrape adds what a process counts.
func (m *meter) scrape(admin string, r *reading) {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.ParseFloat(value, 64)
		if labels, ok := strings.CutPrefix(name, "grandstand_redis_commands_total{"); ok {
			_, op, _ := strings.Cut(labels, `op="`)
			op, _, _ = strings.Cut(op, `"`)
			r.sent[op] += n
		}
		if name == `grandstand_gateway_messages_total{type="beat"}` {
			r.beats += n
		}
	}
}

// cpuSecondsOf returns what a process has used (proc_pid_stat(5): fields 14 and
// 15, in ticks of 10 ms).
func cpuSecondsOf(t *testing.T, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// spent is the difference of two readings, per second.
type spent struct {
	seconds, beats, calls, sent, in, out float64
	cpu                                  map[string]float64
}

func between(t *testing.T, a, b *reading) spent {
	s := spent{seconds: b.at.Sub(a.at).Seconds(), cpu: map[string]float64{}}
	for name := range b.sent {
		s.sent += (b.sent[name] - a.sent[name]) / s.seconds
	}
	t.Logf("sent a second: %s", perSecond(a.sent, b.sent, s.seconds))
	for i := range b.calls {
		s.calls += (b.byServer[i] - a.byServer[i]) / s.seconds
		t.Logf("carried out a second, also in scripts: %s", perSecond(a.calls[i], b.calls[i], s.seconds))
	}
	s.beats, s.in, s.out = (b.beats-a.beats)/s.seconds, (b.in-a.in)/s.seconds, (b.out-a.out)/s.seconds
	for _, name := range slices.Sorted(maps.Keys(b.cpu)) {
		s.cpu[name] = (b.cpu[name] - a.cpu[name]) / s.seconds
		t.Logf("%s: %.3f of a core", name, s.cpu[name])
	}
	return s
}

// perSecond lists what grew, by name.
func perSecond(a, b map[string]float64, seconds float64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if n := b[name] - a[name]; n > 0 {
			list = append(list, fmt.Sprintf("%s %.1f", name, n/seconds))
		}
	}
	return strings.Join(list, ", ")
}

// What 5,000 viewers on two gateways cost Redis once they are there, with churn
// and moves.
func TestMeasureRedisPerViewer(t *testing.T) {
	server := redistest.StartServer(t)
	empty, _ := strconv.ParseFloat(infoField(server.Do("INFO", "memory"), "used_memory"), 64)
	m := &meter{t: t, servers: []*redistest.Server{server}, processes: map[string]*process{}}
	admin := func() string {
		m.admins = append(m.admins, freeAddr(t))
		return m.admins[len(m.admins)-1]
	}
	g1 := startGateway(t, "gateway-1", server.URL(), "--admin", admin())
	g2 := startGateway(t, "gateway-2", server.URL(), "--admin", admin())
	a := start(t, "aggregator", "aggregator", "--admin", admin(), "--min-cohort", "0", "--redis", server.URL(), "--secret", testSecret,
		"--archive", "file:"+archiveOf(t)).ready(m.admins[2])
	m.processes["gateway-1"], m.processes["gateway-2"], m.processes["aggregator"] = g1, g2, a
	start(t, "crowd", "simulate", "--target", g1.url, "--target", g2.url, "--event", "final", "--viewers", "5000",
		"--duration", "10m", "--profile", "flat", "--moves", "0.05")
	eventually(t, 60*time.Second, "the crowd is there", func() error {
		c, err := getCounts(g1.url, "final")
		if err == nil && c.World.Sessions < 4900 {
			err = errNotYet
		}
		return err
	})
	<-time.After(15 * time.Second)
	before := m.read()
	<-time.After(65 * time.Second) // more than the time between two records of a session
	after := m.read()
	s := between(t, before, after)
	t.Logf("%.0f beats/s; Redis: %.1f commands/s sent (%.3f a beat), %.1f carried out, also in scripts (%.3f a beat)",
		s.beats, s.sent, s.sent/s.beats, s.calls, s.calls/s.beats)
	t.Logf("Redis: %.0f bytes/s in, %.0f out; %.0f keys; %.0f bytes of memory, %.0f kB for 1,000 viewers",
		s.in, s.out, after.keys[0], after.memory, (after.memory-empty)/5/1024)
	if s.sent/s.beats > 0.25 {
		t.Errorf("%.3f commands a beat, the aim is 0.25", s.sent/s.beats)
	}
}

// infoField returns a line's value in INFO.
func infoField(info, name string) string {
	_, rest, _ := strings.Cut("\n"+info, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}

// crowdedRedis has members that are gateways write the tallies of 10,000 events,
// at every tick of two seconds, until the test ends. changing is the share of the
// events whose viewers are others than at the tick before.
type crowdedRedis struct {
	t        *testing.T
	client   *redis.Client
	gateways []string
	events   []*grandstand.Event
	shards   []map[int]*grandstand.ShardTally // by gateway
	changing float64
	viewers  int // of an event on a gateway
	round    int

	rehearsed [][]map[int]*grandstand.ShardTally // by round; none: each tick counts anew
}

func newCrowdedRedis(t *testing.T, url string, events, gateways, viewers int) *crowdedRedis {
	client, err := redis.Open(t.Context(), redis.Config{Address: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c := &crowdedRedis{t: t, client: client, viewers: viewers}
	for g := range gateways {
		c.gateways = append(c.gateways, fmt.Sprint("gateway-", g))
		c.shards = append(c.shards, map[int]*grandstand.ShardTally{})
	}
	for i := range events {
		e := &grandstand.Event{Name: fmt.Sprintf("event-%05d", i), Dims: []grandstand.Dimension{{Name: "country"}, {Name: "region"}, {Name: "team"}}}
		if err := e.Normalize(); err != nil {
			t.Fatal(err)
		}
		if err := client.PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		c.events = append(c.events, e)
	}
	return c
}

// tally is of viewers of whom one left and another came in each round.
func (c *crowdedRedis) tally(e *grandstand.Event, salt uint64) grandstand.Tally {
	auds := grandstand.NewAudiences(e)
	t := grandstand.NewTallier()
	t.Reset(1)
	for seat := range c.viewers {
		r := rand.New(rand.NewPCG(salt, uint64(seat)<<32|uint64((c.round+seat)/c.viewers)))
		t.Add(auds.Intern([]string{fmt.Sprint("c", r.IntN(2)), fmt.Sprint("r", r.IntN(4)), fmt.Sprint("t", r.IntN(2))}), r.Uint64())
	}
	return *t.Build(e, auds.Segments(), nil)
}

// count changes the tallies of a share of the events, and returns which shards of
// each gateway that are.
func (c *crowdedRedis) count() []map[int]bool {
	c.round++
	dirty := make([]map[int]bool, len(c.gateways))
	for g, id := range c.gateways {
		dirty[g] = map[int]bool{}
		for i, e := range c.events {
			if c.round > 1 && rand.Float64() >= c.changing {
				continue
			}
			s := grandstand.ShardOf(e.Name)
			if dirty[g][s] = true; c.shards[g][s] == nil {
				c.shards[g][s] = &grandstand.ShardTally{Gateway: id, Shard: s}
			}
			t := c.shards[g][s]
			tally := c.tally(e, uint64(g)<<32|uint64(i))
			k, found := slices.BinarySearchFunc(t.Events, e.Name, func(t grandstand.Tally, name string) int { return strings.Compare(t.Event, name) })
			if found {
				t.Events[k] = tally
			} else {
				t.Events = slices.Insert(t.Events, k, tally)
			}
		}
	}
	return dirty
}

// rehearse counts some rounds in which everything changes, which the ticks from
// now on repeat: to count them takes longer than a tick.
func (c *crowdedRedis) rehearse(rounds int) {
	c.changing = 1
	for range rounds {
		c.count()
		var round []map[int]*grandstand.ShardTally
		for _, shards := range c.shards {
			own := map[int]*grandstand.ShardTally{}
			for s, t := range shards {
				copied := *t
				copied.Events = slices.Clone(t.Events)
				own[s] = &copied
			}
			round = append(round, own)
		}
		c.rehearsed = append(c.rehearsed, round)
	}
}

// tick writes what one tick says.
func (c *crowdedRedis) tick() {
	shards, dirty := c.shards, []map[int]bool(nil)
	if n := len(c.rehearsed); n > 0 {
		c.round++
		shards = c.rehearsed[c.round%n]
	} else {
		dirty = c.count()
	}
	now := c.client.Now()
	for g, id := range c.gateways {
		m := &grandstand.Manifest{Gateway: id, At: now}
		var write []*grandstand.ShardTally
		for s, t := range shards[g] {
			if dirty == nil || dirty[g][s] {
				t.At = now
				write = append(write, t)
			}
			m.Shards = append(m.Shards, grandstand.ShardRef{Shard: s, At: t.At})
		}
		if err := c.client.WriteTallies(c.t.Context(), write, m); err != nil {
			c.t.Error(err)
		}
		if _, err := c.client.Renew(c.t.Context(), grandstand.Member{ID: id, Role: grandstand.RoleGateway}); err != nil {
			c.t.Error(err)
		}
	}
}

// run ticks for so long, a little before each phase of the aggregator.
func (c *crowdedRedis) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); c.tick() {
		<-time.After(time.Duration(2000-c.client.Now()%2000) * time.Millisecond)
	}
}

// What 10,000 events of 20 viewers cost an aggregator and Redis, by the share of
// them that change at a tick.
func TestMeasureManyEvents(t *testing.T) {
	server := redistest.StartServer(t)
	m := &meter{t: t, servers: []*redistest.Server{server}, processes: map[string]*process{}, admins: []string{freeAddr(t)}}
	const gateways = 2
	c := newCrowdedRedis(t, server.URL(), 10_000, gateways, 10)
	c.changing = 0
	c.tick()
	m.processes["aggregator"] = start(t, "aggregator", "aggregator", "--admin", m.admins[0], "--min-cohort", "0",
		"--redis", server.URL(), "--secret", testSecret, "--archive", "file:"+archiveOf(t)).ready(m.admins[0])
	c.run(20 * time.Second) // until what is remembered of 10,000 events was looked for
	for _, changing := range []float64{0, 0.01, 1} {
		if c.changing = changing; changing == 1 {
			c.rehearse(6)
		}
		c.run(8 * time.Second)
		before, rounds := m.read(), c.round
		c.run(30 * time.Second)
		ticks := c.round - rounds
		s := between(t, before, m.read())
		perTick := s.sent * s.seconds / float64(ticks)
		t.Logf("%.0f %% change: %d ticks in %.0f s, aggregator %.3f of a core, %.1f commands of it a tick; %.0f kB/s in, %.0f kB/s out",
			100*changing, ticks, s.seconds, s.cpu["aggregator"], perTick, s.in/1024, s.out/1024)
		if s.cpu["aggregator"] > 0.3 {
			t.Errorf("the aggregator takes %.2f of a core, the aim is 0.3", s.cpu["aggregator"])
		}
		if limit := float64(grandstand.Shards * (gateways + 1)); perTick > limit {
			t.Errorf("the aggregator sends %.0f commands a tick, the aim is %.0f with those of the gateways", perTick, limit)
		}
	}
}

// The boards of 10,000 events with two viewers each, on two gateways: how old the
// oldest is, and how long it takes until a third viewer is on another gateway's.
func TestMeasureManyEventsAreFresh(t *testing.T) {
	const events, probes, limit = 10_000, 300, 2600 * time.Millisecond
	server := redistest.StartServer(t)
	gateways := []*process{startGateway(t, "gateway-1", server.URL()), startGateway(t, "gateway-2", server.URL())}
	m := &meter{t: t, servers: []*redistest.Server{server}, processes: map[string]*process{
		"gateway-1": gateways[0], "gateway-2": gateways[1], "aggregator": startAggregator(t, "aggregator", server.URL())}}
	name := func(i int) string { return fmt.Sprintf("event-%05d", i) }
	join := func(g *process, event, viewer string) error {
		url := fmt.Sprintf("%s/v1/events/%s/beats?viewer=%s&device=%s&team=KC", g.url, event, viewer, viewer)
		resp, err := http.Post(url, "application/json", strings.NewReader(`{"state":"playing","interval_ms":60000}`))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("beats answers %s, %v", resp.Status, err)
		}
		return nil
	}
	each := func(n int, f func(i int) error) {
		next := make(chan int)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range next {
					if err := f(i); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wg.Wait()
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 16 // ports are few
	begin := time.Now()
	each(2*events, func(i int) error { return join(gateways[i%2], name(i/2), fmt.Sprint("v", i%2)) })
	t.Logf("%d joins in %v", 2*events, time.Since(begin).Round(time.Millisecond))
	for i := range events {
		eventually(t, 60*time.Second, name(i)+" has its two viewers", func() error {
			c, err := getCounts(gateways[i%2].url, name(i))
			if err == nil && (c.World.Sessions != 2 || c.World.Fans != 2) {
				err = fmt.Errorf("%+v", c.World)
			}
			return err
		})
	}
	before := m.read()

	ages := make([]time.Duration, events)
	each(events, func(i int) error {
		c, err := getCounts(gateways[i%2].url, name(i))
		if err == nil {
			ages[i] = time.Duration(c.AgeMS) * time.Millisecond
		}
		return err
	})
	slices.Sort(ages)
	t.Logf("the age of %d boards: p50 %v, p99 %v, max %v", events, ages[events/2], ages[events*99/100], ages[events-1])

	seen := make([]time.Duration, probes)
	each(probes, func(i int) error {
		event := name(i * events / probes)
		from := time.Now()
		if err := join(gateways[0], event, "third"); err != nil {
			return err
		}
		for {
			c, err := getCounts(gateways[1].url, event)
			if err != nil {
				return err
			}
			if c.World.Sessions == 3 {
				seen[i] = time.Since(from)
				return nil
			}
			if time.Since(from) > 20*time.Second {
				return fmt.Errorf("%s never shows its third viewer", event)
			}
			<-time.After(10 * time.Millisecond) // between two looks at another process
		}
	})
	slices.Sort(seen)
	t.Logf("join → on another gateway's board: p50 %v, p99 %v, max %v of %d", seen[probes/2], seen[probes*99/100], seen[probes-1], probes)
	if oldest, slowest := ages[events-1], seen[probes*99/100]; oldest > limit || slowest > limit {
		t.Errorf("a board was %v old, a join was seen after %v; the aim is %v", oldest, slowest, limit)
	}
	s := between(t, before, m.read())
	t.Logf("Redis carried out %.0f commands a tick", 2*s.calls)
}
