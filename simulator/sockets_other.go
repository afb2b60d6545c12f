//go:build !unix

package simulator

// checkSockets lets the dials tell where there is no limit to ask for.
func checkSockets(int) error { return nil }

// cpuSeconds is not known there either.
func cpuSeconds() float64 { return 0 }
