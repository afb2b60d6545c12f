package archiver

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"grandstand/archiver/miniotest"
)

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCore runs do b.N times and reports events for each second of a core: of all
// that this process used, garbage collection and uploads included.
func perCore(b *testing.B, events int, do func()) {
	do() // pools and caches are warm in an archiver that runs
	runtime.GC()
	b.ResetTimer()
	began := cpu()
	for b.Loop() {
		do()
	}
	used := cpu() - began
	b.ReportMetric(float64(events*b.N)/used.Seconds(), "events/s/core")
	b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
}

// plainColumns are the columns with the types of a plain loop. The option json is
// missing: with optional and a string it makes the library panic at a null.
type plainColumns struct {
	Event        string  `parquet:"event,dict"`
	Session      string  `parquet:"session,delta"`
	Viewer       string  `parquet:"viewer,optional,delta"`
	Account      string  `parquet:"account,optional,delta"`
	Device       string  `parquet:"device,optional,delta"`
	Seq          int64   `parquet:"seq,optional,delta"`
	Kind         string  `parquet:"kind,dict"`
	Name         string  `parquet:"name,optional,dict"`
	State        string  `parquet:"state,optional,dict"`
	Position     float64 `parquet:"position,optional"`
	Bitrate      int64   `parquet:"bitrate,optional,dict"`
	Country      string  `parquet:"country,optional,dict"`
	Region       string  `parquet:"region,optional,dict"`
	Team         string  `parquet:"team,optional,dict"`
	Segments     string  `parquet:"segments,optional,dict"`
	Gateway      string  `parquet:"gateway,dict"`
	ClientTime   int64   `parquet:"client_time,optional,timestamp(millisecond),delta"`
	ReceivedTime int64   `parquet:"received_time,timestamp(millisecond),delta"`
	Data         string  `parquet:"data,optional,dict"`
	Journal      string  `parquet:"journal,dict"`
	File         int64   `parquet:"file,delta"`
	Row          int64   `parquet:"row,delta"`
}

func plainOf(r *Row) plainColumns {
	key := func(given bool, text string) string {
		if !given {
			return ""
		}
		return text
	}
	return plainColumns{
		Event: string(r.Event), Session: string(r.Session), Viewer: key(!r.Viewer.IsZero(), r.Viewer.Text()),
		Account: key(!r.Account.IsZero(), r.Account.Text()), Device: key(!r.Device.IsZero(), r.Device.Text()),
		Seq: int64(r.Seq), Kind: r.Kind.String(), Name: string(r.Name), State: r.State.String(), Position: r.Position, Bitrate: r.Bitrate,
		Country: string(r.Country), Region: string(r.Region), Team: string(r.Team), Segments: string(r.Segments),
		Gateway: string(r.Gateway), ClientTime: r.ClientTime, ReceivedTime: r.ReceivedTime, Data: string(r.Data),
		Journal: string(r.Journal), File: int64(r.File), Row: int64(r.Number),
	}
}

// BenchmarkArchive takes a file of 20,000 sessions and one minute from the disk
// to its verified object. Beside it: a plain loop of writes of the same rows by
// the library, made before, in the same order and with the same encodings, to
// nowhere; nothing is read, decoded, sorted, stored or verified.
func BenchmarkArchive(b *testing.B) {
	c := newCrowd(1, "final-2026", 20_000)
	body, raws := c.file(testJournal, 1, 60)
	object, _ := mustConvert(b, 1, body)

	b.Run("limit", func(b *testing.B) {
		rows := make([]plainColumns, 0, len(raws))
		eachRow(b, object, func(r *Row) { rows = append(rows, plainOf(r)) })
		perCore(b, len(raws), func() {
			w := parquet.NewGenericWriter[plainColumns](io.Discard, parquet.Compression(zstdCodec))
			for i := 0; i < len(rows); i += 1000 {
				if _, err := w.Write(rows[i:min(i+1000, len(rows))]); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("convert", func(b *testing.B) {
		perCore(b, len(raws), func() {
			if _, err := convert(io.Discard, JournalFile{Journal: testJournal, Number: 1}, body); err != nil {
				b.Fatal(err)
			}
		})
	})
	b.Run("check", func(b *testing.B) {
		perCore(b, len(raws), func() {
			if _, err := checkBytes(object); err != nil {
				b.Fatal(err)
			}
		})
	})
	whole := func(b *testing.B, url string) {
		s := open(b, url)
		dir := leaveJournal(b, testJournal, nil)
		d := adopt(b, dir)
		a := newArchiver(b, Config{Store: s, Sources: sources(d), Workers: 1})
		path := filepath.Join(dir, "00000001.journal")
		perCore(b, len(raws), func() {
			b.StopTimer()
			if err := os.WriteFile(path, body, 0o600); err != nil {
				b.Fatal(err)
			}
			if err := s.objects.remove(b.Context(), liveKeyOf(b, object)); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := a.Once(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
		if _, err := os.Stat(path); err == nil {
			b.Fatal("the file is still there")
		}
		b.ReportMetric(float64(c.received)/float64(len(object)), "json/object")
		b.ReportMetric(float64(len(object))/float64(len(raws)), "B/event")
	}
	b.Run("file", func(b *testing.B) { whole(b, "file:"+b.TempDir()) })
	b.Run("s3", func(b *testing.B) { whole(b, miniotest.Start(b).Bucket("archive")) })
}

func liveKeyOf(t testing.TB, object []byte) string {
	t.Helper()
	o, err := openObject(bytes.NewReader(object), int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	return liveKey(o.Meta)
}

// BenchmarkArchiveSmall is a file with next to nothing in it, as of an idle
// gateway.
func BenchmarkArchiveSmall(b *testing.B) {
	c := newCrowd(1, "final-2026", 8)
	body, _ := c.file(testJournal, 1, 60)
	b.ReportAllocs()
	for b.Loop() {
		object, _ := mustConvert(b, 1, body)
		if _, err := checkBytes(object); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkArchiveSize tells how many bytes of JSON that players sent go into one
// of the archive: in the file of a minute, and sorted the same way in an hour.
func BenchmarkArchiveSize(b *testing.B) {
	for _, v := range []struct {
		name     string
		sessions int
		seconds  int
		accounts int // percent that have one
	}{
		{"minute", 20_000, 60, 0},
		{"minute, half have accounts", 20_000, 60, 50},
		{"hour", 900, 3600, 0},
		{"hour, half have accounts", 900, 3600, 50},
	} {
		b.Run(v.name, func(b *testing.B) {
			c := newCrowdOf(1, "final-2026", v.sessions, v.accounts)
			body, raws := c.file(testJournal, 1, v.seconds)
			var object []byte
			for b.Loop() {
				object, _ = mustConvert(b, 1, body)
			}
			b.ReportMetric(float64(len(object))/float64(len(raws)), "B/event")
			b.ReportMetric(float64(c.received)/float64(len(raws)), "json-B/event")
			b.ReportMetric(float64(c.received)/float64(len(object)), "json/object")
		})
	}
}

// BenchmarkArchiveEncodings writes the same rows in other ways than the one that
// was chosen (docs/decisions), those of a journal file and those of a closed hour:
// B/event is the object's size, events/s/core of the writing alone.
func BenchmarkArchiveEncodings(b *testing.B) {
	b.Run("minute", func(b *testing.B) { benchmarkEncodings(b, 20_000, 60) })
	b.Run("hour", func(b *testing.B) { benchmarkEncodings(b, 900, 3600) })
}

func benchmarkEncodings(b *testing.B, sessions, seconds int) {
	c := newCrowd(1, "final-2026", sessions)
	body, raws := c.file(testJournal, 1, seconds)
	object, _ := mustConvert(b, 1, body)
	var bySession []Row
	eachRow(b, object, func(r *Row) { bySession = append(bySession, copyRow(r)) })
	byTime := slices.Clone(bySession)
	slices.SortStableFunc(byTime, func(x, y Row) int { return cmp.Compare(x.ReceivedTime, y.ReceivedTime) })

	variant := func(changes ...string) *parquet.Schema { // column, encoding
		t := reflect.TypeFor[columns]()
		var fields []reflect.StructField
		for i := range t.NumField() {
			f := t.Field(i)
			tag := f.Tag.Get("parquet")
			for k := 0; k < len(changes); k += 2 {
				if name, _, _ := strings.Cut(tag, ","); name == changes[k] {
					for _, e := range []string{",dict", ",delta", ",split"} {
						tag = strings.TrimSuffix(tag, e)
					}
					tag += changes[k+1]
				}
			}
			f.Tag = reflect.StructTag(`parquet:"` + tag + `"`)
			fields = append(fields, f)
		}
		return parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface())
	}
	keys := func(encoding string) []string {
		return []string{"session", encoding, "viewer", encoding, "account", encoding, "device", encoding}
	}
	words := []string{"event", ",delta", "kind", ",delta", "name", ",delta", "state", ",delta", "country", ",delta", "region", ",delta", "team", ",delta"}
	times := func(encoding string) []string {
		return []string{"seq", encoding, "received_time", encoding, "client_time", encoding}
	}
	level := func(l zstd.EncoderLevel) parquet.WriterOption { return parquet.Compression(&codec{level: l}) }

	for _, v := range []struct {
		name    string
		rows    []Row
		options []parquet.WriterOption
	}{
		{"chosen", bySession, nil},
		{"by time", byTime, nil},
		{"by time, keys dict", byTime, []parquet.WriterOption{variant(keys(",dict")...)}},
		{"keys dict", bySession, []parquet.WriterOption{variant(keys(",dict")...)}},
		{"keys plain", bySession, []parquet.WriterOption{variant(keys("")...)}},
		{"words delta", bySession, []parquet.WriterOption{variant(words...)}},
		{"numbers split", bySession, []parquet.WriterOption{variant(times(",split")...)}},
		{"numbers plain", bySession, []parquet.WriterOption{variant(times("")...)}},
		{"position split", bySession, []parquet.WriterOption{variant("position", ",split")}},
		{"position dict", bySession, []parquet.WriterOption{variant("position", ",dict")}},
		{"data delta", bySession, []parquet.WriterOption{variant("data", ",delta")}},
		{"pages of 64 KiB", bySession, []parquet.WriterOption{parquet.PageBufferSize(64 << 10)}},
		{"pages of 1 MiB", bySession, []parquet.WriterOption{parquet.PageBufferSize(1 << 20)}},
		{"zstd fastest", bySession, []parquet.WriterOption{level(zstd.SpeedFastest)}},
		{"zstd better", bySession, []parquet.WriterOption{level(zstd.SpeedBetterCompression)}},
		{"zstd best", bySession, []parquet.WriterOption{level(zstd.SpeedBestCompression)}},
		{"no zstd", bySession, []parquet.WriterOption{parquet.Compression(&parquet.Uncompressed)}},
	} {
		b.Run(v.name, func(b *testing.B) {
			var out bytes.Buffer
			perCore(b, len(raws), func() {
				out.Reset()
				o := newObjectWriterOn(newParquetWriter(&out, append([]parquet.WriterOption{schema}, v.options...)...))
				for i := range v.rows {
					if err := o.write(&v.rows[i]); err != nil {
						b.Fatal(err)
					}
				}
				if err := o.close(""); err != nil {
					b.Fatal(err)
				}
			})
			b.ReportMetric(float64(out.Len())/float64(len(raws)), "B/event")
			b.ReportMetric(float64(c.received)/float64(out.Len()), "json/object")
		})
	}
}

// copyRow returns a row that stays.
func copyRow(r *Row) Row {
	c := *r
	for _, text := range []*[]byte{&c.Event, &c.Session, &c.Name, &c.Country, &c.Region, &c.Team, &c.Segments, &c.Gateway, &c.Data, &c.Journal} {
		*text = bytes.Clone(*text)
	}
	return c
}
