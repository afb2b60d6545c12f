package journal

import "io"

// FS is where directories are. Tests put one that fails, or that loses what was
// not synced, in its place.
type FS interface {
	// Lock makes the directory if need be and takes it. It fails with
	// CodeConflict if another process has it, or another caller in this one.
	Lock(dir string) (Dir, error)
}

// Dir is one directory that is ours. Names are of files in it. Its methods may
// be called at the same time. Close gives it back.
type Dir interface {
	// Open opens a file with the flags of os.OpenFile.
	Open(name string, flag int) (File, error)
	List() ([]Entry, error)
	Rename(from, to string) error
	Remove(name string) error
	syncCloser // Sync makes the names durable that were made, renamed and removed
}

// Entry is one file of a Dir.
type Entry struct {
	Name string
	Size int64
}

// File is one file.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	syncCloser // Sync makes durable what was written, and what is needed to read it
}

type syncCloser interface {
	Sync() error
	io.Closer
}
