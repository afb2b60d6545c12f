//go:build unix

package simulator

import (
	"syscall"

	"grandstand"
)

// checkSockets returns an error if the process may not open n files.
func checkSockets(n int) error {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return nil // then the dials tell
	}
	if uint64(n) > uint64(lim.Cur) {
		return grandstand.Errorf(grandstand.CodeInvalid, "the crowd needs %d open files, this process may have %d: raise it with ulimit -n", n, lim.Cur)
	}
	return nil
}

// cpuSeconds returns the processor time that the process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime)
}
