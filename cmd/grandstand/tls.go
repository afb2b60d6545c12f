package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certEvery is how often the files of certificates are looked at.
const certEvery = 5 * time.Second

// peerName is the name that stands in the certificate of every member, whatever
// its address: it says that the holder is one, which a company's authority does
// not say of each of its certificates.
const peerName = "peer.grandstand"

// credentials are a certificate with its key and, of peers, the authorities whose
// certificates are believed, in files that are read again when they change. What
// is read and cannot be used changes nothing. Its methods may be called at the same
// time.
type credentials struct {
	// static
	name string // of the endpoint
	certFiles
	insecure bool // a key that everybody may read is taken
	log      *slog.Logger
	reloads  *prometheus.CounterVec
	ends     prometheus.Gauge // days left of the one in use

	now atomic.Pointer[loaded]

	// owned by load, then by watch
	used [sha256.Size]byte // of the files as they are in use
	said string            // of what is wrong with them now; "": nothing
}

type loaded struct {
	pair   tls.Certificate // with its Leaf
	server *tls.Config     // of peers
	client *tls.Config     // of peers
}

// load reads the files for the first time.
func (c *credentials) load() error {
	text, err := c.read()
	if err != nil {
		return err
	}
	l, err := c.parse(text, time.Now())
	if err != nil {
		return err
	}
	c.used = text.digest()
	c.now.Store(l)
	return nil
}

// pemFiles is what the three files hold.
type pemFiles struct{ cert, key, ca []byte }

func (c *credentials) read() (p pemFiles, err error) {
	if p.cert, err = os.ReadFile(c.cert); err != nil {
		return p, err
	}
	if p.key, err = os.ReadFile(c.key); err != nil {
		return p, err
	}
	if c.ca != "" {
		p.ca, err = os.ReadFile(c.ca)
	}
	return p, err
}

func (c *credentials) parse(p pemFiles, now time.Time) (*loaded, error) {
	if err := c.checkMode(); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.cert, c.key, err)
	}
	if now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate in %s ended on %s: renew it", c.cert, day(pair.Leaf.NotAfter))
	}
	l := &loaded{pair: pair}
	if c.ca == "" {
		return l, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(p.ca) {
		return nil, fmt.Errorf("%s holds no certificate of an authority", c.ca)
	}
	l.server, l.client = peerConfigs(pair, pool)
	return l, checkPeer(pair, pool)
}

func (p pemFiles) digest() [sha256.Size]byte {
	return sha256.Sum256(bytes.Join([][]byte{p.cert, p.key, p.ca}, []byte{0}))
}

// checkMode refuses a key that every user of the machine may read.
func (c *credentials) checkMode() error {
	info, err := os.Stat(c.key)
	if err != nil {
		return err
	}
	const others = 0o004
	if info.Mode()&others == 0 {
		return nil
	}
	if c.insecure {
		c.log.Warn("INSECURE: every user of this machine may read the key", "file", c.key)
		return nil
	}
	return fmt.Errorf("every user of this machine may read the key in %s: chmod 640 it (in Kubernetes: defaultMode: 0440), or say --insecure", c.key)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// peerConfigs are the two ends of mutual TLS between members.
func peerConfigs(pair tls.Certificate, pool *x509.CertPool) (server, client *tls.Config) {
	isPeer := func(s tls.ConnectionState) error { return s.PeerCertificates[0].VerifyHostname(peerName) }
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, VerifyConnection: isPeer,
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair},
		RootCAs: pool, ServerName: peerName,
	}
	return server, client
}

// checkPeer refuses a certificate that other members would.
func checkPeer(pair tls.Certificate, pool *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{
			DNSName: peerName, Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return fmt.Errorf("other members would refuse --peer-cert: it needs to be of --peer-ca, for servers and clients, with the DNS name %s: %w", peerName, err)
		}
	}
	return nil
}

// server is the TLS of a public address: for whatever players are out there, so
// from version 1.2 on, with the suites that Go holds to be secure. HTTP/2 is left
// to the proxies in front: it carries no WebSockets here.
func (c *credentials) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c.now.Load().pair, nil },
	}
}

// peerServer is the TLS of --peer.
func (c *credentials) peerServer() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.now.Load().server, nil },
	}
}

// dial connects to the --peer of another member.
func (c *credentials) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: headerBound}, Config: c.now.Load().client}
	return d.DialContext(ctx, network, address)
}

// peerClient returns a client for the --peer of other members, whose addresses
// begin with http: dial makes it TLS. Nil: the default will do.
func (n *node) peerClient() *http.Client {
	if n.peers == nil {
		return nil
	}
	return &http.Client{Transport: &http.Transport{DialContext: n.peers.dial, IdleConnTimeout: idleBound / 2}}
}

// watch reads the files again when they have changed, until ctx ends.
func (c *credentials) watch(ctx context.Context) error {
	tick := time.NewTicker(certEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.look()
			c.ends.Set(c.daysLeft())
		}
	}
}

// look takes what the files hold now, if it is new and good, and else says once
// what is wrong with it: a pair is written in two steps, and the second may be
// late.
func (c *credentials) look() {
	text, err := c.read()
	if err == nil && text.digest() == c.used {
		c.said = ""
		return
	}
	var next *loaded
	if err == nil {
		next, err = c.parse(text, time.Now())
	}
	if err == nil {
		c.used, c.said = text.digest(), ""
		c.now.Store(next)
		c.reloads.WithLabelValues(c.name, "changed").Inc()
		c.log.Info("a new certificate is used", "for", c.name, "ends", day(next.pair.Leaf.NotAfter))
		return
	}
	if c.said == err.Error() {
		return
	}
	c.said = err.Error()
	c.reloads.WithLabelValues(c.name, "refused").Inc()
	c.log.Error("THE NEW CERTIFICATE IS NOT USED, the old one is until it ends",
		"for", c.name, "ends", day(c.now.Load().pair.Leaf.NotAfter), "error", err)
}

// daysLeft is until the certificate in use ends.
func (c *credentials) daysLeft() float64 {
	return time.Until(c.now.Load().pair.Leaf.NotAfter).Hours() / 24
}

// certFiles are the paths of credentials; "": none.
type certFiles struct{ cert, key, ca string }

// addCredentials reads the files of an endpoint and follows them.
func (n *node) addCredentials(endpoint string, files certFiles) (*credentials, error) {
	c := &credentials{name: endpoint, certFiles: files, insecure: n.cfg.Insecure, log: n.log,
		reloads: n.metrics.reloads, ends: n.metrics.ends.WithLabelValues(endpoint)}
	if err := c.load(); err != nil {
		return nil, wrongUse{err}
	}
	for _, result := range []string{"changed", "refused"} {
		c.reloads.WithLabelValues(endpoint, result)
	}
	c.ends.Set(c.daysLeft())
	n.run("certificate of "+endpoint, c.watch)
	return c, nil
}

// playersTLS returns the TLS of --listen, nil for none.
func (n *node) playersTLS(p *public) (*tls.Config, error) {
	if p.TLSCert == "" && p.TLSKey == "" {
		return nil, nil
	}
	if p.TLSCert == "" || p.TLSKey == "" {
		return nil, wrongUsef("--tls-cert and --tls-key are needed together")
	}
	c, err := n.addCredentials("players", certFiles{cert: p.TLSCert, key: p.TLSKey})
	if err != nil {
		return nil, err
	}
	return c.server(), nil
}

// usePeering reads what members know each other by, if they do.
func (n *node) usePeering(p *peering) (err error) {
	f := certFiles{p.PeerCert, p.PeerKey, p.PeerCA}
	if f == (certFiles{}) {
		return nil
	}
	if f.cert == "" || f.key == "" || f.ca == "" {
		return wrongUsef("--peer-cert, --peer-key and --peer-ca are needed together")
	}
	n.peers, err = n.addCredentials("peers", f)
	return err
}
