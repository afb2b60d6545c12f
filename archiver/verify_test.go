package archiver

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"grandstand"
)

// deed is one raw event of a scene: of which session, and what.
type deed struct {
	journal string
	session string
	kind    grandstand.RawKind
	seq     uint64 // 0: none
	data    string
}

func beat(journal, session string, seq uint64) deed {
	return deed{journal, session, grandstand.RawBeat, seq, ""}
}

func joins(journal, session, how string) deed {
	return deed{journal, session, grandstand.RawJoin, 0, `{"how":"` + how + `"}`}
}

func leaves(journal, session, data string) deed {
	return deed{journal, session, grandstand.RawLeave, 0, data}
}

// archived returns a store in which the deeds are archived, one object for each
// journal, with a gap in that of journal "refuses".
func archived(t *testing.T, deeds []deed) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), "file:"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	journals := map[string][]byte{}
	counts := map[string]uint64{}
	for i, d := range deeds {
		b := journals[d.journal]
		if b == nil {
			b = grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: d.journal, File: 1, Gateway: "g", CreatedAt: crowdStart})
		}
		e := &grandstand.RawEvent{
			Kind: d.kind, Event: []byte("final"), Session: []byte(d.session), Viewer: grandstand.Key{1},
			HasSeq: d.seq > 0, Seq: d.seq, ReceivedAt: crowdStart + int64(i)*1000, Data: []byte(d.data),
		}
		journals[d.journal] = grandstand.AppendEventRecord(b, e)
		counts[d.journal]++
	}
	for name, b := range journals {
		seal := &grandstand.JournalSeal{Events: counts[name], SealedAt: crowdStart + 60_000}
		if name == "refuses" {
			b = grandstand.AppendGapRecord(b, &grandstand.JournalGap{From: crowdStart, To: crowdStart + 5000, Refused: 3, Reason: "full"})
			seal.Gaps = 1
		}
		body := grandstand.AppendSealRecord(b, seal)
		create(t, s, name, body)
	}
	return s
}

// create puts the object of file 1 of a journal into the store.
func create(t *testing.T, s *Store, name string, body []byte) {
	t.Helper()
	var object bytes.Buffer
	meta, err := convert(&object, JournalFile{Journal: name, Number: 1, Size: int64(len(body))}, body)
	if err != nil {
		t.Fatal(err)
	}
	r := io.NewSectionReader(bytes.NewReader(object.Bytes()), 0, int64(object.Len()))
	if _, err := s.objects.create(t.Context(), liveKey(meta), r); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	acked := func(session string, seqs ...uint64) func(func(string, string, uint64)) error {
		return func(yield func(event, session string, seq uint64)) error {
			for _, n := range seqs {
				yield("final", session, n)
			}
			return nil
		}
	}
	for _, c := range []struct {
		name  string
		deeds []deed
		opt   VerifyOptions
		want  EventReport
	}{
		{"all there", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("j", "s", 2), leaves("j", "s", `{"how":"ended","events":2}`)},
			VerifyOptions{Acked: acked("s", 1, 2)}, EventReport{Sessions: 1, Numbered: 2}},
		{"sent twice", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("k", "s", 1)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 1, Resent: 1}},
		{"jumped over", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("j", "s", 4)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 2, Lost: 2}},
		{"jumped over, and refused", []deed{joins("refuses", "s", "opened"), beat("refuses", "s", 1), beat("refuses", "s", 4)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 2}},
		{"jumped over, and sent elsewhere", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("j", "s", 4), beat("k", "s", 2), beat("k", "s", 3)},
			VerifyOptions{}, EventReport{Sessions: 1, Numbered: 4}},
		{"lost with a connection", []deed{joins("j", "s", "opened"), beat("j", "s", 1), joins("j", "s", "resumed"), beat("j", "s", 4)},
			VerifyOptions{}, EventReport{Sessions: 1, Numbered: 2, Unsent: 2}},
		{"out of order", []deed{joins("j", "s", "opened"), beat("j", "s", 3), beat("j", "s", 1), beat("j", "s", 2)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 3}},
		{"acknowledged and gone", []deed{beat("j", "s", 1)}, VerifyOptions{Acked: acked("s", 1, 2)}, EventReport{Sessions: 1, Numbered: 1, Missing: 1}},
		{"nobody knows the session", []deed{beat("j", "s", 1)}, VerifyOptions{Acked: acked("other", 1)}, EventReport{Sessions: 1, Numbered: 1, Missing: 1}},
		{"a gateway wrote more", []deed{joins("j", "s", "opened"), beat("j", "s", 1), leaves("j", "s", `{"how":"moved","events":3}`)},
			VerifyOptions{}, EventReport{Sessions: 1, Numbered: 1, Short: 1}},
		{"it came back", []deed{joins("j", "s", "opened"), beat("j", "s", 1), leaves("j", "s", `{"how":"moved","events":1}`), joins("j", "s", "resumed"),
			beat("j", "s", 2), leaves("j", "s", `{"how":"ended","events":2}`)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 2}},
		{"a clock went back", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("j", "s", 4), leaves("j", "s", `{"how":"ended","events":4}`),
			beat("j", "s", 2), beat("j", "s", 3)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 4}},
		{"a clock went back, and one is missing", []deed{joins("j", "s", "opened"), beat("j", "s", 1), beat("j", "s", 4), leaves("j", "s", `{"how":"ended","events":4}`),
			beat("j", "s", 2)}, VerifyOptions{}, EventReport{Sessions: 1, Numbered: 3, Lost: 1, Short: 1}},
		{"another event", []deed{beat("j", "s", 1), beat("j", "s", 3)}, VerifyOptions{Event: "other"}, EventReport{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := archived(t, c.deeds).Verify(t.Context(), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			got := EventReport{}
			if e := r.Events["final"]; e != nil {
				got = *e
			}
			if bad := got.Lost+got.Missing+got.Short > 0; r.Good() == bad || bad != (len(got.Samples) > 0) {
				t.Errorf("good: %v, of %+v", r.Good(), got)
			}
			got.Event, got.Hours, got.Samples = "", nil, nil
			if got.Sessions != c.want.Sessions || got.Numbered != c.want.Numbered || got.Lost != c.want.Lost || got.Missing != c.want.Missing ||
				got.Short != c.want.Short || got.Resent != c.want.Resent || got.Unsent != c.want.Unsent {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// An object whose bytes changed is named, and the rest is verified.
func TestVerifyFindsDamage(t *testing.T) {
	s := archived(t, []deed{beat("j", "s", 1), beat("k", "t", 1)})
	list, err := s.Objects(t.Context(), "")
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	b, err := s.download(t.Context(), list[0].Key, maxLive)
	if err != nil {
		t.Fatal(err)
	}
	b[len("PAR1")+20] ^= 4 // in the first page
	if err := s.blobs.put(t.Context(), list[0].Key, b); err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Good() || len(r.Damaged) != 1 || !strings.HasPrefix(r.Damaged[0], list[0].Key) || r.Rows != 1 {
		t.Errorf("%+v", r)
	}
}

// Rows come in the order of time, whatever objects they are in, each number
// once, and back to the raw events that they were.
func TestRowsInTheOrderOfTime(t *testing.T) {
	c := newCrowd(3, "final", 40)
	body1, raws1 := c.file("a", 1, 30)
	body2, raws2 := c.file("b", 1, 30)
	s := archived(t, nil)
	create(t, s, "a", body1)
	create(t, s, "b", body2)
	want := map[string]int{}
	mark := func(e *grandstand.RawEvent) string { // segments are in another order
		c := *e
		c.Segments = nil
		return string(grandstand.AppendEventRecord(nil, &c))
	}
	for _, e := range append(raws1, raws2...) {
		if string(e.Event) == "final" {
			want[mark(e)]++
		}
	}
	last := int64(0)
	err := s.Rows(t.Context(), RowsOptions{Event: "final"}, func(r *Row) error {
		if r.ReceivedTime < last {
			t.Errorf("a row of %d comes after one of %d", r.ReceivedTime, last)
		}
		last = r.ReceivedTime
		raw, err := r.Raw()
		if err != nil {
			return err
		}
		want[mark(&raw)]--
		if _, err := grandstand.DecodeSegments(raw.Segments); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range want {
		if n != 0 {
			t.Fatalf("a raw event came %d times too few", n)
		}
	}
	// The same from a closed hour, and with what comes after it was closed.
	count := func() (n int) {
		if err := s.Rows(t.Context(), RowsOptions{Event: "final"}, func(*Row) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	if _, err := s.Compact(t.Context(), CompactOptions{Temp: t.TempDir(), Before: time.UnixMilli(last).Add(2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != before {
		t.Errorf("%d rows of a closed hour, %d before", n, before)
	}
	body3, raws3 := c.file("c", 1, 30)
	create(t, s, "c", body3)
	if n := count(); n != before+len(raws3) {
		t.Errorf("%d rows with a late file, want %d", n, before+len(raws3))
	}
	if r, err := s.Verify(t.Context(), VerifyOptions{}); err != nil || !r.Good() || int(r.Closed) != before {
		t.Errorf("%+v, %v", r, err)
	}
	half := 0
	middle := raws2[0].ReceivedAt
	if err := s.Rows(t.Context(), RowsOptions{Event: "final", From: middle, To: middle + 5000}, func(r *Row) error {
		if half++; r.ReceivedTime < middle || r.ReceivedTime >= middle+5000 {
			t.Errorf("a row of %d", r.ReceivedTime)
		}
		return nil
	}); err != nil || half == 0 {
		t.Errorf("%d rows, %v", half, err)
	}
}
