package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
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
