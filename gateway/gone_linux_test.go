package gateway

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A handshake may wait in a queue for longer than its client does. Who has hung up
// does not join, and would count until its deadline; who sent something first does,
// since that may be a goodbye.
func TestWhoHasHungUpDoesNotJoin(t *testing.T) {
	rg := newRig(t, rigConfig{tcp: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(query string, then ...byte) {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String()) // into the queue of those that nobody has accepted yet
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "GET /v1/events/final/live?%s HTTP/1.1\r\nHost: gateway.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: grandstand.v1\r\n\r\n%s", query, then); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	for i := range 10 {
		ask(fmt.Sprint("viewer=gone", i))
	}
	ask("viewer=v1", frame(0x81, []byte(`{"t":"beat","seq":1,"state":"ended"}`))...)
	srv := &http.Server{Handler: rg.g.Handler()}
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(l) }()
	defer func() { srv.Close(); <-served }()

	until(t, "ten are gone and one has joined", func() bool {
		return testutil.ToFloat64(rg.g.metrics.refused.WithLabelValues("live", "gone")) == 10 &&
			testutil.ToFloat64(rg.g.metrics.joins.WithLabelValues("new")) == 1
	})
}
