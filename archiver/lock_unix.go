//go:build unix && !solaris && !aix

package archiver

import (
	"os"
	"syscall"

	"grandstand"
)

// lockFile creates a file and locks it, by flock(2), until it is closed.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case nil:
			return f, nil
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			f.Close()
			return nil, grandstand.Errorf(grandstand.CodeConflict, "%s: somebody else has the journal", path)
		default:
			f.Close()
			return nil, os.NewSyscallError("flock", err)
		}
	}
}
