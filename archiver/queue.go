package archiver

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// fileID names a journal file.
type fileID struct {
	journal string
	number  uint64
}

func idOf(f JournalFile) fileID { return fileID{f.Journal, f.Number} }

// job is a journal file on its way. A worker owns it while it is busy, the
// queue the rest of the time.
type job struct {
	file   JournalFile
	source Source

	stored bool   // verified in the store: only the delete is left
	step   string // the last one begun
	tries  int    // since the last success of any step

	busy bool
	seen time.Time // when it was listed first
	next time.Time // not before
}

// queue remembers the files that sources list.
type queue struct {
	cfg *Config

	mu   sync.Mutex
	jobs map[fileID]*job
}

func newQueue(cfg *Config) *queue {
	if cfg.jitter == nil {
		cfg.jitter = rand.Float64
	}
	return &queue{cfg: cfg, jobs: map[fileID]*job{}}
}

// listing is what one source said.
type listing struct {
	source Source
	files  []JournalFile
	err    error
}

const (
	listTimeout = 10 * time.Second
	listAtOnce  = 16
)

// listAll asks all sources for their files.
func (a *Archiver) listAll(ctx context.Context) (listed, failed []listing) {
	sources := a.cfg.Sources()
	all := make([]listing, len(sources))
	limit := make(chan struct{}, listAtOnce)
	var wg sync.WaitGroup
	for i, s := range sources {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			ctx, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			files, err := s.Files(ctx)
			all[i] = listing{source: s, files: files, err: err}
		})
	}
	wg.Wait()
	for _, l := range all {
		if l.err == nil {
			listed = append(listed, l)
			continue
		}
		failed = append(failed, l)
		if ctx.Err() == nil {
			a.metrics.failures.WithLabelValues("list").Inc()
			a.absent.warn(a.cfg.Logger, "list journal files", "source", fmt.Sprint(l.source), "error", l.err)
		}
	}
	return listed, failed
}

// dueAtOnce bounds the files that a round hands out, for each worker: then
// sources are asked again, so that a backlog does not hide what is new.
const dueAtOnce = 4

// update takes in what sources listed, and returns the files that are to be
// archived now, the oldest first; they are busy until finish. It also returns
// the age of the oldest file that is this archiver's, and how many there are.
func (q *queue) update(listed, failed []listing) (due []*job, lag time.Duration, pending int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	there := make(map[fileID]bool)
	for _, l := range listed {
		for _, f := range l.files {
			there[idOf(f)] = true
			if j := q.jobs[idOf(f)]; j == nil {
				q.jobs[idOf(f)] = &job{file: f, source: l.source, seen: now}
			} else if !j.busy {
				j.source = l.source
			}
		}
	}
	unknown := make(map[Source]bool)
	for _, l := range failed {
		unknown[l.source] = true
	}
	for id, j := range q.jobs {
		if !there[id] && !j.busy && !unknown[j.source] {
			delete(q.jobs, id)
			continue
		}
		if !q.cfg.Mine(j.file) && now.Sub(j.seen) < q.cfg.TakeOver {
			continue
		}
		pending++
		lag = max(lag, now.Sub(j.seen))
		if !j.busy && there[id] && !now.Before(j.next) {
			due = append(due, j)
		}
	}
	slices.SortFunc(due, func(a, b *job) int {
		return cmp.Or(a.seen.Compare(b.seen), cmp.Compare(a.file.Journal, b.file.Journal), cmp.Compare(a.file.Number, b.file.Number))
	})
	due = due[:min(len(due), dueAtOnce*q.cfg.Workers)]
	for _, j := range due {
		j.busy = true
	}
	return due, lag, pending
}

// The times after which a file is tried again: a random part of backoffMin,
// doubled each time up to backoffMax ("Exponential Backoff And Jitter", AWS
// Architecture Blog, 2015: full jitter).
const (
	backoffMin = 500 * time.Millisecond
	backoffMax = 30 * time.Second
	deleteMax  = 2 * time.Second // where only the delete is left, which costs little
)

// finish says how the work on a file ended.
func (q *queue) finish(j *job, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	j.busy = false
	if err == nil {
		delete(q.jobs, idOf(j.file))
		return
	}
	j.tries++
	limit := min(backoffMin<<min(j.tries-1, 10), backoffMax)
	if j.stored {
		limit = min(limit, deleteMax)
	}
	j.next = time.Now().Add(time.Duration(q.cfg.jitter() * float64(limit)))
}

// Owner returns which of the members archives a file, by rendezvous hashing
// (Thaler and Ravishankar, 1996): when one comes or goes only its share moves.
// It is "" if there are none.
func Owner(file JournalFile, members []string) string {
	var best string
	var most uint64
	for _, m := range members {
		var d xxhash.Digest
		d.Reset()
		_, _ = d.WriteString(m)
		_, _ = d.Write([]byte{0})
		_, _ = d.WriteString(file.Journal)
		_, _ = d.Write([]byte{0, byte(file.Number), byte(file.Number >> 8), byte(file.Number >> 16), byte(file.Number >> 24)})
		if sum := d.Sum64(); best == "" || sum > most || sum == most && m < best {
			best, most = m, sum
		}
	}
	return best
}
