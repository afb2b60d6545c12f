package archiver

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"grandstand"
)

// compactHour is the hour in which the events of the tests begin.
const compactHour = crowdStart - crowdStart%hourMS

// putLive stores the live object of a journal file, and returns its key.
func putLive(t testing.TB, s *Store, journal string, number uint64, raws []*grandstand.RawEvent) string {
	t.Helper()
	body := journalOf(journal, number, "gw", crowdStart, raws)
	var buf bytes.Buffer
	m, err := convert(&buf, JournalFile{Journal: journal, Number: number, Size: int64(len(body))}, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.blobs.put(t.Context(), liveKey(m), buf.Bytes()); err != nil {
		t.Fatal(err)
	}
	return liveKey(m)
}

// closing are options by which the hours of the tests are closed.
func closing(t testing.TB) CompactOptions {
	return CompactOptions{Now: time.UnixMilli(compactHour + 100*hourMS), Temp: t.TempDir()}
}

func mustCompact(t testing.TB, s *Store, opt CompactOptions) CompactReport {
	t.Helper()
	report, err := s.Compact(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// globbed reads what a reader of events/ finds, by event and hour, of objects
// that are checked.
func globbed(ctx context.Context, s *Store) (map[eventHour][]flat, error) {
	entries, err := s.blobs.list(ctx, eventsPrefix)
	if err != nil {
		return nil, err
	}
	got := map[eventHour][]flat{}
	for _, e := range entries {
		b, err := s.blobs.get(ctx, e.Key)
		if err != nil {
			return nil, err
		}
		m, err := checkPart(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		if e.Key != partKey(m.Event, m.Hour, m.Part) {
			return nil, fmt.Errorf("%s says that it is part %d of %s at %d", e.Key, m.Part, m.Event, m.Hour)
		}
		o, err := openObject(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, err
		}
		key := eventHour{m.Event, m.Hour}
		for row, err := o.next(); err == nil; row, err = o.next() {
			got[key] = append(got[key], flatten(row))
		}
		o.close()
	}
	return got, nil
}

func mustGlob(t testing.TB, s *Store) map[eventHour][]flat {
	t.Helper()
	got, err := globbed(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// model says in other words what compaction does.
type model struct {
	hours map[eventHour][]modelRow
}

type modelRow struct {
	flat
	at      int64
	journal string
	file    uint64
	number  int
}

func (r *modelRow) key() string {
	if r.Seq != null {
		return r.Session + "#" + r.Seq
	}
	return fmt.Sprint(r.Session, "@", r.at, r.journal, r.file, "/", r.number)
}

func (m *model) has(event string, hour int64, key string) bool {
	return slices.ContainsFunc(m.hours[eventHour{event, hour}], func(r modelRow) bool { return r.key() == key })
}

// compact takes new rows, hour by hour.
func (m *model) compact(rows []modelRow) {
	hours := map[eventHour]bool{}
	var order []eventHour
	for _, r := range rows {
		h := eventHour{r.Event, floorHour(r.at)}
		if !hours[h] {
			hours[h] = true
			order = append(order, h)
		}
	}
	slices.SortFunc(order, func(a, b eventHour) int { return int((a.hour - b.hour) / hourMS) })
	for _, h := range order {
		var all []modelRow
		old := map[string]bool{}
		for _, r := range m.hours[h] {
			all, old[r.key()] = append(all, r), true
		}
		for _, r := range rows {
			numbered := r.Seq != null
			if r.Event == h.event && floorHour(r.at) == h.hour &&
				!(numbered && (m.has(h.event, h.hour-hourMS, r.key()) || !old[r.key()] && m.has(h.event, h.hour+hourMS, r.key()))) {
				all = append(all, r)
			}
		}
		slices.SortStableFunc(all, func(a, b modelRow) int {
			if c := strings.Compare(a.Session, b.Session); c != 0 {
				return c
			}
			for _, c := range []int64{a.at - b.at, int64(strings.Compare(a.journal, b.journal)), int64(a.file) - int64(b.file), int64(a.number - b.number)} {
				if c != 0 {
					return int(c)
				}
			}
			return 0
		})
		seen := map[string]bool{}
		m.hours[h] = slices.DeleteFunc(all, func(r modelRow) bool {
			was := seen[r.key()]
			seen[r.key()] = true
			return was
		})
	}
}

// modelRows returns the rows of a live object as the model takes them.
func modelRows(t testing.TB, s *Store, key string) (rows []modelRow) {
	t.Helper()
	b, err := s.blobs.get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	eachRow(t, b, func(r *Row) {
		rows = append(rows, modelRow{flat: flatten(r), at: r.ReceivedTime, journal: string(r.Journal), file: r.File, number: int(r.Number)})
	})
	return rows
}

func (m *model) compare(t testing.TB, s *Store) {
	t.Helper()
	got := mustGlob(t, s)
	for h := range got {
		if _, ok := m.hours[h]; !ok {
			t.Errorf("%v is not expected", h)
		}
	}
	for h, rows := range m.hours {
		have := got[h]
		if len(have) != len(rows) {
			t.Errorf("%v: %d rows, want %d", h, len(have), len(rows))
			continue
		}
		for i := range rows {
			if have[i] != rows[i].flat {
				t.Errorf("%v row %d:\n%+v\nwant\n%+v", h, i, have[i], rows[i].flat)
			}
		}
	}
}

// genLive draws the events of a journal file, with doubles, over some hours.
func genLive(t *rapid.T) (raws []*grandstand.RawEvent) {
	start := compactHour + hourMS*rapid.Int64Range(0, 1).Draw(t, "hour")
	for range rapid.IntRange(1, 12).Draw(t, "events") {
		e := genEvent(t, nil)
		e.Event = []byte(rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "which"))
		e.Session = []byte(rapid.SampledFrom([]string{"s1", "s2", "t", "u"}).Draw(t, "session"))
		e.ReceivedAt = start + rapid.SampledFrom([]int64{0, 1, 1000, hourMS - 1, hourMS, -1, 5 * hourMS}).Draw(t, "at")
		e.Seq %= 4
		raws = append(raws, e)
	}
	return raws
}

func TestCompactionIsTheModels(t *testing.T) {
	// A check writes dozens of objects, most of whose cost is that there is one.
	const flagName, usual = "rapid.checks", "100"
	if f := flag.Lookup(flagName); f.Value.String() == usual {
		f.Value.Set(strconv.Itoa(rounds(10, 100)))
		defer f.Value.Set(usual)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := openMem(t)
		m := &model{hours: map[eventHour][]modelRow{}}
		opt := closing(t)
		parts := uint64(rapid.IntRange(2, 9).Draw(rt, "rows of a part"))
		opt.full = func(_ int64, rows uint64) bool { return rows >= parts }
		file := uint64(0)
		var keys []string
		for range rapid.IntRange(1, 2).Draw(rt, "rounds") {
			var fresh []modelRow
			for range rapid.IntRange(1, 2).Draw(rt, "files") {
				file++
				key := putLive(t, s, testJournal, file, genLive(rt))
				keys = append(keys, key)
				fresh = append(fresh, modelRows(t, s, key)...)
			}
			mustCompact(t, s, opt)
			m.compact(fresh)
			m.compare(t, s)
			m.doubles(t)
			if again := mustCompact(t, s, opt); again.Hours != 0 || again.Objects != 0 {
				rt.Errorf("what is compacted is compacted again: %+v", again)
			}
			if t.Failed() {
				rt.FailNow()
			}
		}
		for _, key := range keys {
			if ok, err := s.Compacted(t.Context(), liveObject(t, s, key)); !ok || err != nil {
				rt.Fatalf("%s: %v, %v", key, ok, err)
			}
		}
	})
}

// doubles checks the promise itself.
func (m *model) doubles(t testing.TB) {
	t.Helper()
	for h, rows := range m.hours {
		for _, r := range rows {
			if r.Seq != null && m.has(h.event, h.hour-hourMS, r.key()) {
				t.Errorf("%s is there in two hours", r.key())
			}
		}
	}
}

func liveObject(t testing.TB, s *Store, key string) Object {
	t.Helper()
	size, found, err := s.objects.stat(t.Context(), key)
	if err != nil || !found {
		t.Fatalf("%s: %v, %v", key, found, err)
	}
	return Object{Key: key, Size: size}
}

// twoHours stores three files of a crowd that go from one hour into the next, of
// which the third has everything of the second again, and returns the rows.
func twoHours(t testing.TB, s *Store) *model {
	t.Helper()
	m := &model{hours: map[eventHour][]modelRow{}}
	c := newCrowd(1, "final-2026", 6)
	c.now = compactHour + hourMS - 90_000
	for _, one := range c.sessions {
		one.due = c.now
	}
	var all []modelRow
	var second []*grandstand.RawEvent
	for n := uint64(1); n <= 3; n++ {
		_, raws := c.file(testJournal, n, 60)
		if n == 2 {
			second = raws
		}
		if n == 3 {
			raws = append(raws, second...)
		}
		all = append(all, modelRows(t, s, putLive(t, s, testJournal, n, raws))...)
	}
	m.compact(all)
	return m
}

func TestClosedHoursAreCompacted(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		m := twoHours(t, s)
		opt := closing(t)
		opt.Now = time.UnixMilli(compactHour + hourMS).Add(compactGrace - time.Millisecond)
		if r := mustCompact(t, s, opt); r != (CompactReport{}) {
			t.Errorf("before an hour is closed: %+v", r)
		}
		opt.Now = opt.Now.Add(time.Millisecond)
		if r := mustCompact(t, s, opt); r.Hours != 1 || r.Objects != 1 || r.Inputs != 3 {
			t.Errorf("one hour is closed: %+v", r)
		}
		opt.Now = time.Time{} // of the system, which is later
		opt.Before = time.UnixMilli(compactHour + 2*hourMS)
		if r := mustCompact(t, s, opt); r.Hours != 1 || r.Objects != 1 || r.Inputs != 2 || r.Doubles == 0 {
			t.Errorf("two hours are closed: %+v", r)
		}
		m.compare(t, s)
		entries, err := s.blobs.list(t.Context(), eventsPrefix)
		if err != nil || len(entries) != 2 || !strings.HasPrefix(entries[0].Key, "events/event=final-2026/date=") {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// boom is what a hook panics with, in place of a crash.
type boom struct{}

// crashAt compacts until the n-th time at a point, where it stops dead. It
// reports whether it came to that.
func crashAt(t testing.TB, s *Store, opt CompactOptions, point string, n int) (crashed bool) {
	t.Helper()
	opt.hook = func(p string) {
		if p == point {
			if n--; n == 0 {
				panic(boom{})
			}
		}
	}
	defer func() {
		if p := recover(); p != nil {
			if p != (boom{}) {
				panic(p)
			}
			crashed = true
		}
	}()
	mustCompact(t, s, opt)
	return false
}

func TestACompactionThatCrashesIsCompleted(t *testing.T) {
	for _, point := range CompactPoints {
		t.Run(point, func(t *testing.T) {
			for n := 1; ; n++ {
				s := openMem(t)
				m := twoHours(t, s)
				opt := closing(t)
				opt.full = func(_ int64, rows uint64) bool { return rows >= 30 } // several parts
				if !crashAt(t, s, opt, point, n) || n == rounds(2, 4) {
					if n == 1 {
						t.Fatal("it did not come to that point")
					}
					return
				}
				if _, err := globbed(t.Context(), s); err != nil {
					t.Fatalf("after the crash: %v", err)
				}
				// A file that comes late meanwhile must not shift the parts.
				late := newCrowd(2, "final-2026", 3)
				_, raws := late.file(testJournal, 9, 60)
				m.compact(modelRows(t, s, putLive(t, s, testJournal, 9, raws)))
				mustCompact(t, s, opt)
				m.compare(t, s)
				if t.Failed() {
					t.Fatalf("crash %d at %s", n, point)
				}
			}
		})
	}
}

func TestWhoGlobsSeesAnHourOnce(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		opt := closing(t)
		var raws []*grandstand.RawEvent
		add := func(n uint64) {
			for i := range 50 {
				e := &grandstand.RawEvent{Kind: grandstand.RawBeat, Event: []byte("a"), Session: fmt.Appendf(nil, "s%d", i%7),
					HasSeq: true, Seq: n*50 + uint64(i), ReceivedAt: compactHour + int64(n)}
				raws = append(raws, e)
			}
			putLive(t, s, testJournal, n, raws) // all that was before comes again
		}
		add(1)
		mustCompact(t, s, opt)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		reads := 0
		go func() {
			least := 0
			for ctx.Err() == nil {
				got, err := globbed(t.Context(), s)
				if err != nil {
					ended <- err
					return
				}
				rows := got[eventHour{"a", compactHour}]
				seen := map[string]bool{}
				for _, r := range rows {
					seen[r.Session+"#"+r.Seq] = true
				}
				if len(seen) != len(rows) || len(rows) < least || len(rows)%50 != 0 {
					ended <- fmt.Errorf("%d rows, %d different, %d before", len(rows), len(seen), least)
					return
				}
				least, reads = len(rows), reads+1
			}
			ended <- nil
		}()
		last := uint64(rounds(6, 30))
		for n := uint64(2); n <= last; n++ {
			add(n)
			mustCompact(t, s, opt)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if rows := mustGlob(t, s)[eventHour{"a", compactHour}]; len(rows) != int(last)*50 {
			t.Errorf("%d rows", len(rows))
		}
		t.Logf("%d reads meanwhile", reads)
	})
}

func TestTwoCompactorsDoNoHarm(t *testing.T) {
	onEveryStore(t, func(t *testing.T, s *Store) {
		m := twoHours(t, s)
		for round := range rounds(3, 20) {
			if round > 0 {
				c := newCrowd(uint64(round+2), "final-2026", 3)
				_, raws := c.file(testJournal, uint64(9+round), 60)
				m.compact(modelRows(t, s, putLive(t, s, testJournal, uint64(9+round), raws)))
			}
			ended := make(chan error, 3)
			for range cap(ended) {
				opt := closing(t)
				go func() {
					_, err := s.Compact(t.Context(), opt)
					ended <- err
				}()
			}
			var all error
			for range cap(ended) {
				all = errors.Join(all, <-ended)
			}
			if all != nil {
				t.Fatal(all)
			}
			m.compare(t, s)
		}
		if r := mustCompact(t, s, closing(t)); r.Objects != 0 {
			t.Errorf("there is something left to do: %+v", r)
		}
	})
}

func beatAt(session string, seq uint64, at int64) *grandstand.RawEvent {
	return &grandstand.RawEvent{Kind: grandstand.RawBeat, Event: []byte("a"), Session: []byte(session), HasSeq: true, Seq: seq, ReceivedAt: at}
}

// TestNeighboursThatWereCompactedAtOnceAreMended has two compactors publish the
// same row in two hours, since neither saw what the other did.
func TestNeighboursThatWereCompactedAtOnceAreMended(t *testing.T) {
	s, other := openMem(t), openMem(t)
	first := putLive(t, s, testJournal, 2, []*grandstand.RawEvent{beatAt("s", 1, compactHour+hourMS), beatAt("s", 2, compactHour+hourMS+1)})
	mustCompact(t, s, closing(t))
	putLive(t, other, testJournal, 1, []*grandstand.RawEvent{beatAt("s", 1, compactHour+hourMS-1)})
	mustCompact(t, other, closing(t))
	entries, err := other.blobs.list(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := other.blobs.get(t.Context(), e.Key)
		if err == nil {
			err = s.blobs.put(t.Context(), e.Key, b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.objects.remove(t.Context(), first); err != nil { // pruned
		t.Fatal(err)
	}
	if r := mustCompact(t, s, closing(t)); r.Hours != 1 || r.Doubles != 1 {
		t.Errorf("%+v", r)
	}
	got := mustGlob(t, s)
	early, late := got[eventHour{"a", compactHour}], got[eventHour{"a", compactHour + hourMS}]
	if len(early) != 1 || early[0].Seq != "1" || len(late) != 1 || late[0].Seq != "2" {
		t.Errorf("%v, %v", early, late)
	}
	if r := mustCompact(t, s, closing(t)); r.Hours != 0 {
		t.Errorf("that is not the end of it: %+v", r)
	}
}

func TestWhatWasPrunedStaysWhenAFileComesLate(t *testing.T) {
	s := openMem(t)
	key := putLive(t, s, testJournal, 1, []*grandstand.RawEvent{beatAt("s", 1, compactHour), beatAt("t", 1, compactHour)})
	live := liveObject(t, s, key)
	if ok, err := s.Compacted(t.Context(), live); ok || err != nil {
		t.Errorf("before: %v, %v", ok, err)
	}
	opt := closing(t)
	opt.Event = "a"
	mustCompact(t, s, opt)
	if ok, err := s.Compacted(t.Context(), live); ok || err != nil {
		t.Errorf("when only one event was compacted: %v, %v", ok, err)
	}
	mustCompact(t, s, closing(t))
	if ok, err := s.Compacted(t.Context(), live); !ok || err != nil {
		t.Errorf("after: %v, %v", ok, err)
	}
	saved, err := s.blobs.get(t.Context(), partKey("a", compactHour, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.objects.remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	late := putLive(t, s, testJournal, 2, []*grandstand.RawEvent{beatAt("s", 1, compactHour), beatAt("s", 2, compactHour+1)})
	mustCompact(t, s, closing(t))
	if rows := mustGlob(t, s)[eventHour{"a", compactHour}]; len(rows) != 3 {
		t.Errorf("%v", rows)
	}
	// An object that somebody undid is not what the manifest says.
	if err := s.blobs.put(t.Context(), partKey("a", compactHour, 0), saved); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Compacted(t.Context(), liveObject(t, s, late)); ok || err != nil {
		t.Errorf("of an object that was undone: %v, %v", ok, err)
	}
}
