//go:build measure

package gateway

const bombs = 100_000
