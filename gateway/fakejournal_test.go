package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"grandstand"
	"grandstand/gateway/journal"
)

// fakeJournal makes events durable every so often, and keeps them in memory.
type fakeJournal struct {
	every     time.Duration // from the first event to its commit; 0: 10 ms
	lag       time.Duration // that a commit takes
	committed func()

	mu      sync.Mutex
	refuse  bool
	without uint64 // this seq is refused; 0: none is
	stalled bool   // commits wait
	b       []byte
	waits   []func()
	timed   bool
}

var errFull = grandstand.Errorf(grandstand.CodeUnavailable, "the disk is full")

func (j *fakeJournal) Append(e *grandstand.RawEvent, w journal.Waiter) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refuse || j.without != 0 && e.HasSeq && e.Seq == j.without {
		return errFull
	}
	j.b = grandstand.AppendEventRecord(j.b, e)
	if w != nil {
		seq := e.Seq
		j.waits = append(j.waits, func() { w.Durable(seq) })
	}
	j.armLocked()
	return nil
}

func (j *fakeJournal) Gather(every time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.every = every
}

func (j *fakeJournal) armLocked() {
	if j.timed || j.stalled {
		return
	}
	j.timed = true
	time.AfterFunc(max(j.every, 10*time.Millisecond), j.commit)
}

// commit tells of all that was appended, as journal.Journal does.
func (j *fakeJournal) commit() {
	j.mu.Lock()
	if j.stalled {
		j.timed = false
		j.mu.Unlock()
		return
	}
	waits, lag := j.waits, j.lag
	j.waits = nil
	j.mu.Unlock()
	time.Sleep(lag)
	for _, tell := range waits {
		tell()
	}
	if len(waits) > 0 {
		j.committed()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timed = false; len(j.waits) > 0 {
		j.armLocked()
	}
}

func (j *fakeJournal) set(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
	j.armLocked()
}

// events returns what the journal holds of a session, "" for all.
func (j *fakeJournal) events(t *testing.T, session string) (all []grandstand.RawEvent) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	return decodeEvents(t, j.b, session)
}

func decodeEvents(t *testing.T, b []byte, session string) (all []grandstand.RawEvent) {
	t.Helper()
	s := grandstand.NewJournalScanner(bytes.Clone(b))
	for {
		kind, payload, ok := s.Next()
		if !ok {
			break
		}
		var e grandstand.RawEvent
		if kind != grandstand.RecordEvent {
			continue
		}
		if err := grandstand.DecodeEventRecord(payload, &e); err != nil {
			t.Fatal(err)
		}
		if session == "" || string(e.Session) == session {
			all = append(all, e)
		}
	}
	if len(s.Damaged()) > 0 {
		t.Error("the journal is damaged")
	}
	return all
}

// said returns what the journal holds of a session: "kind seq data", one line
// each.
func (j *fakeJournal) said(t *testing.T, session string) []string {
	t.Helper()
	var lines []string
	for _, e := range j.events(t, session) {
		line := e.Kind.String()
		if e.HasSeq {
			line += fmt.Sprintf(" %d", e.Seq)
		}
		if e.Data != nil {
			line += " " + string(e.Data)
			if !json.Valid(e.Data) {
				t.Errorf("%s is no JSON", e.Data)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// withJournal gives a rig a journal.
func withJournal(j *fakeJournal, rc rigConfig) rigConfig {
	set := rc.set
	rc.set = func(c *Config) {
		if set != nil {
			set(c)
		}
		c.Journal = j
	}
	return rc
}

// inJournal runs a test in a bubble with a gateway that has a journal.
func inJournal(t *testing.T, f func(t *testing.T, rg *rig, j *fakeJournal)) {
	j := &fakeJournal{}
	inBubble(t, withJournal(j, rigConfig{}), func(t *testing.T, rg *rig) {
		j.committed = rg.g.Committed
		f(t, rg, j)
	})
}

var _ Journal = (*fakeJournal)(nil)
var _ Journal = (*journal.Journal)(nil)
