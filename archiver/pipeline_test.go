package archiver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// leaveJournal lays a directory out as a gateway leaves it behind.
func leaveJournal(t testing.TB, id string, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(idName, []byte(id+"\n"))
	write(lockName, nil)
	for name, b := range files {
		write(name, b)
	}
	return dir
}

func adopt(t testing.TB, dir string) *Dir {
	t.Helper()
	d := AdoptDir(dir, func() int64 { return crowdStart })
	t.Cleanup(func() { d.Close() })
	return d
}

func sources(list ...Source) func() []Source { return func() []Source { return list } }

func newArchiver(t testing.TB, cfg Config) *Archiver {
	t.Helper()
	if cfg.Temp == "" {
		cfg.Temp = t.TempDir()
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// liveObjects returns the rows of all live objects, and their keys.
func liveObjects(t testing.TB, s *Store) (rows []flat, keys []string) {
	t.Helper()
	return objectsOf(t, s, "")
}

// objectsOf returns those of one journal.
func objectsOf(t testing.TB, s *Store, journal string) (rows []flat, keys []string) {
	t.Helper()
	entries, err := s.blobs.list(t.Context(), livePrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.Contains(e.Key, journal) {
			continue
		}
		b, err := s.blobs.get(t.Context(), e.Key)
		if err != nil || int64(len(b)) != e.Size {
			t.Fatalf("%s: %d bytes, listed with %d: %v", e.Key, len(b), e.Size, err)
		}
		rows = append(rows, rowsOf(t, b)...)
		keys = append(keys, e.Key)
	}
	return rows, keys
}

// twoFiles returns a journal of two files and the rows that are to come of it.
func twoFiles(seed uint64) (files map[string][]byte, want []flat) {
	c := newCrowd(seed, "final-2026", 30)
	files = map[string][]byte{}
	for n := uint64(1); n <= 2; n++ {
		b, raws := c.file(testJournal, n, 60)
		files[fmt.Sprintf("%08d%s", n, sealedSuffix)] = b
		for _, e := range raws {
			want = append(want, wanted(e, c.gateway, n))
		}
	}
	return files, want
}

func wantEmpty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != idName && e.Name() != lockName {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// runUntil runs an archiver until the condition holds.
func runUntil(t testing.TB, a *Archiver, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("in a minute it is not so that %s", what)
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

func drained(d *Dir) func() bool {
	return func() bool {
		numbers, err := d.numbers(sealedSuffix, openSuffix)
		return err == nil && len(numbers) == 0
	}
}

func TestFilesBecomeObjectsOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		files, want := twoFiles(1)
		d := adopt(t, leaveJournal(t, testJournal, files))
		a := newArchiver(t, Config{Store: s, Sources: sources(d), Poll: time.Millisecond})
		runUntil(t, a, "all is archived", drained(d))
		rows, keys := liveObjects(t, s)
		sameRows(t, rows, want)
		at := time.UnixMilli(crowdStart).UTC()
		prefix := at.Format("live/date=2006-01-02/hour=15/") + testJournal
		if len(keys) != 2 || keys[0] != prefix+"-00000001.parquet" || keys[1] != prefix+"-00000002.parquet" {
			t.Errorf("objects: %v", keys)
		}
		wantEmpty(t, d.String())
		if left, err := os.ReadDir(a.cfg.Temp); err != nil || len(left) > 0 {
			t.Errorf("temporary files are left: %v, %v", left, err)
		}
	})
}

func TestATornFileIsAdopted(t *testing.T) {
	c := newCrowd(5, "final-2026", 20)
	first, raws1 := c.file(testJournal, 1, 60)
	second, raws2 := c.file(testJournal, 2, 60)
	torn := second[:len(second)-100] // the seal and part of the last event
	files := map[string][]byte{"00000001.journal": first, "00000002.open": torn, "00000003.open": nil}
	d := adopt(t, leaveJournal(t, testJournal, files))
	s := open(t, "file:"+t.TempDir())
	runUntil(t, newArchiver(t, Config{Store: s, Sources: sources(d), Poll: time.Millisecond}), "all is archived", drained(d))
	var want []flat
	for _, e := range raws1 {
		want = append(want, wanted(e, c.gateway, 1))
	}
	for _, e := range raws2[:len(raws2)-1] {
		want = append(want, wanted(e, c.gateway, 2))
	}
	rows, keys := liveObjects(t, s)
	sameRows(t, rows, want)
	b, err := s.blobs.get(t.Context(), keys[1])
	if err != nil {
		t.Fatal(err)
	}
	m, err := checkBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if !m.Adopted || !m.whole() || m.Expected != uint64(len(raws2)-1) {
		t.Errorf("%+v", m)
	}
	if entries, _ := s.blobs.list(t.Context(), damagedPrefix); len(entries) > 0 {
		t.Errorf("a torn tail is no damage: %v", entries)
	}
}

func TestALockedDirectoryIsLeftAlone(t *testing.T) {
	files, _ := twoFiles(1)
	files["00000003.open"] = files["00000002.journal"][:800]
	dir := leaveJournal(t, testJournal, files)
	gateway, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	d := adopt(t, dir)
	if list, err := d.Files(t.Context()); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("files of a gateway that runs: %v, %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "00000003.open")); err != nil {
		t.Error(err)
	}
	if err := d.Delete(t.Context(), JournalFile{Journal: testJournal, Number: 1}); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("delete: %v", err)
	}
	gateway.Close()
	list, err := d.Files(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("files once it ended: %v, %v", list, err)
	}
	if _, err := lockFile(filepath.Join(dir, lockName)); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("a gateway that comes back: %v, want a conflict", err)
	}
	for i, f := range []int{2, 0, 1, 2} { // the highest number goes last
		err := d.Delete(t.Context(), list[f])
		if refused := grandstand.CodeOf(err) == grandstand.CodeUnavailable; refused != (i == 0) {
			t.Errorf("delete %d: %v", i, err)
		}
	}
	if list, err := d.Files(t.Context()); len(list) > 0 || err != nil {
		t.Errorf("at the end: %v, %v", list, err)
	}
	back, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatalf("the lock is kept though nothing is left: %v", err)
	}
	back.Close()
}

func TestNumberedFilesOfAnotherJournalAreRefused(t *testing.T) {
	files, _ := twoFiles(1)
	body := files["00000001.journal"]
	if _, err := convert(discardWriter{}, JournalFile{Journal: testJournal, Number: 2}, body); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("file 1 as file 2: %v", err)
	}
	if _, err := convert(discardWriter{}, JournalFile{Journal: strings.Repeat("f", 32), Number: 1}, body); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("file of another journal: %v", err)
	}
}

type discardWriter struct{}

func (discardWriter) Write(b []byte) (int, error) { return len(b), nil }
