package grandstand

import "encoding/binary"

const recordVersion = 1

// AppendRecord appends the wire form of r.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = appendString(append(dst, recordVersion), r.Event)
	dst = appendString(dst, r.Session)
	dst = appendString(dst, r.Owner)
	dst = binary.AppendUvarint(dst, r.Gen)
	dst = appendTime(dst, r.Since)
	dst = binary.AppendUvarint(dst, uint64(len(r.Values)))
	for _, v := range r.Values {
		dst = appendString(dst, v)
	}
	return dst
}

// DecodeRecord reads what AppendRecord wrote. Errors have CodeInvalid.
func DecodeRecord(b []byte) (*Record, error) {
	r := readWire("session record", recordVersion, b)
	rec := &Record{Event: r.string(), Session: r.string(), Owner: r.string(), Gen: r.uvarint(), Since: r.time()}
	if n := r.count(1); n > 0 {
		rec.Values = make([]string, n)
		for i := range rec.Values {
			rec.Values[i] = r.string()
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return rec, nil
}
