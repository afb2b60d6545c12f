package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"grandstand"
	"grandstand/aggregator"
	"grandstand/archiver"
	"grandstand/gateway"
)

type archiveReplayCmd struct {
	archived
	spanFlags
	Event  string  `arg:"" help:"Which event."`
	Boards bool    `help:"Print the board of every tick as JSON, one a line, and not the comparison alone."`
	Speed  float64 `help:"How many times as fast as it was; 0: as fast as it goes."`
	Listen string  `help:"host:port at which the boards are served as a gateway does, for the public: /v1/events/EVENT/counts and /v1/events/EVENT/counts/stream. Goes on with the last one until it is interrupted." placeholder:"ADDRESS"`
}

// Run counts the event's rows again, by the aggregator's own merge.
func (c *archiveReplayCmd) Run(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	cp, err := s.LoadCheckpoint(ctx, c.Event)
	if err != nil {
		return err
	}
	if cp == nil {
		return wrongUsef("there is no check-point of %s in the archive: it says which dimensions the event has", c.Event)
	}
	life := newLife(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	shown := &replayed{event: c.Event, over: make(chan struct{})}
	if c.Listen != "" {
		if _, err := life.serve(endpoint{name: "boards", address: c.Listen, handler: shown.handler()}); err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		life.onStop("streams", 0, func(context.Context) error { close(shown.over); return nil })
	}
	err = c.replay(ctx, s, &cp.Event, shown)
	if c.Listen == "" || err != nil && ctx.Err() == nil {
		return errors.Join(err, life.stop())
	}
	return life.wait(ctx) // which has ended if it was interrupted before its end
}

// replay counts, and compares with what was shown live.
func (c *archiveReplayCmd) replay(ctx context.Context, s *archiver.Store, event *grandstand.Event, shown *replayed) error {
	meter := &liveSeries{ctx: ctx, store: s, event: c.Event}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	boards, started, first := 0, time.Now(), int64(0)
	replay := aggregator.NewReplay(event, func(b *grandstand.Board) error {
		boards++
		if first == 0 {
			first = b.At
		}
		if err := meter.compare(b); err != nil {
			return err
		}
		if c.Boards {
			if err := json.NewEncoder(out).Encode(boardLine(b)); err != nil {
				return err
			}
		}
		if err := c.pace(ctx, out, started, b.At-first); err != nil {
			return err
		}
		if c.Listen != "" {
			shown.show(b)
		}
		return nil
	})
	rows := 0
	if err := s.Rows(ctx, c.options(c.Event, c.Temp), func(r *archiver.Row) error {
		raw, err := r.Raw()
		if err == nil {
			rows++
			err = replay.Add(&raw)
		}
		return err
	}); err != nil {
		return err
	}
	if err := replay.Finish(); err != nil {
		return err
	}
	out.Flush()
	return meter.print(os.Stderr, rows, boards)
}

// pace waits until a board is due, ms after the first.
func (c *archiveReplayCmd) pace(ctx context.Context, out *bufio.Writer, started time.Time, ms int64) error {
	if c.Speed <= 0 {
		return ctx.Err()
	}
	out.Flush()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(started.Add(time.Duration(float64(ms)/c.Speed) * time.Millisecond))):
		return nil
	}
}

// boardLine is a board as it is printed: [sessions, fans] by segment.
func boardLine(b *grandstand.Board) any {
	n := make(map[string][2]uint64, len(b.Segments))
	for _, s := range b.Segments {
		n[s.Segment.String()] = [2]uint64{s.Sessions, s.Fans}
	}
	return struct {
		At int64                `json:"at"`
		N  map[string][2]uint64 `json:"n"`
	}{b.At, n}
}

// liveSeries compares with what was shown live, hour by hour.
type liveSeries struct {
	ctx   context.Context
	store *archiver.Store
	event string

	hour  int64
	meter *aggregator.DriftMeter
}

func (l *liveSeries) compare(b *grandstand.Board) error {
	if l.meter == nil {
		l.meter = aggregator.NewDriftMeter(nil)
	}
	if hour := grandstand.HourOf(b.At); hour != l.hour {
		steps, err := l.store.LoadSteps(l.ctx, l.event, hour)
		if err != nil {
			return err
		}
		l.hour = hour
		l.meter.Series(steps)
	}
	l.meter.Compare(b)
	return nil
}

func (l *liveSeries) print(out io.Writer, rows, boards int) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "%d rows, %d boards\nlive_vs_archive_drift\tpoints\tmean\tmax\tat\n", rows, boards)
	if l.meter != nil {
		for _, d := range l.meter.Drifts() {
			at := ""
			if d.Max > 0 {
				at = time.UnixMilli(d.MaxAt).UTC().Format(time.TimeOnly)
			}
			fmt.Fprintf(w, "%s\t%d\t%.3f %%\t%.3f %%\t%s\n", d.Segment, d.Points, 100*d.Mean, 100*d.Max, at)
		}
	}
	return w.Flush()
}

// replayed serves the newest board of a replay. The age that it tells is that of
// the replay: none.
type replayed struct {
	event string        // static
	over  chan struct{} // closed when streams are to end

	mu sync.Mutex

	// guarded by mu
	newest []byte        // as GET counts answers; nil: there is none yet
	at     int64         // its time
	next   chan struct{} // closed with the next one; nil if nobody waits
}

func (r *replayed) show(b *grandstand.Board) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest, r.at = gateway.AppendCounts(nil, b, b.At), b.At // who reads has the one before
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}

// board returns the newest board, and what is closed when there is another.
func (r *replayed) board() (text []byte, at int64, next <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = make(chan struct{})
	}
	return r.newest, r.at, r.next
}

func (r *replayed) handler() http.Handler {
	mux := http.NewServeMux()
	path := "GET /v1/events/" + r.event + "/counts"
	mux.HandleFunc(path, r.counts)
	mux.HandleFunc(path+"/stream", r.stream)
	return mux
}

func (r *replayed) counts(w http.ResponseWriter, _ *http.Request) {
	text, _, _ := r.board()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if text == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = []byte(`{"code":"unavailable","message":"the replay has no board yet"}`)
	}
	_, _ = w.Write(text)
}

// stream sends each board as a Server-Sent Event. A reader who is slow misses
// some.
func (r *replayed) stream(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for {
		text, at, next := r.board()
		if text != nil {
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", at, text); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-next:
		case <-r.over:
			return
		case <-req.Context().Done():
			return
		}
	}
}
