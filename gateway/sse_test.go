package gateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// stuck is a writer whose reader takes nothing.
type stuck struct{ *httptest.ResponseRecorder }

func (stuck) FlushError() error                { return os.ErrDeadlineExceeded }
func (stuck) SetWriteDeadline(time.Time) error { return nil }

func TestASlowStreamIsCounted(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		w := stuck{httptest.NewRecorder()}
		st := &stream{g: rg.g, w: w, rc: http.NewResponseController(w)}
		if st.write([]byte(": hello\n\n")) {
			t.Error("the stream goes on")
		}
		if n := testutil.ToFloat64(rg.g.metrics.closes.WithLabelValues("slow_stream")); n != 1 {
			t.Errorf("%v slow streams are counted", n)
		}
	})
}

// The streams of a gateway that dies come back one by one.
func TestEachStreamIsToldItsOwnWait(t *testing.T) {
	inBubble(t, rigConfig{}, func(t *testing.T, rg *rig) {
		rg.put("final", `{}`)
		rg.do(http.MethodDelete, "/v1/events/final", "") // then a stream says all at once
		least, most, seen := sseRetryMaxMS, sseRetryMinMS, map[int]bool{}
		for range 200 {
			_, text, _ := rg.do(http.MethodGet, "/v1/events/final/counts/stream", "")
			var ms int
			if _, err := fmt.Sscanf(text, "retry: %d\n\n", &ms); err != nil {
				t.Fatalf("a stream begins with %.40q", text)
			}
			least, most, seen[ms] = min(least, ms), max(most, ms), true
		}
		if least < 2000 || least > 2500 || most < 5500 || most > 6000 || len(seen) < 150 {
			t.Errorf("200 streams are told %d waits of %d to %d ms", len(seen), least, most)
		}
	})
}
