package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"
)

// A floor and a crowd of 200, as processes: every connection gets a frame at
// every tick, every beat that is due is sent, and an end of the floor is noticed.
func TestFloorAndLoad(t *testing.T) {
	const conns = 200
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b := &run{cfg: Config{Self: os.Args[0], Logger: slog.New(slog.DiscardHandler)}, scale: scale{settle: 100 * time.Millisecond, window: 2 * time.Second}}
	addrs, err := freeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := spawnWith(floorEnv, "floor", b.cfg.Self, "bench-floor", "--listen", addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.end()
	go io.Copy(io.Discard, f.out)
	if err := f.await(ctx, 10*time.Second, func() error { return dialable(addrs[0]) }); err != nil {
		t.Fatal(err)
	}
	c, err := b.gather(ctx, LoadConfig{Path: "/", Conns: conns}, addrs...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	if s, err := c.opened(ctx, 10*time.Second); err != nil || s.Open != conns {
		t.Fatalf("%+v %v", s, err)
	}
	if err := c.beat(500 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	o, err := b.observe(ctx, c, f)
	if err != nil {
		t.Fatal(err)
	}
	// Two seconds have two ticks of the floor, three if they begin just before one.
	if n := o.stats.Frames; n < conns || n > 4*conns || o.stats.Bytes != 104*n {
		t.Errorf("%d frames of %d bytes in all came to %d connections in %.1f s", n, o.stats.Bytes, conns, o.seconds)
	}
	if due := int(conns * o.seconds / 0.5); o.stats.Beats < due/2 || o.stats.Beats > due*3/2 {
		t.Errorf("%d beats were sent, %d were due", o.stats.Beats, due)
	}
	if o.stats.Closed > 0 || o.stats.Failed > 0 {
		t.Errorf("%+v", o.stats)
	}
	f.kill()
	for {
		s, err := c.mark()
		if err != nil {
			t.Fatal(err)
		}
		if s.Closed == conns && s.Open == 0 {
			return
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("the end of the floor is not noticed: %+v", s)
		}
	}
}

// A load client that cannot go on says why.
func TestLoadSaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "no configuration",
		"{":                                   "read configuration",
		`{"addr":"example.com:80"}`:           "not host:port",
		`{"addr":"127.0.0.1:9","key":"AAAA"}`: "read key",
		"{\"addr\":\"127.0.0.1:9\"}\n{\"do\":\"dance\"}\n": `"dance" is unknown`,
		"{\"addr\":\"127.0.0.1:9\"}\n{\n":                  "read order",
	} {
		if err := Load(strings.NewReader(in), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestTokensAreSigned(t *testing.T) {
	pkcs8, set, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := newTokens(&LoadConfig{Conns: 2, Offset: 5, Audiences: 4, Event: "final", Key: pkcs8})
	if err != nil {
		t.Fatal(err)
	}
	var jwks struct{ Keys []struct{ X, Y, Crv string } }
	if err := json.Unmarshal(set, &jwks); err != nil || len(jwks.Keys) != 1 {
		t.Fatalf("%v %s", err, set)
	}
	point := []byte{4} // an uncompressed one
	for _, text := range []string{jwks.Keys[0].X, jwks.Keys[0].Y} {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	token := tokens.of(6)
	parts := strings.Split(token, ".")
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(sig) != 64 || !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		t.Errorf("the signature of %s does not hold: %v", token, err)
	}
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if !strings.Contains(string(claims), `"sub":"v6","dev":"d6","evt":"final"`) || !strings.Contains(string(claims), `{"team":"T2"}`) {
		t.Errorf("%s", claims)
	}
}
