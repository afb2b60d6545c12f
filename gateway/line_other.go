//go:build !linux

package gateway

import "net"

// waitedMS is not known here.
func waitedMS(net.Conn) int64 { return 0 }
