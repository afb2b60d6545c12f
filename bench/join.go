package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// join lets a crowd in as fast as one gateway can, each with an ES256 token of
// its own.
func (b *run) join(ctx context.Context) ([]Row, error) {
	key, jwks, err := newKey()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the key set: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(jwks) })}
	go server.Serve(l)
	defer server.Close()

	const admin = "the-administrator-of-a-benchmark"
	d, err := b.deploy(ctx, deployConfig{gateways: 1, args: []string{"--auth", "jwt", "--jwks-url", "http://" + l.Addr().String() + "/jwks.json", "--admin-token", admin}})
	if err != nil {
		return nil, err
	}
	defer d.end()
	if err := d.put("bench", benchEvent, admin); err != nil {
		return nil, err
	}
	before, err := cpuOf(d.gateways[0].pid())
	if err != nil {
		return nil, err
	}
	profiled := b.profile(d.gateways[0], "join", 3*time.Second)
	c, err := b.gather(ctx, LoadConfig{Path: "/v1/events/bench/live?interval_ms=60000", Audiences: audiences, Conns: b.scale.joins, Key: key, Event: "bench"}, d.gateways[0].addr)
	if err != nil {
		return nil, err
	}
	defer c.end()
	s, err := c.opened(ctx, 2*time.Minute)
	if err != nil {
		return nil, err
	}
	after, err := cpuOf(d.gateways[0].pid())
	profiled()
	if err != nil {
		return nil, err
	}
	if err := d.counted(ctx, b.scale.joins); err != nil {
		return nil, err
	}
	return []Row{{Key: "join", What: "join surge on one gateway, ES256 tokens", Value: float64(s.Open) / (float64(s.OpenMS) / 1000), Unit: "/s", Target: 5000, AtLeast: true,
		Note: fmt.Sprintf("%d joins, none failed, all counted; %.0f µs of the gateway each. The crowd has the other core.", s.Open, (after-before)/float64(s.Open)*1e6)}}, nil
}

// counted waits until the gateways count n sessions.
func (d *deployment) counted(ctx context.Context, n int) error {
	return d.gateways[0].await(ctx, 20*time.Second, func() error {
		got := 0.0
		for _, g := range d.gateways {
			m, err := g.metrics()
			if err != nil {
				return err
			}
			got += m.sum("grandstand_gateway_sessions", "")
		}
		if int(got) < n {
			return fmt.Errorf("%.0f of %d sessions are counted", got, n)
		}
		return nil
	})
}
