package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"grandstand/redis/redistest"
	"grandstand/simulator"
)

// link is a network between two processes that can be as bad as it gets:
// whoever dials addr reaches what stands behind it.
type link struct {
	t    *testing.T
	addr string
	p    *toxiproxy.Proxy
}

// newLink returns a link to an address, which need not be listened on yet.
func newLink(t *testing.T, to string) *link {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics write to the standard one
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &link{t: t, addr: freeAddr(t)}
	l.p = toxiproxy.NewProxy(server, "link", l.addr, to)
	if err := l.p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.p.Stop)
	return l
}

// cut ends all connections and refuses new ones until the link is mended.
func (l *link) cut() { l.p.Stop() }

// worsen puts a toxic (Toxiproxy, "Toxics") on both directions.
func (l *link) worsen(kind, attributes string) {
	l.t.Helper()
	for _, direction := range []string{"upstream", "downstream"} {
		text := fmt.Sprintf(`{"type":%q,"stream":%q,"attributes":{%s}}`, kind, direction, attributes)
		if _, err := l.p.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
			l.t.Fatalf("%s on a link: %v", kind, err)
		}
	}
}

// deafen loses all that comes back, while what is sent arrives.
func (l *link) deafen() {
	l.t.Helper()
	if _, err := l.p.Toxics.AddToxicJson(strings.NewReader(`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)); err != nil {
		l.t.Fatal(err)
	}
}

// mend makes the link a good one again. Connections that a black hole has
// swallowed data of are closed.
func (l *link) mend() {
	l.t.Helper()
	l.p.Toxics.ResetToxics(l.t.Context())
	if !l.p.Enabled {
		if err := l.p.Start(); err != nil {
			l.t.Errorf("mend a link: %v", err)
		}
	}
}

// startCrowd starts a crowd, whose report readReport reads when it has ended.
func startCrowd(t *testing.T, name string, args ...string) (crowd *process, report string) {
	t.Helper()
	report = filepath.Join(t.TempDir(), "report.json")
	return start(t, name, append([]string{"simulate", "--json", report}, args...)...), report
}

func readReport(t *testing.T, file string) *simulator.Report {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := new(simulator.Report)
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// freshShare returns the share of viewer-seconds with a number younger than 10 s,
// of the seconds that are wanted.
func freshShare(list []simulator.Second, wanted func(at time.Time) bool) (share float64, seconds int) {
	fresh := 0
	for _, s := range list {
		if wanted(time.Unix(s.At, 0)) {
			fresh, seconds = fresh+s.Fresh, seconds+s.Viewers
		}
	}
	return float64(fresh) / max(float64(seconds), 1), seconds
}

// A gateway hangs, and so does the aggregator at work; then the other gateway is cut
// off from Redis, and reads from a black hole: nobody's number gets old, none is
// wrong. While it cannot reach Redis, and some seconds longer, nobody can know who
// came and went on that gateway (docs/faults.md, "Counts off, known"). All kinds of
// faults, at length: make chaos.
func TestFaultsThatNobodySees(t *testing.T) {
	beside(t) // it mostly waits
	redis := redistest.StartServer(t)
	bad := newLink(t, redis.Addr())
	g1, g2 := startGateway(t, "gateway-1", "redis://"+bad.addr), startGateway(t, "gateway-2", redis.URL())
	a1 := startAggregator(t, "aggregator-1", redis.URL())
	startAggregator(t, "aggregator-2", redis.URL())
	putEvent(t, g2.url, "final", fast)
	const crowdTime = 13 * time.Second
	crowd, file := startCrowd(t, "crowd", "--target", g1.url, "--target", g2.url, "--event", "final", "--viewers", "80", "--join-rate", "100",
		"--duration", crowdTime.String(), "--profile", "flat", "--beat", "5s", "--churn", "2", "--moves", "1", "--silent", "0", "--window", "4s", "--late", "15s")

	at := func(d time.Duration, strike func()) { <-time.After(d); strike() }
	eventually(t, 20*time.Second, "the crowd is there", func() error {
		if c, err := getCounts(g2.url, "final"); err != nil || c.World.Sessions < 72 {
			return fmt.Errorf("%+v, %v", c, err)
		}
		return nil
	})
	at(0, func() { g2.signal(syscall.SIGSTOP); a1.signal(syscall.SIGSTOP) })
	at(2*time.Second, func() { g2.signal(syscall.SIGCONT); a1.signal(syscall.SIGCONT) })
	<-time.After(2 * time.Second)
	blind := time.Now()
	bad.cut()
	at(2*time.Second, bad.mend)
	at(1500*time.Millisecond, func() { bad.worsen("timeout", `"timeout":0`) })
	at(2*time.Second, bad.mend)
	sees := time.Now().Add(10 * time.Second) // again: its sessions have beaten, and moved, since
	if code := crowd.wait(70 * time.Second); code != 0 && code != 3 {
		t.Errorf("the crowd ended with code %d:\n%s", code, tail(crowd.log.String(), 5000))
	}
	r := readReport(t, file)
	for _, v := range r.Violations {
		text := fmt.Sprintf("%s, of %s: %s: %s", v.Time.Format("15:04:05.000"), time.UnixMilli(v.At).Format("15:04:05"), v.Check, v.Text)
		if (v.Check == "above" || v.Check == "below") && v.At > blind.UnixMilli() && v.At < sees.UnixMilli() {
			t.Logf("known: %s", text)
			continue
		}
		t.Error(text)
	}
	// Then nobody comes or goes any more, and numbers that stay are sent each 15 s.
	end := time.Unix(r.Screens[0].At, 0).Add(crowdTime + 5*time.Second)
	if share, seconds := freshShare(r.Screens, func(at time.Time) bool { return at.Before(end) }); share < 0.999 || seconds < 500 {
		t.Errorf("%.4f of %d viewer-seconds had a fresh number, the promise is 0.999", share, seconds)
	}
}
