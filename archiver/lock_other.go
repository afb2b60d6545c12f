//go:build !unix || solaris || aix

package archiver

import (
	"errors"
	"fmt"
	"os"
)

// lockFile fails: without flock(2) nothing keeps two processes from one journal.
func lockFile(path string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: %w", path, errors.ErrUnsupported)
}
