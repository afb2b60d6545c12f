package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"grandstand"
)

// served is a journal with two sealed files and one that is being written, on
// --peer.
func served(t *testing.T) (*Journal, func(method, path string, header ...string) (int, http.Header, []byte)) {
	t.Helper()
	id := []byte(oldID)
	j, _ := adopted(t, dirOf(map[string][]byte{
		idName: id, "00000001.journal": sealedBytes(leftFile(1, 1, 2), 2), "00000002.journal": sealedBytes(leftFile(2, 3), 1),
	}))
	stop := running(t, j)
	t.Cleanup(func() { _ = stop() })
	c := newCrowd()
	if err := c.send(j); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, acked, _ := c.counts(); return acked == 1 })
	server := httptest.NewServer(j.Handler([]byte("secret")))
	t.Cleanup(server.Close)
	return j, func(method, path string, header ...string) (int, http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequest(method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+grandstand.PeerToken([]byte("secret")))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, b
	}
}

func TestFilesAreServed(t *testing.T) {
	j, do := served(t)
	status, _, b := do("GET", "/v1/journal/files")
	var list grandstand.JournalFiles
	if err := json.Unmarshal(b, &list); status != 200 || err != nil {
		t.Fatal(status, err)
	}
	if fmt.Sprint(list.Files) != fmt.Sprint(j.Files()) || len(list.Files) != 2 {
		t.Fatalf("listed: %s", b)
	}
	want := fmt.Sprintf(`{"files":[{"journal":%q,"number":1,"size":%d},`, oldID, j.Files()[0].Size)
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("listed as %s", b)
	}
	for _, f := range list.Files {
		path := fmt.Sprintf("/v1/journal/files/%s/%d", f.Journal, f.Number)
		whole, err := readFile(j, f)
		if err != nil {
			t.Fatal(err)
		}
		status, header, b := do("GET", path)
		if status != 200 || !bytes.Equal(b, whole) || header.Get("Content-Length") != fmt.Sprint(f.Size) {
			t.Fatalf("%s: %d, %d of %d bytes", path, status, len(b), len(whole))
		}
		// A reader that was cut off goes on where it was.
		status, part, b := do("GET", path, "Range", "bytes=10-", "If-Range", header.Get("Etag"))
		if status != 206 || !bytes.Equal(b, whole[10:]) || part.Get("Content-Range") != fmt.Sprintf("bytes 10-%d/%d", f.Size-1, f.Size) {
			t.Fatalf("%s: %d, %d bytes, %v", path, status, len(b), part)
		}
		if status, _, b := do("GET", path, "Range", "bytes=0-6"); status != 206 || !bytes.Equal(b, whole[:7]) {
			t.Errorf("%s: %d, %d bytes", path, status, len(b))
		}
		if status, _, _ := do("GET", path, "Range", fmt.Sprintf("bytes=%d-", f.Size)); status != 416 {
			t.Errorf("%s: %d", path, status)
		}
		if status, _, b := do("HEAD", path); status != 200 || len(b) > 0 {
			t.Errorf("%s: %d", path, status)
		}
		if status, _, b := do("DELETE", path); status != 204 || len(b) > 0 {
			t.Errorf("%s: %d %s", path, status, b)
		}
		for _, method := range []string{"GET", "DELETE"} {
			if status, _, b := do(method, path); status != 404 || !strings.HasPrefix(string(b), `{"code":"not_found"`) {
				t.Errorf("%s %s: %d %s", method, path, status, b)
			}
		}
	}
	if _, _, b := do("GET", "/v1/journal/files"); string(b) != "{\"files\":[]}\n" {
		t.Errorf("listed: %s", b)
	}
}

func TestWhatIsNotServed(t *testing.T) {
	j, do := served(t)
	for _, tt := range []struct{ method, path string }{
		{"GET", "/v1/journal/files/" + oldID + "/3"}, // it is being written
		{"DELETE", "/v1/journal/files/" + oldID + "/3"},
		{"GET", "/v1/journal/files/" + oldID + "/0"},
		{"GET", "/v1/journal/files/" + oldID + "/-1"},
		{"GET", "/v1/journal/files/" + oldID + "/x"},
		{"GET", "/v1/journal/files/" + oldID + "/..%2fID"},
		{"DELETE", "/v1/journal/files/ffffffffffffffffffffffffffffffff/1"}, // of another journal
		{"GET", "/v1/journal/files/" + oldID},
		{"POST", "/v1/journal/files"},
		{"PUT", "/v1/journal/files/" + oldID + "/1"},
		{"GET", "/v1/journal"},
	} {
		if status, _, b := do(tt.method, tt.path); status != 404 || !strings.HasPrefix(string(b), `{"code":"not_found"`) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, b)
		}
	}
	for _, token := range []string{"", "Bearer ", "Bearer " + grandstand.PeerToken([]byte("other")), grandstand.PeerToken([]byte("secret")), "Bearer " + grandstand.PeerToken([]byte("secret")) + "x"} {
		for _, method := range []string{"GET", "DELETE"} {
			path := "/v1/journal/files/" + oldID + "/1"
			if status, _, b := do(method, path, "Authorization", token); status != 401 || !strings.HasPrefix(string(b), `{"code":"unauthorized"`) {
				t.Errorf("%s with %q: %d %s", method, token, status, b)
			}
		}
	}
	if len(j.Files()) != 2 {
		t.Errorf("files %v", j.Files())
	}
}

// TestAFileIsReadToItsEndWhileItIsDeleted: two archivers have the same.
func TestAFileIsReadToItsEndWhileItIsDeleted(t *testing.T) {
	cfg := config(nil, nil)
	cfg.Dir, cfg.FS = t.TempDir(), nil
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	stop := running(t, j)
	for range 3 {
		if err := j.Append(eventOf(1), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	file := j.Files()[0]
	f, err := j.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := j.Delete(file); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if _, bad := contentsOf(b); err != nil || bad != nil || int64(len(b)) != file.Size {
		t.Errorf("%d of %d bytes, %v, %v", len(b), file.Size, err, bad)
	}
}
