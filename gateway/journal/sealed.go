package journal

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"grandstand"
)

// Files returns the sealed files, oldest first.
func (j *Journal) Files() []grandstand.JournalFile {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.sealed)
}

// publish lists a file in Files. It does not unless there is a file with a
// higher number, durably: whoever deleted the highest would have its number
// forgotten, and used again.
func (j *Journal) publish(f grandstand.JournalFile) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if f.Number >= j.floor {
		return false
	}
	j.insertLocked(f)
	return true
}

func (j *Journal) insertLocked(f grandstand.JournalFile) {
	i, _ := slices.BinarySearchFunc(j.sealed, f.Number, byNumber)
	j.sealed = slices.Insert(j.sealed, i, f)
	if _, was := j.since[f.Number]; !was { // it may be back: it could not be deleted
		j.since[f.Number] = time.Now()
	}
	j.metrics.files.Set(float64(len(j.sealed)))
}

// oldest returns for how long the first file has been sealed here, 0 if there is
// none.
func (j *Journal) oldest() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.sealed) == 0 {
		return 0
	}
	return time.Since(j.since[j.sealed[0].Number])
}

// raiseFloor says that there is a file of that number, durably.
func (j *Journal) raiseFloor(number uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.floor = max(j.floor, number)
}

func byNumber(f grandstand.JournalFile, number uint64) int { return cmp.Compare(f.Number, number) }

// findLocked returns the place of a file in sealed.
func (j *Journal) findLocked(file grandstand.JournalFile) (int, error) {
	i, found := slices.BinarySearchFunc(j.sealed, file.Number, byNumber)
	if !found || j.sealed[i].Journal != file.Journal {
		return 0, grandstand.Errorf(grandstand.CodeNotFound, "there is no such file")
	}
	return i, nil
}

// SealedFile reads one sealed file, also when it is deleted meanwhile.
type SealedFile struct {
	*io.SectionReader // of all of it
	file              File
}

// Close closes the file.
func (f *SealedFile) Close() error { return f.file.Close() }

// Open opens a sealed file; the Size of the argument does not matter. It fails
// with CodeNotFound if there is no such file.
func (j *Journal) Open(file grandstand.JournalFile) (*SealedFile, error) {
	j.mu.Lock()
	i, err := j.findLocked(file)
	if err != nil {
		j.mu.Unlock()
		return nil, err
	}
	size := j.sealed[i].Size
	j.mu.Unlock()
	f, err := j.dir.Open(sealedName(file.Number), os.O_RDONLY)
	if err != nil {
		if os.IsNotExist(err) { // deleted just now
			return nil, grandstand.WrapError(grandstand.CodeNotFound, err, "there is no such file")
		}
		return nil, fmt.Errorf("open sealed file: %w", err)
	}
	return &SealedFile{io.NewSectionReader(f, 0, size), f}, nil
}

// Delete removes a sealed file that is safe elsewhere. It fails with
// CodeNotFound if there is no such file. After a loss of power it may be there
// again.
func (j *Journal) Delete(file grandstand.JournalFile) error {
	j.mu.Lock()
	i, err := j.findLocked(file)
	if err != nil {
		j.mu.Unlock()
		return err
	}
	found := j.sealed[i]
	j.sealed = slices.Delete(j.sealed, i, i+1)
	j.mu.Unlock()

	if err := j.dir.Remove(sealedName(file.Number)); err != nil && !os.IsNotExist(err) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.insertLocked(found)
		return fmt.Errorf("delete sealed file: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.since, found.Number)
	j.used -= found.Size
	if j.bounded && j.used <= j.cfg.MaxBytes-j.cfg.MaxBytes/16 {
		j.bounded = false // not sooner, so that not every file has a gap
		j.poke()
	}
	j.metrics.files.Set(float64(len(j.sealed)))
	j.metrics.bytes.Set(float64(j.used))
	close(j.changed)
	j.changed = make(chan struct{})
	return nil
}

// Describe adds what is on the disk to s. It may be called at any time.
func (j *Journal) Describe(s *grandstand.Status) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Journal = &grandstand.JournalStatus{Bytes: uint64(max(j.used, 0)), Files: uint64(len(j.sealed))}
}

// Seal is for the end: Append refuses from now on; what it took is committed
// and sealed by Run, which must go on. Then Seal waits until all sealed files
// were deleted, or until ctx ends, and returns what is left. It fails if
// something could not be sealed in that time.
func (j *Journal) Seal(ctx context.Context) (left []grandstand.JournalFile, err error) {
	j.mu.Lock()
	writes := j.ran || len(j.buf) > 0 // otherwise there is nothing but what was adopted
	j.run = max(j.run, phaseSealing)
	j.mu.Unlock()
	j.poke()
	if writes {
		select {
		case <-j.settled:
		case <-j.over:
			select {
			case <-j.settled:
			default:
				return j.Files(), grandstand.Errorf(grandstand.CodeUnavailable, "the journal could not be sealed")
			}
		case <-ctx.Done():
			return j.Files(), grandstand.WrapError(grandstand.CodeUnavailable, ctx.Err(), "the journal could not be sealed in time")
		}
	}
	for {
		j.mu.Lock()
		left, changed := slices.Clone(j.sealed), j.changed
		j.mu.Unlock()
		if len(left) == 0 {
			return nil, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return left, nil
		}
	}
}
