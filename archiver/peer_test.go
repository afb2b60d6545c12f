package archiver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"grandstand"
)

var testSecret = []byte("a secret")

// gateway serves a journal as gateways do, and breaks off now and then.
type gateway struct {
	t testing.TB

	mu      sync.Mutex
	files   map[string][]byte // by path
	list    []JournalFile
	cut     int // bytes after which an answer breaks off; 0: never
	asked   []string
	refuse  int // deletes that are put off
	deleted int
}

func startGateway(t testing.TB, files map[string][]byte) (*gateway, *Peer) {
	g := &gateway{t: t, files: map[string][]byte{}}
	for name, b := range files {
		var n uint64
		if _, err := fmt.Sscanf(name, "%d.journal", &n); err != nil {
			t.Fatal(err)
		}
		f := JournalFile{Journal: testJournal, Number: n, Size: int64(len(b))}
		g.list = append(g.list, f)
		g.files[pathOf(f)] = b
	}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return g, NewPeer(server.URL, testSecret, &http.Client{Transport: transport})
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, r.Method+" "+r.Header.Get("Range"))
	if r.Header.Get("Authorization") != "Bearer "+grandstand.PeerToken(testSecret) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"code":"unauthorized","message":"show the token of a member"}`)
		return
	}
	b, ok := g.files[r.URL.Path]
	switch {
	case r.Method == http.MethodGet && r.URL.Path == filesPath:
		var list grandstand.JournalFiles
		for _, f := range g.list {
			if g.files[pathOf(f)] != nil {
				list.Files = append(list.Files, f)
			}
		}
		json.NewEncoder(w).Encode(list)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"code":"not_found","message":"there is no such file"}`)
	case r.Method == http.MethodDelete:
		if g.refuse > 0 {
			g.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		g.deleted++
		delete(g.files, r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	case g.cut > 0:
		http.ServeContent(&cutWriter{ResponseWriter: w, left: g.cut}, r, "", time.Time{}, strings.NewReader(string(b)))
	default:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
	}
}

// cutWriter breaks the connection off after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.ResponseWriter.Write(b)
	}
	c.ResponseWriter.Write(b[:c.left])
	c.ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestAGatewaysFilesBecomeObjects(t *testing.T) {
	files, want := twoFiles(31)
	g, p := startGateway(t, files)
	g.cut = 7000 // a file takes four connections
	g.refuse = 1 // the newest file stays until there is another one
	s := open(t, "file:"+t.TempDir())
	a := newArchiver(t, Config{Store: s, Sources: sources(p), Poll: time.Millisecond, jitter: func() float64 { return 0.01 }})
	runUntil(t, a, "all is archived", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.files) == 0
	})
	rows, keys := liveObjects(t, s)
	sameRows(t, rows, want)
	if len(keys) != 2 {
		t.Errorf("objects: %v", keys)
	}
	resumed := 0
	for _, a := range g.asked {
		if strings.HasPrefix(a, "GET bytes=") {
			resumed++
		}
	}
	if resumed < 4 || g.deleted != 2 {
		t.Errorf("%d resumes, %d deletes: %q", resumed, g.deleted, g.asked)
	}
}

func TestAPeersTroublesHaveCodes(t *testing.T) {
	files, _ := twoFiles(31)
	g, p := startGateway(t, files)
	ctx := t.Context()
	list, err := p.Files(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	stranger := NewPeer(p.base, []byte("another"), p.client)
	if _, err := stranger.Files(ctx); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
		t.Errorf("list with another secret: %v", err)
	}
	if _, err := stranger.Open(ctx, list[0]); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
		t.Errorf("open with another secret: %v", err)
	}
	if err := stranger.Delete(ctx, list[0]); grandstand.CodeOf(err) != grandstand.CodeUnauthorized {
		t.Errorf("delete with another secret: %v", err)
	}
	gone := JournalFile{Journal: testJournal, Number: 9, Size: 1}
	if _, err := p.Open(ctx, gone); grandstand.CodeOf(err) != grandstand.CodeNotFound {
		t.Errorf("open what is gone: %v", err)
	}
	if err := p.Delete(ctx, gone); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
	longer := list[0]
	longer.Size++
	if _, err := p.Open(ctx, longer); grandstand.CodeOf(err) != grandstand.CodeConflict {
		t.Errorf("open with another size: %v", err)
	}
	g.cut = 1 // it never gets anywhere
	f, err := p.Open(ctx, list[0])
	if err == nil {
		_, err = io.Copy(io.Discard, f)
		f.Close()
	}
	if err == nil {
		t.Error("a file that breaks off all the time is read")
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.Files(ctx); err == nil {
		t.Error("a call whose context ended succeeds")
	}
	for _, bad := range []JournalFile{{Journal: "../../x", Number: 1}, {Journal: testJournal, Number: 0}, {Journal: testJournal, Number: 1, Size: -1}} {
		g.mu.Lock()
		g.list = []JournalFile{bad}
		g.files[pathOf(bad)] = []byte{}
		g.mu.Unlock()
		if list, err := p.Files(t.Context()); grandstand.CodeOf(err) != grandstand.CodeInvalid {
			t.Errorf("%+v is listed: %v, %v", bad, list, err)
		}
	}
}

func TestAPeerWithoutAJournalHasNoFiles(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if list, err := NewPeer(server.URL, testSecret, server.Client()).Files(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestPeersStayTheSame(t *testing.T) {
	p := NewPeers(testSecret, "http", nil)
	one := p.Sources([]string{"a:1", "b:1", "a:1"})
	two := p.Sources([]string{"b:1", "c:1"})
	if len(one) != 2 || len(two) != 2 || one[1] != two[0] {
		t.Errorf("%v, %v", one, two)
	}
	if again := p.Sources([]string{"a:1"}); again[0] == one[0] {
		t.Error("a peer that was gone is remembered")
	}
}

func TestFilesAreSpreadOverArchivers(t *testing.T) {
	members := []string{"a", "b", "c", "d"}
	share := map[string]int{}
	moved := 0
	const files = 4000
	for n := range uint64(files) {
		f := JournalFile{Journal: testJournal, Number: n}
		owner := Owner(f, members)
		share[owner]++
		if reordered := Owner(f, []string{"d", "c", "b", "a"}); reordered != owner {
			t.Fatalf("file %d: the order of the members makes %s of %s", n, reordered, owner)
		}
		if next := Owner(f, members[:3]); owner != "d" && next != owner {
			moved++
		}
	}
	for _, m := range members {
		if share[m] < files/4*8/10 || share[m] > files/4*12/10 {
			t.Errorf("shares: %v", share)
		}
	}
	if moved > 0 {
		t.Errorf("%d files moved between members that stayed", moved)
	}
	if owner := Owner(JournalFile{}, nil); owner != "" {
		t.Errorf("without members: %q", owner)
	}
}

func TestTheShareOfOthersIsTakenOverInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Store: &Store{}, Sources: sources(), TakeOver: 50 * time.Millisecond, Mine: func(f JournalFile) bool { return f.Number%2 == 1 }}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		q := newQueue(&cfg)
		s := &memSource{}
		files := []JournalFile{{Journal: testJournal, Number: 1}, {Journal: testJournal, Number: 2}}
		numbers := func(due []*job) (list []uint64) {
			for _, j := range due {
				list = append(list, j.file.Number)
			}
			return list
		}
		due, _, pending := q.update([]listing{{source: s, files: files}}, nil)
		if diff := gocmp.Diff([]uint64{1}, numbers(due)); diff != "" || pending != 1 {
			t.Fatalf("at first: %s, %d pending", diff, pending)
		}
		due, _, _ = q.update([]listing{{source: s, files: files}}, nil)
		if len(due) > 0 {
			t.Errorf("a file that is in work is handed out again: %v", numbers(due))
		}
		time.Sleep(cfg.TakeOver)
		due, lag, pending := q.update([]listing{{source: s, files: files}}, nil)
		if diff := gocmp.Diff([]uint64{2}, numbers(due)); diff != "" || pending != 2 || lag < cfg.TakeOver {
			t.Errorf("later: %s, %d pending, lag %v", diff, pending, lag)
		}
		for _, j := range due {
			q.finish(j, io.EOF)
		}
		if due, _, _ = q.update(nil, []listing{{source: s}}); len(due) > 0 || len(q.jobs) != 2 {
			t.Errorf("while the source does not answer: %v due, %d known", numbers(due), len(q.jobs))
		}
		q.finish(q.jobs[fileID{testJournal, 1}], nil)
		if _, _, pending = q.update([]listing{{source: s}}, nil); pending != 0 || len(q.jobs) != 0 {
			t.Errorf("once they are gone: %d pending, %d known", pending, len(q.jobs))
		}
	})
}
