package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// audiences of the crowds: fifty states, each with a team of its own.
const audiences = 50

const (
	// playerPath is a viewer of one of the audiences. It may be silent for two
	// and a half minutes.
	playerPath = "/v1/events/bench/live?viewer=v{i}&device=d{i}&country=US&region=US-{a}&team=T{a}&interval_ms=60000"

	benchEvent = `{"tick_ms":2000,"beat_ms":10000,"public":true}`
)

// expense is what sockets cost a server.
type expense struct {
	memory  float64 // bytes per idle connection
	kernel  float64 // bytes per idle connection in the kernel, of its server and its client
	frame   float64 // processor seconds
	beat    float64 // processor seconds
	payload float64 // bytes of a frame
	encodes float64 // frames encoded per board
}

// least is the cheaper of two rounds in everything: what else runs on the
// machine only ever adds.
func (e expense) least(o expense) expense {
	return expense{memory: min(e.memory, o.memory), kernel: min(e.kernel, o.kernel), frame: min(e.frame, o.frame),
		beat: min(e.beat, o.beat), payload: e.payload, encodes: max(e.encodes, o.encodes)}
}

// cost measures memory, frames and beats of a gateway and of the floor.
func (b *run) cost(ctx context.Context) ([]Row, error) {
	var product, floor expense
	for i := range b.scale.rounds {
		p, err := b.productCost(ctx)
		if err != nil {
			return nil, err
		}
		f, err := b.floorCost(ctx, int(math.Round(p.payload)))
		if err != nil {
			return nil, err
		}
		if i == 0 {
			product, floor = p, f
		}
		product, floor = product.least(p), floor.least(f)
	}
	n := b.scale.conns
	how := fmt.Sprintf("%d connections, %.0f-byte frames each %v", n, product.payload, tick)
	return []Row{
		{Key: "memory", What: "memory of an idle viewer", Value: product.memory / 1024, Unit: "KB", Target: 8, Guarded: n >= 10_000,
			Note: fmt.Sprintf("%d connections on one gateway, a beat each 10 s for %v; smaller crowds share less of what a process needs anyway. Server and client together take another %.1f KB of the kernel.", n, b.scale.idle, product.kernel/1024)},
		Row{Key: "frame", What: "processor time of a delivered frame", Value: product.frame * 1e6, Unit: "µs", Target: 1.25, Guarded: true, Note: how + ", no beats."}.over(floor.frame * 1e6),
		Row{Key: "beat", What: "processor time of a beat", Value: product.beat * 1e6, Unit: "µs", Target: 2.5, Guarded: true, Note: how + ", with a beat of each connection per second, less the same without."}.over(floor.beat * 1e6),
		{Key: "encodes", What: "frames encoded per tick and audience", Value: product.encodes / audiences, Unit: "", Target: 1, Guarded: true,
			Note: fmt.Sprintf("%d audiences, %d viewers.", audiences, n)},
	}, nil
}

func (b *run) productCost(ctx context.Context) (e expense, err error) {
	d, err := b.deploy(ctx, deployConfig{gateways: 1})
	if err != nil {
		return e, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, ""); err != nil {
		return e, err
	}
	g := d.gateways[0]
	return b.sockets(ctx, target{child: g.child, addr: g.addr, path: playerPath, gateway: g})
}

// floorEnv keeps Go from interrupting the floor's only thread, which it would
// each 10 ms: a third of what a frame costs.
var floorEnv = []string{"GODEBUG=asyncpreemptoff=1"}

func (b *run) floorCost(ctx context.Context, payload int) (e expense, err error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return e, err
	}
	f, err := spawnWith(floorEnv, "floor", b.cfg.Self, "bench-floor", "--listen", addrs[0], "--tick-ms", strconv.Itoa(int(tick.Milliseconds())), "--payload", strconv.Itoa(payload))
	if err != nil {
		return e, err
	}
	defer f.end()
	go io.Copy(io.Discard, f.out)
	if err := f.await(ctx, readyBound, func() error { return dialable(addrs[0]) }); err != nil {
		return e, err
	}
	return b.sockets(ctx, target{child: f, addr: addrs[0], path: "/"})
}

// target is a server whose sockets are measured.
type target struct {
	*child
	addr, path string
	gateway    *service // nil: it is the floor
}

// encoded returns how many frames were encoded, and how many boards had come.
func (t *target) encoded() (frames, boards float64, err error) {
	if t.gateway == nil {
		return 0, 0, nil
	}
	m, err := t.gateway.metrics()
	return m.sum("grandstand_fanout_encodes_total", ""), m.sum("grandstand_fanout_boards_applied_total", ""), err
}

// sockets measures a server: idle connections, then frames, then frames and
// beats.
func (b *run) sockets(ctx context.Context, t target) (e expense, err error) {
	rss, err := rssOf(t.pid())
	if err != nil {
		return e, err
	}
	kernel, err := kernelMemory()
	if err != nil {
		return e, err
	}
	c, err := b.gather(ctx, LoadConfig{Path: t.path, Audiences: audiences, Conns: b.scale.conns, Rate: b.scale.rate}, t.addr)
	if err != nil {
		return e, err
	}
	defer c.end()
	if _, err := c.opened(ctx, 2*time.Minute); err != nil {
		return e, err
	}
	n := float64(b.scale.conns)
	if err := c.beat(10 * time.Second); err != nil {
		return e, err
	}
	if err := c.lives(ctx, b.scale.idle); err != nil {
		return e, err
	}
	after, err := rssOf(t.pid())
	if err != nil {
		return e, err
	}
	e.memory = (after - rss) / n
	if after, err = kernelMemory(); err != nil {
		return e, err
	}
	e.kernel = (after - kernel) / n
	if err := c.beat(0); err != nil {
		return e, err
	}
	if err := c.grow(tick); err != nil { // so that a number moves at each tick
		return e, err
	}
	frames, boards, err := t.encoded()
	if err != nil {
		return e, err
	}
	profiled := b.profile(t.gateway, "frame", b.scale.settle+b.scale.window)
	quiet, err := b.observe(ctx, c, t.child)
	profiled()
	if err != nil {
		return e, err
	}
	frames2, boards2, err := t.encoded()
	if err != nil {
		return e, err
	}
	if err := c.beat(time.Second); err != nil {
		return e, err
	}
	profiled = b.profile(t.gateway, "beat", b.scale.settle+b.scale.window)
	busy, err := b.observe(ctx, c, t.child)
	profiled()
	if err != nil {
		return e, err
	}
	if quiet.stats.Frames < int(n) || busy.stats.Beats == 0 {
		return e, fmt.Errorf("%d frames came to %d connections", quiet.stats.Frames, b.scale.conns)
	}
	e.frame = quiet.cpu / float64(quiet.stats.Frames)
	e.beat = (busy.cpu/busy.seconds - quiet.cpu/quiet.seconds) * busy.seconds / float64(busy.stats.Beats)
	e.payload = float64(quiet.stats.Bytes) / float64(quiet.stats.Frames)
	e.encodes = (frames2 - frames) / max(boards2-boards, 1)
	if quiet.stats.Closed+busy.stats.Closed > 0 {
		err = fmt.Errorf("%d connections were closed: %s", busy.stats.Closed, busy.stats.Reason)
	}
	return e, err
}

// observed is what a server used and its crowd saw over one window.
type observed struct {
	cpu, seconds float64
	stats        *LoadStats
}

// observe waits until the crowd has settled, and then for a window.
func (b *run) observe(ctx context.Context, c *crowd, server *child) (o observed, err error) {
	if err := c.lives(ctx, b.scale.settle); err != nil {
		return o, err
	}
	if _, err := c.mark(); err != nil {
		return o, err
	}
	begin := time.Now()
	before, err := cpuOf(server.pid())
	if err != nil {
		return o, err
	}
	if err := c.lives(ctx, b.scale.window); err != nil {
		return o, err
	}
	if o.stats, err = c.mark(); err != nil {
		return o, err
	}
	after, err := cpuOf(server.pid())
	o.cpu, o.seconds = after-before, time.Since(begin).Seconds()
	return o, err
}
