package gateway

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"grandstand"
)

// With --auth none everybody says who they are, where, and what for. What is made
// up 100,000 times (with the tag measure; else fewer) must not be remembered 100,000
// times.

// heapInUse returns the bytes that are in use.
func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// keptFor fails if f leaves more than so many bytes in use.
func keptFor(t *testing.T, what string, limit uint64, f func()) {
	t.Helper()
	before := heapInUse()
	f()
	if after := heapInUse(); after > before+limit {
		t.Errorf("%s leave %d MB", what, (after-before)>>20)
	}
}

// limited admits the first values of each dimension, as the registry does.
type limited struct {
	n    map[string]int
	asks int
}

func (l *limited) Admit(_ context.Context, _ *grandstand.Event, segs []grandstand.Segment) ([]bool, error) {
	ok := make([]bool, len(segs))
	for i, s := range segs {
		l.asks++
		if l.n[s.Dim] < grandstand.MaxFreeValues {
			l.n[s.Dim]++
			ok[i] = true
		}
	}
	return ok, nil
}

func TestMadeUpValuesAreForgotten(t *testing.T) {
	registry := &limited{n: map[string]int{}}
	rg := newRig(t, rigConfig{set: func(c *Config) { c.Registry = registry }})
	defer rg.stop()
	e := &grandstand.Event{Name: "final", UpdatedAt: 1}
	if err := e.Normalize(); err != nil {
		t.Fatal(err)
	}
	r := rg.g.room(e)
	keptFor(t, "made-up teams", 16<<20, func() {
		for i := range bombs {
			if _, _, err := r.fold(t.Context(), map[string]string{"team": fmt.Sprintf("%064d", i)}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n := len(r.admitted); n > grandstand.MaxFreeValues+maxRefused {
		t.Errorf("%d answers of the registry are remembered", n)
	}
	if n := r.auds.Len(); n > grandstand.MaxFreeValues+2 {
		t.Errorf("%d audiences", n)
	}
	// Where values are admitted, their tuples are the bomb.
	keptFor(t, "made-up audiences", 80<<20, func() {
		for i := range maxAudiences + bombs {
			r.intern([]string{fmt.Sprint("c", i%251), fmt.Sprint("r", i%241), fmt.Sprint("t", i%239)})
		}
	})
	if n := r.auds.Len(); n > maxAudiences+1 {
		t.Errorf("%d audiences", n)
	}
	a := r.intern([]string{"c1", "r2", "t5"})
	for _, v := range a.Values {
		if v != grandstand.Other {
			t.Errorf("the audience after the last is %v", a.Values)
			break
		}
	}
}

func TestMadeUpEventsAreForgotten(t *testing.T) {
	for name, open := range map[string]bool{"unknown": false, "opened by viewers": true} {
		t.Run(name, func(t *testing.T) {
			const most = 100
			rg := newRig(t, rigConfig{tcp: true, set: func(c *Config) { c.OpenEvents, c.MaxEvents = open, most }})
			waitReady(rg)
			keptFor(t, "made-up events", 24<<20, func() {
				for i := range bombs {
					rg.g.catalog.get(t.Context(), fmt.Sprintf("%064d", i))
				}
			})
			rg.g.catalog.mu.Lock()
			if n := len(rg.g.catalog.entries); n > maxMissing+1 {
				t.Errorf("%d names are remembered", n)
			}
			rg.g.catalog.mu.Unlock()
			codes := map[int]int{}
			for i := range 3 * most {
				status, _, _ := rg.do(http.MethodPost, fmt.Sprint("/v1/events/e", i, "/beats"), `{"state":"ended"}`)
				codes[status]++
			}
			want := map[int]int{404: 3 * most}
			if open {
				want = map[int]int{200: most, 503: 2 * most}
			}
			if fmt.Sprint(codes) != fmt.Sprint(want) {
				t.Errorf("answers %v, want %v", codes, want)
			}
			rg.redis.mu.Lock()
			if n := len(rg.redis.events); n > most {
				t.Errorf("%d events are kept", n)
			}
			rg.redis.mu.Unlock()
			rg.stop()
		})
	}
}

func TestMadeUpViewersAreBounded(t *testing.T) {
	const most = 500
	rg := newRig(t, rigConfig{tcp: true, set: func(c *Config) { c.MaxSessions, c.Auth = most, &AuthNone{} }})
	waitReady(rg)
	codes := map[int]int{}
	for batch := range 12 {
		var list []string
		for i := range grandstand.MaxBodyMessages {
			id := fmt.Sprintf("%d-%d-%s", batch, i, strings.Repeat("x", 200))
			list = append(list, fmt.Sprintf(`{"state":"playing","viewer":"v%s","device":"d%s","account":"a%s"}`, id, id, id))
		}
		status, _, _ := rg.do(http.MethodPost, "/v1/events/final/beats", "["+strings.Join(list, ",")+"]")
		codes[status]++
	}
	// A request that is let in may bring a whole list.
	if n := rg.g.sessions.Load(); n > most+grandstand.MaxBodyMessages {
		t.Errorf("%d sessions, at most %d are taken", n, most)
	}
	if codes[200] == 0 || codes[503] == 0 {
		t.Errorf("answers %v", codes)
	}
	for what, query := range map[string]string{"viewer": "viewer=", "device": "device=", "account": "account="} {
		if status, _, _ := rg.do(http.MethodPost, "/v1/events/final/beats?"+query+strings.Repeat("x", maxIDLen+1), `{"state":"playing"}`); status != 400 && status != 503 {
			t.Errorf("a %s of %d bytes: %d", what, maxIDLen+1, status)
		}
	}
	rg.stop()
}
