package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// endBound is how long a child may take to end before it is killed.
const endBound = 5 * time.Second

// child is a process that this one started.
type child struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
	log  lastBytes
	done chan struct{} // closed when it has ended
}

// spawn starts a process. Its standard error is kept for errors; in and out are
// the caller's.
func spawn(name, program string, args ...string) (*child, error) {
	return spawnWith(nil, name, program, args...)
}

// spawnWith is spawn with more in the environment.
func spawnWith(env []string, name, program string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(program, args...), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.log
	c.cmd.SysProcAttr = childAttr()
	c.cmd.Dir = os.TempDir()
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // ends with the child
		_, _ = c.cmd.Process.Wait() // not cmd.Wait, which would close out below its reader
		close(c.done)
	}()
	return c, nil
}

// pid returns the id of the process.
func (c *child) pid() int { return c.cmd.Process.Pid }

// end asks the child to end, waits, and kills it in the end.
func (c *child) end() {
	c.in.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(endBound):
		c.kill()
	}
	c.out.Close()
}

// kill ends the child at once.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
}

// failed returns an error with what the child said last.
func (c *child) failed(what string) error {
	return fmt.Errorf("%s: %s: %s", c.name, what, bytes.TrimSpace(c.log.bytes()))
}

// await calls ready until it returns nil.
func (c *child) await(ctx context.Context, bound time.Duration, ready func() error) error {
	deadline := time.After(bound)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.failed("ended")
		case <-deadline:
			return c.failed(fmt.Sprintf("not ready after %v (%v)", bound, err))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lastBytes keeps the last lines that were written to it.
type lastBytes struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (l *lastBytes) Write(p []byte) (int, error) {
	const keep = 2000
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > keep {
		l.b = append(l.b[:0], l.b[len(l.b)-keep:]...)
	}
	return len(p), nil
}

func (l *lastBytes) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b)
}

// freeAddrs returns addresses on loopback that nobody listens on just now.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // only now, so that no port is found twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// dialable returns nil once somebody listens on the address.
func dialable(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// pause waits, or returns the error of a context that ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), ctx.Err())
	case <-time.After(d):
		return nil
	}
}
