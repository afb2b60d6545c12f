package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"grandstand"
)

// Dir is the journal that a gateway left behind. Files takes the directory's
// lock, as a gateway would, and seals what was being written; the lock is held
// until the last file is deleted, or Close.
type Dir struct {
	path string
	now  func() int64 // Redis ms, for seals

	mu   sync.Mutex
	lock *os.File // nil: not held
}

// AdoptDir returns the journal in a directory. It touches nothing yet. now is the
// time to be told in seals, in Redis ms; nil: the clock of this machine.
func AdoptDir(path string, now func() int64) *Dir {
	if now == nil {
		now = func() int64 { return time.Now().UnixMilli() }
	}
	return &Dir{path: path, now: now}
}

// The names in a journal's directory.
const (
	lockName     = "LOCK"
	idName       = "ID"
	openSuffix   = ".open"
	sealedSuffix = ".journal"
)

// String returns the path.
func (d *Dir) String() string { return d.path }

// Close gives the lock back.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unlockLocked()
}

func (d *Dir) unlockLocked() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// Files seals what was left and lists the sealed files. It fails with
// CodeConflict while a gateway, or another archiver, has the lock.
func (d *Dir) Files(ctx context.Context) ([]JournalFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	numbers, err := d.numbers(sealedSuffix, openSuffix)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, d.unlockLocked() // whoever starts here now begins a journal of its own
	}
	if d.lock == nil {
		if d.lock, err = lockFile(filepath.Join(d.path, lockName)); err != nil {
			return nil, err
		}
	}
	open, err := d.numbers(openSuffix)
	if err != nil {
		return nil, err
	}
	var errs []error // one file that cannot be sealed keeps no other from being read
	for _, n := range open {
		errs = append(errs, d.seal(n))
	}
	sealed, err := d.numbers(sealedSuffix)
	if err != nil {
		return nil, err
	}
	id := d.id()
	var files []JournalFile
	for _, n := range sealed {
		f, err := d.describe(n, id)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, errors.Join(errs...)
	}
	return files, nil
}

// numbers returns those of the files whose names have one of the suffixes.
func (d *Dir) numbers(suffixes ...string) ([]uint64, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		for _, suffix := range suffixes {
			digits, ok := strings.CutSuffix(e.Name(), suffix)
			if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

func (d *Dir) name(number uint64, suffix string) string {
	return filepath.Join(d.path, fmt.Sprintf("%08d%s", number, suffix))
}

// id returns the journal's id, "" if it is lost.
func (d *Dir) id() string {
	b, err := os.ReadFile(filepath.Join(d.path, idName))
	if id := strings.TrimSpace(string(b)); err == nil && grandstand.ValidValue(id) {
		return id
	}
	return ""
}

// describe returns what a sealed file is: its header knows, or else the
// directory.
func (d *Dir) describe(number uint64, id string) (JournalFile, error) {
	f, err := os.Open(d.name(number, sealedSuffix))
	if err != nil {
		return JournalFile{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return JournalFile{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return JournalFile{}, err
	}
	if t, payload, ok := grandstand.NewJournalScanner(b).Next(); ok && t == grandstand.RecordHeader {
		if h, err := grandstand.DecodeHeaderRecord(payload); err == nil {
			id = h.Journal
		}
	}
	if id == "" {
		return JournalFile{}, grandstand.Errorf(grandstand.CodeInvalid, "%s: neither its header nor the directory says of which journal it is", f.Name())
	}
	return JournalFile{Journal: id, Number: number, Size: info.Size()}, nil
}

// seal seals a file that was being written when its gateway ended, as a gateway
// does that starts in the directory: what is damaged inside stays as it is, a
// torn tail is cut off, and a file without anything in it is removed.
func (d *Dir) seal(number uint64) error {
	from, to := d.name(number, openSuffix), d.name(number, sealedSuffix)
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// What the gateway left may be in memory only. It has to be on the disk
	// before a seal counts it.
	if err := f.Sync(); err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return err
	}
	if len(body) > MaxFile {
		return grandstand.Errorf(grandstand.CodeTooLarge, "%s has more than %d bytes", from, MaxFile)
	}
	keep, seal, sealed := inspect(body)
	switch {
	case sealed: // and only its name is not
	case seal.Events+seal.Gaps == 0:
		if err := os.Remove(from); err != nil {
			return err
		}
		return syncDir(d.path)
	default:
		seal.SealedAt = d.now()
		if err := f.Truncate(int64(keep)); err != nil {
			return err
		}
		if _, err := f.WriteAt(grandstand.AppendSealRecord(nil, seal), int64(keep)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(d.path)
}

// inspect returns how much of a file is to be kept, the seal that belongs after
// it, and whether the file has one already. (The gateway's journal does the
// same; stages do not import each other.)
func inspect(body []byte) (keep int, seal *grandstand.JournalSeal, sealed bool) {
	seal = &grandstand.JournalSeal{Adopted: true}
	s := grandstand.NewJournalScanner(body)
	for {
		t, _, ok := s.Next()
		switch {
		case !ok:
			return keep, seal, false
		case t == grandstand.RecordSeal:
			// One that is not the end was followed by what was to be cut off:
			// it is not known to be durable either.
			return keep, seal, s.Offset() == len(body)
		case t == grandstand.RecordEvent:
			seal.Events++
		case t == grandstand.RecordGap:
			seal.Gaps++
		}
		keep = s.Offset()
	}
}

// Open implements Source.
func (d *Dir) Open(_ context.Context, file JournalFile) (io.ReadCloser, error) {
	if !d.held() {
		return nil, errNotHeld
	}
	return os.Open(d.name(file.Number, sealedSuffix))
}

var errNotHeld = grandstand.Errorf(grandstand.CodeConflict, "the journal's lock is not held")

func (d *Dir) held() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lock != nil
}

// Delete implements Source. The highest number goes last (CodeUnavailable until
// then): a gateway that starts here goes on after it, and must not use a number
// again.
func (d *Dir) Delete(_ context.Context, file JournalFile) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return errNotHeld
	}
	numbers, err := d.numbers(sealedSuffix, openSuffix)
	if err != nil {
		return err
	}
	if n := len(numbers); n > 1 && numbers[n-1] == file.Number {
		return grandstand.Errorf(grandstand.CodeUnavailable, "the file cannot be deleted before those with lower numbers")
	}
	if err := os.Remove(d.name(file.Number, sealedSuffix)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return syncDir(d.path)
}
