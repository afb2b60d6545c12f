//go:build measure

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"grandstand/redis/redistest"
)

// throttle lets a process run for a share of the time only, as cpulimit(1) does,
// until the function that it returns is called.
func throttle(t *testing.T, p *process, share float64) (stop func()) {
	const period = 50 * time.Millisecond
	run := time.Duration(share * float64(period))
	done := make(chan struct{})
	var pacing sync.WaitGroup
	pacing.Go(func() {
		for {
			_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may have ended
			select {
			case <-done:
				return
			case <-p.done:
				return
			case <-time.After(run):
			}
			_ = p.cmd.Process.Signal(syscall.SIGSTOP)
			<-time.After(period - run)
		}
	})
	stop = sync.OnceFunc(func() { close(done); pacing.Wait() })
	t.Cleanup(stop)
	return stop
}

// readMetric returns the sum of a metric of an admin address.
func readMetric(admin, name string) (sum float64, err error) {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), " "); ok && (key == name || strings.HasPrefix(key, name+"{")) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, lines.Err()
}

// levels follows the overload level of a gateway.
type levels struct {
	mu    sync.Mutex
	seen  []int // each change
	since []time.Duration
	began time.Time
}

func (l *levels) follow(admin string, done <-chan struct{}) {
	for {
		if v, err := readMetric(admin, "grandstand_gateway_overload_level"); err == nil {
			l.mu.Lock()
			if n := len(l.seen); n == 0 || l.seen[n-1] != int(v) {
				l.seen, l.since = append(l.seen, int(v)), append(l.since, time.Since(l.began))
			}
			l.mu.Unlock()
		}
		select {
		case <-done:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (l *levels) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[len(l.seen)-1]
}

func (l *levels) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for i, v := range l.seen {
		fmt.Fprintf(&b, "%d from %.1f s  ", v, l.since[i].Seconds())
	}
	return b.String()
}

// gaps are the times between the frames that viewers are shown.
type gaps struct {
	mu   sync.Mutex
	open bool
	list []time.Duration
}

// follow measures one viewer's frames.
func (g *gaps) follow(frames <-chan []byte) {
	last := time.Time{}
	for b := range frames {
		if !strings.HasPrefix(string(b), `{"t":"counts"`) {
			continue
		}
		now := time.Now()
		g.mu.Lock()
		if g.open && !last.IsZero() {
			g.list = append(g.list, now.Sub(last))
		}
		g.mu.Unlock()
		last = now
	}
}

func (g *gaps) measure(is bool) {
	g.mu.Lock()
	g.open = is
	g.mu.Unlock()
}

// A gateway on a part of a core carries a crowd; then twice as many more come.
// Who watches keeps the ticks, newcomers are refused, and it is over by itself.
func TestMeasureOverload(t *testing.T) {
	const (
		base     = 2000
		watchers = 50  // of whom every frame is looked at
		room     = 2.0 // times what the base takes of a core is what the gateway gets: with less the level would not fall to 0
	)
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis)
	admin := freeAddr(t)
	t.Setenv("GOMAXPROCS", "1")
	g := startGateway(t, "gateway", redis, "--admin", admin, "--journal", filepath.Join(t.TempDir(), "journal"))
	os.Unsetenv("GOMAXPROCS")
	putEvent(t, g.url, "final", `{"dims":["country","region","team","team+region"]}`)
	metric := func(name string) float64 {
		t.Helper()
		return metricOf(t, admin, "grandstand_gateway_"+name)
	}

	// Both crowds are shared: what an overloaded gateway notes late is no lie.
	crowd := func(name string, args ...string) *process {
		return start(t, name, append([]string{"simulate", "--event", "final", "--target", g.url, "--profile", "flat", "--shared"}, args...)...)
	}
	crowd("base", "--viewers", fmt.Sprint(base), "--join-rate", "200", "--churn", "0.2", "--duration", "10m")
	var seen gaps
	for i := range watchers {
		_, frames := watch(t, g.url, "final", fmt.Sprintf("viewer=w%d&device=d%d&country=US&region=US-CA&team=KC&interval_ms=60000", i, i))
		go seen.follow(frames)
	}
	eventually(t, 2*time.Minute, "the base is there", func() error {
		if c, err := getCounts(g.url, "final"); err != nil || c.World.Sessions < base*98/100 {
			return errNotYet
		}
		return nil
	})
	cpuOf := func() float64 { return metricOf(t, admin, "process_cpu_seconds_total") }
	used, since := cpuOf(), time.Now()
	<-time.After(10 * time.Second)
	share := room * (cpuOf() - used) / time.Since(since).Seconds()
	t.Logf("the base takes %.3f cores, the gateway gets %.3f", share/room, share)
	throttle(t, g, share)

	done, l := make(chan struct{}), &levels{began: time.Now(), seen: []int{0}, since: []time.Duration{0}}
	var following sync.WaitGroup
	following.Go(func() { l.follow(admin, done) })
	t.Cleanup(func() { close(done); following.Wait() })
	<-time.After(15 * time.Second) // in which the base is carried
	if level := l.now(); level != 0 {
		t.Errorf("the base alone leads to level %d: %s", level, l)
	}
	cpu, began := cpuOf(), time.Now()

	seen.measure(true)
	more := crowd("more", "--viewers", fmt.Sprint(2*base), "--join-rate", "1000", "--duration", "30s", "--seed", "2")
	eventually(t, 30*time.Second, "newcomers are refused", func() error {
		if l.now() != 3 {
			return fmt.Errorf("levels: %s", l)
		}
		return nil
	})
	resp, err := http.Get(g.url + "/v1/events/final/live?viewer=new")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a newcomer gets %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
	ready, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	ready.Body.Close()
	t.Logf("readyz answers %s at level %d", ready.Status, l.now()) // 503 if those who are here would pay for more
	more.wait(3 * time.Minute)
	seen.measure(false)
	cpu = (cpuOf() - cpu) / time.Since(began).Seconds()
	refused, sessions := metric("shed_joins_total"), metric("sessions")
	slices.Sort(seen.list)
	at := func(q float64) float64 { return seen.list[int(q*float64(len(seen.list)-1))].Seconds() }
	t.Logf("%d frames of %d viewers who were there: from one to the next p50 %.2f s, p90 %.2f s, p99 %.2f s, at most %.2f s",
		len(seen.list), watchers, at(0.5), at(0.9), at(0.99), at(1))
	eventually(t, 2*time.Minute, "it is over by itself", func() error {
		if l.now() != 0 {
			return fmt.Errorf("levels: %s", l)
		}
		return nil
	})
	l.report(t)

	t.Logf("%.0f newcomers were refused, %.0f sessions were there in the end; the gateway had %.2f cores; closed: %v",
		refused, sessions, cpu, metric("closes_total"))
	if n := watchers * 10; len(seen.list) < n || at(0.99) > 4.1 || refused == 0 {
		t.Errorf("p99 is %.2f s of %d frames, two ticks are 4; %v refused", at(0.99), len(seen.list), refused)
	}
}

func metricOf(t *testing.T, admin, name string) float64 {
	t.Helper()
	v, err := readMetric(admin, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// report logs the levels, and fails the test if they came out of order.
func (l *levels) report(t *testing.T) {
	t.Helper()
	t.Logf("levels: %s", l)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 1; i < len(l.seen); i++ {
		// It rises each second at most, and reading takes a part of one.
		if d := l.seen[i] - l.seen[i-1]; d < -1 || d > 1 && l.since[i]-l.since[i-1] < time.Second {
			t.Errorf("the level went from %d to %d", l.seen[i-1], l.seen[i])
		}
	}
}
