package gateway

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// poller reads the TCP connections of a gateway with one goroutine (epoll(7)), so
// that an idle one has neither stack nor buffer. It starts with the first of
// them.
//
// A connection is owned by the poller from add on. It is in the hands of another
// goroutine while it waits for Redis, and of that one alone: it is not polled
// then. Only its owner closes it, so no event is ever of another connection that
// was given the same descriptor.
type poller struct {
	g *Gateway // static

	mu      sync.Mutex
	started bool    // guarded by mu
	stopped bool    // guarded by mu
	conns   []*conn // guarded by mu; by descriptor

	epoll int           // static once started
	wake  [2]int        // a pipe, to end run; static once started
	ended chan struct{} // closed when run has returned; static once started
}

// gather is for how long what becomes readable gathers. A beat then costs its
// share of a wake-up and one read, and none is so urgent that 2 ms matter.
const gather = 2 * time.Millisecond

// start starts the poller, if it is not, and reports whether it runs.
func (p *poller) start() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.stopped {
		return !p.stopped
	}
	if err := p.openLocked(); err != nil {
		p.g.trouble("open poller", err)
		return false
	}
	p.started, p.ended = true, make(chan struct{})
	go p.run()
	return true
}

func (p *poller) openLocked() (err error) {
	if p.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = syscall.Pipe2(p.wake[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		syscall.Close(p.epoll)
		return os.NewSyscallError("pipe2", err)
	}
	if err = p.watch(p.wake[0]); err != nil {
		p.close()
	}
	return err
}

func (p *poller) close() {
	for _, fd := range []int{p.epoll, p.wake[0], p.wake[1]} {
		syscall.Close(fd)
	}
}

// stop ends the poller. There must be no connections any more.
func (p *poller) stop() {
	p.mu.Lock()
	p.stopped = true
	started := p.started
	p.mu.Unlock()
	if started {
		syscall.Write(p.wake[1], []byte{0})
		<-p.ended
		p.close()
	}
}

func (p *poller) watch(fd int) error {
	// Level-triggered: what is not read at once is reported again.
	e := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &e))
}

// add makes the poller c's owner. It reports false if that is not possible.
func (p *poller) add(c *conn) bool {
	fd := c.w.sock.(polled).fd
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd >= len(p.conns) {
		p.conns = append(p.conns, make([]*conn, max(1024, len(p.conns)))...)
	}
	p.conns[fd] = c
	if err := p.watch(fd); err != nil {
		p.conns[fd] = nil
		return false
	}
	return true
}

// remove takes c back from the poller.
func (p *poller) remove(c *conn) {
	fd := c.w.sock.(polled).fd
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[fd] = nil
	syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, fd, nil)
}

func (p *poller) at(fd int) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[fd]
}

func (p *poller) run() {
	defer close(p.ended)
	var events [256]syscall.EpollEvent
	in := incomings.Get().(*incoming)
	for {
		n, err := syscall.EpollWait(p.epoll, events[:], -1)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			panic(os.NewSyscallError("epoll_wait", err)) // of a descriptor that is ours
		}
		now := p.g.clock.Now()
		for i := range events[:n] {
			fd := int(events[i].Fd)
			if fd == p.wake[0] {
				return
			}
			in = p.serve(p.at(fd), in, now)
		}
		if n < len(events) {
			time.Sleep(gather)
		}
	}
}

// serve reads c once, and returns what to read the next one with.
func (p *poller) serve(c *conn, in *incoming, now int64) *incoming {
	n, err := c.w.sock.(polled).read(c.space(in))
	switch c.filled(in, n, err, now) {
	case finished:
		p.remove(c)
		c.leave()
	case handOver:
		p.remove(c)
		c.g.wg.Go(func() { p.waitFor(c, in, now) })
		return incomings.Get().(*incoming)
	}
	return in
}

// waitFor carries out what the poller could not wait for, and gives c back.
func (p *poller) waitFor(c *conn, in *incoming, now int64) {
	done := c.resume(in, now)
	incomings.Put(in)
	c.poll(done)
}

// polled is the socket of a connection that the poller reads.
type polled struct{ fd int }

// detach takes a TCP connection out of the hands of package net. It reports false,
// and leaves it as it is, if it is none, or cannot be polled.
func (p *poller) detach(nc net.Conn) (socket, bool) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok || !p.start() {
		return nil, false
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil, false
	}
	var fd uintptr
	var errno syscall.Errno
	err = rc.Control(func(of uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, of, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil || errno != 0 {
		return nil, false
	}
	nc.Close()
	// An error only means that a slow reader's kernel holds more.
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, mostUnsent)
	return polled{int(fd)}, true
}

// mostUnsent is how many bytes, or 17 frames if they are small, the kernel takes
// for a client that does not read, beyond what is on its way (tcp(7),
// TCP_NOTSENT_LOWAT). What it does not take stays here, where the newest number
// wins, and the memory of a slow reader has a bound.
const (
	mostUnsent      = 2 << 10
	tcpNotSentLowat = 25
)

// atOnce makes a call of read(2) or write(2) that never waits, since the sockets
// are non-blocking, without telling the scheduler. To tell it is for calls that
// may wait: it takes the processor away from those of over 20 µs, which at the
// rate of frames costs a third of what the kernel needs for one.
func (s polled) atOnce(call uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// gone reports that the client has closed the connection, or lost it, and sent
// nothing that is not read yet.
func (s polled) gone() bool {
	var b [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&b)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return errno == 0 && n == 0 || errno == syscall.ECONNRESET
}

// read is io.Reader's Read of what is there; no bytes and no error: nothing is.
func (s polled) read(b []byte) (int, error) {
	n, errno := s.atOnce(syscall.SYS_READ, b)
	switch {
	case errno == syscall.EAGAIN, errno == syscall.EINTR:
		return 0, nil
	case errno != 0:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s polled) try(b []byte) int {
	n, _ := s.attempt(b)
	return n
}

func (s polled) attempt(b []byte) (int, syscall.Errno) {
	for {
		n, errno := s.atOnce(syscall.SYS_WRITE, b)
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}

// How often a socket is tried that takes nothing: rarely, since it is the slow
// ones' memory that is full.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 160 * time.Millisecond
)

// write tries again and again: the poller knows reading only.
func (s polled) write(b []byte, within time.Duration) (int, error) {
	deadline := time.Now().Add(within)
	wrote, wait := 0, firstRetry
	for {
		n, errno := s.attempt(b[wrote:])
		if wrote += n; wrote == len(b) {
			return wrote, nil
		}
		if errno != 0 && errno != syscall.EAGAIN {
			return wrote, os.NewSyscallError("write", errno)
		}
		if n > 0 {
			wait = firstRetry
			continue
		}
		if !time.Now().Before(deadline) {
			return wrote, os.ErrDeadlineExceeded
		}
		time.Sleep(wait)
		wait = min(2*wait, lastRetry)
	}
}

func (s polled) closeWrite() { syscall.Shutdown(s.fd, syscall.SHUT_WR) }
func (s polled) shut()       { syscall.Shutdown(s.fd, syscall.SHUT_RDWR) }
func (s polled) close()      { syscall.Close(s.fd) }
