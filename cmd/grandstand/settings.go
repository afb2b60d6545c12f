package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// common are the settings of every role that runs.
type common struct {
	Admin     string `help:"Address of metrics, health and pprof; empty: none." default:"127.0.0.1:9090"`
	Redis     string `help:"redis://host:port[,host:port…]; absent: an embedded Redis in this process, which forgets everything at exit." placeholder:"URL"`
	Archive   string `help:"file:DIR or s3://bucket/prefix?endpoint=URL: where check-points go." default:"file:./data/archive"`
	Secret    string `help:"The cluster's secret, 16 characters or more: keys of viewers and sessions derive from it. Every node needs the same." placeholder:"TEXT"`
	Trace     string `help:"otlp://HOST:4318, or otlps:// for TLS: where spans of what clients sample go. Default: as OTEL_EXPORTER_OTLP_ENDPOINT says; without it nothing is traced." placeholder:"URL"`
	LogLevel  string `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
	Insecure  bool   `help:"Start with settings that let strangers in, which are refused otherwise, and say each at every start."`
}

// public are the settings of the roles that serve players or pages.
type public struct {
	Listen  string   `help:"Public address." default:"127.0.0.1:8080"`
	TLSCert string   `help:"Certificate of --listen, with its chain, in PEM. It is read again when it changes. Default: plain HTTP, for a proxy in front." name:"tls-cert" placeholder:"FILE"`
	TLSKey  string   `help:"Its key, in PEM." name:"tls-key" placeholder:"FILE"`
	Origins []string `help:"Origins of pages that may connect and read: https://www.example.com, https://*.example.com, or * for any. The server's own is always allowed." placeholder:"ORIGIN"`
}

// believing are the settings of the roles that ask who somebody is.
type believing struct {
	Auth        string   `help:"none: identity comes from the query, for demos and tests. jwt: signed tokens." enum:"none,jwt" default:"none"`
	JWTSecret   string   `help:"Secret of HS256 tokens." name:"jwt-secret" placeholder:"TEXT"`
	JWKSURL     string   `help:"URL of the key set of RS, ES and EdDSA tokens." name:"jwks-url" placeholder:"URL"`
	JWTIssuer   string   `help:"Required issuer of tokens; empty: any." name:"jwt-issuer" placeholder:"TEXT"`
	JWTAudience []string `help:"Audiences of which tokens must name one; none: any." name:"jwt-audience" placeholder:"TEXT"`
	AdminToken  string   `help:"Token that may configure and end events, and act for every account." placeholder:"TEXT"`
	limiting

	AddressConns int `help:"Sockets and streams that one network address may have open; of IPv6, one network of 64 bits." default:"2000"`
	AccountConns int `help:"Sockets that one account may have open." default:"100"`
	AccountRate  int `help:"Messages a second from one account, as above." default:"100"`
}

// limiting are the settings of all roles that strangers reach.
type limiting struct {
	TrustedProxies []string `help:"Addresses (CIDR) of proxies whose headers are believed." placeholder:"CIDR"`
	AddressRate    int      `help:"Messages a second from one network address, with bursts of ten seconds' worth; a request counts as ten." default:"2000"`
}

// serving are the settings of a gateway.
type serving struct {
	ReadKeys   []string      `help:"Keys (?key=) that may read counts." placeholder:"KEY"`
	MinCohort  *int          `help:"Segments with fewer sessions are folded into \"other\" for the public, unless the event says otherwise. Default: 10, with --auth none 0."`
	OpenEvents *bool         `help:"Create unknown events at their first viewer. Default: on with --auth none." negatable:""`
	MaxConns   int           `help:"Connections at most; more are told 503." default:"18000"`
	NoShed     bool          `help:"Shed nothing when overloaded. Default: later acknowledgements, then crosses of dimensions, then newcomers (docs/drill.md)."`
	DrainOver  time.Duration `help:"Time over which viewers are sent elsewhere at SIGTERM." default:"20s"`

	Upstream string `help:"Where boards come from. auto: from Redis, or from another gateway as the fan-out tree says. redis. Or wss://host:port (ws:// in an inner network), the --peer of a gateway, for a remote region." default:"auto" placeholder:"auto|redis|URL"`
	Fanout   int    `help:"Gateways for each one that reads boards from Redis and serves them to the others on --peer; the same on every gateway." default:"16"`

	CountryHeader string `help:"Edge header that holds the country, such as CF-IPCountry." placeholder:"NAME"`
	RegionHeader  string `help:"Edge header that holds the region." placeholder:"NAME"`
}

// wrongUse is an error of whoever started the program: exit code 2.
type wrongUse struct{ error }

func wrongUsef(format string, args ...any) error { return wrongUse{fmt.Errorf(format, args...)} }

// minSecret is the least length of --secret: 128 bits in hexadecimal would be
// 32 characters, a passphrase may be shorter than that but not by much.
const minSecret = 16

// secret returns the key material. A process that is alone (embedded Redis) and
// has no --secret keeps one beside its archive directory: with another one the
// viewers that a check-point counted would be counted as new ones.
func (c *common) secret(log *slog.Logger) ([]byte, error) {
	if len(c.Secret) >= minSecret {
		return []byte(c.Secret), nil
	}
	if c.Secret != "" {
		return nil, wrongUsef("--secret is too short: %d characters or more, the same on every node", minSecret)
	}
	if c.Redis != "" {
		return nil, wrongUsef("--secret is missing: with --redis every node needs the same, %d characters or more", minSecret)
	}
	dir, ok := strings.CutPrefix(c.Archive, "file:")
	if !ok {
		return nil, wrongUsef("--secret is missing: what is archived in a bucket needs the same at every start")
	}
	path := filepath.Join(filepath.Dir(filepath.Clean(dir)), "secret")
	log.Warn("no --secret: using the one in a file, made up at the first start", "file", path)
	return keptSecret(path)
}

// keptSecret returns the secret in a file, which it makes if need be.
func keptSecret(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("keep a secret: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(randomText(32))
		err = errors.Join(err, f.Close())
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("keep a secret: %w", err)
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret: %w", err)
	}
	if len(secret) < minSecret {
		return nil, wrongUsef("the secret in %s is too short: remove the file, or use --secret", path)
	}
	return secret, nil
}

func (c *common) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // kong has checked the names
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opts))
}
