package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"grandstand"
)

func TestMain(m *testing.M) {
	child() // if this process is one
	goleak.VerifyTestMain(m)
}

// wallClock is Redis time in tests.
type wallClock struct{}

func (wallClock) Now() int64 { return time.Now().UnixMilli() }

// crowd is everybody who sends events, of which each has another seq.
type crowd struct {
	mu       sync.Mutex
	next     uint64
	accepted map[uint64]bool
	acked    map[uint64]bool
	order    []uint64 // as Durable said
	refused  int
	commits  int
}

func newCrowd() *crowd {
	return &crowd{accepted: map[uint64]bool{}, acked: map[uint64]bool{}}
}

func (c *crowd) Durable(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[seq] = true
	c.order = append(c.order, seq)
}

func (c *crowd) committed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits++
}

// send sends one event.
func (c *crowd) send(j *Journal) error {
	c.mu.Lock()
	c.next++
	seq := c.next
	c.accepted[seq] = true // sooner than it could be acknowledged
	c.mu.Unlock()
	err := j.Append(eventOf(seq), c)
	if err != nil {
		c.mu.Lock()
		delete(c.accepted, seq)
		c.refused++
		c.mu.Unlock()
	}
	return err
}

func (c *crowd) counts() (accepted, acked, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.accepted), len(c.acked), c.refused
}

func (c *crowd) ackedNow() map[uint64]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.acked)
}

// eventOf returns the event of a seq; what it says follows from that.
func eventOf(seq uint64) *grandstand.RawEvent {
	return &grandstand.RawEvent{
		Kind: grandstand.RawBeat, Event: []byte("final-2026"), Session: []byte("s1"),
		HasSeq: true, Seq: seq, State: grandstand.StatePlaying, ReceivedAt: 1_795_299_042_179,
		Data: fmt.Appendf(nil, `{"n":%q}`, strconv.Itoa(int(seq*seq)%1000)),
	}
}

// contents is what a file holds.
type contents struct {
	header  *grandstand.JournalHeader
	seqs    []uint64
	gaps    []*grandstand.JournalGap
	seal    *grandstand.JournalSeal
	damaged []grandstand.Damage
}

// contentsOf reads a sealed file, and fails if it is not one.
func contentsOf(b []byte) (*contents, error) {
	c := &contents{}
	s := grandstand.NewJournalScanner(b)
	for t, payload, ok := s.Next(); ok; t, payload, ok = s.Next() {
		var err error
		if c.seal != nil {
			return nil, fmt.Errorf("a record follows the seal")
		}
		switch t {
		case grandstand.RecordHeader:
			c.header, err = grandstand.DecodeHeaderRecord(payload)
		case grandstand.RecordGap:
			var g *grandstand.JournalGap
			g, err = grandstand.DecodeGapRecord(payload)
			c.gaps = append(c.gaps, g)
		case grandstand.RecordSeal:
			c.seal, err = grandstand.DecodeSealRecord(payload)
		case grandstand.RecordEvent:
			var e grandstand.RawEvent
			if err = grandstand.DecodeEventRecord(payload, &e); err == nil && !bytes.Equal(e.Data, eventOf(e.Seq).Data) {
				err = fmt.Errorf("event %d is not as it was", e.Seq)
			}
			c.seqs = append(c.seqs, e.Seq)
		}
		if err != nil {
			return nil, err
		}
	}
	c.damaged = s.Damaged()
	switch {
	case c.seal == nil:
		return nil, fmt.Errorf("there is no seal")
	case c.seal.Events != uint64(len(c.seqs)) || c.seal.Gaps != uint64(len(c.gaps)):
		return nil, fmt.Errorf("the seal says %d events and %d gaps, there are %d and %d", c.seal.Events, c.seal.Gaps, len(c.seqs), len(c.gaps))
	case len(c.seqs)+len(c.gaps) == 0:
		return nil, fmt.Errorf("an empty file is sealed")
	}
	return c, nil
}

// store is the archiver and what it has.
type store struct {
	files map[string][]byte // by journal and number
}

func newStore() *store { return &store{map[string][]byte{}} }

// pull takes the sealed files and has those deleted that wanted says.
func (s *store) pull(j *Journal, wanted func(i int) bool) error {
	for i, file := range j.Files() {
		b, err := readFile(j, file)
		if err != nil {
			return err
		}
		if _, err := contentsOf(b); err != nil {
			return fmt.Errorf("file %d: %w", file.Number, err)
		}
		key := fmt.Sprintf("%s-%08d", file.Journal, file.Number)
		if had, ok := s.files[key]; ok && !bytes.Equal(had, b) {
			return fmt.Errorf("file %d had %d bytes once, and has %d others now", file.Number, len(had), len(b))
		}
		s.files[key] = b
		if wanted(i) {
			if err := j.Delete(file); grandstand.CodeOf(err) == grandstand.CodeNotFound {
				return err // anything else is the disk's
			}
		}
	}
	return nil
}

func readFile(j *Journal, file grandstand.JournalFile) ([]byte, error) {
	f, err := j.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err == nil && int64(len(b)) != file.Size {
		err = fmt.Errorf("file %d has %d bytes, %d were announced", file.Number, len(b), file.Size)
	}
	return b, err
}

// seqs returns how often each event is in the store.
func (s *store) seqs(t *testing.T) map[uint64]int {
	t.Helper()
	n := map[uint64]int{}
	for key, b := range s.files {
		c, err := contentsOf(b)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		for _, seq := range c.seqs {
			n[seq]++
		}
	}
	return n
}

func (s *store) gaps(t *testing.T) []*grandstand.JournalGap {
	t.Helper()
	var all []*grandstand.JournalGap
	for _, key := range slices.Sorted(maps.Keys(s.files)) {
		c, err := contentsOf(s.files[key])
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		all = append(all, c.gaps...)
	}
	return all
}

func always(int) bool { return true }

// config returns one for tests: small files, quick retries.
func config(fs FS, c *crowd) Config {
	cfg := Config{
		Dir: "journal", Gateway: "g1", Clock: wallClock{},
		MaxFile: 2 << 10, MaxAge: time.Second, MaxBuffer: 1 << 20,
		FS: fs, Logger: slog.New(slog.DiscardHandler),
	}
	if c != nil {
		cfg.Committed = c.committed
	}
	return cfg
}

// running starts Run and returns what ends it.
func running(t *testing.T, j *Journal) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}
