package redistest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerLosesEverythingWhenItIsKilled(t *testing.T) {
	s := StartServer(t)
	addr := s.Addr()
	s.Do("SET", "k", "v")
	s.Kill()
	s.Kill()
	if _, err := call(addr, "PING"); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart()
	if s.Addr() != addr || s.Do("GET", "k") != "" {
		t.Fatalf("restarted at %s with k = %q, want %s and nothing", s.Addr(), s.Do("GET", "k"), addr)
	}
	s.Do("SET", "k", "v")
	s.Restart()
	if got := s.Do("GET", "k"); got != "" {
		t.Fatalf("k = %q after a restart", got)
	}
	s.Do("SET", "k", "v")
	s.Shutdown()
	if _, err := call(addr, "PING"); err == nil {
		t.Fatal("a server that was shut down answers")
	}
	s.Resume()
	if got := s.Do("GET", "k"); got != "v" {
		t.Fatalf("k = %q after an orderly restart, want v", got)
	}
	s.Do("SET", "k", "v")
	s.FlushAll()
	if got := s.Do("DBSIZE"); got != "0" {
		t.Fatalf("%s keys after FlushAll", got)
	}
}

func TestServerFreezes(t *testing.T) {
	s := StartServer(t)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.Stop()
	for begin := time.Now(); ; { // a signal takes its time
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(stat), ") T ") {
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("it is not stopped: %s", stat)
		}
		runtime.Gosched()
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	var b [16]byte
	if n, err := conn.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a frozen server answered %q, %v", b[:n], err)
	}
	s.Cont()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(b[:]); err != nil || string(b[:n]) != "+PONG\r\n" {
		t.Fatalf("when it goes on it answers %q, %v", b[:n], err)
	}
}

func TestClusterServesAllSlots(t *testing.T) {
	c := StartCluster(t)
	if n := strings.Count(c.URL(), ":"); n != masters+1 {
		t.Fatalf("address %s", c.URL())
	}
	for i, s := range c.Nodes {
		if info := s.Do("CLUSTER", "INFO"); !strings.Contains(info, fmt.Sprint("cluster_slots_ok:", slots)) {
			t.Errorf("node %d: %s", i, info)
		}
	}
	c.FlushAll()
}

// noted is a test that remembers why it failed.
type noted struct {
	testing.TB
	why string
}

func (n *noted) Helper() {}

func (n *noted) Fatal(args ...any) {
	n.why = fmt.Sprint(args...)
	runtime.Goexit()
}

func TestAMissingBinaryFailsTheTest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	n := &noted{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		StartServer(n)
	}()
	<-done
	if !strings.Contains(n.why, "apt-get install") {
		t.Errorf("failed with %q; want how to install it", n.why)
	}
}

// A replica has what its master had, and takes over by itself.
func TestAReplicaTakesOver(t *testing.T) {
	c := StartReplicatedCluster(t)
	const key = "k"
	old := c.MasterOf(key)
	old.Do("SET", key, "v")
	old.Do("WAIT", "1", "5000")
	old.Kill()
	var owner *Server
	c.await("a replica to take over", func() bool {
		owner = c.MasterOf(key)
		return owner != nil && owner != old
	})
	if got := owner.Do("GET", key); got != "v" {
		t.Errorf("the replica has %q", got)
	}
	old.Restart()
	c.await("the old master to follow", func() bool {
		return strings.Contains(old.Do("INFO", "replication"), "master_link_status:up")
	})
	if n := len(c.Masters()); n != masters || c.MasterOf(key) != owner {
		t.Errorf("%d masters, and the old one is back", n)
	}
}
