package blocker

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"grandstand"
)

const (
	sseHeartbeat = 15 * time.Second
	sseAskAgain  = 5 * time.Second // whether the token still holds

	// What a browser waits before it connects again, at least and at most: each
	// stream is told its own, or those of a blocker that dies would come in one wave.
	sseRetryMinMS, sseRetryMaxMS = 2000, 6000
)

// Why a stream ended, as the metric says it.
const (
	endClient  = "client"
	endSlow    = "slow_stream"
	endExpired = "token_expired"
	endRefused = "token_refused" // it was revoked
	endClosing = "closing"
)

// streamDevices answers GET /v1/accounts/{account}/devices/stream with
// Server-Sent Events: the list as GET devices answers it, at first and whenever
// it changed. A reader that is slow skips lists. The stream ends with the token.
func (b *Blocker) streamDevices(w http.ResponseWriter, r *http.Request) {
	const route = "stream"
	st := &stream{b: b, w: w, rc: http.NewResponseController(w), wake: make(chan struct{}, 1)}
	q, err := b.admit(r)
	if err == nil {
		var end func()
		if end, err = b.cfg.OpenStream(r); err == nil {
			defer end()
		}
	}
	if err == nil {
		st.q = q
		st.watch, err = b.join(q.account, st)
	}
	if err != nil {
		b.write(w, route, b.failed(route, err))
		return
	}
	defer st.watch.leave(st)
	select {
	case <-st.watch.first:
	case <-r.Context().Done():
	}
	if st.watch.newest() == nil {
		b.write(w, route, b.failed(route, grandstand.Errorf(grandstand.CodeUnavailable, "the account's devices cannot be looked up just now")))
		return
	}
	b.metrics.answered(route, http.StatusOK)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	b.metrics.streamEnds.WithLabelValues(st.follow()).Inc()
}

// stream is one reader of Server-Sent Events. It has one owner.
type stream struct {
	b     *Blocker
	q     *request
	w     http.ResponseWriter
	rc    *http.ResponseController
	watch *watch
	wake  chan struct{} // slot of one: there is a newer view
	shown *view
	buf   []byte
}

// follow shows every view until the reader, the token or the blocker goes. It
// returns which of them.
func (st *stream) follow() (end string) {
	var expired <-chan time.Time
	if at := st.q.caller.Expires; at != 0 {
		timer := time.NewTimer(time.Until(time.UnixMilli(at))) // by the clock of who let it in, not that of Redis
		defer timer.Stop()
		expired = timer.C
	}
	beat := time.NewTicker(sseHeartbeat)
	defer beat.Stop()
	ask := time.NewTicker(sseAskAgain)
	defer ask.Stop()
	end = st.write(fmt.Appendf(nil, "retry: %d\n\n", sseRetryMinMS+rand.IntN(sseRetryMaxMS-sseRetryMinMS+1)))
	if end == "" {
		end = st.show()
	}
	for end == "" {
		select {
		case <-st.q.Context().Done():
			end = endClient
		case <-st.watch.ctx.Done():
			end = endClosing
		case <-expired:
			end = endExpired
		case <-st.wake:
			end = st.show()
		case <-beat.C:
			end = st.write([]byte(": still here\n\n"))
		case <-ask.C:
			if _, err := st.b.cfg.Auth.Caller(st.q.Request); err != nil && grandstand.CodeOf(err) != grandstand.CodeUnavailable {
				end = endRefused
			}
		}
	}
	return end
}

// show writes the newest view, unless the reader has it. It returns why the
// stream ends, "" if it goes on.
func (st *stream) show() (end string) {
	v := st.watch.newest()
	if v == st.shown {
		return ""
	}
	st.shown = v
	head := st.b.headFor(st.q, v.at)
	head.Stale = v.stale
	text, err := json.Marshal(head)
	if err != nil {
		panic(err) // strings and numbers only
	}
	st.buf = strconv.AppendInt(append(st.buf[:0], "id: "...), v.at, 10)
	st.buf = append(st.buf, "\ndata: "...)
	st.buf = append(st.buf, text[:len(text)-1]...) // both are objects with members: they are joined into one
	st.buf = append(st.buf, ',')
	st.buf = append(st.buf, v.encoded()[1:]...)
	st.buf = append(st.buf, "\n\n"...)
	return st.write(st.buf)
}

// write returns why the stream ends: the reader is gone, or takes nothing for
// SlowLimit.
func (st *stream) write(p []byte) (end string) {
	st.rc.SetWriteDeadline(time.Now().Add(st.b.cfg.SlowLimit)) // not every writer can; then the connection's own holds
	_, err := st.w.Write(p)
	if err == nil {
		err = st.rc.Flush()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endSlow
	case err != nil:
		return endClient
	}
	return ""
}
