package blocker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"grandstand"
)

func TestCloseEndsStreamsAndTakesNoMore(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		if !rg.b.Ready() {
			t.Error("is not ready while it runs")
		}
		rd := rg.follow("acc=a1")
		rd.next(0)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := rg.b.Close(ctx); err != nil {
			t.Error(err)
		}
		rd.wantEnd(0)
		if rg.metric("streams") != 0 || rg.metric("stream_ends_total", "closing") != 1 || rg.b.Ready() {
			t.Error("something is left")
		}
		a := rg.do("GET", "a1/devices/stream", "acc=a1", "").want(t, 503, "unavailable")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		// Heartbeats are answered as long as there is a server.
		rg.beat("tv", "").want(t, 200, "")
		if err := rg.b.Close(ctx); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
}

func TestRunEndsStreamsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rg := newRig(t, limited)
		rd := rg.follow("acc=a1")
		rd.next(0)
		rg.stop() // ends the context of Run before the server
		rd.wantEnd(0)
	})
}

func TestCloseIsBounded(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		// A reader that takes nothing holds its stream for SlowLimit.
		conn, err := rg.pipes.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("GET /v1/accounts/a1/devices/stream HTTP/1.1\r\nHost: blocker.test\r\nAuthorization: Bearer acc=a1\r\n\r\n"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		if err := rg.b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with %v", err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		if err := rg.b.Close(context.Background()); err != nil {
			t.Errorf("closed in the end with %v", err)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}

func TestStartAfterCloseFails(t *testing.T) {
	f := newFakeRedis()
	b, err := New(Config{Secret: secret, Clock: fakeClock{}, Leases: f, Accounts: f, Notices: f, Events: f, Auth: fakeAuth{}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Ready() {
		t.Error("is ready before it runs")
	}
	for range 2 {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := b.Run(t.Context()); err == nil {
		t.Error("runs after Close")
	}
}

func TestRunTwiceFails(t *testing.T) {
	inBubble(t, limited, func(t *testing.T, rg *rig) {
		if err := rg.b.Run(t.Context()); err == nil {
			t.Error("runs twice")
		}
	})
}

func TestStreamsWaitForRun(t *testing.T) {
	f := newFakeRedis()
	b, err := New(Config{Secret: secret, Clock: fakeClock{}, Leases: f, Accounts: f, Notices: f, Events: f, Auth: fakeAuth{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.join(grandstand.Key{1}, &stream{}); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("joined before Run: %v", err)
	}
}
