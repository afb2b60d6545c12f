package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A deployment loses some beats and with them the connection, before it would
// have acknowledged them. They come again, and what the crowd says was
// acknowledged is what was kept.
func TestWhatIsNotAcknowledgedComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		kept := map[string]bool{}
		took, twice := 0, 0
		f.keep = func(c *fakeConn, seq int64) {
			if took++; took%10 == 0 && len(c.closing) == 0 {
				c.closing <- 1012
			}
			if len(c.closing) > 0 {
				return // it is lost, and no ack of this connection goes beyond it
			}
			line := fmt.Sprintf("final %s %d", c.session.id, seq)
			if kept[line] {
				twice++
			}
			kept[line] = true
			c.out <- fmt.Appendf(nil, `{"t":"ack","seq":%d}`, seq)
		}
		cfg, stop := f.serve(t, 2)
		defer stop()
		cfg = busy(cfg)
		cfg.Probes, cfg.SilentLeaveShare, cfg.ChurnPerMinute = -1, 0, 0.1
		cfg.Shared = true // its counts are not the question here
		var said bytes.Buffer
		cfg.Acked = &said
		r := run(t, f, cfg)
		lines := bytes.Split(bytes.TrimSpace(said.Bytes()), []byte("\n"))
		told := map[string]bool{}
		for _, l := range lines {
			if told[string(l)] || !kept[string(l)] {
				t.Errorf("%s: told before %v, kept %v", l, told[string(l)], kept[string(l)])
			}
			told[string(l)] = true
		}
		if r.Acked != int64(len(lines)) || r.Resent < 20 {
			t.Errorf("%d of %d beats acknowledged, %d lines, %d kept, %d sent again, %d came twice", r.Acked, r.Beats, len(lines), len(kept), r.Resent, twice)
		}
		if r.Violated[checkProtocol] > 0 {
			t.Errorf("%v", r.Violations)
		}
	})
}

// Where nothing is acknowledged, nothing is sent again.
func TestWithoutAJournalNothingComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cfg, stop := f.serve(t, 2)
		defer stop()
		if r := run(t, f, busy(cfg)); r.Resent != 0 || r.Acked != 0 || r.Reconnects == 0 {
			t.Errorf("%d sent again, %d acknowledged, %d reconnects", r.Resent, r.Acked, r.Reconnects)
		}
	})
}

func TestAnAckOfWhatWasNeverSentIsAViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.keep = func(c *fakeConn, seq int64) { c.out <- fmt.Appendf(nil, `{"t":"ack","seq":%d}`, seq+1) }
		cfg, stop := f.serve(t, 1)
		defer stop()
		cfg.Viewers, cfg.Duration = 3, 20*time.Second
		if r := run(t, f, cfg); r.Violated[checkProtocol] == 0 || r.Acked != 0 {
			t.Errorf("%v, %d acknowledged", r.Violated, r.Acked)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func TestAListThatCannotBeWrittenIsAnError(t *testing.T) {
	a := newAcked(fullDisk{}, "final")
	a.note("session", 1, 2000)
	if err := a.close(); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
