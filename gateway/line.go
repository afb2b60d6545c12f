package gateway

import (
	"net"
	"runtime"
)

// line is a listener at which newcomers come last.
type line struct {
	net.Listener
	load *overload
}

// LastInLine returns a listener for players that takes a connection only after
// whatever else has work to do had its turn: ticks, frames, beats, joins that are
// under way. In a surge newcomers wait in the kernel, where they cost nothing,
// instead of among the goroutines, where everybody waits behind them. For how long
// is a sign of overload, and whoever has waited for too long is refused.
func (g *Gateway) LastInLine(l net.Listener) net.Listener { return line{l, g.load} }

func (l line) Accept() (net.Conn, error) {
	runtime.Gosched()
	c, err := l.Listener.Accept()
	if err == nil {
		l.load.accepted(waitedMS(c))
	}
	return c, err
}
