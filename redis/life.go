package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"sync"

	"grandstand"
)

// life is what a process knows of the life of the data set in Redis: enough to
// notice that writes were lost, whatever the clock of Redis says and however old
// the data is that came back. The zero life knows nothing.
type life struct {
	mu       sync.Mutex
	at       int64 // Redis ms of the last answer about it
	renewals int64 // of leases, of all members, as of then
	name     string
	began    int64 // Redis ms
	before   int64 // at, when the life before was heard of last; 0: never
}

// args are the arguments of life.lua.
func (l *life) args() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []string{rand.Text(), strconv.FormatInt(l.at, 10), strconv.FormatInt(l.renewals, 10), l.name}
}

// heard takes note of an answer.
func (l *life) heard(at, renewals int64, name string, began int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.name != "" && name != l.name {
		l.before = l.at
	}
	l.at, l.renewals, l.name, l.began = at, renewals, name, began
}

// forgot reports whether the lease of an ask may be missing because Redis lost it:
// it was granted in a life before, in force when that was heard of last, and its
// holder is back in time. Of one that had lapsed, or whose holder stayed away,
// somebody else may have the place since, rightly.
func (l *life) forgot(a *grandstand.Ask, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.before
	if last == 0 {
		last = l.began // nothing is known of the time before
	}
	granted, lasts := a.Hold.Granted, fullLease(a)
	return granted > 0 && granted < max(l.began, l.before) && granted+lasts >= last && now <= l.began+lasts
}

// held reports whether the lease of an ask was in force when Redis was heard of
// last: whoever shows that is not taken for a newcomer at once. A process that has
// not heard of any life knows of no lease.
func (l *life) held(a *grandstand.Ask) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at > 0 && a.Hold.Granted > 0 && a.Hold.Granted+fullLease(a) >= l.at
}

// fullLease returns for how long a lease lasts that is granted with a beat.
func fullLease(a *grandstand.Ask) int64 {
	if a.BeatMS == 0 {
		return a.LeaseMS
	}
	return grandstand.LeaseMS(a.BeatMS)
}

// living asks when the life of the data set began: another one, if writes are
// missing that this process knows of.
func (c *Client) living(ctx context.Context) error {
	reply, err := c.evalStrings(ctx, livingScript, []string{bootKey, renewalsKey}, c.life.args()...)
	if err != nil {
		return err
	}
	if len(reply) != 3 {
		return c.fail(livingScript.op, strconv.ErrSyntax)
	}
	at, err := strconv.ParseInt(reply[0], 10, 64)
	renewals, errRenewals := strconv.ParseInt(reply[1], 10, 64)
	name, began, errBoot := parseBoot(reply[2])
	if err := errors.Join(err, errRenewals, errBoot); err != nil {
		return c.fail(livingScript.op, err)
	}
	c.life.heard(at, renewals, name, began)
	return nil
}

// parseBoot reads the name of a life and when it began.
func parseBoot(text string) (name string, began int64, err error) {
	name, since, _ := strings.Cut(text, " ")
	began, err = strconv.ParseInt(since, 10, 64)
	return name, began, err
}
