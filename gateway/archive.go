package gateway

import (
	"strconv"
	"sync"

	"grandstand"
	"grandstand/gateway/journal"
)

// This file makes the raw events of sessions and hands them to the journal. What
// their Data says is read by whoever replays them:
//
//	join     {"how":"opened"|"resumed"|"chose","interval_ms":10000}
//	beat     {"interval_ms":10000}, if the journal was not told so before
//	event    what the player sent
//	verdict  {"allowed":false,"code":"device_limit","rule":"token","limit":2,"current":2,"outcome":"blocked"}
//	leave    {"how":"ended"|"closed"|"event_ended"|"lapsed"|"moved","acked":41,"events":42}
//
// A session is written to the journal of each gateway that it beats to; of a
// session that was lost to another gateway only what its player sends.

// How a session joins. Whoever resumes may come from another gateway, or have
// been here all the time.
const (
	joinOpened  = "opened"
	joinResumed = "resumed"
	joinChose   = "chose" // it went on here, in another audience
)

// How a session leaves. The last two go on to be counted until they lapse: here,
// or elsewhere.
const (
	leaveEnded      = "ended"       // by a beat that says so, or with a request whose beats were not kept
	leaveClosed     = "closed"      // its last socket was closed on purpose
	leaveEventEnded = "event_ended" // all did
	leaveLapsed     = "lapsed"
	leaveMoved      = "moved" // to another gateway, or it is sent there
)

// written is what the journal was told of a session, and took.
type written struct {
	seqEnd     uint64 // one above the highest seq; 0: none had one
	events     uint32 // beats and events
	intervalMS uint16 // that it beats at; at most grandstand.MaxBeatMS
	joined     bool   // and has not left since
}

// raw is a raw event with room for what it points to, so that making one does
// not allocate.
type raw struct {
	grandstand.RawEvent
	event, session, data []byte
}

var raws = sync.Pool{New: func() any { return &raw{} }}

// rawLocked returns a raw event of the session as it is at now.
func (s *session) rawLocked(kind grandstand.RawKind, now int64) *raw {
	r := raws.Get().(*raw)
	r.event = append(r.event[:0], s.room.name...)
	r.session = append(r.session[:0], s.ID...)
	r.RawEvent = grandstand.RawEvent{
		Kind: kind, Event: r.event, Session: r.session,
		Viewer: s.Viewer, Device: s.Device, Account: s.Account,
		Segments: s.room.segmentsOf(s.Audience), ReceivedAt: now,
	}
	return r
}

// append hands the raw event over, and lets go of it.
func (r *raw) append(to Journal, w journal.Waiter) error {
	err := to.Append(&r.RawEvent, w)
	r.RawEvent = grandstand.RawEvent{}
	raws.Put(r)
	return err
}

// segmentsOf returns the segments of an audience in their wire form, which all
// its sessions share.
func (r *room) segmentsOf(a *grandstand.Audience) []byte {
	if b, ok := r.segments.Load(a); ok {
		return b.([]byte)
	}
	b := grandstand.AppendSegments(nil, r.event().Dims, a.Values)
	r.segments.Store(a, b)
	return b
}

// keepMessageLocked writes a beat or an event of the session's player. w, unless
// nil, is told when it is durable. The error says that it is not kept.
func (s *session) keepMessageLocked(m *grandstand.Message, now int64, w journal.Waiter) error {
	to := s.room.g.cfg.Journal
	if to == nil {
		return nil
	}
	kind := grandstand.RawBeat
	if m.Type == grandstand.MsgEvent {
		kind = grandstand.RawEvents
	}
	r := s.rawLocked(kind, now)
	r.HasSeq, r.Seq, r.ClientAt, r.Trace = m.HasSeq, m.Seq, m.TS, m.Trace
	r.HasPos, r.Pos = m.Pos >= 0, max(m.Pos, 0)
	r.HasBitrate, r.Bitrate = m.Bitrate >= 0, max(m.Bitrate, 0)
	said := &s.written
	interval := uint16(s.IntervalMS)
	switch {
	case kind == grandstand.RawEvents:
		r.Name, r.Data = m.Name, m.Data
		interval = said.intervalMS
	default:
		if r.State = m.State; interval != said.intervalMS {
			r.data = append(appendIntervalMember(append(r.data[:0], '{'), s.IntervalMS), '}')
			r.Data = r.data
		}
	}
	if err := r.append(to, w); err != nil {
		return err
	}
	said.events++
	said.intervalMS = interval
	said.joined = said.joined || !s.Left && s.own != lost
	if m.HasSeq {
		said.seqEnd = max(said.seqEnd, m.Seq+1)
	}
	return nil
}

// keepEvent writes telemetry of the session's player.
func (s *session) keepEvent(m *grandstand.Message, now int64, w journal.Waiter) error {
	if s.room.g.cfg.Journal == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keepMessageLocked(m, now, w)
}

// keepJoinLocked writes that the session is here, or in another audience.
// Whoever joins is not told if that is not kept: its next beat says as much.
func (s *session) keepJoinLocked(how string, now int64) {
	to := s.room.g.cfg.Journal
	if to == nil {
		return
	}
	r := s.rawLocked(grandstand.RawJoin, now)
	r.data = append(append(append(r.data[:0], `{"how":"`...), how...), `",`...)
	r.data = append(appendIntervalMember(r.data, s.IntervalMS), '}')
	r.Data = r.data
	if r.append(to, nil) == nil {
		s.written.intervalMS = uint16(s.IntervalMS)
		s.written.joined = s.written.joined || !s.Left && s.own != lost
	}
}

// keepLeaveLocked writes that the session ends here, unless that was written
// before, and how much of it there is in this gateway's journal since it came:
// the highest seq, and how many beats and events. Those stand before it.
func (s *session) keepLeaveLocked(how string, now int64) {
	to, said := s.room.g.cfg.Journal, &s.written
	if to == nil || !said.joined {
		return
	}
	said.joined = false
	r := s.rawLocked(grandstand.RawLeave, now)
	r.data = append(append(append(r.data[:0], `{"how":"`...), how...), '"')
	if said.seqEnd > 0 {
		r.data = strconv.AppendUint(append(r.data, `,"acked":`...), said.seqEnd-1, 10)
	}
	r.data = append(strconv.AppendUint(append(r.data, `,"events":`...), uint64(said.events), 10), '}')
	r.Data = r.data
	r.append(to, nil) // the journal counts what it refuses
}

// keepVerdictLocked writes a verdict on the session's lease that changes
// something.
func (s *session) keepVerdictLocked(v *grandstand.Verdict) {
	to := s.room.g.cfg.Journal
	if to == nil {
		return
	}
	r := s.rawLocked(grandstand.RawVerdict, s.room.g.clock.Now())
	r.Data = v.RawData()
	r.append(to, nil)
}

func appendIntervalMember(b []byte, ms int64) []byte {
	return strconv.AppendInt(append(b, `"interval_ms":`...), ms, 10)
}
