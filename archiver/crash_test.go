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

// crashEnv has the test binary be an archiver that kills itself at a point, for
// the n-th time: point, n, directory of the journal, directory for temporary
// files, URL of the store.
const crashEnv = "GRANDSTAND_TEST_CRASH"

func crash(spec string) {
	f := strings.SplitN(spec, " ", 5)
	left, err := strconv.Atoi(f[1])
	exit := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if err != nil {
		exit(err)
	}
	s, err := OpenStore(context.Background(), f[4])
	if err != nil {
		exit(err)
	}
	a, err := New(Config{
		Store: s, Sources: sources(AdoptDir(f[2], func() int64 { return crowdStart })), Temp: f[3],
		hook: func(point string) {
			if left--; point == f[0] && left <= 0 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			} else if point != f[0] {
				left++
			}
		},
	})
	if err != nil {
		exit(err)
	}
	if err := a.Once(context.Background()); err != nil {
		exit(err)
	}
	os.Exit(0)
}

// crashes is how often an archiver is killed at each point.
const crashes = 20

func TestAnArchiverThatIsKilledLosesNothing(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		for _, point := range Points {
			t.Run(point, func(t *testing.T) { killAt(t, s, point) })
		}
	})
}

func killAt(t *testing.T, s *Store, point string) {
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(point)))[:32] // a journal of its own
	c := newCrowd(uint64(len(point)), "final-2026", 2)
	files := map[string][]byte{}
	var want []flat
	const number = 4
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
	run := func(point string, n int) error {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", fmt.Sprintf("%s=%s %d %s %s %s", crashEnv, point, n, dir, temp, s.String()))
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) > 0 {
			t.Errorf("%s", out)
		}
		return err
	}
	for i := range crashes {
		// Now at the first file, now at a later one; what was done before it
		// stays done, so that in the end there is none left to crash at.
		err := run(point, 1+i%3)
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
			t.Fatalf("crash %d: %v", i, err)
		}
		if err == nil && i == 0 {
			t.Fatal("it did not come to that point")
		}
		nothingLost(t, s, id, dir, number)
		if err == nil {
			for name, b := range files { // the gateway sends everything again
				name = strings.Replace(name, openSuffix, sealedSuffix, 1)
				if err := os.WriteFile(dir+"/"+name, sealIfTorn(b), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := run("never", 1); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, dir)
	rows, keys := objectsOf(t, s, id)
	sameRows(t, rows, want)
	if len(keys) != number {
		t.Errorf("%d objects of %d files", len(keys), number)
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
