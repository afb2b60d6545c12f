//go:build unix

package gateway

import (
	"sync"
	"syscall"
)

// nonblocking says that tryWrite works here. Sockets of net are in
// non-blocking mode on every Unix.
const nonblocking = true

// attempt is one write without blocking. RawConn takes a function: this keeps
// it, and what it works on, from being allocated each time.
type attempt struct {
	p  []byte
	n  int
	do func(fd uintptr) bool
}

var attempts = sync.Pool{New: func() any {
	a := &attempt{}
	a.do = func(fd uintptr) bool {
		for {
			n, err := syscall.Write(int(fd), a.p)
			if err == syscall.EINTR {
				continue
			}
			a.n = max(n, 0)
			return true // also if it would block: nobody is to wait here
		}
	}
	return a
}}

// tryWrite writes as much of p as the socket takes at once and returns how
// much. An error shows at the next blocking write.
func tryWrite(rc syscall.RawConn, p []byte) int {
	a := attempts.Get().(*attempt)
	a.p, a.n = p, 0
	err := rc.Write(a.do)
	n := a.n
	a.p = nil
	attempts.Put(a)
	if err != nil {
		return 0
	}
	return n
}
