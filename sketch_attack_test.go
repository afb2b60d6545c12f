package grandstand

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"testing"
)

// mix is a hash that everybody knows, of 64 bits: the finalizer of SplitMix64
// (Steele et al. 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unmix is its inverse: the id that has a hash.
func unmix(x uint64) uint64 {
	unshift := func(x uint64, n uint) uint64 {
		y := x
		for range 64 / n {
			y = x ^ y>>n
		}
		return y
	}
	x = unshift(x, 31) * 0x319642b2d24d8ec3
	x = unshift(x, 27) * 0x96de1b173f119089
	return unshift(x, 30)
}

// craftedIDs returns an id for each register whose plain hash has the highest rank
// there is in it.
func craftedIDs() []string {
	ids := make([]string, registers)
	for i := range ids {
		ids[i] = strconv.FormatUint(unmix(hashOf(uint32(i), maxRank)), 10)
	}
	return ids
}

// TestCraftedIDsMoveAnEstimateByTheirNumberOnly: who knows the hash makes 16,384
// viewers look like more than there are people, unless it is keyed.
func TestCraftedIDsMoveAnEstimateByTheirNumberOnly(t *testing.T) {
	ids := craftedIDs()
	plain := NewSketch(0)
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		plain.Add(mix(n))
	}
	if got := plain.Estimate(); got < 1e15 {
		t.Errorf("the attack is none: %d crafted ids are estimated as %d", len(ids), got)
	}

	// An estimate is off by its own error, with any ids; over many secrets that
	// evens out, and what an attack adds would not.
	const secrets = 16
	for _, crowd := range []int{0, 1000, 100_000} {
		sum, after := 0.0, 0.0
		for secret := range secrets {
			key := NewEventKey([]byte(fmt.Sprintf("0123456789abcd%02d", secret)), "final")
			s := sketchOf(hashes(uint64(7+secret), crowd))
			before := float64(s.Estimate())
			for _, id := range ids {
				s.Add(key.Viewer(id).Hash())
			}
			after = float64(s.Estimate())
			sum += after - before
			if moved := after - before; math.Abs(moved-float64(len(ids))) > 4*FanError*after {
				t.Errorf("%d crafted ids move an estimate of %.0f by %.0f", len(ids), before, moved)
			}
		}
		if moved := sum / secrets; moved > float64(len(ids))+4*FanError*after/math.Sqrt(secrets) {
			t.Errorf("%d crafted ids move the estimates of crowds of %d by %.0f on average", len(ids), crowd, moved)
		}
	}
}

// TestIDsOfLowEntropyAreSpread: ids that count up, or differ in a byte, are as
// uniform as others.
func TestIDsOfLowEntropyAreSpread(t *testing.T) {
	key := NewEventKey([]byte("0123456789abcdef"), "final")
	const n = 10_000
	for name, id := range map[string]func(i int) string{
		"numbers": strconv.Itoa,
		"a long beginning": func(i int) string {
			return "00000000-0000-0000-0000-000000000000-" + strconv.Itoa(i)
		},
		"bytes": func(i int) string { return hex.EncodeToString([]byte{byte(i), byte(i >> 8), 0, 0, 0, 0, 0, 0}) },
	} {
		s := NewSketch(n)
		for i := range n {
			s.Add(key.Viewer(id(i)).Hash())
		}
		if got := float64(s.Estimate()); math.Abs(got-n) > 4*FanError*n {
			t.Errorf("%s: %d are estimated as %.0f", name, n, got)
		}
	}
}
