package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

// The bounds of a key set that is fetched.
const (
	maxKeySetLen = 1 << 20
	maxKeySet    = 256
	minRSABits   = 2048
	maxRSABits   = 8192 // a larger key makes every check expensive
)

// keySet holds the keys of one JWKS URL. It is fetched when a token needs it,
// by one goroutine at a time; a failed fetch keeps the keys that there are.
type keySet struct {
	cfg    *JWTConfig // static
	client *http.Client
	ctx    context.Context // of all fetches
	cancel context.CancelFunc
	done   sync.WaitGroup // the fetch under way

	mu       sync.Mutex
	keys     *keys         // nil before the first fetch that succeeded
	fetched  time.Time     // when that was, by the last one
	tried    time.Time     // when the last fetch began
	failed   bool          // the last fetch did
	inFlight chan struct{} // closed at the end of the fetch under way; nil: none
	closed   bool
}

// keys is one fetched key set. It is immutable.
type keys struct {
	lookup keyfunc.Keyfunc
	all    []any
}

func newKeySet(cfg *JWTConfig) *keySet {
	s := &keySet{cfg: cfg}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	c := *cfg.Client
	follow := c.CheckRedirect
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return errors.New("key set: redirected away from https")
		}
		if follow != nil {
			return follow(r, via)
		}
		if len(via) > 3 {
			return errors.New("key set: redirected more than 3 times")
		}
		return nil
	}
	s.client = &c
	return s
}

func (s *keySet) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
}

// key returns the key of the set that must have signed t. It waits for a fetch
// where there are no keys yet, where the key is not among them, and where they
// are older than two refreshes because no token has come for so long.
func (s *keySet) key(ctx context.Context, t *jwt.Token) (any, error) {
	ks, wait := s.begin()
	if ks == nil || wait != nil {
		var err error
		if ks, err = s.await(ctx, wait); err != nil {
			return nil, err
		}
	}
	key, err := ks.find(ctx, t)
	if !errors.Is(err, jwkset.ErrKeyNotFound) {
		return key, err
	}
	s.mu.Lock()
	wait = s.fetchLocked()
	s.mu.Unlock()
	if ks, err = s.await(ctx, wait); err != nil {
		return nil, err
	}
	if key, err = ks.find(ctx, t); !errors.Is(err, jwkset.ErrKeyNotFound) {
		return key, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return nil, errNoKeys(err) // it may be a new key: not the client's fault
	}
	return nil, grandstand.WrapError(grandstand.CodeUnauthorized, err, "the token is signed by a key that is not known")
}

// begin returns the keys, and what to wait for before they are used.
func (s *keySet) begin() (*keys, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, s.fetchLocked()
	}
	age := s.cfg.Now().Sub(s.fetched)
	if age >= 0 && age < s.cfg.Refresh {
		return s.keys, nil
	}
	wait := s.fetchLocked()
	if age < 2*s.cfg.Refresh || s.failed {
		return s.keys, nil // good enough until the fetch ends
	}
	return s.keys, wait
}

// await waits for a fetch, if there is one, and returns the keys from then on.
func (s *keySet) await(ctx context.Context, fetch chan struct{}) (*keys, error) {
	if fetch != nil {
		select {
		case <-fetch:
		case <-ctx.Done():
			return nil, errNoKeys(ctx.Err())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errNoKeys(nil)
	}
	return s.keys, nil
}

func errNoKeys(err error) error {
	return grandstand.WrapError(grandstand.CodeUnavailable, err, "the keys that tokens are checked with cannot be fetched just now; try again soon")
}

// fetchLocked returns the end of the fetch under way. It begins one if there is
// none and the last one began RefreshUnknown ago; else it returns nil.
func (s *keySet) fetchLocked() chan struct{} {
	now := s.cfg.Now()
	since := now.Sub(s.tried)
	switch {
	case s.inFlight != nil:
		return s.inFlight
	case s.closed, !s.tried.IsZero() && since >= 0 && since < s.cfg.RefreshUnknown:
		return nil
	}
	s.tried, s.inFlight = now, make(chan struct{})
	s.done.Go(func() { s.fetch() })
	return s.inFlight
}

func (s *keySet) fetch() {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.FetchTimeout)
	defer cancel()
	ks, err := s.download(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err != nil; !s.failed {
		s.keys, s.fetched = ks, s.cfg.Now()
	} else if !s.closed {
		s.cfg.Logger.Warn("fetch of the key set failed", "url", s.cfg.JWKS, "error", err, "keeping", s.keys != nil)
	}
	close(s.inFlight)
	s.inFlight = nil
}

func (s *keySet) download(ctx context.Context) (*keys, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.JWKS, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch key set: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySetLen+1))
	if err != nil {
		return nil, fmt.Errorf("fetch key set: %w", err)
	}
	if len(body) > maxKeySetLen {
		return nil, fmt.Errorf("fetch key set: longer than %d bytes", maxKeySetLen)
	}
	return parseKeys(ctx, body)
}

// parseKeys takes the keys that can check a signature and leaves the others
// out. A set without any is an error: an error page must not lock everybody
// out.
func parseKeys(ctx context.Context, body []byte) (*keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	storage, ks := jwkset.NewMemoryStorage(), &keys{}
	for _, raw := range set.Keys[:min(len(set.Keys), maxKeySet)] {
		k, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || !usable(k) {
			continue
		}
		if err := storage.KeyWrite(ctx, k); err != nil {
			return nil, fmt.Errorf("keep key: %w", err)
		}
		ks.all = append(ks.all, k.Key())
	}
	if len(ks.all) == 0 {
		return nil, errors.New("parse key set: no key in it can check a signature")
	}
	var err error
	ks.lookup, err = keyfunc.New(keyfunc.Options{Storage: storage})
	return ks, err
}

func usable(k jwkset.JWK) bool {
	m := k.Marshal()
	if m.USE != "" && m.USE != jwkset.UseSig {
		return false
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return false
	}
	return slices.ContainsFunc(setMethods, func(alg string) bool { return fits(alg, k.Key()) })
}

// fits reports whether key is of the kind that alg is made with (RFC 7518,
// section 3.1; RFC 8037 for EdDSA).
func fits(alg string, key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return slices.Contains([]string{"RS256", "RS384", "RS512"}, alg) && bits >= minRSABits && bits <= maxRSABits
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// find returns the key that the token names, or the only one of its kind if it
// names none. The error is jwkset.ErrKeyNotFound if the set may be too old.
func (ks *keys) find(ctx context.Context, t *jwt.Token) (any, error) {
	alg := t.Method.Alg()
	if _, named := t.Header[jwkset.HeaderKID]; named {
		key, err := ks.lookup.KeyfuncCtx(ctx)(t)
		if err == nil && !fits(alg, key) {
			err = fmt.Errorf("key is not of the kind of %s", alg)
		}
		return key, err
	}
	var found []any
	for _, key := range ks.all {
		if fits(alg, key) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return nil, jwkset.ErrKeyNotFound
	case 1:
		return found[0], nil
	default:
		return nil, unauthorized("the token does not name its key (kid)")
	}
}
