package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

const oldID = "00112233445566778899aabbccddeeff"

// leftFile returns a file as a process leaves it that was killed, with the
// events of those seqs.
func leftFile(number uint64, seqs ...uint64) []byte {
	b := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: oldID, File: number, Gateway: "g0", CreatedAt: 1})
	for _, seq := range seqs {
		b = grandstand.AppendEventRecord(b, eventOf(seq))
	}
	return b
}

func sealedBytes(b []byte, events uint64) []byte {
	return grandstand.AppendSealRecord(slices.Clone(b), &grandstand.JournalSeal{Events: events, SealedAt: 2})
}

// dirOf returns a directory with these files.
func dirOf(files map[string][]byte) *memFS {
	fs := newMemFS()
	for name, b := range files {
		fs.names[name] = &inode{data: slices.Clone(b), durable: slices.Clone(b)}
	}
	fs.disk = fs.names
	return fs
}

// adopted opens a directory and returns what it serves, by number.
func adopted(t *testing.T, fs FS) (*Journal, map[uint64]*contents) {
	t.Helper()
	j, err := Open(config(fs, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	all := map[uint64]*contents{}
	for _, f := range j.Files() {
		b, err := readFile(j, f)
		if err != nil {
			t.Fatal(err)
		}
		if all[f.Number], err = contentsOf(b); err != nil {
			t.Fatalf("file %d: %v", f.Number, err)
		}
		if f.Journal != oldID {
			t.Errorf("file %d is of journal %s", f.Number, f.Journal)
		}
	}
	return j, all
}

func TestWhatAnEarlierProcessLeft(t *testing.T) {
	id := []byte(oldID + "\n")
	whole := leftFile(3, 1, 2, 3)
	sealed := sealedBytes(whole, 3)
	flipped := slices.Clone(whole)
	flipped[len(leftFile(3, 1))+20] ^= 4 // the event of seq 2
	header := slices.Clone(whole)
	header[10] ^= 1
	for _, tt := range []struct {
		what    string
		files   map[string][]byte
		seqs    map[uint64][]uint64 // by file
		adopted bool                // the last of them
		next    uint64              // the number that is written next
	}{
		{"nothing but an id", map[string][]byte{idName: id}, nil, false, 1},
		{"an open file", map[string][]byte{idName: id, "00000003.open": whole}, map[uint64][]uint64{3: {1, 2, 3}}, true, 4},
		{"an open file with a torn record", map[string][]byte{idName: id, "00000003.open": whole[:len(whole)-5]}, map[uint64][]uint64{3: {1, 2}}, true, 4},
		{"an open file with zeros", map[string][]byte{idName: id, "00000003.open": append(slices.Clone(whole), make([]byte, 5000)...)}, map[uint64][]uint64{3: {1, 2, 3}}, true, 4},
		{"an open file with a flipped bit", map[string][]byte{idName: id, "00000003.open": flipped}, map[uint64][]uint64{3: {1, 3}}, true, 4},
		{"an open file without a header", map[string][]byte{idName: id, "00000003.open": header}, map[uint64][]uint64{3: {1, 2, 3}}, true, 4},
		{"a file that was sealed and not named", map[string][]byte{idName: id, "00000003.open": sealed, "00000004.open": nil}, map[uint64][]uint64{3: {1, 2, 3}}, false, 4},
		{"a torn seal", map[string][]byte{idName: id, "00000003.open": sealed[:len(sealed)-1]}, map[uint64][]uint64{3: {1, 2, 3}}, true, 4},
		{"a seal and what was to be cut off", map[string][]byte{idName: id, "00000003.open": append(slices.Clone(sealed), leftFile(3, 9)...)}, map[uint64][]uint64{3: {1, 2, 3}}, true, 4},
		{"an empty file", map[string][]byte{idName: id, "00000003.open": nil}, nil, false, 3},
		{"a file of a header", map[string][]byte{idName: id, "00000003.open": leftFile(3)}, nil, false, 3},
		{"a file of a torn header", map[string][]byte{idName: id, "00000003.open": leftFile(3)[:9]}, nil, false, 3},
		{"files that are sealed", map[string][]byte{idName: id, "00000003.journal": sealed, "00000005.journal": sealedBytes(leftFile(5, 7), 1)}, map[uint64][]uint64{3: {1, 2, 3}, 5: {7}}, false, 6},
		{"several open files", map[string][]byte{idName: id, "00000003.open": whole, "00000004.open": nil, "00000005.open": leftFile(5, 7), "00000006.open": nil},
			map[uint64][]uint64{3: {1, 2, 3}, 5: {7}}, true, 6},
		{"an open file of a number that is sealed", map[string][]byte{idName: id, "00000003.journal": sealed, "00000003.open": leftFile(3, 9)}, map[uint64][]uint64{3: {1, 2, 3}}, false, 4},
		{"an id that is lost", map[string][]byte{"00000003.journal": sealed, "00000004.open": leftFile(4, 5)}, map[uint64][]uint64{3: {1, 2, 3}, 4: {5}}, true, 5},
		{"an id that is torn", map[string][]byte{idName: id[:7], "00000003.journal": sealed}, map[uint64][]uint64{3: {1, 2, 3}}, false, 4},
		{"other files", map[string][]byte{idName: id, "00000003.journal": sealed, "notes.txt": nil, "3.open": nil, "00000000.open": nil, "x.journal": nil}, map[uint64][]uint64{3: {1, 2, 3}}, false, 4},
	} {
		t.Run(tt.what, func(t *testing.T) {
			fs := dirOf(tt.files)
			j, all := adopted(t, fs)
			if len(all) != len(tt.seqs) {
				t.Errorf("%d files, not %d", len(all), len(tt.seqs))
			}
			last := uint64(0)
			for number, want := range tt.seqs {
				if c := all[number]; c == nil || !slices.Equal(c.seqs, want) {
					t.Fatalf("file %d: %+v, not %v", number, c, want)
				}
				last = max(last, number)
			}
			if last > 0 && all[last].seal.Adopted != tt.adopted {
				t.Errorf("file %d: adopted is %v", last, all[last].seal.Adopted)
			}
			if damaged := strings.Contains(tt.what, "flipped") || strings.Contains(tt.what, "without a header"); damaged != (last > 0 && len(all[last].damaged) > 0) {
				t.Errorf("file %d: damage %v", last, all[last].damaged)
			}
			if fs.names[openName(tt.next)] == nil {
				t.Errorf("%d is not written next, but %v", tt.next, fs.names)
			}
			// Files that are sealed were not touched.
			for name, b := range tt.files {
				if n := parseName(name, sealedSuffix); n > 0 && !bytes.Equal(b, fs.names[name].data) {
					t.Errorf("%s was changed", name)
				}
			}
			if had := string(tt.files[idName]) == string(id) && len(tt.files) > 1; had != (j.ID() == oldID) {
				t.Errorf("the id is %s", j.ID())
			}
			// All may go, and the next process goes on.
			for _, f := range j.Files() {
				if err := j.Delete(f); err != nil {
					t.Error(err)
				}
			}
			j.Close()
			if j, _ := adopted(t, fs); len(j.Files()) > 0 || fs.names[openName(tt.next)] == nil {
				t.Errorf("the next process finds %v, %v", j.Files(), fs.names)
			}
		})
	}
}

// TestAFlippedBitInALeftFileCostsOneRecord flips each bit of a file that is
// adopted: what comes before and after the record that is hit is kept.
func TestAFlippedBitInALeftFileCostsOneRecord(t *testing.T) {
	file := leftFile(1, 1, 2, 3)
	second, third := len(leftFile(1, 1)), len(leftFile(1, 1, 2))
	for bit := range len(file) * 8 {
		b := slices.Clone(file)
		b[bit/8] ^= 1 << (bit % 8)
		want := []uint64{1, 2, 3}
		switch at := bit / 8; {
		case at < len(leftFile(1)):
		case at < second:
			want = []uint64{2, 3}
		case at < third:
			want = []uint64{1, 3}
		default:
			want = []uint64{1, 2}
		}
		fs := dirOf(map[string][]byte{idName: []byte(oldID), "00000001.open": b})
		j, all := adopted(t, fs)
		if c := all[1]; c == nil || !slices.Equal(c.seqs, want) {
			t.Fatalf("bit %d: %+v", bit, c)
		}
		j.Close()
	}
}

// TestAFileThatCannotBeReadIsLeft: others are adopted, and written.
func TestAFileThatCannotBeReadIsLeft(t *testing.T) {
	fs := dirOf(map[string][]byte{idName: []byte(oldID), "00000001.open": leftFile(1, 1), "00000002.open": leftFile(2, 2)})
	fs.onBefore(func(op, name string, size int) error {
		if op == "sync" && name == "00000001.open" {
			return syscall.EIO
		}
		return nil
	})
	j, all := adopted(t, fs)
	if len(all) != 1 || all[2] == nil || fs.names["00000003.open"] == nil {
		t.Errorf("%v", all)
	}
	j.Close()
}

// TestWhatIsInMemoryOnlyIsWrittenAgain: a process was killed after a sync that
// failed. The next one reads what the disk has not got, and no sync says so.
func TestWhatIsInMemoryOnlyIsWrittenAgain(t *testing.T) {
	for what, left := range map[string][]byte{"open": leftFile(1, 1, 2), "sealed": sealedBytes(leftFile(1, 1, 2), 2)} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := dirOf(map[string][]byte{idName: []byte(oldID), "00000001.open": left})
				node := fs.names["00000001.open"]
				clear(node.durable[len(leftFile(1, 1)):])
				once := true
				fs.onBefore(func(op, name string, size int) error {
					if op == "sync" && name == "00000001.open" && once {
						once = false
						return syscall.EIO // and another one fails
					}
					return nil
				})
				j, all := adopted(t, fs)
				if len(all) > 0 {
					t.Error("it is there though it could not be synced")
				}
				running(t, j)
				after(time.Minute)
				if len(j.Files()) != 1 {
					t.Errorf("files %v", j.Files())
				}
				if err := newStore().pull(j, func(int) bool { return false }); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(node.data, node.durable) {
					t.Error("the disk has not got it")
				}
			})
		})
	}
}

// TestASealCountsOnlyWhatIsDurable: had the power gone in between, the next
// process would find the seal, and take the file for whole.
func TestASealCountsOnlyWhatIsDurable(t *testing.T) {
	left := leftFile(1, 1, 2)
	fs := dirOf(map[string][]byte{idName: []byte(oldID), "00000001.open": left})
	node := fs.names["00000001.open"]
	clear(node.durable) // it was in memory only
	seals := 0
	fs.onBefore(func(op, name string, size int) error {
		if op != "write" || name != "00000001.open" || size > 50 {
			return nil
		}
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if seals++; !bytes.Equal(node.durable, left) {
			t.Error("the seal is written before the rest is durable")
		}
		return nil
	})
	if _, all := adopted(t, fs); len(all) != 1 || seals != 1 {
		t.Errorf("%d files, %d seals", len(all), seals)
	}
}

func TestTheDirectoryIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	cfg := config(nil, nil)
	cfg.Dir, cfg.FS = dir, nil
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("opened twice in a process: %v", err)
	}
	if out := runChild(t, "open", dir); !strings.Contains(out, "conflict") {
		t.Errorf("opened by another process: %s", out)
	}
	id := j.ID()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if out := runChild(t, "open", dir); !strings.Contains(out, "id "+id) {
		t.Errorf("opened by the next process: %s", out)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestADirectoryThatCannotBeMade(t *testing.T) {
	cfg := config(nil, nil)
	cfg.Dir, cfg.FS = filepath.Join(t.TempDir(), "file"), nil
	if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); err == nil {
		t.Error("a file is a directory")
	}
	fs := newMemFS()
	fs.onBefore(func(string, string, int) error { return syscall.EIO })
	if _, err := Open(config(fs, nil)); !errors.Is(err, syscall.EIO) {
		t.Errorf("without an id: %v", err)
	}
	if fs.locked {
		t.Error("the lock is kept")
	}
}

func ExampleOpen_adoption() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "00000003.open"), leftFile(3, 1, 2), 0o600); err != nil {
		panic(err)
	}

	j, err := Open(Config{Dir: dir, Clock: wallClock{}})
	if err != nil {
		panic(err)
	}
	defer j.Close()
	for _, f := range j.Files() {
		fmt.Println(f.Number, f.Journal)
		// … archive it …
		if err := j.Delete(f); err != nil {
			panic(err)
		}
	}
	// Output: 3 00112233445566778899aabbccddeeff
}
