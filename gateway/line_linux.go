package gateway

import (
	"net"

	"golang.org/x/sys/unix"
)

// waitedMS returns for how long a connection that has just been accepted has been
// waiting for that, in ms: since it was there, or sent something last (tcp(7),
// TCP_INFO). 0 if that is not known.
func waitedMS(c net.Conn) int64 {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var ms int64
	_ = raw.Control(func(fd uintptr) { // its error: the connection is closed
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			ms = int64(info.Last_data_recv)
		}
	})
	return ms
}
