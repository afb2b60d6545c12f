package gateway

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"grandstand"
)

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	testNow    = time.UnixMilli(1_795_299_042_179)

	keysOnce                                     sync.Once
	rsaKey, rsaOther, rsaShort                   *rsa.PrivateKey
	ecKey, ec384Key, ec521Key                    *ecdsa.PrivateKey
	edKey                                        ed25519.PrivateKey
	rsaJWK, otherJWK, ecJWK, ec384JWK, ec521JWK  jwkset.JWKMarshal
	edJWK, shortJWK, encJWK, octJWK, signOnlyJWK jwkset.JWKMarshal
)

func testKeys(t *testing.T) {
	t.Helper()
	keysOnce.Do(func() {
		rsaKey, rsaOther, rsaShort = must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 1024))
		ecKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		ec384Key = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		ec521Key = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
		_, edKey, _ = ed25519.GenerateKey(rand.Reader)
		rsaJWK, otherJWK, shortJWK = jwk("rsa", rsaKey.Public()), jwk("other", rsaOther.Public()), jwk("short", rsaShort.Public())
		ecJWK, ec384JWK, ec521JWK = jwk("ec", ecKey.Public()), jwk("ec384", ec384Key.Public()), jwk("ec521", ec521Key.Public())
		edJWK = jwk("ed", edKey.Public())
		encJWK, signOnlyJWK = jwk("enc", rsaKey.Public()), jwk("sign", rsaKey.Public())
		encJWK.USE = jwkset.UseEnc
		signOnlyJWK.KEYOPS = []jwkset.KEYOPS{jwkset.KeyOpsSign}
		octJWK = jwkset.JWKMarshal{KTY: jwkset.KtyOct, KID: "oct", K: base64.RawURLEncoding.EncodeToString(testSecret)}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func jwk(kid string, key crypto.PublicKey) jwkset.JWKMarshal {
	return must(jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})).Marshal()
}

// goodClaims are those of DESIGN.md, section 5, changed by pairs of name and
// value; a nil value takes the claim away.
func goodClaims(changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{
		"sub": "v1", "acc": "a1", "dev": "d1", "lim": 2, "plan": "family", "evt": []string{"final", "semi"},
		"seg": map[string]any{"team": "KC", "region": "US-CA"}, "exp": testNow.Unix() + 3600,
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hs(t *testing.T, changes ...any) string {
	return sign(t, jwt.SigningMethodHS256, testSecret, "", goodClaims(changes...))
}

// jwksServer serves a key set that a test can change.
type jwksServer struct {
	*httptest.Server
	fetches atomic.Int64
	mu      sync.Mutex
	answer  http.HandlerFunc
}

func newJWKS(t *testing.T, keys ...jwkset.JWKMarshal) *jwksServer {
	s := &jwksServer{}
	s.set(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *jwksServer) set(keys ...jwkset.JWKMarshal) {
	body := must(json.Marshal(jwkset.JWKSMarshal{Keys: keys}))
	s.answerWith(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
}

func (s *jwksServer) answerWith(h http.HandlerFunc) {
	s.mu.Lock()
	s.answer = h
	s.mu.Unlock()
}

// testClock is a wall clock that stands still until it is moved.
type testClock struct{ ms atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.ms.Store(testNow.UnixMilli())
	return c
}

func (c *testClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *testClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func newTestJWT(t *testing.T, cfg JWTConfig) *JWT {
	t.Helper()
	testKeys(t)
	if cfg.Now == nil {
		cfg.Now = newTestClock().now
	}
	j, err := NewJWT(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

func identify(j *JWT, token string) (*Identity, error) {
	r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live?session=s1&interval_ms=60000", nil)
	if token != "" {
		r.Header.Set("Sec-WebSocket-Protocol", "grandstand.v1, bearer."+token)
	}
	return j.Identify(r, "final")
}

func TestJWTIdentify(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, Audience: []string{"tv", "app"}, Issuer: "https://id.example.com"})
	got, err := identify(j, hs(t, "aud", []string{"web", "app"}, "iss", "https://id.example.com", "nbf", testNow.Unix()+20, "iat", testNow.Unix()+20))
	if err != nil {
		t.Fatal(err)
	}
	want := &Identity{
		Viewer: "v1", Account: "a1", Device: "d1", Limit: 2, Plan: "family", Events: []string{"final", "semi"},
		Segments: map[string]string{"team": "KC", "region": "US-CA"},
		Expires:  (testNow.Unix() + 3600) * 1000, Session: "s1", IntervalMS: 60000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJWTIdentifyLittle(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret})
	got, err := identify(j, sign(t, jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"exp": float64(testNow.Unix()) + 0.5}))
	if err != nil {
		t.Fatal(err)
	}
	want := &Identity{Segments: map[string]string{}, Expires: testNow.Unix()*1000 + 500, Session: "s1", IntervalMS: 60000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := identify(j, hs(t, "evt", "final")); err != nil {
		t.Errorf("evt as a string: %v", err)
	}
}

// TestJWTAlgorithms signs with every algorithm of a key set, with and without
// the name of the key.
func TestJWTAlgorithms(t *testing.T) {
	testKeys(t)
	for _, c := range []struct {
		method jwt.SigningMethod
		key    any
		jwk    jwkset.JWKMarshal
	}{
		{jwt.SigningMethodRS256, rsaKey, rsaJWK}, {jwt.SigningMethodRS384, rsaKey, rsaJWK}, {jwt.SigningMethodRS512, rsaKey, rsaJWK},
		{jwt.SigningMethodES256, ecKey, ecJWK}, {jwt.SigningMethodES384, ec384Key, ec384JWK}, {jwt.SigningMethodES512, ec521Key, ec521JWK},
		{jwt.SigningMethodEdDSA, edKey, edJWK},
	} {
		t.Run(c.method.Alg(), func(t *testing.T) {
			srv := newJWKS(t, rsaJWK, ecJWK, ec384JWK, ec521JWK, edJWK, octJWK, encJWK, shortJWK)
			j := newTestJWT(t, JWTConfig{JWKS: srv.URL})
			for _, kid := range []string{c.jwk.KID, ""} {
				if id, err := identify(j, sign(t, c.method, c.key, kid, goodClaims())); err != nil || id.Viewer != "v1" {
					t.Errorf("kid %q: %+v, %v", kid, id, err)
				}
			}
			if n := srv.fetches.Load(); n != 1 {
				t.Errorf("%d fetches for two tokens, want 1", n)
			}
		})
	}
}

func TestJWTRefuses(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t, rsaJWK, ecJWK, ec384JWK, edJWK, octJWK, encJWK, signOnlyJWK, shortJWK)
	j := newTestJWT(t, JWTConfig{Secret: testSecret, JWKS: srv.URL, Audience: []string{"tv"}, Issuer: "id"})
	keysOnly := newTestJWT(t, JWTConfig{JWKS: srv.URL})
	secretOnly := newTestJWT(t, JWTConfig{Secret: testSecret})
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(rsaKey.Public()))})

	ok := func(changes ...any) jwt.MapClaims {
		return goodClaims(append([]any{"aud", "tv", "iss", "id"}, changes...)...)
	}
	good := sign(t, jwt.SigningMethodHS256, testSecret, "", ok())
	if _, err := identify(j, good); err != nil {
		t.Fatalf("the token that all others are made from: %v", err)
	}
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	hsToken := func(changes ...any) string {
		return sign(t, jwt.SigningMethodHS256, testSecret, "", ok(changes...))
	}
	header := func(key string, value any) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, ok())
		tok.Header[key] = value
		return must(tok.SignedString(testSecret))
	}
	now := testNow.Unix()
	for _, c := range []struct {
		name  string
		j     *JWT
		token string
		code  grandstand.Code
		says  string
	}{
		{"no token", j, "", "unauthorized", "a token is needed"},
		{"no JWT", j, "hello", "unauthorized", "not a signed JWT"},
		{"two parts", j, parts[0] + "." + parts[1], "unauthorized", "not a signed JWT"},
		{"four parts", j, good + ".x", "unauthorized", "not a signed JWT"},
		{"only dots", j, strings.Repeat(".", 5000), "unauthorized", "not a signed JWT"},
		{"too long", j, hsToken("pad", strings.Repeat("x", maxTokenLen)), "unauthorized", "longer than 8 KiB"},
		{"header is no base64", j, "!!!." + parts[1] + "." + parts[2], "unauthorized", "not a signed JWT"},
		{"header is no object", j, b64([]byte(`[]`)) + "." + parts[1] + "." + parts[2], "unauthorized", "not a signed JWT"},
		{"claims are no object", j, parts[0] + "." + b64([]byte(`7`)) + "." + parts[2], "unauthorized", "not a signed JWT"},
		{"claims were changed", j, parts[0] + "." + b64(must(json.Marshal(ok("sub", "v2")))) + "." + parts[2], "unauthorized", "signature"},
		{"signature cut off", j, parts[0] + "." + parts[1] + ".", "unauthorized", "signature"},
		{"signature with loose bits", secretOnly, loosen(hs(t)), "unauthorized", "not a signed JWT"},
		{"padding", j, good + "=", "unauthorized", "not a signed JWT"},
		{"alg none", j, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", ok()), "unauthorized", "signature"},
		{"alg nOnE", j, b64([]byte(`{"alg":"nOnE"}`)) + "." + parts[1] + ".", "unauthorized", "signature"},
		{"no alg", j, b64([]byte(`{"typ":"JWT"}`)) + "." + parts[1] + "." + parts[2], "unauthorized", "signature"},
		{"alg is a number", j, b64([]byte(`{"alg":256}`)) + "." + parts[1] + "." + parts[2], "unauthorized", "signature"},
		{"HS384", j, sign(t, jwt.SigningMethodHS384, testSecret, "", ok()), "unauthorized", "signature"},
		{"PS256", j, sign(t, jwt.SigningMethodPS256, rsaKey, "rsa", ok()), "unauthorized", "signature"},
		{"another secret", j, sign(t, jwt.SigningMethodHS256, []byte("fedcba9876543210fedcba9876543210"), "", ok()), "unauthorized", "signature"},
		{"empty secret", keysOnly, sign(t, jwt.SigningMethodHS256, []byte{}, "", ok()), "unauthorized", "signature"},
		{"public key as the secret", j, sign(t, jwt.SigningMethodHS256, rsaPEM, "rsa", ok()), "unauthorized", "signature"},
		{"public key as the secret, keys only", keysOnly, sign(t, jwt.SigningMethodHS256, rsaPEM, "rsa", ok()), "unauthorized", "signature"},
		{"symmetric key of the set", keysOnly, sign(t, jwt.SigningMethodHS256, testSecret, "oct", ok()), "unauthorized", "signature"},
		{"RS256 without a key set", secretOnly, sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", ok()), "unauthorized", "signature"},
		{"ES256 by the name of an RSA key", j, sign(t, jwt.SigningMethodES256, ecKey, "rsa", ok()), "unauthorized", "signature"},
		{"ES256 by the name of a P-384 key", j, sign(t, jwt.SigningMethodES256, ecKey, "ec384", ok()), "unauthorized", "signature"},
		{"EdDSA by the name of an EC key", j, sign(t, jwt.SigningMethodEdDSA, edKey, "ec", ok()), "unauthorized", "signature"},
		{"another key under a known name", j, sign(t, jwt.SigningMethodRS256, rsaOther, "rsa", ok()), "unauthorized", "signature"},
		{"key for encryption", j, sign(t, jwt.SigningMethodRS256, rsaKey, "enc", ok()), "unauthorized", "not known"},
		{"key that may not verify", j, sign(t, jwt.SigningMethodRS256, rsaKey, "sign", ok()), "unauthorized", "not known"},
		{"RSA of 1024 bits", j, sign(t, jwt.SigningMethodRS256, rsaShort, "short", ok()), "unauthorized", "not known"},
		{"unknown key", j, sign(t, jwt.SigningMethodRS256, rsaOther, "other", ok()), "unauthorized", "not known"},
		{"kid is a number", j, rsaHeader("kid", 7, ok()), "unauthorized", "signature"},
		{"key inside the token", j, rsaHeader("jwk", otherJWK, ok()), "unauthorized", "signature"},
		{"extension", j, header("crit", []string{"b64"}), "unauthorized", "extension"},
		{"no exp", j, hsToken("exp", nil), "unauthorized", "no exp"},
		{"exp is text", j, hsToken("exp", fmt.Sprint(now+3600)), "unauthorized", "no exp"},
		{"exp is zero", j, hsToken("exp", 0), "unauthorized", "expired"},
		{"expired", j, hsToken("exp", now), "unauthorized", "expired"},
		{"exp too far", j, hsToken("exp", now+31*86400), "unauthorized", "too far"},
		{"exp beyond all numbers", j, hsToken("exp", 1e300), "unauthorized", "too far"},
		{"nbf ahead", j, hsToken("nbf", now+60), "unauthorized", "not valid yet"},
		{"nbf is text", j, hsToken("nbf", "now"), "unauthorized", "no number"},
		{"iat ahead", j, hsToken("iat", now+60), "unauthorized", "not valid yet"},
		{"no aud", j, hsToken("aud", nil), "unauthorized", "audience"},
		{"another aud", j, hsToken("aud", []string{"web", "TV"}), "unauthorized", "audience"},
		{"aud of mixed kinds", j, hsToken("aud", []any{"tv", 1}), "unauthorized", "audience"},
		{"no iss", j, hsToken("iss", nil), "unauthorized", "issuer"},
		{"another iss", j, hsToken("iss", "id2"), "unauthorized", "issuer"},
		{"another event", j, hsToken("evt", "quarter"), "forbidden", "not for this event"},
		{"other events", j, hsToken("evt", []string{"quarter", "Final"}), "forbidden", "not for this event"},
		{"no events", j, hsToken("evt", []string{}), "forbidden", "not for this event"},
		{"evt is a number", j, hsToken("evt", 7), "unauthorized", "evt"},
		{"evt is an object", j, hsToken("evt", map[string]any{"final": true}), "unauthorized", "evt"},
		{"sub is a number", j, hsToken("sub", 7), "unauthorized", "sub"},
		{"sub is empty", j, hsToken("sub", ""), "unauthorized", "sub"},
		{"acc too long", j, hsToken("acc", strings.Repeat("x", 257)), "unauthorized", "acc"},
		{"dev with a control character", j, hsToken("dev", "d\x00"), "unauthorized", "dev"},
		{"lim is a fraction", j, hsToken("lim", 1.5), "unauthorized", "lim"},
		{"lim is zero", j, hsToken("lim", 0), "unauthorized", "lim"},
		{"lim is above all", j, hsToken("lim", 65), "unauthorized", "lim"},
		{"plan is an object", j, hsToken("plan", map[string]any{"name": "family"}), "unauthorized", "plan"},
		{"plan is empty", j, hsToken("plan", ""), "unauthorized", "plan"},
		{"lim is text", j, hsToken("lim", "2"), "unauthorized", "lim"},
		{"seg is a list", j, hsToken("seg", []string{"KC"}), "unauthorized", "seg"},
		{"seg holds a number", j, hsToken("seg", map[string]any{"team": 7}), "unauthorized", "seg"},
		{"seg holds an impossible value", j, hsToken("seg", map[string]any{"team": "K C"}), "unauthorized", "seg"},
		{"scope is a number", j, hsToken("scope", 7), "unauthorized", "scope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := identify(c.j, c.token)
			if err == nil {
				t.Fatalf("accepted as %+v", id)
			}
			if got := grandstand.CodeOf(err); got != c.code {
				t.Errorf("code %q, want %q (%v)", got, c.code, err)
			}
			if m := grandstand.MessageOf(err); !strings.Contains(m, c.says) {
				t.Errorf("says %q, want something with %q", m, c.says)
			} else if strings.Contains(m, "v1") || strings.Contains(m, good[:20]) {
				t.Errorf("the message gives ids away: %q", m)
			}
		})
	}
}

// loosen changes the bits of the last character that stand for nothing.
func loosen(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	at := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + string(alphabet[at^1]) // 32 bytes leave 2 bits over
}

func rsaHeader(name string, value any, c jwt.MapClaims) string {
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, c)
	tok.Header["kid"] = "rsa"
	tok.Header[name] = value
	return must(tok.SignedString(rsaOther))
}

func TestJWTTokenInURLIsNotRead(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, ReadKeys: []string{"read-me"}})
	for _, name := range []string{"token", "access_token", "bearer", "jwt", "key"} {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live?"+name+"="+hs(t), nil)
		if id, err := j.Identify(r, "final"); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
			t.Errorf("?%s= was believed: %+v, %v", name, id, err)
		}
	}
}

func TestJWTQueryNamesNobody(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: "correct horse battery"})
	req := func(token string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live?viewer=v9&device=d9&account=a9&limit=9&plan=gold&name=TV&team=SF&mood=good", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
	id, err := j.Identify(req(hs(t)), "final")
	if err != nil || id.Viewer != "v1" || id.Device != "d1" || id.Account != "a1" || id.Limit != 2 || id.Plan != "family" || id.Name != "TV" || id.Segments["team"] != "KC" || id.Segments["mood"] != "" {
		t.Errorf("a viewer's token: %+v, %v", id, err)
	}
	id, err = j.Identify(req(hs(t, "sub", nil, "acc", nil, "dev", nil, "lim", nil, "plan", nil, "scope", "read service")), "final")
	if err != nil || !id.Service || id.Viewer != "v9" || id.Limit != 9 || id.Plan != "gold" || id.Segments["mood"] != "" {
		t.Errorf("a service's token: %+v, %v", id, err)
	}
	id, err = j.Identify(req(hs(t, "scope", []string{"service"})), "final")
	if err != nil || !id.Service || id.Viewer != "v1" || id.Limit != 2 {
		t.Errorf("a service's token with a viewer: %+v, %v", id, err)
	}
	id, err = j.Identify(req("correct horse battery"), "final")
	if err != nil || !id.Service || id.Viewer != "v9" || id.Expires != 0 {
		t.Errorf("the admin token: %+v, %v", id, err)
	}
}

func TestJWTTokenWinsOverEdge(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, Edge: newEdge(t, "10.0.0.1")})
	r := edgeRequest("10.0.0.1:1", "CF-IPCountry", "DE", "CF-Region-Code", "BY", "Authorization", "Bearer "+hs(t))
	r.URL.RawQuery = "country=FR"
	id, err := j.Identify(r, "final")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"team": "KC", "region": "US-CA", "country": "DE"}, id.Segments); diff != "" {
		t.Error(diff)
	}
	next, err := j.Renew(t.Context(), hs(t, "seg", map[string]any{"team": "SF"}), "final", id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"team": "SF", "region": "US-CA", "country": "DE"}, next.Segments); diff != "" {
		t.Errorf("after renewal: %s", diff)
	}
	if id.Segments["team"] != "KC" {
		t.Error("renewal changed the old identity")
	}
}

func TestJWTRenew(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret})
	old, err := identify(j, hs(t))
	if err != nil {
		t.Fatal(err)
	}
	next, err := j.Renew(t.Context(), hs(t, "exp", testNow.Unix()+7200, "lim", 3, "plan", "solo"), "final", old)
	if err != nil {
		t.Fatal(err)
	}
	want := *old
	want.Expires, want.Limit, want.Plan = (testNow.Unix()+7200)*1000, 3, "solo"
	if diff := cmp.Diff(&want, next); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		name, token string
		code        grandstand.Code
	}{
		{"viewer", hs(t, "sub", "v2"), "unauthorized"},
		{"no viewer", hs(t, "sub", nil), "unauthorized"},
		{"account", hs(t, "acc", "a2"), "unauthorized"},
		{"device", hs(t, "dev", "d2"), "unauthorized"},
		{"a service", hs(t, "sub", nil, "acc", nil, "dev", nil, "scope", "service"), "unauthorized"},
		{"event", hs(t, "evt", "semi"), "forbidden"},
		{"expired", hs(t, "exp", testNow.Unix()-1), "unauthorized"},
		{"nothing", "", "unauthorized"},
	} {
		if id, err := j.Renew(t.Context(), c.token, "final", old); grandstand.CodeOf(err) != c.code {
			t.Errorf("%s: %+v, %v, want %s", c.name, id, err, c.code)
		}
	}
}

func TestJWTCaller(t *testing.T) {
	const static = "correct horse battery"
	j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: static, ReadKeys: []string{"read-me"}})
	caller := func(token string) (*Identity, error) {
		r := httptest.NewRequest(http.MethodGet, "/v1/accounts/a1/devices?account=a9&limit=9&name=TV&key=read-me", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost" // of no use here
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return j.Caller(r)
	}
	got, err := caller(hs(t))
	if err != nil {
		t.Fatal(err)
	}
	want := &Identity{
		Viewer: "v1", Account: "a1", Device: "d1", Limit: 2, Plan: "family", Name: "TV", Events: []string{"final", "semi"},
		Segments: map[string]string{"team": "KC", "region": "US-CA"}, Expires: (testNow.Unix() + 3600) * 1000,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, token := range map[string]string{"service": hs(t, "acc", nil, "lim", nil, "scope", "service"), "static": static} {
		if got, err = caller(token); err != nil || !got.Service || got.Account != "a9" || got.Limit != 9 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, token := range map[string]string{
		"nothing": "", "expired": hs(t, "exp", testNow.Unix()-1), "forged": hs(t) + "x", "another static": static + "!", "too high a limit": hs(t, "lim", 65),
	} {
		if got, err := caller(token); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestJWTAdmin(t *testing.T) {
	const static = "correct horse battery"
	with := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: static})
	without := newTestJWT(t, JWTConfig{Secret: testSecret})
	for _, c := range []struct {
		name, token string
		j           *JWT
		want        grandstand.Code
	}{
		{"scope", hs(t, "scope", "read admin"), without, ""},
		{"scope in a list", hs(t, "scope", []string{"read", "admin"}), without, ""},
		{"static", static, with, ""},
		{"no scope", hs(t), with, "forbidden"},
		{"scope of a service", hs(t, "scope", "service"), with, "forbidden"},
		{"part of a word", hs(t, "scope", "administrator read:admin"), with, "forbidden"},
		{"expired", hs(t, "scope", "admin", "exp", testNow.Unix()-1), with, "unauthorized"},
		{"another static", static + "!", with, "unauthorized"},
		{"nothing", "", with, "unauthorized"},
		{"static, none configured", static, without, "unauthorized"},
	} {
		r := httptest.NewRequest(http.MethodPut, "/v1/events/final", nil)
		r.RemoteAddr, r.Host = "127.0.0.1:1", "localhost" // of no use here
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		if err := c.j.Admin(r); grandstand.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestJWTReader(t *testing.T) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, ReadKeys: []string{"k1", "k2"}, AdminToken: "correct horse battery"})
	for _, c := range []struct {
		name, query, token string
		public             bool
		want               grandstand.Code
	}{
		{"public", "", "", true, ""},
		{"first key", "?key=k1", "", false, ""},
		{"second key", "?key=k2", "", false, ""},
		{"token", "", hs(t), false, ""},
		{"admin token", "", "correct horse battery", false, ""},
		{"nothing", "", "", false, "unauthorized"},
		{"empty key", "?key=", "", false, "unauthorized"},
		{"wrong key", "?key=k3", "", false, "unauthorized"},
		{"token of another event", "", hs(t, "evt", "semi"), false, "forbidden"},
		{"expired token", "", hs(t, "exp", testNow.Unix()-1), false, "unauthorized"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/counts"+c.query, nil)
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		if err := j.Reader(r, &grandstand.Event{Name: "final", Public: c.public}); grandstand.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if readKeyOf(httptest.NewRequest(http.MethodGet, "/?key=", nil), []string{""}) {
		t.Error("an empty key that was configured by mistake opens everything")
	}
}

func TestNewJWTRefuses(t *testing.T) {
	for name, cfg := range map[string]JWTConfig{
		"nothing":        {},
		"short secret":   {Secret: []byte("too short")},
		"no URL":         {JWKS: "keys.json"},
		"file":           {JWKS: "file:///etc/passwd"},
		"URL of nowhere": {JWKS: "https://"},
	} {
		if _, err := NewJWT(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestJWTCancelledRequest(t *testing.T) {
	srv := newJWKS(t)
	srv.answerWith(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL, FetchTimeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := j.Renew(ctx, sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims()), "final", &Identity{})
	if grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("a cancelled request: %v, want unavailable", err)
	}
	j.Close() // must end the fetch, not wait a minute for it
}
