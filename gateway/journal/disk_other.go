//go:build !linux

package journal

import "os"

// datasync is a whole fsync here; on macOS it is one that reaches the disk.
func datasync(f *os.File) error { return f.Sync() }
