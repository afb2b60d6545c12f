package redis

import (
	"context"
	"slices"

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
	cmds := make([]rueidis.Completed, len(shards))
	for i, t := range shards {
		cmds[i] = c.set(tallyKey(t.Gateway, t.Shard), grandstand.AppendShardTally(nil, t))
	}
	if err := c.doAll(ctx, "write_tallies", cmds...); err != nil || m == nil {
		return err
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
	keys := make([]string, len(refs))
	for i, r := range refs {
		keys[i] = tallyKey(r.Gateway, r.Shard)
	}
	return getAll(ctx, c, "shard_tallies", keys, grandstand.DecodeEncodedShardTally)
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
