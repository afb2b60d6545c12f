package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const readyBound = 20 * time.Second

// service is a role of the product in a process of its own.
type service struct {
	*child
	addr  string // of players
	admin string
}

// deployment is what one measurement measures: a redis-server, an aggregator,
// gateways. Its secret is its own, so that nothing of another one is seen.
type deployment struct {
	self, dir, secret string
	redis             *redisServer
	aggregator        *service
	gateways          []*service
}

// deployConfig says what to start beside Redis.
type deployConfig struct {
	gateways      int
	args          []string // of the gateways
	peers         bool     // they reach each other
	aggregatorEnv []string
}

func (b *run) deploy(ctx context.Context, cfg deployConfig) (_ *deployment, err error) {
	d := &deployment{self: b.cfg.Self, secret: rand.Text()}
	defer func() {
		if err != nil {
			d.end()
		}
	}()
	if d.dir, err = os.MkdirTemp("", "grandstand-bench-"); err != nil {
		return d, fmt.Errorf("make a directory: %w", err)
	}
	if d.redis, err = startRedis(ctx, b.cfg.Redis, d.dir); err != nil {
		return d, err
	}
	if d.aggregator, err = d.start(ctx, cfg.aggregatorEnv, "aggregator"); err != nil {
		return d, err
	}
	for range cfg.gateways {
		if err := d.addGateway(ctx, cfg); err != nil {
			return d, err
		}
	}
	return d, nil
}

func (d *deployment) addGateway(ctx context.Context, cfg deployConfig) error {
	addrs, err := freeAddrs(2)
	if err != nil {
		return err
	}
	args := append([]string{"--listen", addrs[0], "--journal", "off", "--drain-over", "1s", "--max-conns", "19500"}, cfg.args...)
	if cfg.peers {
		args = append(args, "--peer", addrs[1])
	}
	g, err := d.start(ctx, nil, "gateway", args...)
	if err != nil {
		return err
	}
	g.addr = addrs[0]
	d.gateways = append(d.gateways, g)
	return g.await(ctx, readyBound, func() error { // its metrics are there before its players' door
		_, err := get("http://" + g.addr + "/readyz")
		return err
	})
}

// addrs returns where players find the gateways.
func (d *deployment) addrs() (addrs []string) {
	for _, g := range d.gateways {
		addrs = append(addrs, g.addr)
	}
	return addrs
}

// start starts a role and waits until it is ready.
func (d *deployment) start(ctx context.Context, env []string, role string, more ...string) (*service, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	s := &service{admin: addrs[0]}
	args := []string{role, "--redis", d.redis.url, "--secret", d.secret, "--admin", s.admin, "--archive", "file:" + d.dir + "/archive", "--log-level", "warn"}
	if s.child, err = spawnWith(env, role, d.self, append(args, more...)...); err != nil {
		return nil, err
	}
	go io.Copy(io.Discard, s.out)
	err = s.await(ctx, readyBound, func() error {
		_, err := get("http://" + s.admin + "/readyz")
		return err
	})
	if err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// end ends all processes, the players' side first.
func (d *deployment) end() {
	for _, g := range d.gateways {
		g.kill() // a drain would only take time
		g.end()
	}
	if d.aggregator != nil {
		d.aggregator.end()
	}
	if d.redis != nil {
		d.redis.end()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(url string) ([]byte, error) { return getWith(client, url) }

func getWith(client *http.Client, url string) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return text, err
}

func (s *service) metrics() (scrape, error) {
	text, err := get("http://" + s.admin + "/metrics")
	if err != nil {
		return nil, fmt.Errorf("read metrics of %s: %w", s.name, err)
	}
	return parseMetrics(text), nil
}

// profile begins a profile of the service, if profiles are wanted. The function
// returned waits for it.
func (b *run) profile(s *service, name string, d time.Duration) (wait func()) {
	if b.cfg.Profiles == "" || s == nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		file := filepath.Join(b.cfg.Profiles, name+".pprof")
		slow := &http.Client{Timeout: d + 10*time.Second, Transport: client.Transport}
		text, err := getWith(slow, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.admin, int(d.Seconds())))
		if err == nil {
			err = os.WriteFile(file, text, 0o644)
		}
		if err != nil {
			b.cfg.Logger.Warn("no profile", "row", name, "error", err)
		}
	}()
	return func() { <-done }
}

// put configures an event at the first gateway. A token is needed unless
// anybody may be anybody.
func (d *deployment) put(event, body, token string) error {
	req, err := http.NewRequest(http.MethodPut, "http://"+d.gateways[0].addr+"/v1/events/"+event, bytes.NewBufferString(body))
	if err != nil {
		return fmt.Errorf("configure event: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("configure event: %w", err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		return fmt.Errorf("configure event: %s: %s", resp.Status, text)
	}
	return nil
}

// usage is what the servers of a measurement have used until now.
type usage struct {
	at                         time.Time
	gateway, aggregator, redis float64 // processor seconds
	rss                        float64 // bytes, of all gateways
	commands, in, out          float64 // of Redis: commands, bytes received and sent
	memory                     float64 // of Redis, bytes
	encodes                    float64 // frames that the gateways encoded
}

// use reads what was used.
func (d *deployment) use() (u usage, err error) {
	u.at = time.Now()
	for _, g := range d.gateways {
		cpu, err1 := cpuOf(g.pid())
		rss, err2 := rssOf(g.pid())
		m, err3 := g.metrics()
		if err := errors.Join(err1, err2, err3); err != nil {
			return u, err
		}
		u.gateway, u.rss, u.encodes = u.gateway+cpu, u.rss+rss, u.encodes+m.sum("grandstand_fanout_encodes_total", "")
	}
	if u.aggregator, err = cpuOf(d.aggregator.pid()); err != nil {
		return u, err
	}
	i, err := d.redis.info()
	if err != nil {
		return u, err
	}
	u.redis = i.number("used_cpu_sys") + i.number("used_cpu_user")
	u.commands, u.memory = i.commands(), i.number("used_memory")
	u.in, u.out = i.number("total_net_input_bytes"), i.number("total_net_output_bytes")
	return u, nil
}

// since returns the seconds and what was used between two readings; memory is
// that of the later.
func (u usage) since(o usage) (seconds float64, d usage) {
	d = u
	d.gateway, d.aggregator, d.redis = u.gateway-o.gateway, u.aggregator-o.aggregator, u.redis-o.redis
	d.commands, d.in, d.out, d.encodes = u.commands-o.commands, u.in-o.in, u.out-o.out, u.encodes-o.encodes
	return u.at.Sub(o.at).Seconds(), d
}
