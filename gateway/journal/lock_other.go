//go:build !unix || solaris || aix

package journal

import (
	"errors"
	"os"
)

// tryLock fails: without flock(2) nothing keeps two processes from writing one
// journal. A gateway runs there with its journal off.
func tryLock(*os.File) error { return errors.ErrUnsupported }
