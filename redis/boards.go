package redis

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"grandstand"
)

// Publish offers the boards of a shard. They replace what is there if they are
// newer by the time of their state: sb.Epoch is what the caller proposes, the
// answer says which epoch they were published in. Boards from the future are
// refused, and if what is there is from the future itself (a clock was wrong)
// it is replaced under a new epoch. To offer the same boards again is answered
// like the first time.
func (c *Client) Publish(ctx context.Context, sb *grandstand.ShardBoard) (grandstand.Published, error) {
	reply, err := c.evalStrings(ctx, publishScript, []string{boardKey(sb.Shard)},
		strconv.FormatInt(sb.At, 10), strconv.FormatInt(sb.Epoch, 10),
		rueidis.BinaryString(grandstand.AppendShardBoard(nil, sb)),
		ms(boardTTL), ms(publishAhead), ms(boardAhead))
	if err != nil {
		return grandstand.Published{}, err
	}
	if len(reply) != 3 {
		return grandstand.Published{}, c.fail(publishScript.op, strconv.ErrSyntax)
	}
	epoch, err1 := strconv.ParseInt(reply[1], 10, 64)
	at, err2 := strconv.ParseInt(reply[2], 10, 64)
	if err1 != nil || err2 != nil {
		return grandstand.Published{}, c.fail(publishScript.op, strconv.ErrSyntax)
	}
	return grandstand.Published{Epoch: epoch, At: at, Refused: reply[0]}, nil
}

// LastBoard returns the boards of a shard that were published last; nil if there
// are none or they cannot be read.
func (c *Client) LastBoard(ctx context.Context, shard int) (*grandstand.ShardBoard, error) {
	entries, err := c.do(ctx, "last_board", c.lastEntry(shard))[0].AsXRange()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, c.fail("last_board", err)
	}
	if len(entries) == 0 {
		return nil, nil
	}
	return c.decodeBoards("last_board", shard, entries[0]), nil
}

func (c *Client) lastEntry(shard int) rueidis.Completed {
	return c.rc.B().Xrevrange().Key(boardKey(shard)).End("+").Start("-").Count(1).Build()
}

// decodeBoards reads an entry of a board stream; nil if it cannot be read.
func (c *Client) decodeBoards(op string, shard int, e rueidis.XRangeEntry) *grandstand.ShardBoard {
	sb, err := grandstand.DecodeShardBoard([]byte(e.FieldValues["d"]))
	if err != nil {
		c.corrupt(op, boardKey(shard), err)
		return nil
	}
	epoch, err := strconv.ParseInt(e.FieldValues["e"], 10, 64)
	if err != nil || sb.Shard != shard {
		c.corrupt(op, boardKey(shard), strconv.ErrSyntax)
		return nil
	}
	sb.SetEpoch(epoch)
	return sb
}
