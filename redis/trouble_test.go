package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"grandstand"
	"grandstand/redis/redistest"
)

// everyCall is every method that talks to Redis.
func everyCall(c *Client) map[string]func(context.Context) error {
	event := &grandstand.Event{Name: "final", Dims: grandstand.DefaultDims()}
	rec := []grandstand.Record{record("s1", "A", 1), record("s2", "A", 1)}
	return map[string]func(context.Context) error{
		"Claim":  func(ctx context.Context) error { _, err := claimOne(ctx, c, rec[0]); return err },
		"Keep":   func(ctx context.Context) error { _, err := c.Keep(ctx, rec); return err },
		"Forget": func(ctx context.Context) error { return c.Forget(ctx, rec) },
		"Release": func(ctx context.Context) error {
			_, err := c.Release(ctx, "A", []grandstand.Release{{Event: "final", Session: "s", Gen: 1}})
			return err
		},
		"Releases": func(ctx context.Context) error {
			_, err := c.Releases(ctx, "A", grandstand.ReleaseID{})
			return err
		},
		"WriteTallies": func(ctx context.Context) error {
			return c.WriteTallies(ctx, []*grandstand.ShardTally{{Gateway: "A"}}, &grandstand.Manifest{Gateway: "A"})
		},
		"Manifests": func(ctx context.Context) error { _, err := c.Manifests(ctx, []string{"A", "B"}); return err },
		"ShardTallies": func(ctx context.Context) error {
			_, err := c.ShardTallies(ctx, []grandstand.TallyRef{{Gateway: "A"}})
			return err
		},
		"Admit": func(ctx context.Context) error {
			_, err := c.Admit(ctx, event, []grandstand.Segment{{Dim: "team", Value: "KC"}})
			return err
		},
		"Renew":      func(ctx context.Context) error { _, err := c.Renew(ctx, grandstand.Member{ID: "A"}); return err },
		"BootAt":     func(ctx context.Context) error { _, err := c.BootAt(ctx); return err },
		"Resign":     func(ctx context.Context) error { return c.Resign(ctx, "A") },
		"HoldShards": func(ctx context.Context) error { _, err := c.HoldShards(ctx, "A"); return err },
		"DropShards": func(ctx context.Context) error { return c.DropShards(ctx, "A") },
		"Publish":    func(ctx context.Context) error { _, err := c.Publish(ctx, boardsOf(1, 1, 1000, 1)); return err },
		"LastBoard":  func(ctx context.Context) error { _, err := c.LastBoard(ctx, 1); return err },
		"PutEvent":   func(ctx context.Context) error { return c.PutEvent(ctx, &grandstand.Event{Name: "final"}) },
		"GetEvent":   func(ctx context.Context) error { _, err := c.GetEvent(ctx, "final"); return err },
		"ListEvents": func(ctx context.Context) error { _, err := c.ListEvents(ctx); return err },
		"SaveSeries": func(ctx context.Context) error {
			return c.SaveSeries(ctx, append(seriesOf("final", []grandstand.Step{{At: 1}}), reachOf("semi", []grandstand.CheckpointSegment{{Segment: grandstand.WorldSegment}})...))
		},
		"Steps":     func(ctx context.Context) error { _, err := c.Steps(ctx, "final", 0); return err },
		"LoadReach": func(ctx context.Context) error { _, err := c.LoadReach(ctx, "final"); return err },
		"Ask":       func(ctx context.Context) error { return c.Ask(ctx, []grandstand.Ask{asks(1, "a", "a1")})[0].Err },
		"Leave": func(ctx context.Context) error {
			return c.Leave(ctx, []grandstand.Leave{{Account: acct(2), Device: device("a"), Session: "a1", Member: "m"}})
		},
		"SignOut":      func(ctx context.Context) error { _, err := c.SignOut(ctx, acct(3), device("a")); return err },
		"Account":      func(ctx context.Context) error { _, err := c.Account(ctx, acct(1)); return err },
		"WatchAccount": func(ctx context.Context) error { return c.WatchAccount(ctx, acct(1), "m") },
		"Decisions":    func(ctx context.Context) error { _, err := c.Decisions(ctx, acct(1), 10); return err },
		"clock":        c.sampleClock,
	}
}

func openFor(t *testing.T, url string, timeout time.Duration) *Client {
	t.Helper()
	c, err := Open(t.Context(), Config{Address: url, Timeout: timeout})
	ok(t, err)
	t.Cleanup(c.Close)
	return c
}

// TestNoCallOutlivesItsDeadline freezes the server: connections stay open and
// nothing is answered.
func TestNoCallOutlivesItsDeadline(t *testing.T) {
	const timeout, slack = 300 * time.Millisecond, time.Second
	cluster := redistest.StartCluster(t)
	single := redistest.StartServer(t)
	for _, rig := range []struct {
		name  string
		url   string
		nodes []*redistest.Server
	}{{"server", single.URL(), []*redistest.Server{single}}, {"cluster", cluster.URL(), cluster.Nodes}} {
		t.Run(rig.name, func(t *testing.T) {
			c := openFor(t, rig.url, timeout)
			calls := everyCall(c)
			for name, call := range calls {
				if err := call(t.Context()); err != nil && grandstand.CodeOf(err) != grandstand.CodeNotFound {
					t.Fatalf("%s before: %v", name, err)
				}
			}
			f := follow(t, c)
			for _, n := range rig.nodes {
				n.Stop()
			}
			var wg sync.WaitGroup
			for round := range 3 { // the connections break in the first
				for name, call := range calls {
					wg.Go(func() {
						ctx, limit := t.Context(), timeout
						if round == 2 { // the caller's own deadline is sooner
							var cancel context.CancelFunc
							limit = timeout / 3
							ctx, cancel = context.WithTimeout(ctx, limit)
							defer cancel()
						}
						begin := time.Now()
						err := call(ctx)
						if took := time.Since(begin); took > limit+slack {
							t.Errorf("round %d: %s returned after %v", round, name, took)
						}
						if grandstand.CodeOf(err) != grandstand.CodeUnavailable {
							t.Errorf("round %d: %s: %v, want CodeUnavailable", round, name, err)
						}
					})
				}
				wg.Wait()
			}
			f.stop(t) // at once as well
			for _, n := range rig.nodes {
				n.Cont()
			}
			for name, call := range calls {
				eventually(t, 5*time.Second, name+" works again", func() bool {
					err := call(t.Context())
					return err == nil || grandstand.CodeOf(err) == grandstand.CodeNotFound
				})
			}
		})
	}
}

func TestRestartIsSurvived(t *testing.T) {
	s := redistest.StartServer(t)
	c := open(t, s.URL())
	ctx := t.Context()
	member := grandstand.Member{ID: "A", Role: grandstand.RoleGateway}
	before, err := c.Renew(ctx, member)
	ok(t, err)
	publish(t, c, boardsOf(3, 1, c.Now()-1000, 1))
	f := follow(t, c)
	eventually(t, 5*time.Second, "the board is shown", func() bool { return f.at(3) != 0 })

	s.Kill()
	begin := time.Now()
	if _, err := c.Renew(ctx, member); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Fatalf("without a server: %v, want CodeUnavailable", err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("a server that is gone was noticed after %v", took)
	}
	s.Restart()

	begin = time.Now()
	after, err := c.Renew(ctx, member) // the first call already
	ok(t, err)
	if after.Boot == before.Boot {
		t.Error("the boot is the same after a restart without data")
	}
	at := c.Now()
	if got := publish(t, c, boardsOf(3, 2, at, 2)); got.Refused != "" || got.Epoch != 2 {
		t.Errorf("publish after the restart: %+v", got)
	}
	eventually(t, 5*time.Second, "the board after the restart is shown", func() bool { return f.at(3) == at })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v to follow again", took)
	}
	f.stop(t)
}

// TestIdempotentCallsSurviveABrokenConnection kills the connections on the
// server's side between calls.
func TestIdempotentCallsSurviveABrokenConnection(t *testing.T) {
	s := redistest.StartServer(t)
	c := open(t, s.URL())
	for name, call := range everyCall(c) {
		if name == "Release" {
			continue // told twice it would be subtracted twice: the caller decides
		}
		_ = call(t.Context())
		s.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if err := call(t.Context()); err != nil && grandstand.CodeOf(err) != grandstand.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testNoScript(t *testing.T, r *rig) {
	c := open(t, r.url)
	recs := make([]grandstand.Record, 20)
	for i := range recs {
		recs[i] = record(fmt.Sprint("s", i), "A", 1)
	}
	for range 2 {
		for _, n := range c.rc.Nodes() {
			ok(t, n.Do(t.Context(), n.B().ScriptFlush().Build()).Error())
		}
		lost, err := c.Keep(t.Context(), recs)
		if err != nil || len(lost) > 0 {
			t.Fatalf("Keep after the scripts were lost: %v, %v", lost, err)
		}
		many := make([]grandstand.Ask, 300) // on all servers of a cluster
		for i := range many {
			many[i] = asks(i, "a", "a1")
		}
		for i, answer := range c.Ask(t.Context(), many) {
			if answer.Err != nil || !answer.Verdict.Allowed {
				t.Fatalf("Ask %d after the scripts were lost: %+v", i, answer)
			}
		}
	}
}

func TestCloseEndsCalls(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	c := open(t, e.Address())
	c.Close()
	c.Close()
	if _, err := c.Renew(t.Context(), grandstand.Member{ID: "a"}); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("Renew after Close: %v, want CodeUnavailable", err)
	}
}

func TestMetricsAreSharedAndSayWhatWentWrong(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{})
	ok(t, err)
	defer e.Close()
	reg := prometheus.NewRegistry()
	for range 2 {
		c, err := Open(t.Context(), Config{Address: e.Address(), Registerer: reg})
		ok(t, err)
		defer c.Close()
		_, err = c.Manifests(t.Context(), []string{"A", "B"})
		ok(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.ListEvents(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that ended: %v", err)
		}
	}
	found := map[string]float64{}
	families, err := reg.Gather()
	ok(t, err)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				if l.GetName() != "command" {
					labels = append(labels, l.GetValue())
				} else if l.GetValue() == "" || l.GetValue() != strings.ToUpper(l.GetValue()) {
					t.Errorf("a command is called %q", l.GetValue())
				}
			}
			found[f.GetName()+" "+strings.Join(labels, " ")] += m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"grandstand_redis_commands_total manifests":           4,
		"grandstand_redis_errors_total list_events canceled":  2,
		"grandstand_redis_commands_total time":                2*openSamples + 1, // the first is sent twice: the script is new
		"grandstand_redis_clock_offset_seconds ":              0,
		"grandstand_redis_call_seconds manifests":             0,
		"grandstand_redis_errors_total manifests unavailable": 0,
	} {
		if got := found[name]; got != want {
			t.Errorf("%s is %v, want %v; all: %v", name, got, want, found)
		}
	}
}

func TestReasonsAreFew(t *testing.T) {
	for want, err := range map[string]error{
		"canceled":   fmt.Errorf("x: %w", context.Canceled),
		"timeout":    context.DeadlineExceeded,
		"closed":     rueidis.ErrClosing,
		"lost":       io.EOF,
		"connection": errors.New("connection refused"),
	} {
		if got := reasonOf(err); got != want {
			t.Errorf("reason of %v is %s, want %s", err, got, want)
		}
	}
}

func TestEmbeddedKeysExpire(t *testing.T) {
	e, err := StartEmbedded(EmbeddedConfig{ExpireEvery: 10 * time.Millisecond})
	ok(t, err)
	c := open(t, e.Address())
	ctx := t.Context()
	ok(t, c.rc.Do(ctx, c.rc.B().Set().Key("gs:{x}:short").Value("1").PxMilliseconds(50).Build()).Error())
	ok(t, c.rc.Do(ctx, c.rc.B().Set().Key("gs:{x}:long").Value("1").PxMilliseconds(600_000).Build()).Error())
	exists := func(key string) bool {
		n, err := c.rc.Do(ctx, c.rc.B().Exists().Key(key).Build()).AsInt64()
		ok(t, err)
		return n == 1
	}
	eventually(t, 5*time.Second, "the key expires", func() bool { return !exists("gs:{x}:short") })
	if !exists("gs:{x}:long") {
		t.Error("a key that lives longer expired as well")
	}
	c.Close()
	e.Close()
	e.Close()
	if _, err := StartEmbedded(EmbeddedConfig{ExpireEvery: -1}); grandstand.CodeOf(err) != grandstand.CodeInvalid {
		t.Errorf("a negative interval: %v, want CodeInvalid", err)
	}
}
