//go:build chaos

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"grandstand/archiver/miniotest"
	"grandstand/redis/redistest"
)

// unit is a process of a stand that can be killed, frozen, and started again as
// it was.
type unit struct {
	t     *testing.T
	name  string
	args  []string
	addr  string // of /readyz
	admin string // of /metrics
	url   string // http://addr

	now   *process
	since time.Time // that it runs
}

// newUnit starts a role. Its public address, if it has one, and its admin address
// stay the same over all its lives.
func newUnit(t *testing.T, role string, n int, args ...string) *unit {
	t.Helper()
	p := &unit{t: t, name: fmt.Sprint(role, "-", n), admin: freeAddr(t)}
	p.addr = p.admin
	p.args = append([]string{role, "--admin", p.admin}, args...)
	if role != "web" {
		p.args = append(p.args, "--secret", testSecret)
	}
	if role == "gateway" || role == "blocker" || role == "web" {
		p.addr = freeAddr(t)
		p.args = append(p.args, "--listen", p.addr)
	}
	p.url = "http://" + p.addr
	p.start()
	p.now.ready(p.addr)
	return p
}

func (p *unit) start() {
	p.t.Helper()
	p.now, p.since = start(p.t, p.name, p.args...), time.Now()
}

func (p *unit) kill() { p.now.kill() }
func (p *unit) stop() { p.t.Helper(); p.now.signal(syscall.SIGSTOP) }
func (p *unit) cont() { p.t.Helper(); p.now.signal(syscall.SIGCONT) }

// drain ends the process as a deploy does.
func (p *unit) drain() {
	p.t.Helper()
	p.now.signal(syscall.SIGTERM)
	if code := p.now.wait(90 * time.Second); code != 0 {
		p.t.Errorf("%s ended with code %d", p.name, code)
	}
}

// stand is a deployment of real processes with a bad network between them:
//
//	players ──player──▶ gateways ──redis──▶ Redis ◀──redis── aggregators, blocker, archiver
//	                      │ ▲ └──peer──▶ gateways
//	                      │ └─────────────peer── archiver ──store──▶ MinIO
//	devices ──device──▶ blocker    gateways, aggregators ──others' store──▶ MinIO
//	visitors ──▶ web ──counts──▶ the first gateway
//
// The links of the gateways are by gateway.
type stand struct {
	t           *testing.T
	redis       *redistest.Server
	spare       *redistest.Server // takes the place of redis in a failover
	minio       *miniotest.Server
	bucket      string
	disk        string // that the last gateway's journal is on; small
	gateways    []*unit
	aggregators []*unit
	blocker     *unit
	archiver    *unit
	web         *unit // nil: there is none

	player, gatewayRedis, peer []*link
	aggregatorRedis            []*link
	blockerRedis, device       *link // device may be nil
	archiverRedis              *link
	store, othersStore         *link
	badges                     *link

	clock string // file of how far ahead the clock of Redis is
	saved struct {
		of *redistest.Server
		at time.Time
	}

	mu         sync.Mutex
	violations map[string]float64 // invariants broken, by life of a process
}

const (
	standGateways = 3
	journalDisk   = 24 << 20 // bytes
)

// openStand starts everything.
func openStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{t: t, violations: map[string]float64{}}
	s.clock = skewClock(t)
	s.redis, s.spare = redistest.StartServer(t), redistest.StartServer(t)
	s.minio = miniotest.Start(t)
	s.bucket = s.minio.Bucket("events")
	s.store, s.othersStore = newLink(t, s.endpoint()), newLink(t, s.endpoint())
	others := s.through(s.othersStore)
	s.disk = smallDisk(t, journalDisk)

	for i := range 2 {
		l := newLink(t, s.redis.Addr())
		s.aggregatorRedis = append(s.aggregatorRedis, l)
		s.aggregators = append(s.aggregators, newUnit(t, "aggregator", i+1, "--min-cohort", "0", "--redis", "redis://"+l.addr, "--archive", others))
	}
	s.blockerRedis = newLink(t, s.redis.Addr())
	for i := range standGateways {
		journal := filepath.Join(t.TempDir(), "journal")
		if i == standGateways-1 {
			journal = filepath.Join(s.disk, "journal")
		}
		peer, redis := freeAddr(t), newLink(t, s.redis.Addr())
		s.gatewayRedis, s.peer = append(s.gatewayRedis, redis), append(s.peer, newLink(t, peer))
		g := newUnit(t, "gateway", i+1, "--redis", "redis://"+redis.addr, "--archive", others, "--fanout", "3", "--drain-over", "3s",
			"--journal", journal, "--journal-age", "2s", "--seal-over", "20s", "--peer", peer, "--peer-as", s.peer[i].addr)
		s.gateways, s.player = append(s.gateways, g), append(s.player, newLink(t, g.addr))
	}
	blockerRedis := "redis://" + s.blockerRedis.addr
	s.blocker = newUnit(t, "blocker", 1, "--redis", blockerRedis, "--archive", others)
	s.device = newLink(t, s.blocker.addr)
	s.archiverRedis = newLink(t, s.redis.Addr())
	s.archiver = newUnit(t, "archiver", 1, "--redis", "redis://"+s.archiverRedis.addr, "--archive", s.through(s.store))
	s.badges = newLink(t, s.gateways[0].addr)
	s.web = newUnit(t, "web", 1, "--gateway", "http://"+s.badges.addr)
	putEvent(t, s.gateways[0].url, "final", fast)
	return s
}

// through returns the address of the bucket behind a link.
func (s *stand) through(l *link) string {
	return strings.Replace(s.bucket, url.QueryEscape(s.endpoint()), url.QueryEscape(l.addr), 1)
}

// blockerURL returns where devices find the blocker.
func (s *stand) blockerURL() string {
	if s.device != nil {
		return "http://" + s.device.addr
	}
	return s.blocker.url
}

// endpoint returns host:port of MinIO.
func (s *stand) endpoint() string {
	u, err := url.Parse(s.bucket)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimPrefix(u.Query().Get("endpoint"), "http://")
}

// relay returns which gateway the others read boards from: the oldest.
func (s *stand) relay() (oldest int) {
	for i, g := range s.gateways {
		if g.since.Before(s.gateways[oldest].since) {
			oldest = i
		}
	}
	return oldest
}

// leaf returns a gateway that is not the relay.
func (s *stand) leaf() int { return (s.relay() + 1) % len(s.gateways) }

// atWork returns which aggregator publishes boards: all events of the stand are
// in shards of one.
func (s *stand) atWork() int {
	published := func(i int) float64 {
		return scrape(s.t, s.aggregators[i].admin)("grandstand_aggregator_published_total")
	}
	first, second := published(0), published(1)
	for range 120 {
		<-time.After(500 * time.Millisecond)
		grown := published(0) - first - (published(1) - second)
		if grown > 0 {
			return 0
		} else if grown < 0 {
			return 1
		}
	}
	s.t.Fatal("no aggregator has published for a minute")
	return 0
}

// redisLinks are all links to Redis.
func (s *stand) redisLinks() []*link {
	return append(append(append([]*link{}, s.gatewayRedis...), s.aggregatorRedis...), s.blockerRedis, s.archiverRedis)
}

// parts are all processes that are ours.
func (s *stand) parts() []*unit {
	all := append(append(append([]*unit{}, s.gateways...), s.aggregators...), s.blocker, s.archiver)
	if s.web != nil {
		all = append(all, s.web)
	}
	return all
}

// scrape takes note of the invariants that the parts have counted as broken, and
// returns how many that makes. What has been killed is remembered.
func (s *stand) scrape() (sum float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client := http.Client{Timeout: 500 * time.Millisecond}
	for _, p := range s.parts() {
		life := p.name + " " + strconv.Itoa(p.now.cmd.Process.Pid)
		for name, n := range brokenInvariants(&client, p.admin) {
			s.violations[life+" "+name] = n
		}
	}
	for _, n := range s.violations {
		sum += n
	}
	return sum
}

// scrapeAll is scrape when every part is there: each of them has to answer, but for
// the role web, which counts nothing.
func (s *stand) scrapeAll() {
	s.t.Helper()
	for _, p := range s.parts() {
		if p == s.web {
			continue
		}
		eventually(s.t, 10*time.Second, p.name+" tells its invariants", func() error {
			if len(brokenInvariants(http.DefaultClient, p.admin)) == 0 {
				return errNotYet
			}
			return nil
		})
	}
	s.scrape()
}

// skewClock has redis-server, started from now on, look at a file for how far
// ahead its wall clock is. Our own processes follow its TIME. They read their own
// wall clock too, for what tokens say: exp, nbf, iat and revocations.
func skewClock(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	library, file := filepath.Join(dir, "skew.so"), filepath.Join(dir, "skew")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/skew.c").CombinedOutput(); err != nil {
		t.Fatalf("compile skew.c: %v\n%s", err, out)
	}
	if err := os.WriteFile(file, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nPATH=%q\nSKEW_FILE=%q LD_PRELOAD=%q exec redis-server \"$@\"\n", os.Getenv("PATH"), file, library)
	if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return file
}

// setClock has the clock of Redis be so far ahead.
func (s *stand) setClock(ahead time.Duration) {
	f, err := os.OpenFile(s.clock, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0)
		f.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// smallDisk mounts a small file system.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Fatalf("mount a small disk: %v (run as root)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk leaves no room on the small disk.
func (s *stand) fillDisk() {
	f, err := os.Create(filepath.Join(s.disk, "rubbish"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2] // what is left is smaller
		}
	}
}

func (s *stand) clearDisk() {
	if err := os.Remove(filepath.Join(s.disk, "rubbish")); err != nil {
		s.t.Error(err)
	}
}

// failover lets the spare Redis follow for a moment, then no more; a while later
// the one at work dies and the spare takes its place, without what was written
// in between.
func (s *stand) failover(missing time.Duration) {
	host, port, _ := strings.Cut(s.redis.Addr(), ":")
	s.spare.Do("REPLICAOF", host, port)
	eventually(s.t, 10*time.Second, "the replica is in step", func() error {
		if !strings.Contains(s.spare.Do("INFO", "replication"), "master_link_status:up") {
			return errNotYet
		}
		return nil
	})
	s.spare.Do("REPLICAOF", "NO", "ONE")
	<-time.After(missing)
	s.redis.Kill()
	for _, l := range s.redisLinks() {
		l.lead(s.spare.Addr())
	}
	s.redis, s.spare = s.spare, s.redis
	s.spare.Restart()
}

// snapshotAfter is how old a snapshot is at least before another is taken.
const snapshotAfter = time.Minute

// keepSnapshot has Redis save its data, to come back with it later.
func (s *stand) keepSnapshot() {
	if s.saved.of == s.redis && time.Since(s.saved.at) < snapshotAfter {
		return
	}
	s.redis.Save()
	s.saved.of, s.saved.at = s.redis, time.Now()
}

// rewind starts Redis with its snapshot.
func (s *stand) rewind() {
	s.redis.Rewind()
	s.t.Logf("the snapshot is %v old", time.Since(s.saved.at).Round(time.Second))
	s.saved.of = nil
}

// brokenInvariants reads the counters of broken invariants of one process: none
// if it does not answer.
func brokenInvariants(client *http.Client, admin string) map[string]float64 {
	resp, err := client.Get("http://" + admin + "/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	found := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, ours := strings.CutPrefix(lines.Text(), "grandstand_invariant_violations_total{")
		if name, value, ok := strings.Cut(series, "} "); ours && ok {
			found[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return found
}

// lead has the link lead to another address from now on.
func (l *link) lead(to string) {
	l.t.Helper()
	l.p.Stop()
	l.p.Upstream = to
	l.mend()
}
