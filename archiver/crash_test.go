package archiver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(crashEnv); spec != "" {
		crash(spec)
	}
	if spec := os.Getenv(memoryEnv); spec != "" {
		measureMemory(spec)
	}
	// A stopped proxy forgets some of its own.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/Shopify/toxiproxy/v2/toxics.(*NoopToxic).Pipe"))
}

// crashEnv has the test binary be a process that kills itself at a point, for
// the n-th time: what it does, point, n, directory of the journal, directory for
// temporary files, URL of the store. It ends well if it does not come to that.
const crashEnv = "GRANDSTAND_TEST_CRASH"

func crash(spec string) {
	if err := crashing(strings.SplitN(spec, " ", 6)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

func crashing(f []string) error {
	what, point, dir, temp := f[0], f[1], f[3], f[4]
	left, err := strconv.Atoi(f[2])
	if err != nil {
		return err
	}
	s, err := OpenStore(context.Background(), f[5])
	if err != nil {
		return err
	}
	hook := func(p string) {
		if p != point {
			return
		}
		if left--; left <= 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if what == "compact" {
		_, err := s.Compact(context.Background(), CompactOptions{
			Now: time.UnixMilli(compactHour + 100*hourMS), Temp: temp, hook: hook,
			full: func(_ int64, rows uint64) bool { return rows >= 30 }, // several parts
		})
		return err
	}
	a, err := New(Config{
		Store: s, Sources: sources(AdoptDir(dir, func() int64 { return crowdStart })), Temp: temp, hook: hook,
	})
	if err != nil {
		return err
	}
	return a.Once(context.Background())
}

// killed runs a process that is to kill itself, and reports whether it did.
func killed(t *testing.T, spec ...any) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", crashEnv+"="+strings.TrimSuffix(fmt.Sprintln(spec...), "\n"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err == nil {
		return false
	}
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%v: %s", err, out)
	}
	return true
}

func TestAnArchiverThatIsKilledLosesNothing(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		for _, point := range Points {
			t.Run(point, func(t *testing.T) { killAt(t, s, point) })
		}
	})
}

func killAt(t *testing.T, s *Store, point string) {
	crashes, rows := 0, 0
	for n := 0; crashes < rounds(1, 20); n++ {
		more, archived := killWithJournal(t, s, point, uint64(n))
		crashes, rows = crashes+more, rows+archived
	}
	if !t.Failed() {
		t.Logf("killed %d times: %d rows, 0 lost, 0 doubled", crashes, rows)
	}
}

// killWithJournal archives a journal with an archiver that is killed at a point
// again and again, until there is nothing left to be killed at.
func killWithJournal(t *testing.T, s *Store, point string, seed uint64) (crashes, rows int) {
	id := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, point, seed)))[:32]
	c := newCrowd(seed, "final-2026", 2)
	files := map[string][]byte{}
	var want []flat
	number := uint64(rounds(2, 4))
	for n := uint64(1); n <= number; n++ {
		b, raws := c.file(id, n, 60)
		name := fmt.Sprintf("%08d%s", n, sealedSuffix)
		if n == number { // it was being written
			b, name = b[:len(b)-60], fmt.Sprintf("%08d%s", n, openSuffix)
			raws = raws[:len(raws)-1]
		}
		files[name] = b
		for _, e := range raws {
			f := wanted(e, c.gateway, n)
			f.Journal = id
			want = append(want, f)
		}
	}
	dir, temp := leaveJournal(t, id, files), t.TempDir()
	// Now at the first file, now at a later one; what was done before it stays
	// done.
	for ; killed(t, "archive", point, 1+crashes%3, dir, temp, s); crashes++ {
		nothingLost(t, s, id, dir, number)
	}
	if crashes == 0 {
		t.Fatal("it did not come to that point")
	}
	wantEmpty(t, dir) // the last one was not killed, and has done all
	// The gateway has not heard of it, and sends everything again.
	for name, b := range files {
		name = strings.Replace(name, openSuffix, sealedSuffix, 1)
		if err := os.WriteFile(dir+"/"+name, sealIfTorn(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if killed(t, "archive", "never", 1, dir, temp, s) {
		t.Fatal("it crashed")
	}
	wantEmpty(t, dir)
	got, keys := objectsOf(t, s, id)
	sameRows(t, got, want)
	if len(keys) != int(number) {
		t.Errorf("%d objects of %d files", len(keys), number)
	}
	return crashes, len(got)
}

// A compaction that is killed is completed by the next one, whose hours have all
// rows once; and whoever reads meanwhile finds no row twice.
func TestACompactionThatIsKilledIsCompleted(t *testing.T) {
	every := onEveryStore
	if !fullRounds {
		every = func(t *testing.T, test func(*testing.T, *Store)) { test(t, open(t, "file:"+t.TempDir())) }
	}
	every(t, func(t *testing.T, s *Store) {
		for _, point := range CompactPoints {
			t.Run(point, func(t *testing.T) { killCompactionAt(t, within(t, s, point), point) })
		}
	})
}

// within returns a store in a store.
func within(t *testing.T, s *Store, name string) *Store {
	base, query, found := strings.Cut(s.String(), "?")
	if base += "/" + name; found {
		base += "?" + query
	}
	return open(t, base)
}

func killCompactionAt(t *testing.T, s *Store, point string) {
	m := twoHours(t, s)
	crashes := 0
	for i := 0; crashes < rounds(1, 20); i++ {
		if killed(t, "compact", point, 1+i%3, "-", t.TempDir(), s) {
			crashes++
		} else if i == 0 {
			t.Fatal("it did not come to that point")
		}
		wantNoDoubles(t, s)
		// There is something to do again, which begins before the first is done.
		late := newCrowd(uint64(2+i), "final-2026", 1)
		late.now = compactHour + hourMS - 30_000
		late.sessions[0].due = late.now
		_, raws := late.file(testJournal, uint64(9+i), 60)
		m.compact(modelRows(t, s, putLive(t, s, testJournal, uint64(9+i), raws)))
	}
	if killed(t, "compact", "never", 1, "-", t.TempDir(), s) {
		t.Fatal("it crashed")
	}
	m.compare(t, s)
	m.doubles(t)
	if !t.Failed() {
		t.Logf("killed %d times: 0 rows of %d hours lost, 0 doubled", crashes, len(m.hours))
	}
}

// wantNoDoubles reads events/ as anybody would.
func wantNoDoubles(t *testing.T, s *Store) {
	t.Helper()
	seen := map[string]bool{}
	for _, rows := range mustGlob(t, s) {
		for _, r := range rows {
			if key := r.Session + "#" + r.Seq; r.Seq != null && seen[key] {
				t.Fatalf("%s is there twice", key)
			} else if r.Seq != null {
				seen[key] = true
			}
		}
	}
}

// sealIfTorn returns a file as an archiver would have sealed it.
func sealIfTorn(b []byte) []byte {
	keep, seal, sealed := inspect(b)
	if sealed {
		return b
	}
	seal.SealedAt = crowdStart
	return grandstand.AppendSealRecord(b[:keep:keep], seal)
}

// nothingLost checks after a crash that each file is in the directory or in the
// store, where it is whole.
func nothingLost(t *testing.T, s *Store, id, dir string, files uint64) {
	t.Helper()
	_, keys := objectsOf(t, s, id) // which reads them all
	for n := uint64(1); n <= files; n++ {
		stored := false
		for _, k := range keys {
			stored = stored || strings.Contains(k, objectName(id, n))
		}
		name := fmt.Sprintf("%s/%08d", dir, n)
		_, sealed := os.Stat(name + sealedSuffix)
		_, opened := os.Stat(name + openSuffix)
		if !stored && sealed != nil && opened != nil {
			t.Fatalf("file %d is neither in the store nor in the directory", n)
		}
	}
}

// rounds is how often a fault is repeated.
func rounds(some, all int) int {
	if fullRounds {
		return all
	}
	return some
}
