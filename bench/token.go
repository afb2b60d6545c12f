package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// keyID names the one key of a benchmark's key set.
const keyID = "bench"

// newKey returns a P-256 key (PKCS 8), and the key set (RFC 7517) that lets a
// gateway check what it signs.
func newKey() (pkcs8, jwks []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if pkcs8, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, nil, fmt.Errorf("encode the key: %w", err)
	}
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		return nil, nil, fmt.Errorf("encode the public key: %w", err)
	}
	set := map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": keyID,
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}}
	jwks, err = json.Marshal(set)
	return pkcs8, jwks, err
}

// tokens are those of a load client's connections, signed before the first of
// them opens.
type tokens struct {
	offset int
	signed []string
}

func newTokens(cfg *LoadConfig) (*tokens, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("load: read key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("load: the key is not one of ECDSA")
	}
	t := &tokens{offset: cfg.Offset}
	exp := time.Now().Add(time.Hour).Unix()
	for i := range cfg.Conns {
		n := i + cfg.Offset
		claims := fmt.Sprintf(`{"sub":"v%d","dev":"d%d","evt":%q,"exp":%d,"seg":{"team":"T%d"}}`, n, n, cfg.Event, exp, n%cfg.Audiences)
		token, err := sign(key, claims)
		if err != nil {
			return nil, err
		}
		t.signed = append(t.signed, token)
	}
	return t, nil
}

func (t *tokens) of(i int) string { return t.signed[(i-t.offset)%len(t.signed)] }

// sign returns claims as a compact ES256 token (RFC 7515, RFC 7518 section 3.4).
func sign(key *ecdsa.PrivateKey, claims string) (string, error) {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(`{"alg":"ES256","kid":"`+keyID+`"}`)) + "." + enc.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + enc.EncodeToString(sig[:]), nil
}
