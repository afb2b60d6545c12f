package redis

import (
	"context"
	"strconv"

	"grandstand"
)

// Account returns who plays on an account now, waits, or was ended. That of an
// account that is not known, or cannot be read, is empty.
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
		return nil, c.failLeases(ctx, accountScript.op, account, err)
	}
	state, err := parseState(reply[1], now)
	if err != nil {
		c.corrupt(accountScript.op, leasesKey(account), err) // the next ask replaces it
		return &grandstand.AccountState{Now: now}, nil
	}
	return state, nil
}

// WatchAccount has member sent a notice of every change of the account, but for
// renewals, for watchKept.
func (c *Client) WatchAccount(ctx context.Context, account grandstand.Key, member string) error {
	if member == "" || len(member) > maxMemberLen {
		return grandstand.Errorf(grandstand.CodeInvalid, "the id of a member has 1 to %d bytes", maxMemberLen)
	}
	var told notices
	in := replies{c, ctx, watchScript.op, &told}
	text, err := c.eval(ctx, watchScript, leaseCall(account, escape(member), ms(watchKept)))[0].ToString()
	err = in.read(account, text, err, parseNews)
	c.notify(ctx, &told)
	return err
}

// Decisions returns what was decided about an account last, newest first, up to
// limit of the maxDecisions that are kept.
func (c *Client) Decisions(ctx context.Context, account grandstand.Key, limit int) ([]grandstand.Decision, error) {
	if limit <= 0 {
		return nil, nil
	}
	reply, err := c.eval(ctx, decisionsScript, leaseCall(account, strconv.Itoa(limit)))[0].AsStrSlice()
	if err == nil && len(reply) == 0 {
		err = strconv.ErrSyntax
	}
	if err != nil {
		return nil, c.failLeases(ctx, decisionsScript.op, account, err)
	}
	var told notices
	in := replies{c, ctx, decisionsScript.op, &told}
	if err := in.read(account, reply[0], nil, parseNews); err != nil {
		return nil, err
	}
	c.notify(ctx, &told)
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
