package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// machineWith is a machine with these addresses.
func machineWith(addresses ...string) machine {
	return machine{
		addresses: func() ([]net.Addr, error) {
			var all []net.Addr
			for _, a := range addresses {
				ip, n, err := net.ParseCIDR(a)
				if err != nil {
					return nil, err
				}
				n.IP = ip
				all = append(all, n)
			}
			return all, nil
		},
		lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			switch host {
			case "gateway-1":
				return []netip.Addr{netip.MustParseAddr("172.18.0.4")}, nil
			case "live.example.com":
				return []netip.Addr{netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("203.0.113.4")}, nil
			}
			return nil, errors.New("no such host")
		},
	}
}

var (
	pod    = machineWith("127.0.0.1/8", "::1/128", "172.18.0.4/16", "fe80::42/64")
	rented = machineWith("127.0.0.1/8", "203.0.113.4/24", "10.0.0.4/8")
)

func TestWhoCanReachAnAddress(t *testing.T) {
	for _, c := range []struct {
		m       machine
		address string
		want    reach
	}{
		{rented, "127.0.0.1:1", here},
		{rented, "127.8.9.1:1", here},
		{rented, "[::1]:1", here},
		{rented, "[::ffff:127.0.0.1]:1", here},
		{rented, "localhost:1", here},
		{rented, "10.0.0.4:1", inside},
		{rented, "192.168.1.1:1", inside},
		{rented, "172.31.0.1:1", inside},
		{rented, "172.32.0.1:1", anywhere},
		{rented, "100.64.0.1:1", inside},
		{rented, "100.128.0.1:1", anywhere},
		{rented, "[fd00::1]:1", inside},
		{rented, "[fe80::1%eth0]:1", inside},
		{rented, "[2001:db8::1]:1", anywhere},
		{rented, "203.0.113.4:1", anywhere},
		{rented, "live.example.com:1", anywhere},
		{rented, "gateway-1:1", inside},
		{rented, ":1", anywhere},
		{rented, "0.0.0.0:1", anywhere},
		{rented, "[::]:1", anywhere},
		{pod, ":1", inside},
		{pod, "0.0.0.0:1", inside},
		{pod, "[::]:1", inside},
		{machineWith("127.0.0.1/8"), ":1", inside},
	} {
		if got, err := c.m.reachOf(c.address); err != nil || got != c.want {
			t.Errorf("%s: %v (%v), want %v", c.address, got, err, c.want)
		}
	}
	for _, address := range []string{"", "8080", "127.0.0.1", "nowhere.example:1", "[::1:1"} {
		if r, err := rented.reachOf(address); err == nil || r != anywhere {
			t.Errorf("%q: %v (%v), want an error", address, r, err)
		}
	}
}

func TestUnsafeStartsAreRefused(t *testing.T) {
	const jwt = "gateway --auth jwt --listen :8080 "
	for _, c := range []struct {
		name string
		m    machine
		args string
		want string // "": safe
	}{
		{"the defaults", rented, "all", ""},
		{"tokens in public", rented, jwt, ""},
		{"anybody here", rented, "gateway --listen 127.0.0.1:1", ""},
		{"anybody from anywhere", rented, "gateway --listen :8080", "--auth none on :8080"},
		{"anybody of a container network", pod, "gateway --listen :8080", "--auth none on :8080"},
		{"anybody of the inner network", rented, "gateway --listen 10.0.0.4:8080", "--auth none on 10.0.0.4:8080"},
		{"anybody's accounts", rented, "blocker --listen :8080", "--auth none"},
		{"anybody's demo", rented, "demo --listen :8080", ""}, // demo starts all, which asks
		{"admin for strangers", rented, jwt + "--admin :9090", "--admin :9090 shows metrics"},
		{"admin for strangers, of an aggregator", rented, "aggregator --admin 203.0.113.4:9090", "--admin 203.0.113.4:9090"},
		{"admin for strangers, of an archiver", rented, "archiver --admin 0.0.0.0:9090", "--admin 0.0.0.0:9090"},
		{"admin inside", rented, jwt + "--admin 10.0.0.4:9090", ""},
		{"admin of a container", pod, jwt + "--admin :9090", ""},
		{"admin by the container's name", pod, jwt + "--admin gateway-1:9090", ""},
		{"admin by a public name", rented, jwt + "--admin live.example.com:9090", "--admin live.example.com:9090"},
		{"no admin", rented, jwt + "--admin=", ""},
		{"admin nowhere", rented, jwt + "--admin nowhere.example:1", "no such host"},
		{"peers among strangers", rented, jwt + "--peer :9091", "--peer :9091 sends boards"},
		{"peers among strangers, with certificates", rented, jwt + "--peer :9091 --peer-cert a --peer-key b --peer-ca c", ""},
		{"peers inside", rented, jwt + "--peer 10.0.0.4:9091", ""},
		{"peers of a container", pod, jwt + "--peer :9091", ""},
		{"every page", rented, jwt + "--origins *", "--origins *"},
		{"every page among others", rented, jwt + "--origins https://a.example,*", "--origins *"},
		{"no page's origin", rented, jwt + "--origins null", "--origins *"},
		{"every page of this machine", rented, "gateway --origins *", ""},
		{"the pages of a site", rented, jwt + "--origins https://*.example.com", ""},
		{"a token that can be guessed", rented, jwt + "--admin-token letmein", "--admin-token can be guessed"},
		{"a token that can be guessed here", rented, "gateway --admin-token letmein", ""},
		{"a long token", rented, jwt + "--admin-token 0123456789abcdef", ""},
		{"a key that can be guessed", rented, jwt + "--read-keys 0123456789abcdef,tv", "--read-keys has one"},
		{"a key that can be guessed here", rented, "gateway --read-keys tv", ""},
		{"long keys", rented, jwt + "--read-keys 0123456789abcdef,0123456789abcdef", ""},
		{"token keys in clear", rented, jwt + "--jwks-url http://live.example.com/jwks.json", "--jwks-url has live.example.com in clear"},
		{"token keys in clear, of accounts", rented, "blocker --auth jwt --jwks-url HTTP://user@203.0.113.4:80/a@b", "--jwks-url has 203.0.113.4 in clear"},
		{"token keys over TLS", rented, jwt + "--jwks-url https://live.example.com/jwks.json", ""},
		{"token keys inside", rented, jwt + "--jwks-url http://10.0.0.4:80/jwks.json", ""},
		{"token keys of this machine", rented, jwt + "--jwks-url http://localhost:80/jwks.json", ""},
		{"token keys nowhere", rented, jwt + "--jwks-url http://nowhere.example/jwks.json", ""},
		{"token keys that nobody asks for", rented, "gateway --jwks-url http://live.example.com/jwks.json", ""},
		{"a relay in clear", rented, jwt + "--upstream ws://203.0.113.4:9091", "--upstream has 203.0.113.4 in clear"},
		{"a relay in clear, of IPv6", rented, jwt + "--upstream ws://[2001:db8::1]:9091", "--upstream has 2001:db8::1 in clear"},
		{"a relay over TLS", rented, jwt + "--upstream wss://203.0.113.4:9091", ""},
		{"a relay with certificates", rented, jwt + "--upstream ws://203.0.113.4:9091 --peer-cert a --peer-key b --peer-ca c", ""},
		{"a relay inside", rented, jwt + "--upstream ws://gateway-1:9091", ""},
		{"the tree", rented, jwt + "--upstream auto", ""},
		{"Redis in clear", rented, jwt + "--redis redis://user:secret@live.example.com:6379", "--redis has live.example.com in clear"},
		{"Redis in clear, the second node", rented, "aggregator --redis redis://user:a/b@10.0.0.4,[2001:db8::1]:7000/0", "--redis has 2001:db8::1 in clear"},
		{"Redis in clear, for an archiver", rented, "archiver --redis redis://203.0.113.4", "--redis has 203.0.113.4 in clear"},
		{"Redis over TLS", rented, jwt + "--redis rediss://user:secret@live.example.com:6379", ""},
		{"Redis inside", rented, jwt + "--redis redis://user:secret@10.0.0.4:6379,gateway-1", ""},
		{"Redis of a container that does not run", pod, jwt + "--redis redis://user:secret@redis:6379", ""},
		{"spans to a collector that is not there yet", pod, jwt + "--trace otlp://collector.monitoring:4318", ""},
		{"Redis nowhere", rented, jwt + "--redis redis://user:secret@nowhere.example:6379", ""},
		{"a bucket in clear", rented, "archiver --archive s3://b/p?endpoint=http://live.example.com:9000&region=r", "--archive has live.example.com in clear"},
		{"a bucket over TLS", rented, "archiver --archive s3://b/p?endpoint=https://live.example.com:9000", ""},
		{"a bucket of Amazon", rented, "archiver --archive s3://b/p", ""},
		{"a bucket inside", pod, "archiver --archive s3://b/p?endpoint=http://minio:9000", ""},
		{"spans in clear", rented, jwt + "--trace otlp://live.example.com:4318", "--trace has live.example.com in clear"},
		{"spans over TLS", rented, jwt + "--trace otlps://live.example.com:4318", ""},
		{"proxies anywhere", rented, jwt + "--trusted-proxies 10.0.0.0/8,0.0.0.0/0", "--trusted-proxies 0.0.0.0/0"},
		{"proxies anywhere, of IPv6", rented, jwt + "--trusted-proxies ::/0", "--trusted-proxies ::/0"},
		{"proxies anywhere, of pages", rented, "web --trusted-proxies 0.0.0.0/0", "--trusted-proxies 0.0.0.0/0"},
		{"proxies", rented, jwt + "--trusted-proxies 10.0.0.0/8", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask := func(args string) (string, error) {
				parsed, _, err := parse(t, "", strings.Fields(args)...)
				if err != nil {
					t.Fatal(err)
				}
				var e exposed
				switch role, _, _ := strings.Cut(args, " "); role {
				case "all":
					e = parsed.All.exposed()
				case "gateway":
					e = parsed.Gateway.exposed()
				case "blocker":
					e = parsed.Blocker.exposed()
				case "demo":
					e = exposed{common: &parsed.Demo.common, public: &parsed.Demo.public}
				case "aggregator":
					e = exposed{common: &parsed.Aggregator.common}
				case "archiver":
					e = exposed{common: &parsed.Archiver.common}
				case "web":
					e = exposed{common: &common{Insecure: parsed.Web.Insecure}, limits: &parsed.Web.limiting}
				}
				var log bytes.Buffer
				err = c.m.check(slog.New(slog.NewTextHandler(&log, nil)), e)
				return log.String(), err
			}
			log, err := ask(c.args)
			var wrong wrongUse
			if c.want == "" && (err != nil || strings.Contains(log, "INSECURE")) {
				t.Errorf("it is refused: %v %s", err, log)
			}
			if err != nil && strings.Contains(err.Error(), "secret@") {
				t.Errorf("it is refused with a password: %v", err)
			}
			if c.want != "" && (err == nil || !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("it is refused with %v, want %q", err, c.want)
			}
			if c.want == "" || strings.Contains(c.want, "host") {
				return
			}
			log, err = ask(c.args + " --insecure")
			if err != nil || !strings.Contains(log, "INSECURE: ") || !strings.Contains(log, strings.Fields(c.want)[0]) {
				t.Errorf("with --insecure: %v, and the log says %q", err, log)
			}
		})
	}
}

func TestTokensInClearAreSaid(t *testing.T) {
	for args, want := range map[string]bool{
		"--listen :1":                                     true,
		"--listen 127.0.0.1:1":                            false,
		"--listen :1 --tls-cert a --tls-key b":            false,
		"--listen :1 --trusted-proxies 10.0.0.0/8":        false,
		"--listen 10.0.0.4:1 --jwks-url https://a/b.json": true,
	} {
		c, _, err := parse(t, "", append([]string{"gateway", "--auth", "jwt"}, strings.Fields(args)...)...)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		g := &c.Gateway
		if err := rented.check(slog.New(slog.NewTextHandler(&log, nil)), g.exposed()); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		if got := strings.Contains(log.String(), "tokens arrive in clear"); got != want {
			t.Errorf("%s: said %v, want %v", args, got, want)
		}
	}
}

// What no resolver knows just now is said, and stops nobody: Redis, a relay, keys
// and a collector are all waited for.
func TestNamesWithoutAnAddressAreSaid(t *testing.T) {
	c, _, err := parse(t, "", "gateway", "--auth", "jwt", "--redis", "redis://user:secret@nowhere.example:6379", "--upstream", "ws://nowhere.example:1",
		"--jwks-url", "http://nowhere.example/jwks.json", "--trace", "otlp://collector.monitoring:4318")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := rented.check(slog.New(slog.NewTextHandler(&log, nil)), c.Gateway.exposed()); err != nil {
		t.Errorf("it is refused: %v", err)
	}
	for _, flag := range []string{"--redis", "--upstream", "--jwks-url", "--trace"} {
		if !strings.Contains(log.String(), "whether "+flag+" goes in clear") || strings.Contains(log.String(), "secret") {
			t.Errorf("%s: the log says %s", flag, log.String())
		}
	}
}

func TestEveryRiskIsNamed(t *testing.T) {
	c, _, err := parse(t, "", "gateway", "--listen", ":1", "--admin", ":2", "--peer", ":3", "--origins", "*", "--trusted-proxies", "::/0", "--admin-token", "x")
	if err != nil {
		t.Fatal(err)
	}
	g := &c.Gateway
	err = rented.check(slog.New(slog.DiscardHandler), g.exposed())
	for _, flag := range []string{"--auth", "--admin :2", "--peer :3", "--origins", "--trusted-proxies", "--admin-token", "--insecure"} {
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is not named: %v", flag, err)
		}
	}
}
