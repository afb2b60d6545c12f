package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// TestNothingAcknowledgedIsLostWithThePower cuts the power at each operation of
// a run in turn, goes on with one of the directories that may be left, and cuts
// it again.
func TestNothingAcknowledgedIsLostWithThePower(t *testing.T) {
	variants := 3
	if fullRounds {
		variants = 30
	}
	points := 0
	for n := 1; ; n++ {
		whole := true
		for v := range variants {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(n), uint64(v)))
				l := &lives{t: t, r: r, crowd: newCrowd(), store: newStore(), trouble: v%3 == 2}
				fs := newMemFS()
				ops := l.live(fs, n)
				whole = whole && ops < n
				for range 2 {
					fs = l.left(fs)
					l.live(fs, 1+r.IntN(60))
				}
				l.last(l.left(fs))
			})
			if t.Failed() {
				t.Fatalf("power off at operation %d, variant %d", n, v)
			}
		}
		if whole {
			break
		}
		points = n
	}
	t.Logf("%d points", points)
	if points < 60 {
		t.Errorf("only %d points: the script does too little", points)
	}
}

// lives are those of the processes that have one directory, one after another.
type lives struct {
	t       *testing.T
	r       *rand.Rand
	crowd   *crowd
	store   *store
	trouble bool // the disk fails now and then, too
}

// left returns what the next life finds: what is left without power, or all of
// it if only the process was killed.
func (l *lives) left(fs *memFS) *memFS {
	if l.r.IntN(3) == 0 {
		fs.onBefore(nil)
		fs.locked = false
		return fs
	}
	return fs.afterPowerLoss(l.r)
}

// live is one life. The power goes at its nth operation. It returns how many it
// had.
func (l *lives) live(fs *memFS, n int) int {
	fs.ops = 0
	fs.powerOff(n)
	if l.trouble {
		l.addTrouble(fs)
	}
	j, err := Open(config(fs, l.crowd))
	if err != nil {
		if !errors.Is(err, errPower) && !errors.Is(err, syscall.EIO) {
			l.t.Fatal(err)
		}
		return fs.ops
	}
	stop := running(l.t, j)
	for range 20 {
		for range 1 + l.r.IntN(10) {
			l.crowd.send(j)
		}
		time.Sleep(time.Duration(l.r.IntN(400)) * time.Millisecond)
		synctest.Wait()
		if err := l.store.pull(j, func(int) bool { return l.r.IntN(3) > 0 }); err != nil {
			l.t.Fatal(err)
		}
	}
	stop()
	if err := l.store.pull(j, func(int) bool { return l.r.IntN(3) > 0 }); err != nil {
		l.t.Fatal(err)
	}
	if err := j.Close(); err != nil && !errors.Is(err, errPower) {
		l.t.Fatal(err)
	}
	return fs.ops
}

// addTrouble has one operation in ten fail, once.
func (l *lives) addTrouble(fs *memFS) {
	powerOff := fs.before
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(l.r.Uint64(), 0))
	fs.onBefore(func(op, name string, size int) error {
		if err := powerOff(op, name, size); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(10) == 0 {
			return syscall.EIO
		}
		return nil
	})
}

// last is the life after them: everything acknowledged is there.
func (l *lives) last(fs *memFS) {
	fs.onBefore(nil)
	j, err := Open(config(fs, l.crowd))
	if err != nil {
		l.t.Fatal(err)
	}
	defer j.Close()
	if err := l.store.pull(j, always); err != nil {
		l.t.Fatal(err)
	}
	if left := j.Files(); len(left) > 0 {
		l.t.Errorf("%d files could not be deleted", len(left))
	}
	there := l.store.seqs(l.t)
	for seq := range l.crowd.ackedNow() {
		if there[seq] == 0 {
			l.t.Errorf("event %d was acknowledged and is lost", seq)
		}
	}
	for seq, n := range there {
		if !l.crowd.accepted[seq] {
			l.t.Errorf("event %d is there and was refused", seq)
		}
		if n > 1 && !l.trouble {
			l.t.Errorf("event %d is there %d times", seq, n)
		}
	}
}

// TestANumberIsNeverUsedAgain deletes files in the worst order and loses the
// power right after.
func TestANumberIsNeverUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, seen := newMemFS(), map[string]bool{}
		id := ""
		for life := range 10 {
			c := newCrowd()
			j, err := Open(config(fs, c))
			if err != nil {
				t.Fatal(err)
			}
			if id == "" {
				id = j.ID()
			} else if j.ID() != id {
				t.Fatalf("the id changed from %s to %s", id, j.ID())
			}
			stop := running(t, j)
			c.send(j)
			time.Sleep(50 * time.Millisecond)
			if life%2 == 0 {
				time.Sleep(2 * time.Second) // sealed
			} else if err := stop(); err != nil { // sealed at the end
				t.Fatal(err)
			}
			synctest.Wait()
			for _, file := range j.Files() {
				key := fmt.Sprint(file.Journal, file.Number)
				if seen[key] {
					t.Fatalf("life %d: number %d comes twice", life, file.Number)
				}
				seen[key] = true
				if err := j.Delete(file); err != nil {
					t.Fatal(err)
				}
			}
			left := fs.afterPowerLoss(rand.New(rand.NewPCG(1, uint64(life))))
			fs.mu.Lock()
			left.disk = fs.disk
			for name := range left.names {
				if fs.names[name] == nil {
					delete(left.names, name) // the deletions came through
				}
			}
			fs.mu.Unlock()
			stop()
			j.Close()
			fs = left
		}
		if len(seen) != 10 {
			t.Errorf("%d files in ten lives", len(seen))
		}
	})
}

// TestADirectoryWithoutFilesIsAnotherJournal: somebody removed them by hand, so
// that the numbers are forgotten.
func TestADirectoryWithoutFilesIsAnotherJournal(t *testing.T) {
	fs := newMemFS()
	j, err := Open(config(fs, nil))
	if err != nil {
		t.Fatal(err)
	}
	id := j.ID()
	j.Close()
	for name := range fs.names {
		if parseName(name, openSuffix) > 0 {
			delete(fs.names, name)
		}
	}
	j, err = Open(config(fs, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if j.ID() == id {
		t.Error("the id is the same")
	}
	if !grandstand.ValidValue(j.ID()) || len(j.ID()) != 32 {
		t.Errorf("id %q", j.ID())
	}
}
