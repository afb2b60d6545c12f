//go:build !measure

package journal

// fullRounds says that faults are repeated as often as is promised: by make
// measure. By make test they are repeated some times.
const fullRounds = false
