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
	data    []byte       // as processes see it
	durable []byte       // as it is on the disk
	dirty   map[int]bool // pages that Sync will write
	sizing  bool         // the size is another since the last Sync
	evict   bool         // what Sync could not write is forgotten at once
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

// page returns a page of b, shorter or empty at its end.
func page(b []byte, at int) []byte {
	return b[min(at*memPage, len(b)):min((at+1)*memPage, len(b))]
}

// touch marks the pages of a range as changed.
func (n *inode) touch(from, to int) {
	if n.dirty == nil {
		n.dirty = map[int]bool{}
	}
	for at := from / memPage; at*memPage < to; at++ {
		n.dirty[at] = true
	}
}

// resize returns b with that size; what is new is zero.
func resize(b []byte, size int) []byte {
	return append(slices.Clone(b[:min(size, len(b))]), make([]byte, max(size-len(b), 0))...)
}

// left returns one of the contents that a file may have after a loss of power:
// of each page that changed the old or the new content, and one of the sizes.
func (n *inode) left(r *rand.Rand) []byte {
	size, some := len(n.durable), r.IntN(3) // none of the changes, all, or some
	if n.sizing && (some == 1 || some == 2 && r.IntN(2) == 0) {
		size = len(n.data)
	}
	b := resize(n.durable, size)
	for at := range n.dirty {
		if some == 1 || some == 2 && r.IntN(2) == 0 {
			copy(page(b, at), page(n.data, at))
		}
	}
	return b
}

// flush writes what changed to the disk.
func (n *inode) flush() {
	n.durable = resize(n.durable, len(n.data))
	for at := range n.dirty {
		copy(page(n.durable, at), page(n.data, at))
	}
	n.dirty, n.sizing = nil, false
}

// drop is a Sync that failed, as on Linux: the pages that could not be written
// count as clean from now on, so that another Sync says that all is well. They
// may be forgotten at once, or be there until the power goes.
func (n *inode) drop() {
	n.durable = resize(n.durable, len(n.data))
	n.dirty, n.sizing = nil, false
	if n.evict = !n.evict; n.evict {
		n.data = slices.Clone(n.durable)
	}
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
		node.data, node.dirty, node.sizing = nil, nil, true
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

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fs.ask("write", f.name, len(p))
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case errors.Is(err, errPower):
		return 0, err
	case err != nil: // it may have written something
		p = p[:len(p)/2]
	case f.closed:
		return 0, os.ErrClosed
	}
	if f.fs.room > 0 {
		used := 0
		for _, node := range f.fs.names {
			used += len(node.data)
		}
		if free := max(f.fs.room-used, 0); int(off)+len(p)-len(f.node.data) > free {
			p, err = p[:len(f.node.data)+free-int(off)], syscall.ENOSPC
		}
	}
	n := f.node
	if end := int(off) + len(p); end > len(n.data) {
		n.touch(len(n.data), end)
		n.data, n.sizing = resize(n.data, end), true
	}
	n.data = slices.Clone(n.data)
	n.touch(int(off), int(off)+len(p))
	return copy(n.data[off:], p), err
}

func (f *memFile) Truncate(size int64) error {
	if err := f.fs.ask("truncate", f.name, 0); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n := f.node
	n.data, n.sizing = resize(n.data, int(size)), true
	for at := range n.dirty {
		if at*memPage >= int(size) {
			delete(n.dirty, at)
		}
	}
	if size%memPage != 0 { // its rest is made zeros
		n.touch(int(size)-1, int(size))
	}
	return nil
}

func (f *memFile) Sync() error {
	err := f.fs.ask("sync", f.name, 0)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	switch {
	case errors.Is(err, errPower):
	case err != nil:
		f.node.drop()
	case f.closed:
		return os.ErrClosed
	default:
		f.node.flush()
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
