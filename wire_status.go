package grandstand

import "encoding/binary"

const statusVersion = 1

// The parts of a Status that are there, as bits.
const (
	statusViewers = 1 << iota
	statusTree
	statusJournal
	statusArchive
	statusParts
)

// AppendStatus appends the wire form of s.
func AppendStatus(dst []byte, s *Status) []byte {
	parts := bit(s.Viewers != nil)*statusViewers | bit(s.Tree != nil)*statusTree |
		bit(s.Journal != nil)*statusJournal | bit(s.Archive != nil)*statusArchive
	dst = binary.AppendUvarint(append(dst, statusVersion), parts)
	if v := s.Viewers; v != nil {
		dst = appendNumber(appendNumber(dst, v.Connections), v.Sessions)
	}
	if t := s.Tree; t != nil {
		dst = appendNumber(append(dst, byte(bit(t.Relay))), t.Depth)
		dst = appendNumber(appendString(dst, t.Parent), t.HopMS)
	}
	if j := s.Journal; j != nil {
		dst = appendNumber(appendNumber(dst, j.Bytes), j.Files)
	}
	if a := s.Archive; a != nil {
		dst = appendNumber(appendNumber(dst, a.LagMS), a.Pending)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Rules)))
	for _, r := range s.Rules {
		dst = appendNumber(appendString(dst, r.Rule), r.Waiting)
		dst = appendNumber(appendNumber(appendNumber(dst, r.Granted), r.Blocked), r.WouldBlock)
	}
	return dst
}

// DecodeStatus reads what AppendStatus wrote. Errors have CodeInvalid.
func DecodeStatus(b []byte) (*Status, error) {
	r := readWire("status", statusVersion, b)
	s, parts := &Status{}, r.upTo(statusParts-1)
	if parts&statusViewers != 0 {
		s.Viewers = &ViewersStatus{Connections: r.number(), Sessions: r.number()}
	}
	if parts&statusTree != 0 {
		s.Tree = &TreeStatus{Relay: r.flag(), Depth: r.number(), Parent: r.string(), HopMS: r.number()}
	}
	if parts&statusJournal != 0 {
		s.Journal = &JournalStatus{Bytes: r.number(), Files: r.number()}
	}
	if parts&statusArchive != 0 {
		s.Archive = &ArchiveStatus{LagMS: r.number(), Pending: r.number()}
	}
	if n := r.count(5); n > 0 {
		s.Rules = make([]RuleStatus, n)
		for i := range s.Rules {
			s.Rules[i] = RuleStatus{Rule: r.string(), Waiting: r.number(), Granted: r.number(), Blocked: r.number(), WouldBlock: r.number()}
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return s, nil
}
