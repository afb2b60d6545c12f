package archiver

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"grandstand"
)

const testJournal = "0123456789abcdef0123456789abcdef"

// flat is a row as text, to be compared.
type flat struct {
	Event, Session, Viewer, Account, Device, Seq, Kind, Name, State, Position, Bitrate string
	Country, Region, Team, Segments, Gateway, Client, Received, Data, Journal, File    string
}

const null = "(null)"

func orNull(given bool, v any) string {
	if !given {
		return null
	}
	return fmt.Sprint(v)
}

func textOrNull(b []byte) string { return orNull(b != nil, string(b)) }

func flatten(r *Row) flat {
	return flat{
		Event: string(r.Event), Session: string(r.Session),
		Viewer: orNull(!r.Viewer.IsZero(), r.Viewer.Text()), Account: orNull(!r.Account.IsZero(), r.Account.Text()),
		Device: orNull(!r.Device.IsZero(), r.Device.Text()), Seq: orNull(r.HasSeq, r.Seq), Kind: fmt.Sprint(int(r.Kind)),
		Name: textOrNull(r.Name), State: r.State.String(), Position: orNull(r.HasPosition, r.Position), Bitrate: orNull(r.HasBitrate, r.Bitrate),
		Country: textOrNull(r.Country), Region: textOrNull(r.Region), Team: textOrNull(r.Team), Segments: textOrNull(r.Segments),
		Gateway: string(r.Gateway), Client: orNull(r.ClientTime != 0, r.ClientTime), Received: fmt.Sprint(r.ReceivedTime),
		Data: textOrNull(r.Data), Journal: string(r.Journal), File: fmt.Sprint(r.File),
	}
}

// wanted says in other words than the converter what a row of an event is.
func wanted(e *grandstand.RawEvent, gateway string, number uint64) flat {
	dims := map[string]string{}
	list, _ := grandstand.DecodeSegments(e.Segments)
	for _, s := range list {
		dims[s.Dim] = s.Value
	}
	dim := func(name string) string { return orNull(dims[name] != "", dims[name]) }
	f := flat{
		Event: string(e.Event), Session: string(e.Session),
		Viewer: orNull(!e.Viewer.IsZero(), e.Viewer.Text()), Account: orNull(!e.Account.IsZero(), e.Account.Text()),
		Device: orNull(!e.Device.IsZero(), e.Device.Text()), Seq: orNull(e.HasSeq, e.Seq), Kind: fmt.Sprint(int(e.Kind)),
		Name: orNull(len(e.Name) > 0, string(e.Name)), State: e.State.String(), Position: orNull(e.HasPos, e.Pos), Bitrate: orNull(e.HasBitrate, e.Bitrate),
		Country: dim("country"), Region: dim("region"), Team: dim("team"), Segments: null,
		Gateway: gateway, Client: orNull(e.ClientAt != 0, e.ClientAt), Received: fmt.Sprint(e.ReceivedAt),
		Data: orNull(len(e.Data) > 0, string(e.Data)), Journal: testJournal, File: fmt.Sprint(number),
	}
	if plan := dims["plan"]; plan != "" {
		f.Segments = fmt.Sprintf(`{"plan":%q}`, plan)
	}
	return f
}

func mustConvert(t testing.TB, number uint64, body []byte) ([]byte, *Metadata) {
	t.Helper()
	var buf bytes.Buffer
	m, err := convert(&buf, JournalFile{Journal: testJournal, Number: number, Size: int64(len(body))}, body)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), m
}

// eachRow reads an object, which is checked first.
func eachRow(t testing.TB, object []byte, do func(*Row)) {
	t.Helper()
	if _, err := checkObject(bytes.NewReader(object), int64(len(object))); err != nil {
		t.Fatal(err)
	}
	o, err := openObject(bytes.NewReader(object), int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	for {
		r, err := o.next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		do(r)
	}
}

func rowsOf(t testing.TB, object []byte) (rows []flat) {
	t.Helper()
	eachRow(t, object, func(r *Row) { rows = append(rows, flatten(r)) })
	return rows
}

// wantRows compares the rows of an object, in no order.
func wantRows(t testing.TB, object []byte, want []flat) {
	t.Helper()
	sameRows(t, rowsOf(t, object), want)
}

func sameRows(t testing.TB, got, want []flat) {
	t.Helper()
	count := map[flat]int{}
	for _, f := range want {
		count[f]++
	}
	for _, f := range got {
		count[f]--
	}
	wrong := 0
	for f, n := range count {
		if n == 0 {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("%+d of this row (+: missing, -: too many): %+v", n, f)
		}
	}
	if wrong > 0 {
		t.Errorf("%d rows are wrong; %d rows, want %d", wrong, len(got), len(want))
	}
}

// genEvent draws an event of any form that the journal can hold.
func genEvent(t *rapid.T, dims []grandstand.Dimension) *grandstand.RawEvent {
	key := func(name string) (k grandstand.Key) {
		if n := rapid.IntRange(0, 3).Draw(t, name); n > 0 {
			k[0], k[15] = byte(n), 0xff
		}
		return k
	}
	e := &grandstand.RawEvent{
		Kind:    grandstand.RawKind(rapid.ByteRange(1, 7).Draw(t, "kind")), // 6 and 7 are of a later release
		Event:   []byte(rapid.SampledFrom([]string{"a", "b", "final-2026"}).Draw(t, "event")),
		Session: []byte(rapid.SampledFrom([]string{"s1", "s2", "s3", "t", ""}).Draw(t, "session")),
		Viewer:  key("viewer"), Device: key("device"), Account: key("account"),
		State:      grandstand.State(rapid.ByteRange(0, 5).Draw(t, "state")),
		ReceivedAt: crowdStart + rapid.Int64Range(0, 1000).Draw(t, "received"),
	}
	if rapid.Bool().Draw(t, "has seq") {
		e.HasSeq, e.Seq = true, rapid.SampledFrom([]uint64{0, 1, 2, 1<<53 - 1}).Draw(t, "seq")
	}
	if rapid.Bool().Draw(t, "has name") {
		e.Name = []byte(rapid.SampledFrom([]string{"startup", "x"}).Draw(t, "name"))
	}
	if rapid.Bool().Draw(t, "has position") {
		e.HasPos, e.Pos = true, rapid.SampledFrom([]float64{0, -1, 12.345, 1e9}).Draw(t, "position")
	}
	if rapid.Bool().Draw(t, "has bitrate") {
		e.HasBitrate, e.Bitrate = true, rapid.Int64Range(0, 3).Draw(t, "bitrate")
	}
	if rapid.Bool().Draw(t, "has client time") {
		e.ClientAt = rapid.Int64Range(1, 1<<53-1).Draw(t, "client time")
	}
	if rapid.Bool().Draw(t, "has data") {
		e.Data = []byte(rapid.SampledFrom([]string{`{}`, `{"a":"ä\u0000"}`, `[1,2]`, `null`}).Draw(t, "data"))
	}
	if n := rapid.IntRange(0, len(dims)).Draw(t, "dims"); n > 0 {
		values := make([]string, n)
		for i := range values {
			if dims[i].Name != grandstand.World {
				values[i] = rapid.SampledFrom([]string{"US", "DE", "unknown"}).Draw(t, "value")
			}
		}
		e.Segments = grandstand.AppendSegments(nil, dims[:n], values)
	}
	return e
}

func TestRowsAreTheJournalsEvents(t *testing.T) {
	dims := []grandstand.Dimension{{Name: "world"}, {Name: "country"}, {Name: "plan"}, {Name: "region"}, {Name: "team"}}
	rapid.Check(t, func(rt *rapid.T) {
		var raws []*grandstand.RawEvent
		var want []flat
		for range rapid.IntRange(0, 40).Draw(rt, "events") {
			e := genEvent(rt, dims)
			raws, want = append(raws, e), append(want, wanted(e, "gw", 7))
		}
		body := journalOf(testJournal, 7, "gw", crowdStart, raws)
		object, m := mustConvert(t, 7, body)
		wantRows(t, object, want)
		if m.Rows != uint64(len(raws)) || m.Expected != m.Rows || !m.whole() || m.Repaired != 0 {
			rt.Fatalf("%+v", m)
		}
		again, _ := mustConvert(t, 7, body)
		if !bytes.Equal(object, again) {
			rt.Fatal("the same file gives other bytes")
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func TestManyRowGroups(t *testing.T) {
	c := newCrowd(3, "final-2026", 24_000)
	body, raws := c.file(testJournal, 1, 60)
	if len(raws) <= rowGroupRows {
		t.Fatalf("%d events fill one row group only", len(raws))
	}
	object, m := mustConvert(t, 1, body)
	if m.MinReceived > m.FirstReceived || m.MaxReceived <= m.MinReceived || m.Rows != uint64(len(raws)) {
		t.Errorf("%+v", m)
	}
	// To compare all would take a minute; the digest does that.
	sampled := func(session []byte) bool { return session[0] == 'Q' }
	var want, got []flat
	for _, e := range raws {
		if sampled(e.Session) {
			want = append(want, wanted(e, c.gateway, 1))
		}
	}
	eachRow(t, object, func(r *Row) {
		if sampled(r.Session) {
			got = append(got, flatten(r))
		}
	})
	sameRows(t, got, want)
}
