//go:build !linux

package bench

import (
	"errors"
	"io"
	"syscall"
)

var errLinux = errors.New("bench measures with epoll and /proc: it needs Linux")

// Floor needs Linux.
func Floor(_ FloorConfig) error { return errLinux }

// Load needs Linux.
func Load(_ io.Reader, _ io.Writer) error { return errLinux }

func childAttr() *syscall.SysProcAttr { return nil }

func raiseFiles() (uint64, error) { return 0, errLinux }
