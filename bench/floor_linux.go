package bench

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// maxEvents is how many ready sockets one call of epoll returns.
const maxEvents = 512

// floor is the cheapest server of WebSockets that this kernel allows.
type floor struct {
	epoll  int
	listen int
	open   []int  // sockets that were answered
	asked  []bool // by socket: it was answered
	frame  []byte
	buf    [4096]byte
}

// Floor serves until the process ends: one thread in one loop, raw system calls,
// a constant answer to every handshake, one read per wake-up without a look at
// the bytes, and one write of the same frame per connection per tick. It returns
// errors of the start only.
func Floor(cfg FloorConfig) error {
	runtime.LockOSThread()
	if cfg.Payload < 1 || cfg.Payload > maxFloorPayload || cfg.TickMS < 1 {
		return fmt.Errorf("floor: a payload of 1 to %d bytes and a tick are needed", maxFloorPayload)
	}
	addr, err := sockaddr(cfg.Addr)
	if err != nil {
		return err
	}
	files, err := raiseFiles()
	if err != nil {
		return err
	}
	f := &floor{asked: make([]bool, files), frame: appendServerFrame(nil, bytes.Repeat([]byte{'x'}, cfg.Payload))}
	if f.listen, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	if err := syscall.Bind(f.listen, addr); err != nil {
		return fmt.Errorf("bind %s: %w", cfg.Addr, err)
	}
	if err := syscall.Listen(f.listen, 4096); err != nil {
		return fmt.Errorf("listen on %s: %w", cfg.Addr, err)
	}
	if f.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("open epoll: %w", err)
	}
	if err := f.watch(f.listen); err != nil {
		return err
	}
	return f.loop(time.Duration(cfg.TickMS) * time.Millisecond)
}

func (f *floor) watch(fd int) error {
	if err := syscall.EpollCtl(f.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

func (f *floor) loop(tick time.Duration) error {
	var events [maxEvents]syscall.EpollEvent
	next := time.Now().Add(tick)
	for {
		wait := int(time.Until(next).Milliseconds()) + 1
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(f.epoll), uintptr(unsafe.Pointer(&events[0])), maxEvents, uintptr(max(wait, 0)), 0, 0)
		switch errno {
		case 0:
		case syscall.EINTR:
			n = 0
		default:
			return fmt.Errorf("wait for sockets: %w", errno)
		}
		for i := range n {
			if fd := int(events[i].Fd); fd == f.listen {
				f.accept()
			} else {
				f.read(fd)
			}
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(tick)
		for _, fd := range f.open {
			write(fd, f.frame) // a full socket skips a tick
		}
	}
}

func (f *floor) accept() {
	for {
		fd, _, err := syscall.Accept4(f.listen, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if f.watch(fd) != nil {
			syscall.Close(fd)
			continue
		}
	}
}

var handshake = []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n\r\n")

func (f *floor) read(fd int) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&f.buf[0])), uintptr(len(f.buf)))
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0 || n == 0:
		syscall.Close(fd)
		f.asked[fd] = false
		if i := slices.Index(f.open, fd); i >= 0 {
			f.open[i] = f.open[len(f.open)-1]
			f.open = f.open[:len(f.open)-1]
		}
	case !f.asked[fd]:
		f.asked[fd] = true
		f.open = append(f.open, fd)
		write(fd, handshake)
	}
}

// write, like all that the loop does, is one system call that Go's scheduler does
// not hear of: to tell it costs a third of what the kernel needs for a frame. Run
// with GODEBUG=asyncpreemptoff=1, or the scheduler interrupts the loop for others
// that are not there.
func write(fd int, b []byte) {
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
}

func sockaddr(addr string) (*syscall.SockaddrInet4, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().Is4() {
		return nil, fmt.Errorf("address %s is not host:port of IPv4", strconv.Quote(addr))
	}
	return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
}
