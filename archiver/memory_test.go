package archiver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// memoryEnv has the test binary archive a directory with Run and print its
// largest resident set: directory of the journal, URL of the store.
const memoryEnv = "GRANDSTAND_TEST_MEMORY"

func measureMemory(spec string) {
	dir, url, _ := strings.Cut(spec, " ")
	exit := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	s, err := OpenStore(context.Background(), url)
	if err != nil {
		exit(err)
	}
	d := AdoptDir(dir, nil)
	a, err := New(Config{Store: s, Sources: sources(d), Temp: os.Getenv("TMPDIR"), Workers: 2, jitter: func() float64 { return 0.1 }})
	if err != nil {
		exit(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for done := drained(d); !done(); {
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
	}()
	if err := a.Run(ctx); err != nil {
		exit(err)
	}
	// Not getrusage(2): that remembers the process that started this one.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		exit(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	fmt.Println(kib)
	os.Exit(0)
}

// strangers fills a file to its limit with events none of which has anything in
// common with another: nothing of them compresses.
func strangers() []byte {
	c := newCrowd(41, "final-2026", 1)
	b := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: testJournal, File: 1, Gateway: "gw", CreatedAt: crowdStart})
	n := uint64(0)
	for ; len(b) < grandstand.MaxJournalFile; n++ {
		s := c.newSession()
		s.account = c.key()
		e := s.raw(c, grandstand.RawEvents)
		e.HasSeq, e.Seq, e.Name, e.HasPos, e.Pos = true, c.rng.Uint64N(1<<53), []byte("x"), true, c.rng.Float64()
		e.ClientAt = c.rng.Int64N(1 << 53)
		e.Data = fmt.Appendf(nil, `{"a":"%s"}`, c.newSession().id)
		b = grandstand.AppendEventRecord(b, e)
	}
	return grandstand.AppendSealRecord(b, &grandstand.JournalSeal{Events: n, SealedAt: crowdStart})
}

// renumbered returns a file under another number.
func renumbered(b []byte, number uint64) []byte {
	s := grandstand.NewJournalScanner(b)
	s.Next()
	h := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: testJournal, File: number, Gateway: "gw", CreatedAt: crowdStart})
	return append(h, b[s.Offset():]...)
}

// maxMemory is what an archiver may take whatever the backlog, in bytes.
const maxMemory = 512 << 20

func TestMemoryIsBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the peak is asked of proc(5)")
	}
	if raceEnabled {
		t.Skip("the race detector takes several times as much; make test runs it without")
	}
	c := newCrowd(40, "final-2026", 70_000)
	crowd, _ := c.file(testJournal, 1, 60)
	for name, body := range map[string][]byte{"a crowd": crowd, "strangers": strangers()} {
		if len(body) < grandstand.MaxJournalFile*9/10 || len(body) > MaxFile {
			t.Fatalf("%s: a file of %d bytes", name, len(body))
		}
		files := map[string][]byte{}
		for n := uint64(1); n <= 3; n++ {
			files[fmt.Sprintf("%08d%s", n, sealedSuffix)] = renumbered(body, n)
		}
		dir := leaveJournal(t, testJournal, files)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), memoryEnv+"="+dir+" file:"+t.TempDir(), "TMPDIR="+t.TempDir())
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: three files of %d MiB, two at a time: %d MiB", name, len(body)>>20, kib>>10)
		if kib<<10 > maxMemory {
			t.Errorf("%s: %d MiB of memory, the limit is %d", name, kib>>10, maxMemory>>20)
		}
		if left, _ := filepath.Glob(dir + "/*" + sealedSuffix); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}
