package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

// RevocationStore keeps revocations for all nodes. Its errors have CodeConflict if
// there is no room, and CodeUnavailable.
type RevocationStore interface {
	// Revoke adds to what is kept. Doing so twice changes nothing. now is the
	// wall clock in Unix ms: what is not over by it is not forgotten.
	Revoke(ctx context.Context, now int64, list []grandstand.Revocation) error

	// Revocations returns all that is kept and its version, and no list if that is
	// the version that is known.
	Revocations(ctx context.Context, known int64) (list []grandstand.Revocation, version int64, err error)
}

// RevocationsConfig says how Revocations work. What has no default is required.
type RevocationsConfig struct {
	Secret []byte // keys the ids; the same on every node
	Store  RevocationStore

	// MaxLife is for how long a revocation stands: the longest that a token is
	// good for. Default 30 days, as JWTConfig.MaxLife.
	MaxLife time.Duration

	// Every is the time between two looks at the store. Default 2 s.
	Every time.Duration

	// Timeout bounds every call to the store. Default 1 s.
	Timeout time.Duration

	// Now is the wall clock: tokens say by it, not by that of Redis, when they
	// were issued and when they end. Default time.Now.
	Now func() time.Time

	Logger *slog.Logger // default: discard
}

func (c *RevocationsConfig) validate() error {
	if len(c.Secret) == 0 || c.Store == nil {
		return errors.New("revocations: Secret and Store are required")
	}
	setDefault(&c.MaxLife, 30*24*time.Hour)
	setDefault(&c.Every, 2*time.Second)
	setDefault(&c.Timeout, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Revocations know which tokens are refused though they have not expired. Each
// process keeps all of them in memory and looks for new ones every two seconds, so
// one that was made anywhere holds everywhere within three. While the store is away
// those that are known hold, and none can be made; if it lost its data, every
// process writes what it knows back. Only if all processes have stopped when the
// data is lost must they be made again.
//
// Its methods may be called at the same time; a nil Revocations revokes nothing.
type Revocations struct {
	cfg RevocationsConfig
	key grandstand.RevocationsKey

	all atomic.Pointer[map[grandstand.RevocationName]grandstand.Revocation] // what is pointed to never changes

	mu      sync.Mutex // held while all is changed
	version int64      // of the store's, that all has in it
	tell    []func()
}

// NewRevocations returns Revocations that know none yet. It starts nothing.
func NewRevocations(cfg RevocationsConfig) (*Revocations, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Revocations{cfg: cfg, key: grandstand.NewRevocationsKey(cfg.Secret), version: -1}
	r.all.Store(&map[grandstand.RevocationName]grandstand.Revocation{})
	return r, nil
}

func (r *Revocations) now() int64 { return r.cfg.Now().UnixMilli() }

// Follow has f called after every change, whoever made it.
func (r *Revocations) Follow(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = append(r.tell, f)
}

// Run looks for new revocations until ctx ends, and returns nil then.
func (r *Revocations) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	failed := false
	for {
		err := r.Load(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failed {
			r.cfg.Logger.Warn("read revocations: those that are known hold", "error", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Load looks for new revocations once, and writes back what the store lost.
func (r *Revocations) Load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	r.mu.Lock()
	known := r.version
	r.mu.Unlock()
	list, version, err := r.cfg.Store.Revocations(ctx, known)
	if err != nil {
		return err
	}
	if version == known {
		return nil
	}
	lost := r.merge(list, version)
	if len(lost) == 0 {
		return nil
	}
	return r.cfg.Store.Revoke(ctx, r.now(), lost)
}

// merge adds a list to what is known, and takes away what is over and not in it. It
// returns what the list lacks.
func (r *Revocations) merge(list []grandstand.Revocation, version int64) (lost []grandstand.Revocation) {
	now := r.now()
	r.mu.Lock()
	before := *r.all.Load()
	next := make(map[grandstand.RevocationName]grandstand.Revocation, len(list))
	for _, v := range list { // what is over, too: this clock may be ahead for a while
		next[v.Name] = v
	}
	changed := false
	for name, v := range next {
		old, known := before[name]
		changed = changed || !known || old.Before < v.Before
	}
	for name, v := range before {
		if in, ok := next[name]; v.Until > now && (!ok || in.Before < v.Before) {
			next[name] = v
			lost = append(lost, v)
		}
	}
	r.all.Store(&next)
	r.version = version
	tell := r.tell
	r.mu.Unlock()
	if changed {
		for _, f := range tell {
			f()
		}
	}
	return lost
}

// add makes a revocation, for all nodes.
func (r *Revocations) add(ctx context.Context, v grandstand.Revocation) error {
	call, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	if err := r.cfg.Store.Revoke(call, r.now(), []grandstand.Revocation{v}); err != nil {
		return err
	}
	return r.Load(ctx)
}

// Grant is what of a token a revocation may name.
type Grant struct {
	names  [3]grandstand.RevocationName // jti, sub and acc, as far as the token has them
	issued int64                        // Unix ms; 0: the token does not say
}

// grantOf returns the grant of a valid token; nil if nothing is ever revoked.
func (r *Revocations) grantOf(mc jwt.MapClaims) *Grant {
	if r == nil {
		return nil
	}
	g := &Grant{}
	for i, kind := range []grandstand.RevocationKind{grandstand.RevokeToken, grandstand.RevokeViewer, grandstand.RevokeAccount} {
		id, _ := mc[string(kind)].(string)
		g.names[i] = r.key.Name(kind, id)
	}
	if at, ok := mc["iat"].(float64); ok {
		g.issued = int64(at * 1000) // bounded by checkTimes
	}
	return g
}

// revoked reports whether the token of a grant is refused by now.
func (r *Revocations) revoked(g *Grant) bool {
	if r == nil || g == nil {
		return false
	}
	all, now := *r.all.Load(), r.now()
	if v := all[grandstand.RevocationName{Kind: grandstand.RevokeAll}]; v.Until > now && g.issued < v.Before {
		return true
	}
	for _, name := range g.names {
		if name.Key.IsZero() {
			continue
		}
		if v := all[name]; v.Until > now && (name.Kind == grandstand.RevokeToken || g.issued < v.Before) {
			return true
		}
	}
	return false
}

const (
	maxRevokeBytes = 4 << 10
	revokeAheadMS  = 60_000                     // that "before" may be: clocks of issuers differ
	revokeUntilMS  = 366 * 24 * int64(3600_000) // that "until" may be ahead
)

// revocationBody is the body of PUT /v1/revocations: one of the first four.
type revocationBody struct {
	Token   string `json:"jti"`
	Viewer  string `json:"sub"`
	Account string `json:"acc"`
	All     bool   `json:"all"`

	// Before is the time before which the tokens were issued, in Unix ms. Default
	// now: whoever signs in again is let in. A token that does not say when it was
	// issued (iat) was issued before all times.
	Before int64 `json:"before"`

	// Until is when the revocation is forgotten, in Unix ms. Default in 30 days:
	// no token that says when it was issued is good for longer.
	Until int64 `json:"until"`
}

func (b *revocationBody) revocation(r *Revocations) (v grandstand.Revocation, err error) {
	now, n := r.now(), 0
	for _, by := range []struct {
		kind grandstand.RevocationKind
		id   string
	}{{grandstand.RevokeToken, b.Token}, {grandstand.RevokeViewer, b.Viewer}, {grandstand.RevokeAccount, b.Account}} {
		if by.id == "" {
			continue
		}
		if n++; !validID(by.id) {
			return v, grandstand.Errorf(grandstand.CodeInvalid, "%s is 1 to %d bytes of text without control characters", by.kind, maxIDLen)
		}
		v.Name = r.key.Name(by.kind, by.id)
	}
	if b.All {
		n++
		v.Name = grandstand.RevocationName{Kind: grandstand.RevokeAll}
	}
	if n != 1 {
		return v, grandstand.Errorf(grandstand.CodeInvalid, "name one of jti, sub and acc, or say that all is true")
	}
	if v.Before = b.Before; v.Before == 0 {
		v.Before = now
	}
	if v.Until = b.Until; v.Until == 0 {
		v.Until = now + r.cfg.MaxLife.Milliseconds()
	}
	if v.Before < 0 || v.Before > now+revokeAheadMS || v.Until <= now || v.Until > now+revokeUntilMS {
		return v, grandstand.Errorf(grandstand.CodeInvalid, "before is at most a minute ahead, until in the year to come; both in Unix ms")
	}
	return v, nil
}

// putRevocation answers PUT /v1/revocations. It asks for admin rights, and answers
// once the revocation is kept for all nodes and holds here.
func (g *Gateway) putRevocation(w http.ResponseWriter, r *http.Request) {
	v, err := g.revoke(r)
	if err != nil {
		g.fail(w, "revocations", err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"kind": v.Name.Kind, "before": v.Before, "until": v.Until})
}

func (g *Gateway) revoke(r *http.Request) (v grandstand.Revocation, err error) {
	if err := g.cfg.Auth.Admin(r); err != nil {
		return v, err
	}
	if g.cfg.Revocations == nil {
		return v, grandstand.Errorf(grandstand.CodeInvalid, "there are no tokens here that could be revoked")
	}
	text, err := readBody(r, maxRevokeBytes)
	if err != nil {
		return v, err
	}
	var body revocationBody
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil || d.More() {
		return v, grandstand.WrapError(grandstand.CodeInvalid, err, `the body is not one JSON object such as {"sub":"viewer-1"}`)
	}
	if v, err = body.revocation(g.cfg.Revocations); err != nil {
		return v, err
	}
	return v, g.cfg.Revocations.add(r.Context(), v)
}

// closeRevoked closes every socket whose token was revoked.
func (g *Gateway) closeRevoked() {
	for _, r := range g.allRooms() {
		for _, c := range r.sockets() {
			c.closeIfRevoked()
		}
	}
}

// grant takes over the grant of a new token, which may have been revoked since it
// was believed.
func (c *conn) grant(g *Grant) {
	c.session.mu.Lock()
	c.granted = g
	c.session.mu.Unlock()
	c.closeIfRevoked()
}

func (c *conn) closeIfRevoked() {
	c.session.mu.Lock()
	granted := c.granted
	c.session.mu.Unlock()
	if c.g.cfg.Revocations.revoked(granted) {
		c.w.close(closeBadToken)
	}
}
