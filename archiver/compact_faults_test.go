package archiver

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"grandstand"
)

// A store that does not know conditional writes is compacted without them, also
// anew when something comes late.
func TestAStoreWithoutConditionalPutsIsCompacted(t *testing.T) {
	var refused atomic.Int64
	_, s := behind(t, proxied(t, func(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter)) {
		if r.Method != http.MethodPut || r.Header.Get("If-None-Match") == "" && r.Header.Get("If-Match") == "" {
			serve(w)
			return
		}
		refused.Add(1)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotImplemented)
		io.WriteString(w, `<?xml version="1.0"?><Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented</Message></Error>`)
	}))
	m := twoHours(t, s)
	mustCompact(t, s, closing(t))
	m.compare(t, s)
	late := modelRows(t, s, putLive(t, s, testJournal, 9, []*grandstand.RawEvent{beatAt("late", 1, compactHour)}))
	m.compact(late)
	mustCompact(t, s, closing(t))
	m.compare(t, s)
	if n := refused.Load(); n < 4 {
		t.Errorf("%d puts had a condition", n)
	}
	if r := mustCompact(t, s, closing(t)); r.Objects != 0 || r.Hours != 0 {
		t.Errorf("there is something left to do: %+v", r)
	}
}
