package gateway

import (
	"context"
	"net/http"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"grandstand"
	"grandstand/gateway/journal"
)

// traceRate and traceBurst bound the traces that are followed here, a second:
// clients ask for them, and must not make a gateway do much more than its work.
const traceRate, traceBurst = 5, 20

const traceparent = "traceparent" // W3C Trace Context, 3.2

// tracing begins the spans that clients ask for. Its methods may be called at the
// same time.
type tracing struct {
	tracer trace.Tracer // static

	mu   sync.Mutex
	rate bucket // guarded by mu
}

// begin begins a span that is a part of the client's trace. It does nothing
// (IsRecording) unless that is sampled, and there are not too many of them now.
func (t *tracing) begin(parent, name string, now int64, attrs ...attribute.KeyValue) trace.Span {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceparent: parent})
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return trace.SpanFromContext(context.Background())
	}
	t.mu.Lock()
	ok := t.rate.take(1, traceRate, traceBurst, now)
	t.mu.Unlock()
	if !ok {
		return trace.SpanFromContext(context.Background())
	}
	_, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	return span
}

// traceHandshake begins the span of a request to watch, which names its trace in
// a header or, from a browser, which can set none, in the query.
func (g *Gateway) traceHandshake(r *http.Request) trace.Span {
	parent := r.Header.Get(traceparent)
	if parent == "" && g.cfg.Tracer != nil {
		parent = r.URL.Query().Get(traceparent)
	}
	if parent == "" || g.cfg.Tracer == nil {
		return trace.SpanFromContext(context.Background())
	}
	return g.tracing.begin(parent, "gateway.handshake", g.cfg.Clock.Now())
}

// endSpan ends a span, with the error that it ended with.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(otelcodes.Error, string(grandstand.CodeOf(err)))
	}
	span.End()
}

// traced is a message that is followed: the journal.Waiter in front of its own. Its
// span ends with the acknowledgement, or when it is durable if it gets none.
type traced struct {
	tracing *tracing
	span    trace.Span
	next    journal.Waiter // nil: nobody waits
}

// traceMessage begins the span of a message that names a trace; m names the span
// afterwards. Nil: it is not followed.
func (g *Gateway) traceMessage(event string, m *grandstand.Message, now int64, next journal.Waiter) *traced {
	parent := string(m.Trace)
	m.Trace = nil
	if g.cfg.Tracer == nil {
		return nil
	}
	span := g.tracing.begin(parent, "gateway."+m.Type.String(), now, attribute.String("grandstand.event", event), attribute.Int64("grandstand.seq", int64(m.Seq)))
	if !span.IsRecording() {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	m.Trace = []byte(carrier[traceparent])
	return &traced{tracing: &g.tracing, span: span, next: next}
}

// Durable implements journal.Waiter.
func (t *traced) Durable(seq uint64) {
	if a, ok := t.next.(*acks); ok {
		_, ack := t.tracing.tracer.Start(trace.ContextWithSpan(context.Background(), t.span), "gateway.ack")
		a.follow(ack, t.span)
	} else {
		defer t.span.End()
	}
	if t.next != nil {
		t.next.Durable(seq)
	}
}

// maxFollowed bounds the spans that wait for an acknowledgement of one
// connection. Beyond it, they end at once.
const maxFollowed = 16

// follow has spans end when the next acknowledgement is sent.
func (a *acks) follow(spans ...trace.Span) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.spans) < maxFollowed {
		a.spans = append(a.spans, spans...)
		return
	}
	for _, s := range spans {
		s.End()
	}
}
