package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// perLoader is how many connections one load client has at most: a process may
// have 20,000 files on the machines in mind.
const perLoader = 18_000

// crowd is the load clients of a measurement.
type crowd struct {
	loaders []*loadProcess
}

type loadProcess struct {
	*child
	lines *bufio.Scanner
}

// gather starts load clients for cfg.Conns connections at each address.
// cfg.Offset is counted on from one to the next.
func (b *run) gather(ctx context.Context, cfg LoadConfig, addrs ...string) (*crowd, error) {
	c := &crowd{}
	for _, addr := range addrs {
		for left := cfg.Conns; left > 0; {
			one := cfg
			one.Addr, one.Conns = addr, min(left, perLoader)
			one.Silent = cfg.Silent * one.Conns / cfg.Conns
			if err := c.add(b.cfg.Self, one); err != nil {
				c.end()
				return nil, err
			}
			left -= one.Conns
			cfg.Offset += one.Conns
		}
	}
	return c, nil
}

func (c *crowd) add(self string, cfg LoadConfig) error {
	p, err := spawn("load client", self, "bench-load")
	if err != nil {
		return err
	}
	l := &loadProcess{child: p, lines: bufio.NewScanner(p.out)}
	l.lines.Buffer(nil, 8<<20)
	c.loaders = append(c.loaders, l)
	return l.say(cfg)
}

func (l *loadProcess) say(what any) error {
	line, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("tell the crowd: %w", err)
	}
	if _, err := l.in.Write(append(line, '\n')); err != nil {
		return l.failed(err.Error())
	}
	return nil
}

func (c *crowd) order(o loadOrder) error {
	for _, l := range c.loaders {
		if err := l.say(o); err != nil {
			return err
		}
	}
	return nil
}

// beat lets every connection beat once in d, from now on; 0: not at all.
func (c *crowd) beat(d time.Duration) error {
	return c.order(loadOrder{Do: "beat", MS: int(d.Milliseconds())})
}

// grow lets the first load client open one more connection each d.
func (c *crowd) grow(d time.Duration) error {
	return c.loaders[0].say(loadOrder{Do: "grow", MS: int(d.Milliseconds())})
}

// mark returns what the crowd saw since the last mark.
func (c *crowd) mark() (*LoadStats, error) {
	if err := c.order(loadOrder{Do: "mark"}); err != nil {
		return nil, err
	}
	total := &LoadStats{}
	for _, l := range c.loaders {
		if !l.lines.Scan() {
			return nil, l.failed("gives no answer")
		}
		var s LoadStats
		if err := json.Unmarshal(l.lines.Bytes(), &s); err != nil {
			return nil, l.failed(err.Error())
		}
		total.add(&s)
	}
	return total, nil
}

// opened waits until all connections are open, or have failed.
func (c *crowd) opened(ctx context.Context, bound time.Duration) (*LoadStats, error) {
	for deadline := time.Now().Add(bound); ; {
		s, err := c.mark()
		if err != nil {
			return nil, err
		}
		if s.Open+s.Failed+s.Closed >= s.Asked {
			if s.Failed+s.Closed > 0 {
				return s, fmt.Errorf("%d of %d connections failed, %d were closed: %s", s.Failed, s.Asked, s.Closed, s.Reason)
			}
			return s, nil
		}
		if time.Now().After(deadline) {
			return s, fmt.Errorf("%d of %d connections were open after %v", s.Open, s.Asked, bound)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// lives waits for d in small steps, so that a load client that ended is noticed.
func (c *crowd) lives(ctx context.Context, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := pause(ctx, min(time.Until(end), 200*time.Millisecond)); err != nil {
			return err
		}
		for _, l := range c.loaders {
			select {
			case <-l.done:
				return l.failed("ended")
			default:
			}
		}
	}
	return nil
}

// end ends the load clients.
func (c *crowd) end() {
	for _, l := range c.loaders {
		l.kill()
		l.child.end()
	}
}
