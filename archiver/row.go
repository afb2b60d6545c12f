package archiver

import (
	"encoding/base64"
	"strconv"

	"grandstand"
)

// Row is one raw event as it stands in the archive. Its byte slices are valid
// as long as whoever gave it says.
type Row struct {
	Event, Session []byte

	// As base64url of 22 characters in the object; zero is null.
	Viewer, Account, Device grandstand.Key

	HasSeq bool
	Seq    uint64
	Kind   grandstand.RawKind
	Name   []byte
	State  grandstand.State

	HasPosition bool
	Position    float64 // seconds
	HasBitrate  bool
	Bitrate     int64 // kbit/s

	// Dimensions; nil is null. Segments is a JSON object of those that have no
	// column of their own.
	Country, Region, Team, Segments []byte

	Gateway      []byte
	ClientTime   int64 // Unix ms; 0 is null
	ReceivedTime int64 // Redis ms

	Data []byte // JSON; nil is null

	// Where the row comes from: unique over the archive's live objects. Number
	// counts the rows of the object from 0.
	Journal      []byte
	File, Number uint64
}

// kindText returns the kind's name, or the number of one that is not known here.
func kindText(k grandstand.RawKind) string {
	if name := k.String(); name != "" {
		return name
	}
	return strconv.Itoa(int(k))
}

// kindOf reads what kindText wrote.
func kindOf(text string) (grandstand.RawKind, bool) {
	for k := grandstand.RawBeat; k <= grandstand.RawVerdict; k++ {
		if k.String() == text {
			return k, true
		}
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return grandstand.RawKind(n), err == nil && kindText(grandstand.RawKind(n)) == text
}

// keyText is a Key as text.
type keyText [22]byte

func appendKey(dst []byte, k *grandstand.Key) []byte {
	return base64.RawURLEncoding.AppendEncode(dst, k[:])
}

// keyOf reads what appendKey wrote.
func keyOf(text []byte) (k grandstand.Key, ok bool) {
	if len(text) != len(keyText{}) {
		return k, false
	}
	var b [18]byte // what Decode needs for a moment
	n, err := base64.RawURLEncoding.Strict().Decode(b[:], text)
	if err != nil || n != len(k) {
		return k, false
	}
	k = grandstand.Key(b[:n])
	return k, !k.IsZero()
}
