package archiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grandstand"
)

// dir keeps objects as files.
type dir struct{ root string }

func openDir(root string) (*dir, error) {
	if root == "" {
		return nil, grandstand.Errorf(grandstand.CodeInvalid, "archive: file: needs a directory, such as file:./data/archive")
	}
	root, err := filepath.Abs(root)
	if err == nil {
		err = os.MkdirAll(root, 0o755)
	}
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "archive: open directory")
	}
	return &dir{root: root}, nil
}

func (d *dir) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d *dir) get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	return readObject(f)
}

// readObject reads a whole object, but not without a bound. It never returns
// nil without an error.
func readObject(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxObject+1))
	if err == nil && len(b) > maxObject {
		err = errors.New("the object is too large to be one of ours")
	}
	return b, err
}

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".tmp-"

// put writes a file beside, syncs it, and renames it: after a crash there is
// the old object or the new, never half of one.
func (d *dir) put(ctx context.Context, key string, b []byte) error {
	_, err := d.write(ctx, key, bytes.NewReader(b), os.Rename)
	return err
}

// create is put with a link, which is not made where there is a file.
func (d *dir) create(ctx context.Context, key string, body *io.SectionReader) (bool, error) {
	if _, found, err := d.stat(ctx, key); found || err != nil {
		return false, err
	}
	return d.write(ctx, key, body, func(from, to string) error {
		err := os.Link(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Rename(from, to) // no links here: the last one wins
	})
}

// write writes a file beside and gives it its name. It reports false without
// error if place says that there is a file of that name.
func (d *dir) write(ctx context.Context, key string, body io.Reader, place func(from, to string) error) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	path := d.path(key)
	parent := filepath.Dir(path)
	if err := d.makeDir(parent); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(parent, tempPrefix)
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) // fails once it has been renamed
	_, err = io.Copy(f, body)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = place(f.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	return err == nil, syncDir(parent)
}

// makeDir creates a directory of the store, and makes the names on the way to it
// durable.
func (d *dir) makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	parent := filepath.Dir(path)
	if path != d.root && len(parent) > len(d.root) {
		if err := d.makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return syncDir(parent)
}

// syncDir makes the names in a directory durable (fsync(2), "calling fsync() on
// the directory").
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (d *dir) stat(ctx context.Context, key string) (int64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	info, err := os.Stat(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, err
	}
	return info.Size(), true, nil
}

func (d *dir) open(ctx context.Context, key string, offset, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoObject
	} else if err != nil {
		return nil, err
	}
	if n < 0 {
		n = math.MaxInt64 - offset
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, n), f}, nil
}

func (d *dir) remove(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := d.path(key)
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func (d *dir) list(ctx context.Context, prefix string) ([]Entry, error) {
	var entries []Entry
	start := d.path(prefix[:strings.LastIndexByte(prefix, '/')+1])
	err := filepath.WalkDir(start, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err == nil {
			err = ctx.Err()
		}
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), tempPrefix) {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		key := filepath.ToSlash(rel)
		if err != nil || !strings.HasPrefix(key, prefix) {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		} else if err == nil {
			entries = append(entries, Entry{Key: key, Size: info.Size()})
		}
		return err
	})
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, err
}
