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

// Bounds of what is sent at once: a script must not hold a server up, and a
// portion must fit into one timeout, on the embedded server too.
const (
	scriptKeys  = 100  // records in one script
	portionSize = 1000 // records in one pipeline
)

// Claim makes the records' owner that of their sessions. The record of another
// owner before is returned, so that it can be told (Release) and the session be
// listed as a Move. A session without a record gets a generation above any that
// it can have had: the Redis time in ms. Two claims at once are answered one
// after the other, each with the owner before it.
//
// The answers are in the order of recs. With an error, the first there was, those
// that are missing have generation 0: they may have been carried out all the same.
// Claim may be called again for them, with Asked: for claimRepeat the same owner is
// told the same again, even if another has claimed the session since, whose it stays.
func (c *Client) Claim(ctx context.Context, recs []grandstand.Record) ([]grandstand.Claimed, error) {
	calls := make([]call, len(recs))
	for i := range recs {
		r := &recs[i]
		if err := validRecord(r); err != nil {
			return make([]grandstand.Claimed, len(recs)), err
		}
		calls[i] = call{
			keys: []string{recordKey(r.Session), claimKey(r.Session)},
			args: []string{r.Owner, strconv.FormatUint(r.Gen, 10), encodeRecord(r), ms(recordTTL), ms(claimRepeat), truth(r.Asked)},
		}
	}
	claimed := make([]grandstand.Claimed, len(recs))
	var first error
	for i, res := range c.eval(ctx, claimScript, calls...) {
		reply, err := res.AsStrSlice()
		if err == nil {
			claimed[i], err = c.parseClaimed(recordKey(recs[i].Session), reply)
		}
		if err != nil && first == nil {
			first = c.fail(claimScript.op, err)
		}
	}
	return claimed, first
}

// truth is how scripts take a bool.
func truth(is bool) string {
	if is {
		return "1"
	}
	return "0"
}

// parseClaimed reads the reply of the script for the record under a key.
func (c *Client) parseClaimed(key string, reply []string) (grandstand.Claimed, error) {
	if len(reply) != 6 {
		return grandstand.Claimed{}, strconv.ErrSyntax
	}
	gen, err := strconv.ParseUint(reply[0], 10, 64)
	if err != nil {
		return grandstand.Claimed{}, err
	}
	claimed := grandstand.Claimed{Gen: gen}
	if reply[1] == "" {
		return claimed, nil
	}
	prev, err := grandstand.DecodeRecord([]byte(reply[3]))
	if err != nil {
		// The owner before is known, what it counts is not: it will notice by
		// itself that it lost the session (Keep).
		c.corrupt(claimScript.op, key, err)
		return claimed, nil
	}
	// What the script compared holds, not the copy in the encoded record.
	prev.Owner = reply[1]
	prevGen, err1 := strconv.ParseUint(reply[2], 10, 64)
	claimedAt, err2 := strconv.ParseInt(reply[4], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return grandstand.Claimed{}, err
	}
	prev.Gen, prev.ClaimedAt, prev.ClaimedFrom = prevGen, claimedAt, reply[5]
	claimed.Previous = prev
	return claimed, nil
}

// Keep writes the records of sessions that their owners still have, for another
// recordTTL. It returns the indices of those that somebody else owns by now, in
// order: their owner must let go of them. Records of one bucket
// (grandstand.BucketOf) go in one script. After an error some records may have
// been kept; to keep them again does no harm.
func (c *Client) Keep(ctx context.Context, recs []grandstand.Record) (lost []int, err error) {
	for i := range recs {
		if err := validRecord(&recs[i]); err != nil {
			return nil, err
		}
	}
	for _, portion := range byBucket(recs) {
		calls := make([]call, len(portion))
		for k, batch := range portion {
			cl := call{args: []string{ms(recordTTL)}}
			for _, i := range batch {
				r := &recs[i]
				cl.keys = append(cl.keys, recordKey(r.Session))
				cl.args = append(cl.args, r.Owner, strconv.FormatUint(r.Gen, 10), encodeRecord(r))
			}
			calls[k] = cl
		}
		for k, res := range c.eval(ctx, keepScript, calls...) {
			list, e := res.AsIntSlice()
			if e != nil {
				if err == nil {
					err = c.fail(keepScript.op, e)
				}
				continue
			}
			for _, n := range list {
				if n >= 1 && int(n) <= len(portion[k]) {
					lost = append(lost, portion[k][n-1])
				}
			}
		}
		if err != nil {
			break // the next portion would wait for the same trouble
		}
	}
	slices.Sort(lost)
	return lost, err
}

// Forget deletes the records of sessions that ended, unless somebody else owns
// them or the same owner claimed them again.
func (c *Client) Forget(ctx context.Context, recs []grandstand.Record) error {
	for _, portion := range byBucket(recs) {
		calls := make([]call, len(portion))
		for k, batch := range portion {
			for _, i := range batch {
				r := &recs[i]
				calls[k].keys = append(calls[k].keys, recordKey(r.Session))
				calls[k].args = append(calls[k].args, r.Owner, strconv.FormatUint(r.Gen, 10))
			}
		}
		for _, res := range c.eval(ctx, forgetScript, calls...) {
			if err := res.Error(); err != nil {
				return c.fail(forgetScript.op, err)
			}
		}
	}
	return nil
}

// byBucket groups the indices of records: into portions to be pipelined, of
// batches that share a slot.
func byBucket(recs []grandstand.Record) (portions [][][]int) {
	buckets := map[int][]int{}
	var order []int
	for i := range recs {
		b := grandstand.BucketOf(recs[i].Session)
		if buckets[b] == nil {
			order = append(order, b)
		}
		buckets[b] = append(buckets[b], i)
	}
	var portion [][]int
	size := 0
	for _, b := range order {
		for batch := range slices.Chunk(buckets[b], scriptKeys) {
			portion = append(portion, batch)
			if size += len(batch); size >= portionSize {
				portions, portion, size = append(portions, portion), nil, 0
			}
		}
	}
	if len(portion) > 0 {
		portions = append(portions, portion)
	}
	return portions
}

func encodeRecord(r *grandstand.Record) string {
	return rueidis.BinaryString(grandstand.AppendRecord(nil, r))
}

// validRecord refuses what the form of a stored record cannot hold.
func validRecord(r *grandstand.Record) error {
	if r.Session == "" || r.Owner == "" || strings.ContainsRune(r.Owner, '|') {
		return grandstand.Errorf(grandstand.CodeInvalid, "a session record needs a session and an owner without |")
	}
	if r.Gen >= 1e14 {
		return grandstand.Errorf(grandstand.CodeInvalid, "a generation is below 1e14")
	}
	return nil
}
