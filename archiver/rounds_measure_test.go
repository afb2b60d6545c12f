//go:build measure

package archiver

const fullRounds = true
