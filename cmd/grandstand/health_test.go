package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthAsksWhetherAProcessIsReady(t *testing.T) {
	ready := errors.New("the gateway drains")
	mux := http.NewServeMux()
	health{ready: func() error { return ready }}.register(mux)
	server := httptest.NewServer(mux)
	ask := healthCmd{URL: server.URL + "/readyz"}
	if err := ask.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the gateway drains") {
		t.Errorf("a process that is not ready: %v", err)
	}
	ready = nil
	if err := ask.Run(t.Context()); err != nil {
		t.Errorf("a process that is ready: %v", err)
	}
	server.Close()
	if err := ask.Run(t.Context()); err == nil {
		t.Error("a process that is gone is healthy")
	}
	c, _, err := parse(t, "", "health")
	if err != nil || c.Health.URL != "http://127.0.0.1:9090/readyz" {
		t.Errorf("asked is %q, %v", c.Health.URL, err)
	}
}
