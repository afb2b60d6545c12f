package archiver

import (
	"encoding/json"

	"grandstand"
)

// metadataKey is the key of an object's metadata in its footer.
const metadataKey = "grandstand"

const metadataVersion = 1

// Metadata is what an object says of itself, as JSON in its footer. It is a pure
// function of the journal file.
type Metadata struct {
	Version int    `json:"version"`
	Journal string `json:"journal"`
	File    uint64 `json:"file"`
	Gateway string `json:"gateway"`

	Bytes  int    `json:"bytes"`  // of the journal file
	SHA256 string `json:"sha256"` // of the journal file
	Rows   uint64 `json:"rows"`
	Digest string `json:"digest"` // of the rows (rowDigest)

	FirstReceived int64 `json:"first_received,omitempty"` // ms, of the first event in the file
	MinReceived   int64 `json:"min_received,omitempty"`
	MaxReceived   int64 `json:"max_received,omitempty"`
	CreatedAt     int64 `json:"created_at,omitempty"`

	// Sealed tells whether the file has a seal, and Expected how many events it
	// says there are. Adopted: it was left behind, and somebody else sealed it.
	Sealed   bool   `json:"sealed"`
	Expected uint64 `json:"expected"`
	Adopted  bool   `json:"adopted,omitempty"`

	// Gaps are times in which the gateway refused events.
	Gaps []Gap `json:"gaps,omitempty"`

	// What could not be read: parts of the file that hold no record, and records
	// whose checksum holds and that nevertheless are none that is known here.
	// The lists hold the first maxTroubles of them.
	Damaged      int               `json:"damaged,omitempty"`
	DamagedBytes int               `json:"damaged_bytes,omitempty"`
	DamagedAt    []DamagedPart     `json:"damaged_at,omitempty"`
	Unreadable   int               `json:"unreadable,omitempty"`
	UnreadableAt []UnreadableEntry `json:"unreadable_at,omitempty"`

	// Repaired counts texts that were not UTF-8: what is none of it stands as
	// U+FFFD, since no Parquet reader takes it.
	Repaired int `json:"repaired,omitempty"`
}

// Gap is a grandstand.JournalGap.
type Gap struct {
	From    int64  `json:"from"` // Redis ms
	To      int64  `json:"to"`
	Refused uint64 `json:"refused"`
	Reason  string `json:"reason"`
}

// DamagedPart is a part of the journal file that holds no record.
type DamagedPart struct {
	Offset int `json:"offset"`
	Bytes  int `json:"bytes"`
}

// UnreadableEntry is a record that is whole but not known.
type UnreadableEntry struct {
	Offset int    `json:"offset"`
	Type   string `json:"type"`
	Error  string `json:"error"`
}

// maxTroubles bounds the lists of troubles in the metadata.
const maxTroubles = 1000

// whole reports whether everything in the journal file is in the rows or in the
// metadata.
func (m *Metadata) whole() bool {
	return m.Damaged == 0 && m.Unreadable == 0 && m.Sealed && m.Expected == m.Rows
}

func (m *Metadata) unreadable(offset int, t grandstand.RecordType, err error) {
	if m.Unreadable++; len(m.UnreadableAt) < maxTroubles {
		m.UnreadableAt = append(m.UnreadableAt, UnreadableEntry{Offset: offset, Type: string(rune(t)), Error: grandstand.MessageOf(err)})
	}
}

func (m *Metadata) damage(parts []grandstand.Damage) {
	for _, d := range parts {
		m.DamagedBytes += d.Bytes
		if m.Damaged++; len(m.DamagedAt) < maxTroubles {
			m.DamagedAt = append(m.DamagedAt, DamagedPart{Offset: d.Offset, Bytes: d.Bytes})
		}
	}
}

func (m *Metadata) encode() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // it has nothing that could fail
	}
	return string(b)
}

func decodeMetadata(text string) (*Metadata, error) {
	var m Metadata
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, grandstand.WrapError(grandstand.CodeInvalid, err, "read metadata")
	}
	if m.Version != metadataVersion {
		// Written by another release: it is not for this one to judge.
		return nil, grandstand.Errorf(grandstand.CodeConflict, "read metadata: version %d is not known here", m.Version)
	}
	return &m, nil
}
