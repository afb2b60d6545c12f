package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

// JWTConfig says which tokens are believed. Secret or JWKS must be set; with
// both, HS256 tokens are checked by the secret and all others by the key set.
type JWTConfig struct {
	// Secret signs HS256 tokens; at least 32 bytes (RFC 7518, section 3.2).
	Secret []byte

	// JWKS is the URL of a JSON Web Key Set (RFC 7517) with the keys of RS256,
	// RS384, RS512 (2048 bits and more), ES256, ES384, ES512 and EdDSA
	// (Ed25519) tokens.
	JWKS string

	// Audience, Issuer: if set, "aud" must hold one of these, and "iss" be
	// this. Default: neither is looked at.
	Audience []string
	Issuer   string

	// MaxLife is how far ahead "exp" may be, of now and of "iat". Default 30 days.
	MaxLife time.Duration

	// Leeway is how far "nbf" and "iat" may be ahead of our clock. Default 30 s.
	Leeway time.Duration

	// AdminToken is a static bearer token with admin and service rights.
	// Default: none.
	AdminToken string

	// ReadKeys are the values of ?key= that may read counts. Default: none.
	ReadKeys []string

	// Revocations know which tokens are refused though they have not expired.
	// Default: none.
	Revocations *Revocations

	// Edge knows the country of a client whose token names none. Nil: nothing
	// is known.
	Edge *Edge

	// Client fetches the key set. Default: a client of its own. Each fetch
	// ends after FetchTimeout, default 5 s.
	Client       *http.Client
	FetchTimeout time.Duration

	// Refresh is the age at which the key set is fetched again. Default 10
	// minutes. RefreshUnknown is the least time between two fetches, for a key
	// that is not in the set or after a failure. Default 10 s.
	Refresh        time.Duration
	RefreshUnknown time.Duration

	// Now is the wall clock. Default time.Now.
	Now func() time.Time

	// Logger is told about failed fetches. Nil: nobody is.
	Logger *slog.Logger
}

func (c *JWTConfig) validate() error {
	if len(c.Secret) == 0 && c.JWKS == "" {
		return errors.New("jwt: a secret or the URL of a key set is needed")
	}
	if len(c.Secret) > 0 && len(c.Secret) < 32 {
		return errors.New("jwt: the secret has fewer than 32 bytes")
	}
	if c.JWKS != "" {
		u, err := url.Parse(c.JWKS)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return errors.New("jwt: the URL of the key set is no http or https URL")
		}
	}
	setDefault(&c.MaxLife, 30*24*time.Hour)
	setDefault(&c.Leeway, 30*time.Second)
	setDefault(&c.FetchTimeout, 5*time.Second)
	setDefault(&c.Refresh, 10*time.Minute)
	setDefault(&c.RefreshUnknown, 10*time.Second)
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// JWT believes signed tokens (RFC 7519). Its methods may be called at the same
// time; Close waits for a fetch that is under way.
type JWT struct {
	cfg    JWTConfig
	parser *jwt.Parser
	keys   *keySet // nil without a JWKS URL
}

// The algorithms of a key set. HS256 is not among them: a public key must never
// serve as a secret.
var setMethods = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}

// NewJWT checks the configuration. It fetches nothing yet: the first token
// does.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var methods []string
	j := &JWT{cfg: cfg}
	if len(cfg.Secret) > 0 {
		methods = append(methods, "HS256")
	}
	if cfg.JWKS != "" {
		methods = append(methods, setMethods...)
		j.keys = newKeySet(&j.cfg)
	}
	j.parser = jwt.NewParser(
		jwt.WithValidMethods(methods),
		jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // claims.check does it, in our words
	)
	return j, nil
}

// Close ends a fetch of the key set that is under way. The JWT goes on with the
// keys that it has.
func (j *JWT) Close() {
	if j.keys != nil {
		j.keys.close()
	}
}

// Identify believes the token of the request, and the edge for a country or a
// region that the token does not name. A service may name in the query whom it
// acts for.
func (j *JWT) Identify(r *http.Request, event string) (*Identity, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(r)
	if err != nil {
		return nil, err
	}
	id := &Identity{Segments: map[string]string{}, Service: true}
	if !sameSecret(token, j.cfg.AdminToken) {
		if id, err = j.identity(r.Context(), token, event); err != nil {
			return nil, err
		}
	}
	if err := id.asked(r, q); err != nil {
		return nil, err
	}
	if !id.Service { // the edge would only know where the backend stands
		for dim, v := range j.cfg.Edge.Segments(r) {
			if _, named := id.Segments[dim]; !named {
				id.Segments[dim] = v
			}
		}
	}
	if err := id.resumeQuery(q); err != nil {
		return nil, err
	}
	return id, nil
}

// Caller returns who asks, regardless of an event: the token's evt is in Events
// and not checked. A service may name in the query whom it acts for. Its errors
// are those of Identify.
func (j *JWT) Caller(r *http.Request) (*Identity, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	token, err := tokenOf(r)
	if err != nil {
		return nil, err
	}
	id := &Identity{Segments: map[string]string{}, Service: true}
	if !sameSecret(token, j.cfg.AdminToken) {
		c, err := j.parse(r.Context(), token)
		if err != nil {
			return nil, err
		}
		id = &c.id
	}
	if err := id.asked(r, q); err != nil {
		return nil, err
	}
	return id, nil
}

// asked takes over what the request may say of who the token is for: the name
// of the device, and for a service all of it.
func (id *Identity) asked(r *http.Request, q url.Values) error {
	if !id.Service {
		id.Name = deviceName(r, q)
		return nil
	}
	id.Name = grandstand.CleanDeviceName(q.Get("name")) // the User-Agent is the backend's
	return id.claimQuery(q)
}

// Renew accepts a token of the same viewer, account and device.
func (j *JWT) Renew(ctx context.Context, token, event string, old *Identity) (*Identity, error) {
	id, err := j.identity(ctx, token, event)
	if err != nil {
		return nil, err
	}
	if id.Service && id.Viewer == "" && id.Account == "" && id.Device == "" && old.Service {
		id.Viewer, id.Account, id.Device = old.Viewer, old.Account, old.Device
		id.Limit, id.Plan = old.Limit, old.Plan
	}
	if id.Viewer != old.Viewer || id.Account != old.Account || id.Device != old.Device {
		return nil, unauthorized("the new token is for another viewer, account or device")
	}
	segments := maps.Clone(old.Segments)
	if segments == nil {
		segments = map[string]string{}
	}
	maps.Copy(segments, id.Segments)
	id.Segments, id.Session, id.IntervalMS, id.Name = segments, old.Session, old.IntervalMS, old.Name
	return id, nil
}

// Admin asks for the scope "admin" or the admin token.
func (j *JWT) Admin(r *http.Request) error {
	token, err := tokenOf(r)
	if err != nil {
		return err
	}
	if sameSecret(token, j.cfg.AdminToken) {
		return nil
	}
	c, err := j.parse(r.Context(), token)
	if err != nil {
		return err
	}
	if !c.scope["admin"] {
		return grandstand.Errorf(grandstand.CodeForbidden, "the token does not have the scope admin")
	}
	return nil
}

// Reader asks for a public event, a read key, or a token that is good for the
// event.
func (j *JWT) Reader(r *http.Request, e *grandstand.Event) error {
	if e.Public || readKeyOf(r, j.cfg.ReadKeys) {
		return nil
	}
	token, err := tokenOf(r)
	if err != nil || sameSecret(token, j.cfg.AdminToken) {
		return err
	}
	_, err = j.identity(r.Context(), token, e.Name)
	return err
}

func (j *JWT) identity(ctx context.Context, token, event string) (*Identity, error) {
	c, err := j.parse(ctx, token)
	if err != nil {
		return nil, err
	}
	if c.id.Events != nil && !slices.Contains(c.id.Events, event) {
		return nil, grandstand.Errorf(grandstand.CodeForbidden, "the token is not for this event")
	}
	return &c.id, nil
}

// The bounds of a token that is looked at at all, checked before anything is
// decoded.
const (
	maxTokenLen  = 8 << 10
	maxTokenDots = 2
)

func (j *JWT) parse(ctx context.Context, token string) (*claims, error) {
	switch {
	case token == "":
		return nil, unauthorized("a token is needed: as Authorization: Bearer, or as the WebSocket subprotocol bearer.<token>")
	case len(token) > maxTokenLen:
		return nil, unauthorized("the token is longer than 8 KiB")
	case strings.Count(token, ".") > maxTokenDots, strings.ContainsAny(token, "\r\n"): // which decoders of base64 skip
		return nil, unauthorized("the token is not a signed JWT")
	}
	mc := jwt.MapClaims{}
	_, err := j.parser.ParseWithClaims(token, mc, func(t *jwt.Token) (any, error) { return j.keyOf(ctx, t) })
	var e *grandstand.Error
	switch {
	case errors.As(err, &e):
		return nil, e
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, grandstand.WrapError(grandstand.CodeUnauthorized, err, "the token is not a signed JWT")
	case err != nil:
		return nil, grandstand.WrapError(grandstand.CodeUnauthorized, err, "the token's signature does not hold")
	}
	if _, payload, _ := strings.Cut(token, "."); !unambiguous(payload) {
		return nil, unauthorized("the token says something twice, or is nested too deeply")
	}
	c, err := j.check(mc)
	if err != nil {
		return nil, err
	}
	c.id.Grant = j.cfg.Revocations.grantOf(mc)
	if j.cfg.Revocations.revoked(c.id.Grant) {
		return nil, unauthorized("the token was revoked")
	}
	return c, nil
}

// keyOf returns the key that must have signed t. The algorithm says where to
// look, the kind of key found there must be the algorithm's. What else the header
// says of keys (jku, jwk, x5u, x5c) is not read.
func (j *JWT) keyOf(ctx context.Context, t *jwt.Token) (any, error) {
	if !unambiguous(t.Raw) {
		return nil, unauthorized("the token says something twice, or is nested too deeply")
	}
	if _, ok := t.Header["crit"]; ok {
		// RFC 7515, section 4.1.11: not understood, hence refused.
		return nil, unauthorized("the token uses an extension that is not supported")
	}
	if typ, ok := t.Header["typ"]; ok && !accessType(typ) {
		// RFC 8725, section 3.11: what the same issuer signed for another purpose,
		// such as a logout, is not a token.
		return nil, unauthorized("the token is of another type: typ is JWT or at+jwt")
	}
	if t.Method.Alg() == "HS256" {
		return j.cfg.Secret, nil // WithValidMethods: only if there is one
	}
	return j.keys.key(ctx, t)
}

// accessType reports whether a token of this type lets its holder in (RFC 7519,
// 5.1; RFC 9068, 2.1). Media types are the same in all cases, with and without
// "application/".
func accessType(typ any) bool {
	text, _ := typ.(string)
	text = strings.ToLower(text)
	return slices.Contains([]string{"jwt", "at+jwt"}, strings.TrimPrefix(text, "application/"))
}

// maxNesting is how deep objects and lists may stand in each other in a token.
const maxNesting = 16

// unambiguous reports whether the first part of a token is one JSON text that says
// nothing twice: of two members of the same name readers believe different ones.
func unambiguous(token string) bool {
	part, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return err == nil && onceEach(json.NewDecoder(bytes.NewReader(text)), maxNesting)
}

// onceEach reads one value, and reports whether in none of its objects two members
// have the same name.
func onceEach(d *json.Decoder, depth int) bool {
	t, err := d.Token()
	open, nested := t.(json.Delim)
	if err != nil || !nested || depth == 0 {
		return err == nil && !nested
	}
	names := map[json.Token]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil || names[name] {
				return false
			}
			names[name] = true
		}
		if !onceEach(d, depth-1) {
			return false
		}
	}
	_, err = d.Token() // the end
	return err == nil
}

func unauthorized(message string) error {
	return grandstand.Errorf(grandstand.CodeUnauthorized, "%s", message)
}
