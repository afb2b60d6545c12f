package redis

import (
	"context"
	"errors"
	"strconv"

	"grandstand"
)

// notices are the accounts that members have to look at again.
type notices struct {
	members []string
	of      map[string][]grandstand.Key
}

func (n *notices) add(member string, account grandstand.Key) {
	if member == "" {
		return
	}
	if n.of == nil {
		n.of = map[string][]grandstand.Key{}
	}
	list := n.of[member]
	if list == nil {
		n.members = append(n.members, member)
	}
	if len(list) > 0 && list[len(list)-1] == account {
		return
	}
	n.of[member] = append(list, account)
}

// notify posts notices. It is best effort: who misses one learns of the change
// at its next ask.
func (c *Client) notify(ctx context.Context, n *notices) {
	if len(n.members) == 0 {
		return
	}
	calls := make([]call, len(n.members))
	for i, member := range n.members {
		args := []string{strconv.Itoa(maxNotices), ms(noticesTTL)}
		for _, account := range n.of[member] {
			args = append(args, account.Text())
		}
		calls[i] = call{[]string{noticesKey(member)}, args}
	}
	for _, r := range c.eval(ctx, notifyScript, calls...) {
		if err := r.Error(); err != nil {
			c.m.failed(notifyScript.op, reasonOf(err))
		}
	}
}

// FollowNotices calls tell with each account that the member has to look at
// again, from one goroutine, until ctx ends; then it returns nil. The zero Key
// says that notices may have been lost: Redis was away or lost its data, or the
// member read too late.
func (c *Client) FollowNotices(ctx context.Context, member string, tell func(account grandstand.Key)) error {
	l := &listener{c: c, key: noticesKey(member), tell: tell}
	l.run(ctx)
	return nil
}

// listener reads the notices of one member. It is owned by its run.
type listener struct {
	c    *Client
	key  string
	tell func(grandstand.Key)

	id     string // of the entry read last; "": none yet
	number int64  // its number
	errors int    // in a row
}

func (l *listener) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.look(ctx)
		for err == nil {
			var heard bool
			if heard, err = l.read(ctx); !heard {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			if l.errors++; l.errors == 1 {
				l.c.warn("notices cannot be followed, trying again", "err", err)
			}
			l.c.backOff(ctx, l.errors)
		case l.errors > 0:
			l.c.log.Info("notices are followed again", "tries", l.errors)
			l.errors = 0
			l.tell(grandstand.Key{}) // some may not have been posted meanwhile
		}
	}
}

// look keeps the stream alive and finds out whether it is another one than
// before, whose entries may have ids that were read already.
func (l *listener) look(ctx context.Context) error {
	reply, err := l.c.evalStrings(ctx, listenScript, []string{l.key}, ms(noticesTTL))
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return l.c.fail(listenScript.op, strconv.ErrSyntax)
	}
	id, err1 := parseID(reply[0])
	number, err2 := strconv.ParseInt(reply[1], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return l.c.fail(listenScript.op, err)
	}
	if l.id == "" {
		l.id, l.number = noEntry, -1
		return nil // whatever is there is read
	}
	last, err := parseID(l.id)
	if err != nil {
		return err
	}
	if number < l.number || id.MS < last.MS || (id.MS == last.MS && id.Seq < last.Seq) {
		l.id, l.number = reply[0], number
		l.tell(grandstand.Key{})
	}
	return nil
}

// read waits for notices; heard is false if there were none for followBlock.
func (l *listener) read(ctx context.Context) (heard bool, err error) {
	streams, err := l.c.await(ctx, "notices", l.c.rc.B().Xread().Block(followBlock.Milliseconds()).Streams().Key(l.key).Id(l.id).Build())
	if err != nil || len(streams) == 0 {
		return false, err
	}
	gap := false
	seen := map[grandstand.Key]bool{}
	for _, e := range streams[l.key] {
		n, err := strconv.ParseInt(e.FieldValues["n"], 10, 64)
		if err != nil {
			n = l.number + 2
		}
		gap = gap || (l.number >= 0 && n != l.number+1) || (l.number < 0 && n > 1)
		l.id, l.number = e.ID, n
		if k, ok := grandstand.ParseKey(e.FieldValues["a"]); ok {
			seen[k] = true
		}
	}
	if gap {
		l.tell(grandstand.Key{})
		return true, nil
	}
	for k := range seen {
		l.tell(k)
	}
	return true, nil
}
