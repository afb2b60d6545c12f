package journal

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// TestADiskThatFails has each operation fail for a while, as a disk does. What
// was accepted is acknowledged once the disk works, what comes meanwhile is
// refused at once, and the journal says so.
func TestADiskThatFails(t *testing.T) {
	for _, tt := range []struct {
		op    string
		err   error
		why   reason
		files int // that there are in the end
	}{
		{"write", syscall.EIO, broken, 2},
		{"sync", syscall.EIO, broken, 2},
		{"write", syscall.ENOSPC, full, 2},
		{"sync", syscall.ENOSPC, full, 2},
		{"write", syscall.EDQUOT, full, 2},
	} {
		t.Run(tt.op+" "+tt.err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, func(c *Config) { c.MaxAge = time.Hour; c.MaxFile = 1 << 20 })
				s.sendOK(10)
				s.pace()
				s.ackedAre(11)
				tries := 0
				s.fs.onBefore(func(op, name string, size int) error {
					if op == tt.op {
						tries++
						return tt.err
					}
					return nil
				})
				s.sendOK(10)
				after(time.Second)
				s.ackedAre(11)
				for range 20 {
					s.refusedFor(tt.why)
					after(time.Second)
				}
				s.ackedAre(11)
				s.fs.onBefore(nil)
				after(time.Second)
				s.ackedAre(21)
				if tries < 30 || tries > 90 {
					t.Errorf("%d tries in 21 s", tries)
				}
				s.sendOK(10)
				after(time.Second)
				s.ackedAre(31)
				s.end()
				s.gapsAre(tt.why)
				if len(s.store.files) != tt.files {
					t.Errorf("%d files", len(s.store.files))
				}
			})
		})
	}
}

// pace waits for what was sent to be committed, and sends one more: what comes
// next is committed together, CommitEvery later.
func (s *started) pace() {
	s.t.Helper()
	after(time.Second)
	s.sendOK(1)
	after(0)
}

// TestAnErrorThatPasses costs a new file, and nobody an acknowledgement.
func TestAnErrorThatPasses(t *testing.T) {
	for _, op := range []string{"write", "sync", "create", "rename", "syncdir", "truncate"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, func(c *Config) { c.MaxAge = 12 * time.Second; c.MaxFile = 1 << 20 })
				failed := 0
				for range 100 {
					failing, cutting := true, op == "truncate"
					s.fs.onBefore(func(o, name string, size int) error {
						if o == op && failing {
							failing = false
							failed++
							return syscall.EIO
						}
						if o == "write" && cutting { // so that there is something to be cut
							cutting = false
							return syscall.EIO
						}
						return nil
					})
					_ = s.crowd.send(s.Journal)
					after(5 * time.Second)
				}
				s.fs.onBefore(nil)
				after(time.Minute)
				s.end()
				if _, acked, refused := s.crowd.counts(); refused > 0 || acked != 100 || failed < 30 {
					t.Errorf("%d acknowledged, %d refused, %d failures", acked, refused, failed)
				}
			})
		})
	}
}

// TestAFileThatFailedIsNotWrittenAgain: a sync that works after one that failed
// says nothing of what the kernel dropped in between.
func TestAFileThatFailedIsNotWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxAge = time.Hour; c.MaxFile = 1 << 20 })
		s.sendOK(9)
		s.pace()
		once := true
		var written []string
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "write" {
				written = append(written, name)
			}
			if op == "sync" && once {
				once = false
				return syscall.EIO
			}
			return nil
		})
		s.sendOK(10)
		after(time.Second)
		s.ackedAre(20)
		// The batch, then the seal, go to the first; the header and the batch to
		// the second.
		if got, want := strings.Join(written, " "), "00000001.open 00000001.open 00000002.open 00000002.open"; got != want {
			t.Errorf("written: %s", got)
		}
		s.pullAll()
		c, err := contentsOf(s.store.files[s.ID()+"-00000001"])
		if err != nil || len(c.seqs) != 10 || len(c.damaged) > 0 || c.seal.Adopted {
			t.Errorf("the first file: %+v, %v", c, err)
		}
		s.end()
	})
}

// TestOneBadFileDoesNotStopOthers: the file that failed cannot even be sealed.
func TestOneBadFileDoesNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxAge = 2 * time.Second })
		s.sendOK(10)
		after(time.Second)
		s.ackedAre(10)
		s.fs.onBefore(func(op, name string, size int) error {
			if name == openName(1) {
				return syscall.EIO
			}
			return nil
		})
		for range 20 {
			_ = s.crowd.send(s.Journal)
			after(time.Second)
		}
		if _, acked, refused := s.crowd.counts(); acked < 29 || refused > 1 {
			t.Fatalf("%d acknowledged, %d refused", acked, refused)
		}
		files := s.Files()
		if len(files) < 5 || files[0].Number != 2 {
			t.Fatalf("files %v", files)
		}
		s.fs.onBefore(nil)
		after(time.Second)
		if files := s.Files(); files[0].Number != 1 {
			t.Fatalf("files %v", files)
		}
		s.end()
	})
}

// TestADiskWithoutRoom is not told to refuse: it does when it is full.
func TestADiskWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.fs.mu.Lock()
		s.fs.room = 10_000
		s.fs.mu.Unlock()
		refused := 0
		for range 300 {
			if s.crowd.send(s.Journal) != nil {
				refused++
			}
			after(20 * time.Millisecond)
		}
		if refused < 80 {
			t.Fatalf("%d were refused", refused)
		}
		s.pullAll() // frees room
		after(time.Second)
		s.sendOK(5)
		after(time.Second)
		s.end()
		s.gapsAre(full)
	})
}

// TestADiskFullOfOneFile: there is nothing to be deleted before it is sealed.
func TestADiskFullOfOneFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.MaxFile = 1 << 20; c.MaxAge = time.Hour })
		s.fs.mu.Lock()
		s.fs.room = 10_000
		s.fs.mu.Unlock()
		for s.crowd.send(s.Journal) == nil {
			after(20 * time.Millisecond)
		}
		after(time.Minute)
		if files := s.Files(); len(files) != 1 {
			t.Fatalf("files %v", files)
		}
		s.pullAll()
		after(time.Second)
		s.sendOK(5)
		after(time.Second)
		s.end()
		s.gapsAre(full)
	})
}

// TestADirectoryThatIsFullAtTheStart: counts and leases go on, so the gateway
// must start.
func TestADirectoryThatIsFullAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.sendOK(10)
		after(20 * time.Millisecond)
		s.fs.onBefore(func(op, name string, size int) error { return errPower })
		_ = s.stop()
		s.Journal.Close()
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "write" || op == "create" {
				return syscall.ENOSPC
			}
			return nil
		})
		j, err := Open(config(s.fs, s.crowd))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		s.Journal, s.stop = j, running(t, j)
		s.refusedFor(full)
		after(5 * time.Second)
		s.refusedFor(full)
		s.fs.onBefore(nil)
		after(time.Second)
		s.sendOK(10)
		after(time.Second)
		s.end()
		s.gapsAre(full)
	})
}

// TestTheHighestFileStaysUntilThereIsAnother, or its number would be forgotten.
func TestTheHighestFileStaysUntilThereIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := dirOf(map[string][]byte{
			idName: []byte(oldID), "00000002.journal": sealedBytes(leftFile(2, 5), 1), "00000003.journal": sealedBytes(leftFile(3, 6), 1),
		})
		fs.onBefore(func(op, name string, size int) error {
			if op == "create" {
				return syscall.ENOSPC
			}
			return nil
		})
		j, _ := adopted(t, fs)
		running(t, j)
		if files := j.Files(); len(files) != 1 || files[0].Number != 2 {
			t.Errorf("files %v", files)
		}
		fs.onBefore(nil)
		after(time.Second)
		for _, f := range j.Files() {
			if err := j.Delete(f); err != nil {
				t.Errorf("file %d: %v", f.Number, err)
			}
		}
		if fs.names["00000003.journal"] != nil || fs.disk["00000004.open"] == nil {
			t.Errorf("left: %v", fs.disk)
		}
	})
}

// TestDeletesThatFailCanBeTriedAgain.
func TestDeletesThatFailCanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.sendOK(10)
		after(2 * time.Second)
		f := s.Files()[0]
		s.fs.onBefore(func(op, name string, size int) error {
			if op == "remove" {
				return syscall.EIO
			}
			return nil
		})
		if err := s.Delete(f); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		s.fs.onBefore(nil)
		if _, err := readFile(s.Journal, f); err != nil {
			t.Fatal(err)
		}
		s.end()
		if err := s.Delete(f); grandstand.CodeOf(err) != grandstand.CodeNotFound {
			t.Errorf("deleted twice: %v", err)
		}
	})
}
