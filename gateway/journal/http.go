package journal

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"grandstand"
)

// Handler serves the sealed files to members, who show grandstand.PeerToken:
//
//	GET    /v1/journal/files                      grandstand.JournalFiles
//	GET    /v1/journal/files/{journal}/{number}   its bytes; ranges
//	DELETE /v1/journal/files/{journal}/{number}   204
//
// Errors are JSON as everywhere: 401 unauthorized, 404 not_found.
func (j *Journal) Handler(secret []byte) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/journal/files", j.list)
	m.HandleFunc("GET /v1/journal/files/{journal}/{number}", j.serve)
	m.HandleFunc("DELETE /v1/journal/files/{journal}/{number}", j.remove)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, grandstand.Errorf(grandstand.CodeNotFound, "there is no such route"))
	})
	want := []byte("Bearer " + grandstand.PeerToken(secret))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			fail(w, grandstand.Errorf(grandstand.CodeUnauthorized, "show the token of a member"))
			return
		}
		m.ServeHTTP(w, r)
	})
}

func (j *Journal) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, grandstand.JournalFiles{Files: append([]grandstand.JournalFile{}, j.Files()...)})
}

func (j *Journal) serve(w http.ResponseWriter, r *http.Request) {
	file, err := fileOf(r)
	if err != nil {
		fail(w, err)
		return
	}
	f, err := j.Open(file)
	if err != nil {
		fail(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("ETag", `"`+file.Journal+"-"+strconv.FormatUint(file.Number, 10)+`"`) // it never changes
	http.ServeContent(w, r, "", time.Time{}, f)
}

func (j *Journal) remove(w http.ResponseWriter, r *http.Request) {
	file, err := fileOf(r)
	if err == nil {
		err = j.Delete(file)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func fileOf(r *http.Request) (grandstand.JournalFile, error) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		return grandstand.JournalFile{}, grandstand.Errorf(grandstand.CodeNotFound, "there is no such file")
	}
	return grandstand.JournalFile{Journal: r.PathValue("journal"), Number: number}, nil
}

var statuses = map[grandstand.Code]int{
	grandstand.CodeUnauthorized: http.StatusUnauthorized,
	grandstand.CodeNotFound:     http.StatusNotFound,
	grandstand.CodeUnavailable:  http.StatusServiceUnavailable,
}

func fail(w http.ResponseWriter, err error) {
	code := grandstand.CodeOf(err)
	status, ok := statuses[code]
	if !ok {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, struct {
		Code    grandstand.Code `json:"code"`
		Message string          `json:"message"`
	}{code, grandstand.MessageOf(err)})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
