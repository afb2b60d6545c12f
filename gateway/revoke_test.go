package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

// fakeStore keeps revocations as Redis does.
type fakeStore struct {
	mu      sync.Mutex
	err     error
	version int64
	all     map[grandstand.RevocationName]grandstand.Revocation
}

func (f *fakeStore) Revoke(_ context.Context, _ int64, list []grandstand.Revocation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.all == nil {
		f.all = map[grandstand.RevocationName]grandstand.Revocation{}
	}
	for _, v := range list {
		old := f.all[v.Name]
		v.Before, v.Until = max(v.Before, old.Before), max(v.Until, old.Until)
		if v != old {
			f.all[v.Name] = v
			f.version = max(f.version+1, time.Now().UnixMilli())
		}
	}
	return nil
}

func (f *fakeStore) Revocations(_ context.Context, known int64) (list []grandstand.Revocation, version int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.version == known {
		return nil, f.version, f.err
	}
	for _, v := range f.all {
		list = append(list, v)
	}
	return list, f.version, nil
}

func (f *fakeStore) fail(err error) {
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
}

func (f *fakeStore) flush() {
	f.mu.Lock()
	f.all, f.version = nil, 0
	f.mu.Unlock()
}

// revokedFor is shorter than it should be: a bubble with gateways ticks.
const revokedFor = 2 * time.Minute

func newRevocations(t *testing.T, store RevocationStore) *Revocations {
	t.Helper()
	r, err := NewRevocations(RevocationsConfig{Secret: []byte("0123456789abcdef"), Store: store, MaxLife: revokedFor})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRevocationsReachSockets: whoever watches is closed with 4501, wherever the
// revocation was made, and does not come back with the same token.
func TestRevocationsReachSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gateway := func() (*rig, *Revocations) {
			r := newRevocations(t, store)
			j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: "admin", Revocations: r, Now: time.Now})
			go r.Run(ctx)
			rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Revocations = j, r }})
			time.Sleep(10 * time.Millisecond)
			return rg, r
		}
		a, _ := gateway()
		b, _ := gateway()
		issued := time.Now().Unix() - 10
		claims := func(changes ...any) http.Header {
			return http.Header{"Authorization": {"Bearer " + hs(t, append([]any{"exp", time.Now().Unix() + 3600, "iat", issued}, changes...)...)}}
		}
		watch := func(rg *rig, changes ...any) *viewer {
			t.Helper()
			v, err := rg.try("final", "interval_ms=60000", claims(changes...))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		refused := func(rg *rig, want bool, changes ...any) {
			t.Helper()
			v, err := rg.try("final", "", claims(changes...))
			if (err != nil) != want {
				t.Errorf("%v: %v", changes, err)
			}
			if err == nil {
				v.leave()
			}
		}
		revoke := func(body string, want int) {
			t.Helper()
			if status, text := a.admin(http.MethodPut, "/v1/revocations", body); status != want {
				t.Errorf("PUT %s: %d %s, want %d", body, status, text, want)
			}
		}

		here, there := watch(a, "sub", "v1", "jti", "t1"), watch(b, "sub", "v1", "jti", "t2")
		acc, other := watch(b, "sub", "v2", "acc", "a2"), watch(b, "sub", "v3", "acc", "a3", "jti", "t3")
		revoke(`{"sub":"v1"}`, 200)
		here.wantClose(4501, time.Second)
		there.wantClose(4501, 4*time.Second)
		refused(a, true, "sub", "v1")
		refused(b, true, "sub", "v1")
		refused(b, true, "sub", "v1", "iat", nil) // who knows when that was
		time.Sleep(2 * time.Second)
		refused(b, false, "sub", "v1", "iat", time.Now().Unix()) // signed in again

		revoke(`{"acc":"a2"}`, 200)
		acc.wantClose(4501, 4*time.Second)
		refused(b, true, "sub", "v9", "acc", "a2")

		// A new token does not help if it is revoked too, and a message with it
		// ends the socket at once.
		late := watch(b, "sub", "v4", "acc", "a4", "dev", "d4")
		revoke(`{"jti":"t4"}`, 200)
		time.Sleep(4 * time.Second)
		late.send(`{"t":"auth","token":"` + hs(t, "exp", time.Now().Unix()+7200, "sub", "v4", "acc", "a4", "dev", "d4", "jti", "t4", "iat", time.Now().Unix()) + `"}`)
		late.wantClose(4501, time.Second)

		select {
		case err := <-other.closed:
			t.Fatalf("another viewer was closed: %v", err)
		default:
		}
		// The store is away: what is known holds, and nothing new can be said.
		store.fail(grandstand.Errorf(grandstand.CodeUnavailable, "down"))
		revoke(`{"all":true}`, 503)
		refused(b, true, "sub", "v1")
		store.fail(nil)
		// It has lost everything: it is written back.
		store.flush()
		time.Sleep(5 * time.Second)
		c, _ := gateway()
		refused(c, true, "sub", "v1")
		refused(c, true, "sub", "v2", "acc", "a2")
		refused(c, false, "sub", "v5", "acc", "a5")

		revoke(fmt.Sprintf(`{"all":true,"before":%d}`, time.Now().UnixMilli()), 200)
		other.wantClose(4501, 4*time.Second)
		refused(b, true, "sub", "v5")
		refused(b, false, "sub", "v5", "iat", time.Now().Unix()+1)

		// Once the tokens are gone, so is the revocation.
		time.Sleep(revokedFor + 10*time.Second)
		revoke(`{"jti":"new"}`, 200)
		refused(a, false, "sub", "v1", "iat", nil)
		for _, rg := range []*rig{a, b, c} {
			rg.stop()
		}
		cancel()
		synctest.Wait()
	})
}

// admin requests a path with the admin token.
func (rg *rig) admin(method, path, body string) (int, string) {
	return rg.with("admin", method, path, body)
}

// with requests a path with a token, "" for none.
func (rg *rig) with(token, method, path, body string) (int, string) {
	rg.t.Helper()
	req, err := http.NewRequest(method, rg.url+path, strings.NewReader(body))
	if err != nil {
		rg.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := rg.client.Do(req)
	if err != nil {
		rg.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		rg.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestRevocationsAreSaidPlainly(t *testing.T) {
	store := &fakeStore{}
	synctest.Test(t, func(t *testing.T) {
		r := newRevocations(t, store)
		j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: "admin", Revocations: r, Now: time.Now})
		rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Revocations = j, r }})
		time.Sleep(10 * time.Millisecond)
		now := time.Now().UnixMilli()
		for body, want := range map[string]int{
			``: 400, `[]`: 400, `{}`: 400, `{"sub":""}`: 400, `{"sub":"v1","acc":"a1"}`: 400, `{"sub":"v1","all":true}`: 400, `{"all":false}`: 400,
			`{"viewer":"v1"}`: 400, `{"sub":7}`: 400, `{"sub":"v1"} {}`: 400, `{"sub":"a\u0000"}`: 400,
			fmt.Sprintf(`{"sub":"v1","before":%d}`, now+120_000):         400,
			`{"sub":"v1","before":-1}`:                                   400,
			`{"sub":"v1","until":1}`:                                     400,
			fmt.Sprintf(`{"sub":"v1","until":%d}`, now+400*24*3600*1000): 400,
			`{"sub":"v9","before":1}`:                                    200,
			`{"sub":"v\u00e4 1"}`:                                        200,
		} {
			if status, text := rg.admin(http.MethodPut, "/v1/revocations", body); status != want {
				t.Errorf("PUT %s: %d %s, want %d", body, status, text, want)
			}
		}
		for token, want := range map[string]int{"": 401, "no": 401, hs(t, "exp", time.Now().Unix()+60): 403, hs(t, "exp", time.Now().Unix()+60, "scope", "service"): 403} {
			if status, text := rg.with(token, http.MethodPut, "/v1/revocations", `{"sub":"v1"}`); status != want {
				t.Errorf("with %.10s: %d %s, want %d", token, status, text, want)
			}
		}
		rg.stop()
	})
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) { // no tokens
		if status, text, _ := rg.do(http.MethodPut, "/v1/revocations", `{"sub":"v1"}`); status != 400 {
			t.Errorf("without tokens: %d %s", status, text)
		}
	})
}

// A node whose clock was ahead for a while takes what it read then for over; when
// its clock is right again it is not, without anything new in the store.
func TestAClockThatWasAheadForgetsNothing(t *testing.T) {
	store, ahead := &fakeStore{}, 10*time.Minute
	r, err := NewRevocations(RevocationsConfig{Secret: []byte("0123456789abcdef"), Store: store, Now: func() time.Time { return time.Now().Add(ahead) }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	name := r.key.Name(grandstand.RevokeToken, "t1")
	if err := store.Revoke(t.Context(), now, []grandstand.Revocation{{Name: name, Before: now, Until: now + 5*60_000}}); err != nil {
		t.Fatal(err)
	}
	g := &Grant{names: [3]grandstand.RevocationName{name}}
	for _, want := range []bool{false, true} {
		if err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.revoked(g); got != want {
			t.Errorf("with a clock that is %v ahead it is revoked: %v", ahead, got)
		}
		ahead = 0
	}
}

// TestRevocationsAreOfTheClockOfTokens: an hour that Redis is off neither lets in
// whose token was issued before a revocation, nor keeps out who signs in again, nor
// has it forgotten before the token ends.
func TestRevocationsAreOfTheClockOfTokens(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(fmt.Sprintf("%v ahead", ahead), func(t *testing.T) {
			clock := &jumpyClock{}
			clock.ahead.Store(ahead.Milliseconds())
			synctest.Test(t, func(t *testing.T) {
				r := newRevocations(t, &fakeStore{})
				j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: "admin", Revocations: r, Now: time.Now})
				rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Revocations, c.Clock = j, r, clock }})
				defer rg.stop()
				time.Sleep(10 * time.Millisecond)
				in := func(jti string, issued time.Time) bool {
					v, err := rg.try("final", "", http.Header{"Authorization": {"Bearer " + hs(t, "exp", time.Now().Unix()+600, "iat", issued.Unix(), "sub", "v1", "jti", jti)}})
					if err == nil {
						v.leave()
					}
					return err == nil
				}
				revoke := func(body string) {
					t.Helper()
					if status, text := rg.admin(http.MethodPut, "/v1/revocations", body); status != 200 {
						t.Errorf("PUT %s: %d %s", body, status, text)
					}
				}
				begin := time.Now()
				revoke(`{"sub":"v1"}`)
				revoke(fmt.Sprintf(`{"jti":"t1","until":%d}`, begin.Add(5*time.Minute).UnixMilli()))
				time.Sleep(time.Second)
				if in("t2", begin.Add(-10*time.Second)) || !in("t2", time.Now()) || in("t1", time.Now()) {
					t.Error("who was revoked is let in, or who signed in again is not")
				}
				time.Sleep(4 * time.Minute)
				revoke(`{"acc":"a1"}`) // those that are over are forgotten
				if in("t1", time.Now()) {
					t.Error("a revocation was forgotten before its end")
				}
			})
		})
	}
}

// TestStreamsEndWithTheirToken: Server-Sent Events go on no longer than what let
// the reader in.
func TestStreamsEndWithTheirToken(t *testing.T) {
	store := &fakeStore{}
	synctest.Test(t, func(t *testing.T) {
		r := newRevocations(t, store)
		j := newTestJWT(t, JWTConfig{Secret: testSecret, AdminToken: "admin", Revocations: r, Now: time.Now})
		rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Revocations = j, r }})
		time.Sleep(10 * time.Millisecond)
		if status, text := rg.admin(http.MethodPut, "/v1/events/final", `{}`); status != 200 {
			t.Fatalf("%d %s", status, text)
		}
		stream := func(token string) chan struct{} {
			t.Helper()
			req, _ := http.NewRequest(http.MethodGet, rg.url+"/v1/events/final/counts/stream", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := rg.client.Do(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer resp.Body.Close()
				for b := make([]byte, 1024); ; {
					if _, err := resp.Body.Read(b); err != nil {
						return
					}
				}
			}()
			return ended
		}
		exp := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		short, revoked, good := stream(hs(t, "exp", exp(30*time.Second))), stream(hs(t, "exp", exp(time.Hour), "sub", "v2")), stream("admin")
		over := func(ended chan struct{}) bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		time.Sleep(28 * time.Second)
		if over(short) || over(revoked) || over(good) {
			t.Fatal("a stream ended too early")
		}
		time.Sleep(9 * time.Second)
		if !over(short) || over(revoked) {
			t.Errorf("after its token a stream is over: %t; another: %t", over(short), over(revoked))
		}
		rg.admin(http.MethodPut, "/v1/revocations", `{"sub":"v2"}`)
		time.Sleep(6 * time.Second)
		if !over(revoked) || over(good) {
			t.Errorf("a revoked stream is over: %t; another: %t", over(revoked), over(good))
		}
		rg.stop()
		<-good
	})
}

// TestExpiryReachesSocketsInTime: 4002 comes within a tick of the end, whoever beats
// or not.
func TestExpiryReachesSocketsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newTestJWT(t, JWTConfig{Secret: testSecret, Now: time.Now})
		rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth = j }})
		time.Sleep(10 * time.Millisecond)
		for _, life := range []time.Duration{3 * time.Second, 29 * time.Second, 47 * time.Second} {
			end := time.Unix(time.Now().Add(life).Unix(), 0)
			v, err := rg.try("final", "interval_ms=60000", http.Header{"Authorization": {"Bearer " + hs(t, "exp", end.Unix())}})
			if err != nil {
				t.Fatal(err)
			}
			v.wantClose(4002, time.Minute)
			if late := time.Since(end); late < 0 || late > 3*time.Second {
				t.Errorf("closed %v after the end of a token of %v", late, life)
			}
		}
		rg.stop()
	})
}

// TestTokensEndByTheClockThatLetThemIn: whatever Redis says the time is, and
// whenever it begins to, a socket stays while its token is good, is asked for a new
// one before, and is closed when it would not be let in again.
func TestTokensEndByTheClockThatLetThemIn(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		for _, amid := range []bool{false, true} {
			clock := &jumpyClock{}
			if !amid {
				clock.ahead.Store(ahead.Milliseconds())
			}
			t.Run(fmt.Sprintf("%v ahead, amid %t", ahead, amid), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { playBesideRedis(t, clock, ahead) })
			})
		}
	}
}

// playBesideRedis watches to the end of two tokens. From the tenth second on Redis
// is so far ahead.
func playBesideRedis(t *testing.T, clock *jumpyClock, ahead time.Duration) {
	j := newTestJWT(t, JWTConfig{Secret: testSecret, Now: time.Now})
	rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Clock = j, clock }})
	defer rg.stop()
	time.Sleep(10 * time.Millisecond)
	end := time.Unix(time.Now().Unix()+120, 0)
	token := func() string { return hs(t, "exp", end.Unix()) }
	try := func() (*viewer, error) {
		return rg.try("final", "interval_ms=60000", http.Header{"Authorization": {"Bearer " + token()}})
	}
	v, err := try()
	if err != nil {
		t.Fatal(err)
	}
	v.keep(20 * time.Second)
	time.Sleep(10 * time.Second)
	clock.ahead.Store(ahead.Milliseconds())
	asked := func() {
		t.Helper()
		v.nextWithin("renew", time.Until(end))
		if left := time.Until(end); left < 42*time.Second || left > 75*time.Second {
			t.Errorf("a new token is asked for %v before the end", left)
		}
	}
	asked()
	end = end.Add(2 * time.Minute)
	v.send(`{"t":"auth","token":"` + token() + `"}`)
	v.next("ok")
	asked()
	v.wantClose(4002, time.Until(end)+10*time.Second)
	if early := time.Until(end); early > 0 {
		t.Errorf("closed %v before the end of its token", early)
	}
	if _, err := try(); err == nil {
		t.Error("let in with the token that it was closed for")
	}
}

// TestTokensFollowTheClockOfTheGateway: one that is set ends the tokens of live
// sockets too, and only those that it would refuse.
func TestTokensFollowTheClockOfTheGateway(t *testing.T) {
	wall := &jumpyClock{}
	now := func() time.Time { return time.UnixMilli(wall.Now()) }
	synctest.Test(t, func(t *testing.T) {
		j := newTestJWT(t, JWTConfig{Secret: testSecret, Now: now})
		rg := newRig(t, rigConfig{set: func(c *Config) { c.Auth, c.Now = j, now }})
		time.Sleep(10 * time.Millisecond)
		watch := func(life time.Duration) (v *viewer, again func() error) {
			t.Helper()
			header := http.Header{"Authorization": {"Bearer " + hs(t, "exp", time.Now().Add(life).Unix())}}
			v, err := rg.try("final", "interval_ms=60000", header)
			if err != nil {
				t.Fatal(err)
			}
			return v.keep(20 * time.Second), func() error {
				v, err := rg.try("final", "", header)
				if err == nil {
					v.leave()
				}
				return err
			}
		}
		short, againShort := watch(30 * time.Minute)
		long, againLong := watch(2 * time.Hour)
		time.Sleep(time.Minute)
		wall.ahead.Store(time.Hour.Milliseconds())
		if againShort() == nil || againLong() != nil {
			t.Error("the clock of the gateway does not say who is let in")
		}
		short.wantClose(4002, 10*time.Second)
		wall.ahead.Store(-time.Hour.Milliseconds())
		time.Sleep(2*time.Hour + 30*time.Minute)
		select {
		case err := <-long.closed:
			t.Errorf("closed an hour ahead of the gateway's clock: %v", err)
		default:
		}
		if againLong() != nil {
			t.Error("the clock of the gateway does not say who is let in")
		}
		rg.stop()
	})
}
