package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"grandstand"
	"grandstand/archiver"
)

// A replay serves its boards as a gateway does: those of fifteen seconds, ten
// times as fast, and the last one until it is interrupted.
func TestAReplayServesItsBoards(t *testing.T) {
	beside(t) // it mostly waits
	const begin = 1_795_299_000_000
	event := grandstand.Event{Name: "final", Dims: []grandstand.Dimension{{Name: "team"}}, TickMS: 1000, BeatMS: 10_000}
	if err := event.Normalize(); err != nil {
		t.Fatal(err)
	}
	var raws []*grandstand.RawEvent
	for i := range int64(3) { // one after the other comes; all leave
		for _, e := range []grandstand.RawEvent{
			{Kind: grandstand.RawJoin, ReceivedAt: begin + 100 + 5000*i, Data: []byte(`{"how":"opened"}`)},
			{Kind: grandstand.RawLeave, ReceivedAt: begin + 15_100, Data: []byte(`{"how":"closed"}`)},
		} {
			e.Event, e.Session, e.Viewer = []byte("final"), fmt.Append(nil, "session-", i), grandstand.Key{byte(i + 1)}
			e.Segments = grandstand.AppendSegments(nil, event.Dims, []string{"KC"})
			raws = append(raws, &e)
		}
	}
	slices.SortStableFunc(raws, func(a, b *grandstand.RawEvent) int { return int(a.ReceivedAt - b.ReceivedAt) })
	archive := "file:" + archiveOf(t)
	adopted(t, archive, raws)
	store, err := archiver.OpenStore(t.Context(), archive)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.SaveCheckpoint(t.Context(), &grandstand.Checkpoint{Event: event}); err != nil {
		t.Fatal(err)
	}

	addr := freeAddr(t)
	url := "http://" + addr + "/v1/events/final/counts"
	p := start(t, "replay", "archive", "replay", "--archive", archive, "--listen", addr, "--speed", "10", "final")
	eventually(t, 10*time.Second, "the replay serves", func() error {
		status, _ := tryGet(url)
		if status != http.StatusOK {
			return errNotYet
		}
		return nil
	})
	var shown []uint64
	for b := range sse(t, url+"/stream") {
		c, err := parseCounts(b)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.World.Sessions; len(shown) == 0 || shown[len(shown)-1] != n {
			shown = append(shown, n)
		}
		if c.World.Sessions == 0 {
			break
		}
	}
	if want := []uint64{1, 2, 3, 0}; !slices.Equal(shown, want) && !slices.Equal(shown, want[1:]) {
		t.Errorf("the stream shows %v, want %v", shown, want)
	}
	eventually(t, 5*time.Second, "the replay is over", func() error {
		if !strings.Contains(p.log.String(), "6 rows") {
			return errNotYet
		}
		return nil
	})
	c, err := getCounts("http://"+addr, "final")
	if err != nil || c.World.Peak != 3 || c.World.Reach != 3 || c.Quality != "live" {
		t.Errorf("in the end %+v, %v", c, err)
	}
	p.signal(syscall.SIGINT)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func tryGet(url string) (status int, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// adopted has an archiver archive a journal of these events that somebody left.
func adopted(t *testing.T, archive string, raws []*grandstand.RawEvent) {
	t.Helper()
	dir, id := t.TempDir(), strings.Repeat("ab", 16)
	b := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: id, File: 1, Gateway: "gone", CreatedAt: raws[0].ReceivedAt})
	for _, e := range raws {
		b = grandstand.AppendEventRecord(b, e)
	}
	b = grandstand.AppendSealRecord(b, &grandstand.JournalSeal{Events: uint64(len(raws)), SealedAt: raws[len(raws)-1].ReceivedAt})
	for name, text := range map[string][]byte{"ID": []byte(id + "\n"), "LOCK": nil, "00000001.journal": b} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, "archiver", "archiver", "--admin", "", "--secret", testSecret, "--archive", archive, "--adopt", dir)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Fatalf("the archiver ended with code %d", code)
	}
}
