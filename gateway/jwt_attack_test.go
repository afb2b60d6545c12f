package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

var b64 = base64.RawURLEncoding.EncodeToString

// forge signs a header and claims as they are written, with HS256.
func forge(header, claims string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(claims))
	return signed + "." + b64(hmacOf(testSecret, signed))
}

func hmacOf(secret []byte, text string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// forgery is a token that must be refused, and a part of why.
type forgery struct{ name, token, says string }

// TestJWTForgeries holds what TestJWTRefuses does not: texts that no library would
// write (RFC 8725, sections 2 and 3). Together they are some 130.
func TestJWTForgeries(t *testing.T) {
	testKeys(t)
	evil := newJWKS(t, otherJWK)
	srv := newJWKS(t, rsaJWK, ecJWK, ec384JWK, ec521JWK, edJWK)
	j := newTestJWT(t, JWTConfig{Secret: testSecret, JWKS: srv.URL})
	exp := testNow.Unix() + 3600
	claims := fmt.Sprintf(`{"sub":"v1","exp":%d}`, exp)
	const header = `{"alg":"HS256","typ":"JWT"}`
	if _, err := identify(j, forge(header, claims)); err != nil {
		t.Fatalf("the token that all others are made from: %v", err)
	}
	var list []forgery
	list = append(list, algForgeries(claims)...)
	list = append(list, keyForgeries(evil.URL)...)
	list = append(list, textForgeries(header, claims)...)
	list = append(list, signatureForgeries(claims)...)
	list = append(list, claimForgeries(header, exp)...)
	seen := map[string]bool{}
	for _, f := range list {
		if seen[f.name] {
			t.Errorf("%s stands twice", f.name)
		}
		seen[f.name] = true
		id, err := identify(j, f.token)
		if code := grandstand.CodeOf(err); err == nil || code != grandstand.CodeUnauthorized && code != grandstand.CodeForbidden {
			t.Errorf("%s: %+v, %v", f.name, id, err)
			continue
		}
		if m := grandstand.MessageOf(err); !strings.Contains(m, f.says) || len(m) > 200 {
			t.Errorf("%s says %q, want something with %q", f.name, m, f.says)
		}
	}
	if n := evil.fetches.Load(); n != 0 {
		t.Errorf("%d fetches from an address that a token named", n)
	}
	if len(list) < 60 {
		t.Errorf("%d forgeries are tried, want 60 at least", len(list))
	}
	t.Logf("%d forgeries, %d fetches", len(list), srv.fetches.Load())
	if n := srv.fetches.Load(); n > 2 {
		t.Errorf("%d fetches of the key set", n)
	}
}

func algForgeries(claims string) (list []forgery) {
	for _, alg := range []string{"none", "None", "NONE", "nOnE", " none", "none ", "none\x00", "", "hs256", "Hs256", "HS256 ", "HS512", "RS1", "PS256", "PS512", "ES256K", "ES512K", "dir", "A256GCMKW", "RSA-OAEP", "Ed25519", "EDDSA"} {
		name, _ := json.Marshal(alg)
		unsigned := b64(fmt.Appendf(nil, `{"alg":%s}`, name)) + "." + b64([]byte(claims))
		list = append(list,
			forgery{fmt.Sprintf("alg %q without a signature", alg), unsigned + ".", "token"},
			forgery{fmt.Sprintf("alg %q signed all the same", alg), unsigned + "." + b64(hmacOf(testSecret, unsigned)), "token"})
	}
	for _, alg := range []string{`null`, `["HS256"]`, `{"HS256":1}`, `true`, `256`} {
		list = append(list, forgery{"alg is " + alg, forge(`{"alg":`+alg+`}`, claims), "token"})
	}
	// A public key, in every form that it is handed around in, as the secret.
	der := must(x509.MarshalPKIXPublicKey(rsaKey.Public()))
	for name, secret := range map[string][]byte{
		"DER": der, "PKCS 1": x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey), "modulus": rsaKey.N.Bytes(), "JWK": must(json.Marshal(rsaJWK)), "JWK's n": []byte(rsaJWK.N),
	} {
		signed := b64([]byte(`{"alg":"HS256","kid":"rsa"}`)) + "." + b64([]byte(claims))
		list = append(list, forgery{"public key as a secret: " + name, signed + "." + b64(hmacOf(secret, signed)), "signature"})
	}
	return list
}

// keyForgeries name the key in ways that have opened doors elsewhere.
func keyForgeries(evil string) (list []forgery) {
	withHeader := func(method jwt.SigningMethod, key any, name string, value any) string {
		tok := jwt.NewWithClaims(method, goodClaims())
		tok.Header[name] = value
		return must(tok.SignedString(key))
	}
	for _, kid := range []any{
		"../../../../../../dev/null", "/dev/null", "rsa' OR '1'='1", "rsa\x00", "RSA", "rsa ", "", "http://127.0.0.1/key", evil, "$(id)", strings.Repeat("k", 5000),
		[]string{"rsa"}, map[string]string{"kid": "rsa"}, nil, true, 1.5,
	} {
		list = append(list,
			forgery{fmt.Sprintf("kid %.40v, another key", kid), withHeader(jwt.SigningMethodRS256, rsaOther, "kid", kid), "token"},
			forgery{fmt.Sprintf("kid %.40v, empty secret", kid), withHeader(jwt.SigningMethodHS256, []byte{}, "kid", kid), "token"})
	}
	for name, value := range map[string]any{
		"jku": evil, "x5u": evil, "jwk": otherJWK, "x5c": []string{b64(must(x509.MarshalPKIXPublicKey(rsaOther.Public())))}, "x5t": "AAAA", "x5t#S256": "AAAA",
	} {
		list = append(list, forgery{"key by " + name, withHeader(jwt.SigningMethodRS256, rsaOther, name, value), "token"})
	}
	for _, crit := range []any{[]string{"exp"}, []string{}, "b64", nil, []any{1}} {
		list = append(list, forgery{fmt.Sprintf("crit %v", crit), withHeader(jwt.SigningMethodHS256, testSecret, "crit", crit), "extension"})
	}
	for _, typ := range []any{"logout+jwt", "secevent+jwt", "dpop+jwt", "application/secevent+jwt", "JWE", "", 7, nil, "JWT\x00"} {
		list = append(list, forgery{fmt.Sprintf("typ %v", typ), withHeader(jwt.SigningMethodHS256, testSecret, "typ", typ), "another type"})
	}
	return list
}

func textForgeries(header, claims string) (list []forgery) {
	good := forge(header, claims)
	parts := strings.Split(good, ".")
	resigned := func(h, c string) string {
		return h + "." + c + "." + b64(hmacOf(testSecret, h+"."+c))
	}
	std := base64.StdEncoding.EncodeToString
	return []forgery{
		{"a million dots", strings.Repeat(".", 1_000_000), "longer than 8 KiB"},
		{"8 KiB of dots", strings.Repeat(".", 8<<10), "not a signed JWT"},
		{"two dots", "..", "not a signed JWT"},
		{"a megabyte", strings.Repeat("A", 1<<20), "longer than 8 KiB"},
		{"encrypted (five parts)", "a.b.c.d.e", "not a signed JWT"},
		{"JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "not a signed JWT"},
		{"padding in the header", resigned(base64.URLEncoding.EncodeToString([]byte(header+" ")), parts[1]), "not a signed JWT"},
		{"standard alphabet", resigned(parts[0], strings.TrimRight(std([]byte(`{"sub":"???>>>ÿÿÿ","exp":1}`)), "=")), "not a signed JWT"},
		{"line break in a part", resigned(parts[0], parts[1][:8]+"\n"+parts[1][8:]), "not a signed JWT"},
		{"space in a part", resigned(parts[0], parts[1][:8]+" "+parts[1][8:]), "not a signed JWT"},
		{"loose bits in the claims", resigned(parts[0], loosen(b64([]byte(claims+"  "[:2-len(claims)%3%2])))), "token"},
		{"bytes after the claims", forge(header, claims+"x"), "token"},
		{"two claims objects", forge(header, claims+claims), "token"},
		{"bytes after the header", forge(header+"{}", claims), "token"},
		{"empty claims", forge(header, ""), "token"},
		{"claims are null", forge(header, "null"), "exp"},
		{"claims are a list", forge(header, "["+claims+"]"), "not a signed JWT"},
		{"byte order mark", forge(header, "\xef\xbb\xbf"+claims), "token"},
		{"sub twice", forge(header, `{"sub":"v1",`+claims[1:]), "twice"},
		{"exp twice", forge(header, claims[:len(claims)-1]+`,"exp":99999999999}`), "t"},
		{"exp twice, escaped", forge(header, claims[:len(claims)-1]+strings.Replace(`,"exp":1}`, "exp", "e\\u0078p", 1)), "t"},
		{"alg twice", forge(`{"alg":"none","alg":"HS256"}`, claims), "twice"},
		{"alg twice, none last", forge(`{"alg":"HS256","alg":"none"}`, claims), "token"},
		{"kid twice", forge(`{"alg":"HS256","kid":"a","kid":"b"}`, claims), "twice"},
		{"team twice", forge(header, claims[:len(claims)-1]+`,"seg":{"team":"KC","team":"SF"}}`), "twice"},
		{"deep lists", forge(header, claims[:len(claims)-1]+`,"x":`+strings.Repeat("[", 2500)+strings.Repeat("]", 2500)+`}`), "deeply"},
		{"deep objects", forge(header, claims[:len(claims)-1]+`,"x":`+strings.Repeat(`{"a":`, 800)+"1"+strings.Repeat("}", 800)+`}`), "deeply"},
		{"deep header", forge(`{"alg":"HS256","x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`, claims), "deeply"},
		{"lists that do not end", forge(header, strings.Repeat("[", 5000)), "not a signed JWT"},
	}
}

func signatureForgeries(claims string) (list []forgery) {
	signed := func(alg, kid string) string {
		return b64(fmt.Appendf(nil, `{"alg":%q,"kid":%q}`, alg, kid)) + "." + b64([]byte(claims))
	}
	add := func(name, signed string, signature []byte) {
		list = append(list, forgery{name, signed + "." + b64(signature), "signature"})
	}
	for _, c := range []struct {
		alg, kid string
		size     int
	}{{"HS256", "", 32}, {"RS256", "rsa", 256}, {"ES256", "ec", 64}, {"ES384", "ec384", 96}, {"ES512", "ec521", 132}, {"EdDSA", "ed", 64}} {
		s := signed(c.alg, c.kid)
		for _, n := range []int{0, 1, c.size - 1, c.size, c.size + 1, 2 * c.size} {
			add(fmt.Sprintf("%s, %d zeros", c.alg, n), s, make([]byte, n)) // of ECDSA r = s = 0 (CVE-2022-21449)
		}
	}
	s := signed("ES256", "ec")
	digest := sha256.Sum256([]byte(s))
	r, v, err := ecdsa.Sign(rand.Reader, ecKey, digest[:])
	if err != nil {
		panic(err)
	}
	order := ecKey.Params().N.Bytes()
	pad := func(b []byte) []byte { return append(make([]byte, 32-len(b)), b...) }
	add("ES256, r is the order", s, append(pad(order), pad(v.Bytes())...))
	add("ES256, s is zero", s, append(pad(r.Bytes()), make([]byte, 32)...))
	add("ES256, r and s exchanged", s, append(pad(v.Bytes()), pad(r.Bytes())...))
	add("ES256 in DER", s, must(ecdsa.SignASN1(rand.Reader, ecKey, digest[:])))
	add("ES256 with a leading zero", s, append([]byte{0}, append(pad(r.Bytes()), pad(v.Bytes())...)...))
	s = signed("RS256", "rsa")
	digest = sha256.Sum256([]byte(s))
	good := must(rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, digest[:]))
	add("RS256 of the digest of SHA-1's name", s, must(rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.Hash(0), digest[:])))
	add("RS256 with a byte more", s, append(good, 0))
	add("RS256 with a byte less", s, good[1:])
	add("PS256 as RS256", s, must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, digest[:], nil)))
	hs := signed("HS256", "")
	add("HS256, half of it", hs, hmacOf(testSecret, hs)[:16])
	add("HS256 of the claims only", hs, hmacOf(testSecret, hs[strings.IndexByte(hs, '.')+1:]))
	add("HS256 in hexadecimal", hs, fmt.Appendf(nil, "%x", hmacOf(testSecret, hs)))
	return list
}

func claimForgeries(header string, exp int64) (list []forgery) {
	now := testNow.Unix()
	for _, c := range []struct{ name, members, says string }{
		{"exp is negative", `"exp":-1`, "expired"},
		{"exp is below zero by far", `"exp":-1e300`, "expired"},
		{"exp overflows", `"exp":1e400`, "not a signed JWT"},
		{"exp is 2^63", `"exp":9223372036854775808`, "too far"},
		{"exp is true", `"exp":true`, "no exp"},
		{"exp is null", `"exp":null`, "no exp"},
		{"exp is a list", fmt.Sprintf(`"exp":[%d]`, exp), "no exp"},
		{"exp in milliseconds", fmt.Sprintf(`"exp":%d000`, exp), "too far"},
		{"Exp", fmt.Sprintf(`"Exp":%d`, exp), "no exp"},
		{"exp just past", fmt.Sprintf(`"exp":%d.17`, now), "expired"},
		{"nbf overflows", fmt.Sprintf(`"exp":%d,"nbf":1e300`, exp), "not valid yet"},
		{"nbf is null", fmt.Sprintf(`"exp":%d,"nbf":null`, exp), "no number"},
		{"iat is text", fmt.Sprintf(`"exp":%d,"iat":"%d"`, exp, now), "no number"},
		{"iat is ages ago", fmt.Sprintf(`"exp":%d,"iat":%d`, exp, now-40*86400), "too long"},
		{"sub is null", fmt.Sprintf(`"exp":%d,"sub":null`, exp), "sub"},
		{"sub is a list", fmt.Sprintf(`"exp":%d,"sub":["v1"]`, exp), "sub"},
		{"sub is of 257 bytes", fmt.Sprintf(`"exp":%d,"sub":"%s"`, exp, strings.Repeat("v", 257)), "sub"},
		{"sub has a line break", fmt.Sprintf(`"exp":%d,"sub":"v1\nadmin"`, exp), "sub"},
		{"evt is null", fmt.Sprintf(`"exp":%d,"evt":null`, exp), "evt"},
		{"evt is a list of lists", fmt.Sprintf(`"exp":%d,"evt":[["final"]]`, exp), "evt"},
		{"evt is a pattern", fmt.Sprintf(`"exp":%d,"evt":"*"`, exp), "not for this event"},
		{"evt is empty", fmt.Sprintf(`"exp":%d,"evt":""`, exp), "not for this event"},
		{"seg is null", fmt.Sprintf(`"exp":%d,"seg":null`, exp), "seg"},
		{"seg holds null", fmt.Sprintf(`"exp":%d,"seg":{"team":null}`, exp), "seg"},
		{"seg holds a list", fmt.Sprintf(`"exp":%d,"seg":{"team":["KC"]}`, exp), "seg"},
		{"seg holds an empty value", fmt.Sprintf(`"exp":%d,"seg":{"team":""}`, exp), "seg"},
		{"seg holds a path", fmt.Sprintf(`"exp":%d,"seg":{"team":"../KC"}`, exp), "seg"},
		{"seg holds a cross", fmt.Sprintf(`"exp":%d,"seg":{"team":"KC+US-CA"}`, exp), "seg"},
		{"scope is an object", fmt.Sprintf(`"exp":%d,"scope":{"admin":true}`, exp), "scope"},
		{"lim is negative", fmt.Sprintf(`"exp":%d,"lim":-1`, exp), "lim"},
		{"lim is huge", fmt.Sprintf(`"exp":%d,"lim":1e300`, exp), "lim"},
	} {
		list = append(list, forgery{c.name, forge(header, "{"+c.members+"}"), c.says})
	}
	return list
}

// TestJWTHeadersThatSayNothing: where a good token names another key, that is not
// read.
func TestJWTHeadersThatSayNothing(t *testing.T) {
	evil := newJWKS(t, otherJWK)
	j := newTestJWT(t, JWTConfig{Secret: testSecret})
	for name, value := range map[string]any{
		"jku": evil.URL, "x5u": evil.URL, "kid": "../../etc/passwd", "jwk": otherJWK, "typ": "at+jwt", "cty": "JWT", "x": []any{1, map[string]any{"a": 1}},
	} {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, goodClaims("iat", testNow.Unix()-60))
		tok.Header[name] = value
		if _, err := identify(j, must(tok.SignedString(testSecret))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := evil.fetches.Load(); n != 0 {
		t.Errorf("%d fetches from an address that a token named", n)
	}
}

// TestJWTRefusesAtLittleCost: a token that is refused costs a bounded amount of
// work, whatever its size; and strangers' keys are not fetched for each of them.
func TestJWTRefusesAtLittleCost(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t, rsaJWK)
	j := newTestJWT(t, JWTConfig{Secret: testSecret, JWKS: srv.URL})
	allocated := func(token string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := j.parse(t.Context(), token); err == nil {
			t.Fatal("accepted")
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	deep := forge(`{"alg":"HS256"}`, `{"x":`+strings.Repeat("[", 2500)+strings.Repeat("]", 2500)+`}`)
	for name, token := range map[string]string{
		"a megabyte": strings.Repeat("A", 1<<20), "a million dots": strings.Repeat(".", 1_000_000), "8 KiB of dots": strings.Repeat(".", 8<<10),
		"8 KiB of claims": "e30." + strings.Repeat("A", 8<<10-8) + ".x", "8 KiB of header": strings.Repeat("A", 8<<10-8) + ".e30.x", "deep": deep,
	} {
		if n := allocated(token); n > 512<<10 {
			t.Errorf("%s takes %d bytes", name, n)
		}
	}
	for i := range 2000 {
		header := fmt.Sprintf(`{"alg":"EdDSA","kid":"kid-%d"}`, i)
		if _, err := identify(j, b64([]byte(header))+".e30."+b64(make([]byte, 64))); err == nil {
			t.Fatal("accepted")
		}
	}
	if n := srv.fetches.Load(); n > 1 { // time stands still: RefreshUnknown does not pass
		t.Errorf("%d fetches for 2000 unknown keys", n)
	}
}

// TestJWTKeyTooSmall: what is too small or too large a key in the set signs nothing.
func TestJWTKeyTooSmall(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t, shortJWK, ecJWK)
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL})
	for _, kid := range []string{"short", ""} {
		if _, err := identify(j, sign(t, jwt.SigningMethodRS256, rsaShort, kid, goodClaims())); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
			t.Errorf("1024 bits, kid %q: %v", kid, err)
		}
	}
}

// FuzzJWT: nothing is believed that was not signed, whatever else is wrong with it.
func FuzzJWT(f *testing.F) {
	j, err := NewJWT(JWTConfig{Secret: testSecret, Now: func() time.Time { return testNow }})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(forge(`{"alg":"HS256"}`, `{"sub":"v1","exp":1795299043}`))
	f.Add(forge(`{"alg":"none"}`, `{"sub":"v1","exp":1795299043}`))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	var believed atomic.Int64
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest(http.MethodGet, "/v1/events/final/live", nil)
		r.Header["Authorization"] = []string{"Bearer " + token}
		id, err := j.Identify(r, "final")
		if err != nil {
			if c := grandstand.CodeOf(err); c != grandstand.CodeUnauthorized && c != grandstand.CodeForbidden {
				t.Fatalf("%q: %v", token, err)
			}
			return
		}
		believed.Add(1)
		signed, signature, _ := strings.Cut(strings.TrimSpace(token)[strings.IndexByte(strings.TrimSpace(token), '.')+1:], ".")
		head, _, _ := strings.Cut(strings.TrimSpace(token), ".")
		if want := b64(hmacOf(testSecret, head+"."+signed)); signature != want || id.Expires <= testNow.UnixMilli() {
			t.Fatalf("%q is believed to be %+v", token, id)
		}
	})
}
