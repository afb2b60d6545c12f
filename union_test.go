package grandstand

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func unionOf(t testing.TB, sketches ...[]byte) *Union {
	t.Helper()
	u := &Union{}
	for _, b := range sketches {
		if err := u.Merge(b); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// Whatever is merged in whatever order, the union is the one sketch of all
// hashes; and the library's, when it merges with the same representation.
func TestUnionIsOneSketchOfAll(t *testing.T) {
	var reused Union // as the aggregator does: it must forget everything
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{3, 100, 700, 3000, 9000}).Draw(t, "size")
		viewers := hashes(rapid.Uint64().Draw(t, "seed"), 2*size)
		lists := make([][]uint64, rapid.IntRange(0, 6).Draw(t, "sketches"))
		sketches := make([][]byte, len(lists))
		for i := range lists {
			// Overlapping parts: viewers with devices on several gateways.
			from := rapid.IntRange(0, size).Draw(t, "from")
			lists[i] = viewers[from : from+rapid.IntRange(0, size).Draw(t, "n")]
			sketches[i] = sketchOf(lists[i]).AppendBinary(nil)
		}
		want := sketchOf(lists...)
		reused.Reset()
		byUnion := &Union{}
		for i, b := range sketches {
			if err := reused.Merge(b); err != nil {
				t.Fatal(err)
			}
			var one Union
			if err := one.Merge(b); err != nil {
				t.Fatal(err)
			}
			byUnion.MergeUnion(&one)
			if rapid.Bool().Draw(t, "look") {
				part := sketchOf(lists[:i+1]...).Estimate()
				if got := reused.Estimate(); got != part {
					t.Fatalf("estimate after %d merges is %d, want %d", i+1, got, part)
				}
			}
		}
		for name, u := range map[string]*Union{"Merge": &reused, "MergeUnion": byUnion} {
			if got := u.Estimate(); got != want.Estimate() {
				t.Fatalf("%s: estimate %d, want %d", name, got, want.Estimate())
			}
			if !bytes.Equal(u.AppendBinary(nil), want.AppendBinary(nil)) {
				t.Fatalf("%s: its bytes are not those of one sketch", name)
			}
		}
		library := libraryOf(true)
		for _, list := range lists {
			l := libraryOf(true, list)
			l.Estimate()
			if err := library.Merge(l); err != nil {
				t.Fatal(err)
			}
		}
		if got := library.Estimate(); got != want.Estimate() {
			t.Fatalf("estimate %d, the library's is %d", want.Estimate(), got)
		}
	})
}

// Twenty gateways that each know some of up to 2,000 fans, many on two devices.
func TestFewFansOnManyGatewaysAreExact(t *testing.T) {
	var u Union
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		for _, n := range []int{0, 1, 2, 19, 300, 1999, 2000} {
			gateways := make([][]uint64, 20)
			for _, h := range hashes(seed, n) {
				for range 1 + r.IntN(2) {
					g := r.IntN(len(gateways))
					gateways[g] = append(gateways[g], h)
				}
			}
			u.Reset()
			for _, g := range gateways {
				if err := u.Merge(sketchOf(g).AppendBinary(nil)); err != nil {
					t.Fatal(err)
				}
			}
			if got := u.Estimate(); got+1 < uint64(n) || got > uint64(n)+1 {
				t.Errorf("seed %d: %d fans are estimated as %d", seed, n, got)
			}
		}
	}
}

func TestUnionTwiceChangesNothing(t *testing.T) {
	for _, n := range []int{0, 100, 6000, 20_000} {
		b := sketchOf(hashes(7, n)).AppendBinary(nil)
		if u := unionOf(t, b, b); !bytes.Equal(u.AppendBinary(nil), b) {
			t.Errorf("%d hashes: merged twice, the bytes are others", n)
		}
	}
}

func TestUnionMergeDoesNotAllocate(t *testing.T) {
	sparse, dense := sketchOf(hashes(1, 800)).AppendBinary(nil), sketchOf(hashes(2, 20_000)).AppendBinary(nil)
	var u Union
	if n := testing.AllocsPerRun(20, func() {
		u.Reset()
		for _, b := range [][]byte{sparse, sparse, dense, sparse} {
			if err := u.Merge(b); err != nil {
				t.Fatal(err)
			}
		}
		u.Estimate()
	}); n > 0 {
		t.Errorf("%v allocations per round of merges", n)
	}
}

func TestMergeRegistersTakesTheGreater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var a, b, want [registers]byte
		for i := range want {
			a[i], b[i] = byte(r.IntN(maxRank+1)), byte(r.IntN(maxRank+1))
			want[i] = max(a[i], b[i])
		}
		if !validRegisters(&a) {
			t.Fatal("valid registers are refused")
		}
		if mergeRegisters(&a, &b); a != want {
			t.Fatal("a register is not the greater of the two")
		}
		a[r.IntN(registers)] = byte(rapid.IntRange(maxRank+1, 255).Draw(t, "bad"))
		if validRegisters(&a) {
			t.Fatal("an impossible register is accepted")
		}
	})
}

// A crowd as one gateway counts it: the world and some countries are dense,
// most of the 300 segments are sparse.
func crowdSketches(gateway, segments int) [][]byte {
	out := make([][]byte, segments)
	for i := range out {
		n := 40_000 / (1 + i*i/4) // 40,000 in the world, 10,000 in the third, then fewer
		if n < 200 {
			n = 50 + (i*37)%300
		}
		out[i] = sketchOf(hashes(uint64(gateway*1000+i), n)).AppendBinary(nil)
	}
	return out
}

func BenchmarkMergeTallies(b *testing.B) {
	const segments = 300
	for _, gateways := range []int{20, 170} {
		b.Run(fmt.Sprintf("%dx%d", gateways, segments), func(b *testing.B) {
			var tallies [][][]byte
			size := 0
			for g := range gateways {
				tallies = append(tallies, crowdSketches(g, segments))
				for _, s := range tallies[g] {
					size += len(s)
				}
			}
			var u Union
			b.ReportAllocs()
			for b.Loop() {
				for s := range segments {
					u.Reset()
					for _, t := range tallies {
						if err := u.Merge(t[s]); err != nil {
							b.Fatal(err)
						}
					}
					u.Estimate()
				}
			}
			b.ReportMetric(float64(size)/float64(gateways), "bytes/tally")
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{100, 1000, 5000, 20_000} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			dense := sketchOf(hashes(3, 50_000)).AppendBinary(nil)
			s := sketchOf(hashes(2, n)).AppendBinary(nil)
			u := unionOf(b, dense)
			for b.Loop() {
				if err := u.Merge(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
