package archiver

import (
	"fmt"
	"maps"
	"testing"

	"grandstand"
)

// smallEvents stores live objects of the hours 0 and 1, of so many events with
// some rows each.
func smallEvents(t testing.TB, s *Store, events int) {
	t.Helper()
	for hour := range int64(2) {
		var raws []*grandstand.RawEvent
		for i := range events {
			for seq := range uint64(3) {
				e := beatAt("s", uint64(hour)*3+seq, compactHour+hour*hourMS+int64(seq))
				e.Event = fmt.Appendf(nil, "event-%05d", i)
				raws = append(raws, e)
			}
		}
		putLive(t, s, testJournal, uint64(hour+1), raws)
	}
}

// What a compaction asks the store for is bounded: for an event's hour a constant
// that is told here, and nothing for events that have nothing new.
func TestTheRequestsOfACompactionAreBounded(t *testing.T) {
	events := rounds(30, 10_000)
	s := openMem(t)
	m := s.blobs.(*mem)
	asked := func(do func()) map[string]int {
		clear(m.calls)
		do()
		return maps.Clone(m.calls)
	}
	smallEvents(t, s, events)
	first := asked(func() { mustCompact(t, s, closing(t)) })
	n := 2 * events // of events and hours
	t.Logf("%d hours of events: %v", n, first)
	const rest = 40 // of listings, live objects and manifests
	for method, most := range map[string]int{"PUT": n, "HEAD": 4 * n, "GET": 3 * n / 2, "LIST": 0} {
		if got := first[method]; got > most+rest {
			t.Errorf("%d times %s, want %d at most", got, method, most)
		}
	}
	sum := func(calls map[string]int) (all int) {
		for _, n := range calls {
			all += n
		}
		return all
	}
	if again := asked(func() { mustCompact(t, s, closing(t)) }); sum(again) > rest {
		t.Errorf("a second time, with nothing new: %v", again)
	}
	putLive(t, s, testJournal, 9, []*grandstand.RawEvent{beatAt("late", 1, compactHour)})
	if late := asked(func() { mustCompact(t, s, closing(t)) }); sum(late) > rest {
		t.Errorf("with one event that is new: %v", late)
	}
	prune := func() {
		if err := s.Prune(t.Context(), PruneOptions{Now: closing(t).Now}, func(Object) {}); err != nil {
			t.Fatal(err)
		}
	}
	if pruned := asked(prune); sum(pruned) > 2*n+rest {
		t.Errorf("to prune: %v", pruned)
	}
}
