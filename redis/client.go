package redis

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"grandstand"
)

// Config says where Redis is.
type Config struct {
	// Address is redis://[user:password@]host:port[,host:port...], or rediss://
	// for TLS. Several hosts are nodes of a cluster, one host may be either; the
	// port defaults to 6379. Required.
	Address string

	// Timeout bounds every call whose context ends later or never. A call that
	// moves a lot (an event's reach, thousands of records) is made in portions
	// with a timeout each. Default 1 s.
	Timeout time.Duration

	// SampleEvery is the time between two looks at the clock of Redis.
	// Default 2 s.
	SampleEvery time.Duration

	// Logger takes what nobody is told by an error: that Follow lost Redis and
	// has it back, and values that cannot be read. Nil discards.
	Logger *slog.Logger

	// Registerer takes the metrics. Several clients may share one. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) validate() error {
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.SampleEvery == 0 {
		c.SampleEvery = 2 * time.Second
	}
	if c.Timeout < 0 || c.SampleEvery < 0 {
		return grandstand.Errorf(grandstand.CodeInvalid, "redis: a duration is negative")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Client talks to one Redis, whichever form it has. Its methods may be called
// at the same time. They return no later than their context's deadline or
// Config.Timeout; trouble with Redis is an error with CodeUnavailable. The
// Client connects again by itself.
type Client struct {
	// static after Open
	cfg     Config
	rc      rueidis.Client
	cluster bool // keys are spread over slots, so a command must stay in one
	m       *metrics
	log     *slog.Logger
	clock   *clock

	heard   sync.Map // aggregator → Redis ms of the last answer about its shards
	renewed sync.Map // member → Redis ms of the last renewal of its lease
	life    life

	close sync.Once

	warnMu    sync.Mutex
	warned    time.Time // guarded by warnMu: when the last line was written
	unwritten int       // guarded by warnMu: lines left out since
}

// Open connects to Redis, finds out whether it is a cluster and takes the first
// samples of its clock. Its errors have CodeInvalid for a bad address and
// CodeUnavailable if Redis cannot be reached now.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	opt, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, err
	}
	options(&opt, cfg.Timeout)
	rc, err := connect(ctx, opt)
	if err != nil {
		return nil, unavailable("connect", err)
	}
	c := &Client{cfg: cfg, rc: rc, m: newMetrics(cfg.Registerer), log: cfg.Logger, clock: newClock(time.Now())}
	if c.cluster, err = c.isCluster(ctx); err == nil {
		err = c.sampleAtOpen(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// options sets what has the same reason for every form of Redis.
func options(opt *rueidis.ClientOption, timeout time.Duration) {
	opt.DisableCache = true // nothing here is read twice unchanged
	opt.ClientName = "grandstand"
	opt.ClientSetInfo = rueidis.DisableClientSetInfo
	opt.MaxFlushDelay = 100 * time.Microsecond // commands of one tick leave together
	opt.Dialer.Timeout = min(timeout, time.Second)
	opt.Dialer.KeepAlive = time.Second // also: how often an idle connection is pinged
	opt.ConnWriteTimeout = timeout
	opt.RetryDelay = retryDelay

	// A connection has its own buffers, and a follower of a cluster has boardTags
	// connections: the library's default of 2 × 512 KiB would be 16 MiB.
	opt.ReadBufferEachConn = 64 << 10
	opt.WriteBufferEachConn = 64 << 10
	opt.RingScaleEachConn = 8
}

// retryDelay lets what may be repeated (reads and our scripts, which are made
// for it) survive a broken connection, but not wait for a Redis that is gone:
// the next tick asks again.
func retryDelay(attempts int, _ rueidis.Completed, _ error) time.Duration {
	if attempts > 3 {
		return -1
	}
	return 5 * time.Millisecond << (2 * (attempts - 1)) // 5, 20, 80 ms
}

// connect is NewClient that gives up when the context ends.
func connect(ctx context.Context, opt rueidis.ClientOption) (rueidis.Client, error) {
	type result struct {
		rc  rueidis.Client
		err error
	}
	done := make(chan result, 1)
	go func() {
		rc, err := rueidis.NewClient(opt)
		done <- result{rc, err}
	}()
	select {
	case r := <-done:
		return r.rc, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.rc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// isCluster asks the server itself: the library treats an embedded server as a
// cluster of one, which keeps us honest about slots, but there one blocking
// read may span all of them.
func (c *Client) isCluster(ctx context.Context) (bool, error) {
	if c.rc.Mode() != rueidis.ClientModeCluster {
		return false, nil
	}
	res := c.do(ctx, "info", c.rc.B().Info().Section("cluster").Build())
	info, err := res[0].ToString()
	if re, answered := rueidis.IsRedisErr(err); answered {
		return !strings.Contains(re.Error(), "is not supported"), nil // which the embedded server says
	} else if err != nil {
		return false, c.fail("info", err)
	}
	return strings.Contains(info, "cluster_enabled:1"), nil
}

// Close ends all connections. Calls under way fail, later ones as well.
func (c *Client) Close() { c.close.Do(c.rc.Close) }

// do carries out commands, pipelined, within the deadline. op names the call
// for the metrics. The results stand in the order of the commands.
//
// The library keeps deadlines itself but for one wait: a call that finds
// another one dialling waits for it. So the call runs beside us, and is left
// behind if it must be; nothing that it uses is used again.
func (c *Client) do(ctx context.Context, op string, cmds ...rueidis.Completed) []rueidis.RedisResult {
	if len(cmds) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	c.m.sending(op, cmds) // the library takes them back
	begin := time.Now()
	done := make(chan []rueidis.RedisResult, 1)
	go func() {
		if len(cmds) == 1 {
			done <- []rueidis.RedisResult{c.rc.Do(ctx, cmds[0])}
			return
		}
		done <- c.rc.DoMulti(ctx, cmds...)
	}()
	var res []rueidis.RedisResult
	select {
	case res = <-done:
	case <-ctx.Done():
		select {
		case res = <-done: // both were ready
		default:
			res = make([]rueidis.RedisResult, len(cmds))
			for i := range res {
				res[i] = rueidis.NewErrorResult(ctx.Err())
			}
		}
	}
	c.m.observe(op, time.Since(begin))
	return res
}

// doAll is do for commands whose replies say nothing but that they succeeded.
// It returns the first error.
func (c *Client) doAll(ctx context.Context, op string, cmds ...rueidis.Completed) error {
	for _, r := range c.do(ctx, op, cmds...) {
		if err := r.Error(); err != nil {
			return c.fail(op, err)
		}
	}
	return nil
}

// fail counts an error by its reason and gives it its code.
func (c *Client) fail(op string, err error) error {
	c.m.failed(op, reasonOf(err))
	return unavailable(op, err)
}

// corrupt counts a value that could not be decoded. It is as good as missing:
// whoever wrote it will write it again.
func (c *Client) corrupt(op, key string, err error) {
	c.m.failed(op, "corrupt")
	c.warn("a value in Redis cannot be read", "op", op, "key", key, "error", err)
}

// warn writes one line a second and counts the rest.
func (c *Client) warn(msg string, args ...any) {
	c.warnMu.Lock()
	defer c.warnMu.Unlock()
	if time.Since(c.warned) < time.Second {
		c.unwritten++
		return
	}
	if c.unwritten > 0 {
		args = append(args, "left_out", c.unwritten)
	}
	c.warned, c.unwritten = time.Now(), 0
	c.log.Warn(msg, args...)
}

func unavailable(op string, err error) error {
	return grandstand.WrapError(grandstand.CodeUnavailable, opError{op, err}, "the live counts cannot be reached right now")
}

// opError is an error with the call that it befell, such as "claim: EOF".
type opError struct {
	op  string
	err error
}

func (e opError) Error() string { return "redis " + e.op + ": " + e.err.Error() }
func (e opError) Unwrap() error { return e.err }

// reasonOf sorts errors into the few kinds that an operator acts upon.
func reasonOf(err error) string {
	re, answered := rueidis.IsRedisErr(err)
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "timeout"
	case errors.Is(err, rueidis.ErrClosing):
		return "closed"
	case answered && (re.IsLoading() || re.IsClusterDown() || re.IsTryAgain()):
		return "not_ready"
	case answered:
		return "refused"
	case errors.Is(err, io.EOF), errors.Is(err, rueidis.ErrNoSlot):
		return "lost"
	default:
		return "connection"
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
