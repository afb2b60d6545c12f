package redis

import (
	"context"
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
	if len(list) == 0 || list[len(list)-1] != account {
		n.of[member] = append(list, account)
	}
}

// notify posts notices. It is best effort: who misses one learns of the change
// at its next ask.
func (c *Client) notify(ctx context.Context, n *notices) {
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
// member read too late. It needs a connection.
func (c *Client) FollowNotices(ctx context.Context, member string, tell func(account grandstand.Key)) error {
	l := &listener{c: c, key: noticesKey(member), tell: tell, last: noEntry}
	l.run(ctx)
	return nil
}

// listener reads the notices of one member. It is owned by its run.
type listener struct {
	c    *Client
	key  string
	tell func(grandstand.Key)

	last   string // the id read last
	birth  string // of the stream; "": none was read yet
	number int64  // of the entry read last
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
		if err == nil || ctx.Err() != nil {
			continue
		}
		if l.errors++; l.errors == 1 {
			l.c.warn("notices cannot be followed, trying again", "error", err)
		}
		l.c.backOff(ctx, l.errors)
	}
}

// look keeps the stream alive, and finds out whether it is another one than
// before: the data was lost, and its ids may be lower than the one read last.
func (l *listener) look(ctx context.Context) error {
	reply, err := l.c.evalStrings(ctx, listenScript, []string{l.key}, ms(noticesTTL))
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return l.c.fail(listenScript.op, strconv.ErrSyntax)
	}
	lost := l.birth != "" && reply[1] != l.birth
	if lost {
		l.last, l.birth, l.number = noEntry, "", 0
	}
	if l.errors > 0 {
		l.c.log.Info("notices are followed again", "tries", l.errors)
	}
	if lost || l.errors > 0 { // while Redis was away none could be posted
		l.errors = 0
		l.tell(grandstand.Key{})
	}
	return nil
}

// read waits for notices; heard is false if there were none for followBlock.
func (l *listener) read(ctx context.Context) (heard bool, err error) {
	streams, err := l.c.await(ctx, "notices",
		l.c.rc.B().Xread().Block(followBlock.Milliseconds()).Streams().Key(l.key).Id(l.last).Build())
	if err != nil {
		return false, err
	}
	missed := false
	var accounts []grandstand.Key
	told := map[grandstand.Key]bool{}
	for _, e := range streams[l.key] {
		birth := e.FieldValues["b"]
		number, err := strconv.ParseInt(e.FieldValues["n"], 10, 64)
		first := l.birth == "" && number <= 1
		if err != nil || !first && (birth != l.birth || number != l.number+1) {
			missed = true
		}
		l.last, l.birth, l.number = e.ID, birth, number
		if k, ok := grandstand.ParseKey(e.FieldValues["a"]); ok && !told[k] {
			told[k] = true
			accounts = append(accounts, k)
		}
	}
	if missed {
		accounts = []grandstand.Key{{}} // which is all of them
	}
	for _, k := range accounts {
		if ctx.Err() == nil {
			l.tell(k)
		}
	}
	return len(streams) > 0, nil
}
