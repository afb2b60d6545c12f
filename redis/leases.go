package redis

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"grandstand"
)

// Bounds of the ids in an account's state, which is to stay small.
const (
	maxSessionLen = 128
	maxMemberLen  = 128
)

// Ask asks for leases, or renews them: one script for each, pipelined. Several
// asks for one account are decided in their order. The answers stand in the
// order of the asks; the error of one has CodeUnavailable, or CodeInvalid if the
// ask cannot be kept. An ask whose reply was lost may be asked again: what was
// decided stays. Members that have to look at an account again are told before
// Ask returns.
func (c *Client) Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer {
	answers := make([]grandstand.Answer, len(asks))
	var told notices
	for from := 0; from < len(asks); from += portionSize {
		to := min(from+portionSize, len(asks))
		c.ask(ctx, asks[from:to], answers[from:to], &told)
	}
	c.notify(ctx, told)
	return answers
}

func (c *Client) ask(ctx context.Context, asks []grandstand.Ask, answers []grandstand.Answer, told *notices) {
	calls := make([]call, 0, len(asks))
	index := make([]int, 0, len(asks))
	for i := range asks {
		if answers[i].Err = validAsk(&asks[i]); answers[i].Err == nil {
			calls, index = append(calls, askCall(&asks[i])), append(index, i)
		}
	}
	for k, r := range c.eval(ctx, askScript, calls...) {
		i := index[k]
		text, err := r.ToString()
		if err == nil {
			var news news
			if answers[i].Verdict, news, err = parseVerdict(text, &asks[i]); err == nil {
				c.learn(askScript.op, asks[i].Account, news, told)
				continue
			}
		}
		answers[i].Err = c.failLeases(askScript.op, err)
	}
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
	c.notify(ctx, told)
	return failed
}

func (c *Client) leave(ctx context.Context, leaves []grandstand.Leave, told *notices) (failed error) {
	calls := make([]call, len(leaves))
	for i := range leaves {
		l := &leaves[i]
		calls[i] = leaseCall(l.Account, l.Device.Text(), escape(l.Session), escape(l.Member))
	}
	for i, r := range c.eval(ctx, leaveScript, calls...) {
		text, err := r.ToString()
		if err == nil {
			var heard news
			heard, err = parseNews(text)
			c.learn(leaveScript.op, leaves[i].Account, heard, told)
		}
		if err != nil && failed == nil {
			failed = c.failLeases(leaveScript.op, err)
		}
	}
	return failed
}

// SignOut ends all sessions of a device, playing or waiting, and returns how
// many there were. Asked again within signOutRepeat it returns the same.
func (c *Client) SignOut(ctx context.Context, account, device grandstand.Key) (ended int, err error) {
	text, err := c.evalString(ctx, signOutScript, leaseCall(account, device.Text(), ms(signOutRepeat)))
	if err != nil {
		return 0, err
	}
	first, rest := cutLine(text)
	ended, err1 := strconv.Atoi(first)
	news, err2 := parseNews(rest)
	if err := errors.Join(err1, err2); err != nil {
		return 0, c.failLeases(signOutScript.op, err)
	}
	var told notices
	c.learn(signOutScript.op, account, news, &told)
	c.notify(ctx, told)
	return ended, nil
}

// Account returns who plays on an account now, waits, or was ended. The state of
// an account that is not known is empty.
func (c *Client) Account(ctx context.Context, account grandstand.Key) (*grandstand.AccountState, error) {
	reply, err := c.eval(ctx, accountScript, leaseCall(account))[0].AsStrSlice()
	if err == nil && len(reply) != 2 {
		err = strconv.ErrSyntax
	}
	var now int64
	if err == nil {
		now, err = strconv.ParseInt(reply[0], 10, 64)
	}
	if err != nil {
		return nil, c.failLeases(accountScript.op, err)
	}
	state, err := parseState(reply[1], now)
	if err != nil {
		c.corrupt(accountScript.op, leasesKey(account), err)
		return &grandstand.AccountState{Now: now}, nil
	}
	return state, nil
}

// WatchAccount has member told of every change of the account for watchKept.
func (c *Client) WatchAccount(ctx context.Context, account grandstand.Key, member string) error {
	text, err := c.evalString(ctx, watchScript, leaseCall(account, escape(member), ms(watchKept)))
	if err != nil {
		return err
	}
	news, err := parseNews(text)
	if err != nil {
		return c.failLeases(watchScript.op, err)
	}
	var told notices
	c.learn(watchScript.op, account, news, &told)
	c.notify(ctx, told)
	return nil
}

// Decisions returns up to limit of what was decided last, newest first.
func (c *Client) Decisions(ctx context.Context, account grandstand.Key, limit int) ([]grandstand.Decision, error) {
	if limit <= 0 {
		return nil, nil
	}
	reply, err := c.eval(ctx, decisionsScript, leaseCall(account, strconv.Itoa(limit)))[0].AsStrSlice()
	if err == nil && len(reply) == 0 {
		err = strconv.ErrSyntax
	}
	var heard news
	if err == nil {
		heard, err = parseNews(reply[0])
	}
	if err != nil {
		return nil, c.failLeases(decisionsScript.op, err)
	}
	var told notices
	c.learn(decisionsScript.op, account, heard, &told)
	c.notify(ctx, told)
	list := make([]grandstand.Decision, 0, len(reply)-1)
	for _, text := range reply[1:] {
		d, err := parseDecision(text)
		if err != nil {
			c.corrupt(decisionsScript.op, decisionsKey(account), err)
			continue
		}
		list = append(list, d)
	}
	return list, nil
}

// learn takes what a script says beside its answer.
func (c *Client) learn(op string, account grandstand.Key, n news, told *notices) {
	if n.corrupt {
		c.corrupt(op, leasesKey(account), errors.New("it was replaced by a new one"))
	}
	for _, member := range n.members {
		told.add(member, account)
	}
}

func leaseCall(account grandstand.Key, args ...string) call {
	return call{[]string{leasesKey(account), decisionsKey(account)}, args}
}

// evalString runs a script about leases that returns text.
func (c *Client) evalString(ctx context.Context, s *script, cl call) (string, error) {
	text, err := c.eval(ctx, s, cl)[0].ToString()
	if err != nil {
		return "", c.failLeases(s.op, err)
	}
	return text, nil
}

// failLeases is fail with what the caller outside is told.
func (c *Client) failLeases(op string, err error) error {
	c.m.failed(op, reasonOf(err))
	return grandstand.WrapError(grandstand.CodeUnavailable, opError{op, err}, "which devices play cannot be looked up right now")
}

func validAsk(a *grandstand.Ask) error {
	switch {
	case a.Account.IsZero() || a.Device.IsZero() || a.Session == "":
		return grandstand.Errorf(grandstand.CodeInvalid, "a lease is for an account, a device and a session")
	case len(a.Session) > maxSessionLen || len(a.Member) > maxMemberLen || len(a.Event) > grandstand.MaxValueLen:
		return grandstand.Errorf(grandstand.CodeInvalid, "the id of a session, a member or an event is too long")
	case a.LeaseMS <= 0 || a.LeaseMS > leasesTTL.Milliseconds():
		return grandstand.Errorf(grandstand.CodeInvalid, "a lease lasts from 1 to %d ms", leasesTTL.Milliseconds())
	}
	return nil
}
