//go:build !linux

package gateway

import "net"

// poller is not there: a goroutine reads each connection.
type poller struct{ g *Gateway }

func (*poller) stop()                               {}
func (*poller) add(*conn) bool                      { return false }
func (*poller) detach(net.Conn) (s socket, ok bool) { return nil, false }
