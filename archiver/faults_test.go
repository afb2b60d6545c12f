package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"

	"grandstand"
	"grandstand/archiver/miniotest"
)

// memSource is a journal in memory. It looks at the store before it forgets a
// file: whoever deletes one must have stored it.
type memSource struct {
	t     testing.TB
	store *Store // not through what the test breaks

	mu      sync.Mutex
	files   map[JournalFile][]byte
	deletes int
}

func newMemSource(t testing.TB, s *Store, files map[string][]byte) *memSource {
	m := &memSource{t: t, store: s, files: map[JournalFile][]byte{}}
	for name, b := range files {
		var n uint64
		if _, err := fmt.Sscanf(name, "%d.journal", &n); err != nil {
			t.Fatal(err)
		}
		m.files[JournalFile{Journal: testJournal, Number: n, Size: int64(len(b))}] = b
	}
	return m
}

func (m *memSource) Files(context.Context) (list []JournalFile, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := range m.files {
		list = append(list, f)
	}
	return list, nil
}

func (m *memSource) Open(_ context.Context, f JournalFile) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[f]
	if !ok {
		return nil, errors.New("no such file")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *memSource) Delete(_ context.Context, f JournalFile) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deletes++
	if b, ok := m.files[f]; ok {
		_, want := mustConvert(m.t, f.Number, b)
		object, err := m.store.blobs.get(context.Background(), liveKey(want))
		if err != nil || object == nil {
			m.t.Errorf("file %d is deleted before it is stored: %v", f.Number, err)
		} else if got, err := checkBytes(object); err != nil || got.Digest != want.Digest || got.Rows != want.Rows {
			m.t.Errorf("file %d is deleted before its object is good: %+v, %v", f.Number, got, err)
		}
	}
	delete(m.files, f)
	return nil
}

func (m *memSource) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.files) == 0
}

// rig is a MinIO behind something that breaks.
type rig struct {
	direct *Store // past what breaks
	broken *Store
	source *memSource
	want   []flat
	a      *Archiver
}

// newRig builds one; through returns the address of what stands before the
// server at upstream.
func newRig(t *testing.T, through func(upstream string) (address string)) *rig {
	t.Helper()
	r := &rig{}
	r.direct, r.broken = behind(t, through)
	files, want := twoFiles(7)
	r.want, r.source = want, newMemSource(t, r.direct, files)
	r.a = newArchiver(t, Config{
		Store: r.broken, Sources: sources(r.source), Poll: 10 * time.Millisecond,
		jitter: func() float64 { return 0.02 },
	})
	return r
}

// behind returns a MinIO's store, and the same one behind a proxy.
func behind(t *testing.T, through func(upstream string) (address string)) (direct, proxied *Store) {
	t.Helper()
	bucket := miniotest.Start(t).Bucket("archive")
	u, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, bucket), open(t, strings.Replace(bucket, url.QueryEscape("http://"+endpoint.Host), url.QueryEscape("http://"+through(endpoint.Host)), 1))
}

func (r *rig) failures(steps ...string) (n float64) {
	for _, s := range steps {
		n += testutil.ToFloat64(r.a.metrics.failures.WithLabelValues(s))
	}
	return n
}

// check compares all that there is in the end.
func (r *rig) check(t *testing.T) {
	t.Helper()
	rows, keys := liveObjects(t, r.direct)
	sameRows(t, rows, r.want)
	if len(keys) != 2 {
		t.Errorf("objects: %v", keys)
	}
	if entries, err := r.direct.blobs.list(t.Context(), damagedPrefix); err != nil || len(entries) > 0 {
		t.Errorf("put aside: %v, %v", entries, err)
	}
}

// toxic puts a Toxiproxy before the server.
func toxic(t *testing.T, proxy **toxiproxy.Proxy) func(string) string {
	return func(upstream string) string {
		server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
		p := toxiproxy.NewProxy(server, "minio", "127.0.0.1:0", upstream)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		*proxy = p
		return p.Listen
	}
}

func addToxic(t *testing.T, p *toxiproxy.Proxy, text string) {
	t.Helper()
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreThatIsDownForAWhile(t *testing.T) {
	var p *toxiproxy.Proxy
	r := newRig(t, toxic(t, &p))
	p.Stop()
	runUntil(t, r.a, "puts fail", func() bool { return r.failures(stepPut) >= 4 })
	if rows, keys := liveObjects(t, r.direct); len(rows)+len(keys) > 0 || r.source.deletes > 0 {
		t.Fatalf("while the store is down: %v, %d deletes", keys, r.source.deletes)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	runUntil(t, r.a, "all is archived", r.source.empty)
	r.check(t)
}

func TestAStoreThatIsSlow(t *testing.T) {
	var p *toxiproxy.Proxy
	r := newRig(t, toxic(t, &p))
	addToxic(t, p, `{"name":"up","type":"bandwidth","stream":"upstream","attributes":{"rate":20}}`)
	addToxic(t, p, `{"name":"down","type":"latency","stream":"downstream","attributes":{"latency":100,"jitter":90}}`)
	addToxic(t, p, `{"name":"slices","type":"slicer","stream":"downstream","attributes":{"average_size":700,"size_variation":600,"delay":100}}`)
	runUntil(t, r.a, "all is archived", r.source.empty)
	r.check(t)
}

func TestAStoreThatClosesInTheMiddleOfAnUpload(t *testing.T) {
	var p *toxiproxy.Proxy
	r := newRig(t, toxic(t, &p))
	addToxic(t, p, `{"name":"cut","type":"limit_data","stream":"upstream","attributes":{"bytes":3000}}`)
	runUntil(t, r.a, "puts fail", func() bool { return r.failures(stepPut) >= 4 })
	if _, keys := liveObjects(t, r.direct); len(keys) > 0 || r.source.deletes > 0 {
		t.Fatalf("half of an upload: %v, %d deletes", keys, r.source.deletes)
	}
	if err := p.Toxics.RemoveToxic(t.Context(), "cut"); err != nil {
		t.Fatal(err)
	}
	// Answers break off as well: what was read back is not all.
	addToxic(t, p, `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":3000}}`)
	runUntil(t, r.a, "reading back fails", func() bool { return r.failures(stepVerify) >= 4 })
	if r.source.deletes > 0 {
		t.Fatalf("%d deletes of what was not read back", r.source.deletes)
	}
	if err := p.Toxics.RemoveToxic(t.Context(), "cut"); err != nil {
		t.Fatal(err)
	}
	runUntil(t, r.a, "all is archived", r.source.empty)
	r.check(t)
}

func TestAStoreThatAnswersWith500(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	r := newRig(t, proxied(t, func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
		if broken.Load() && rand.IntN(10) > 0 {
			// Now before, now after it was carried out.
			if rand.IntN(2) == 0 {
				serve(httptest.NewRecorder())
			}
			http.Error(w, "we encountered an internal error", http.StatusInternalServerError)
			return
		}
		serve(w)
	}))
	runUntil(t, r.a, "steps fail", func() bool { return r.failures(steps...) >= 6 || r.source.empty() })
	broken.Store(false)
	runUntil(t, r.a, "all is archived", r.source.empty)
	r.check(t)
}

// proxied puts a handler before the server; serve passes the
// request on.
func proxied(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter))) func(string) string {
	return func(upstream string) string {
		transport := &http.Transport{DisableKeepAlives: true}
		proxy := &httputil.ReverseProxy{
			Transport: transport,
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "http", Host: upstream})
				r.Out.Host = r.In.Host // it is signed
			},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { w.WriteHeader(http.StatusBadGateway) },
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handle(w, r, func(w http.ResponseWriter) { proxy.ServeHTTP(w, r) })
		}))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
}

// A store that does not know the condition is written to without it, and one
// that pays no heed to it is looked at first.
func TestAStoreWithoutConditionalPuts(t *testing.T) {
	var refused atomic.Int64
	r := newRig(t, proxied(t, func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
		if r.Method == http.MethodPut && r.Header.Get("If-None-Match") != "" {
			refused.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusNotImplemented)
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>`)
			return
		}
		serve(w)
	}))
	runUntil(t, r.a, "all is archived", r.source.empty)
	if refused.Load() == 0 {
		t.Error("no put had a condition")
	}
	r.check(t)
}

// barrier lets two come to a point before either goes on.
type barrier struct {
	mu    sync.Mutex
	count int
	open  chan struct{}
}

func (b *barrier) wait() {
	b.mu.Lock()
	if b.count++; b.count == 2 {
		close(b.open)
	}
	b.mu.Unlock()
	select {
	case <-b.open:
	case <-time.After(20 * time.Second):
	}
}

// both runs two archivers on one file, and checks that it is stored once.
func both(t *testing.T, s *Store, hook func(point string)) {
	files, want := twoFiles(9)
	delete(files, "00000002.journal")
	source := newMemSource(t, s, files)
	adopted := make([]float64, 2)
	var wg sync.WaitGroup
	for i := range adopted {
		a := newArchiver(t, Config{Store: s, Sources: sources(source), hook: hook})
		wg.Go(func() {
			if err := a.Once(t.Context()); err != nil {
				t.Error(err)
			}
			adopted[i] = testutil.ToFloat64(a.metrics.adopted)
		})
	}
	wg.Wait()
	rows, keys := liveObjects(t, s)
	sameRows(t, rows, onlyFile(want, "1"))
	if len(keys) != 1 || source.deletes != 2 || adopted[0]+adopted[1] != 1 {
		t.Errorf("%v, %d deletes, adopted %v: want one object, written by one and found by the other", keys, source.deletes, adopted)
	}
}

func TestTwoArchiversOnTheSameFile(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		b := &barrier{open: make(chan struct{})}
		both(t, open(t, "file:"+t.TempDir()), func(point string) {
			if point == "during-put" { // both have seen that there is no object
				b.wait()
			}
		})
		if b.count != 2 {
			t.Errorf("%d puts", b.count)
		}
	})
	t.Run("s3", func(t *testing.T) {
		b := &barrier{open: make(chan struct{})}
		var refused atomic.Int64
		r := newRig(t, proxied(t, func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
			if r.Method != http.MethodPut {
				serve(w)
				return
			}
			b.wait()
			answer := httptest.NewRecorder()
			serve(answer)
			if answer.Code == http.StatusPreconditionFailed {
				refused.Add(1)
			}
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			w.Write(answer.Body.Bytes())
		}))
		both(t, r.broken, nil)
		if b.count != 2 || refused.Load() != 1 {
			t.Errorf("%d puts, %d refused: want that the store refuses one of two", b.count, refused.Load())
		}
	})
}

func onlyFile(rows []flat, number string) (list []flat) {
	for _, f := range rows {
		if f.File == number {
			list = append(list, f)
		}
	}
	return list
}

func TestADamagedObjectIsPutAside(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		files, want := twoFiles(11)
		good, m := mustConvert(t, 1, files["00000001.journal"])
		for i, bad := range [][]byte{nil, good[:len(good)/2], flipped(good, len(good)/3)} {
			source := newMemSource(t, s, map[string][]byte{"00000001.journal": files["00000001.journal"]})
			if err := s.blobs.put(t.Context(), liveKey(m), bad); err != nil {
				t.Fatal(err)
			}
			a := newArchiver(t, Config{Store: s, Sources: sources(source)})
			if err := a.Once(t.Context()); err != nil {
				t.Fatalf("bad object %d: %v", i, err)
			}
			rows, keys := liveObjects(t, s)
			sameRows(t, rows, onlyFile(want, "1"))
			if len(keys) != 1 || !source.empty() {
				t.Errorf("bad object %d: %v", i, keys)
			}
			if aside, err := s.blobs.list(t.Context(), damagedPrefix); err != nil || len(aside) != i+1 {
				t.Errorf("bad object %d: put aside: %v, %v", i, aside, err)
			}
		}
	})
}

// Two copies of a journal went on by themselves: the same name, other events.
func TestAnotherFileOfTheSameNameLosesNothing(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	var want []flat
	for seed := range uint64(2) {
		files, rows := twoFiles(20 + seed)
		want = append(want, rows...)
		for range 2 { // and again, as after a crash
			source := newMemSource(t, open(t, "file:"+t.TempDir()), nil)
			source.store = s
			for name, b := range files {
				var n uint64
				fmt.Sscanf(name, "%d.journal", &n)
				source.files[JournalFile{Journal: testJournal, Number: n, Size: int64(len(b))}] = b
			}
			a := newArchiver(t, Config{Store: s, Sources: sources(lenient{source})})
			if err := a.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	rows, keys := liveObjects(t, s)
	sameRows(t, rows, want)
	if len(keys) != 4 {
		t.Errorf("objects: %v", keys)
	}
}

// lenient deletes without a look.
type lenient struct{ *memSource }

func (l lenient) Delete(_ context.Context, f JournalFile) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.files, f)
	return nil
}

// flipped returns a copy with one bit of a byte turned over.
func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << (at % 8)
	return b
}

func TestAFlippedBitCostsOneRecord(t *testing.T) {
	c := newCrowd(13, "final-2026", 8)
	body, raws := c.file(testJournal, 1, 60)
	rng := rand.New(rand.NewPCG(13, 13))
	header := 100 // about: its damage costs the gateway's name
	for range 60 {
		at := rng.IntN(len(body))
		bad := flipped(body, at)
		if at%8 == 3 {
			bad = flipped(bad, min(at+1, len(bad)-1))
		}
		object, m := mustConvert(t, 1, bad)
		rows := rowsOf(t, object)
		lost := len(raws) - len(rows)
		if m.Damaged != 1 || m.whole() || lost < 0 || lost > 2 || m.DamagedAt[0].Offset > at || m.DamagedAt[0].Offset+m.DamagedAt[0].Bytes <= at {
			t.Fatalf("bit %d of %d: %d rows lost, %+v", at, len(body), lost, m)
		}
		if at < header {
			continue
		}
		there := map[flat]int{}
		for _, e := range raws {
			there[wanted(e, c.gateway, 1)]++
		}
		for _, r := range rows {
			if there[r]--; there[r] < 0 {
				t.Fatalf("bit %d: a row that nobody sent: %+v", at, r)
			}
		}
	}
}

func TestADamagedFileIsKept(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		files, want := twoFiles(15)
		bad := flipped(files["00000001.journal"], 2000)
		source := newMemSource(t, s, map[string][]byte{"00000001.journal": bad, "00000002.journal": files["00000002.journal"]})
		a := newArchiver(t, Config{Store: s, Sources: sources(source)})
		if err := a.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows, _ := liveObjects(t, s)
		if len(rows) != len(want)-1 {
			t.Errorf("%d rows of %d", len(rows), len(want))
		}
		kept, err := s.blobs.list(t.Context(), damagedPrefix)
		if err != nil || len(kept) != 1 {
			t.Fatalf("kept: %v, %v", kept, err)
		}
		if b, err := s.blobs.get(t.Context(), kept[0].Key); err != nil || !bytes.Equal(b, bad) {
			t.Errorf("the file is not kept as it is: %v", err)
		}
	})
}

// flaky gives other bytes at each reading, until it does not.
type flaky struct {
	*memSource
	reads atomic.Int64
	bad   int64
}

func (f *flaky) Open(ctx context.Context, file JournalFile) (io.ReadCloser, error) {
	r, err := f.memSource.Open(ctx, file)
	if n := f.reads.Add(1); err == nil && n <= f.bad {
		b, _ := io.ReadAll(r)
		return io.NopCloser(bytes.NewReader(flipped(b, 1000+int(n)*100))), nil
	}
	return r, err
}

func TestWhatTheWayDamagesIsReadAgain(t *testing.T) {
	s := open(t, "file:"+t.TempDir())
	files, want := twoFiles(17)
	delete(files, "00000002.journal")
	source := &flaky{memSource: newMemSource(t, s, files), bad: 3}
	a := newArchiver(t, Config{Store: s, Sources: sources(source)})
	if err := a.Once(t.Context()); grandstand.CodeOf(err) != grandstand.CodeUnavailable {
		t.Errorf("a file that differs each time: %v", err)
	}
	if source.deletes > 0 {
		t.Fatal("it is deleted")
	}
	if err := a.Once(t.Context()); err != nil { // the third reading is bad, the fourth good
		t.Fatal(err)
	}
	rows, _ := liveObjects(t, s)
	sameRows(t, rows, onlyFile(want, "1"))
	if kept, _ := s.blobs.list(t.Context(), damagedPrefix); len(kept) > 0 {
		t.Errorf("kept: %v", kept)
	}
}

// Whatever bit of an object is turned over: it is refused, or all rows are right.
func TestAFlippedBitOfAnObjectIsFound(t *testing.T) {
	files, want := twoFiles(19)
	object, m := mustConvert(t, 1, files["00000001.journal"])
	want = onlyFile(want, "1")
	rng := rand.New(rand.NewPCG(19, 19))
	refused := 0
	const tries = 400
	for range tries {
		at := rng.IntN(len(object))
		bad := flipped(object, at)
		got, err := checkBytes(bad)
		if err != nil {
			if grandstand.CodeOf(err) != grandstand.CodeInvalid && grandstand.CodeOf(err) != grandstand.CodeConflict {
				t.Errorf("bit of byte %d: %v has no code", at, err)
			}
			refused++
			continue
		}
		if got.Digest != m.Digest {
			continue // the metadata say that it is another: verifyLive finds that
		}
		sameRows(t, rowsOf(t, bad), want)
	}
	if refused < tries/2 {
		t.Errorf("%d of %d are refused", refused, tries)
	}
}
