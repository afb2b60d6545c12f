package archiver

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"grandstand"
)

// plainS3 is the least that may call itself S3: GET with ranges, HEAD, PUT, DELETE
// and LIST version 2, without any heed to conditions or signatures.
type plainS3 struct {
	mu         sync.Mutex
	objects    map[string][]byte
	conditions int // requests that had one
}

// heedless returns a store that is kept by one.
func heedless(t *testing.T) (*plainS3, *Store) {
	t.Helper()
	t.Setenv("GRANDSTAND_S3_ACCESS_KEY", "somebody")
	t.Setenv("GRANDSTAND_S3_SECRET_KEY", "a secret of the test")
	p := &plainS3{objects: map[string][]byte{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, open(t, "s3://bucket/archive?endpoint="+url.QueryEscape(server.URL))
}

func (p *plainS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Header.Get("If-Match") != "" || r.Header.Get("If-None-Match") != "" {
		p.conditions++
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	b, found := p.objects[key]
	switch {
	case r.Method == http.MethodPut:
		body, err := unchunked(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.objects[key] = body
		w.Header().Set("ETag", etagOf(body))
	case r.Method == http.MethodDelete:
		delete(p.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		p.list(w, r.URL.Query().Get("prefix"))
	case !found:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		w.Header().Set("ETag", etagOf(b))
		http.ServeContent(w, r, "", time.Unix(1_795_299_000, 0), bytes.NewReader(b))
	}
}

func etagOf(b []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(b)) }

func (p *plainS3) list(w http.ResponseWriter, prefix string) {
	type object struct {
		Key  string
		Size int
	}
	var result struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}
	for key, b := range p.objects {
		if strings.HasPrefix(key, prefix) {
			result.Contents = append(result.Contents, object{key, len(b)})
		}
	}
	_ = xml.NewEncoder(w).Encode(&result)
}

// unchunked reads a body, which may come in signed chunks (aws-chunked).
func unchunked(r *http.Request) (body []byte, err error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		var n int
		if _, err := fmt.Sscanf(line, "%x", &n); err != nil {
			return nil, err
		}
		if n == 0 {
			return body, nil
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, err)
		}
		body = append(body, chunk[:n]...)
	}
}

// A store that pays no heed to conditions loses nothing: two archivers write the
// same object with the same bytes, and a compactor looks at what is there.
func TestAStoreThatIgnoresConditions(t *testing.T) {
	p, s := heedless(t)
	files, want := twoFiles(7)
	source := newMemSource(t, s, files)
	var both sync.WaitGroup
	for range 2 {
		a := newArchiver(t, Config{Store: s, Sources: sources(source)})
		both.Go(func() { _ = a.Once(t.Context()) }) // the other may have been faster
	}
	both.Wait()
	runUntil(t, newArchiver(t, Config{Store: s, Sources: sources(source), Poll: 10 * time.Millisecond}), "all is archived", source.empty)
	rows, keys := liveObjects(t, s)
	sameRows(t, rows, want)
	if len(keys) != 2 {
		t.Errorf("objects: %v", keys)
	}

	_, s = heedless(t)
	m := twoHours(t, s)
	mustCompact(t, s, closing(t))
	m.compare(t, s)
	m.compact(modelRows(t, s, putLive(t, s, testJournal, 9, []*grandstand.RawEvent{beatAt("late", 1, compactHour)})))
	mustCompact(t, s, closing(t))
	m.compare(t, s)
	if r := mustCompact(t, s, closing(t)); r.Objects != 0 || r.Hours != 0 {
		t.Errorf("there is something left to do: %+v", r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conditions == 0 {
		t.Error("no request had a condition")
	}
}
