package archiver

import (
	"context"
	"io"

	"grandstand"
)

// JournalFile is a sealed file of a journal. Its bytes never change.
type JournalFile = grandstand.JournalFile

// Source is where sealed files of journals are. Its methods may be called at the
// same time.
type Source interface {
	// Files lists the sealed files.
	Files(ctx context.Context) ([]JournalFile, error)

	// Open reads a file from its beginning.
	Open(ctx context.Context, file JournalFile) (io.ReadCloser, error)

	// Delete removes a file. It is the archiver's word that every record of it
	// is safe in the store. One that is gone already is none the less deleted.
	Delete(ctx context.Context, file JournalFile) error
}
