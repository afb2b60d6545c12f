package grandstand

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func sampleHeader() *JournalHeader {
	return &JournalHeader{Journal: "00112233445566778899aabbccddeeff", File: 7, Gateway: "gw-7f3a", CreatedAt: sampleAt}
}

func sampleGap() *JournalGap {
	return &JournalGap{From: sampleAt + 100, To: sampleAt + 2100, Refused: 3000, Reason: "full"}
}

func sampleSeal() *JournalSeal {
	return &JournalSeal{Events: 5, Gaps: 1, SealedAt: sampleAt + 60_000, Adopted: true}
}

func sampleRawEvents() []*RawEvent {
	segments := AppendSegments(nil, []Dimension{{Name: "country"}, {Name: "team"}}, []string{"US", "KC"})
	one := func(kind RawKind) *RawEvent {
		return &RawEvent{
			Kind: kind, Event: []byte("final-2026"), Session: []byte("AAECAwQFBgcICQoLDA0ODxAREhMU"),
			Viewer: Key{1}, Device: Key{15: 2}, Segments: segments, ReceivedAt: sampleAt,
		}
	}
	join, beat, event, leave, verdict := one(RawJoin), one(RawBeat), one(RawEvents), one(RawLeave), one(RawVerdict)
	join.Account = Key{3}
	beat.HasSeq, beat.Seq, beat.State = true, 1, StatePlaying
	beat.HasPos, beat.Pos, beat.HasBitrate, beat.Bitrate = true, 12.5, true, 4500
	event.HasSeq, event.Seq, event.Name, event.ClientAt = true, maxWireNumber, []byte("startup"), sampleAt-7
	event.Data = []byte(`{"ms":1234,"cdn":"a"}`)
	leave.Data = []byte(`{"how":"ended","acked":2}`)
	verdict.Viewer, verdict.Device, verdict.Data = Key{}, Key{}, []byte(`{"status":"blocked","code":"device_limit"}`)
	return []*RawEvent{join, beat, event, verdict, leave}
}

// sampleFile returns a sealed file, and where each of its records begins.
func sampleFile() (b []byte, starts []int) {
	b = AppendHeaderRecord(nil, sampleHeader())
	starts = []int{0}
	add := func(more []byte) {
		starts = append(starts, len(b))
		b = more
	}
	for i, e := range sampleRawEvents() {
		if i == 3 {
			add(AppendGapRecord(b, sampleGap()))
		}
		add(AppendEventRecord(b, e))
	}
	add(AppendSealRecord(b, sampleSeal()))
	return b, starts
}

// record is a record of a file with its type.
type record struct {
	Type    RecordType
	Payload []byte
	Start   int
}

// recordsOf reads a file. It panics unless records and damage cover it exactly.
func recordsOf(b []byte) (list []record, damaged []Damage) {
	s := NewJournalScanner(b)
	covered := 0
	for t, payload, ok := s.Next(); ok; t, payload, ok = s.Next() {
		list = append(list, record{t, payload, s.Start()})
		if s.Offset()-s.Start() != recordHead+1+len(payload) {
			panic("a record's place is not its length")
		}
		covered += s.Offset() - s.Start()
	}
	end := 0
	for _, d := range s.Damaged() {
		if d.Bytes <= 0 || d.Offset < end {
			panic("damage is empty or overlaps")
		}
		end = d.Offset + d.Bytes
		covered += d.Bytes
	}
	if covered != len(b) {
		panic(fmt.Sprintf("records and damage cover %d of %d bytes", covered, len(b)))
	}
	if _, _, ok := s.Next(); ok || len(s.Damaged()) > 0 && !slices.Equal(s.Damaged(), s.damaged) {
		panic("there is more after the end")
	}
	return list, s.Damaged()
}

func TestJournalGolden(t *testing.T) {
	b, starts := sampleFile()
	old := golden(t, "journal-v1.hex", b)
	records, damaged := recordsOf(old)
	if len(damaged) > 0 {
		t.Fatalf("damaged: %v", damaged)
	}
	var got []any
	for i, r := range records {
		if i < len(starts) && r.Start != starts[i] {
			t.Errorf("record %d begins at %d, not %d", i, r.Start, starts[i])
		}
		v, err := decodeRecord(r)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		got = append(got, v)
	}
	raws := sampleRawEvents()
	want := []any{sampleHeader(), raws[0], raws[1], raws[2], sampleGap(), raws[3], raws[4], sampleSeal()}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	segments, err := DecodeSegments(raws[0].Segments)
	if diff := cmp.Diff([]Segment{{"country", "US"}, {"team", "KC"}}, segments); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func decodeRecord(r record) (any, error) {
	switch r.Type {
	case RecordHeader:
		return DecodeHeaderRecord(r.Payload)
	case RecordGap:
		return DecodeGapRecord(r.Payload)
	case RecordSeal:
		return DecodeSealRecord(r.Payload)
	case RecordEvent:
		e := new(RawEvent)
		return e, DecodeEventRecord(r.Payload, e)
	}
	return nil, nil
}

// TestAFlippedBitCostsOneRecord flips every bit of a file in turn.
func TestAFlippedBitCostsOneRecord(t *testing.T) {
	b, _ := sampleFile()
	whole, _ := recordsOf(slices.Clone(b))
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		checkFlipped(t, whole, b, bit)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// checkFlipped fails unless all records are there but the one that has the bit,
// and that one is reported.
func checkFlipped(t interface{ Fatalf(string, ...any) }, whole []record, b []byte, bit int) {
	records, damaged := recordsOf(b)
	hit := -1
	for i, r := range whole {
		if r.Start <= bit/8 {
			hit = i
		}
	}
	lost := Damage{whole[hit].Start, recordHead + 1 + len(whole[hit].Payload)}
	if !slices.Equal(damaged, []Damage{lost}) {
		t.Fatalf("bit %d: damaged is %v, not record %d: %v", bit, damaged, hit, lost)
	}
	rest := slices.Delete(slices.Clone(whole), hit, hit+1)
	if !slices.EqualFunc(records, rest, func(a, b record) bool {
		return a.Type == b.Type && a.Start == b.Start && bytes.Equal(a.Payload, b.Payload)
	}) {
		t.Fatalf("bit %d: of %d records %d are read, or others", bit, len(rest), len(records))
	}
}

// TestAFlippedBitCostsOneRecordOfAnyFile does that to files of which the
// records are like each other, so that a wrong length may end where another
// record does.
func TestAFlippedBitCostsOneRecordOfAnyFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		same := rapid.Bool().Draw(t, "the same")
		e := rapidRawEvent(t)
		for range rapid.IntRange(1, 40).Draw(t, "records") {
			if !same {
				e = rapidRawEvent(t)
			}
			b = AppendEventRecord(b, e)
		}
		whole, _ := recordsOf(slices.Clone(b))
		bit := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit")
		b[bit/8] ^= 1 << (bit % 8)
		checkFlipped(t, whole, b, bit)
	})
}

// TestATornFileKeepsItsWholeRecords cuts a file off at every byte, and has the
// rest of it be zeros, as after a loss of power.
func TestATornFileKeepsItsWholeRecords(t *testing.T) {
	b, starts := sampleFile()
	whole, _ := recordsOf(b)
	for n := range b {
		i, _ := slices.BinarySearch(starts, n+1)
		fits := i - 1 // of the records that begin before or at n, the last is cut
		for what, torn := range map[string][]byte{
			"cut":   b[:n],
			"zeros": append(slices.Clone(b[:n]), make([]byte, len(b)-n)...),
		} {
			if what == "zeros" && b[n] == 0 {
				continue // the record may be whole by chance
			}
			records, damaged := recordsOf(torn)
			if len(records) != fits || fits > 0 && !bytes.Equal(records[fits-1].Payload, whole[fits-1].Payload) {
				t.Fatalf("%s at %d: %d records, not %d", what, n, len(records), fits)
			}
			if want := (Damage{starts[fits], len(torn) - starts[fits]}); want.Bytes > 0 && !slices.Equal(damaged, []Damage{want}) {
				t.Fatalf("%s at %d: damaged is %v, not %v", what, n, damaged, want)
			}
		}
	}
}

// TestDamageInsideEndsWithTheNextRecord overwrites parts of files.
func TestDamageInsideEndsWithTheNextRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		for range rapid.IntRange(1, 40).Draw(t, "records") {
			b = AppendEventRecord(b, rapidRawEvent(t))
		}
		whole, _ := recordsOf(slices.Clone(b))
		from := rapid.IntRange(0, len(b)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(b)).Draw(t, "to")
		if rapid.Bool().Draw(t, "zeros") {
			clear(b[from:to])
		} else {
			copy(b[from:to], rapid.SliceOfN(rapid.Byte(), to-from, to-from).Draw(t, "bytes"))
		}
		records, _ := recordsOf(b)
		for _, r := range whole {
			end := r.Start + recordHead + 1 + len(r.Payload)
			if end > from && r.Start < to {
				continue // it was hit
			}
			if i := slices.IndexFunc(records, func(o record) bool { return o.Start == r.Start }); i < 0 || !bytes.Equal(records[i].Payload, r.Payload) {
				t.Fatalf("the record at %d is lost; %d to %d were overwritten", r.Start, from, to)
			}
		}
	})
}

// TestReadersSkipRecordsOfOtherTypes, which a later release may write.
func TestReadersSkipRecordsOfOtherTypes(t *testing.T) {
	b := AppendHeaderRecord(nil, sampleHeader())
	b = appendRecord(b, 'Z', func(b []byte) []byte { return append(b, "something new"...) })
	b = AppendSealRecord(b, sampleSeal())
	records, damaged := recordsOf(b)
	if len(records) != 3 || records[1].Type != 'Z' || len(damaged) > 0 {
		t.Errorf("%v, damaged %v", records, damaged)
	}
}

func TestTheLargestRecordIsRead(t *testing.T) {
	e := sampleRawEvents()[2]
	for size, ok := range map[int]bool{MaxJournalRecord: true, MaxJournalRecord + 1: false} {
		e.Data = nil
		small := len(AppendEventRecord(nil, e)) - recordHead
		e.Data = bytes.Repeat([]byte{'x'}, size-small-2) // its length takes two bytes more
		b := AppendEventRecord(nil, e)
		if len(b)-recordHead != size {
			t.Fatalf("a payload of %d bytes, not %d", len(b)-recordHead, size)
		}
		if records, _ := recordsOf(b); (len(records) == 1) != ok {
			t.Errorf("a payload of %d bytes: %d records", size, len(records))
		}
	}
}

func rapidRawEvent(t *rapid.T) *RawEvent {
	text := rapid.SliceOfN(rapid.Byte(), 0, 60)
	key := func(label string) (k Key) {
		if rapid.Bool().Draw(t, "has "+label) {
			k = Key(rapid.SliceOfN(rapid.Byte(), len(k), len(k)).Draw(t, label))
		}
		return k
	}
	ms := rapid.Int64Range(0, maxWireNumber)
	e := &RawEvent{
		Kind: RawKind(rapid.IntRange(1, 5).Draw(t, "kind")), Event: text.Draw(t, "event"), Session: text.Draw(t, "session"),
		Viewer: key("viewer"), Device: key("device"), Account: key("account"), Segments: text.Draw(t, "segments"),
		HasSeq: rapid.Bool().Draw(t, "has seq"), HasPos: rapid.Bool().Draw(t, "has pos"), HasBitrate: rapid.Bool().Draw(t, "has bitrate"),
		Name: text.Draw(t, "name"), State: State(rapid.IntRange(0, len(stateNames)-1).Draw(t, "state")),
		ClientAt: ms.Draw(t, "client at"), ReceivedAt: ms.Draw(t, "received at"), Data: text.Draw(t, "data"),
	}
	if e.HasSeq {
		e.Seq = uint64(ms.Draw(t, "seq"))
	}
	if e.HasPos {
		e.Pos = rapid.Float64().Draw(t, "pos")
		if math.IsNaN(e.Pos) || math.IsInf(e.Pos, 0) {
			e.HasPos, e.Pos = false, 0
		}
	}
	if e.HasBitrate {
		e.Bitrate = ms.Draw(t, "bitrate")
	}
	return e
}

// The forms of payloads, in the shape that tests of wire forms want.

func payloadOf[T any](enc func([]byte, *T) []byte) func([]byte, *T) []byte {
	return func(dst []byte, v *T) []byte { return append(dst, enc(nil, v)[recordHead+1:]...) }
}

func decodeRaw(b []byte) (*RawEvent, error) {
	e := new(RawEvent)
	if err := DecodeEventRecord(b, e); err != nil {
		return nil, err
	}
	return e, nil
}

func journalCases() []wireCase {
	list := []wireCase{
		wireCaseOf("header", sampleHeader(), payloadOf(AppendHeaderRecord), DecodeHeaderRecord),
		wireCaseOf("gap", sampleGap(), payloadOf(AppendGapRecord), DecodeGapRecord),
		wireCaseOf("seal", sampleSeal(), payloadOf(AppendSealRecord), DecodeSealRecord),
	}
	for _, e := range sampleRawEvents() {
		list = append(list, wireCaseOf(e.Kind.String(), e, payloadOf(AppendEventRecord), decodeRaw))
	}
	return list
}

func TestPayloadsRefuseTruncatedAndTrailingBytes(t *testing.T) {
	for _, c := range journalCases() {
		for n := range c.sample {
			if c.check(slices.Clone(c.sample[:n])) == nil {
				t.Errorf("%s: the first %d of %d bytes decode", c.name, n, len(c.sample))
			}
		}
		if c.check(append(slices.Clone(c.sample), 0)) == nil {
			t.Errorf("%s: decodes with a byte after its end", c.name)
		}
		if c.check(append([]byte{c.sample[0] + 1}, c.sample[1:]...)) == nil {
			t.Errorf("%s: decodes with another version", c.name)
		}
	}
}

func TestRawEventsRefuseWhatIsOutOfRange(t *testing.T) {
	ok := payloadOf(AppendEventRecord)(nil, sampleRawEvents()[1])
	viewer := sampleRawEvents()[1].Viewer
	for what, change := range map[string]func(b []byte){
		"a flag that is not known":  func(b []byte) { b[2] |= rawFlags },
		"a state that is not known": func(b []byte) { b[3] = byte(len(stateNames)) },
		"a key that is zero":        func(b []byte) { b[bytes.Index(b, viewer[:])] = 0 },
		"a position without end": func(b []byte) {
			old := binary.LittleEndian.AppendUint64(nil, math.Float64bits(12.5))
			binary.LittleEndian.PutUint64(b[bytes.Index(b, old):], math.Float64bits(math.Inf(1)))
		},
	} {
		b := slices.Clone(ok)
		if _, err := decodeRaw(b); err != nil {
			t.Fatal(err)
		}
		change(b)
		if _, err := decodeRaw(b); CodeOf(err) != CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := DecodeHeaderRecord(payloadOf(AppendHeaderRecord)(nil, &JournalHeader{Journal: "../etc"})); CodeOf(err) != CodeInvalid {
		t.Errorf("a journal that is a path: %v", err)
	}
}

// TestWhatCannotBeReadIsNotWritten: a record that no reader takes would be an
// event that is acknowledged and lost.
func TestWhatCannotBeReadIsNotWritten(t *testing.T) {
	for _, pos := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		e := sampleRawEvents()[1]
		e.Pos = pos
		got, err := decodeRaw(payloadOf(AppendEventRecord)(nil, e))
		if err != nil || got.HasPos {
			t.Errorf("position %v: %v", pos, err)
		}
	}
	e := sampleRawEvents()[1]
	e.ReceivedAt, e.ClientAt, e.Bitrate, e.Seq = -1, math.MinInt64, -5, math.MaxUint64
	if _, err := decodeRaw(payloadOf(AppendEventRecord)(nil, e)); err != nil {
		t.Error(err)
	}
}

func TestJournalRoundTrips(t *testing.T) {
	ms, count := rapid.Int64Range(0, maxWireNumber), rapid.Uint64Range(0, maxWireNumber)
	rapid.Check(t, func(t *rapid.T) {
		checkRound(t, rapidRawEvent(t), payloadOf(AppendEventRecord), decodeRaw)
		checkRound(t, &JournalHeader{
			Journal: rapid.StringMatching(`[A-Za-z0-9._-]{1,64}`).Draw(t, "journal"), File: count.Draw(t, "file"),
			Gateway: rapid.String().Draw(t, "gateway"), CreatedAt: ms.Draw(t, "created"),
		}, payloadOf(AppendHeaderRecord), DecodeHeaderRecord)
		checkRound(t, &JournalSeal{
			Events: count.Draw(t, "events"), Gaps: count.Draw(t, "gaps"), SealedAt: ms.Draw(t, "sealed"), Adopted: rapid.Bool().Draw(t, "adopted"),
		}, payloadOf(AppendSealRecord), DecodeSealRecord)
		checkRound(t, &JournalGap{
			From: ms.Draw(t, "from"), To: ms.Draw(t, "to"), Refused: count.Draw(t, "refused"), Reason: rapid.String().Draw(t, "reason"),
		}, payloadOf(AppendGapRecord), DecodeGapRecord)

		var dims []Dimension
		var values []string
		want := []Segment(nil)
		for range rapid.IntRange(0, 8).Draw(t, "dims") {
			s := Segment{rapid.String().Draw(t, "dim"), rapid.String().Draw(t, "value")}
			dims, values, want = append(dims, Dimension{Name: s.Dim}), append(values, s.Value), append(want, s)
		}
		got, err := DecodeSegments(AppendSegments(nil, dims, values))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	})
}

// TestAFileOfRubbishIsReadQuickly: each byte may look like the head of a long
// record, of which the checksum has to be taken.
func TestAFileOfRubbishIsReadQuickly(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 8<<20)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	for what, b := range map[string][]byte{
		"zeros":  make([]byte, 8<<20),
		"random": random,
		"text":   bytes.Repeat([]byte(`{"t":"beat","seq":1}`), 8<<20/20),
		"cut":    bytes.Repeat(AppendEventRecord(nil, benchEvent())[1:], 8<<20/800),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		records, damaged := recordsOf(b)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if len(records) > 0 || !slices.Equal(damaged, []Damage{{0, len(b)}}) {
			t.Errorf("%s: %d records, damaged %v", what, len(records), damaged)
		}
		// Some hundred milliseconds on an idle machine without the race detector;
		// to look at every byte for the length of a record would take an hour.
		if limit := 30 * time.Second; took > limit {
			t.Errorf("%s: %d bytes took %v", what, len(b), took)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<16 {
			t.Errorf("%s: %d bytes make it allocate %d", what, len(b), got)
		}
	}
}

func TestJournalCodecDoesNotAllocate(t *testing.T) {
	e, dst := benchEvent(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = AppendEventRecord(dst[:0], e) }); n > 0 {
		t.Errorf("an append allocates %v times", n)
	}
	var got RawEvent
	if n := testing.AllocsPerRun(100, func() {
		s := JournalScanner{b: dst}
		for _, payload, ok := s.Next(); ok; _, payload, ok = s.Next() {
			if err := DecodeEventRecord(payload, &got); err != nil {
				t.Error(err)
			}
		}
	}); n > 0 {
		t.Errorf("a decode allocates %v times", n)
	}
}

func TestPeerToken(t *testing.T) {
	// printf peer | openssl dgst -sha256 -hmac secret
	const want = "9685fe40d712852a82966aaafd63049c53e54071396b969c5f9b6a35f663bcea"
	if got := PeerToken([]byte("secret")); got != want {
		t.Errorf("token %q", got)
	}
}

func FuzzDecodeEventRecord(f *testing.F) {
	for _, e := range sampleRawEvents() {
		f.Add(payloadOf(AppendEventRecord)(nil, e))
	}
	fuzzWire(f, sampleRawEvents()[2], payloadOf(AppendEventRecord), decodeRaw)
}
func FuzzDecodeHeaderRecord(f *testing.F) {
	fuzzWire(f, sampleHeader(), payloadOf(AppendHeaderRecord), DecodeHeaderRecord)
}
func FuzzDecodeSealRecord(f *testing.F) {
	fuzzWire(f, sampleSeal(), payloadOf(AppendSealRecord), DecodeSealRecord)
}
func FuzzDecodeGapRecord(f *testing.F) {
	fuzzWire(f, sampleGap(), payloadOf(AppendGapRecord), DecodeGapRecord)
}

func FuzzDecodeSegments(f *testing.F) {
	f.Add(sampleRawEvents()[0].Segments)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := DecodeSegments(b)
		if err != nil && CodeOf(err) != CodeInvalid || len(list) > len(b) {
			t.Fatalf("%d segments, %v", len(list), err)
		}
	})
}

func FuzzJournalScanner(f *testing.F) {
	b, _ := sampleFile()
	f.Add(b, 0)
	f.Add(b, len(b)/2)
	f.Add(b[:len(b)-3], 11)
	f.Add([]byte{0xff, 0xff, 0, 0, 1, 2, 3, 4, 'E'}, 4)
	valid := AppendSealRecord(nil, sampleSeal())
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		records, _ := recordsOf(b)
		for _, r := range records {
			_, _ = decodeRecord(r)
		}
		// A record in the midst of anything is found, unless one that is whole as
		// well lies over it.
		at = min(max(at, 0), len(b))
		with := slices.Concat(b[:at], valid, b[at:])
		records, _ = recordsOf(with)
		if !slices.ContainsFunc(records, func(r record) bool {
			return r.Start <= at && at < r.Start+recordHead+1+len(r.Payload)
		}) {
			t.Fatalf("the record at %d is not found", at)
		}
	})
}

// benchEvent is an event of 800 bytes as a record.
func benchEvent() *RawEvent {
	e := sampleRawEvents()[2]
	e.Seq = 1000
	e.Data = nil
	e.Data = append(append([]byte(`{"x":"`), bytes.Repeat([]byte{'x'}, 800-len(AppendEventRecord(nil, e))-1-8)...), `"}`...)
	return e
}

func BenchmarkAppendEventRecord(b *testing.B) {
	e := benchEvent()
	dst := AppendEventRecord(nil, e)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendEventRecord(dst[:0], e)
	}
}

func BenchmarkDecodeEventRecord(b *testing.B) {
	payload := payloadOf(AppendEventRecord)(nil, benchEvent())
	var e RawEvent
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeEventRecord(payload, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJournalScanner(b *testing.B) {
	file := AppendHeaderRecord(nil, sampleHeader())
	for len(file) < 8<<20 {
		file = AppendEventRecord(file, benchEvent())
	}
	var e RawEvent
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		s := NewJournalScanner(file)
		for t, payload, ok := s.Next(); ok; t, payload, ok = s.Next() {
			if t == RecordEvent && DecodeEventRecord(payload, &e) != nil {
				b.Fatal("an event is not read")
			}
		}
	}
}
