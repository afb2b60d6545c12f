package archiver

import (
	"context"
	"time"

	"grandstand"
)

// PruneOptions say what may go.
type PruneOptions struct {
	// Keep is for how long objects of closed hours are kept. Default 0: for
	// ever.
	Keep time.Duration

	// KeepLive is for how long live objects are kept once all of their rows are
	// in closed hours. Default: a day.
	KeepLive time.Duration

	Now time.Time // default: that of the system

	// Do removes. Otherwise it is only told what would go.
	Do bool
}

// defaultKeepLive leaves whoever reads live/ time to finish.
const defaultKeepLive = 24 * time.Hour

// Prune removes what is too old, and calls told with each such object before it
// is. A live object whose rows are not in closed hours yet stays, however old.
func (s *Store) Prune(ctx context.Context, opt PruneOptions, told func(Object)) error {
	if opt.Keep < 0 || opt.KeepLive < 0 {
		return grandstand.Errorf(grandstand.CodeInvalid, "prune: a time is negative")
	}
	if opt.KeepLive == 0 {
		opt.KeepLive = defaultKeepLive
	}
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	list, err := s.Objects(ctx, "")
	if err != nil {
		return err
	}
	closed := newCompacted(s)
	for _, o := range list {
		keep := opt.Keep
		if o.Live() {
			keep = opt.KeepLive
		}
		end := time.UnixMilli(o.Hour + hourMS)
		if keep == 0 || opt.Now.Sub(end) < keep {
			continue
		}
		if o.Live() {
			safe, err := closed.all(ctx, o)
			if err != nil {
				return err
			}
			if !safe {
				continue
			}
		}
		told(o)
		if !opt.Do {
			continue
		}
		if err := s.removeObject(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) removeObject(ctx context.Context, o Object) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if err := s.objects.remove(ctx, o.Key); err != nil {
		return unavailable(err, "remove "+o.Key)
	}
	return nil
}
