package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"

	"github.com/redis/rueidis"

	"grandstand"
)

// The scripts compare and change what others change as well. Each stays in one
// slot, and each may be carried out again when its reply was lost: the second
// time means the same. In Lua numbers are doubles, and the embedded server
// writes them with 14 digits: times and generations stay below 1e14, and are
// written with %.0f.
var (
	claimScript        = loadScript("claim")
	keepScript         = loadScript("keep")
	forgetScript       = loadScript("forget")
	admitScript        = loadScript("admit")
	publishScript      = loadScript("publish")
	livingScript       = loadScript("living", "life")
	renewScript        = loadScript("renew", "life")
	holdScript         = loadScript("hold")
	dropScript         = loadScript("drop")
	putEventScript     = loadScript("put_event")
	listEventScript    = loadScript("list_event")
	saveSeriesScript   = loadScript("save_series")
	writeTalliesScript = loadScript("write_tallies")
	timeScript         = loadScript("time")
	notifyScript       = loadScript("notify")
	listenScript       = loadScript("listen")
	revokeScript       = loadScript("revoke")

	askScript       = loadLeaseScript("ask", "quick", "first", "state", "judge", "ask")
	leaveScript     = loadLeaseScript("leave", "state", "leave")
	signOutScript   = loadLeaseScript("sign_out", "state", "sign_out")
	watchScript     = loadLeaseScript("watch_account", "state", "watch")
	decisionsScript = loadLeaseScript("decisions", "state", "decisions")
	accountScript   = loadLeaseScript("account", "account")
)

//go:embed lua/*.lua lua/leases/*.lua
var luaFiles embed.FS

type script struct {
	op   string // for the metrics
	body string
	sha  string
}

// loadScript joins the parts that a script shares with others and its own.
func loadScript(name string, shared ...string) *script {
	body := ""
	for _, part := range append(shared, name) {
		body += readLua(part)
	}
	return newScript(name, body)
}

// loadLeaseScript joins the parts of a script about leases, behind the constants
// of keys.go.
func loadLeaseScript(op string, parts ...string) *script {
	body := fmt.Sprintf("local stateMS, honourMS, endedMS, decisionsMS, aheadMS = %s, %d, %s, %s, %s\n",
		ms(leasesTTL), int64(grandstand.HonourMS), ms(endedKept), ms(decisionsTTL), ms(leaseAhead))
	body += fmt.Sprintf("local maxDevices, maxEnded, maxWatchers, maxDecisions = %d, %d, %d, %d\n",
		grandstand.MaxDevices, maxEnded, maxWatchers, maxDecisions)
	for _, name := range append([]string{"begin"}, parts...) {
		body += readLua("leases/" + name)
	}
	return newScript(op, body)
}

func readLua(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // embedded at build time
	}
	return string(b)
}

func newScript(op, body string) *script {
	sum := sha1.Sum([]byte(body)) // what Redis calls scripts by
	return &script{op: op, body: body, sha: hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct {
	keys, args []string
}

// eval runs a script once for each call, pipelined. A server that does not know
// the script (it is new, or lost its data) is given it with one of the calls
// that it did not know; where that is not enough, because there are several
// servers, with ever more of them.
func (c *Client) eval(ctx context.Context, s *script, calls ...call) []rueidis.RedisResult {
	cmds := make([]rueidis.Completed, len(calls))
	for i := range calls {
		cmds[i] = c.evalsha(s, &calls[i])
	}
	res := c.do(ctx, s.op, cmds...)
	unknown := unknownScript(nil, res)
	for given := 1; len(unknown) > 0; given *= 4 {
		cmds = make([]rueidis.Completed, len(unknown)) // those before may still be in use: do
		for k, i := range unknown {
			if cl := &calls[i]; k < given {
				cmds[k] = c.rc.B().Eval().Script(s.body).Numkeys(int64(len(cl.keys))).Key(cl.keys...).Arg(cl.args...).Build().ToRetryable()
			} else {
				cmds[k] = c.evalsha(s, cl)
			}
		}
		again := c.do(ctx, s.op, cmds...)
		for k, r := range again {
			res[unknown[k]] = r
		}
		unknown = unknownScript(unknown, again)
	}
	return res
}

func (c *Client) evalsha(s *script, cl *call) rueidis.Completed {
	return c.rc.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(cl.keys))).Key(cl.keys...).Arg(cl.args...).Build().ToRetryable()
}

// unknownScript returns the calls whose results say that the server does not
// know the script. calls are their numbers; nil: their positions.
func unknownScript(calls []int, res []rueidis.RedisResult) (unknown []int) {
	for k, r := range res {
		if re, ok := rueidis.IsRedisErr(r.Error()); ok && re.IsNoScript() {
			if calls != nil {
				k = calls[k]
			}
			unknown = append(unknown, k)
		}
	}
	return unknown
}

// evalStrings runs a script that returns a list of strings.
func (c *Client) evalStrings(ctx context.Context, s *script, keys []string, args ...string) ([]string, error) {
	list, err := c.eval(ctx, s, call{keys, args})[0].AsStrSlice()
	if err != nil {
		return nil, c.fail(s.op, err)
	}
	return list, nil
}

// evalInts runs a script that returns a list of integers.
func (c *Client) evalInts(ctx context.Context, s *script, keys []string, args ...string) ([]int64, error) {
	list, err := c.eval(ctx, s, call{keys, args})[0].AsIntSlice()
	if err != nil {
		return nil, c.fail(s.op, err)
	}
	return list, nil
}
