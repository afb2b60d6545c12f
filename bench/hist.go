package bench

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// histMax is the longest time that a Hist tells from longer ones, in ms.
const histMax = 60_000

// Hist counts times in ms, one bucket per ms, so that those of many processes
// can be added up. The zero value is ready to use. It has one owner.
type Hist struct {
	buckets []uint32
	n       uint64
}

// Add counts a time. One below 0 counts as 0.
func (h *Hist) Add(ms int64) { h.add(ms, 1) }

func (h *Hist) add(ms int64, n uint32) {
	i := int(min(max(ms, 0), histMax))
	if i >= len(h.buckets) {
		h.buckets = append(h.buckets, make([]uint32, i+1-len(h.buckets))...)
	}
	h.buckets[i] += n
	h.n += uint64(n)
}

// N returns how many times were counted.
func (h *Hist) N() uint64 { return h.n }

// Quantile returns the time in ms that the share q of all times does not exceed;
// 0 if there are none.
func (h *Hist) Quantile(q float64) int64 {
	need := uint64(q * float64(h.n))
	var seen uint64
	for i, n := range h.buckets {
		if seen += uint64(n); seen > 0 && seen >= need {
			return int64(i)
		}
	}
	return 0
}

// Merge adds the times of another.
func (h *Hist) Merge(o *Hist) {
	for i, n := range o.buckets {
		if n > 0 {
			h.add(int64(i), n)
		}
	}
}

// MarshalJSON implements json.Marshaler: an object of ms and count.
func (h Hist) MarshalJSON() ([]byte, error) {
	full := map[string]uint32{}
	for i, n := range h.buckets {
		if n > 0 {
			full[strconv.Itoa(i)] = n
		}
	}
	return json.Marshal(full)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Hist) UnmarshalJSON(b []byte) error {
	full := map[int]uint32{}
	if err := json.Unmarshal(b, &full); err != nil {
		return fmt.Errorf("read times: %w", err)
	}
	*h = Hist{}
	for ms, n := range full {
		h.add(int64(ms), n)
	}
	return nil
}
