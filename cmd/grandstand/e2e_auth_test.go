package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"grandstand/redis/redistest"
)

const (
	jwtSecret  = "an HS256 secret of 32 bytes or more"
	adminToken = "the admin token of the tests"
	readKey    = "a-read-key"
)

// issuer signs tokens and serves the key set that they are checked with.
type issuer struct {
	t      *testing.T
	ec     *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	keySet atomic.Pointer[[]byte]
	url    string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, ec: ec, ed: ed}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(*i.keySet.Load()) }))
	t.Cleanup(server.Close)
	i.url = server.URL
	i.serve(i.ecKey("ec-1"), i.edKey("ed-1"))
	return i
}

type jwk map[string]string

func (i *issuer) ecKey(kid string) jwk {
	point, err := i.ec.PublicKey.Bytes() // 4, x, y
	if err != nil {
		i.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return jwk{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": b64(point[1:33]), "y": b64(point[33:])}
}

func (i *issuer) edKey(kid string) jwk {
	return jwk{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid,
		"x": base64.RawURLEncoding.EncodeToString(i.ed.Public().(ed25519.PublicKey))}
}

func (i *issuer) serve(keys ...jwk) {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		i.t.Fatal(err)
	}
	i.keySet.Store(&b)
}

// good are the claims of a viewer of the event "final", changed by pairs; nil
// takes a claim away.
func good(changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "v1", "dev": "d1", "evt": "final", "seg": map[string]string{"team": "KC"}, "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

func (i *issuer) sign(method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	i.t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

func (i *issuer) hs(changes ...any) string {
	return i.sign(jwt.SigningMethodHS256, []byte(jwtSecret), "", good(changes...))
}

func (i *issuer) es(kid string, changes ...any) string {
	return i.sign(jwt.SigningMethodES256, i.ec, kid, good(changes...))
}

// startJWT starts the path with --auth jwt.
func startJWT(t *testing.T, i *issuer) *process {
	t.Helper()
	redis := redistest.StartServer(t).URL()
	startAggregator(t, "aggregator", redis, "--min-cohort", "10")
	return startGateway(t, "gateway", redis, "--auth", "jwt", "--jwks-url", i.url, "--jwt-secret", jwtSecret, "--admin-token", adminToken, "--read-keys", readKey)
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// configure puts an event with the admin token.
func configure(t *testing.T, g *process, event, body string) {
	t.Helper()
	if status, text := request(t, http.MethodPut, g.url+"/v1/events/"+event, body, bearer(adminToken)); status != http.StatusOK {
		t.Fatalf("PUT answers %d %s", status, text)
	}
}

// open dials as a browser does, with the token as a subprotocol.
func open(t *testing.T, g *process, path, token string) (*websocket.Conn, int) {
	t.Helper()
	options := &websocket.DialOptions{Subprotocols: []string{"grandstand.v1"}}
	if token != "" {
		options.Subprotocols = append(options.Subprotocols, "bearer."+token)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, strings.Replace(g.url, "http", "ws", 1)+path, options)
	if resp == nil {
		t.Fatal(err)
	}
	if c != nil {
		t.Cleanup(func() { c.CloseNow() })
		if c.Subprotocol() != "grandstand.v1" {
			t.Errorf("the subprotocol is %q", c.Subprotocol())
		}
	}
	return c, resp.StatusCode
}

const finalLive = "/v1/events/final/live"

func TestTokens(t *testing.T) {
	beside(t) // it mostly waits
	i := newIssuer(t)
	g := startJWT(t, i)
	configure(t, g, "final", fast)
	configure(t, g, "open", `{"public":true}`)
	public, err := x509.MarshalPKIXPublicKey(&i.ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	now := time.Now()
	valid := i.es("ec-1")
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"ES256":                       {valid, 101},
		"EdDSA":                       {i.sign(jwt.SigningMethodEdDSA, i.ed, "ed-1", good()), 101},
		"HS256":                       {i.hs(), 101},
		"a list of events":            {i.hs("evt", []string{"semi", "final"}), 101},
		"any event":                   {i.hs("evt", nil), 101},
		"none":                        {"", 401},
		"expired":                     {i.hs("exp", now.Add(-time.Second).Unix()), 401},
		"without exp":                 {i.hs("exp", nil), 401},
		"not valid yet":               {i.hs("nbf", now.Add(time.Hour).Unix()), 401},
		"alg none":                    {i.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good()), 401},
		"alg None, by hand":           {base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)) + strings.TrimLeft(valid, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"), 401},
		"forged":                      {i.sign(jwt.SigningMethodES256, other, "ec-1", good()), 401},
		"other HS secret":             {i.sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", good()), 401},
		"public key as secret":        {i.sign(jwt.SigningMethodHS256, publicPEM, "ec-1", good()), 401},
		"public key's bytes":          {i.sign(jwt.SigningMethodHS256, public, "", good()), 401},
		"empty secret":                {i.sign(jwt.SigningMethodHS256, []byte{}, "", good()), 401},
		"HS512":                       {i.sign(jwt.SigningMethodHS512, []byte(jwtSecret), "", good()), 401},
		"EdDSA key named by an ES256": {i.es("ed-1"), 401},
		"cut":                         {valid[:len(valid)-4], 401},
		"payload changed":             {strings.Replace(valid, ".", ".e30", 1), 401},
		"another event":               {i.hs("evt", "semi"), 403},
		"no event":                    {i.hs("evt", []string{}), 403},
	} {
		if _, status := open(t, g, finalLive, c.token); status != c.want {
			t.Errorf("%s: a socket with the token as subprotocol is answered %d, want %d", name, status, c.want)
		}
		if c.token == "" {
			continue
		}
		want := c.want
		if want == http.StatusSwitchingProtocols {
			want = http.StatusOK
		}
		if status, text := request(t, http.MethodPost, g.url+"/v1/events/final/beats", `{"state":"ended"}`, bearer(c.token)); status != want {
			t.Errorf("%s: a beat with the token in Authorization is answered %d %s, want %d", name, status, text, want)
		}
	}
	for _, query := range []string{"?token=", "?access_token=", "?bearer=", "?jwt=", "?key="} {
		if _, status := open(t, g, finalLive+query+valid, ""); status != http.StatusUnauthorized {
			t.Errorf("a socket with %s is answered %d, want 401", query, status)
		}
	}
	if _, status := open(t, g, finalLive+"?viewer=v1&device=d1&team=KC", ""); status != http.StatusUnauthorized {
		t.Errorf("a socket with an identity in the query is answered %d, want 401", status)
	}
	eventually(t, 10*time.Second, "there is a board", func() error {
		if status, text := request(t, "GET", g.url+"/v1/events/final/counts?key="+readKey, "", nil); status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	t.Run("rights", func(t *testing.T) { rights(t, g, i) })
	t.Run("time", func(t *testing.T) {
		t.Run("rotation", func(t *testing.T) { t.Parallel(); rotation(t, g, i) })
		t.Run("renewal", func(t *testing.T) { t.Parallel(); renewal(t, g, i) })
	})
}

// rights checks who may do what.
func rights(t *testing.T, g *process, i *issuer) {
	viewer, scoped := bearer(i.hs()), bearer(i.hs("scope", "other admin"))
	for _, c := range []struct {
		method, path, body string
		header             http.Header
		want               int
	}{
		{"PUT", "/v1/events/new", `{}`, nil, 401},
		{"PUT", "/v1/events/new", `{}`, viewer, 403},
		{"PUT", "/v1/events/new?key=" + readKey, `{}`, nil, 401},
		{"PUT", "/v1/events/new", `{}`, scoped, 200},
		{"DELETE", "/v1/events/new", "", viewer, 403},
		{"DELETE", "/v1/events/new", "", bearer("no"), 401},
		{"DELETE", "/v1/events/new", "", bearer(adminToken), 200},
		{"GET", "/v1/events/final/counts", "", nil, 401},
		{"GET", "/v1/events/final/counts", "", viewer, 200},
		{"GET", "/v1/events/final/counts", "", bearer(i.hs("evt", "semi")), 403},
		{"GET", "/v1/events/final/counts?key=" + readKey, "", nil, 200},
		{"GET", "/v1/events/final/counts?key=wrong", "", nil, 401},
		{"GET", "/v1/events/final/counts?key=", "", nil, 401},
		{"GET", "/v1/events/final/history", "", nil, 401},
		{"GET", "/v1/events/final/history?key=" + readKey, "", nil, 200},
		{"GET", "/v1/events/final/counts/stream", "", nil, 401},
		{"GET", "/v1/events/final", "", nil, 401},
		{"GET", "/v1/events/open/counts", "", nil, 200},
		{"GET", "/v1/events/open/history", "", nil, 200},
		{"GET", "/v1/events/open/live", "", nil, 401},
		{"GET", finalLive + "?key=" + readKey, "", nil, 401},
		{"POST", "/v1/events/open/beats", `{"state":"playing"}`, nil, 401},
		{"POST", "/v1/events/final/beats", `{"state":"playing","viewer":"somebody-else"}`, viewer, 403},
		{"POST", "/v1/events/final/beats", `{"state":"playing","seg":{"team":"SF"}}`, viewer, 403},
		{"POST", "/v1/events/final/beats", `{"state":"ended","viewer":"somebody-else"}`, bearer(i.hs("scope", "service")), 200},
		{"GET", "/v1/events/unknown/live", "", bearer(i.hs("evt", nil)), 404},
	} {
		if status, text := request(t, c.method, g.url+c.path, c.body, c.header); status != c.want {
			t.Errorf("%s %s %s is answered %d %s, want %d", c.method, c.path, c.body, status, text, c.want)
		}
	}
	for header, want := range map[string]int{"": 1, "Bearer " + i.hs("evt", "final"): 2, "Bearer " + adminToken: 3} {
		_, text := request(t, "GET", g.url+"/v1/events", "", http.Header{"Authorization": {header}})
		if header == "" {
			_, text = request(t, "GET", g.url+"/v1/events", "", nil)
		}
		var list []struct{ Event string }
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != want {
			t.Errorf("%.12s… sees %s, want %d events", header, text, want)
		}
	}
}

// rotation replaces the keys of the set.
func rotation(t *testing.T, g *process, i *issuer) {
	before := i.es("ec-1")
	i.serve(i.ecKey("ec-2"), i.edKey("ed-1"))
	eventually(t, 30*time.Second, "the new key is found", func() error {
		if _, status := open(t, g, finalLive, i.es("ec-2")); status != http.StatusSwitchingProtocols {
			return fmt.Errorf("status %d", status)
		}
		return nil
	})
	if _, status := open(t, g, finalLive, before); status != http.StatusUnauthorized {
		t.Errorf("a key that was taken back is answered %d, want 401", status)
	}
}

// renewal lets tokens run out, with and without a new one in time.
func renewal(t *testing.T, g *process, i *issuer) {
	life := func(d time.Duration) []any { return []any{"exp", time.Now().Add(d).Unix()} }
	text := func(c *websocket.Conn, s string) {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(s)); err != nil {
			t.Errorf("write %.20s: %v", s, err)
		}
	}
	// until reads until a message has the text; it returns the close code if the
	// socket ends before.
	until := func(c *websocket.Conn, want string, d time.Duration) websocket.StatusCode {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return websocket.CloseStatus(err)
			}
			if want != "" && strings.Contains(string(b), want) {
				return 0
			}
		}
	}
	auth := func(token string) string { return `{"t":"auth","token":"` + token + `"}` }
	for name, c := range map[string]struct {
		first  time.Duration // of the token at the beginning
		answer string        // to "renew"; "": none
		want   websocket.StatusCode
	}{
		"in time":       {50 * time.Second, i.hs(), 0},
		"late but good": {6 * time.Second, i.hs(), 0},
		"not renewed":   {4 * time.Second, "", 4002},
		"expired":       {50 * time.Second, i.hs("exp", time.Now().Add(-time.Minute).Unix()), 4501},
		"another's":     {50 * time.Second, i.hs("sub", "v2"), 4501},
		"other event":   {50 * time.Second, i.hs("evt", "semi"), 4503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket, status := open(t, g, finalLive, i.hs(life(c.first)...))
			if status != http.StatusSwitchingProtocols {
				t.Fatalf("status %d", status)
			}
			keepBeating(t, socket)
			if code := until(socket, `"renew"`, 10*time.Second); code != 0 {
				t.Fatalf("closed with %d before it was asked to renew", code)
			}
			if c.answer == "" {
				if code := until(socket, "", 15*time.Second); code != c.want {
					t.Errorf("closed with %d, want %d", code, c.want)
				}
				return
			}
			text(socket, auth(c.answer))
			if code := until(socket, `{"t":"ok","re":"auth"}`, 10*time.Second); code != c.want {
				t.Fatalf("closed with %d, want %d", code, c.want)
			}
			if c.want == 0 && c.first < 10*time.Second {
				<-time.After(c.first + 3*time.Second) // past the end of the first token
				text(socket, auth(i.hs()))
				if code := until(socket, `{"t":"ok","re":"auth"}`, 10*time.Second); code != 0 {
					t.Errorf("closed with %d although it had a new token", code)
				}
			}
		})
	}
}

// What is smaller than min_cohort is shown to operators only, in counts, streams,
// frames and history, also in an event that leaves min_cohort to the deployment.
func TestSmallSegmentsAreForOperators(t *testing.T) {
	beside(t) // it mostly waits
	i := newIssuer(t)
	g := startJWT(t, i)
	configure(t, g, "final", `{"dims":["team"],"tick_ms":1000,"public":true}`)
	var frames <-chan []byte
	join := func(n int, team string) {
		for k := range n {
			header := bearer(i.hs("sub", fmt.Sprint(team, k), "dev", nil, "seg", map[string]string{"team": team}))
			ctx, cancel := context.WithCancel(context.Background())
			t.Cleanup(cancel)
			c, _, err := websocket.Dial(ctx, strings.Replace(g.url, "http", "ws", 1)+finalLive+"?interval_ms=60000", &websocket.DialOptions{HTTPHeader: header})
			if err != nil {
				t.Fatal(err)
			}
			out := make(chan []byte, 256)
			frames = out
			go func() {
				for {
					_, b, err := c.Read(ctx)
					if err != nil {
						return
					}
					out <- b
				}
			}()
		}
	}
	join(20, "KC")
	join(11, "NY")
	join(3, "SF") // frames are of one of these
	teams := func(path string, header http.Header) map[string]count {
		_, text := request(t, "GET", g.url+"/v1/events/final/"+path, "", header)
		c, err := parseCounts([]byte(text))
		if err != nil {
			return nil // there is no board yet
		}
		return c.dim(t, "team")
	}
	admin := bearer(adminToken)
	eventually(t, 20*time.Second, "operators see all teams", func() error {
		if m := teams("counts", admin); m["SF"].Sessions != 3 || m["KC"].Sessions != 20 || m["NY"].Sessions != 11 {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
	m := teams("counts", nil)
	if _, shown := m["SF"]; shown || m["KC"].Sessions != 20 || m["other"].Sessions != 14 {
		t.Errorf("the public sees %+v, want KC 20 and other 14", m)
	}
	if _, text := request(t, "GET", g.url+"/v1/events/final/counts?segment=team:SF", "", nil); !strings.Contains(text, `{"team":{"SF":null}}`) {
		t.Errorf("asked for the small team the public sees %s", text)
	}
	if b := <-sse(t, g.url+"/v1/events/final/counts/stream"); strings.Contains(string(b), `"SF"`) || strings.Contains(string(b), `"NY"`) {
		t.Errorf("the stream shows the public %s", b)
	}
	for deadline := time.After(20 * time.Second); ; {
		select {
		case b := <-frames:
			if !strings.Contains(string(b), `"world":[34,34]`) {
				continue
			}
			if !strings.Contains(string(b), `"team":null`) {
				t.Errorf("a fan of the small team is shown %s", b)
			}
		case <-deadline:
			t.Fatal("no frame shows all of the world")
		}
		break
	}
	var span string
	points := func(segment string, header http.Header) []*[3]int64 {
		_, text := request(t, "GET", g.url+"/v1/events/final/history?segment="+segment+span, "", header)
		var s struct{ Points []*[3]int64 }
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return s.Points
	}
	now := -1 // the point at which all were there
	eventually(t, 40*time.Second, "history has the world of now", func() error {
		to := time.Now().UnixMilli()
		span = fmt.Sprintf("&from=%d&to=%d&step=10000", to-300_000, to)
		list := points("world", nil)
		now = slices.IndexFunc(list, func(p *[3]int64) bool { return p != nil && p[1] == 34 && p[2] == 34 })
		if now < 0 {
			return errNotYet
		}
		return nil
	})
	last := func(segment string, header http.Header) string {
		if p := points(segment, header)[now]; p != nil {
			return fmt.Sprint(p[1], p[2])
		}
		return "none"
	}
	for segment, want := range map[string][2]string{"team:KC": {"20 20", "20 20"}, "team:NY": {"none", "11 11"}, "team:SF": {"none", "3 3"}, "team:other": {"14 14", "0 0"}} {
		if got := [2]string{last(segment, nil), last(segment, admin)}; got != want {
			t.Errorf("history of %s is %s for the public, %s for operators; want %s", segment, got[0], got[1], want)
		}
	}
}
