package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/minio/minio-go/v7"

	"grandstand"
)

// switcher is where objects are kept that are replaced. The same things keep
// objects.
type switcher interface {
	// tag returns a text that changes when the object does, "" if there is none,
	// and the object's size.
	tag(ctx context.Context, key string) (tag string, size int64, err error)

	// replace writes an object, as a whole or not at all, if its tag is still
	// that. It reports whether it did.
	replace(ctx context.Context, key, tag string, body *io.SectionReader) (bool, error)
}

// tag is the object's entity tag (RFC 9110, section 8.8.3).
func (b *bucket) tag(ctx context.Context, key string) (string, int64, error) {
	info, err := b.client.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return "", 0, nil
	}
	return info.ETag, info.Size, err
}

// replace is a conditional PUT ("If-Match"; Amazon S3 since November 2024, MinIO
// before). A store that does not know the condition is asked for the tag at once
// before: there is a moment in which another compactor's object may be undone,
// which that one finds when it reads back, or the next run.
func (b *bucket) replace(ctx context.Context, key, tag string, body *io.SectionReader) (bool, error) {
	if now, _, err := b.tag(ctx, key); err != nil || now != tag {
		return false, err
	}
	// One request, which is there as a whole or not at all.
	opts := minio.PutObjectOptions{ContentType: "application/vnd.apache.parquet", DisableMultipart: true}
	plain := opts
	if tag == "" {
		opts.SetMatchETagExcept("*")
	} else {
		opts.SetMatchETag(tag)
	}
	_, err := b.client.PutObject(ctx, b.name, b.prefix+key, body, body.Size(), opts)
	switch response := minio.ToErrorResponse(err); {
	case err == nil:
		return true, nil
	case response.StatusCode == http.StatusPreconditionFailed, response.StatusCode == http.StatusConflict, response.Code == minio.NoSuchKey:
		return false, nil
	case response.StatusCode != http.StatusNotImplemented && response.Code != "NotImplemented":
		return false, err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	_, err = b.client.PutObject(ctx, b.name, b.prefix+key, body, body.Size(), plain)
	return err == nil, err
}

// tagTail is how much of the end of a file goes into its tag: there stand an
// object's footer, with the digest of its rows, and the whole of most manifests.
const tagTail = 64 << 10

// tag is made of size, time and the end of the file.
func (d *dir) tag(ctx context.Context, key string) (string, int64, error) {
	if err := ctx.Err(); err != nil {
		return "", 0, err
	}
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, nil
	} else if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	tail := make([]byte, min(info.Size(), tagTail))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return "", 0, err
	}
	return fmt.Sprintf("%x-%x-%x", info.Size(), info.ModTime().UnixNano(), xxhash.Sum64(tail)), info.Size(), nil
}

// switching keeps this process from looking at a tag while another goroutine
// replaces the object; the lock of the directory keeps others from it.
var switching sync.Mutex

// replace is put under a lock, with a look at the tag.
func (d *dir) replace(ctx context.Context, key, tag string, body *io.SectionReader) (done bool, err error) {
	_, err = d.write(ctx, key, body, func(from, to string) error {
		switching.Lock()
		defer switching.Unlock()
		lock, err := d.lock(ctx)
		if err != nil {
			return err
		}
		defer lock.Close()
		now, _, err := d.tag(ctx, key)
		if err != nil || now != tag {
			return err // the file stays where it is, and is removed
		}
		err = os.Rename(from, to)
		done = err == nil
		return err
	})
	return done, err
}

// lock waits for the lock of the directory, which is held for a moment only.
func (d *dir) lock(ctx context.Context) (io.Closer, error) {
	for {
		f, err := lockFile(filepath.Join(d.root, tempPrefix+"compact"))
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, errors.ErrUnsupported):
			return io.NopCloser(nil), nil
		case grandstand.CodeOf(err) != grandstand.CodeConflict:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// tempFile is a temporary file that has no name where the system allows it, so
// that nothing is left of it after a crash.
type tempFile struct {
	*os.File
	size int64
}

func newTemp(dir string) (*tempFile, error) {
	f, err := os.CreateTemp(dir, "grandstand-compact-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // else close does it
	return &tempFile{File: f}, nil
}

func (f *tempFile) close() {
	if f != nil {
		f.Close()
		os.Remove(f.Name())
	}
}

// fetchTemp brings an object into a temporary file. The error is errNoObject if
// there is none.
func (s *Store) fetchTemp(ctx context.Context, key, dir string, size int64) (_ *tempFile, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout(size))
	defer cancel()
	r, err := s.objects.open(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := newTemp(dir)
	if err != nil {
		return nil, err
	}
	if f.size, err = io.Copy(f, r); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// same reports whether an object has the bytes of a file.
func (s *Store) same(ctx context.Context, key string, f *tempFile) (bool, error) {
	r, err := s.objects.open(ctx, key, 0, -1)
	if errors.Is(err, errNoObject) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer r.Close()
	var theirs, ours [64 << 10]byte
	for at := int64(0); ; {
		n, err := io.ReadFull(r, theirs[:])
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return false, err
		}
		if at+int64(n) > f.size {
			return false, nil
		}
		if _, err := f.ReadAt(ours[:n], at); err != nil {
			return false, err
		}
		if !bytes.Equal(theirs[:n], ours[:n]) {
			return false, nil
		}
		if at += int64(n); ended {
			return at == f.size, nil
		}
	}
}

// remoteFile reads parts of an object. The last bytes, where the footer is, are
// asked for once.
type remoteFile struct {
	ctx  context.Context
	s    *Store
	key  string
	size int64
	tail []byte
	tag  string // what it was when size was so; "": nobody replaces it
}

// moved returns errMoved for an object that looks damaged, or shorter, because
// another one took its place while it was read, else the error.
func (r *remoteFile) moved(err error) error {
	if r.tag == "" {
		return err
	}
	sw, e := r.s.switcher()
	if e != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, Timeout)
	defer cancel()
	if now, _, e := sw.tag(ctx, r.key); e == nil && now != r.tag {
		return errMoved
	}
	return err
}

func (s *Store) remote(ctx context.Context, key string, size int64) *remoteFile {
	return &remoteFile{ctx: ctx, s: s, key: key, size: size}
}

func (r *remoteFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= r.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > r.size-off
	if short {
		b = b[:r.size-off]
	}
	from := r.size - min(r.size, tagTail)
	if off >= from {
		if r.tail == nil {
			tail := make([]byte, r.size-from)
			if err := r.get(tail, from); err != nil {
				return 0, err
			}
			r.tail = tail
		}
		copy(b, r.tail[off-from:])
	} else if err := r.get(b, off); err != nil {
		return 0, err
	}
	if short {
		return len(b), io.EOF
	}
	return len(b), nil
}

func (r *remoteFile) get(b []byte, off int64) error {
	ctx, cancel := context.WithTimeout(r.ctx, Timeout)
	defer cancel()
	body, err := r.s.objects.open(ctx, r.key, off, int64(len(b)))
	if err == nil {
		_, err = io.ReadFull(body, b)
		body.Close()
	}
	if err != nil {
		return fmt.Errorf("%w %s: %w", errRead, r.key, err)
	}
	return nil
}
