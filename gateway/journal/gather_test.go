package journal

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While an overloaded gateway has events gather, commits are as far apart as it
// says, and no further.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commits atomic.Int32
		s := start(t, func(c *Config) {
			told := c.Committed
			c.MaxAge, c.Committed = time.Hour, func() { commits.Add(1); told() }
		})
		second := func() int {
			t.Helper()
			before := commits.Load()
			for range 100 {
				s.sendOK(1)
				after(10 * time.Millisecond)
			}
			return int(commits.Load() - before)
		}
		prompt := second()
		s.Gather(250 * time.Millisecond)
		gathered := second()
		after(250 * time.Millisecond)
		s.ackedAre(200)
		s.Gather(0)
		again := second()
		if prompt < 30 || gathered < 3 || gathered > 5 || again < 30 {
			t.Errorf("%d commits in a second, %d when gathered, %d after that", prompt, gathered, again)
		}
		s.end()
	})
}
