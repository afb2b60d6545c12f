package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health answers /healthz (the process runs) and /readyz (it can do its work).
type health struct {
	ready func() error
}

func (h health) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.ready(); err != nil {
			writeStatus(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		writeStatus(w, http.StatusOK, "ready")
	})
}

func writeStatus(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": text})
}

// adminHandler serves what operators and their machines read. It is never on
// the public address: pprof and metrics tell strangers too much.
func adminHandler(registry *prometheus.Registry, h health) http.Handler {
	mux := http.NewServeMux()
	h.register(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// writeBound is how long a player may take over an answer, so that readers that
// read nothing hold no memory. WebSockets and streams set bounds of their own.
const writeBound = time.Minute

// bodyBound is how long a player may take over a body, also over one that its
// handler does not read: net/http drains it to keep the connection.
const bodyBound = 10 * time.Second

func boundBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyBound)) // the server ends it after the request
		}
		next.ServeHTTP(w, r)
	})
}

// serve listens at once, so that a taken address is an error of the start, and
// serves until the life ends. An answer may take the time bound, 0 for any.
func serve(l *life, name, address string, handler http.Handler, bound time.Duration) (net.Addr, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           boundBodies(handler),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      bound,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10, // a token of 8 KiB and what browsers add
		ErrorLog:          slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	l.run(name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- server.Serve(listener) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		stopping, cancel := context.WithTimeout(context.Background(), stopBound/2)
		defer cancel()
		err := server.Shutdown(stopping)
		if errors.Is(err, context.DeadlineExceeded) {
			return server.Close() // streams that their readers keep open
		}
		return err
	})
	l.log.Info("listening", "for", name, "address", listener.Addr().String())
	return listener.Addr(), nil
}
