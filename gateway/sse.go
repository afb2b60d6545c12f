package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"grandstand"
)

const (
	sseHeartbeat = 15 * time.Second
	sseAskAgain  = 5 * time.Second // whether the reader still may read

	// What a browser waits before it connects again, at least and at most: each
	// stream is told its own, or those of a gateway that dies would come in one wave.
	sseRetryMinMS, sseRetryMaxMS = 2000, 6000
)

// streamCounts answers GET /v1/events/{event}/counts/stream with Server-Sent
// Events: the same object as GET counts, once a tick, with "at" as its id. A
// reader that is slow skips ticks.
func (g *Gateway) streamCounts(w http.ResponseWriter, r *http.Request) {
	e, err := g.readable(r)
	var s selection
	if err == nil {
		s, err = g.selectionOf(r, e)
	}
	var mine share
	if err == nil {
		mine, err = g.cfg.Limits.open(g.cfg.Limits.networkOf(r), grandstand.Key{})
	}
	if err == nil && !g.admitConn() {
		g.cfg.Limits.close(mine)
		err = g.full()
	}
	if err != nil {
		g.fail(w, "stream", err)
		return
	}
	defer g.leaveConn(mine)
	if e.State == grandstand.EventEnded && r.Header.Get("Last-Event-ID") != "" {
		w.WriteHeader(http.StatusNoContent) // tells a browser to stop (HTML, 9.2.3)
		return
	}
	st := &stream{g: g, w: w, rc: http.NewResponseController(w), s: s}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if !st.write(fmt.Appendf(nil, "retry: %d\n\n", sseRetryMinMS+rand.IntN(sseRetryMaxMS-sseRetryMinMS+1))) {
		return
	}
	if e.State == grandstand.EventEnded {
		if b, err := g.board(r.Context(), e); err == nil {
			st.show(b)
		}
		return
	}
	st.follow(r, e)
}

// stream is one reader of Server-Sent Events. It has one owner.
type stream struct {
	g   *Gateway
	w   http.ResponseWriter
	rc  *http.ResponseController
	s   selection
	buf []byte

	order order // of the boards that were shown
}

// follow shows every view until the reader or the gateway goes, or the event is
// over.
func (st *stream) follow(r *http.Request, e *grandstand.Event) {
	var slot atomic.Pointer[grandstand.View]
	wake := make(chan struct{}, 1)
	newest, cancel := st.g.cfg.Hub.Subscribe(e, func(v *grandstand.View) {
		slot.Store(v)
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer cancel()
	if newest != nil && !st.show(newest.Board) {
		return
	}
	beat := time.NewTicker(sseHeartbeat)
	defer beat.Stop()
	ask := time.NewTicker(sseAskAgain)
	defer ask.Stop()
	for {
		ok := true
		select {
		case <-r.Context().Done():
			return
		case <-st.g.closing:
			return
		case <-st.g.ended:
			return
		case <-wake:
			if v := slot.Swap(nil); v != nil {
				ok = st.show(v.Board) && v.Board.Quality != grandstand.Final
			}
		case <-beat.C:
			ok = st.write([]byte(": still here\n\n"))
		case <-ask.C:
			ok = st.mayGoOn(r)
		}
		if !ok {
			return
		}
	}
}

// mayGoOn asks again what the request was asked at first: its token may have
// expired or been revoked, the event may not be public any more. What cannot be
// found out just now ends nothing.
func (st *stream) mayGoOn(r *http.Request) bool {
	e, err := st.g.readable(r)
	if err != nil {
		return grandstand.CodeOf(err) == grandstand.CodeUnavailable
	}
	s, err := st.g.selectionOf(r, e)
	return err == nil && s.operator == st.s.operator
}

func (st *stream) show(b *grandstand.Board) bool {
	st.order.check(st.g, b.Event, b.Epoch, b.At)
	now := st.g.cfg.Clock.Now()
	if b.Quality != grandstand.Final {
		st.g.metrics.age.observe(now-b.At, 1)
	}
	c := st.g.counts.get(b, st.s)
	st.buf = strconv.AppendInt(append(st.buf[:0], "id: "...), b.At, 10)
	st.buf = append(st.buf, "\ndata: "...)
	st.buf = c.appendJSON(st.buf, now)
	st.buf = append(st.buf, "\n\n"...)
	return st.write(st.buf)
}

// write reports false if the reader is gone, or takes nothing for SlowLimit,
// which is counted.
func (st *stream) write(p []byte) bool {
	st.rc.SetWriteDeadline(time.Now().Add(st.g.cfg.SlowLimit)) // not every writer can; then the connection's own holds
	_, err := st.w.Write(p)
	if err == nil {
		err = st.rc.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		st.g.metrics.closes.WithLabelValues("slow_stream").Inc()
	}
	return err == nil
}
