// Package duckcheck reads the archive with DuckDB: another reader than the one
// that wrote it. It is a module of its own, since DuckDB is linked by cgo and the
// product is not.
//
// In: objects that package archiver writes here.
//
// Out: nothing.
package duckcheck

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"grandstand"
	"grandstand/archiver"
)

const (
	journal = "0123456789abcdef0123456789abcdef"
	gateway = "gw-1"
	begin   = 1_795_300_140_000 // one minute before an hour begins
)

// events returns what n sessions of two events did in two minutes, in every form
// that a journal may hold.
func events(n int) (list []*grandstand.RawEvent) {
	dims := []grandstand.Dimension{{Name: "world"}, {Name: "country"}, {Name: "region"}, {Name: "team"}, {Name: "plan"}}
	for i := range n {
		secret := []byte("secret")
		name := []string{"final-2026", "other.event"}[i%2]
		ek := grandstand.NewEventKey(secret, name)
		viewer, device := ek.Viewer(fmt.Sprint("v", i)), ek.Device(fmt.Sprint("d", i))
		session := []byte(grandstand.NewSessionID(ek, viewer, device))
		values := []string{"", []string{"US", "DE", "unknown"}[i%3], fmt.Sprintf("US-%d", i%40), []string{"KC", "SF"}[i%2], "gold"}
		dims := dims[:len(dims)-i%2] // every other session has no plan
		segs := grandstand.AppendSegments(nil, dims, values[:len(dims)])
		raw := func(kind grandstand.RawKind, at int64) *grandstand.RawEvent {
			e := &grandstand.RawEvent{Kind: kind, Event: []byte(name), Session: session, Viewer: viewer, Segments: segs, ReceivedAt: begin + at}
			if i%3 > 0 {
				e.Device = device
			}
			if i%5 == 0 {
				e.Account = ek.Account(fmt.Sprint("a", i))
			}
			list = append(list, e)
			return e
		}
		raw(grandstand.RawJoin, int64(i)).Data = []byte(`{"how":"opened"}`)
		for k := range 12 {
			b := raw(grandstand.RawBeat, int64(i)+int64(k)*10_000)
			b.HasSeq, b.Seq, b.State = true, uint64(k), grandstand.State(k%6)
			if k%4 > 0 {
				b.HasPos, b.Pos = true, float64(k)*10.123456789+float64(i)
				b.HasBitrate, b.Bitrate = true, int64(k%3)*1500
			}
		}
		e := raw(grandstand.RawEvents, int64(i)+55_555)
		e.HasSeq, e.Seq, e.Name, e.ClientAt = true, 1<<53-1, []byte("startup"), begin-1234
		e.Data = fmt.Appendf(nil, `{"ms":%d,"text":"ä\u0000\"☃"}`, i)
		raw(grandstand.RawVerdict, int64(i)+60_000).Data = []byte(`[1,2,{"a":null}]`)
		raw(grandstand.RawLeave, int64(i)+119_999)
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].ReceivedAt < list[j].ReceivedAt })
	return list
}

// archive writes the events as two journal files, archives them, and returns the
// directory of the store.
func archive(t *testing.T, list []*grandstand.RawEvent) string {
	t.Helper()
	dir, store := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ID"), []byte(journal), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, part := range [][]*grandstand.RawEvent{list[:len(list)/2], list[len(list)/2:]} {
		b := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: journal, File: uint64(n + 1), Gateway: gateway, CreatedAt: begin})
		for _, e := range part {
			b = grandstand.AppendEventRecord(b, e)
		}
		b = grandstand.AppendSealRecord(b, &grandstand.JournalSeal{Events: uint64(len(part)), SealedAt: begin})
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%08d.journal", n+1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := archiver.OpenStore(t.Context(), "file:"+store)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := archiver.AdoptDir(dir, nil)
	defer d.Close()
	a, err := archiver.New(archiver.Config{Store: s, Sources: func() []archiver.Source { return []archiver.Source{d} }, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		// The highest number can only be deleted last.
		if err := a.Once(ctx); err == nil {
			return store
		} else if grandstand.CodeOf(err) != grandstand.CodeUnavailable || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func duck(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

const null = "(null)"

// want says what the row of an event looks like.
func want(e *grandstand.RawEvent) string {
	or := func(given bool, v any) string {
		if !given {
			return null
		}
		return fmt.Sprint(v)
	}
	dims := map[string]string{}
	segs, _ := grandstand.DecodeSegments(e.Segments)
	for _, s := range segs {
		dims[s.Dim] = s.Value
	}
	return strings.Join([]string{
		string(e.Event), string(e.Session), or(!e.Viewer.IsZero(), e.Viewer.Text()), or(!e.Account.IsZero(), e.Account.Text()),
		or(!e.Device.IsZero(), e.Device.Text()), or(e.HasSeq, e.Seq), e.Kind.String(), or(len(e.Name) > 0, string(e.Name)),
		or(e.State > 0, e.State.String()), or(e.HasPos, e.Pos), or(e.HasBitrate, e.Bitrate), dims["country"], dims["region"], dims["team"],
		or(dims["plan"] != "", dims["plan"]), gateway, or(e.ClientAt > 0, e.ClientAt), fmt.Sprint(e.ReceivedAt), or(len(e.Data) > 0, string(e.Data)), journal,
	}, "|")
}

const columns = `event, session, viewer, account, device, seq, kind, name, state, position, bitrate, country, region, team,
	segments->>'plan', gateway, epoch_ms(client_time), epoch_ms(received_time), data::VARCHAR, journal`

func TestDuckDBReadsEveryRow(t *testing.T) {
	list := events(3000)
	dir := archive(t, list)
	db := duck(t)
	rows, err := db.Query(`SELECT ` + columns + ` FROM read_parquet('` + dir + `/live/**/*.parquet', hive_partitioning = true)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	count := map[string]int{}
	for _, e := range list {
		count[want(e)]++
	}
	n := 0
	for rows.Next() {
		values := make([]any, 20)
		at := make([]any, len(values))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			t.Fatal(err)
		}
		texts := make([]string, len(values))
		for i, v := range values {
			if texts[i] = fmt.Sprint(v); v == nil {
				texts[i] = null
			}
		}
		count[strings.Join(texts, "|")]--
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for row, c := range count {
		if c != 0 {
			if wrong++; wrong < 6 {
				t.Errorf("%+d (+: missing, -: too many): %s", c, row)
			}
		}
	}
	if n != len(list) || wrong > 0 {
		t.Errorf("%d rows of %d, %d wrong", n, len(list), wrong)
	}
}

func one[T any](t *testing.T, db *sql.DB, query string) (v T) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// What an analyst sees: types, folders, metadata, and filters by the columns
// whose statistics prune.
func TestDuckDBKnowsTheTypes(t *testing.T) {
	list := events(100)
	dir := archive(t, list)
	db := duck(t)
	live := `read_parquet('` + dir + `/live/**/*.parquet', hive_partitioning = true)`
	types := map[string]string{}
	rows, err := db.Query(`SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM ` + live + `)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			t.Fatal(err)
		}
		types[name] = typ
	}
	for name, typ := range map[string]string{
		"event": "VARCHAR", "session": "VARCHAR", "viewer": "VARCHAR", "seq": "BIGINT", "position": "DOUBLE", "bitrate": "BIGINT",
		"received_time": "TIMESTAMP WITH TIME ZONE", "client_time": "TIMESTAMP WITH TIME ZONE", "segments": "JSON", "data": "JSON",
		"file": "BIGINT", "row": "BIGINT", "date": "DATE", "hour": "BIGINT",
	} {
		if types[name] != typ {
			t.Errorf("%s is of type %s, want %s", name, types[name], typ)
		}
	}
	if n := one[int](t, db, `SELECT count(*) FROM `+live+` WHERE event = 'final-2026'`); n != len(list)/2 {
		t.Errorf("%d rows of the event, want %d", n, len(list)/2)
	}
	if n := one[int](t, db, `SELECT count(DISTINCT (journal, file, row)) FROM `+live); n != len(list) {
		t.Errorf("journal, file and row name %d rows of %d", n, len(list))
	}
	if n := one[int](t, db, `SELECT count(*) FROM `+live+` WHERE data->>'ms' = '7'`); n != 1 {
		t.Errorf("%d rows by a member of data, want 1", n)
	}
	var meta struct {
		Rows    int    `json:"rows"`
		Journal string `json:"journal"`
	}
	text := one[string](t, db, `SELECT decode(value) FROM parquet_kv_metadata('`+dir+`/live/*/*/*-00000001.parquet') WHERE decode(key) = 'grandstand'`)
	if err := json.Unmarshal([]byte(text), &meta); err != nil || meta.Rows != len(list)/2 || meta.Journal != journal {
		t.Errorf("metadata: %s, %v", text, err)
	}
	if n := one[int](t, db, `SELECT count(*) FROM parquet_metadata('`+dir+`/live/**/*.parquet') WHERE compression <> 'ZSTD'`); n != 0 {
		t.Errorf("%d columns are not zstd", n)
	}
	if n := one[int](t, db, `SELECT count(*) FROM parquet_metadata('`+dir+`/live/**/*.parquet')
		WHERE path_in_schema IN ('event', 'session', 'received_time') AND (stats_min_value IS NULL OR stats_max_value IS NULL)`); n != 0 {
		t.Errorf("%d columns have no statistics", n)
	}
}
