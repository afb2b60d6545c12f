package archiver

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// follow begins the span of a file that the journal names a trace for: the one
// of an event in it. Without, nothing is recorded.
func (a *Archiver) follow(ctx context.Context, f JournalFile) (context.Context, trace.Span) {
	if f.Trace == "" || a.cfg.Tracer == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": f.Trace})
	return a.cfg.Tracer.Start(ctx, "archiver.file", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("grandstand.journal", f.Journal), attribute.Int64("grandstand.file", int64(f.Number)), attribute.Int64("grandstand.bytes", f.Size)))
}

// followStep begins the span of a step of a file that is followed.
func (a *Archiver) followStep(ctx context.Context, step string) (context.Context, trace.Span) {
	if span := trace.SpanFromContext(ctx); !span.IsRecording() {
		return ctx, span
	}
	return a.cfg.Tracer.Start(ctx, "archiver."+step)
}

// describeSpan says what the span's file has become.
func describeSpan(ctx context.Context, key string, m *Metadata) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("grandstand.object", key), attribute.Int64("grandstand.rows", int64(m.Rows)))
}

// endSpan ends a span of follow or followStep.
func endSpan(span trace.Span, err error) {
	if !span.IsRecording() {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
