package main

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	badgeFor     = time.Second // for which an answer is given again
	badgeAnswers = 1024        // that are remembered, of 16 KiB at most
	badgeCalls   = 32          // to the gateway that are under way
)

// badgeCounts asks a gateway for badges: once in badgeFor for the same count,
// whoever asks. The gateway sees this process's address, which it trusts as a
// rule and does not limit, so the bound on calls is here. It takes bounded
// memory, whatever is asked for.
type badgeCounts struct {
	gateway asker

	mu       sync.Mutex
	answers  map[[sha256.Size]byte]*badgeAnswer // guarded by mu; by the hash of what was asked, which may be long
	underWay int                                // guarded by mu
}

// badgeAnswer is written by the one who asks the gateway, and read by the others
// when done is closed.
type badgeAnswer struct {
	done   chan struct{}
	status int
	body   []byte
	until  time.Time // guarded by the mutex of badgeCounts; zero: it is not there yet
}

func newBadgeCounts(gateway asker) *badgeCounts {
	return &badgeCounts{gateway: gateway, answers: map[[sha256.Size]byte]*badgeAnswer{}}
}

// ask is an asker.
func (c *badgeCounts) ask(ctx context.Context, event string, query url.Values) (status int, body []byte) {
	a, mine := c.answerTo(sha256.Sum256([]byte(countsPath(event, query))))
	switch {
	case a == nil:
		return http.StatusServiceUnavailable, nil
	case mine:
		// Others wait for it, so it does not end with this reader.
		func() {
			defer c.answered(a) // whatever happens: others wait, and a call that is under way takes a place
			a.status, a.body = c.gateway(context.WithoutCancel(ctx), event, query)
		}()
	}
	select {
	case <-a.done:
		return a.status, a.body
	case <-ctx.Done():
		return http.StatusServiceUnavailable, nil
	}
}

// answerTo returns the answer to a question, which is the caller's to get if it
// is mine; nil if there are too many calls under way.
func (c *badgeCounts) answerTo(question [sha256.Size]byte) (a *badgeAnswer, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if a := c.answers[question]; a != nil && !a.isOver(now) {
		return a, false
	}
	if c.underWay >= badgeCalls {
		return nil, false
	}
	if len(c.answers) >= badgeAnswers {
		c.forgetLocked(now)
	}
	a = &badgeAnswer{done: make(chan struct{})}
	c.answers[question] = a
	c.underWay++
	return a, true
}

func (c *badgeCounts) answered(a *badgeAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
	a.until = time.Now().Add(badgeFor)
	close(a.done)
}

// forgetLocked makes room: of all answers that are over, or else of any that is
// there. One always is: fewer calls are under way than answers are remembered.
func (c *badgeCounts) forgetLocked(now time.Time) {
	var one [sha256.Size]byte
	for question, a := range c.answers {
		switch {
		case a.isOver(now):
			delete(c.answers, question)
		case !a.until.IsZero():
			one = question
		}
	}
	if len(c.answers) >= badgeAnswers {
		delete(c.answers, one)
	}
}

func (a *badgeAnswer) isOver(now time.Time) bool { return !a.until.IsZero() && !now.Before(a.until) }
