package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"grandstand"
)

func TestJWKSRotation(t *testing.T) {
	testKeys(t)
	srv, clock := newJWKS(t, rsaJWK), newTestClock()
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL, Now: clock.now})
	first := sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())
	second := sign(t, jwt.SigningMethodRS256, rsaOther, "other", goodClaims())
	expect := func(step, token string, code grandstand.Code, fetches int64) {
		t.Helper()
		if _, err := identify(j, token); grandstand.CodeOf(err) != code {
			t.Errorf("%s: %v, want %q", step, err, code)
		}
		if n := srv.fetches.Load(); n != fetches {
			t.Errorf("%s: %d fetches so far, want %d", step, n, fetches)
		}
	}
	expect("first key", first, "", 1)
	expect("unknown key, just fetched", second, "unauthorized", 1)
	expect("first key again", first, "", 1)

	srv.set(rsaJWK, otherJWK)
	clock.advance(10 * time.Second)
	expect("new key", second, "", 2)
	expect("old key beside it", first, "", 2)
	clock.advance(10 * time.Second)
	for range 50 {
		expect("flood of unknown keys", sign(t, jwt.SigningMethodRS256, rsaOther, "flood", goodClaims()), "unauthorized", 3)
	}

	srv.set(otherJWK)
	clock.advance(21 * time.Minute) // older than two refreshes: waits for the fetch
	expect("key that was taken back", first, "unauthorized", 4)
	expect("key that stayed", second, "", 4)
}

func TestJWKSRefreshInBackground(t *testing.T) {
	testKeys(t)
	srv, clock := newJWKS(t, rsaJWK), newTestClock()
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL, Now: clock.now})
	token := sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())
	if _, err := identify(j, token); err != nil {
		t.Fatal(err)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) }) // it is tried again later
	srv.answerWith(func(w http.ResponseWriter, _ *http.Request) { ask(); <-answer; w.WriteHeader(500) })
	clock.advance(11 * time.Minute)
	if _, err := identify(j, token); err != nil { // would hang if it waited
		t.Fatal(err)
	}
	<-asked
	close(answer)
	j.keys.done.Wait()
	if _, err := identify(j, token); err != nil {
		t.Errorf("a failed refresh threw the keys away: %v", err)
	}
	clock.advance(time.Hour - 12*time.Minute) // the token ends at one hour
	if _, err := identify(j, token); err != nil {
		t.Errorf("long after a failed refresh: %v", err)
	}
}

// TestJWKSOneFetch lets many viewers arrive before the first answer.
func TestJWKSOneFetch(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t, rsaJWK)
	serve, release := srv.answer, make(chan struct{})
	srv.answerWith(func(w http.ResponseWriter, r *http.Request) { <-release; serve(w, r) })
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL})
	token := sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())
	errs := make(chan error, 20)
	var started sync.WaitGroup
	for range cap(errs) {
		started.Add(1)
		go func() {
			started.Done()
			_, err := identify(j, token)
			errs <- err
		}()
	}
	started.Wait()
	close(release)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := srv.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestJWKSTrouble(t *testing.T) {
	testKeys(t)
	for name, answer := range map[string]http.HandlerFunc{
		"500":            func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"404 with keys":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); fmt.Fprint(w, `{"keys":[]}`) },
		"HTML":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"no keys":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"another object": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"error":"busy"}`) },
		"keys of no use": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"keys":[{"kty":"oct","k":"AAAA"},7,null,{}]}`)
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"keys":[%s`, strings.Repeat(" ", 2<<20))
		},
		"endless redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"hang up":          func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			srv, clock := newJWKS(t), newTestClock()
			srv.answerWith(answer)
			j := newTestJWT(t, JWTConfig{JWKS: srv.URL, Now: clock.now})
			token := sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())
			for range 2 {
				if _, err := identify(j, token); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
					t.Fatalf("without keys: %v, want unavailable", err)
				}
			}
			srv.set(rsaJWK)
			clock.advance(10 * time.Second)
			if _, err := identify(j, token); err != nil {
				t.Fatalf("once the keys are there: %v", err)
			}
			srv.answerWith(answer)
			clock.advance(10 * time.Second)
			unknown := sign(t, jwt.SigningMethodRS256, rsaOther, "other", goodClaims())
			if _, err := identify(j, unknown); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
				t.Errorf("a key that may be new: %v, want unavailable", err)
			}
			if _, err := identify(j, token); err != nil {
				t.Errorf("a key that is known: %v", err)
			}
		})
	}
}

func TestJWKSTimeout(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t)
	srv.answerWith(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL, FetchTimeout: 20 * time.Millisecond})
	if _, err := identify(j, sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("a server that never answers: %v, want unavailable", err)
	}
}

func TestJWKSStaysOnHTTPS(t *testing.T) {
	testKeys(t)
	plain := newJWKS(t, rsaJWK)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	j := newTestJWT(t, JWTConfig{JWKS: secure.URL, Client: secure.Client()})
	if _, err := identify(j, sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("redirected away from https: %v, want unavailable", err)
	}
	if n := plain.fetches.Load(); n != 0 {
		t.Errorf("%d fetches in the clear", n)
	}
}

func TestJWKSAfterClose(t *testing.T) {
	testKeys(t)
	srv := newJWKS(t, rsaJWK)
	j := newTestJWT(t, JWTConfig{JWKS: srv.URL})
	j.Close()
	if _, err := identify(j, sign(t, jwt.SigningMethodRS256, rsaKey, "rsa", goodClaims())); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("closed before the first fetch: %v, want unavailable", err)
	}
	if n := srv.fetches.Load(); n != 0 {
		t.Errorf("%d fetches after Close", n)
	}
}
