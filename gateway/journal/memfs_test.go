package journal

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"

	"grandstand"
)

// memFS is one directory in memory that knows what a loss of power leaves of
// it, and that fails when told to.
type memFS struct {
	mu     sync.Mutex
	locked bool
	names  map[string]*inode // as the process sees them
	disk   map[string]*inode // as they are after a loss of power
	moves  []move            // made since the last Sync of the directory
	ops    int               // that would change something, so far

	// before is asked before each operation; an error is its result. It may
	// block. size is of a Write.
	before func(op, name string, size int) error // guarded by mu
	room   int                                   // guarded by mu; bytes that all files may have; 0: any number
}

// inode is one file.
type inode struct {
	data    []byte
	durable []byte // as of the last Sync
	dirty   bool   // there are changes since
}

// move is one change of names: from "" makes to, to "" removes from.
type move struct {
	from, to string
	node     *inode
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, disk: map[string]*inode{}}
}

var errPower = errors.New("the power is gone")

// powerOff has every operation from the nth on fail without an effect.
func (fs *memFS) powerOff(n int) {
	fs.onBefore(func(string, string, int) error {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if fs.ops++; fs.ops >= n {
			return errPower
		}
		return nil
	})
}

func (fs *memFS) onBefore(f func(op, name string, size int) error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.before = f
}

// afterPowerLoss returns what is left: of the names, the first changes as the
// file system got to them; of each file that was not synced, any mix of old and
// new pages.
func (fs *memFS) afterPowerLoss(r *rand.Rand) *memFS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	left := newMemFS()
	names := maps.Clone(fs.disk)
	for _, m := range fs.moves[:r.IntN(len(fs.moves)+1)] {
		m.apply(names)
	}
	for name, node := range names {
		b := node.left(r)
		left.names[name] = &inode{data: b, durable: slices.Clone(b)}
	}
	left.disk = maps.Clone(left.names)
	return left
}

func (m move) apply(names map[string]*inode) {
	if m.from != "" {
		delete(names, m.from)
	}
	if m.to != "" {
		names[m.to] = m.node
	}
}

const memPage = 64 // small, so that small files have many

// left returns one of the contents that a file may have after a loss of power.
func (n *inode) left(r *rand.Rand) []byte {
	if !n.dirty {
		return slices.Clone(n.durable)
	}
	switch r.IntN(4) {
	case 0:
		return slices.Clone(n.durable)
	case 1:
		return slices.Clone(n.data)
	}
	// The size was written, or not; of each page there is the old or the new
	// content; what was never written is zero.
	sizes := [...]int{len(n.data), len(n.durable), r.IntN(max(len(n.data), len(n.durable)) + 1)}
	kept := min(len(n.durable), len(n.data)) // unless it was cut, nothing durable goes
	b := make([]byte, max(sizes[r.IntN(len(sizes))], kept))
	for at := 0; at < len(b); at += memPage {
		from := n.durable
		if r.IntN(2) == 0 {
			from = n.data
		}
		if at < len(from) {
			copy(b[at:min(at+memPage, len(b))], from[at:])
		}
		if at < len(n.durable) && at < len(n.data) { // what did not change is there in any case
			for i := at; i < min(at+memPage, len(n.durable), len(n.data)) && n.durable[i] == n.data[i]; i++ {
				b[i] = n.data[i]
			}
		}
	}
	return b
}

func (fs *memFS) ask(op, name string, size int) error {
	fs.mu.Lock()
	before := fs.before
	fs.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, name, size)
}

func (fs *memFS) Lock(string) (Dir, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.locked {
		return nil, grandstand.Errorf(grandstand.CodeConflict, "somebody has it")
	}
	fs.locked = true
	return memDir{fs}, nil
}

type memDir struct{ fs *memFS }

func (d memDir) Open(name string, flag int) (File, error) {
	if flag&os.O_CREATE != 0 {
		if err := d.fs.ask("create", name, 0); err != nil {
			return nil, err
		}
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	node := d.fs.names[name]
	switch {
	case node == nil && flag&os.O_CREATE == 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	case node == nil:
		node = &inode{}
		d.fs.names[name] = node
		d.fs.moves = append(d.fs.moves, move{to: name, node: node})
	case flag&os.O_TRUNC != 0:
		node.data, node.dirty = nil, true
	}
	return &memFile{fs: d.fs, name: name, node: node}, nil
}

func (d memDir) List() ([]Entry, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	var list []Entry
	for name, node := range d.fs.names {
		list = append(list, Entry{name, int64(len(node.data))})
	}
	return list, nil
}

func (d memDir) Rename(from, to string) error {
	if err := d.fs.ask("rename", from, 0); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	node := d.fs.names[from]
	if node == nil {
		return os.ErrNotExist
	}
	if d.fs.names[to] != nil && to != idName {
		panic(fmt.Sprintf("%s is overwritten", to))
	}
	m := move{from, to, node}
	m.apply(d.fs.names)
	d.fs.moves = append(d.fs.moves, m)
	return nil
}

func (d memDir) Remove(name string) error {
	if err := d.fs.ask("remove", name, 0); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	if d.fs.names[name] == nil {
		return os.ErrNotExist
	}
	m := move{from: name}
	m.apply(d.fs.names)
	d.fs.moves = append(d.fs.moves, m)
	return nil
}

func (d memDir) Sync() error {
	if err := d.fs.ask("syncdir", "", 0); err != nil {
		return err
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	d.fs.disk, d.fs.moves = maps.Clone(d.fs.names), nil
	return nil
}

func (d memDir) Close() error {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	d.fs.locked = false
	return nil
}

type memFile struct {
	fs     *memFS
	name   string
	node   *inode
	closed bool // guarded by fs.mu
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	if err := f.fs.ask("write", f.name, len(p)); err != nil {
		// A write that fails may have written something.
		f.fs.mu.Lock()
		defer f.fs.mu.Unlock()
		n := 0
		if !errors.Is(err, errPower) {
			n = len(p) / 2
		}
		f.node.data, f.node.dirty = append(f.node.data, p[:n]...), true
		return n, err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	var err error
	if f.fs.room > 0 {
		used := 0
		for _, node := range f.fs.names {
			used += len(node.data)
		}
		if free := max(f.fs.room-used, 0); free < len(p) {
			p, err = p[:free], syscall.ENOSPC
		}
	}
	f.node.data, f.node.dirty = append(f.node.data, p...), true
	return len(p), err
}

func (f *memFile) Truncate(size int64) error {
	if err := f.fs.ask("truncate", f.name, 0); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.data, f.node.dirty = slices.Clone(f.node.data[:size]), true
	return nil
}

func (f *memFile) Sync() error {
	err := f.fs.ask("sync", f.name, 0)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case errors.Is(err, errPower):
	case err != nil:
		// As Linux does: what could not be written is lost, and not dirty any
		// more, so that another Sync says all is well.
		f.node.dirty = false
		if keep := len(f.node.durable); keep < len(f.node.data) {
			f.node.lose(keep)
		}
	case f.closed:
		return os.ErrClosed
	case f.node.dirty:
		f.node.durable, f.node.dirty = slices.Clone(f.node.data), false
	}
	return err
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	return nil
}

// lose has the bytes from there on be what a disk holds that never got them,
// once they are read from it: zeros.
func (n *inode) lose(from int) {
	b := slices.Clone(n.data)
	clear(b[from:])
	n.data, n.durable = b, slices.Clone(b)
}
