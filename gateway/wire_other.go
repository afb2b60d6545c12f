//go:build !unix

package gateway

import "syscall"

// nonblocking says that tryWrite works here. Without it every write is left to
// a goroutine, which is slower but does the same.
const nonblocking = false

func tryWrite(syscall.RawConn, []byte) int { return 0 }
