package blocker

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"grandstand"
)

// A heartbeat but for net/http and Redis.
func BenchmarkHeartbeat(b *testing.B) {
	bl := benched(b)
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest("POST", "/v1/accounts/a1/devices/tv/heartbeat", strings.NewReader(`{"event":"final","session":"s1","interval_ms":10000}`))
		req.Header.Set("Authorization", "Bearer acc=a1;lim=2")
		w := httptest.NewRecorder()
		bl.Handler().ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}

func benched(b *testing.B) *Blocker {
	f := newFakeRedis()
	bl, err := New(Config{
		Secret: secret, Clock: fakeClock{}, Leases: forgetful{f}, Accounts: f, Notices: f, Events: f, Auth: fakeAuth{},
		RequestRate: 1e9, RequestBurst: 1e9,
	})
	if err != nil {
		b.Fatal(err)
	}
	return bl
}

// forgetful does not remember what it was asked.
type forgetful struct{ *fakeRedis }

func (f forgetful) Ask(ctx context.Context, asks []grandstand.Ask) []grandstand.Answer {
	a := f.fakeRedis.Ask(ctx, asks)
	f.see(func() { f.asks = f.asks[:0] })
	return a
}

// What an account costs that is remembered for its rate.
func BenchmarkRates(b *testing.B) {
	const accounts = 1 << 16
	for b.Loop() {
		r := newRates(20, 100, accounts)
		before := heap()
		for i := range accounts {
			var key grandstand.Key
			binary.BigEndian.PutUint64(key[:], uint64(i))
			r.take(key, time.Now())
		}
		b.ReportMetric(float64(heap()-before)/accounts, "B/account")
		runtime.KeepAlive(r)
	}
}

// What an idle stream costs, each of an account of its own, over TCP. The
// clients are in the process too; theirs is measured with one that is idle, and
// taken off.
func BenchmarkStreams(b *testing.B) {
	const streams = 500
	for b.Loop() {
		b.ReportMetric(float64(streamCost(b, streams, "devices/stream")-streamCost(b, streams, "idle"))/streams, "B/stream")
	}
}

func streamCost(b *testing.B, streams int, path string) int64 {
	bl := benched(b)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() { bl.Run(ctx) })
	for !bl.Ready() {
		runtime.Gosched()
	}
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "idle") { // a connection that waits in its handler
			w.Write([]byte("\n"))
			http.NewResponseController(w).Flush()
			<-ctx.Done()
			return
		}
		bl.Handler().ServeHTTP(w, r)
	})
	srv := httptest.NewServer(serve)
	before := heap()
	bodies := make([]io.Closer, 0, streams)
	for i := range streams {
		req, _ := http.NewRequest("GET", fmt.Sprintf("%s/v1/accounts/a%d/%s", srv.URL, i, path), nil)
		req.Header.Set("Authorization", "Bearer service")
		resp, err := srv.Client().Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp, err)
		}
		resp.Body.Read(make([]byte, 1))
		bodies = append(bodies, resp.Body)
	}
	cost := heap() - before
	cancel()
	for _, c := range bodies {
		c.Close()
	}
	srv.Close()
	wg.Wait()
	return cost
}

// heap returns the bytes in use, stacks included.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
