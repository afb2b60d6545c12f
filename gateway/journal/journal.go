package journal

import (
	"context"
	"io"
	"net/http"

	"grandstand"
)

// Journal is one directory. Its methods may be called at the same time, but for
// Run, which is called once at most.
type Journal struct {
	cfg Config
}

// Open takes a directory. Files that an earlier process left are sealed: what
// is torn at their end is cut off, and what is damaged inside stays as it is.
// It starts nothing: who only adopts what is there does not call Run.
//
// It fails with CodeConflict if the directory is somebody else's.
func Open(cfg Config) (*Journal, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Journal{cfg: cfg}, nil
}

// ID returns the journal's id.
func (j *Journal) ID() string { return "" }

// Append takes an event to be written; w, unless nil, is told when it is
// durable. e is the caller's again. It never waits for the disk, and does not
// allocate. It fails at once with CodeUnavailable if the disk is full, fails or
// stalls, and when the journal is being sealed for good; with CodeTooLarge if
// the event does not fit into a record.
func (j *Journal) Append(e *grandstand.RawEvent, w Waiter) error {
	return grandstand.Errorf(grandstand.CodeUnavailable, "events are not kept at the moment")
}

// Run writes what is appended until ctx ends. Then it commits the rest, seals
// the file, and returns. Its error says what could not be made durable.
func (j *Journal) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Seal is for the end: Append refuses from now on; what it took is committed
// and sealed, while Run still runs. Then Seal waits until all sealed files were
// deleted, or until ctx ends, and returns what is left. Its error says that
// something could not even be sealed.
func (j *Journal) Seal(ctx context.Context) (left []grandstand.JournalFile, err error) {
	return nil, nil
}

// Close gives the directory back. Call it after Run has returned.
func (j *Journal) Close() error { return nil }

// Files returns the sealed files, oldest first.
func (j *Journal) Files() []grandstand.JournalFile { return nil }

// SealedFile reads one sealed file, also when it is deleted meanwhile.
type SealedFile struct {
	*io.SectionReader // of all of it
	file              File
}

// Close closes the file.
func (f *SealedFile) Close() error { return f.file.Close() }

// Open opens a sealed file; Size of the argument does not matter. It fails with
// CodeNotFound if there is no such file.
func (j *Journal) Open(file grandstand.JournalFile) (*SealedFile, error) {
	return nil, grandstand.Errorf(grandstand.CodeNotFound, "there is no such file")
}

// Delete removes a sealed file that is safe elsewhere. It fails with
// CodeNotFound if there is no such file.
func (j *Journal) Delete(file grandstand.JournalFile) error {
	return grandstand.Errorf(grandstand.CodeNotFound, "there is no such file")
}

// Handler serves the sealed files to members, who show grandstand.PeerToken:
//
//	GET    /v1/journal/files                      grandstand.JournalFiles
//	GET    /v1/journal/files/{journal}/{number}   its bytes; ranges
//	DELETE /v1/journal/files/{journal}/{number}   204
//
// Errors are JSON as everywhere: 401 unauthorized, 404 not_found.
func (j *Journal) Handler(secret []byte) http.Handler { return http.NotFoundHandler() }
