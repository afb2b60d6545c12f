package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"grandstand"
)

// Identity is who a client says it is, as far as the Auth believes it. The
// receiver owns it.
type Identity struct {
	Viewer  string // "": anonymous, the device or else the session stands for the viewer
	Device  string
	Account string // "": nobody pays
	Limit   int    // streams that the account may play at a time, to grandstand.MaxStreams; 0: not said
	Plan    string // of the account, which Rules may know a limit for; "": not said
	Name    string // of the device, as the account's owner is shown it; "": not known

	// Segments are the declared values by dimension. They are not checked
	// against any event: grandstand.Fold does that.
	Segments map[string]string

	Events     []string // that the identity is good for; nil: any
	Expires    int64    // Unix ms of the wall clock; 0: never
	Session    string   // the session to resume, ?session=
	IntervalMS int64    // the beat interval declared at open, ?interval_ms=; 0: none

	Grant *Grant // of the token, for Revocations; nil: it cannot be revoked

	// Service marks a backend that acts for others: it may say for which
	// viewer, and what the limit or the plan is.
	Service bool
}

// Auth decides who may do what. Its methods may be called at the same time.
// Their errors have CodeInvalid (a request that cannot be understood),
// CodeUnauthorized, CodeForbidden or CodeUnavailable (keys cannot be fetched
// just now) and a message for the client.
type Auth interface {
	// Identify returns who asks to watch the event. It leaves the request's
	// body alone.
	Identify(r *http.Request, event string) (*Identity, error)

	// Renew checks the token of an "auth" message. It returns the identity
	// from now on; old is not changed.
	Renew(ctx context.Context, token, event string, old *Identity) (*Identity, error)

	// Admin returns nil if the request may configure and end events.
	Admin(r *http.Request) error

	// Reader returns nil if the request may read the counts of the event.
	Reader(r *http.Request, e *grandstand.Event) error
}

// AuthNone believes what the query says: for demonstrations and tests. It is
// safe for concurrent use; its fields must not change.
type AuthNone struct {
	// AdminToken allows administration from anywhere. Default: none, so that
	// only this machine may.
	AdminToken string

	// Edge knows the country of a client better than its query does. Nil:
	// nothing is known.
	Edge *Edge
}

// Identify reads viewer, device, account, limit, plan, name, session and
// interval_ms from the query. Every other parameter with the name of a dimension
// is a segment.
func (a *AuthNone) Identify(r *http.Request, _ string) (*Identity, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	id := &Identity{Segments: map[string]string{}}
	if err := id.claimQuery(q); err != nil {
		return nil, err
	}
	id.Name = deviceName(r, q)
	if err := id.resumeQuery(q); err != nil {
		return nil, err
	}
	for name, values := range q {
		if !reserved[name] && dimensionName(name) && values[0] != "" {
			id.Segments[name] = values[0]
		}
	}
	for name, v := range a.Edge.Segments(r) {
		id.Segments[name] = v
	}
	id.Service = carriesToken(r, a.AdminToken)
	return id, nil
}

// Caller returns who the query says asks, regardless of any event. Nothing is
// required, and everybody may act for others. Its errors have CodeInvalid.
func (a *AuthNone) Caller(r *http.Request) (*Identity, error) {
	q, err := query(r)
	if err != nil {
		return nil, err
	}
	id := &Identity{Service: true}
	if err := id.claimQuery(q); err != nil {
		return nil, err
	}
	id.Name = deviceName(r, q)
	return id, nil
}

// Renew returns old: without tokens there is nothing to renew.
func (a *AuthNone) Renew(_ context.Context, _, _ string, old *Identity) (*Identity, error) {
	return old, nil
}

// Admin allows this machine, and whoever has the admin token. A request that a
// proxy passed on, or that names another host (a page which rebinds its own
// name to this machine), is not of this machine.
func (a *AuthNone) Admin(r *http.Request) error {
	if carriesToken(r, a.AdminToken) || fromLoopback(r) {
		return nil
	}
	return grandstand.Errorf(grandstand.CodeForbidden, "only this machine may do that, or a request with the admin token")
}

// Reader allows everybody.
func (a *AuthNone) Reader(*http.Request, *grandstand.Event) error { return nil }

// The parameters that never name a segment.
var reserved = map[string]bool{
	"viewer": true, "device": true, "account": true, "limit": true, "plan": true, "name": true,
	"session": true, "interval_ms": true, "key": true, "token": true, traceparent: true, grandstand.World: true,
}

// maxIDLen bounds what clients call themselves, in bytes.
const maxIDLen = 256

// claimQuery takes over who the query says the client is. It keeps what is
// there already.
func (id *Identity) claimQuery(q url.Values) error {
	for name, at := range map[string]*string{"viewer": &id.Viewer, "device": &id.Device, "account": &id.Account, "plan": &id.Plan} {
		v := q.Get(name)
		if v == "" || *at != "" {
			continue
		}
		if !validID(v) {
			return grandstand.Errorf(grandstand.CodeInvalid, "%s is 1 to %d bytes of text without control characters", name, maxIDLen)
		}
		*at = v
	}
	if v := q.Get("limit"); v != "" && id.Limit == 0 {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > grandstand.MaxStreams {
			return grandstand.Errorf(grandstand.CodeInvalid, "limit is a whole number from 1 to %d", grandstand.MaxStreams)
		}
		id.Limit = n
	}
	return nil
}

// deviceName returns what the query, or else the User-Agent, calls the device.
func deviceName(r *http.Request, q url.Values) string {
	if name := grandstand.CleanDeviceName(q.Get("name")); name != "" {
		return name
	}
	return grandstand.DeviceName(r.UserAgent())
}

// resumeQuery takes over what the query says about the session.
func (id *Identity) resumeQuery(q url.Values) error {
	id.Session = q.Get("session")
	if v := q.Get("interval_ms"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return grandstand.Errorf(grandstand.CodeInvalid, "interval_ms is a whole number of milliseconds")
		}
		id.IntervalMS = n
	}
	return nil
}

// query parses the query of r. A parameter that stands twice is an error: two
// readers of it could choose differently.
func query(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "the query of the URL is not well formed")
	}
	for name, values := range q {
		if len(values) > 1 {
			return nil, grandstand.Errorf(grandstand.CodeInvalid, "the parameter %.32q stands twice in the URL", name)
		}
	}
	return q, nil
}

func validID(v string) bool {
	return len(v) > 0 && len(v) <= maxIDLen && utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl)
}

// dimensionName accepts what may name a plain dimension: [a-z][a-z0-9_]*.
func dimensionName(name string) bool {
	if len(name) == 0 || len(name) > 64 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// bearerProtocol precedes the token among the offered WebSocket subprotocols,
// the one place where a browser can put it outside the URL.
const bearerProtocol = "bearer."

// tokenOf returns the token that r carries in Authorization or in
// Sec-WebSocket-Protocol; "" if there is none. Two different ones are an error.
func tokenOf(r *http.Request) (string, error) {
	var token string
	take := func(t string) error {
		if t = strings.TrimSpace(t); t == "" || token != "" && token != t {
			return grandstand.Errorf(grandstand.CodeUnauthorized, "send one token, not an empty or a second one")
		}
		token = t
		return nil
	}
	for _, h := range r.Header.Values("Authorization") {
		scheme, t, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", grandstand.Errorf(grandstand.CodeUnauthorized, "send the token as Authorization: Bearer")
		}
		if err := take(t); err != nil {
			return "", err
		}
	}
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(h, ",") {
			t, ok := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol)
			if !ok {
				continue
			}
			if err := take(t); err != nil {
				return "", err
			}
		}
	}
	return token, nil
}

// carriesToken reports whether r carries the static token want, which is never
// so for an empty one.
func carriesToken(r *http.Request, want string) bool {
	token, err := tokenOf(r)
	return err == nil && sameSecret(token, want)
}

// sameSecret compares in a time that depends on neither: digests, so that not
// even the length shows. An empty secret equals nothing.
func sameSecret(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1 && want != ""
}

// readKeyOf reports whether ?key= is one of keys.
func readKeyOf(r *http.Request, keys []string) bool {
	got, found := r.URL.Query().Get("key"), false
	for _, k := range keys {
		found = sameSecret(got, k) || found
	}
	return found
}

// fromLoopback reports whether r was sent by a program on this machine, to this
// machine, past no proxy, and by no page of another host.
func fromLoopback(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() || !loopbackHost(r.Host) {
		return false
	}
	for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "Via"} {
		if len(r.Header.Values(h)) > 0 {
			return false
		}
	}
	for _, o := range r.Header.Values("Origin") {
		u, err := url.Parse(o)
		if err != nil || !loopbackHost(u.Host) {
			return false
		}
	}
	return true
}

func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
