package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	collected "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"grandstand/redis/redistest"
)

// collector takes spans as OpenTelemetry's does (OTLP/HTTP).
type collector struct {
	mu    sync.Mutex
	spans []*tracepb.Span
}

func startCollector(t *testing.T) (*collector, string) {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collected.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	return c, "otlp://" + server.Listener.Addr().String()
}

// bytes returns all spans, as they came.
func (c *collector) bytes(t *testing.T) (all []byte) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		b, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// of returns the spans of a trace by name, and how many there are of others.
func (c *collector) of(trace string) (spans map[string]*tracepb.Span, others int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans = map[string]*tracepb.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			spans[s.Name] = s
		} else {
			others++
		}
	}
	return spans, others
}

// A client's trace goes through the gateway, its journal and an archiver to the
// Parquet object; what no client has sampled is not traced.
func TestATraceGoesAllTheWay(t *testing.T) {
	beside(t)
	spans, address := startCollector(t)
	redis := redistest.StartServer(t).URL()
	g := startGateway(t, "gateway", redis, "--journal", filepath.Join(t.TempDir(), "journal"), "--journal-age", "1s", "--peer", freeAddr(t), "--trace", address)
	start(t, "archiver", "archiver", "--admin", "", "--redis", redis, "--secret", testSecret, "--archive", "file:"+archiveOf(t), "--trace", address)

	const trace, client = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	sampled := "00-" + trace + "-" + client + "-01"
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, strings.Replace(g.url, "http", "ws", 1)+"/v1/events/final/live?viewer=v1&device=d1&traceparent="+sampled, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	for _, text := range []string{
		`{"t":"event","seq":1,"name":"startup","traceparent":"00-11111111111111111111111111111111-2222222222222222-00"}`,
		`{"t":"event","seq":2,"name":"startup","traceparent":"` + sampled + `"}`,
		`{"t":"beat","seq":3,"traceparent":"no such thing"}`,
	} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for acked := false; !acked; {
		_, b, err := ws.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), `"t":"error"`) {
			t.Errorf("answered %s", b)
		}
		acked = strings.Contains(string(b), `"t":"ack","seq":3`)
	}
	ws.Close(websocket.StatusNormalClosure, "")

	parents := map[string]string{
		"gateway.handshake": "", "gateway.event": "", "gateway.ack": "gateway.event",
		"journal.append": "gateway.event", "journal.fsync": "journal.append", "journal.seal": "journal.append",
		"archiver.file": "journal.seal", "archiver.fetch": "archiver.file", "archiver.convert": "archiver.file",
		"archiver.put": "archiver.file", "archiver.verify": "archiver.file", "archiver.delete": "archiver.file",
	}
	eventually(t, 30*time.Second, "the whole trace", func() error {
		if got, _ := spans.of(trace); len(got) < len(parents) {
			return fmt.Errorf("only %v", slices.Sorted(maps.Keys(got)))
		}
		return nil
	})
	got, others := spans.of(trace)
	for name, parent := range parents {
		want := client
		if parent != "" {
			want = hex.EncodeToString(got[parent].GetSpanId())
		}
		if s := got[name]; hex.EncodeToString(s.GetParentSpanId()) != want || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("%s is not a part of %s: %v", name, parent, s)
		}
	}
	if others != 0 {
		t.Errorf("%d spans are of what nobody sampled", others)
	}
	object := ""
	for _, a := range got["archiver.file"].GetAttributes() {
		if a.Key == "grandstand.object" {
			object = a.Value.GetStringValue()
		}
	}
	if _, err := os.Stat(filepath.Join(archiveOf(t), object)); err != nil || object == "" {
		t.Errorf("the trace ends at the object %q: %v", object, err)
	}
}

// Nothing is traced unless it is said where to.
func TestTracesAreOffByDefault(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, "")
	}
	n := &node{cfg: &common{}}
	if err := n.openTracing(t.Context()); err != nil || n.tracer != nil {
		t.Errorf("by default there is a tracer %v, %v", n.tracer, err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	if options, err := tracingOptions(""); err != nil || options == nil {
		t.Errorf("with OpenTelemetry's own variable: %v, %v", options, err)
	}
}
