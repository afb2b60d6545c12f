package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"grandstand"
)

// releasesPage is how many entries of a release stream are read at once.
const releasesPage = 2000

// Release tells owner, in this order, that it no longer owns sessions. It
// returns the ids under which the entries stand in owner's list; whoever counts
// the sessions from now on does so only after that. After an error none of the
// ids is known, and all may be released again.
func (c *Client) Release(ctx context.Context, owner string, rels []grandstand.Release) ([]grandstand.ReleaseID, error) {
	if len(rels) == 0 {
		return nil, nil
	}
	key := releasesKey(owner)
	// Who does not read its list is dead, and the list must not grow for ever.
	trim := []string{"MINID", "~", strconv.FormatInt(c.Now()-releaseTTL.Milliseconds(), 10)}
	cmds := make([]rueidis.Completed, 0, len(rels)+1)
	for i := range rels {
		r := &rels[i]
		cmds = append(cmds, c.rc.B().Arbitrary("XADD").Keys(key).Args(trim...).
			Args("*", "e", r.Event, "s", r.Session, "g", strconv.FormatUint(r.Gen, 10)).Build())
		trim = nil // once is enough
	}
	cmds = append(cmds, c.rc.B().Pexpire().Key(key).Milliseconds(releaseTTL.Milliseconds()).Build())

	ids := make([]grandstand.ReleaseID, len(rels))
	for i, r := range c.do(ctx, "release", cmds...) {
		if err := r.Error(); err != nil {
			return nil, c.fail("release", err)
		}
		if i == len(rels) {
			break
		}
		text, err := r.ToString()
		if err == nil {
			ids[i], err = parseID(text)
		}
		if err != nil {
			return nil, c.fail("release", err)
		}
	}
	return ids, nil
}

// Releases returns the entries of owner's list after an id, oldest first. With an
// error it returns the first of them, as far as they could be read.
func (c *Client) Releases(ctx context.Context, owner string, after grandstand.ReleaseID) ([]grandstand.Release, error) {
	var rels []grandstand.Release
	for {
		entries, err := c.do(ctx, "releases", c.rc.B().Xrange().Key(releasesKey(owner)).
			Start("("+formatID(after)).End("+").Count(releasesPage).Build())[0].AsXRange()
		if err != nil && !rueidis.IsRedisNil(err) {
			return rels, c.fail("releases", err)
		}
		for _, e := range entries {
			id, err := parseID(e.ID)
			if err != nil {
				return rels, c.fail("releases", err)
			}
			after = id
			gen, err := strconv.ParseUint(e.FieldValues["g"], 10, 64)
			if err != nil {
				c.corrupt("releases", releasesKey(owner), err)
				continue
			}
			rels = append(rels, grandstand.Release{ID: id, Event: e.FieldValues["e"], Session: e.FieldValues["s"], Gen: gen})
		}
		if len(entries) < releasesPage {
			return rels, nil
		}
	}
}

func formatID(id grandstand.ReleaseID) string {
	return strconv.FormatUint(id.MS, 10) + "-" + strconv.FormatUint(id.Seq, 10)
}

// parseID reads the id of a stream's entry, "1795299042179-0".
func parseID(text string) (grandstand.ReleaseID, error) {
	a, b, ok := strings.Cut(text, "-")
	millis, err1 := strconv.ParseUint(a, 10, 64)
	seq, err2 := strconv.ParseUint(b, 10, 64)
	if err := errors.Join(err1, err2); !ok || err != nil {
		return grandstand.ReleaseID{}, fmt.Errorf("read stream id %q: %w", text, strconv.ErrSyntax)
	}
	return grandstand.ReleaseID{MS: millis, Seq: seq}, nil
}
