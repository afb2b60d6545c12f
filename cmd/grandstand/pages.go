package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"grandstand/web"
)

// asker is web.Config.Counts.
type asker func(ctx context.Context, event string, query url.Values) (status int, body []byte)

// pages returns the pages. pictures may be nil.
func (n *node) pages(counts asker, pictures http.Handler) (http.Handler, error) {
	h, err := web.New(web.Config{Counts: counts, Pictures: pictures})
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "grandstand_web_requests_total", Help: "Requests for pages, scripts and badges, by HTTP status.",
	}, []string{"code"})
	n.registry.MustRegister(requests)
	requests.WithLabelValues("200")
	return promhttp.InstrumentHandlerCounter(requests, h), nil
}

func countsPath(event string, query url.Values) string {
	return "/v1/events/" + url.PathEscape(event) + "/counts?" + query.Encode()
}

// askHere asks the gateway of this process.
func askHere(gateway http.Handler) asker {
	return func(ctx context.Context, event string, query url.Values) (int, []byte) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+countsPath(event, query), nil)
		if err != nil {
			return http.StatusServiceUnavailable, nil
		}
		w := &answer{header: http.Header{}, status: http.StatusOK}
		gateway.ServeHTTP(w, r)
		return w.status, w.body.Bytes()
	}
}

// answer is an http.ResponseWriter that keeps what is written.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// askOver asks the gateway at a URL. The count of one segment is far below most.
func askOver(base string) asker {
	const patience, most = 2 * time.Second, 16 << 10
	client := &http.Client{Timeout: patience}
	return func(ctx context.Context, event string, query url.Values) (int, []byte) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+countsPath(event, query), nil)
		if err != nil {
			return http.StatusServiceUnavailable, nil
		}
		resp, err := client.Do(r)
		if err != nil {
			return http.StatusServiceUnavailable, nil
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, most))
		if err != nil {
			return http.StatusServiceUnavailable, nil
		}
		return resp.StatusCode, body
	}
}
