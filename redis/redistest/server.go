package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 10 * time.Second
	startTries   = 5 // a free port may be taken before the server has it
	poll         = 10 * time.Millisecond
)

// Server is a redis-server process that keeps nothing on disk: killed, it has
// lost everything. Its methods may be called at the same time; they fail the
// test if the server does not do as told.
type Server struct {
	tb      testing.TB
	port    int
	bus     int           // the cluster bus; 0: no cluster
	timeout time.Duration // after which a node of the cluster is given up
	dir     string
	logFile string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// StartServer starts a server on a free port of 127.0.0.1. It is killed when the
// test ends.
func StartServer(tb testing.TB) *Server {
	tb.Helper()
	return start(tb, 0)
}

// start starts a server, of a cluster if it has a node timeout.
func start(tb testing.TB, nodeTimeout time.Duration) *Server {
	tb.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		tb.Fatal("redis-server is not on this machine: install it with `apt-get install -y redis-server` (make test does)")
	}
	var err error
	for range startTries {
		s := &Server{tb: tb, dir: tb.TempDir(), timeout: nodeTimeout}
		s.logFile = filepath.Join(s.dir, "redis.log")
		if s.port, err = freePort(); err == nil && nodeTimeout > 0 {
			s.bus, err = freePort()
		}
		if err != nil {
			break
		}
		if err = s.start(); err == nil {
			tb.Cleanup(s.Kill)
			return s
		}
		s.Kill()
	}
	tb.Fatalf("start redis-server: %v", err)
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// start runs the process and waits until it answers.
func (s *Server) start() error {
	args := []string{
		"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--appendonly", "no", "--save", "", "--logfile", s.logFile, "--daemonize", "no",
	}
	if s.bus != 0 {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(s.bus),
			"--cluster-node-timeout", strconv.FormatInt(s.timeout.Milliseconds(), 10), "--cluster-announce-ip", "127.0.0.1",
			// The slots of the other masters are served while one is away, and a
			// replica takes over however long it has not heard of its master.
			"--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
			"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
	}
	cmd := exec.Command("redis-server", args...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	// A test binary that is killed must not leave servers behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // a killed server has no good exit code
		close(exited)
	}()
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()

	deadline := time.Now().Add(startTimeout)
	for {
		if reply, err := call(s.Addr(), "PING"); err == nil && reply == "PONG" {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("it ended at once: %s", s.log())
		case <-time.After(poll):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it does not answer: %s", s.log())
		}
	}
}

func (s *Server) log() string {
	b, _ := os.ReadFile(s.logFile)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(len(lines)-5, 0):], "; ")
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the address for redis.Config.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Kill ends the server at once (SIGKILL) and waits until it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.exited
	s.cmd = nil
}

// Shutdown ends the server as a deploy does (SIGTERM) that has it save its data
// first, and waits until it is gone. Resume begins with that data.
func (s *Server) Shutdown() {
	s.tb.Helper()
	s.Do("CONFIG", "SET", "save", "3600 1") // SIGTERM saves if there are points at which to
	s.signal(syscall.SIGTERM)
	<-s.exited
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = nil
}

// Resume starts the server again with what it saved as it was shut down.
func (s *Server) Resume() { s.tb.Helper(); s.restart() }

func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd != nil
}

// Restart starts the server again on the same port, empty, killing it first if
// it runs. A node of a cluster comes back as a replica of whoever took its place,
// or, if nobody did, as the master that it was.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if s.bus == 0 {
		_ = os.Remove(filepath.Join(s.dir, dumpFile)) // of Save, or of when it was a replica
	}
	s.restart()
}

// Redis's own name of its snapshot, and that of ours.
const dumpFile, savedFile = "dump.rdb", "saved.rdb"

// Save takes a snapshot, which Rewind begins with.
func (s *Server) Save() {
	s.tb.Helper()
	if reply := s.Do("SAVE"); reply != "OK" {
		s.tb.Fatalf("SAVE answers %q", reply)
	}
	if err := os.Rename(filepath.Join(s.dir, dumpFile), filepath.Join(s.dir, savedFile)); err != nil {
		s.tb.Fatal(err)
	}
}

// Rewind starts the server again with what there was at the last Save.
func (s *Server) Rewind() {
	s.tb.Helper()
	s.Kill()
	if err := os.Rename(filepath.Join(s.dir, savedFile), filepath.Join(s.dir, dumpFile)); err != nil {
		s.tb.Fatal(err)
	}
	s.restart()
}

func (s *Server) restart() {
	s.tb.Helper()
	if err := s.start(); err != nil {
		s.tb.Fatalf("restart redis-server: %v", err)
	}
}

// Stop freezes the server (SIGSTOP): it keeps its connections and answers
// nothing until Cont.
func (s *Server) Stop() { s.tb.Helper(); s.signal(syscall.SIGSTOP) }

// Cont lets a frozen server go on.
func (s *Server) Cont() { s.tb.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		s.tb.Fatalf("signal %v: redis-server is not running", sig)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal %v: %v", sig, err)
	}
}

// FlushAll deletes everything.
func (s *Server) FlushAll() { s.tb.Helper(); s.Do("FLUSHALL") }

// Do sends a command and returns the reply as text; an array has a line for each
// element.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := call(s.Addr(), args...)
	if err != nil {
		s.tb.Fatalf("redis %s: %v", strings.Join(args, " "), err)
	}
	return reply
}
