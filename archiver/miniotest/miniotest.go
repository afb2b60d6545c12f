// Package miniotest starts a real MinIO, an S3 server, for tests. A machine
// without it fails the test and says how to install it.
//
// In: a test.
//
// Out: the URL of an empty bucket for archiver.OpenStore, and a process that
// ends with the test.
package miniotest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The keys of every server. Start puts them into the test's environment, where
// archiver.OpenStore looks for them.
const (
	accessKey = "grandstand-test"
	secretKey = "grandstand-test-secret"
	region    = "us-east-1"
)

const (
	startDeadline = 60 * time.Second
	poll          = 20 * time.Millisecond
)

// Server is a MinIO on a free port of the loopback interface, with an empty
// directory.
type Server struct {
	tb   testing.TB
	bin  string
	dir  string
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

// Start starts a server, and kills it when the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	tb.Setenv("GRANDSTAND_S3_ACCESS_KEY", accessKey)
	tb.Setenv("GRANDSTAND_S3_SECRET_KEY", secretKey)
	s := &Server{tb: tb, bin: find(tb), dir: tb.TempDir(), addr: freePort(tb)}
	tb.Cleanup(s.Kill)
	s.Restart()
	return s
}

// find returns the path of the server's binary.
func find(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("GRANDSTAND_MINIO"); path != "" {
		return path
	}
	if path, err := exec.LookPath("minio"); err == nil {
		return path
	}
	if gopath, err := exec.Command("go", "env", "GOPATH").Output(); err == nil {
		path := filepath.Join(strings.TrimSpace(string(gopath)), "bin", "minio")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	tb.Fatal("there is no minio on this machine: make tools")
	return ""
}

// freePort returns an address that was free a moment ago.
func freePort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Kill ends the server at once. What it has acknowledged stays.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	s.cmd.Wait() // says that it was killed
	s.cmd = nil
}

// Shutdown ends the server as a deploy does (SIGTERM), and waits until it is gone.
func (s *Server) Shutdown() {
	s.tb.Helper()
	s.signal(syscall.SIGTERM)
	s.cmd.Wait() // its exit code says nothing
	s.cmd = nil
}

// Stop freezes the server (SIGSTOP): it keeps its connections and answers
// nothing until Cont.
func (s *Server) Stop() { s.tb.Helper(); s.signal(syscall.SIGSTOP) }

// Cont lets a frozen server go on.
func (s *Server) Cont() { s.tb.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal %v to minio: %v", sig, err)
	}
}

// Restart starts the server, again if it was killed, and waits until it serves.
func (s *Server) Restart() {
	s.tb.Helper()
	s.cmd = exec.Command(s.bin, "server", "--quiet", "--address", s.addr, "--console-address", freePort(s.tb), s.dir)
	s.cmd.Env = append(os.Environ(),
		"MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "HOME="+s.dir)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("start minio: %v", err)
	}
	deadline := time.Now().Add(startDeadline)
	for !s.ready() {
		if time.Now().After(deadline) {
			s.Kill()
			s.tb.Fatalf("start minio: it does not serve:\n%s", s.log.String())
		}
		time.Sleep(poll)
	}
}

// ready asks for the server's health (MinIO, "Healthcheck API").
func (s *Server) ready() bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.addr + "/minio/health/ready")
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// Bucket creates a bucket and returns its URL, with a prefix, for
// archiver.OpenStore.
func (s *Server) Bucket(name string) string {
	s.tb.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	client, err := minio.New(s.addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: region, Transport: transport})
	if err != nil {
		s.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if err := client.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: region}); err != nil {
		s.tb.Fatalf("make bucket: %v", err)
	}
	return "s3://" + name + "/archive?endpoint=" + url.QueryEscape("http://"+s.addr) + "&region=" + region
}
