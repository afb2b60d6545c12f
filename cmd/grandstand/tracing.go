package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exportBound is how long the collector of traces may take for a batch. Nothing
// waits for it but the end of the process, and what it does not take is dropped.
const exportBound = 2 * time.Second

// openTracing sends spans to --trace or, as OpenTelemetry's own variables say, to
// OTEL_EXPORTER_OTLP_ENDPOINT. Without either nothing is traced, and n.tracer is
// nil. What is traced is up to clients, whose traces are continued: none begins
// here.
func (n *node) openTracing(ctx context.Context) error {
	options, err := tracingOptions(n.cfg.Trace)
	if err != nil || options == nil {
		return err
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithAttributes(
		attribute.String("service.name", "grandstand"), attribute.String("service.version", version), attribute.String("service.instance.id", randomText(8))))
	if err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithBatchTimeout(time.Second), sdktrace.WithExportTimeout(exportBound)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())),
		sdktrace.WithResource(about))
	otel.SetErrorHandler(&traceTrouble{n: n})
	n.tracer = provider.Tracer("grandstand")
	n.onStop("traces", 0, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, exportBound)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			n.log.Warn("traces are lost", "error", err)
		}
		return nil
	})
	n.log.Info("traces that clients sample are continued")
	return nil
}

// tracingOptions returns how to reach the collector, nil if there is none.
func tracingOptions(address string) ([]otlptracehttp.Option, error) {
	options := []otlptracehttp.Option{
		otlptracehttp.WithTimeout(exportBound),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
	}
	if address == "" {
		if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return nil, nil
		}
		return options, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Path != "" || u.User != nil || u.Scheme != "otlp" && u.Scheme != "otlps" {
		return nil, wrongUsef("--trace is otlp://HOST:4318, or otlps:// for TLS; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
	}
	options = append(options, otlptracehttp.WithEndpoint(u.Host))
	if u.Scheme == "otlp" {
		options = append(options, otlptracehttp.WithInsecure())
	}
	return options, nil
}

// traceTrouble logs what goes wrong with traces, once a minute.
type traceTrouble struct {
	n *node

	mu     sync.Mutex
	logged time.Time // guarded by mu
}

// Handle implements otel.ErrorHandler.
func (t *traceTrouble) Handle(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.logged) >= time.Minute {
		t.logged = now
		t.n.log.Warn("send traces", "error", err)
	}
}
