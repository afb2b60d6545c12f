package archiver

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"grandstand"
)

var update = flag.Bool("update", false, "write golden files")

// goldenEvents has an event of each kind and a null of each column.
func goldenEvents() []*grandstand.RawEvent {
	ek := grandstand.NewEventKey([]byte("secret"), "final-2026")
	dims := []grandstand.Dimension{{Name: "world"}, {Name: "country"}, {Name: "region"}, {Name: "team"}, {Name: "plan"}}
	segs := grandstand.AppendSegments(nil, dims, []string{"", "US", "US-CA", "KC", "gold"})
	event, session := []byte("final-2026"), []byte("s-1")
	return []*grandstand.RawEvent{
		{Kind: grandstand.RawJoin, Event: event, Session: session, Viewer: ek.Viewer("v"), Device: ek.Device("d"), Account: ek.Account("a"),
			Segments: segs, ReceivedAt: crowdStart, Data: []byte(`{"how":"opened"}`)},
		{Kind: grandstand.RawBeat, Event: event, Session: session, Viewer: ek.Viewer("v"), Segments: segs, HasSeq: true, Seq: 0,
			State: grandstand.StatePlaying, HasPos: true, Pos: 12.5, HasBitrate: true, Bitrate: 4500, ReceivedAt: crowdStart + 1},
		{Kind: grandstand.RawEvents, Event: event, Session: session, HasSeq: true, Seq: 1, Name: []byte("startup"), ClientAt: crowdStart - 5,
			ReceivedAt: crowdStart + 2, Data: []byte(`{"ms":312}`)},
		{Kind: grandstand.RawVerdict, Event: []byte("another"), Session: []byte("s-0"), ReceivedAt: crowdStart + 3},
		{Kind: grandstand.RawLeave, Event: event, Session: session, ReceivedAt: crowdStart + 4},
	}
}

// The bytes of an object outlive this release.
func TestObjectGolden(t *testing.T) {
	const journal, object = "testdata/journal-v1.hex", "testdata/object-v1.hex"
	body := journalOf(testJournal, 1, "gw", crowdStart, goldenEvents())
	got, _ := mustConvert(t, 1, body)
	if *update {
		for path, b := range map[string][]byte{journal: body, object: got} {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var want []flat
	for _, e := range goldenEvents() {
		want = append(want, wanted(e, "gw", 1))
	}
	golden := read(object)
	wantRows(t, golden, want) // what an earlier release wrote
	again, _ := mustConvert(t, 1, read(journal))
	wantRows(t, again, want)
	if !bytes.Equal(golden, again) {
		t.Error("the same journal file gives other bytes than before. Readers cope, and archivers of both releases adopt " +
			"each other's objects; say so in the commit, and run with -update")
	}
}

func TestWhatIsNotUTF8IsRepaired(t *testing.T) {
	e := goldenEvents()[2]
	e.Data = []byte("{\"a\":\"\xff\xfe\"}")
	e.Segments = grandstand.AppendSegments(nil, []grandstand.Dimension{{Name: "country"}}, []string{"\xff"})
	object, m := mustConvert(t, 1, journalOf(testJournal, 1, "gw", crowdStart, []*grandstand.RawEvent{e}))
	row := rowsOf(t, object)[0]
	if row.Data != "{\"a\":\"\uFFFD\"}" || row.Country != "\uFFFD" || m.Repaired != 2 || !m.whole() {
		t.Errorf("%+v, %+v", row, m)
	}
}

func TestWhatIsNotKnownIsTold(t *testing.T) {
	body := journalOf(testJournal, 1, "gw", crowdStart, goldenEvents())
	gap := &grandstand.JournalGap{From: crowdStart, To: crowdStart + 10, Refused: 3, Reason: "full"}
	keep, seal, _ := inspect(body)
	body = grandstand.AppendGapRecord(body[:keep:keep], gap)
	later := grandstand.AppendGapRecord(nil, gap)
	later[8] = 'Z' // a type of a later release
	body = append(body, resum(later)...)
	version := grandstand.AppendEventRecord(nil, goldenEvents()[0])
	version[9] = 99 // a version of a later release
	body = append(body, resum(version)...)
	seal.Adopted = false
	body = grandstand.AppendSealRecord(body, seal)

	object, m := mustConvert(t, 1, body)
	if len(rowsOf(t, object)) != 5 || m.Unreadable != 2 || m.Damaged != 0 || m.whole() {
		t.Errorf("%+v", m)
	}
	if len(m.Gaps) != 1 || m.Gaps[0] != (Gap{From: gap.From, To: gap.To, Refused: 3, Reason: "full"}) {
		t.Errorf("gaps: %+v", m.Gaps)
	}
	if at := m.UnreadableAt; len(at) != 2 || at[0].Type != "Z" || at[1].Type != "E" {
		t.Errorf("unreadable: %+v", at)
	}
}

// resum gives a record the checksum of what it has become. The form is told in
// journal.go of the root package.
func resum(record []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(record[4:], crc32.Update(crc32.Checksum(record[:4], table), table, record[8:]))
	return record
}

func TestFilesWithoutEventsAreObjectsToo(t *testing.T) {
	for name, body := range map[string][]byte{
		"sealed": journalOf(testJournal, 1, "gw", crowdStart, nil), "empty": nil, "nothing but damage": bytes.Repeat([]byte{7}, 1000),
	} {
		object, m := mustConvert(t, 1, body)
		if rows := rowsOf(t, object); len(rows) != 0 || m.Rows != 0 || m.whole() != (name == "sealed") {
			t.Errorf("%s: %d rows, %+v", name, len(rows), m)
		}
		if key := liveKey(m); !strings.HasPrefix(key, "live/date=") {
			t.Errorf("%s: %s", name, key)
		}
	}
}

func TestADamagedHeaderCostsTheGatewaysName(t *testing.T) {
	body := flipped(journalOf(testJournal, 1, "gw", crowdStart, goldenEvents()), 20)
	object, m := mustConvert(t, 1, body)
	rows := rowsOf(t, object)
	if len(rows) != 5 || rows[0].Gateway != "" || rows[0].Journal != testJournal || m.Damaged != 1 {
		t.Errorf("%d rows, %+v, %+v", len(rows), rows[0], m)
	}
}

// A clock that went back in the middle of a file.
func TestRowsOfASessionAreInOrder(t *testing.T) {
	events := goldenEvents()
	events[1].ReceivedAt, events[4].ReceivedAt = crowdStart+50, crowdStart-50
	object, m := mustConvert(t, 1, journalOf(testJournal, 1, "gw", crowdStart, events))
	var last int64
	eachRow(t, object, func(r *Row) {
		if string(r.Event) == "final-2026" {
			if r.ReceivedTime < last {
				t.Errorf("%d after %d", r.ReceivedTime, last)
			}
			last = r.ReceivedTime
		}
	})
	if m.FirstReceived != crowdStart || m.MinReceived != crowdStart-50 || m.MaxReceived != crowdStart+50 {
		t.Errorf("%+v", m)
	}
}

// Whatever a journal file holds, it becomes an object that can be read.
func FuzzConvert(f *testing.F) {
	body := journalOf(testJournal, 1, "gw", crowdStart, goldenEvents())
	f.Add(body)
	f.Add(body[:len(body)-3])
	f.Add(flipped(body, len(body)/2))
	odd := goldenEvents()[0]
	odd.Segments = []byte{200}
	f.Add(journalOf(testJournal, 1, "\xff", 0, []*grandstand.RawEvent{odd}))
	f.Fuzz(func(t *testing.T, body []byte) {
		var out bytes.Buffer
		m, err := convert(&out, JournalFile{Journal: testJournal, Number: 1}, body)
		if grandstand.CodeOf(err) == grandstand.CodeConflict {
			return // of another journal
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := checkBytes(out.Bytes())
		if err != nil || back.Rows != m.Rows {
			t.Fatalf("%+v: %v", back, err)
		}
	})
}
