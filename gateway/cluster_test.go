package gateway

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"grandstand"
)

// clusterFunc is a Cluster.
type clusterFunc func() ([]grandstand.Member, error)

func (f clusterFunc) Cluster(context.Context) ([]grandstand.Member, error) { return f() }

func TestClusterIsForOperators(t *testing.T) {
	asked, answer := 0, error(nil)
	cfg := rigConfig{set: func(c *Config) {
		c.Cluster = clusterFunc(func() ([]grandstand.Member, error) {
			asked++
			return []grandstand.Member{{ID: "a", Role: grandstand.RoleGateway, Status: &grandstand.Status{Tree: &grandstand.TreeStatus{Depth: 1}}}}, answer
		})
	}}
	inBubble(t, cfg, func(t *testing.T, rg *rig) {
		get := func() (int, string) {
			status, body, h := rg.do(http.MethodGet, "/v1/cluster", "")
			if h.Get("Cache-Control") != "no-store" {
				t.Errorf("%d may be kept: %v", status, h)
			}
			return status, body
		}
		rg.auth.admin = grandstand.Errorf(grandstand.CodeUnauthorized, "no token")
		if status, body := get(); status != http.StatusUnauthorized || asked != 0 {
			t.Errorf("without a token: %d %s, Redis was asked %d times", status, body, asked)
		}
		rg.auth.admin = nil
		status, body := get()
		v := parse[clusterView](t, body)
		if status != http.StatusOK || v.Now != time.Now().UnixMilli() || len(v.Members) != 1 || v.Members[0].Status.Tree.Depth != 1 {
			t.Errorf("%d %s", status, body)
		}
		for range 5 { // many operators are one question
			get()
		}
		if asked != 1 {
			t.Errorf("Redis was asked %d times within a second", asked)
		}
		time.Sleep(clusterFreshMS * time.Millisecond)
		answer = errors.New("redis is away")
		if status, body := get(); status != http.StatusServiceUnavailable || asked != 2 {
			t.Errorf("without Redis: %d %s", status, body)
		}
	})
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		if status, body, _ := rg.do(http.MethodGet, "/v1/cluster", ""); status != http.StatusNotFound {
			t.Errorf("nobody knows the members: %d %s", status, body)
		}
	})
}

// What a gateway says of itself: who is connected, watching, and may not play.
func TestDescribe(t *testing.T) {
	withLeases(t, func(t *testing.T, bs *blockers) {
		describe := func() *grandstand.Status {
			ticked()
			var s grandstand.Status
			bs.a.g.Describe(&s)
			return &s
		}
		for _, id := range []string{"one", "two"} {
			bs.a.watch(device(id)).keep(5 * time.Second)
		}
		third := bs.a.watch(device("three")).keep(5 * time.Second)
		third.blocked("device_limit")
		want := &grandstand.Status{
			Viewers: &grandstand.ViewersStatus{Connections: 3, Sessions: 2},
			Rules:   []grandstand.RuleStatus{{Rule: "token", Waiting: 1, Granted: 2, Blocked: 1}},
		}
		if diff := cmp.Diff(want, describe()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		time.Sleep(time.Minute) // asked again and again: it is the same device that waits
		if diff := cmp.Diff(want, describe()); diff != "" {
			t.Errorf("a minute later (-want +got):\n%s", diff)
		}
		third.leave()
		want.Viewers.Connections, want.Rules[0].Waiting = 2, 0
		if diff := cmp.Diff(want, describe()); diff != "" {
			t.Errorf("when it had left (-want +got):\n%s", diff)
		}
	})
}
