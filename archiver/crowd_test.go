package archiver

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"grandstand"
)

// crowd makes journal files of traffic as the simulator's: viewers of one event
// who beat every ten seconds, now and then buffer, tell of it, come and go.
type crowd struct {
	rng      *rand.Rand
	event    string
	gateway  string
	sessions []*crowdSession
	dims     []grandstand.Dimension
	now      int64 // Redis ms at which the next file begins
	accounts int   // percent of sessions that have one; none of the simulator's has

	received int // bytes of the JSON that players sent
	events   int // records made
}

type crowdSession struct {
	id                      []byte
	viewer, device, account grandstand.Key
	segments                []byte
	due                     int64 // of the next beat
	seq                     uint64
	pos                     float64 // of the player, in seconds
	rate                    int
}

var ladder = []int64{235, 750, 1750, 3000, 4500, 5800, 8000, 16000}

const crowdStart = 1_795_299_000_000 - 1_795_299_000_000%3_600_000 + 20*60_000

func newCrowd(seed uint64, event string, sessions int) *crowd {
	return newCrowdOf(seed, event, sessions, 50)
}

func newCrowdOf(seed uint64, event string, sessions, accounts int) *crowd {
	c := &crowd{rng: rand.New(rand.NewPCG(seed, 1)), event: event, gateway: fmt.Sprintf("gw-%08x", seed), now: crowdStart, accounts: accounts}
	for _, d := range []string{"world", "country", "region", "team"} {
		c.dims = append(c.dims, grandstand.Dimension{Name: d})
	}
	for range sessions {
		s := c.newSession()
		s.seq, s.pos = uint64(c.rng.IntN(300)), float64(c.rng.IntN(3_600_000))/1000
		c.sessions = append(c.sessions, s)
	}
	return c
}

func (c *crowd) key() (k grandstand.Key) {
	binary.LittleEndian.PutUint64(k[:], c.rng.Uint64())
	binary.LittleEndian.PutUint64(k[8:], c.rng.Uint64()|1)
	return k
}

// newSession returns one that is due within ten seconds. As to its audience see
// the simulator's mix: two teams, fifty regions of one country and a few others.
func (c *crowd) newSession() *crowdSession {
	s := &crowdSession{id: make([]byte, 28), viewer: c.key(), device: c.key(), due: c.now + c.rng.Int64N(10_000), rate: 4}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range s.id {
		s.id[i] = alphabet[c.rng.IntN(64)]
	}
	if c.rng.IntN(100) < c.accounts {
		s.account = c.key()
	}
	country, region := "US", "US-"+[...]string{"CA", "TX", "FL", "NY", "PA", "IL", "OH"}[min(c.rng.IntN(7), c.rng.IntN(7))]
	if c.rng.IntN(6) == 0 {
		country = [...]string{"MX", "CA", "GB", "DE", "unknown"}[c.rng.IntN(5)]
		region = country + "-" + strconv.Itoa(c.rng.IntN(9))
	}
	team := [...]string{"KC", "SF", "neutral", "unknown"}[min(c.rng.IntN(4), c.rng.IntN(4))]
	s.segments = grandstand.AppendSegments(nil, c.dims, []string{"", country, region, team})
	return s
}

func (s *crowdSession) raw(c *crowd, kind grandstand.RawKind) *grandstand.RawEvent {
	return &grandstand.RawEvent{
		Kind: kind, Event: []byte(c.event), Session: s.id, Viewer: s.viewer, Device: s.device, Account: s.account,
		Segments: s.segments, ReceivedAt: s.due,
	}
}

// step lets a session do what is due, and returns what the journal gets of it.
func (c *crowd) step(s *crowdSession) []*grandstand.RawEvent {
	var out []*grandstand.RawEvent
	s.seq++
	s.pos += 9.9 + float64(c.rng.IntN(200))/1000
	beat := s.raw(c, grandstand.RawBeat)
	beat.HasSeq, beat.Seq, beat.State = true, s.seq, grandstand.StatePlaying
	beat.HasPos, beat.Pos = true, float64(int(s.pos))
	if c.rng.IntN(20) == 0 {
		s.rate = max(0, min(len(ladder)-1, s.rate+c.rng.IntN(3)-1))
	}
	beat.HasBitrate, beat.Bitrate = true, ladder[s.rate]
	if s.seq%50 == 13 {
		beat.State = grandstand.StateBuffering
	}
	c.received += len(fmt.Sprintf(`{"t":"beat","seq":%d,"state":"%s","pos":%g,"bitrate":%d,"interval_ms":10000}`, beat.Seq, beat.State, beat.Pos, beat.Bitrate))
	out = append(out, beat)
	if s.seq%50 == 13 {
		s.seq++
		e := s.raw(c, grandstand.RawEvents)
		e.HasSeq, e.Seq, e.Name, e.ClientAt = true, s.seq, []byte("rebuffer"), s.due-40-c.rng.Int64N(900)
		e.Data = fmt.Appendf(nil, `{"duration_ms":%d,"buffer_ms":%d,"cdn":"%c","reason":"throughput","dropped_frames":%d}`,
			c.rng.IntN(4000), c.rng.IntN(300), 'a'+rune(c.rng.IntN(3)), c.rng.IntN(30))
		c.received += len(fmt.Sprintf(`{"t":"event","seq":%d,"name":"%s","ts":%d,"data":%s}`, e.Seq, e.Name, e.ClientAt, e.Data))
		out = append(out, e)
	}
	s.due += 10_000 + int64(c.rng.NormFloat64()*40)
	return out
}

// file returns a sealed journal file of so many seconds, and its records.
func (c *crowd) file(journal string, number uint64, seconds int) ([]byte, []*grandstand.RawEvent) {
	end := c.now + int64(seconds)*1000
	var raws []*grandstand.RawEvent
	for range len(c.sessions) * seconds / 600 { // a tenth a minute leaves, and is replaced
		i := c.rng.IntN(len(c.sessions))
		old := c.sessions[i]
		leave := old.raw(c, grandstand.RawLeave)
		leave.ReceivedAt, leave.Data = c.now+c.rng.Int64N(int64(seconds)*1000), fmt.Appendf(nil, `{"how":"closed","acked":%d}`, old.seq)
		s := c.newSession()
		s.due += leave.ReceivedAt - c.now
		join := s.raw(c, grandstand.RawJoin)
		join.ReceivedAt = s.due - 500
		raws = append(raws, leave, join)
		c.sessions[i] = s
	}
	for _, s := range c.sessions {
		for s.due < end {
			raws = append(raws, c.step(s)...)
		}
	}
	slices.SortStableFunc(raws, func(a, b *grandstand.RawEvent) int { return cmp.Compare(a.ReceivedAt, b.ReceivedAt) })
	b := journalOf(journal, number, c.gateway, c.now, raws)
	c.now = end
	c.events += len(raws)
	return b, raws
}

// journalOf returns a sealed file of the events.
func journalOf(journal string, number uint64, gateway string, at int64, raws []*grandstand.RawEvent) []byte {
	b := grandstand.AppendHeaderRecord(nil, &grandstand.JournalHeader{Journal: journal, File: number, Gateway: gateway, CreatedAt: at})
	for _, e := range raws {
		b = grandstand.AppendEventRecord(b, e)
	}
	return grandstand.AppendSealRecord(b, &grandstand.JournalSeal{Events: uint64(len(raws)), SealedAt: at + 60_000})
}
