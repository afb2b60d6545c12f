package gateway

import (
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
