package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

// Bounds of the ids in an account's state, which is to stay small.
const (
	maxSessionLen = 128
	maxMemberLen  = 128
)

// Ask asks for leases, or renews them. Each is one script, pipelined with the
// others; those for one account are decided in their order. The answers stand in
// the order of the asks. The error of one has CodeUnavailable, or CodeInvalid if
// the ask cannot be kept. Before Ask returns, the members that have to look at an
// account again are sent a notice (FollowNotices).
//
// The script decides by the time of Redis. It may be asked again when its reply
// was lost: what was decided stays, then as a renewal or as waiting.
//
//  1. What is over is forgotten: leases, who waited, who was ended.
//  2. A session that was ended stays so while it asks, and for endedKept after,
//     unless its viewer insists.
//  3. A session with a lease renews it if its rank is within the terms: the rank
//     by Hold.Since among the leases that count, and likewise among those of its
//     event. So it never loses to a newcomer; after a limit was lowered the
//     youngest lease is the one that is refused. A lease in shadow needs room as
//     a newcomer does.
//  4. A device plays in one session only, the one that began last: it takes the
//     place of the other, if the terms admit it there. So it is with those who
//     wait, one session of each device.
//  5. A session without a lease that shows a Hold from before the account's state
//     began gets its place back: the state was lost since. So does one whose lease
//     was in force when Redis lost writes. If there are more leases than the limit
//     then, the youngest have to leave. Before the holder of a lease in force is
//     refused, Redis is asked whether it lost any.
//  6. There is room if no more leases count than Limit, and no more are of the
//     event than EventLimit. Of the leases that are behind one network with
//     another, up to Household do not count towards Limit; leases in shadow count
//     nowhere.
//  7. Without room, the leases of Terminate are ended in their order until there
//     is, or none if all of them do not suffice; else by Shadow the session plays
//     all the same; else by Evict a newcomer ends the oldest lease that counts;
//     else it is blocked, and waits if it wants to. More than MaxDevices devices
//     of an account neither play nor wait. In shadow one more does play, without
//     a lease.
func (c *Client) Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer {
	answers := make([]grandstand.Answer, len(asks))
	var told notices
	for from := 0; from < len(asks); from += portionSize {
		to := min(from+portionSize, len(asks))
		c.ask(ctx, asks[from:to], answers[from:to], &told)
	}
	c.notify(ctx, &told)
	return answers
}

// ask is Ask for one pipeline, without the notices.
func (c *Client) ask(ctx context.Context, asks []grandstand.Ask, answers []grandstand.Answer, told *notices) {
	index := make([]int, 0, len(asks))
	for i := range asks {
		if answers[i].Err = validAsk(&asks[i]); answers[i].Err == nil {
			index = append(index, i)
		}
	}
	known := c.askThose(ctx, asks, index, answers, told)

	// Redis may have lost what makes them holders, and nobody has noticed yet.
	doubtful := make([]int, 0, len(index))
	for k, i := range index {
		v := &answers[i]
		if !known[k] && v.Err == nil && (!v.Verdict.Allowed || v.Verdict.Outcome == grandstand.OutcomeAcquired) && c.life.held(&asks[i]) {
			doubtful = append(doubtful, i)
		}
	}
	if len(doubtful) == 0 {
		return
	}
	if err := c.living(ctx); err != nil {
		for _, i := range doubtful {
			answers[i] = grandstand.Answer{Err: err}
		}
		return
	}
	again := make([]int, 0, len(doubtful))
	for _, i := range doubtful {
		if c.life.forgot(&asks[i], c.Now()) {
			again = append(again, i)
		}
	}
	c.askThose(ctx, asks, again, answers, told)
}

// askThose asks those of the indices, and returns of which it said that Redis may
// have forgotten them.
func (c *Client) askThose(ctx context.Context, asks []grandstand.Ask, index []int, answers []grandstand.Answer, told *notices) (forgotten []bool) {
	forgotten = make([]bool, len(index))
	if len(index) == 0 {
		return forgotten
	}
	calls, now := make([]call, len(index)), c.Now()
	for k, i := range index {
		forgotten[k] = c.life.forgot(&asks[i], now)
		calls[k] = askCall(&asks[i], forgotten[k])
	}
	in := replies{c, ctx, askScript.op, told}
	for k, r := range c.eval(ctx, askScript, calls...) {
		i := index[k]
		text, err := r.ToString()
		answers[i].Err = in.read(asks[i].Account, text, err, func(text string) (heard news, err error) {
			answers[i].Verdict, heard, err = parseVerdict(text, &asks[i])
			return heard, err
		})
	}
	return forgotten
}

// Leave frees the places of sessions that ended on purpose. After an error some
// may be free; to leave again does no harm.
func (c *Client) Leave(ctx context.Context, leaves []grandstand.Leave) error {
	var told notices
	var failed error
	for portion := range slices.Chunk(leaves, portionSize) {
		if err := c.leave(ctx, portion, &told); failed == nil {
			failed = err
		}
	}
	c.notify(ctx, &told)
	return failed
}

// leave is Leave for one pipeline, without the notices.
func (c *Client) leave(ctx context.Context, leaves []grandstand.Leave, told *notices) (failed error) {
	calls := make([]call, len(leaves))
	for i := range leaves {
		l := &leaves[i]
		calls[i] = leaseCall(l.Account, l.Device.Text(), escape(l.Session), escape(l.Member))
	}
	in := replies{c, ctx, leaveScript.op, told}
	for i, r := range c.eval(ctx, leaveScript, calls...) {
		text, err := r.ToString()
		if err := in.read(leaves[i].Account, text, err, parseNews); failed == nil {
			failed = err
		}
	}
	return failed
}

// SignOut ends all sessions of a device, playing or waiting, until their viewers
// ask to play there again. It returns how many there were; asked again within
// signOutRepeat, the same.
func (c *Client) SignOut(ctx context.Context, account, device grandstand.Key) (ended int, err error) {
	var told notices
	in := replies{c, ctx, signOutScript.op, &told}
	text, err := c.eval(ctx, signOutScript, leaseCall(account, device.Text(), ms(signOutRepeat)))[0].ToString()
	err = in.read(account, text, err, func(text string) (heard news, err error) {
		first, rest := cutLine(text)
		if ended, err = strconv.Atoi(first); err != nil {
			return heard, err
		}
		return parseNews(rest)
	})
	c.notify(ctx, &told)
	return ended, err
}

// leaseCall runs a script on what is kept of an account.
func leaseCall(account grandstand.Key, args ...string) call {
	return call{[]string{leasesKey(account), decisionsKey(account)}, args}
}

// replies reads what one script about leases returned for some accounts.
type replies struct {
	c    *Client
	ctx  context.Context // of the one call that they answer
	op   string
	told *notices
}

// read reads one reply: text that parse takes apart, or the error in its stead.
// An account whose state can be read neither by the script nor here starts over.
func (in *replies) read(account grandstand.Key, text string, err error, parse func(string) (news, error)) error {
	if err != nil {
		return in.c.failLeases(in.ctx, in.op, account, err)
	}
	heard, err := parse(text)
	if err != nil {
		in.c.startOver(in.ctx, in.op, account, err)
		return in.c.failLeases(in.ctx, in.op, account, err)
	}
	if heard.corrupt {
		in.c.corrupt(in.op, leasesKey(account), errReplaced)
	}
	for _, member := range heard.members {
		in.told.add(member, account)
	}
	return nil
}

var errReplaced = errors.New("the state of an account cannot be read, another one is in its place")

// failLeases is fail with what the caller outside is told. A key of another type
// is none of ours.
func (c *Client) failLeases(ctx context.Context, op string, account grandstand.Key, err error) error {
	if re, answered := rueidis.IsRedisErr(err); answered && strings.Contains(re.Error(), "WRONGTYPE") {
		c.startOver(ctx, op, account, err)
	}
	c.m.failed(op, reasonOf(err))
	return grandstand.WrapError(grandstand.CodeUnavailable, opError{op, err}, "which devices play cannot be looked up right now")
}

// startOver deletes what is kept of an account, for it cannot be read. Those who
// play have their leases back by what they hold.
func (c *Client) startOver(ctx context.Context, op string, account grandstand.Key, err error) {
	c.corrupt(op, leasesKey(account), err)
	_ = c.doAll(ctx, "start_over", c.rc.B().Del().Key(leasesKey(account), decisionsKey(account)).Build().ToRetryable())
}

// validAsk refuses what an account's state cannot hold.
func validAsk(a *grandstand.Ask) error {
	switch {
	case a.Account.IsZero() || a.Device.IsZero() || a.Session == "":
		return grandstand.Errorf(grandstand.CodeInvalid, "a lease is for an account, a device and a session")
	case len(a.Session) > maxSessionLen || len(a.Member) > maxMemberLen || len(a.Event) > grandstand.MaxValueLen:
		return grandstand.Errorf(grandstand.CodeInvalid, "the id of a session, a member or an event is too long")
	case a.LeaseMS <= 0 || a.LeaseMS > maxLease.Milliseconds():
		return grandstand.Errorf(grandstand.CodeInvalid, "a lease lasts from 1 to %d ms", maxLease.Milliseconds())
	}
	return nil
}
