package archiver

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"grandstand"
)

// rowDigest is a sum over rows that knows no order: a row's part is a hash of
// all its columns but its number. It is taken of the records of a journal file as
// they are read, before anything is sorted or written, and again of the rows of
// the object as they come back from the store. It finds faults, not forgeries.
type rowDigest struct {
	sum  uint64
	rows uint64

	// Hashes of texts that hardly change from row to row.
	event, gateway, journal lastHash
}

type lastHash struct {
	text []byte
	hash uint64
}

func (l *lastHash) of(text []byte) uint64 {
	if l.hash == 0 || string(l.text) != string(text) {
		l.text, l.hash = append(l.text[:0], text...), hashText(text)
	}
	return l.hash
}

// Odd constants of splitmix64 and of xxHash.
const (
	mulA     = 0x9e3779b185ebca87
	mulB     = 0xc2b2ae3d27d4eb4f
	hashNull = 0x27d4eb2f165667c5
)

func fold(acc, h uint64) uint64 { return bits.RotateLeft64(acc^h, 29) * mulA }

func mix(h uint64) uint64 {
	h = (h ^ h>>32) * mulB
	return h ^ h>>29
}

func hashText(text []byte) uint64 {
	if text == nil {
		return hashNull
	}
	return xxhash.Sum64(text)
}

func hashKey(k *grandstand.Key) uint64 {
	a, b := binary.LittleEndian.Uint64(k[:]), binary.LittleEndian.Uint64(k[8:])
	return fold(mulB^a, b)
}

func hashNumber(v uint64, given bool) uint64 {
	if !given {
		return hashNull
	}
	return v * mulB
}

// add counts a row.
func (d *rowDigest) add(r *Row) {
	h := fold(mulA, d.event.of(r.Event))
	h = fold(h, xxhash.Sum64(r.Session))
	h = fold(h, hashKey(&r.Viewer))
	h = fold(h, hashKey(&r.Account))
	h = fold(h, hashKey(&r.Device))
	h = fold(h, hashNumber(r.Seq, r.HasSeq))
	h = fold(h, uint64(r.Kind)<<8|uint64(r.State))
	h = fold(h, hashText(r.Name))
	h = fold(h, hashNumber(math.Float64bits(r.Position), r.HasPosition))
	h = fold(h, hashNumber(uint64(r.Bitrate), r.HasBitrate))
	h = fold(h, hashText(r.Country))
	h = fold(h, hashText(r.Region))
	h = fold(h, hashText(r.Team))
	h = fold(h, hashText(r.Segments))
	h = fold(h, d.gateway.of(r.Gateway))
	h = fold(h, uint64(r.ClientTime)*mulB)
	h = fold(h, uint64(r.ReceivedTime)*mulB)
	h = fold(h, hashText(r.Data))
	h = fold(h, d.journal.of(r.Journal))
	h = fold(h, r.File*mulB)
	d.sum += mix(h)
	d.rows++
}

// String returns 16 hexadecimal digits.
func (d *rowDigest) String() string {
	const digits = 16
	text := strconv.FormatUint(d.sum, 16)
	return "0000000000000000"[:digits-len(text)] + text
}
