package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string // of its certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, path: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority of the tests"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := a.sign(template)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.key = key
	a.write(a.path, "CERTIFICATE", der, 0o644)
	return a
}

// sign makes a key and a certificate of the authority, or of itself if it has
// none yet.
func (a *authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		a.t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(30 * 24 * time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-60 * 24 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

func (a *authority) write(path, kind string, der []byte, mode os.FileMode) {
	a.t.Helper()
	// A rename, as whoever rotates certificates should do it.
	next := path + ".next"
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes a certificate and its key into dir.
func (a *authority) issue(dir string, template *x509.Certificate) certFiles {
	a.t.Helper()
	if template.ExtKeyUsage == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, key := a.sign(template)
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	f := certFiles{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), ca: a.path}
	a.write(f.key, "PRIVATE KEY", text, 0o600)
	a.write(f.cert, "CERTIFICATE", der, 0o644)
	return f
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) player(dir string) certFiles {
	f := a.issue(dir, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	f.ca = ""
	return f
}

func (a *authority) peer(dir string) certFiles {
	return a.issue(dir, &x509.Certificate{DNSNames: []string{peerName}})
}

func newCredentials(t *testing.T, files certFiles) (*credentials, *bytes.Buffer, error) {
	t.Helper()
	log := &bytes.Buffer{}
	c := &credentials{name: "test", certFiles: files, log: slog.New(slog.NewTextHandler(log, nil)), reloads: newServerMetrics(nil).reloads}
	return c, log, c.load()
}

// handshake connects two ends and sends a byte each way.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	failed := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		failed <- err
		if err != nil {
			a.Close()
		}
	}()
	_ = s.SetDeadline(time.Now().Add(10 * time.Second))
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, err := io.ReadFull(c, make([]byte, 1)) // TLS 1.3: a refused client learns it when it reads
	if serr := <-failed; err == nil {
		err = serr
	}
	return c.ConnectionState(), err
}

func serialOf(t *testing.T, c *credentials, pool *x509.CertPool) string {
	t.Helper()
	s, err := handshake(t, c.server(), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return s.PeerCertificates[0].SerialNumber.String()
}

func TestCertificatesAreReadAgain(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	files := ca.player(dir)
	c, log, err := newCredentials(t, files)
	if err != nil {
		t.Fatal(err)
	}
	first := serialOf(t, c, ca.pool())
	if d := c.daysLeft(); d < 29.9 || d > 30 {
		t.Errorf("%v days are left, want 30", d)
	}
	c.look()
	if log.Len() > 0 {
		t.Errorf("nothing changed, but: %s", log)
	}

	// Each of these is refused once, loudly, and the old pair goes on.
	keep, err := os.ReadFile(files.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct {
		name  string
		spoil func()
		want  string
	}{
		{"the new certificate without its key", func() {
			ca.player(dir)
			if err := os.WriteFile(files.key, keep, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "private key does not match"},
		{"half a file", func() {
			if err := os.Truncate(files.cert, 100); err != nil {
				t.Fatal(err)
			}
		}, "cert.pem"},
		{"no file", func() {
			if err := os.Remove(files.cert); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"one that has ended", func() {
			ca.issue(dir, &x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
		}, "renew it"},
		{"a key that all may read", func() {
			ca.player(dir)
			if err := os.Chmod(files.key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 640"},
	} {
		log.Reset()
		bad.spoil()
		c.look()
		c.look()
		if n := strings.Count(log.String(), "NOT USED"); n != 1 || !strings.Contains(log.String(), bad.want) {
			t.Errorf("%s is said %d times, want once with %q: %s", bad.name, n, bad.want, log)
		}
		if got := serialOf(t, c, ca.pool()); got != first {
			t.Errorf("%s: the certificate in use is %s, not the old one", bad.name, got)
		}
	}
	log.Reset()
	if err := os.Chmod(files.key, 0o640); err != nil { // mended: nothing else has changed
		t.Fatal(err)
	}
	c.look()
	if got := serialOf(t, c, ca.pool()); got == first {
		t.Errorf("the new certificate is not used: %s", log)
	}
}

func TestPlayersTLSIsModern(t *testing.T) {
	ca := newAuthority(t)
	c, _, err := newCredentials(t, ca.player(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11} {
		if _, err := handshake(t, c.server(), &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version}); err == nil {
			t.Errorf("TLS %s is spoken", name)
		}
	}
	weak := []uint16{}
	for _, s := range tls.InsecureCipherSuites() {
		weak = append(weak, s.ID)
	}
	if _, err := handshake(t, c.server(), &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS12, CipherSuites: weak}); err == nil {
		t.Error("a weak cipher suite is spoken")
	}
	s, err := handshake(t, c.server(), &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "http/1.1" {
		t.Errorf("version %x, protocol %q (%v), want 1.3 and HTTP/1.1", s.Version, s.NegotiatedProtocol, err)
	}
}

// Only holders of a member's certificate talk to members.
func TestPeersKnowEachOther(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	member, _, err := newCredentials(t, ca.peer(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := newCredentials(t, ca.peer(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, member.peerServer(), second.now.Load().client); err != nil {
		t.Errorf("two members: %v", err)
	}
	pair := func(f certFiles) tls.Certificate {
		p, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	foreign := pair(other.peer(t.TempDir()))
	staff := pair(ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{"mail.example.com"}}))
	server := pair(ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{peerName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))
	old := pair(ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{peerName}, NotAfter: time.Now().Add(-time.Hour)}))
	client := func(with ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: ca.pool(), ServerName: peerName, Certificates: with}
	}
	for name, c := range map[string]*tls.Config{
		"no certificate":                      client(),
		"another authority's":                 client(foreign),
		"the same authority's, but no member": client(staff),
		"a member's, but not for clients":     client(server),
		"a member's that has ended":           client(old),
		"a member's over an old version of TLS": func() *tls.Config {
			c := second.now.Load().client.Clone()
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}(),
	} {
		if _, err := handshake(t, member.peerServer(), c); err == nil {
			t.Errorf("a member lets in a client with %s", name)
		}
	}
	for name, c := range map[string]tls.Certificate{"another authority's": foreign, "the same authority's, but no member's": staff, "one that has ended": old} {
		if _, err := handshake(t, &tls.Config{Certificates: []tls.Certificate{c}}, member.now.Load().client); err == nil {
			t.Errorf("a member believes a server with a certificate of %s", name)
		}
	}
	// What others would refuse is refused at the start already.
	for name, f := range map[string]certFiles{
		"no member's name":     ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{"gateway-1"}}),
		"not for clients":      ca.issue(t.TempDir(), &x509.Certificate{DNSNames: []string{peerName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}),
		"of another authority": func() certFiles { f := other.peer(t.TempDir()); f.ca = ca.path; return f }(),
		"no authority":         func() certFiles { f := ca.peer(t.TempDir()); f.ca = f.key; return f }(),
	} {
		if _, _, err := newCredentials(t, f); err == nil {
			t.Errorf("a certificate with %s is taken", name)
		} else {
			t.Log(name, "→", err)
		}
	}
}

// A new authority is believed beside the old one while members change over.
func TestAuthoritiesRotate(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	files := before.peer(dir)
	files.ca = filepath.Join(dir, "ca.pem")
	both := func(cas ...*authority) {
		var text []byte
		for _, a := range cas {
			b, err := os.ReadFile(a.path)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, b...)
		}
		if err := os.WriteFile(files.ca, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	both(before)
	c, log, err := newCredentials(t, files)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := newCredentials(t, after.peer(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	next.now.Load().client.RootCAs.AddCert(before.cert)
	if _, err := handshake(t, c.peerServer(), next.now.Load().client); err == nil {
		t.Error("a certificate of an authority that is not known was believed")
	}
	both(before, after)
	c.look()
	if _, err := handshake(t, c.peerServer(), next.now.Load().client); err != nil {
		t.Errorf("after the authority was added: %v\n%s", err, log)
	}
}

func TestPeersDialWithinABound(t *testing.T) {
	ca := newAuthority(t)
	c, _, err := newCredentials(t, ca.peer(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := c.dial(ctx, "tcp", silent.Addr().String()); err == nil || time.Since(start) > 3*time.Second {
		t.Errorf("a server that says nothing: %v after %v", err, time.Since(start))
	}
}
