// Package pitch makes the moving pictures of the demo: a football match seen from
// above, drawn and encoded by ffmpeg as a live HLS stream (RFC 8216).
//
// In: nothing but time.
//
// Out: GET live.m3u8 and the files that it names: the last five minutes.
package pitch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"grandstand"
)

// ErrNone is returned by New where there is no ffmpeg.
var ErrNone = errors.New("there is no ffmpeg on this machine")

// stopBound is how long ffmpeg may take to end once it was asked to.
const stopBound = 2 * time.Second

// Stream is one live stream. It may be read by any number of requests at the same
// time.
type Stream struct {
	ffmpeg string                 // its path
	dir    atomic.Pointer[string] // where the files are, while Run runs
}

// New finds ffmpeg. It starts nothing.
func New() (*Stream, error) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	return &Stream{ffmpeg: ffmpeg}, nil
}

// Run makes the stream, in a directory of its own that it removes, until ctx ends
// or ffmpeg does; only the latter is an error. It runs once.
func (s *Stream) Run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "grandstand-pitch-")
	if err != nil {
		return fmt.Errorf("make a directory for the stream: %w", err)
	}
	defer os.RemoveAll(dir)
	var said lastWords
	cmd := exec.CommandContext(ctx, s.ffmpeg, liveArgs()...)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = dir, &said, stopBound
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	// A child that is to die with its parent does so with the parent's thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieTogether(cmd)
	s.dir.Store(&dir)
	defer s.dir.Store(nil)
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("ffmpeg ended: %w: %s", errors.Join(err, errUnasked), bytes.TrimSpace(said.text))
}

var errUnasked = errors.New("nobody asked it to")

// lastWords keeps the end of what is written to it.
type lastWords struct{ text []byte }

func (l *lastWords) Write(p []byte) (int, error) {
	const most = 1 << 10
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-most):]
	return len(p), nil
}

// files are those that there can be.
var files = regexp.MustCompile(`^(live\.m3u8|init\.mp4|[0-9]{5,9}\.m4s)$`)

var kinds = map[string]string{".m3u8": "application/vnd.apple.mpegurl", ".mp4": "video/mp4", ".m4s": "video/iso.segment"}

// ServeHTTP serves the playlist and what it names, by the last part of the path.
// What is not there, or not yet, or no more, is 404.
func (s *Stream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, dir := strings.TrimPrefix(r.URL.Path, "/"), s.dir.Load()
	if dir == nil || !files.MatchString(name) {
		missing(w)
		return
	}
	body, err := os.ReadFile(filepath.Join(*dir, name))
	if err != nil {
		missing(w)
		return
	}
	w.Header().Set("Content-Type", kinds[path.Ext(name)])
	w.Header().Set("Cache-Control", "no-store") // the next stream has the same names
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
}

func missing(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNotFound)
	json.NewEncoder(w).Encode(map[string]string{"code": string(grandstand.CodeNotFound), "message": "there is no such part of the stream; it begins at live.m3u8"})
}
