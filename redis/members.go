package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

// Renew renews the lease of a member for memberLease, keeps its Status, and
// returns what there is to know about the cluster, but for what others say of
// themselves (Cluster): one script, each second or so. A member that could
// not renew in time is taken back as it was, with its JoinedAt, while it is
// listed. If writes are missing that this process knows of, after a failover or
// since Redis came back with a snapshot, the data set begins another life
// (Membership.Boot).
func (c *Client) Renew(ctx context.Context, m grandstand.Member) (grandstand.Membership, error) {
	status := ""
	if m.Status != nil {
		status = string(grandstand.AppendStatus(nil, m.Status))
	}
	m.JoinedAt, m.SeenAt, m.Alive, m.Status = 0, 0, false, nil // the script knows
	text, err := json.Marshal(m)
	if err != nil {
		return grandstand.Membership{}, err
	}
	renewed, _ := c.renewed.LoadOrStore(m.ID, int64(0))
	args := append(c.life.args(), m.ID, string(text), ms(memberListed), ms(membersTTL), status, strconv.FormatInt(renewed.(int64), 10))
	reply, err := c.evalStrings(ctx, renewScript, []string{bootKey, renewalsKey, membersKey, versionKey, statusKey}, args...)
	if err != nil {
		return grandstand.Membership{}, err
	}
	out, renewals, err := parseMembership(reply)
	if err != nil {
		return grandstand.Membership{}, c.fail(renewScript.op, err)
	}
	c.renewed.Store(m.ID, out.Now)
	c.life.heard(out.Now, renewals, out.Boot, out.BootAt)
	return out, nil
}

func parseMembership(reply []string) (out grandstand.Membership, renewals int64, err error) {
	if len(reply) < 4 || len(reply)%4 != 0 {
		return out, 0, strconv.ErrSyntax
	}
	number := func(text string) (n int64) {
		if err == nil {
			n, err = strconv.ParseInt(text, 10, 64)
		}
		return n
	}
	out.Now = number(reply[0])
	out.Boot, out.BootAt, err = parseBoot(reply[1])
	out.EventsVersion, renewals = number(reply[2]), number(reply[3])
	for r := reply[4:]; len(r) > 0; r = r[4:] {
		var m grandstand.Member
		if e := json.Unmarshal([]byte(r[3]), &m); e != nil {
			continue // of a version to come
		}
		m.ID, m.JoinedAt, m.SeenAt = r[0], number(r[1]), number(r[2])
		m.Alive = out.Now-m.SeenAt < memberLease.Milliseconds()
		out.Members = append(out.Members, m)
	}
	sortMembers(out.Members)
	return out, renewals, err
}

// sortMembers has the oldest first.
func sortMembers(list []grandstand.Member) {
	slices.SortFunc(list, func(a, b grandstand.Member) int {
		return cmp.Or(cmp.Compare(a.JoinedAt, b.JoinedAt), cmp.Compare(a.ID, b.ID))
	})
}

// Cluster returns all members with what they say of themselves, as Renew lists
// them. It is for operators: nothing of it is needed to serve viewers.
func (c *Client) Cluster(ctx context.Context) ([]grandstand.Member, error) {
	const op = "cluster"
	replies := c.do(ctx, op, c.rc.B().Hgetall().Key(membersKey).Build(), c.rc.B().Hgetall().Key(statusKey).Build())
	leases, err := replies[0].AsStrMap()
	if err != nil {
		return nil, c.fail(op, err)
	}
	statuses, err := replies[1].AsStrMap()
	if err != nil {
		return nil, c.fail(op, err)
	}
	now, list := c.Now(), make([]grandstand.Member, 0, len(leases))
	for id, text := range leases {
		m, ok := parseLease(id, text, now)
		if !ok || now-m.SeenAt > memberListed.Milliseconds() {
			continue
		}
		if s, err := grandstand.DecodeStatus([]byte(statuses[id])); err == nil { // else of a version to come, or none
			m.Status = s
		}
		list = append(list, m)
	}
	sortMembers(list)
	return list, nil
}

// parseLease reads what renew.lua writes: joined, seen, JSON. It reports false
// for what is of a version to come.
func parseLease(id, text string, now int64) (m grandstand.Member, ok bool) {
	joined, rest, _ := strings.Cut(text, " ")
	seen, body, _ := strings.Cut(rest, " ")
	if json.Unmarshal([]byte(body), &m) != nil {
		return m, false
	}
	var errs [2]error
	m.ID = id
	m.JoinedAt, errs[0] = strconv.ParseInt(joined, 10, 64)
	m.SeenAt, errs[1] = strconv.ParseInt(seen, 10, 64)
	m.Alive = now-m.SeenAt < memberLease.Milliseconds()
	return m, errs == [2]error{}
}

// BootAt returns the Redis ms at which the life of the data set began: no data
// was lost since. 0: it was lost, and nobody has renewed a lease since then.
func (c *Client) BootAt(ctx context.Context) (int64, error) {
	const op = "boot"
	text, err := c.do(ctx, op, c.rc.B().Get().Key(bootKey).Build())[0].ToString()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	if err != nil {
		return 0, c.fail(op, err)
	}
	_, at, err := parseBoot(text)
	if err != nil {
		return 0, c.fail(op, err)
	}
	return at, nil
}

// Resign ends the lease of a member, which is listed no more.
func (c *Client) Resign(ctx context.Context, id string) error {
	return c.doAll(ctx, "resign", c.rc.B().Hdel().Key(membersKey).Field(id).Build().ToRetryable(),
		c.rc.B().Hdel().Key(statusKey).Field(id).Build().ToRetryable())
}

// HoldShards renews the leases of an aggregator and settles its share: it gives
// up what exceeds the fair share of the aggregators that hold or wait for
// shards, and takes what nobody holds. The shards are its own for shardLease
// from the call; it is called each second, so that those of an aggregator that
// stopped are taken within 5 s. So are those of one that asks but hears no
// answer in time.
func (c *Client) HoldShards(ctx context.Context, member string) ([]int, error) {
	for range 2 {
		heard, _ := c.heard.LoadOrStore(member, int64(0))
		list, err := c.evalInts(ctx, holdScript, []string{shardsKey},
			member, ms(shardLease), strconv.Itoa(grandstand.Shards), ms(membersTTL), strconv.FormatInt(heard.(int64), 10))
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		c.heard.Store(member, list[0])
		if len(list) == 2 && list[1] < 0 {
			continue // it had not heard of Redis for a while, and now it has
		}
		shards := make([]int, 0, len(list)-1)
		for _, s := range list[1:] {
			if s >= 0 && s < grandstand.Shards {
				shards = append(shards, int(s))
			}
		}
		slices.Sort(shards)
		return shards, nil
	}
	return nil, c.fail(holdScript.op, strconv.ErrSyntax)
}

// DropShards gives up all shards of an aggregator that shuts down.
func (c *Client) DropShards(ctx context.Context, member string) error {
	if err := c.eval(ctx, dropScript, call{[]string{shardsKey}, []string{member}})[0].Error(); err != nil {
		return c.fail(dropScript.op, err)
	}
	return nil
}
