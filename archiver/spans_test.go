package archiver

import (
	"testing"

	"pgregory.net/rapid"
)

// A set of spans says what a plain set says.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOf(rapid.Uint64Range(0, 30)).Draw(t, "numbers")
		more := rapid.SliceOf(rapid.Uint64Range(0, 30)).Draw(t, "more")
		set := map[uint64]bool{}
		var s, o spans
		for _, n := range numbers {
			if got := s.add(n); got == set[n] {
				t.Fatalf("add(%d) returned %v", n, got)
			}
			set[n] = true
		}
		check := func(s *spans) {
			var first, last uint64
			found := false
			for n := uint64(0); n <= 32; n++ {
				if s.has(n) != set[n] {
					t.Fatalf("has(%d) is %v", n, s.has(n))
				}
				if set[n] {
					if last = n; !found {
						first, found = n, true
					}
				}
			}
			if a, b, ok := s.bounds(); ok != found || a != first || b != last {
				t.Fatalf("bounds %d, %d, %v", a, b, ok)
			}
			if int(s.count()) != len(set) {
				t.Fatalf("count %d, want %d", s.count(), len(set))
			}
			from := rapid.Uint64Range(0, 31).Draw(t, "from")
			to := rapid.Uint64Range(from, 32).Draw(t, "to")
			missing := uint64(0)
			for n := from; n <= to; n++ {
				if !set[n] {
					missing++
				}
			}
			if got := s.missing(from, to); got != missing {
				t.Fatalf("missing(%d, %d) is %d, want %d", from, to, got, missing)
			}
		}
		check(&s)
		for _, n := range more {
			o.add(n)
		}
		was := s.count()
		merged := s
		merged.merge(&o)
		if s.count() != was {
			t.Fatal("merge changed the set that was copied")
		}
		for _, n := range more {
			set[n] = true
		}
		check(&merged)
	})
}
