package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// Clients cannot make a gateway trace more than it says it will, and a message
// that is refused ends its span with the reason.
func TestTracesAreBounded(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	j := &fakeJournal{}
	inBubble(t, withJournal(j, rigConfig{set: func(c *Config) {
		c.Tracer = provider.Tracer("test")
		c.MessageRate, c.MessageBurst = 1e6, 1e6
	}}), func(t *testing.T, rg *rig) {
		j.committed = rg.g.Committed
		v := rg.watch("viewer=v1")
		send := func(seq int, flags string) {
			v.send(fmt.Sprintf(`{"t":"beat","seq":%d,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-%s"}`, seq, flags))
		}
		beats := func() (n int, refused string) {
			for _, s := range recorder.Ended() {
				if s.Name() == "gateway.beat" {
					n++
					refused = s.Status().Description
				}
			}
			return n, refused
		}
		for i := range 100 {
			send(i+1, "00") // not sampled
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if n, _ := beats(); n != 0 {
			t.Errorf("%d beats are traced that nobody sampled", n)
		}
		for i := range 500 {
			send(i+101, "01")
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if n, _ := beats(); n < traceBurst || n > traceBurst+1 {
			t.Errorf("%d beats of 500 are traced at once, want %d", n, traceBurst)
		}
		time.Sleep(10 * time.Second) // the bucket is full again
		j.set(func() { j.refuse = true })
		send(1000, "01")
		if m := v.next("error"); m["code"] != "unavailable" {
			t.Errorf("refused with %v", m)
		}
		synctest.Wait()
		if n, refused := beats(); n < traceBurst+1 || refused != "unavailable" {
			t.Errorf("%d beats, the last ended with %q", n, refused)
		}
		v.leave()
	})
}
