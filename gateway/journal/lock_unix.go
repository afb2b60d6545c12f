//go:build unix && !solaris && !aix

package journal

import (
	"os"
	"syscall"
)

// tryLock locks f, by flock(2), until it is closed.
func tryLock(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return errLocked
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}
