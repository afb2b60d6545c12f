package journal

import (
	"errors"
	"os"
	"path/filepath"

	"grandstand"
)

const lockName = "LOCK"

// diskFS is the operating system's.
type diskFS struct{}

// Lock takes the directory by a lock on a file in it, which the kernel gives
// back when the process ends, however it does.
func (diskFS) Lock(dir string) (Dir, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(lock); err != nil {
		lock.Close()
		if errors.Is(err, errLocked) {
			return nil, grandstand.WrapError(grandstand.CodeConflict, err, "another process has the journal "+dir)
		}
		return nil, err
	}
	self, err := os.Open(dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &diskDir{dir, self, lock}, nil
}

var errLocked = errors.New("the file is locked")

// makeDir makes dir and those above it, each durable in the one above.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	parent, err := os.Open(above)
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

type diskDir struct {
	path string
	self *os.File
	lock *os.File
}

func (d *diskDir) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(filepath.Join(d.path, name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (d *diskDir) List() ([]Entry, error) {
	all, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, e := range all {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, Entry{e.Name(), info.Size()})
	}
	return list, nil
}

func (d *diskDir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d *diskDir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *diskDir) Sync() error { return d.self.Sync() }

func (d *diskDir) Close() error { return errors.Join(d.self.Close(), d.lock.Close()) }

// diskFile is a file whose Sync leaves out what is not needed to read it, such
// as its times.
type diskFile struct{ *os.File }

func (f diskFile) Sync() error { return datasync(f.File) }
