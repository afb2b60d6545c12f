package journal

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"grandstand"
)

// childVar has this test binary be another process: its value is what that does,
// and the directory.
const childVar = "JOURNAL_TEST_CHILD"

// child is the life of the other process.
func child() {
	what, dir, ok := strings.Cut(os.Getenv(childVar), " ")
	if !ok {
		return
	}
	cfg := Config{Dir: dir, Gateway: "child", Clock: wallClock{}, MaxFile: 8 << 10, MaxAge: 20 * time.Millisecond, CommitEvery: time.Millisecond}
	out := &printer{w: bufio.NewWriter(os.Stdout)}
	cfg.Committed = out.flush
	j, err := Open(cfg)
	if err != nil {
		fmt.Println(grandstand.CodeOf(err), err)
		os.Exit(0)
	}
	fmt.Println("id", j.ID())
	if what == "open" {
		os.Exit(0)
	}
	from, _ := strconv.ParseUint(what, 10, 64)
	go func() {
		if err := j.Run(context.Background()); err != nil {
			panic(err)
		}
	}()
	for seq := from; ; seq++ { // until it is killed
		for j.Append(eventOf(seq), out) != nil { // too fast for the disk
			time.Sleep(time.Millisecond)
		}
		if seq%7 == 0 {
			time.Sleep(200 * time.Microsecond)
		}
	}
}

// printer says what is durable, a line for each event.
type printer struct{ w *bufio.Writer }

func (p *printer) Durable(seq uint64) { fmt.Fprintln(p.w, seq) }
func (p *printer) flush()             { p.w.Flush() }

func childCommand(what, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVar+"="+what+" "+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

func runChild(t *testing.T, what, dir string) string {
	t.Helper()
	out, err := childCommand(what, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestNothingAcknowledgedIsLostWithTheProcess kills a process that writes, again
// and again on one directory. What it said to be durable is in the files that the
// next one finds, once, and none of these is ever another one.
func TestNothingAcknowledgedIsLostWithTheProcess(t *testing.T) {
	times := 30
	if fullRounds {
		times = 200
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(7, 7))
	archived := newStore()
	acked := map[uint64]bool{}
	cfg := config(nil, nil)
	cfg.Dir, cfg.FS = dir, nil
	for i := range times {
		// The child's own archiver is the test: in every other life it takes and
		// deletes files while the process is down.
		for _, seq := range killed(t, uint64(i+1)*1_000_000, dir, time.Duration(r.IntN(30_000))*time.Microsecond) {
			acked[seq] = true
		}
		if r.IntN(2) == 0 && i < times-1 {
			continue // the next child adopts
		}
		j, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := archived.pull(j, func(int) bool { return r.IntN(3) > 0 }); err != nil {
			t.Fatalf("life %d: %v", i, err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	there := archived.seqs(t)
	for seq := range acked {
		if there[seq] != 1 {
			t.Errorf("event %d was acknowledged and is there %d times", seq, there[seq])
		}
	}
	for seq, n := range there {
		if n != 1 {
			t.Errorf("event %d is there %d times", seq, n)
		}
	}
	t.Logf("%d processes killed: %d events acknowledged, %d there, in %d files", times, len(acked), len(there), len(archived.files))
	if len(acked) < 50*times {
		t.Errorf("only %d events were acknowledged", len(acked))
	}
}

// killed runs a child that appends events from a seq on, kills it after a while
// and returns what it said to be durable.
func killed(t *testing.T, from uint64, dir string, after time.Duration) []uint64 {
	t.Helper()
	cmd := childCommand(strconv.FormatUint(from, 10), dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	var kill sync.Once
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text := lines.Text()
		if strings.HasPrefix(text, "id ") {
			continue
		}
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Errorf("the child says %q", text)
			break
		}
		kill.Do(func() { // it works: now
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		})
		seqs = append(seqs, seq)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(seqs) == 0 {
		t.Fatal("the child did nothing")
	}
	return seqs[:len(seqs)-1] // the last line may be cut off in a number
}

// TestARealDiskThatIsFull is a small file system in memory.
func TestARealDiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		if os.Getuid() == 0 {
			t.Fatalf("mount: %v", err)
		}
		t.Skip("only root may mount a small disk; TestADiskWithoutRoom does the same on a disk of the test")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	c := newCrowd()
	cfg := config(nil, c)
	cfg.Dir, cfg.FS, cfg.RetryEvery, cfg.CommitEvery = dir, nil, 5*time.Millisecond, time.Millisecond
	cfg.MaxFile, cfg.MaxAge = 1<<20, time.Hour // all of the disk is one file
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s := &started{Journal: j, t: t, crowd: c, store: newStore(), stop: running(t, j)}
	for round := range 3 {
		refusedBefore := 0
		waitFor(t, func() bool {
			for range 50 {
				_ = s.crowd.send(j)
			}
			_, _, refused := c.counts()
			if refusedBefore == 0 {
				refusedBefore = refused
			}
			return refused > refusedBefore+100
		})
		if err := c.send(j); err != refusals[full] {
			t.Fatalf("round %d: %v", round, err)
		}
		waitFor(t, func() bool { return len(j.Files()) > 0 })
		s.pullAll()
		waitFor(t, func() bool { return c.send(j) == nil })
	}
	waitFor(t, func() bool { accepted, acked, _ := c.counts(); return accepted == acked })
	s.end()
	gaps := s.store.gaps(t)
	total := uint64(0)
	for _, g := range gaps {
		total += g.Refused
		if g.Reason != "full" {
			t.Errorf("a gap because of %s", g.Reason)
		}
	}
	accepted, _, refused := c.counts()
	if total != uint64(refused) {
		t.Errorf("gaps of %d events, %d were refused", total, refused)
	}
	t.Logf("%d events accepted and kept, %d refused, %d gaps", accepted, refused, len(gaps))
}

// waitFor polls until something is so.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}
