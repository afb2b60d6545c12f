package redis

import (
	"context"
	"slices"
	"strconv"

	"github.com/redis/rueidis"

	"grandstand"
)

// readPortion is how many keys are read in one pipeline.
const readPortion = 1000

// WriteTallies writes the tallies of shards that changed and then, only if all
// of them were written, the manifest that vouches for them; either may be left
// out. Values live for tallyTTL, so a gateway writes each again before that,
// changed or not.
func (c *Client) WriteTallies(ctx context.Context, shards []*grandstand.ShardTally, m *grandstand.Manifest) error {
	bySlot := map[string]*call{}
	for _, t := range shards {
		tag := tallyTagOf(t.Gateway, t.Shard)
		if bySlot[tag] == nil {
			bySlot[tag] = &call{args: []string{ms(tallyTTL)}}
		}
		bySlot[tag].keys = append(bySlot[tag].keys, tallyKey(t.Gateway, t.Shard))
		bySlot[tag].args = append(bySlot[tag].args, rueidis.BinaryString(grandstand.AppendShardTally(nil, t)))
	}
	calls := make([]call, 0, len(bySlot))
	for _, cl := range bySlot {
		calls = append(calls, *cl)
	}
	for _, r := range c.eval(ctx, writeTalliesScript, calls...) {
		if err := r.Error(); err != nil {
			return c.fail(writeTalliesScript.op, err)
		}
	}
	if m == nil {
		return nil
	}
	return c.doAll(ctx, "write_manifest", c.set(manifestKey(m.Gateway), grandstand.AppendManifest(nil, m)))
}

func (c *Client) set(key string, value []byte) rueidis.Completed {
	return c.rc.B().Set().Key(key).Value(rueidis.BinaryString(value)).
		PxMilliseconds(tallyTTL.Milliseconds()).Build().ToRetryable()
}

// Manifests returns the newest manifest of each gateway, in the order asked; nil
// where there is none or it cannot be read.
func (c *Client) Manifests(ctx context.Context, gateways []string) ([]*grandstand.Manifest, error) {
	keys := make([]string, len(gateways))
	for i, g := range gateways {
		keys[i] = manifestKey(g)
	}
	return getAll(ctx, c, "manifests", keys, grandstand.DecodeManifest)
}

// ShardTallies returns the newest tally of each reference, in the order asked;
// nil where there is none or it cannot be read. What it holds of each event is
// left encoded: most of it is what it was at the tick before.
func (c *Client) ShardTallies(ctx context.Context, refs []grandstand.TallyRef) ([]*grandstand.EncodedShardTally, error) {
	const op = "shard_tallies"
	bySlot := map[string][]int{} // indices of refs
	for i, r := range refs {
		tag := tallyTagOf(r.Gateway, r.Shard)
		bySlot[tag] = append(bySlot[tag], i)
	}
	asked := make([][]int, 0, len(bySlot))
	cmds := make([]rueidis.Completed, 0, len(bySlot))
	for _, list := range bySlot {
		keys := make([]string, len(list))
		for k, i := range list {
			keys[k] = tallyKey(refs[i].Gateway, refs[i].Shard)
		}
		asked, cmds = append(asked, list), append(cmds, c.rc.B().Mget().Key(keys...).Build())
	}
	out := make([]*grandstand.EncodedShardTally, len(refs))
	for n, r := range c.do(ctx, op, cmds...) {
		values, err := r.ToArray()
		if err == nil && len(values) != len(asked[n]) {
			err = strconv.ErrRange
		}
		if err != nil {
			return nil, c.fail(op, err)
		}
		for k, i := range asked[n] {
			if values[k].IsNil() {
				continue
			}
			b, err := values[k].AsBytes()
			if err == nil {
				out[i], err = grandstand.DecodeEncodedShardTally(b)
			}
			if err != nil {
				c.corrupt(op, tallyKey(refs[i].Gateway, refs[i].Shard), err)
			}
		}
	}
	return out, nil
}

// getAll reads and decodes strings, nil for each that is missing or corrupt.
func getAll[T any](ctx context.Context, c *Client, op string, keys []string, decode func([]byte) (*T, error)) ([]*T, error) {
	out := make([]*T, 0, len(keys))
	for portion := range slices.Chunk(keys, readPortion) {
		cmds := make([]rueidis.Completed, len(portion))
		for i, k := range portion {
			cmds[i] = c.rc.B().Get().Key(k).Build()
		}
		for i, r := range c.do(ctx, op, cmds...) {
			b, err := r.AsBytes()
			if rueidis.IsRedisNil(err) {
				out = append(out, nil)
				continue
			} else if err != nil {
				return nil, c.fail(op, err)
			}
			v, err := decode(b)
			if err != nil {
				c.corrupt(op, portion[i], err)
				v = nil
			}
			out = append(out, v)
		}
	}
	return out, nil
}
