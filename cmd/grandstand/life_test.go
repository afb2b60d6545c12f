package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestPartsStopLastInFirstOut(t *testing.T) {
	l := newLife(slog.New(slog.DiscardHandler))
	var order []string
	for _, name := range []string{"redis", "hub", "gateway"} {
		l.run(name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // parts stop one after the other
			return nil
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.wait(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []string{"gateway", "hub", "redis"}; !slices.Equal(order, want) {
		t.Fatalf("stopped %v, want %v", order, want)
	}
}

func TestAPartThatEndsByItselfEndsTheProcess(t *testing.T) {
	l := newLife(slog.New(slog.DiscardHandler))
	stopped := false
	l.onStop("redis", 0, func(context.Context) error { stopped = true; return nil })
	broken := errors.New("broken")
	l.run("hub", func(context.Context) error { return broken })
	if err := l.wait(t.Context()); !errors.Is(err, broken) || !errors.Is(err, errUnasked) {
		t.Fatalf("wait returned %v, want the part's error", err)
	}
	if !stopped {
		t.Fatal("the other parts were not stopped")
	}
}

// A reader that takes nothing of an answer must not hold its writer for ever.
func TestAnswersThatNobodyReadsAreGivenUp(t *testing.T) {
	l := newLife(slog.New(slog.DiscardHandler))
	gaveUp := make(chan struct{})
	addr, err := l.serve(endpoint{name: "test", address: "127.0.0.1:0", bound: 200 * time.Millisecond, handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(gaveUp)
		for b := make([]byte, 1<<20); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gaveUp:
	case <-time.After(10 * time.Second):
		t.Error("the handler still writes")
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}
