package journal

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
)

// maxFollowed bounds the events of one commit that are followed.
const maxFollowed = 64

// spanOf returns a context with the span that a traceparent names.
func spanOf(traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
}

// traceparentOf names a span.
func traceparentOf(s trace.Span) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), s), carrier)
	return carrier["traceparent"]
}

// followLocked begins the span of an event that was appended.
func (j *Journal) followLocked(e *grandstand.RawEvent) {
	if j.cfg.Tracer == nil || len(j.spans) >= maxFollowed {
		return
	}
	_, span := j.cfg.Tracer.Start(spanOf(string(e.Trace)), "journal.append")
	j.spans = append(j.spans, span)
}

// traceCommit ends the spans of a batch that was synced from began on. The first
// of a file is continued by whoever archives it: records have no room for more
// (docs/decisions/0020).
func (w *writer) traceCommit(c *current, began time.Time) {
	for _, span := range w.batch.spans {
		attrs := trace.WithAttributes(attribute.String("grandstand.journal", w.j.id), attribute.Int64("grandstand.file", int64(c.number)))
		_, sync := w.j.cfg.Tracer.Start(trace.ContextWithSpan(context.Background(), span), "journal.fsync", trace.WithTimestamp(began), attrs)
		sync.End()
		span.SetAttributes(attribute.String("grandstand.journal", w.j.id), attribute.Int64("grandstand.file", int64(c.number)))
		span.End()
		if c.trace == "" {
			c.trace = traceparentOf(span)
		}
	}
	clear(w.batch.spans)
	w.batch.spans = w.batch.spans[:0]
}

// traceSeal tells of the sealing of a file, and returns what names that span; ""
// if nothing in the file is followed.
func (j *Journal) traceSeal(e *ended) string {
	if e.trace == "" || j.cfg.Tracer == nil {
		return ""
	}
	_, span := j.cfg.Tracer.Start(spanOf(e.trace), "journal.seal", trace.WithTimestamp(e.at), trace.WithAttributes(
		attribute.String("grandstand.journal", e.journal), attribute.Int64("grandstand.file", int64(e.number)), attribute.Int64("grandstand.bytes", e.size)))
	span.End()
	return traceparentOf(span)
}
