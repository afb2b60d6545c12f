package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// The end-to-end tests run the real program in processes of its own: the test
// binary, started again with this variable, is grandstand.
const beGrandstand = "BE_GRANDSTAND"

const testSecret = "a secret of the end-to-end tests"

func TestMain(m *testing.M) {
	if os.Getenv(beGrandstand) != "" {
		os.Exit(run(os.Args[1:]))
	}
	// Parts of a test that run at the same time mostly wait.
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// process is one running grandstand.
type process struct {
	t    *testing.T
	name string
	url  string // http://host:port of --listen; "" for a role that has none
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
	err  error // of Wait; read after done
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs grandstand with args. It is killed at the end of the test, and its
// log is shown if the test failed.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Env = append(os.Environ(), beGrandstand+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Dir = t.TempDir()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(p.log.String(), 6000))
		}
		if s := p.log.String(); strings.Contains(s, "WARNING: DATA RACE") {
			t.Errorf("%s has a data race:\n%s", name, tail(s[strings.Index(s, "WARNING: DATA RACE"):], 6000))
		} else if _, after, found := strings.Cut(s, "invariant violated"); found {
			t.Errorf("%s counts a broken invariant:%s", name, tail(after, 600))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

// residentKB returns the memory that a process takes.
func residentKB(t *testing.T, p *process) (kb int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(text, &kb); err != nil {
				t.Fatal(err)
			}
		}
	}
	return kb
}

// wait returns the exit code of a process that ends by itself within d.
func (p *process) wait(d time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		p.t.Fatalf("%s still runs after %v; its log:\n%s", p.name, d, tail(p.log.String(), 3000))
		return -1
	}
}

// ready waits until the process answers /readyz at addr with 200.
func (p *process) ready(addr string) *process {
	p.t.Helper()
	eventually(p.t, 30*time.Second, p.name+" is ready", func() error {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.log)
		default:
		}
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz answers %s", resp.Status)
		}
		return nil
	})
	return p
}

// eventually polls until f returns nil, for d at most.
func eventually(t *testing.T, d time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s: %v", d, what, err)
		}
		<-time.After(50 * time.Millisecond) // between two polls of another process
	}
}

// slots are for the tests that run beside each other: each starts processes of its
// own, and two cores carry the waiting of a few.
var slots = make(chan struct{}, 5)

// beside has a test run beside others, which mostly wait as it does.
func beside(t *testing.T) {
	t.Helper()
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

var (
	portsMu sync.Mutex
	ports   = map[int]bool{}
)

// freeAddr returns a loopback address that nothing listens on and that no other
// test was given. Its port is below those that the kernel gives to whoever
// connects: one of these could take it before it is listened on.
func freeAddr(t *testing.T) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := 12_000 + rand.N(20_000)
		if ports[port] {
			continue
		}
		ports[port] = true
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

func startGateway(t *testing.T, name, redis string, more ...string) *process {
	t.Helper()
	addr := freeAddr(t)
	args := append([]string{"gateway", "--listen", addr, "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", "file:" + archiveOf(t)}, more...)
	p := start(t, name, args...).ready(addr)
	p.url = "http://" + addr
	return p
}

func startAggregator(t *testing.T, name, redis string, more ...string) *process {
	t.Helper()
	admin := freeAddr(t)
	args := append([]string{"aggregator", "--admin", admin, "--min-cohort", "0", "--redis", redis, "--secret", testSecret, "--archive", "file:" + archiveOf(t)}, more...)
	return start(t, name, args...).ready(admin)
}

var archives sync.Map // *testing.T → its archive directory

func archiveOf(t *testing.T) string {
	dir, ok := archives.Load(t)
	if !ok {
		dir, _ = archives.LoadOrStore(t, filepath.Join(t.TempDir(), "archive"))
	}
	return dir.(string)
}

// count is one segment as GET counts shows it.
type count struct{ Sessions, Fans, Peak, Reach uint64 }

type counts struct {
	At      int64
	AgeMS   int64 `json:"age_ms"`
	Quality string
	World   count
	Dims    map[string]json.RawMessage
}

// getCounts reads GET /v1/events/{event}/counts.
func getCounts(url, event string) (*counts, error) {
	resp, err := http.Get(url + "/v1/events/" + event + "/counts")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("counts answers %s: %s", resp.Status, body)
	}
	return parseCounts(body)
}

func parseCounts(body []byte) (*counts, error) {
	var c counts
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	if err := json.Unmarshal(c.Dims["world"], &c.World); err != nil {
		return nil, fmt.Errorf("%w in %s", err, body)
	}
	return &c, nil
}

var errNotYet = errors.New("not yet")

// quality returns nil if the counts of the event "final" are of that quality.
func quality(url, want string) error {
	c, err := getCounts(url, "final")
	if err == nil && c.Quality != want {
		err = fmt.Errorf("the board is %s", c.Quality)
	}
	return err
}

// dim returns the segments of a dimension.
func (c *counts) dim(t *testing.T, name string) map[string]count {
	t.Helper()
	var m map[string]count
	if err := json.Unmarshal(c.Dims[name], &m); err != nil {
		t.Fatalf("dimension %s: %v", name, err)
	}
	return m
}

// watch opens a stock WebSocket client and sends each text message to the
// channel until the test ends.
func watch(t *testing.T, url, event, query string) (*websocket.Conn, <-chan []byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, strings.Replace(url, "http", "ws", 1)+"/v1/events/"+event+"/live?"+query,
		&websocket.DialOptions{Subprotocols: []string{"grandstand.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan []byte, 1024)
	go func() {
		defer close(out)
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			out <- b
		}
	}()
	return c, out
}

// sse sends the data of each server-sent event to the channel until the test
// ends.
func sse(t *testing.T, url string) <-chan []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s", url, resp.Status)
	}
	out := make(chan []byte, 1024)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out <- []byte(data)
			}
		}
	}()
	return out
}
