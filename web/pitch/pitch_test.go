package pitch

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "make web/static/clip.webm again")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine returns a stream by the ffmpeg of this machine. That there is none is a
// failure: make tools installs it.
func machine(t *testing.T) *Stream {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatalf("%v (make tools installs it)", err)
	}
	return s
}

// runs starts a stream, and ends it with the test.
func runs(t *testing.T, s *Stream) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { stop() })
	return stop
}

func get(s *Stream, name string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/"+name, nil))
	return w
}

// until asks again until it is told yes.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ask(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestALiveStream(t *testing.T) {
	s := machine(t)
	if w := get(s, "live.m3u8"); w.Code != 404 {
		t.Errorf("before it runs: %d", w.Code)
	}
	stop := runs(t, s)
	var list string
	until(t, "two segments", func() bool {
		list = get(s, "live.m3u8").Body.String()
		return strings.Count(list, ".m4s") >= 2
	})
	dir := *s.dir.Load()
	for _, want := range []string{`#EXT-X-MAP:URI="init.mp4"`, "#EXT-X-PROGRAM-DATE-TIME:", "#EXT-X-MEDIA-SEQUENCE:0", "#EXTINF:2.0"} {
		if !strings.Contains(list, want) {
			t.Errorf("the playlist has no %s:\n%s", want, list)
		}
	}
	for _, name := range append(regexp.MustCompile(`[0-9]+\.m4s`).FindAllString(list, -1), "init.mp4") {
		if w := get(s, name); w.Code != 200 || w.Body.Len() < 500 || !strings.HasPrefix(w.Header().Get("Content-Type"), "video/") {
			t.Errorf("%s: %d, %d bytes of %s", name, w.Code, w.Body.Len(), w.Header().Get("Content-Type"))
		}
	}
	// The init segment names the codec: avc1, profile 66, level 30.
	if init := get(s, "init.mp4").Body.String(); !strings.Contains(init, "avcC\x01\x42\xc0\x1e") {
		t.Error("the stream is not avc1.42c01e, which the page asks for")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
	if w := get(s, "live.m3u8"); w.Code != 404 {
		t.Errorf("after it ran: %d", w.Code)
	}
}

func TestOnlyItsFilesAreServed(t *testing.T) {
	s := &Stream{}
	dir := t.TempDir()
	s.dir.Store(&dir)
	for _, name := range []string{"live.m3u8", "secret", "00001.m4s"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, status := range map[string]int{"live.m3u8": 200, "00001.m4s": 200, "00002.m4s": 404, "secret": 404, "../secret": 404, "": 404, "live.m3u8.tmp": 404} {
		w := get(s, name)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", name, w.Code, status)
		}
		var body struct{ Code, Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &body); status == 404 && (err != nil || body.Code != "not_found") {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

// What ffmpeg said last is in the error.
func TestAnFfmpegThatEndsIsAnError(t *testing.T) {
	script := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x >&2; echo Unknown encoder >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := (&Stream{ffmpeg: script}).Run(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "Unknown encoder") || !errors.Is(err, errUnasked) || len(err.Error()) > 2000 {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := New(); !errors.Is(err, ErrNone) {
		t.Errorf("without ffmpeg: %v", err)
	}
}

// The clip is what clipArgs make; with -update it is made again.
func TestTheClip(t *testing.T) {
	const clip = "../static/clip.webm"
	if *update {
		if out, err := exec.Command(machine(t).ffmpeg, clipArgs(clip)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	info, err := os.Stat(clip)
	if err != nil || info.Size() < 10_000 || info.Size() > 700_000 {
		t.Fatalf("%v, %v", info, err)
	}
	// Nothing on the picture has a period that does not divide the clip's.
	if n := strings.Count(picture(clipRate), fmt.Sprintf("*t/%d+", loopSeconds)); n != 2*len(movers()) {
		t.Errorf("%d of %d motions are without a seam", n, 2*len(movers()))
	}
}
