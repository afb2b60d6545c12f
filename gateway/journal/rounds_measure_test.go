//go:build measure

package journal

const fullRounds = true
