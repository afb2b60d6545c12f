//go:build !measure

package gateway

const bombs = 12_000
