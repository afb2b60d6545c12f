package redis

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

// Revoke keeps revocations until they are over, by now and by the time of Redis:
// it may be ahead of the clock that tokens end by. Doing so twice changes nothing.
// The error has CodeConflict if there would be more than MaxRevocations: those that
// are there already, and the first ones that there is room for, are kept.
func (c *Client) Revoke(ctx context.Context, now int64, list []grandstand.Revocation) error {
	args := make([]string, 0, 2+3*len(list))
	args = append(args, strconv.Itoa(grandstand.MaxRevocations), strconv.FormatInt(now, 10))
	for _, r := range list {
		args = append(args, string(r.Name.Kind)+"/"+r.Name.Key.Text(), strconv.FormatInt(r.Before, 10), strconv.FormatInt(r.Until, 10))
	}
	room, err := c.eval(ctx, revokeScript, call{[]string{revokedKey}, args})[0].AsInt64()
	if err != nil {
		return c.fail(revokeScript.op, err)
	}
	if room == 0 {
		return grandstand.Errorf(grandstand.CodeConflict, "there are %d revocations: revoke all tokens that were issued before a time instead", grandstand.MaxRevocations)
	}
	return nil
}

// Revocations returns all revocations and their version, which changes when they
// do. The list is nil if the version is known.
func (c *Client) Revocations(ctx context.Context, known int64) (list []grandstand.Revocation, version int64, err error) {
	const op = "revocations"
	version, err = c.do(ctx, op, c.rc.B().Hget().Key(revokedKey).Field("v").Build())[0].AsInt64()
	if err != nil && !rueidis.IsRedisNil(err) { // there are none
		return nil, 0, c.fail(op, err)
	}
	if version == known {
		return nil, version, nil
	}
	// What is read after the version may be newer: then it is read once more.
	all, err := c.do(ctx, op, c.rc.B().Hgetall().Key(revokedKey).Build())[0].AsStrMap()
	if err != nil {
		return nil, 0, c.fail(op, err)
	}
	list = make([]grandstand.Revocation, 0, len(all))
	for name, value := range all {
		if r, ok := parseRevocation(name, value); ok {
			list = append(list, r)
		}
	}
	return list, version, nil
}

// parseRevocation is false for the version, and for what a later form may add.
func parseRevocation(name, value string) (r grandstand.Revocation, ok bool) {
	kind, key, found := strings.Cut(name, "/")
	if r.Name.Kind = grandstand.RevocationKind(kind); !found {
		return r, false
	}
	if r.Name.Key, ok = grandstand.ParseKey(key); !ok {
		return r, false
	}
	before, until, _ := strings.Cut(value, " ")
	var err, err2 error
	r.Before, err = strconv.ParseInt(before, 10, 64)
	r.Until, err2 = strconv.ParseInt(until, 10, 64)
	return r, err == nil && err2 == nil
}
