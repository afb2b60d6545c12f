package archiver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mem is a store in memory: the tests with many compactions would wait for the
// disk most of the time.
type mem struct {
	mu      sync.Mutex
	objects map[string][]byte
	version int
	tags    map[string]string
	calls   map[string]int // by what S3 would be asked
	err     error          // of listings
}

func (m *mem) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func openMem(t testing.TB) *Store {
	t.Helper()
	m := &mem{objects: map[string][]byte{}, tags: map[string]string{}, calls: map[string]int{}}
	return &Store{blobs: m, objects: m, url: "mem:", close: func() {}}
}

func (m *mem) set(key string, b []byte) {
	m.version++
	m.objects[key], m.tags[key] = b, fmt.Sprint(m.version)
}

func (m *mem) get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["GET"]++
	return bytes.Clone(m.objects[key]), nil
}

func (m *mem) put(_ context.Context, key string, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, bytes.Clone(b))
	return nil
}

func (m *mem) list(_ context.Context, prefix string) (list []Entry, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["LIST"]++
	if m.err != nil {
		return nil, m.err
	}
	for _, key := range slices.Sorted(maps.Keys(m.objects)) {
		if strings.HasPrefix(key, prefix) {
			list = append(list, Entry{Key: key, Size: int64(len(m.objects[key]))})
		}
	}
	return list, nil
}

func (m *mem) create(ctx context.Context, key string, body *io.SectionReader) (bool, error) {
	return m.replace(ctx, key, "", body)
}

func (m *mem) stat(_ context.Context, key string) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["HEAD"]++
	b, found := m.objects[key]
	return int64(len(b)), found, nil
}

func (m *mem) open(_ context.Context, key string, offset, n int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["GET"]++
	b, found := m.objects[key]
	if !found {
		return nil, errNoObject
	}
	b = b[offset:]
	if n >= 0 {
		b = b[:min(n, int64(len(b)))]
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m *mem) remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	delete(m.tags, key)
	return nil
}

func (m *mem) tag(_ context.Context, key string) (string, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["HEAD"]++
	return m.tags[key], int64(len(m.objects[key])), nil
}

func (m *mem) replace(_ context.Context, key, tag string, body *io.SectionReader) (bool, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls["HEAD"]++ // as a bucket does
	if m.tags[key] != tag {
		return false, nil
	}
	m.calls["PUT"]++
	m.set(key, b)
	return true, nil
}
